//! What a schema serves: API groups, resources, bound methods. Compiled once per schema,
//! immutable, read by every request without a lock.

pub(crate) mod annotation;
mod bind;
pub(crate) mod catalogue;
mod comments;
pub(crate) mod fault;
mod json_names;
pub(crate) mod lint;
mod made;
pub(crate) mod names;
mod near_miss;
mod path;
mod read;
mod request;
pub(crate) mod resource;
mod response;
pub(crate) mod set;
mod twin;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{mapping::Mapped, table::TableColumns, transcode::MessageType};

pub use catalogue::{CATALOGUE, Entry, Severity};
pub(crate) use comments::Comments;
pub use made::MADE_WATCH;
pub(crate) use names::version_parts;
pub use read::Rules;

/// Everything that one backend declares.
#[derive(Debug, Default)]
pub struct Schema {
    /// By group and version, in the order of the files.
    pub apis: Vec<Arc<Api>>,
    /// What is served all the same but should be better (shown by `kubridge lint`).
    pub advice: Vec<Fault>,
    /// How calls are made, where the backend does not keep the contract itself: see [`crate::mapping`].
    pub mapped: Option<Arc<Mapped>>,
}

impl Schema {
    /// The paths of all methods that are called for it, as the backend has them; some twice.
    pub fn called(&self) -> impl Iterator<Item = &str> {
        self.apis.iter().flat_map(|api| api.called())
    }
}

/// One group and version.
#[derive(Debug)]
pub struct Api {
    /// "inventory.example.com"; empty for the core group.
    pub group: String,
    /// "v1".
    pub version: String,
    /// In the order of the files.
    pub resources: Vec<Arc<Resource>>,
}

impl Api {
    /// The paths of all methods that are called for it, as the backend has them; some twice.
    pub fn called(&self) -> impl Iterator<Item = &str> {
        self.resources.iter().flat_map(|resource| resource.bound()).map(Method::called)
    }
}

/// One resource and everything that a verb needs to know of it.
#[derive(Debug)]
pub struct Resource {
    /// "inventory.example.com"; empty for the core group.
    pub group: String,
    /// "v1".
    pub version: String,
    /// "Machine".
    pub kind: String,
    /// "MachineList".
    pub list_kind: String,
    /// "machines".
    pub plural: String,
    /// "machine".
    pub singular: String,
    /// "mach".
    pub short_names: Vec<String>,
    /// "all".
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether the aggregator fills in and enforces metadata.
    pub managed: bool,
    /// Whether the backend gives its objects resourceVersions. (True for everything that is annotated.) Otherwise what
    /// stands there is an opaque token for the object's state, which comes back with a write.
    pub versioned: bool,
    /// What the backend has a place for.
    pub keeps: Keeps,
    /// What List answers depends on who asks.
    pub per_user: bool,
    /// Columns of `kubectl get`, after NAME and before AGE.
    pub columns: Vec<Column>,
    /// JSON paths (without the leading dot) that a fieldSelector may name, beside metadata.name and .namespace.
    pub selectable_fields: Vec<String>,
    /// Sent as a Warning with every answer.
    pub deprecation_warning: Option<String>,
    /// The comment of the message.
    pub description: String,
    /// The resource message.
    pub message: MessageType,
    /// The field number of `spec`, where the message has it.
    pub spec_field: Option<u32>,
    /// The field number of `status`, where the message has it.
    pub status_field: Option<u32>,
    /// The bound methods.
    pub methods: Methods,
    /// The status subresource exists: the message has a status, and an Update or UpdateStatus method is bound.
    pub status_subresource: bool,
    /// Subresources of the backend's own.
    pub actions: Vec<Action>,
    /// The message has Kubernetes' own field numbers and types, so bodies may come in
    /// `application/vnd.kubernetes.protobuf`. True for the aggregator's own kinds.
    pub wire_twin: bool,
    /// The syntax of its objects' names.
    pub names: NameSyntax,
    /// The columns, compiled when the first table is asked for.
    pub table: OnceLock<TableColumns>,
}

/// What of an object a backend has a place for. One that keeps the contract has a place for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeps {
    /// metadata.labels.
    pub labels: bool,
    /// metadata.annotations.
    pub annotations: bool,
    /// metadata.finalizers and metadata.ownerReferences.
    pub dependencies: bool,
    /// A status that clients write. False: it is the backend's alone.
    pub status: bool,
}

