//! The methods of a mapping -> what is called, field by field.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MethodDescriptor};

use crate::{
    mapping::{
        annotations::{self, OPERATION},
        derive::{is_message, is_string},
        facts::{Fact, MethodMapping, ResourceMapping, Value, Verb},
        merge,
        plan::{ActionPlan, Answer, Fill, MethodPlan, Plan, What},
    },
    model::fault::{Faults, Place},
    wire,
};

/// Compiles the methods of a resource into its plan.
pub(super) fn compile(
    pool: &DescriptorPool,
    mapping: &ResourceMapping,
    plan: &mut Plan,
    faults: &mut Faults,
) {
    for (verb, said) in mapping.methods.iter() {
        let Some(method) = find(pool, said, verb.as_str(), plan, faults) else { continue };
        let fills = fills(&method, said, plan, Some(verb), faults);
        let Some(answer) = answer(&method, said, verb, plan, faults) else { continue };
        let body = fills.iter().find(|fill| fill.what == What::Object);
        let body = body.and_then(|fill| method.input().get_field(fill.number));
        plan.methods.insert(
            verb,
            MethodPlan {
                path: path(&method),
                body: body.map_or_else(String::new, |field| field.name().to_owned()),
                fills,
                answer,
            },
        );
    }
    for (name, said) in &mapping.actions {
        let Some(method) = find(pool, said, name, plan, faults) else { continue };
        let fills = fills(&method, said, plan, None, faults);
        if let Some(action) = action(pool, name, &method, said, fills, plan, faults) {
            plan.actions.push(action);
        }
    }
}

fn path(method: &MethodDescriptor) -> std::sync::Arc<str> {
    format!("/{}/{}", method.parent_service().full_name(), method.name()).into()
}

fn find(
    pool: &DescriptorPool,
    said: &MethodMapping,
    verb: &str,
    plan: &Plan,
    faults: &mut Faults,
) -> Option<MethodDescriptor> {
    let name = said.method.as_ref().map_or("", |method| &method.value);
    let method = merge::method(pool, name);
    if method.is_none() {
        faults.add_field(
            &plan.message,
            verb,
            format!("the backend has no method {name:?}"),
            "write the full name: \"library.v1.LibraryService.GetBook\"",
        );
    }
    method
}

/// The request, field by field.
fn fills(
    method: &MethodDescriptor,
    said: &MethodMapping,
    plan: &Plan,
    verb: Option<Verb>,
    faults: &mut Faults,
) -> Vec<Fill> {
    let input = method.input();
    let mut fills = Vec::new();
    for (name, value) in &said.request {
        let Some(field) = input.get_field_by_name(name) else {
            faults.add_field(
                method,
                name,
                format!("the request {} has no such field", input.full_name()),
                "write the names of fields as the proto has them",
            );
            continue;
        };
        if value.value == Value::Nothing {
            continue;
        }
        match fill(&field, value, plan) {
            Ok(fill) => fills.push(fill),
            Err(why) => {
                faults.add_field(method, name, why, "write another value in the mapping file");
            }
        }
    }
    // What an action's request has beside comes from the body.
    for field in input.fields().filter(|_| verb.is_some()) {
        if annotations::behavior(&field).required && !said.request.contains_key(field.name()) {
            faults.add_field(
                method,
                field.name(),
                "is REQUIRED, and nothing says what it is filled with",
                format!(
                    "write `methods: {{{}: {{request: {{{}: ...}}}}}}` in a mapping file",
                    verb.map_or("", Verb::as_str),
                    field.name()
                ),
            );
        }
    }
    fills
}

