//! What the scenario is played with.

use serde_json::{Value, json};

/// A resource, and where it may differ from others.
pub struct Subject {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// In the order of lists.
    pub namespaces: [&'static str; 2],
    /// What is made first, and where. An AIP service has no objects without their parent, which the namespace is;
    /// the inventory takes any namespace.
    pub parents: &'static [fn() -> (&'static str, Value)],
    /// The spec of a valid object of that name.
    pub spec: fn(&str) -> Value,
    /// An integer of the spec that may be any number but a negative one.
    pub number: &'static str,
    /// A text of the spec that must be there.
    pub required: &'static str,
    /// A text of the spec that never changes, and another valid value of it. The inventory has none.
    pub immutable: Option<(&'static str, &'static str)>,
    /// A text of the spec that field selectors know. An AIP service declares none: that takes a mapping file.
    pub selectable: Option<&'static str>,
    /// Whether `metadata.generation` counts the changes of the spec. An AIP service has no place for it: it is always 1.
    pub generation: bool,
    /// Whether there is a place for finalizers. Without one they are refused.
    pub finalizers: bool,
    pub pages: Pages,
    /// Whether a watch may tell of deletions from before the list that it continues. A made watch may: what is gone it
    /// learns when it polls. (One that begins with the present state may not.) Clients pass over the deletion of what
    /// they do not have; a watch that selects gets 410 where it is not known whether the object was selected, and its
    /// client lists again.
    pub late_deletions: bool,
    /// Code and reason for a `continue` that nobody has given out. A backend that keeps the contract says itself that
    /// it is none; of an AIP service's pages all that is known is that they cannot be continued.
    pub unknown_continue: (u16, &'static str),
}

/// What a `continue` belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// The version of the first page; it is refused with 410 when that is forgotten.
    OfAVersion,
    /// The request alone (AIP-158): never too old, and refused with 400 in any other list.
    OfARequest,
}

/// `examples/inventory`: it keeps the contract, and all of ObjectMeta.
pub const MACHINES: Subject = Subject {
    group: "inventory.example.com",
    version: "v1",
    kind: "Machine",
    plural: "machines",
    namespaces: ["default", "lab"],
    parents: &[],
    spec: |name| json!({"serial": format!("S-{name}"), "rack": "r1", "cpus": 4, "memory": "8Gi"}),
    number: "cpus",
    required: "serial",
    immutable: None,
    selectable: Some("rack"),
    generation: true,
    finalizers: true,
    pages: Pages::OfAVersion,
    late_deletions: false,
    unknown_continue: (400, "BadRequest"),
};

/// `examples/library`: it knows nothing of Kubernetes. Its versions are made of etags.
pub const BOOKS: Subject = Subject {
    group: "library.example.com",
    version: "v1",
    kind: "Book",
    plural: "books",
    namespaces: ["insel", "rowohlt"],
    parents: &[|| publisher("insel"), || publisher("rowohlt")],
    spec: |name| json!({"title": format!("The {name}"), "isbn": "9783458317012", "pageCount": 4}),
    number: "pageCount",
    required: "title",
    immutable: Some(("isbn", "9783458317029")),
    selectable: None,
    generation: false,
    finalizers: false,
    pages: Pages::OfARequest,
    late_deletions: true,
    unknown_continue: (410, "Expired"),
};

fn publisher(name: &str) -> (&'static str, Value) {
    let publisher = json!({
        "apiVersion": "library.example.com/v1", "kind": "Publisher",
        "metadata": {"name": name}, "spec": {"displayName": name},
    });
    ("/apis/library.example.com/v1/publishers", publisher)
}