impl Default for Keeps {
    fn default() -> Self {
        Self { labels: true, annotations: true, dependencies: true, status: true }
    }
}

/// The syntax of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameSyntax {
    /// A lowercase RFC 1123 subdomain, as of most objects.
    #[default]
    Subdomain,
    /// Whatever may stand between two slashes of a path: of the aggregator's own kinds, `v1.` is an APIService.
    PathSegment,
}

impl Resource {
    /// The columns of `kubectl get`, compiled.
    pub fn table(&self) -> &TableColumns {
        self.table.get_or_init(|| TableColumns::compile(self))
    }

    /// Its objects are answered and not kept, as reviews are.
    pub fn create_only(&self) -> bool {
        self.methods.create.is_some() && self.methods.get.is_none() && self.methods.list.is_none()
    }

    /// The methods that the backend has for it, those of its subresources last.
    pub fn bound(&self) -> impl Iterator<Item = &Method> {
        let Methods { get, list, watch, create, update, update_status, delete, delete_collection } =
            &self.methods;
        let verbs = [get, list, watch, create, update, update_status, delete, delete_collection];
        let actions = self.actions.iter().flat_map(|action| &action.methods).map(|(_, method)| &**method);
        verbs.into_iter().flatten().map(|method| &**method).chain(actions)
    }

    /// "inventory.example.com/v1", or "v1" in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The Kubernetes verbs that are served, in Kubernetes' (alphabetical) order: what the backend
    /// has and what is made from it. Discovery advertises exactly these; any other answers 405.
    pub fn verbs(&self) -> Vec<&'static str> {
        let m = &self.methods;
        let mut verbs = Vec::with_capacity(8);
        if m.create.is_some() {
            verbs.push("create");
        }
        if m.delete.is_some() {
            verbs.push("delete");
        }
        if m.delete_collection.is_some() || (m.delete.is_some() && m.list.is_some()) {
            verbs.push("deletecollection");
        }
        if m.get.is_some() || m.list.is_some() {
            verbs.push("get");
        }
        if m.list.is_some() {
            verbs.push("list");
        }
        if m.update.is_some() && (m.get.is_some() || m.list.is_some()) {
            verbs.push("patch");
        }
        if m.update.is_some() {
            verbs.push("update");
        }
        if m.watch.is_some() || self.makes_watch() {
            verbs.push("watch");
        }
        verbs
    }

    /// Whether a watch is made of List, because the backend has none.
    pub fn makes_watch(&self) -> bool {
        self.methods.watch.is_none() && self.methods.list.is_some() && !self.per_user
    }

    /// How a watch is made, in words for people: "polled List (/inventory.v1.Machines/ListMachines)". `None`: it is not.
    pub fn made_watch(&self) -> Option<String> {
        let list = self.methods.list.as_ref().filter(|_| self.makes_watch())?;
        Some(format!("polled List ({})", list.called()))
    }

    /// The method that watches: the backend's, or the one of [`MADE_WATCH`], which a caller below the verbs answers.
    pub fn watch_method(&self) -> Option<Arc<Method>> {
        self.methods.watch.clone().or_else(|| self.makes_watch().then(made::method))
    }

    /// Whether what clients are told of it has to be remembered: to make a watch, or versions.
    pub fn is_remembered(&self) -> bool {
        self.makes_watch() || !self.versioned
    }

    /// The verbs of the status subresource, in alphabetical order; empty where there is none.
    pub fn status_verbs(&self) -> Vec<&'static str> {
        let m = &self.methods;
        match (self.status_subresource, m.get.is_some() || m.list.is_some()) {
            (false, _) => vec![],
            (true, true) => vec!["get", "patch", "update"],
            // What is not shown cannot be read back to patch it, nor to keep everything but the status.
            (true, false) if m.update_status.is_some() => vec!["update"],
            (true, false) => vec![],
        }
    }
}

/// A column of `kubectl get`.
#[derive(Debug, Clone)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// JSONPath, as written: ".spec.serial". Checked when the schema was read.
    pub path: String,
    /// string, integer, number, boolean or date.
    pub column_type: String,
    /// OpenAPI format; may be empty.
    pub format: String,
    /// May be empty.
    pub description: String,
    /// Above 0: only with `-o wide`.
    pub priority: i32,
    /// Makes the cell's text from the object on the wire, where no path can say it.
    pub compute: Option<fn(&[u8]) -> String>,
}

