//! Discovery documents: what a group and version serves, however it was learnt, and the documents that say so, as
//! kube-apiserver writes them: `/api`, `/apis`, `/apis/G`, `/apis/G/V`, and aggregated discovery (KEP-3352,
//! `apidiscovery.k8s.io/v2`).
//!
//! Which groups and versions are served, and in which order, the caller decides.

mod json;
mod protobuf;
mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::{cmp::Ordering, collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

pub use read::{AggregatedVersions, DocumentFault, MAX_DOCUMENT};

use crate::model::version_parts;

/// What one group and version serves. Its resources stand in the order in which they are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionDocument {
    /// The resources, each with its subresources.
    #[serde(default)]
    pub resources: Vec<ResourceDocument>,
    /// By resource, as far as it was told: an `APIResourceList` has these hashes, aggregated discovery has not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_version_hashes: BTreeMap<String, String>,
}

/// `apidiscovery.k8s.io/v2` APIResourceDiscovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceDocument {
    /// "machines".
    pub resource: String,
    /// What requests and answers are made of; an empty kind where only subresources exist.
    #[serde(default, deserialize_with = "read::or_default")]
    pub response_kind: ResponseKind,
    /// Whether objects live in namespaces.
    pub scope: Scope,
    /// "machine".
    #[serde(default, deserialize_with = "read::or_default")]
    pub singular_resource: String,
    /// "create", "delete", ... in alphabetical order.
    #[serde(default, deserialize_with = "read::or_default")]
    pub verbs: Vec<String>,
    /// "mach".
    #[serde(default, deserialize_with = "read::or_default", skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    /// "all".
    #[serde(default, deserialize_with = "read::or_default", skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Status, scale, and what else stands below an object.
    #[serde(default, deserialize_with = "read::or_default", skip_serializing_if = "Vec::is_empty")]
    pub subresources: Vec<SubresourceDocument>,
}

/// `apidiscovery.k8s.io/v2` APISubresourceDiscovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubresourceDocument {
    /// "status".
    pub subresource: String,
    /// What is answered.
    #[serde(default, deserialize_with = "read::or_default")]
    pub response_kind: ResponseKind,
    /// What else may be sent.
    #[serde(default, deserialize_with = "read::or_default", skip_serializing_if = "Vec::is_empty")]
    pub accepted_types: Vec<ResponseKind>,
    /// In alphabetical order.
    #[serde(default, deserialize_with = "read::or_default")]
    pub verbs: Vec<String>,
}

/// A group, version and kind. Empty group and version: those of the document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResponseKind {
    /// "autoscaling".
    #[serde(default, deserialize_with = "read::or_default")]
    pub group: String,
    /// "v1".
    #[serde(default, deserialize_with = "read::or_default")]
    pub version: String,
    /// "Scale".
    #[serde(default, deserialize_with = "read::or_default")]
    pub kind: String,
}

/// `apidiscovery.k8s.io/v2` ResourceScope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Objects have no namespace.
    Cluster,
    /// Objects live in namespaces.
    Namespaced,
}

/// `apidiscovery.k8s.io/v2` DiscoveryFreshness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Freshness {
    /// True now, or young enough by policy.
    #[default]
    Current,
    /// Clients should not conclude that what is missing is gone.
    Stale,
}

/// A document, or a part of one, in the two forms that are made from the same values; others are made from the JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// JSON without white space and without a line feed at its end.
    pub json: Vec<u8>,
    /// Kubernetes' protobuf: of a document with its envelope ([`crate::envelope`]), of a part the message alone.
    pub protobuf: Vec<u8>,
}

/// A group that is served.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    /// "inventory.example.com"; empty: the core group.
    pub name: &'a str,
    /// In the order of preference, each with its [`fragment`].
    pub versions: Vec<(&'a str, &'a Encoded)>,
}

/// The aggregated document and its ETag.
#[derive(Debug, Clone)]
pub struct Aggregated {
    /// The document.
    pub document: Encoded,
    /// With its quotes. The same for all forms, as in kube-apiserver: the forms differ by Accept, which Vary names.
    pub etag: String,
}

impl ResponseKind {
    /// A kind of the document's own group and version.
    fn own(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }
}

