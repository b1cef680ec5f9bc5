//! Standard methods (AIP-131 to AIP-135) and custom ones (AIP-136) of derived resources.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use super::{Doubt, Found, is_message, is_string};
use crate::{
    mapping::{
        annotations::{self, OPERATION},
        facts::{Fact, MethodMapping, Value, Verb},
    },
    model::{catalogue::Problem, fault::Faults, names},
};

/// Finds the methods of every resource. What is there twice is left to the reader.
pub(super) fn bind(pool: &DescriptorPool, found: &mut [Found], advice: &mut Faults) -> Vec<Doubt> {
    let mut custom: Vec<MethodDescriptor> = Vec::new();
    let mut doubts = Vec::new();
    for service in pool.services() {
        let mut rest = Vec::new();
        let mut any = false;
        for method in service.methods() {
            let Some((at, verb)) = standard(&method, found) else {
                rest.push(method);
                continue;
            };
            any = true;
            let Some(found) = found.get_mut(at) else { continue };
            if found.resource.methods.of(verb).is_some() {
                doubts.push(Doubt { resource: at, verb, method });
            } else {
                let mapping = mapping(found, verb, &method);
                *found.resource.methods.place(verb) = Some(mapping);
            }
        }
        if any {
            custom.extend(rest);
        }
    }
    for method in custom {
        action(&method, found, advice);
    }
    doubts
}

/// What follows from the messages of a method that a mapping file names.
pub(in crate::mapping) fn complete(found: &Found, verb: Verb, method: &MethodDescriptor) -> MethodMapping {
    mapping(found, verb, method)
}

/// What follows from the messages of a custom method that a mapping file names.
pub(in crate::mapping) fn custom(method: &MethodDescriptor) -> MethodMapping {
    let name = method.input().get_field_by_name("name").filter(is_string);
    let filled = name.map(|field| (field.name().to_owned(), Fact::derived(Value::ResourceName, "AIP-136")));
    MethodMapping {
        method: named(method),
        request: filled.into_iter().collect(),
        operation: operation_of(method),
        ..MethodMapping::default()
    }
}

/// The verb that a method's name begins with.
fn verb_of(method: &MethodDescriptor) -> Option<Verb> {
    Verb::ALL.into_iter().find(|verb| rest_of(method, *verb).is_some())
}

/// The resource and the verb of a standard method.
fn standard(method: &MethodDescriptor, found: &[Found]) -> Option<(usize, Verb)> {
    if method.is_client_streaming() || method.is_server_streaming() {
        return None;
    }
    let verb = verb_of(method)?;
    let rest = rest_of(method, verb)?;
    let (input, output) = (method.input(), method.output());
    let fits = |found: &Found| {
        let named = |name: &str| rest == name || rest == found.message.name();
        match verb {
            Verb::Get => named(found.kind()) && output == found.message && text(&input, "name"),
            Verb::List => {
                (rest == plural_words(found) || rest.eq_ignore_ascii_case(plural(found)))
                    && items(&output, &found.message).is_some()
            }
            Verb::Create | Verb::Update => {
                named(found.kind())
                    && body(&input, &found.message).is_some()
                    && (output == found.message || operation(method, found))
            }
            Verb::Delete => {
                named(found.kind())
                    && text(&input, "name")
                    && input.package_name() == found.message.package_name()
            }
        }
    };
    found.iter().position(fits).map(|at| (at, verb))
}

fn rest_of(method: &MethodDescriptor, verb: Verb) -> Option<&str> {
    let word = match verb {
        Verb::Get => "Get",
        Verb::List => "List",
        Verb::Create => "Create",
        Verb::Update => "Update",
        Verb::Delete => "Delete",
    };
    // The descriptor lives as long as the pool, and its name with it.
    let rest = method.name().strip_prefix(word)?;
    rest.starts_with(|c: char| c.is_ascii_uppercase()).then_some(rest)
}

fn plural(found: &Found) -> &str {
    found.resource.plural.as_ref().map_or("", |plural| &plural.value)
}

