//! What a schema reaches, and whether two enum values get one name in JSON.

use std::collections::{BTreeMap, HashSet};

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};

use super::{annotation, catalogue::Problem, fault::Faults, path};
use crate::transcode::enum_value_name;

/// Checks the options of every field and the names of every enum value that `roots` reach. Messages that have a JSON form of their own do not count.
pub(super) fn check(roots: impl IntoIterator<Item = MessageDescriptor>, faults: &mut Faults) {
    let (messages, enums) = reachable(roots);
    for message in &messages {
        fields(message, faults);
    }
    for descriptor in &enums {
        values(descriptor, faults);
    }
}

/// All messages (maps' entries not among them) and enums that `roots` reach, sorted by name.
pub(crate) fn reachable(
    roots: impl IntoIterator<Item = MessageDescriptor>,
) -> (Vec<MessageDescriptor>, Vec<EnumDescriptor>) {
    let mut todo: Vec<MessageDescriptor> = roots.into_iter().collect();
    let mut seen: HashSet<String> = todo.iter().map(|message| message.full_name().to_owned()).collect();
    let (mut messages, mut enums) = (BTreeMap::new(), BTreeMap::new());
    while let Some(message) = todo.pop() {
        if path::is_free(message.full_name()) || path::is_scalar(message.full_name()) {
            continue;
        }
        for field in message.fields() {
            match field.kind() {
                Kind::Message(next) if seen.insert(next.full_name().to_owned()) => todo.push(next),
                Kind::Enum(next) => {
                    enums.insert(next.full_name().to_owned(), next);
                }
                _ => {}
            }
        }
        if !message.is_map_entry() {
            messages.insert(message.full_name().to_owned(), message);
        }
    }
    (messages.into_values().collect(), enums.into_values().collect())
}

fn fields(message: &MessageDescriptor, faults: &mut Faults) {
    for field in message.fields() {
        if let Err(error) = annotation::read_field(&field) {
            let problem = Problem::undecodable_option("kubridge.v1.field", error);
            faults.report_field(message, field.name(), problem);
        }
    }
}

fn values(descriptor: &EnumDescriptor, faults: &mut Faults) {
    let mut names: BTreeMap<String, (i32, String)> = BTreeMap::new();
    for value in descriptor.values() {
        if let Err(error) = annotation::value(&value) {
            let problem = Problem::undecodable_option("kubridge.v1.value", error);
            faults.report_field(descriptor, value.name(), problem);
            continue;
        }
        let name = enum_value_name(&value);
        match names.get(&name) {
            Some((number, other)) if *number != value.number() => {
                let problem = Problem::value_name_twice(value.name(), other, name);
                faults.report_field(descriptor, value.name(), problem);
            }
            Some(_) => {} // an alias: the same number
            None => {
                names.insert(name, (value.number(), value.name().to_owned()));
            }
        }
    }
    // JSON in also takes the proto names: one value's name in JSON must not be another's in proto.
    for value in descriptor.values() {
        if let Some((number, other)) = names.get(value.name())
            && *number != value.number()
        {
            faults.report_field(descriptor, other, Problem::value_is_a_proto_name(other, value.name()));
        }
    }
}
