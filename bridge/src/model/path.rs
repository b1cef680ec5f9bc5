//! Follows a JSONPath through a message type: where it leads, or why it leads nowhere.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// What a path leads to.
#[derive(Debug, Clone)]
pub(super) enum Leaf {
    /// A field: the value itself, or one element where the path chose elements.
    Field {
        /// The field.
        field: FieldDescriptor,
        /// The path leads to an element of this list or map, not to all of it.
        element: bool,
    },
    /// `apiVersion`, `kind`, or something inside free-form JSON.
    Free,
}

/// Where the walk is.
#[derive(Debug, Clone)]
enum At {
    Message(MessageDescriptor),
    Field { field: FieldDescriptor, element: bool },
    Free,
}

/// Follows `path` (".spec.disks[0].size") from an object. The error says where it leads astray.
pub(super) fn follow(root: &MessageDescriptor, path: &str) -> Result<Leaf, String> {
    let inner = path.strip_prefix('{').and_then(|path| path.strip_suffix('}')).unwrap_or(path);
    if !inner.starts_with('.') {
        return Err("does not start with a dot".to_owned());
    }
    match walk(At::Message(root.clone()), Some(root), inner)? {
        At::Message(_) => Err("names no field".to_owned()),
        At::Field { field, element } => Ok(Leaf::Field { field, element }),
        At::Free => Ok(Leaf::Free),
    }
}

fn walk(mut at: At, root: Option<&MessageDescriptor>, path: &str) -> Result<At, String> {
    let mut rest = path;
    while !rest.is_empty() {
        if rest.starts_with("..") {
            return Ok(At::Free); // recursive descent: any type
        }
        if let Some(after) = rest.strip_prefix('.') {
            if after.starts_with('[') {
                rest = after;
                continue;
            }
            let (name, after) = name(after);
            if name.is_empty() {
                return Err("has an empty name".to_owned());
            }
            at = if name == "*" { any(&at) } else { member(&at, &name, root)? };
            rest = after;
        } else if rest.starts_with('[') {
            let end = bracket_end(rest).ok_or("has an open bracket")?;
            at = subscript(&at, &rest[1..end], root)?;
            rest = &rest[end + 1..];
        } else {
            return Err(format!("does not go on with a dot or a bracket at {rest:?}"));
        }
    }
    Ok(at)
}

/// A name up to the next dot or bracket; `\.` is a dot of the name.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

/// The index of the bracket that closes the first one; quotes protect.
fn bracket_end(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
    }
    None
}

fn subscript(at: &At, inside: &str, root: Option<&MessageDescriptor>) -> Result<At, String> {
    let inside = inside.trim();
    for quote in ['\'', '"'] {
        if let Some(name) = inside.strip_prefix(quote).and_then(|name| name.strip_suffix(quote)) {
            return member(at, name, root);
        }
    }
    let list = match at {
        At::Free => return Ok(At::Free),
        At::Field { field, element: false } if field.is_list() => field,
        At::Field { field, element: false } if field.is_map() && inside == "*" => field,
        _ => return Err(format!("has [{inside}] where there is no list")),
    };
    let element = At::Field { field: list.clone(), element: true };
    if let Some(filter) = inside.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        let subject =
            filter.trim().strip_prefix('@').ok_or_else(|| format!("has a filter without @: {filter}"))?;
        let end = subject.find([' ', '=', '!', '<', '>']).unwrap_or(subject.len());
        walk(element.clone(), None, &subject[..end])?;
        return Ok(element);
    }
    let index = |text: &str| text.is_empty() || text.parse::<i64>().is_ok();
    if inside == "*" || (!inside.is_empty() && inside.split([':', ',']).all(index)) {
        return Ok(element);
    }
    Err(format!("has [{inside}], which is no index, `*`, name or filter"))
}

fn any(at: &At) -> At {
    match at {
        At::Field { field, element: false } if field.is_list() || field.is_map() => {
            At::Field { field: field.clone(), element: true }
        }
        _ => At::Free,
    }
}

fn member(at: &At, name: &str, root: Option<&MessageDescriptor>) -> Result<At, String> {
    let message = match at {
        At::Free => return Ok(At::Free),
        At::Message(message) => message.clone(),
        At::Field { field, element: false } if field.is_map() => {
            return Ok(At::Field { field: field.clone(), element: true });
        }
        At::Field { field, element: false } if field.is_list() => {
            return Err(format!("needs [*] or an index after {}, which is a list", field.json_name()));
        }
        At::Field { field, element } => match value_kind(field, *element) {
            Kind::Message(message) if is_free(message.full_name()) => return Ok(At::Free),
            Kind::Message(message) if !is_scalar(message.full_name()) => message,
            _ => return Err(format!("goes on after {}, which is a scalar", field.json_name())),
        },
    };
    match message.fields().find(|field| field.json_name() == name) {
        Some(field) => Ok(At::Field { field, element: false }),
        None if root == Some(&message) && matches!(name, "apiVersion" | "kind") => Ok(At::Free),
        None => {
            let near = message
                .fields()
                .find(|field| field.name() == name || field.json_name().eq_ignore_ascii_case(name));
            let hint =
                near.map(|field| format!(" (its JSON name is {})", field.json_name())).unwrap_or_default();
            Err(format!("leads nowhere: {} has no field {name}{hint}", message.full_name()))
        }
    }
}

/// The kind of a field's value, or of its elements.
pub(super) fn value_kind(field: &FieldDescriptor, element: bool) -> Kind {
    match field.kind() {
        Kind::Message(entry) if element && field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    }
}

/// Messages that are any JSON value.
pub(crate) fn is_free(full_name: &str) -> bool {
    matches!(
        full_name,
        "google.protobuf.Struct"
            | "google.protobuf.Value"
            | "google.protobuf.ListValue"
            | "google.protobuf.Any"
            | "kubridge.v1.RawExtension"
            | "kubridge.v1.FieldsV1"
    )
}

/// Messages that are a JSON scalar.
pub(crate) fn is_scalar(full_name: &str) -> bool {
    match full_name.strip_prefix("google.protobuf.") {
        Some(name) => matches!(
            name,
            "Timestamp"
                | "Duration"
                | "FieldMask"
                | "DoubleValue"
                | "FloatValue"
                | "Int64Value"
                | "UInt64Value"
                | "Int32Value"
                | "UInt32Value"
                | "BoolValue"
                | "StringValue"
                | "BytesValue"
        ),
        None => matches!(
            full_name.strip_prefix("kubridge.v1."),
            Some("Time" | "MicroTime" | "Duration" | "Quantity" | "IntOrString")
        ),
    }
}