/// The plural as a method's name has it: "userEvents" is "UserEvents".
fn plural_words(found: &Found) -> String {
    let mut chars = found.declared.plural.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

fn text(message: &MessageDescriptor, name: &str) -> bool {
    message.get_field_by_name(name).is_some_and(|field| is_string(&field))
}

/// The field that is the resource.
fn body(input: &MessageDescriptor, resource: &MessageDescriptor) -> Option<FieldDescriptor> {
    input.fields().find(|field| is_message(field, resource.full_name()))
}

/// The field that is the list of resources.
fn items(output: &MessageDescriptor, resource: &MessageDescriptor) -> Option<FieldDescriptor> {
    output
        .fields()
        .find(|field| field.is_list() && matches!(field.kind(), Kind::Message(m) if m == *resource))
}

/// Whether the method ends in the resource by way of an operation.
fn operation(method: &MethodDescriptor, found: &Found) -> bool {
    method.output().full_name() == OPERATION
        && annotations::operation_info(method).is_none_or(|info| {
            annotations::full_name(method, &info.response_type) == found.message.full_name()
        })
}

fn named(method: &MethodDescriptor) -> Option<Fact<String>> {
    Some(Fact::derived(method.full_name().to_owned(), "its name and its messages"))
}

fn mapping(found: &Found, verb: Verb, method: &MethodDescriptor) -> MethodMapping {
    let (input, output) = (method.input(), method.output());
    let mut mapping = MethodMapping {
        method: named(method),
        request: request(found, verb, &input),
        operation: operation_of(method),
        ..MethodMapping::default()
    };
    if verb == Verb::List {
        let fact = |field: FieldDescriptor| Fact::derived(field.name().to_owned(), "AIP-132 and AIP-158");
        mapping.items = items(&output, &found.message).map(fact);
        mapping.next_page_token = output.get_field_by_name("next_page_token").filter(is_string).map(fact);
    }
    mapping
}

fn operation_of(method: &MethodDescriptor) -> Option<Fact<String>> {
    if method.output().full_name() != OPERATION {
        return None;
    }
    let info = annotations::operation_info(method)?;
    Some(Fact::derived(
        annotations::full_name(method, &info.response_type),
        "google.longrunning.operation_info",
    ))
}

fn request(found: &Found, verb: Verb, input: &MessageDescriptor) -> BTreeMap<String, Fact<Value>> {
    let id = format!("{}_id", snake(found));
    let mut filled = BTreeMap::new();
    for field in input.fields() {
        let aip = |value, number: u32| Some(Fact::derived(value, format!("AIP-{number}")));
        let value = match (field.name(), verb) {
            ("name", Verb::Get | Verb::Delete) if is_string(&field) => aip(Value::ResourceName, 131),
            ("parent", Verb::List | Verb::Create) if is_string(&field) => aip(Value::Parent, 132),
            (name, Verb::Create) if name == id && is_string(&field) => aip(Value::Id, 133),
            (_, Verb::Create | Verb::Update) if is_message(&field, found.message.full_name()) => {
                aip(Value::Object, 133)
            }
            ("update_mask", Verb::Update) if is_message(&field, "google.protobuf.FieldMask") => {
                aip(Value::UpdateMask, 134)
            }
            ("etag", Verb::Update | Verb::Delete) if is_string(&field) => aip(Value::Etag, 154),
            ("request_id", Verb::Create) if is_string(&field) => aip(Value::RequestId, 155),
            ("page_size", Verb::List) if field.kind() == Kind::Int32 => aip(Value::PageSize, 158),
            ("page_token", Verb::List) if is_string(&field) => aip(Value::PageToken, 158),
            ("view", Verb::Get | Verb::List) => {
                full_view(&field).and_then(|full| aip(Value::Constant(full.into()), 157))
            }
            ("validate_only", Verb::Create | Verb::Update | Verb::Delete) if field.kind() == Kind::Bool => {
                aip(Value::DryRun, 163)
            }
            _ => None,
        };
        if let Some(value) = value {
            filled.insert(field.name().to_owned(), value);
        }
    }
    filled
}

/// The value of a view that shows everything: a list shows less unless it is asked for (AIP-157).
fn full_view(field: &FieldDescriptor) -> Option<String> {
    let Kind::Enum(view) = field.kind() else { return None };
    let full = |name: &str| name == "FULL" || name.ends_with("_FULL");
    view.values().map(|value| value.name().to_owned()).find(|name| full(name))
}

/// "user_event" of "UserEvent": how the id of a new one begins.
fn snake(found: &Found) -> String {
    let singular = if found.declared.singular.is_empty() { found.kind() } else { &found.declared.singular };
    let mut out = String::with_capacity(singular.len() + 4);
    for c in singular.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A custom method of one object becomes a subresource of it.
fn action(method: &MethodDescriptor, found: &mut [Found], advice: &mut Faults) {
    let name = method.input().get_field_by_name("name").filter(is_string);
    let Some(field) = name else {
        advice.report(method, Problem::custom_without_name());
        return;
    };
    let reference = annotations::reference(&field);
    let of = |found: &&mut Found| {
        if reference.is_empty() {
            method.name().ends_with(found.kind()) || method.output() == found.message
        } else {
            found.declared.r#type == reference
        }
    };
    let Some(found) = found.iter_mut().find(of) else {
        advice.report(method, Problem::custom_of_nobody());
        return;
    };
    let verb = annotations::http_verb(method);
    let from = if verb.is_some() { "google.api.http" } else { "the method's name" };
    let words =
        verb.unwrap_or_else(|| method.name().strip_suffix(found.kind()).unwrap_or(method.name()).to_owned());
    let subresource = words.to_ascii_lowercase();
    let problem = if method.is_client_streaming() {
        Some(Problem::custom_streams_requests(method.parent_service().full_name()))
    } else if !names::is_label(&subresource) || matches!(subresource.as_str(), "status" | "scale") {
        Some(Problem::custom_named_badly(&subresource))
    } else if found.resource.actions.contains_key(&subresource) {
        Some(Problem::custom_twice(&subresource))
    } else {
        None
    };
    if let Some(problem) = problem {
        advice.report(method, problem);
        return;
    }
    let mapping =
        MethodMapping { method: Some(Fact::derived(method.full_name().to_owned(), from)), ..custom(method) };
    found.resource.actions.insert(subresource, mapping);
}
