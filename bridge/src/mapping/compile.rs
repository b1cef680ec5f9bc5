//! A mapping and the descriptors -> plans, or every fault of it.

pub(super) mod methods;
mod operations;

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use super::{
    derive::{is_string, is_string_map, is_timestamp},
    facts::{Home, ResourceMapping},
    identity::{Identity, Key},
    names::Patterns,
    plan::{Learnt, Plan},
    shape::Shapes,
};
use crate::model::{catalogue::Problem, fault::Faults, names, resource};

/// What the contract form of a resource is called.
#[derive(Debug, Clone, Default)]
pub(super) struct Titles {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) plural: String,
    pub(super) singular: String,
}

/// Compiles one resource. `None`: it has faults that leave nothing to go on with.
pub(super) fn resource(
    pool: &DescriptorPool,
    mapping: &ResourceMapping,
    faults: &mut Faults,
) -> Option<(Titles, Plan)> {
    let name = mapping.message.as_ref().map_or("", |message| &message.value);
    let message = pool.get_message_by_name(name).expect("it was found in this pool");
    let titles = titles(&message, mapping, faults);
    let homes = homes(&message, mapping, faults);
    let identity = identity(&message, mapping, faults)?;
    let flagged = |flag: fn(&super::facts::FieldMapping) -> bool| -> Vec<FieldDescriptor> {
        message.fields().filter(|field| mapping.fields.get(field.name()).is_some_and(flag)).collect()
    };
    let numbers = |fields: Vec<FieldDescriptor>| fields.iter().map(FieldDescriptor::number).collect();
    let mut plan = Plan {
        kind: titles.kind.clone(),
        shapes: Shapes::of(&message),
        required: flagged(|f| f.required.as_ref().is_some_and(|fact| fact.value))
            .iter()
            .map(|field| (field.number(), field.name().to_owned()))
            .collect(),
        immutable: numbers(flagged(|f| f.immutable.as_ref().is_some_and(|fact| fact.value))),
        input_only: numbers(flagged(|f| f.input_only.as_ref().is_some_and(|fact| fact.value))),
        has_status: homes.values().any(|home| *home == Home::Status),
        parents: Vec::new(),
        any_parent: Learnt::default(),
        operations: None,
        methods: Default::default(),
        actions: Vec::new(),
        metadata: homes
            .iter()
            .filter(|(_, home)| !matches!(home, Home::Spec | Home::Status | Home::Nowhere))
            .map(|(number, home)| (*home, *number))
            .collect(),
        homes,
        identity,
        message,
    };
    methods::compile(pool, mapping, &mut plan, faults);
    plan.operations = operations::compile(pool, mapping, &plan);
    plan.has_status |= plan.operations.is_some();
    Some((titles, plan))
}

fn titles(message: &MessageDescriptor, mapping: &ResourceMapping, faults: &mut Faults) -> Titles {
    let or = |fact: &Option<super::facts::Fact<String>>| fact.as_ref().map(|fact| fact.value.clone());
    let kind = or(&mapping.kind).unwrap_or_else(|| message.name().to_owned());
    let titles = Titles {
        group: or(&mapping.group).unwrap_or_default(),
        version: or(&mapping.version).unwrap_or_default(),
        plural: or(&mapping.plural).unwrap_or_else(|| names::plural(&kind)),
        singular: or(&mapping.singular).unwrap_or_else(|| kind.to_ascii_lowercase()),
        kind,
    };
    if !names::is_subdomain(&titles.group) {
        faults.report_field(message, "group", Problem::mapped_group(&titles.group));
    }
    // An absent one was reported where it was looked for.
    if !names::is_version(&titles.version) && mapping.version.is_some() {
        faults.report_field(message, "version", Problem::mapped_version(&titles.version));
    }
    if !names::is_kind(&titles.kind) || resource::RESERVED_KINDS.contains(&titles.kind.as_str()) {
        faults.report_field(message, "kind", Problem::mapped_kind(&titles.kind));
    }
    for (part, name) in [("plural", &titles.plural), ("singular", &titles.singular)] {
        if !names::is_label(name) || resource::RESERVED_PLURALS.contains(&name.as_str()) {
            faults.report_field(message, part, Problem::mapped_name(name, part));
        }
    }
    titles
}

