//! A served API on one page: its resources, their verbs, columns and fields, which method does what, and what the
//! aggregator makes.
//!
//! [`ApiFacts`] are the facts: made of a schema, or, where another server serves the API, of its documents. They go
//! over the wire as JSON; [`page`] lays them out for people.

mod duties;
mod facts;
mod fields;
mod page;

use serde::{Deserialize, Serialize};

pub use page::page;

/// What one group and version serves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiFacts {
    /// "inventory.example.com"; empty: the core group.
    pub group: String,
    /// "v1".
    pub version: String,
    /// By name.
    pub resources: Vec<ResourceFacts>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceFacts {
    /// "machines".
    pub resource: String,
    /// "machine".
    pub singular: String,
    /// "Machine".
    pub kind: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// "mach".
    pub short_names: Vec<String>,
    /// "all".
    pub categories: Vec<String>,
    /// What the resource is, in its owner's words. May be empty.
    pub description: String,
    /// Sent with every answer; empty: it is not deprecated.
    pub deprecation: String,
    /// The verbs of the resource itself, in the order in which people ask for them.
    pub verbs: Vec<Duty>,
    /// Status and actions, by name.
    pub subresources: Vec<SubresourceFacts>,
    /// What `kubectl get` prints after NAME and before AGE. `None`: only its server knows.
    pub columns: Option<Vec<ColumnFacts>>,
    /// What is done for it beside the verbs, and by whom.
    pub also: Vec<Duty>,
    /// What keeps its objects from being relayed as Kubernetes' protobuf undecoded; empty: nothing. `None`: only its
    /// server knows.
    pub twin_obstacles: Option<Vec<String>>,
    /// The fields of an object, each after the one that it is in. Without apiVersion, kind and metadata.
    pub fields: Vec<FieldFacts>,
}

/// A subresource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubresourceFacts {
    /// "status".
    pub name: String,
    /// The kind of what is sent.
    pub kind: String,
    /// Its verbs.
    pub verbs: Vec<Duty>,
}

/// Something that is done, and who does it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Duty {
    /// "get", or "dry run".
    pub what: String,
    /// By whom.
    pub by: By,
}

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// A method of the backend: "/inventory.v1.Machines/GetMachine".
    Method(String),
    /// The backend, by no method of its own: how.
    Backend(String),
    /// The aggregator: how.
    Aggregator(String),
    /// The server, in a way that its documents do not tell.
    Server,
    /// Nobody: it answers 405. The text is what would change that.
    Nobody(String),
}

/// A column of `kubectl get`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ColumnFacts {
    /// "Serial".
    pub name: String,
    /// ".spec.serial".
    pub path: String,
    /// "string".
    pub r#type: String,
    /// Only with `-o wide`.
    pub wide: bool,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FieldFacts {
    /// "spec.disks.name".
    pub path: String,
    /// `string`, `[]object`, `map[string]integer`.
    pub r#type: String,
    /// What is checked: "required", "one of On, Off", "map by name".
    pub rules: Vec<String>,
    /// What it is, in its owner's words. May be empty.
    pub description: String,
}
