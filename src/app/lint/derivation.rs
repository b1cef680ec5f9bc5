//! A mapping, for people: each fact, and what it follows from.

use std::fmt::{Display, Write as _};

use kubridge_bridge::mapping::{Fact, Mapping, MethodMapping, Origin, ResourceMapping, Value};

/// Appends all that is known of a service.
pub(super) fn describe(mapping: &Mapping, text: &mut String) {
    for resource in &mapping.resources {
        let kind = resource.kind.as_ref().map_or("", |kind| &kind.value);
        let _ = writeln!(text, "\n{kind}");
        titles(resource, text);
        for (name, field) in &resource.fields {
            line(text, &format!("field {name}"), field.to.as_ref().map(|to| fact(to, to.value.as_str())));
            for (what, flag) in [
                ("required", &field.required),
                ("immutable", &field.immutable),
                ("input only", &field.input_only),
            ] {
                let flag = flag.as_ref().filter(|flag| flag.value);
                line(text, &format!("field {name}"), flag.map(|flag| fact(flag, what)));
            }
        }
        for (verb, method) in resource.methods.iter() {
            describe_method(verb.as_str(), method, text);
        }
        for (name, action) in &resource.actions {
            describe_method(&format!("subresource {name}"), action, text);
        }
    }
}

fn titles(resource: &ResourceMapping, text: &mut String) {
    let names = &resource.names;
    for (what, said) in [
        ("message", &resource.message),
        ("group", &resource.group),
        ("version", &resource.version),
        ("kind", &resource.kind),
        ("plural", &resource.plural),
        ("singular", &resource.singular),
        ("name in", &names.field),
        ("namespace in", &names.namespace_field),
    ] {
        line(text, what, said.as_ref().map(|said| fact(said, &said.value)));
    }
    line(text, "names", names.patterns.as_ref().map(|said| fact(said, &said.value.join(", "))));
}

fn describe_method(what: &str, method: &MethodMapping, text: &mut String) {
    line(text, what, method.method.as_ref().map(|said| fact(said, &said.value)));
    for (field, value) in &method.request {
        line(text, &format!("{what}: {field}"), Some(fact(value, &words(&value.value))));
    }
    for (part, said) in [
        ("objects in", &method.items),
        ("next page in", &method.next_page_token),
        ("operation ends in", &method.operation),
    ] {
        line(text, &format!("{what}: {part}"), said.as_ref().map(|said| fact(said, &said.value)));
    }
}

fn line(text: &mut String, what: &str, said: Option<String>) {
    if let Some(said) = said {
        let _ = writeln!(text, "  {what:<32} {said}");
    }
}

fn fact<T>(fact: &Fact<T>, value: &(impl Display + ?Sized)) -> String {
    match &fact.origin {
        Origin::File => format!("{value}  (the mapping file)"),
        Origin::Derived(from) => format!("{value}  ({from})"),
    }
}

/// What a field of a request is filled with.
fn words(value: &Value) -> String {
    match value {
        Value::Nothing => "nothing".into(),
        Value::ResourceName => "the resource name".into(),
        Value::Parent => "the parent's name".into(),
        Value::Id => "the id".into(),
        Value::Variable(name) => format!("{{{name}}} of the name"),
        Value::Namespace => "the namespace".into(),
        Value::Object => "the object".into(),
        Value::Field(name) => format!("{name} of the object"),
        Value::UpdateMask => "which fields change".into(),
        Value::Etag => "the version that was read".into(),
        Value::DryRun => "dryRun".into(),
        Value::RequestId => "a new id for each create".into(),
        Value::PageSize => "limit".into(),
        Value::PageToken => "continue".into(),
        Value::Constant(value) => value.to_string(),
    }
}
