//! What a mapping says: how a foreign service is a Kubernetes API. Derived from annotations, written in a file, or both.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// Something that a mapping says, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact<T> {
    /// What.
    pub value: T,
    /// Why.
    pub origin: Origin,
}

/// Where a fact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A mapping file says so.
    File,
    /// It follows from this: "google.api.resource of library.v1.Book".
    Derived(String),
}

impl<T> Fact<T> {
    /// Derived from something.
    pub(super) fn derived(value: T, from: impl Into<String>) -> Self {
        Self { value, origin: Origin::Derived(from.into()) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fact<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self { value: T::deserialize(from)?, origin: Origin::File })
    }
}

impl<T: JsonSchema> JsonSchema for Fact<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

/// How the messages and methods of a service are resources and verbs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mapping {
    /// The API group of all resources that name none.
    pub group: Option<Fact<String>>,
    /// The API version of all resources that name none.
    pub version: Option<Fact<String>>,
    /// The resources.
    pub resources: Vec<ResourceMapping>,
}

/// How one message is a resource. What is not said is derived, where it can be.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResourceMapping {
    /// The message's full name: "library.v1.Book". May be left out where the kind says which one is meant.
    pub message: Option<Fact<String>>,
    /// True: it is not served.
    pub ignore: Option<Fact<bool>>,
    /// The API group.
    pub group: Option<Fact<String>>,
    /// The API version.
    pub version: Option<Fact<String>>,
    /// The kind.
    pub kind: Option<Fact<String>>,
    /// The name in the URL.
    pub plural: Option<Fact<String>>,
    /// The kind's name in lower case.
    pub singular: Option<Fact<String>>,
    /// Abbreviations for kubectl.
    pub short_names: Option<Fact<Vec<String>>>,
    /// Groups of resources for kubectl.
    pub categories: Option<Fact<Vec<String>>>,
    /// How an object is named.
    pub names: NamesMapping,
    /// The message's fields, by their proto names.
    pub fields: BTreeMap<String, FieldMapping>,
    /// What `kubectl get` prints.
    pub columns: Option<Fact<Vec<ColumnMapping>>>,
    /// What a fieldSelector may name.
    pub selectable_fields: Option<Fact<Vec<String>>>,
    /// The standard verbs.
    pub methods: MethodsMapping,
    /// Subresources of the service's own, by their names.
    pub actions: BTreeMap<String, MethodMapping>,
}

/// How an object is named: by one field that holds a whole resource name, or by one that holds the name alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NamesMapping {
    /// The field with the name.
    pub field: Option<Fact<String>>,
    /// The patterns of that field: "publishers/{publisher}/books/{book}". None: it is the name alone.
    pub patterns: Option<Fact<Vec<String>>>,
    /// The field with the namespace, where there are no patterns.
    pub namespace_field: Option<Fact<String>>,
}

/// What a field of the message is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FieldMapping {
    /// Where it goes.
    pub to: Option<Fact<Home>>,
    /// A client must give it.
    pub required: Option<Fact<bool>>,
    /// Only a create gives it.
    pub immutable: Option<Fact<bool>>,
    /// It is taken and never shown.
    pub input_only: Option<Fact<bool>>,
}

/// Where a field of the message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
pub enum Home {
    /// The spec: clients give it.
    #[serde(rename = "spec")]
    Spec,
    /// The status: the service alone writes it.
    #[serde(rename = "status")]
    Status,
    /// The name, or the whole resource name.
    #[serde(rename = "metadata.name")]
    Name,
    /// The namespace, where names have no patterns.
    #[serde(rename = "metadata.namespace")]
    Namespace,
    /// The uid.
    #[serde(rename = "metadata.uid")]
    Uid,
    /// The etag.
    #[serde(rename = "metadata.resourceVersion")]
    ResourceVersion,
    /// When the object was made.
    #[serde(rename = "metadata.creationTimestamp")]
    CreationTimestamp,
    /// When the service last wrote it: the annotation `kubridge.io/update-time`.
    #[serde(rename = "metadata.updateTime")]
    UpdateTime,
    /// An object that has it is deleted: it is not shown.
    #[serde(rename = "metadata.deletionTimestamp")]
    DeleteTime,
    /// The labels.
    #[serde(rename = "metadata.labels")]
    Labels,
    /// The annotations.
    #[serde(rename = "metadata.annotations")]
    Annotations,
    /// Nowhere: clients neither see nor give it.
    #[serde(rename = "nowhere")]
    Nowhere,
}