fn homes(message: &MessageDescriptor, mapping: &ResourceMapping, faults: &mut Faults) -> HashMap<u32, Home> {
    for name in mapping.fields.keys().filter(|name| message.get_field_by_name(name).is_none()) {
        faults.report_field(message, name, Problem::no_such_field(message.full_name()));
    }
    let mut homes = HashMap::new();
    let mut taken: HashMap<Home, String> = HashMap::new();
    for field in message.fields() {
        let said = mapping.fields.get(field.name()).and_then(|field| field.to.as_ref());
        let home = said.map_or(Home::Spec, |said| said.value);
        if field.is_group() {
            faults.report_field(message, field.name(), Problem::group_field(field.name()));
        }
        if let Some(type_name) = misfit(&field, home) {
            faults.report_field(message, field.name(), Problem::misplaced_field(home.as_str(), type_name));
        }
        if !matches!(home, Home::Spec | Home::Status | Home::Nowhere)
            && let Some(other) = taken.insert(home, field.name().to_owned())
        {
            faults.report_field(message, field.name(), Problem::place_taken(other, home.as_str()));
        }
        homes.insert(field.number(), home);
    }
    homes
}

/// The type that a field must have to go there, where it has another.
fn misfit(field: &FieldDescriptor, home: Home) -> Option<&'static str> {
    let (fits, name) = match home {
        Home::Spec | Home::Status | Home::Nowhere => return None,
        Home::Name | Home::Namespace => (is_string(field) || is_integer(field), "string or number"),
        Home::Uid | Home::ResourceVersion => (is_string(field), "string"),
        Home::CreationTimestamp | Home::UpdateTime | Home::DeleteTime => {
            (is_timestamp(field), "google.protobuf.Timestamp")
        }
        Home::Labels | Home::Annotations => (is_string_map(field), "map<string, string>"),
    };
    (!fits).then_some(name)
}

fn is_integer(field: &FieldDescriptor) -> bool {
    !field.is_list() && matches!(field.kind(), Kind::Int64 | Kind::Int32 | Kind::Uint64 | Kind::Uint32)
}

fn identity(message: &MessageDescriptor, mapping: &ResourceMapping, faults: &mut Faults) -> Option<Identity> {
    let names = &mapping.names;
    let field_name = names.field.as_ref().map_or("name", |field| &field.value);
    let Some(field) = message.get_field_by_name(field_name) else {
        faults.report_field(message, field_name, Problem::no_name_field());
        return None;
    };
    if !is_string(&field) && (names.patterns.is_some() || !is_integer(&field)) {
        faults.report_field(message, field_name, Problem::name_field_type());
        return None;
    }
    let Some(patterns) = &names.patterns else {
        let key = |field: &FieldDescriptor| Key { number: field.number(), integer: is_integer(field) };
        let namespace = match names.namespace_field.as_ref() {
            None => None,
            Some(name) => match message.get_field_by_name(&name.value) {
                Some(field) if is_string(&field) || is_integer(&field) => Some(key(&field)),
                _ => {
                    faults.report_field(message, &name.value, Problem::no_namespace_field());
                    return None;
                }
            },
        };
        let pattern = if namespace.is_some() { "n/{namespace}/o/{name}" } else { "o/{name}" };
        let patterns = Patterns::new(&[pattern.to_owned()]).expect("it is a pattern");
        return Some(Identity::Fields { name: key(&field), namespace, patterns });
    };
    if patterns.value.is_empty() {
        // It was reported where it was looked for.
        return None;
    }
    match Patterns::new(&patterns.value) {
        Ok(patterns) => Some(Identity::Patterns { field: field.number(), patterns }),
        Err(why) => {
            faults.report_field(message, "pattern", Problem::bad_pattern(why));
            None
        }
    }
}