fn fill(field: &FieldDescriptor, value: &Fact<Value>, plan: &Plan) -> Result<Fill, String> {
    let integer = matches!(field.kind(), Kind::Int64 | Kind::Int32 | Kind::Uint64 | Kind::Uint32);
    let single = !field.is_list();
    let (what, fits, wanted) = match &value.value {
        Value::Nothing => return Err("it is filled with nothing".to_owned()),
        Value::ResourceName | Value::Parent if plan.identity.resource_names().is_none() => {
            return Err("there is no resource name: names have no patterns".to_owned());
        }
        Value::ResourceName => (What::ResourceName, is_string(field), "string"),
        Value::Parent => (What::Parent, is_string(field), "string"),
        Value::Id => (What::Id, is_string(field) || (single && integer), "string or number"),
        Value::Namespace => (What::Namespace, is_string(field) || (single && integer), "string or number"),
        Value::Variable(name) => {
            let known = plan.identity.resource_names().is_some_and(|patterns| {
                patterns.all().iter().any(|pattern| pattern.variables().any(|v| v == name))
            });
            if !known {
                return Err(format!("no pattern has the variable {name:?}"));
            }
            (What::Variable(name.clone()), is_string(field) || (single && integer), "string or number")
        }
        Value::Object => {
            (What::Object, is_message(field, plan.message.full_name()), "message of the resource")
        }
        Value::Field(name) => {
            let Some(from) = plan.message.get_field_by_name(name) else {
                return Err(format!("{} has no field {name:?}", plan.message.full_name()));
            };
            let same = from.kind() == field.kind() && from.cardinality() == field.cardinality();
            (What::Field(from.number()), same, "field of the same type")
        }
        Value::UpdateMask => {
            (What::UpdateMask, is_message(field, "google.protobuf.FieldMask"), "google.protobuf.FieldMask")
        }
        Value::Etag => (What::Etag, is_string(field), "string"),
        Value::RequestId => (What::RequestId, is_string(field), "string"),
        Value::PageToken => (What::PageToken, is_string(field), "string"),
        Value::DryRun => (What::DryRun, single && field.kind() == Kind::Bool, "bool"),
        Value::PageSize => (What::PageSize, single && integer, "number"),
        Value::Constant(value) => {
            let bytes = constant(field, value).ok_or_else(|| format!("{value} is no value of it"))?;
            (What::Constant(bytes), true, "")
        }
    };
    if !fits {
        return Err(format!("it is no {wanted}"));
    }
    Ok(Fill { number: field.number(), what, integer })
}

/// A constant as a whole field on the wire.
fn constant(field: &FieldDescriptor, value: &serde_json::Value) -> Option<Vec<u8>> {
    if field.is_list() {
        return None;
    }
    let mut out = Vec::new();
    let number = field.number();
    match field.kind() {
        Kind::String => wire::put_bytes(&mut out, number, value.as_str()?.as_bytes()),
        Kind::Bool => wire::put_varint(&mut out, number, value.as_bool()?.into()),
        Kind::Int32 => {
            let value = i32::try_from(value.as_i64()?).ok()?;
            wire::put_varint(&mut out, number, i64::from(value).cast_unsigned());
        }
        Kind::Int64 => wire::put_varint(&mut out, number, value.as_i64()?.cast_unsigned()),
        Kind::Uint32 => wire::put_varint(&mut out, number, u32::try_from(value.as_u64()?).ok()?.into()),
        Kind::Uint64 => wire::put_varint(&mut out, number, value.as_u64()?),
        Kind::Enum(values) => {
            let value = i64::from(enum_value(&values, value)?);
            wire::put_varint(&mut out, number, value.cast_unsigned());
        }
        _ => return None,
    }
    Some(out)
}

fn enum_value(values: &EnumDescriptor, value: &serde_json::Value) -> Option<i32> {
    values.get_value_by_name(value.as_str()?).map(|value| value.number())
}

fn answer(
    method: &MethodDescriptor,
    said: &MethodMapping,
    verb: Verb,
    plan: &Plan,
    faults: &mut Faults,
) -> Option<Answer> {
    let output = method.output();
    if method.is_client_streaming() || method.is_server_streaming() {
        faults.add(
            method,
            format!("streams, which a {} does not", verb.as_str()),
            "name another method in the mapping file",
        );
        return None;
    }
    if verb == Verb::List {
        return list_answer(method, said, plan, faults);
    }
    if output == plan.message {
        return Some(Answer::Object);
    }
    if output.full_name() == OPERATION {
        let ends_in = said.operation.as_ref().map_or("", |ends_in| &ends_in.value);
        if verb != Verb::Delete && ends_in != plan.message.full_name() {
            faults.add(
                method,
                format!(
                    "answers with an operation, and what it ends in ({ends_in:?}) is not the {}",
                    plan.kind
                ),
                "write `(google.longrunning.operation_info)` at the method, or `operation` in a mapping file",
            );
            return None;
        }
        return Some(Answer::Operation);
    }
    if let Some(items) = &said.items {
        return match output.get_field_by_name(&items.value) {
            Some(field) if is_message(&field, plan.message.full_name()) => {
                Some(Answer::Within(field.number()))
            }
            _ => {
                faults.add_field(
                    method,
                    &items.value,
                    format!("the answer {} has no such {}", output.full_name(), plan.kind),
                    "write in the mapping file which field of the answer is the object",
                );
                None
            }
        };
    }
    if verb == Verb::Get {
        faults.add(
            method,
            format!("answers with {}, not with the {}", output.full_name(), plan.kind),
            "write `methods: {get: {items: ...}}` in the mapping file: the field of the answer that is the object",
        );
        return None;
    }
    Some(Answer::Nothing)
}