impl Home {
    /// As a file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Status => "status",
            Self::Name => "metadata.name",
            Self::Namespace => "metadata.namespace",
            Self::Uid => "metadata.uid",
            Self::ResourceVersion => "metadata.resourceVersion",
            Self::CreationTimestamp => "metadata.creationTimestamp",
            Self::UpdateTime => "metadata.updateTime",
            Self::DeleteTime => "metadata.deletionTimestamp",
            Self::Labels => "metadata.labels",
            Self::Annotations => "metadata.annotations",
            Self::Nowhere => "nowhere",
        }
    }
}

/// A column of `kubectl get`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ColumnMapping {
    /// The heading.
    pub name: String,
    /// JSONPath from the object: ".spec.title".
    pub path: String,
    /// Above 0: only with `-o wide`.
    #[serde(default)]
    pub priority: i32,
}

/// The standard verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the verbs")]
pub enum Verb {
    Get,
    List,
    Create,
    Update,
    Delete,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::List, Self::Create, Self::Update, Self::Delete];

    /// As a file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// The standard verbs of a resource.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MethodsMapping {
    /// One object by name.
    pub get: Option<MethodMapping>,
    /// The objects of a namespace, or of all.
    pub list: Option<MethodMapping>,
    /// A new object.
    pub create: Option<MethodMapping>,
    /// An object changed.
    pub update: Option<MethodMapping>,
    /// One object removed.
    pub delete: Option<MethodMapping>,
}

impl MethodsMapping {
    /// The method of a verb.
    pub fn of(&self, verb: Verb) -> Option<&MethodMapping> {
        match verb {
            Verb::Get => self.get.as_ref(),
            Verb::List => self.list.as_ref(),
            Verb::Create => self.create.as_ref(),
            Verb::Update => self.update.as_ref(),
            Verb::Delete => self.delete.as_ref(),
        }
    }

    pub(super) fn place(&mut self, verb: Verb) -> &mut Option<MethodMapping> {
        match verb {
            Verb::Get => &mut self.get,
            Verb::List => &mut self.list,
            Verb::Create => &mut self.create,
            Verb::Update => &mut self.update,
            Verb::Delete => &mut self.delete,
        }
    }

    /// The verbs that have a method.
    pub fn iter(&self) -> impl Iterator<Item = (Verb, &MethodMapping)> {
        Verb::ALL.into_iter().filter_map(|verb| Some((verb, self.of(verb)?)))
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// How one verb, or one action, is a method.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MethodMapping {
    /// The method's full name: "library.v1.LibraryService.GetBook".
    pub method: Option<Fact<String>>,
    /// True: the verb, or the action, is not served.
    pub ignore: Option<Fact<bool>>,
    /// What the request's fields are filled with, by their proto names.
    pub request: BTreeMap<String, Fact<Value>>,
    /// The answer's field that holds the object, or, of a list, the objects. None: the answer is the object.
    pub items: Option<Fact<String>>,
    /// The answer's field with the token of the next page.
    pub next_page_token: Option<Fact<String>>,
    /// The answer is a `google.longrunning.Operation`; the full name of what it ends in.
    pub operation: Option<Fact<String>>,
}

/// What a field of a request is filled with.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// Nothing: it keeps its zero value.
    Nothing,
    /// The resource name: "publishers/p/books/b".
    ResourceName,
    /// The parent's resource name: "publishers/p"; in a list of all namespaces "publishers/-".
    Parent,
    /// The last id: "b".
    Id,
    /// The value of one of the pattern's variables.
    Variable(String),
    /// The namespace, where names have no patterns.
    Namespace,
    /// The message.
    Object,
    /// One field of the message.
    Field(String),
    /// Which fields change: a `google.protobuf.FieldMask`.
    UpdateMask,
    /// The version that was read.
    Etag,
    /// True under dryRun.
    DryRun,
    /// Another text for each create: the object's uid.
    RequestId,
    /// How many objects a page may have.
    PageSize,
    /// Where the page begins.
    PageToken,
    /// Always this: a string, a number, a bool, or an enum value's name.
    #[serde(rename = "value")]
    Constant(serde_json::Value),
}
