//! Wire twins: messages whose bytes are what a Kubernetes client reads as `application/vnd.kubernetes.protobuf`.
//!
//! `kubridge.v1` has Kubernetes' own field numbers and types. Where the rest has no enum (Kubernetes has strings) and
//! no google.protobuf type (Kubernetes has its own), an object can be relayed undecoded.

use std::collections::HashSet;

use prost_reflect::{Kind, MessageDescriptor};

use super::Resource;

/// The packages whose messages are twins already, and those that are none.
const TWINS: &str = "kubridge.v1.";
const OTHERS: &str = "google.protobuf.";

impl Resource {
    /// What keeps its objects from being relayed as Kubernetes' protobuf undecoded, by path: "spec.power is an enum".
    /// Empty: nothing does.
    pub fn twin_obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        walk(self.message.descriptor(), "", &mut HashSet::new(), &mut obstacles);
        obstacles
    }
}

/// Each message is looked at once, at the first path that leads to it: there may be very many paths.
fn walk(message: &MessageDescriptor, path: &str, seen: &mut HashSet<String>, obstacles: &mut Vec<String>) {
    if !seen.insert(message.full_name().to_owned()) {
        return;
    }
    for field in message.fields() {
        let path = if path.is_empty() {
            field.json_name().to_owned()
        } else {
            format!("{path}.{}", field.json_name())
        };
        let kind = match field.kind() {
            Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
            kind => kind,
        };
        match kind {
            Kind::Enum(_) => obstacles.push(format!("{path} is an enum")),
            Kind::Message(inner) if inner.full_name().starts_with(OTHERS) => {
                obstacles.push(format!("{path} is a {}", inner.full_name()));
            }
            Kind::Message(inner) if inner.full_name().starts_with(TWINS) => {}
            Kind::Message(inner) => walk(&inner, &path, seen, obstacles),
            _ => {}
        }
    }
}