/// The order of versions as Kubernetes prefers them, the best first: v10, v2, v1, v11beta2, v3beta1, v12alpha1;
/// whatever is no Kubernetes version comes last, by name.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (version_parts(a), version_parts(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// SHA-512 of a document, in upper-case hexadecimal: the `hash` of OpenAPI v3 addresses.
pub fn hash(document: &[u8]) -> String {
    hexadecimal(&Sha512::digest(document))
}

/// `/api`: `APIVersions`. Empty unless the core group is claimed.
pub fn api_versions(versions: &[&str]) -> Encoded {
    Encoded { json: json::api_versions(versions), protobuf: protobuf::api_versions(versions) }
}

/// `/apis`: `APIGroupList`. The core group and groups without a version are left out.
pub fn api_group_list(groups: &[Group<'_>]) -> Encoded {
    Encoded { json: json::api_group_list(groups), protobuf: protobuf::api_group_list(groups) }
}

/// `/apis/G`: `APIGroup`. `None`: the group has no version.
pub fn api_group(group: &Group<'_>) -> Option<Encoded> {
    Some(Encoded { json: json::api_group(group)?, protobuf: protobuf::api_group(group)? })
}

/// `/apis/G/V`: `APIResourceList`, with subresources (`machines/status`), sorted by name.
pub fn api_resource_list(group: &str, version: &str, document: &VersionDocument) -> Encoded {
    let mut entries: Vec<Entry<'_>> = document.entries().collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let group_version = group_version(group, version);
    Encoded {
        json: json::api_resource_list(&group_version, &entries),
        protobuf: protobuf::api_resource_list(&group_version, &entries),
    }
}

/// What the aggregated document says of one version (`APIVersionDiscovery`): made when the version changes, and
/// copied into every document. `None`: nothing is known of it yet.
pub fn fragment(version: &str, document: Option<&VersionDocument>, freshness: Freshness) -> Encoded {
    let resources = document.map_or(&[][..], |document| &document.resources);
    Encoded {
        json: json::fragment(version, resources, freshness),
        protobuf: protobuf::fragment(version, resources, freshness),
    }
}

/// `/apis` (or, with only the core group, `/api`) as `APIGroupDiscoveryList` of `apidiscovery.k8s.io/v2`. Groups
/// without a version are left out.
pub fn aggregated(groups: &[Group<'_>]) -> Aggregated {
    let document = Encoded { json: json::aggregated(groups), protobuf: protobuf::aggregated(groups) };
    // As kube-apiserver has it: of the list before its kind and apiVersion are written.
    let mut digest = Sha512::new();
    digest.update(b"{");
    digest.update(document.json.get(json::AGGREGATED_HEAD.len()..).unwrap_or_default());
    Aggregated { document, etag: format!("\"{}\"", hexadecimal(&digest.finalize())) }
}

/// One entry of an APIResourceList.
#[derive(Debug)]
struct Entry<'a> {
    name: std::borrow::Cow<'a, str>,
    singular_name: &'a str,
    namespaced: bool,
    kind: &'a ResponseKind,
    verbs: &'a [String],
    short_names: &'a [String],
    categories: &'a [String],
    storage_version_hash: &'a str,
}

impl VersionDocument {
    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.resources.iter().flat_map(|resource| {
            let namespaced = resource.scope == Scope::Namespaced;
            let main = Entry {
                name: resource.resource.as_str().into(),
                singular_name: &resource.singular_resource,
                namespaced,
                kind: &resource.response_kind,
                verbs: &resource.verbs,
                short_names: &resource.short_names,
                categories: &resource.categories,
                storage_version_hash: self
                    .storage_version_hashes
                    .get(&resource.resource)
                    .map_or("", String::as_str),
            };
            // Where only subresources exist, Kubernetes' list has no entry of their parent.
            let exists = !(resource.verbs.is_empty() && resource.response_kind.kind.is_empty());
            let subresources = resource.subresources.iter().map(move |sub| Entry {
                name: format!("{}/{}", resource.resource, sub.subresource).into(),
                singular_name: "",
                namespaced,
                kind: &sub.response_kind,
                verbs: &sub.verbs,
                short_names: &[],
                categories: &[],
                storage_version_hash: "",
            });
            exists.then_some(main).into_iter().chain(subresources)
        })
    }
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02X}");
        out
    })
}
