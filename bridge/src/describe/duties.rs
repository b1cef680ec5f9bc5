//! Who does what for a resource: the backend's methods, and what is made of them.

use super::{By, Duty};
use crate::model::{Action, ActionVerb, Method, Resource, Source};

/// The verbs, in the order in which people ask for them.
pub(super) const VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

impl Duty {
    pub(super) fn new(what: impl Into<String>, by: By) -> Self {
        Self { what: what.into(), by }
    }
}

/// The verbs of the resource itself: who does each.
pub(super) fn verbs(resource: &Resource) -> Vec<Duty> {
    let served = resource.verbs();
    VERBS
        .into_iter()
        .map(|verb| {
            let by = match (native(resource, verb), served.contains(&verb)) {
                (Some(method), true) => By::Method(method.called().to_owned()),
                (None, true) => By::Aggregator(made(resource, verb)),
                (_, false) => By::Nobody(missing(resource, verb)),
            };
            Duty::new(verb, by)
        })
        .collect()
}

/// The method that is the verb.
fn native<'a>(resource: &'a Resource, verb: &str) -> Option<&'a Method> {
    let methods = &resource.methods;
    let method = match verb {
        "get" => &methods.get,
        "list" => &methods.list,
        "watch" => &methods.watch,
        "create" => &methods.create,
        "update" => &methods.update,
        "delete" => &methods.delete,
        "deletecollection" => &methods.delete_collection,
        _ => &None,
    };
    method.as_deref()
}

/// How a verb is made that the backend has not.
fn made(resource: &Resource, verb: &str) -> String {
    match verb {
        "get" => "List, narrowed to the name".to_owned(),
        "watch" => resource.made_watch().unwrap_or_default(),
        "patch" => format!("{}, the patch, Update under the version that was read", read(resource)),
        "deletecollection" => "List, then Delete of each".to_owned(),
        _ => "made".to_owned(),
    }
}

/// What would make a verb served.
fn missing(resource: &Resource, verb: &str) -> String {
    let kind = &resource.kind;
    match verb {
        "patch" => format!("needs Update{kind}"),
        "deletecollection" => format!("needs Delete{kind}"),
        "get" | "list" => format!("needs List{kind}"),
        verb => format!("needs {}{kind}", capitalised(verb)),
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// What shows one object.
fn read(resource: &Resource) -> &'static str {
    if resource.methods.get.is_some() { "Get" } else { "List" }
}

/// The verbs of the status subresource.
pub(super) fn status(resource: &Resource) -> Vec<Duty> {
    let update = match &resource.methods.update_status {
        Some(method) => By::Method(method.called().to_owned()),
        None => By::Aggregator("Update, everything but the status kept as it is stored".to_owned()),
    };
    resource
        .status_verbs()
        .into_iter()
        .map(|verb| {
            let by = match verb {
                "get" => By::Aggregator("as get of the object".to_owned()),
                "patch" => By::Aggregator(format!("{}, the patch, update of the status", read(resource))),
                _ => update.clone(),
            };
            Duty::new(verb, by)
        })
        .collect()
}

/// The HTTP methods of an action.
pub(super) fn action(action: &Action) -> Vec<Duty> {
    let http = |verb: ActionVerb| match verb {
        ActionVerb::Create => "create (POST)",
        ActionVerb::Get => "get (GET)",
        ActionVerb::Update => "update (PUT)",
        ActionVerb::Delete => "delete (DELETE)",
    };
    let methods = action.methods.iter();
    methods.map(|(verb, method)| Duty::new(http(*verb), By::Method(method.called().to_owned()))).collect()
}

/// What is done beside the verbs.
pub(super) fn also(resource: &Resource) -> Vec<Duty> {
    let mut also = Vec::new();
    let metadata = if resource.managed {
        By::Aggregator(
            "generateName, uid, creationTimestamp, generation, finalizers; every write under the version read"
                .to_owned(),
        )
    } else {
        By::Backend("lifecycle: BACKEND".to_owned())
    };
    also.push(Duty::new("metadata", metadata));
    let mut fields = vec!["metadata.name".to_owned(), "metadata.namespace".to_owned()];
    if !resource.namespaced {
        fields.truncate(1);
    }
    fields.extend(resource.selectable_fields.iter().cloned());
    let selectors = format!("labels; fields {}", fields.join(", "));
    also.push(Duty::new("selectors", By::Aggregator(selectors)));
    also.extend(dry_run(resource));
    let checked =
        "types, unknown and duplicate fields (fieldValidation), names, labels and the rest of the metadata";
    also.push(Duty::new("validation", By::Aggregator(checked.to_owned())));
    let forms = "table, YAML, metadata alone, gzip; JSON as Kubernetes writes it";
    also.push(Duty::new("answers", By::Aggregator(forms.to_owned())));
    also
}

/// Which writes are checked by the backend under `?dryRun=All`, and which here.
fn dry_run(resource: &Resource) -> Vec<Duty> {
    let methods = &resource.methods;
    let by_field = [Source::DryRun, Source::DryRunFlag];
    let options = [Source::CreateOptions, Source::UpdateOptions];
    let whole = by_field.iter().chain(&options).copied().collect::<Vec<_>>();
    // A backend that overlooks dryRun in its many options would delete: it must have a field for it.
    let delete =
        if resource.managed { by_field.to_vec() } else { [&by_field[..], &[Source::DeleteOptions]].concat() };
    let (mut there, mut here) = (Vec::new(), Vec::new());
    for (verb, method, sources) in [
        ("create", &methods.create, &whole),
        ("update", &methods.update, &whole),
        ("delete", &methods.delete, &delete),
    ] {
        let Some(method) = method else { continue };
        let list = if sources.iter().any(|source| method.binds(source)) { &mut there } else { &mut here };
        list.push(verb);
    }
    let duty = |verbs: Vec<&str>, by: By| {
        (!verbs.is_empty()).then(|| Duty::new(format!("dry run of {}", verbs.join(", ")), by))
    };
    let native = duty(there, By::Backend("the request tells it".to_owned()));
    let made = duty(here, By::Aggregator("everything but the write".to_owned()));
    native.into_iter().chain(made).collect()
}