fn list_answer(
    method: &MethodDescriptor,
    said: &MethodMapping,
    plan: &Plan,
    faults: &mut Faults,
) -> Option<Answer> {
    let output = method.output();
    let of = |name: &str| output.get_field_by_name(name);
    let items = said.items.as_ref().and_then(|items| of(&items.value));
    let items = items.filter(|f| f.is_list() && matches!(f.kind(), Kind::Message(m) if m == plan.message));
    let Some(items) = items else {
        faults.add(
            method,
            format!("which field of {} is the list of objects is not known", output.full_name()),
            "write `methods: {list: {items: ...}}` in a mapping file",
        );
        return None;
    };
    let token = said.next_page_token.as_ref().and_then(|token| of(&token.value)).filter(is_string);
    if let (Some(said), None) = (&said.next_page_token, &token) {
        faults.add_field(
            method,
            &said.value,
            format!("the answer {} has no such string", output.full_name()),
            "write in the mapping file which field of the answer is the token of the next page",
        );
    }
    let unreachable = of("unreachable").filter(|f| f.is_list() && f.kind() == Kind::String);
    Some(Answer::List {
        items: items.number(),
        next_page_token: token.map(|field| field.number()),
        unreachable: unreachable.map(|field| field.number()),
    })
}

fn action(
    pool: &DescriptorPool,
    name: &str,
    method: &MethodDescriptor,
    said: &MethodMapping,
    fills: Vec<Fill>,
    plan: &Plan,
    faults: &mut Faults,
) -> Option<ActionPlan> {
    if method.is_client_streaming() {
        faults.add(method, "takes a stream of requests", "leave it out of the mapping file");
        return None;
    }
    let input = method.input();
    let mut free = (1..19_000).filter(|number| input.get_field(*number).is_none());
    let (Some(name_number), Some(namespace)) = (free.next(), free.next()) else {
        faults.add(method, "has too many fields", "leave it out of the mapping file");
        return None;
    };
    let operation = method.output().full_name() == OPERATION;
    let output = match &said.operation {
        Some(ends_in) if operation => pool.get_message_by_name(&ends_in.value),
        _ => Some(method.output()),
    };
    let Some(output) = output else {
        faults.add(
            method,
            format!(
                "ends in {:?}, which the backend does not have",
                said.operation.as_ref().map(|o| &o.value)
            ),
            "write `operation` in a mapping file: the full name of what the operation ends in",
        );
        return None;
    };
    let answer = match (operation && said.operation.is_some(), output == plan.message) {
        (true, _) => Answer::Operation,
        (false, true) => Answer::Object,
        (false, false) => Answer::Nothing,
    };
    Some(ActionPlan {
        name: name.to_owned(),
        path: path(method),
        streaming: method.is_server_streaming(),
        fills,
        name_number,
        namespace: plan.identity.namespaced().then_some(namespace),
        answer,
        input,
        output,
    })
}

/// Reports what a resource must have and has not.
pub(in crate::mapping) fn check(plan: &Plan, faults: &mut Faults) {
    let place = || Place::from(&plan.message);
    let singleton = plan
        .identity
        .resource_names()
        .is_some_and(|patterns| patterns.all().iter().all(super::super::names::Pattern::is_singleton));
    let has = |verb| plan.methods.contains_key(&verb);
    let listed = has(Verb::List) || (singleton && has(Verb::Get));
    if !listed {
        faults.add(
            place(),
            format!("{} has no List", plan.kind),
            "write `methods: {list: {method: ..., items: ...}}` in a mapping file, or a standard List (AIP-132)",
        );
    }
    for verb in [Verb::Create, Verb::Update] {
        let Some(method) = plan.methods.get(&verb) else { continue };
        let carries = |fill: &Fill| matches!(fill.what, What::Object | What::Field(_));
        if !method.fills.iter().any(carries) {
            faults.add_field(
                place(),
                verb.as_str(),
                format!("nothing in the request of {} is filled from the object", method.path),
                "write `request: {FIELD: object}` (or `{field: ...}`) in a mapping file",
            );
        }
    }
    let needs: BTreeMap<Verb, &[What]> = [
        (Verb::Get, &[What::ResourceName, What::Id][..]),
        (Verb::Delete, &[What::ResourceName, What::Id][..]),
    ]
    .into();
    for (verb, wanted) in needs {
        let Some(method) = plan.methods.get(&verb) else { continue };
        let named = wanted.iter().any(|what| method.fills(what))
            || method.fills.iter().any(|fill| matches!(fill.what, What::Variable(_)))
            || (singleton && verb == Verb::Get && method.fills(&What::Parent));
        if !named {
            faults.add_field(
                place(),
                verb.as_str(),
                format!("nothing in the request of {} says which object is meant", method.path),
                "write `request: {FIELD: resourceName}` (or `id`) in a mapping file",
            );
        }
    }
}