/// The methods of a resource. What is `None` the backend lacks.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names are the verbs")]
pub struct Methods {
    pub get: Option<Arc<Method>>,
    pub list: Option<Arc<Method>>,
    pub watch: Option<Arc<Method>>,
    pub create: Option<Arc<Method>>,
    pub update: Option<Arc<Method>>,
    pub update_status: Option<Arc<Method>>,
    pub delete: Option<Arc<Method>>,
    pub delete_collection: Option<Arc<Method>>,
}

/// A bound method.
#[derive(Debug)]
pub struct Method {
    /// `/inventory.v1.Machines/GetMachine`.
    pub path: Arc<str>,
    /// The answer is a stream of messages (list, watch, action).
    pub streaming: bool,
    /// How the request message is filled.
    pub request: Vec<Binding>,
    /// The request message.
    pub input: MessageType,
    /// The response message. Get, create, update: the resource. List: metadata = 1, items = 2.
    /// Delete: the resource, or google.protobuf.Empty (any other message is ignored).
    pub output: MessageType,
}

impl Method {
    /// The path of the method that the backend has. (Where a mapping does two things by one method, [`Self::path`] tells
    /// them apart by what follows a `#`.)
    pub fn called(&self) -> &str {
        self.path.split_once('#').map_or(&*self.path, |(called, _)| called)
    }

    /// Whether a List can say where the next page begins, and be told.
    pub fn pages(&self) -> bool {
        self.binds(&Source::ListOptions) || self.binds(&Source::Continue)
    }

    /// Whether the request has a place for `source`.
    pub fn binds(&self, source: &Source) -> bool {
        self.request.iter().any(|b| b.source == *source)
    }
}

/// One field of a request, and where its value comes from. No `field`: the whole message is it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The field number; `None`: the request message itself is the resource (or the action's body).
    pub field: Option<u32>,
    /// Where the value comes from.
    pub source: Source,
}

/// Where a request field's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the request's parts")]
pub enum Source {
    /// The resource message.
    Object,
    /// A `kubridge.v1.*Options` message.
    GetOptions,
    ListOptions,
    DeleteOptions,
    CreateOptions,
    UpdateOptions,
    PatchOptions,
    /// Scalars by name, from the URL...
    Namespace,
    Name,
    /// ...and from the options.
    LabelSelector,
    FieldSelector,
    Limit,
    Continue,
    ResourceVersion,
    ResourceVersionMatch,
    TimeoutSeconds,
    AllowWatchBookmarks,
    SendInitialEvents,
    /// `repeated string dry_run`.
    DryRun,
    /// `bool dry_run` or `bool validate_only`.
    DryRunFlag,
    FieldManager,
    FieldValidation,
    GracePeriodSeconds,
    Preconditions,
    PropagationPolicy,
    OrphanDependents,
    /// Left at zero, by annotation.
    Nothing,
}

/// A subresource of the backend's own: `.../PLURAL/NAME/SUBRESOURCE`.
#[derive(Debug)]
pub struct Action {
    /// "powercycle".
    pub name: String,
    /// By HTTP method: POST (create), GET, PUT (update), DELETE.
    pub methods: Vec<(ActionVerb, Arc<Method>)>,
    /// The kind of the request body (the input message's name).
    pub kind: String,
}

/// The HTTP methods of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the verbs")]
pub enum ActionVerb {
    Create,
    Get,
    Update,
    Delete,
}

/// A fault of a schema: where it is, what it is, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// "inventory/v1/inventory.proto".
    pub file: String,
    /// "inventory.v1.Machine" or "inventory.v1.Machines.GetMachine"; empty: the file.
    pub element: String,
    /// "metadata"; empty: the element.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub mend: String,
    /// The entry of the [`CATALOGUE`] that it is: "no_list".
    pub code: &'static str,
}

impl fmt::Display for Fault {
    /// "inventory.proto: inventory.v1.Machine.metadata: what is wrong; what to write instead".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}: ", self.file)?;
        }
        match (self.element.as_str(), self.field.as_str()) {
            ("", "") => {}
            ("", field) => write!(f, "{field}: ")?,
            (element, "") => write!(f, "{element}: ")?,
            (element, field) => write!(f, "{element}.{field}: ")?,
        }
        write!(f, "{}; {}", self.message, self.mend)
    }
}
