//! Field paths: a backend may name fields as its proto does, clients know the JSON names.

use prost_reflect::{Kind, MessageDescriptor};

/// The path in JSON names: `spec.serial_number` -> `spec.serialNumber`, `spec.pod_cidr` -> `spec.podCIDR` where
/// `message` says so. What is in brackets stays. A first segment that is `wrapper` (the request's field that holds
/// the object) is dropped.
pub fn json_path(path: &str, message: Option<&MessageDescriptor>, wrapper: &str) -> String {
    let mut segments = split(path);
    if !wrapper.is_empty()
        && segments.len() > 1
        && segments[0] == wrapper
        && message.is_none_or(|m| m.get_field_by_name(wrapper).is_none())
    {
        segments.remove(0);
    }
    let mut at = message.cloned();
    let mut out = String::with_capacity(path.len());
    for segment in segments {
        let (name, brackets) = match segment.find('[') {
            Some(i) => segment.split_at(i),
            None => (segment, ""),
        };
        if !out.is_empty() {
            out.push('.');
        }
        let field =
            at.as_ref().and_then(|m| m.get_field_by_name(name).or_else(|| m.get_field_by_json_name(name)));
        match &field {
            Some(field) => out.push_str(field.json_name()),
            None => push_lower_camel(&mut out, name),
        }
        out.push_str(brackets);
        at = field.and_then(|field| match field.kind() {
            Kind::Message(inner) if field.is_map() => {
                inner.map_entry_value_field().kind().as_message().cloned().filter(|_| !brackets.is_empty())
            }
            Kind::Message(inner) => Some(inner),
            _ => None,
        });
    }
    out
}

/// At dots that are not in brackets.
fn split(path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (i, byte) in path.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            b'.' if depth == 0 => {
                segments.push(&path[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    segments.push(&path[start..]);
    segments
}

fn push_lower_camel(out: &mut String, name: &str) {
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.push(c.to_ascii_uppercase());
        } else {
            out.push(c);
        }
    }
}
