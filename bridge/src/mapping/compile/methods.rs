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
    model::{catalogue::Problem, fault::Faults},
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
        faults.report_field(&plan.message, verb, Problem::no_such_method(name));
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
            faults.report_field(method, name, Problem::no_such_request_field(input.full_name()));
            continue;
        };
        match fill(&field, value, plan) {
            Ok(fill) => fills.extend(fill),
            Err(problem) => faults.report_field(method, name, problem),
        }
    }
    // What an action's request has beside comes from the body.
    for field in input.fields().filter(|_| verb.is_some()) {
        if annotations::behavior(&field).required && !said.request.contains_key(field.name()) {
            let verb = verb.map_or("", Verb::as_str);
            faults.report_field(method, field.name(), Problem::required_unfilled(verb, field.name()));
        }
    }
    fills
}

/// What a field is filled with; `None`: nothing.
fn fill(field: &FieldDescriptor, value: &Fact<Value>, plan: &Plan) -> Result<Option<Fill>, Problem> {
    let integer = matches!(field.kind(), Kind::Int64 | Kind::Int32 | Kind::Uint64 | Kind::Uint32);
    let single = !field.is_list();
    let (what, fits, wanted) = match &value.value {
        Value::Nothing => return Ok(None),
        Value::ResourceName | Value::Parent if plan.identity.resource_names().is_none() => {
            return Err(Problem::fill_without_patterns());
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
                return Err(Problem::fill_no_such_variable(name));
            }
            (What::Variable(name.clone()), is_string(field) || (single && integer), "string or number")
        }
        Value::Object => {
            (What::Object, is_message(field, plan.message.full_name()), "message of the resource")
        }
        Value::Field(name) => {
            let Some(from) = plan.message.get_field_by_name(name) else {
                return Err(Problem::fill_no_such_field(plan.message.full_name(), name));
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
            let bytes = constant(field, value).ok_or_else(|| Problem::fill_no_such_value(value))?;
            (What::Constant(bytes), true, "")
        }
    };
    if !fits {
        return Err(Problem::fill_type(wanted));
    }
    Ok(Some(Fill { number: field.number(), what, integer }))
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
        faults.report(method, Problem::verb_streams(verb.as_str()));
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
            faults.report(method, Problem::operation_of_another(ends_in, &plan.kind));
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
                let problem = Problem::no_object_in_answer(output.full_name(), &plan.kind);
                faults.report_field(method, &items.value, problem);
                None
            }
        };
    }
    if verb == Verb::Get {
        faults.report(method, Problem::another_answer(output.full_name(), &plan.kind));
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
        faults.report(method, Problem::no_list_in_answer(output.full_name()));
        return None;
    };
    let token = said.next_page_token.as_ref().and_then(|token| of(&token.value)).filter(is_string);
    if let (Some(said), None) = (&said.next_page_token, &token) {
        faults.report_field(method, &said.value, Problem::no_token_in_answer(output.full_name()));
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
        faults.report(method, Problem::action_streams_requests());
        return None;
    }
    let input = method.input();
    // All but those that protobuf keeps for itself.
    let numbers = (1..19_000).chain(20_000..=536_870_911);
    let mut free = numbers.filter(|number| input.get_field(*number).is_none());
    let mut next = || free.next().expect("no message has half a billion fields");
    let (name_number, namespace) = (next(), next());
    let operation = method.output().full_name() == OPERATION;
    let output = match &said.operation {
        Some(ends_in) if operation => pool.get_message_by_name(&ends_in.value),
        _ => Some(method.output()),
    };
    let Some(output) = output else {
        let ends_in = said.operation.as_ref().map_or("", |ends_in| &ends_in.value);
        faults.report(method, Problem::operation_of_nothing(ends_in));
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
    let singleton = plan
        .identity
        .resource_names()
        .is_some_and(|patterns| patterns.all().iter().all(super::super::names::Pattern::is_singleton));
    let has = |verb| plan.methods.contains_key(&verb);
    let listed = has(Verb::List) || (singleton && has(Verb::Get));
    if !listed {
        faults.report(&plan.message, Problem::nothing_lists(&plan.kind));
    }
    for verb in [Verb::Create, Verb::Update] {
        let Some(method) = plan.methods.get(&verb) else { continue };
        let carries = |fill: &Fill| matches!(fill.what, What::Object | What::Field(_));
        if !method.fills.iter().any(carries) {
            faults.report_field(&plan.message, verb.as_str(), Problem::object_left_out(&method.path));
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
            faults.report_field(&plan.message, verb.as_str(), Problem::name_left_out(&method.path));
        }
    }
}
