//! OpenAPI v2 in protobuf: `openapi.v2.Document` of gnostic, which client-go reads. Whatever is not fixed by OpenAPI
//! (defaults, examples, extensions) is YAML in it; JSON is YAML.

use std::fmt::Write as _;

use prost::encoding::{double, int64};
use serde_json::{Map, Value};

use crate::wire::{put_bytes, put_varint};

/// An OpenAPI v2 document (JSON) as gnostic's `openapi.v2.Document`. What is no such document is an empty one.
pub fn protobuf_v2(json: &[u8]) -> Vec<u8> {
    let document: Value = serde_json::from_slice(json).unwrap_or_default();
    DOCUMENT.encode(&document)
}

/// A message: which key of the JSON object is which field.
struct Message {
    fields: &'static [(&'static str, u32, Form)],
    /// The field of `x-...`; 0: none.
    extensions: u32,
}

/// How a value is written into its field.
enum Form {
    Text,
    Texts,
    Flag,
    Double,
    Integer,
    /// `Any { yaml = 2 }`.
    Any,
    Anys,
    Message(&'static Message),
    Messages(&'static Message),
    /// A message whose field 1 has, for each key, a message of name (1) and value (2).
    Named(fn(&Value) -> Vec<u8>),
    /// Each item as this function writes it.
    Each(fn(&Value) -> Vec<u8>),
    /// As this function writes it.
    Special(fn(&Value) -> Vec<u8>),
}

impl Message {
    fn encode(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(object) = value.as_object() else { return out };
        for (key, number, form) in self.fields {
            if let Some(value) = object.get(*key) {
                form.put(*number, value, &mut out);
            }
        }
        put_extensions(self.extensions, object, &mut out);
        out
    }
}

impl Form {
    fn put(&self, number: u32, value: &Value, out: &mut Vec<u8>) {
        let items = || value.as_array().into_iter().flatten();
        match self {
            Self::Text => value.as_str().into_iter().for_each(|text| put_bytes(out, number, text.as_bytes())),
            Self::Texts => {
                items().filter_map(Value::as_str).for_each(|text| put_bytes(out, number, text.as_bytes()));
            }
            Self::Flag => value.as_bool().into_iter().for_each(|flag| put_varint(out, number, flag.into())),
            Self::Double => value.as_f64().into_iter().for_each(|value| double::encode(number, &value, out)),
            Self::Integer => value.as_i64().into_iter().for_each(|value| int64::encode(number, &value, out)),
            Self::Any => put_bytes(out, number, &any(value)),
            Self::Anys => items().for_each(|value| put_bytes(out, number, &any(value))),
            Self::Message(message) => put_bytes(out, number, &message.encode(value)),
            Self::Messages(message) => {
                items().for_each(|value| put_bytes(out, number, &message.encode(value)))
            }
            Self::Named(encode) => put_bytes(out, number, &named(1, value, encode)),
            Self::Each(encode) => items().for_each(|value| put_bytes(out, number, &encode(value))),
            Self::Special(encode) => put_bytes(out, number, &encode(value)),
        }
    }
}

/// For each key that is no extension a message of name (1) and value (2) in this field.
fn named(number: u32, value: &Value, encode: &dyn Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        put_named(number, name, &encode(value), &mut out);
    }
    out
}

fn put_named(number: u32, name: &str, value: &[u8], out: &mut Vec<u8>) {
    let mut entry = Vec::with_capacity(name.len() + value.len() + 8);
    put_bytes(&mut entry, 1, name.as_bytes());
    put_bytes(&mut entry, 2, value);
    put_bytes(out, number, &entry);
}

fn put_extensions(number: u32, object: &Map<String, Value>, out: &mut Vec<u8>) {
    if number > 0 {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            put_named(number, name, &any(value), out);
        }
    }
}

fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 2, yaml(&value.to_string()).as_bytes());
    out
}

/// JSON has characters in its strings as they are that YAML wants escaped.
fn yaml(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

/// A message with nothing but another in one of its fields.
fn wrapped(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 8);
    put_bytes(&mut out, number, value);
    out
}

fn schema(value: &Value) -> Vec<u8> {
    SCHEMA.encode(value)
}

fn additional_properties(value: &Value) -> Vec<u8> {
    match value {
        Value::Bool(allowed) => {
            let mut out = Vec::new();
            put_varint(&mut out, 2, u64::from(*allowed));
            out
        }
        other => wrapped(1, &schema(other)),
    }
}

/// One type, or a list of them.
fn types(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    Form::Text.put(1, value, &mut out);
    Form::Texts.put(1, value, &mut out);
    out
}

fn items(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Array(list) => list.iter().for_each(|value| put_bytes(&mut out, 1, &schema(value))),
        value => put_bytes(&mut out, 1, &schema(value)),
    }
    out
}

fn parameter(value: &Value) -> Vec<u8> {
    match value.get("in").and_then(Value::as_str) {
        Some("body") => wrapped(1, &BODY.encode(value)),
        Some("header") => wrapped(2, &wrapped(1, &PLAIN_PARAMETER.encode(value))),
        Some("formData") => wrapped(2, &wrapped(2, &QUERY_PARAMETER.encode(value))),
        Some("path") => wrapped(2, &wrapped(4, &PLAIN_PARAMETER.encode(value))),
        _ => wrapped(2, &wrapped(3, &QUERY_PARAMETER.encode(value))),
    }
}

fn parameters_item(value: &Value) -> Vec<u8> {
    or_reference(value, parameter)
}

/// The thing itself (1), or a reference to it (2).
fn or_reference(value: &Value, encode: fn(&Value) -> Vec<u8>) -> Vec<u8> {
    if value.get("$ref").is_some() {
        wrapped(2, &REFERENCE.encode(value))
    } else {
        wrapped(1, &encode(value))
    }
}

fn response(value: &Value) -> Vec<u8> {
    RESPONSE.encode(value)
}

fn responses(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(object) = value.as_object() {
        for (code, value) in object.iter().filter(|(code, _)| !code.starts_with("x-")) {
            put_named(1, code, &or_reference(value, response), &mut out);
        }
        put_extensions(2, object, &mut out);
    }
    out
}

fn response_schema(value: &Value) -> Vec<u8> {
    if value.get("type").and_then(Value::as_str) == Some("file") {
        wrapped(2, &FILE_SCHEMA.encode(value))
    } else {
        wrapped(1, &schema(value))
    }
}

fn header(value: &Value) -> Vec<u8> {
    HEADER.encode(value)
}

fn paths(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(object) = value.as_object() {
        put_extensions(1, object, &mut out);
        for (path, item) in object.iter().filter(|(path, _)| !path.starts_with("x-")) {
            put_named(2, path, &PATH_ITEM.encode(item), &mut out);
        }
    }
    out
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Form::Text),
        ("info", 2, Form::Message(&INFO)),
        ("host", 3, Form::Text),
        ("basePath", 4, Form::Text),
        ("schemes", 5, Form::Texts),
        ("consumes", 6, Form::Texts),
        ("produces", 7, Form::Texts),
        ("paths", 8, Form::Special(paths)),
        ("definitions", 9, Form::Named(schema)),
        ("parameters", 10, Form::Named(parameter)),
        ("responses", 11, Form::Named(response)),
    ],
    extensions: 16,
};

static INFO: Message = Message {
    fields: &[
        ("title", 1, Form::Text),
        ("version", 2, Form::Text),
        ("description", 3, Form::Text),
        ("termsOfService", 4, Form::Text),
    ],
    extensions: 7,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("$ref", 1, Form::Text),
        ("get", 2, Form::Message(&OPERATION)),
        ("put", 3, Form::Message(&OPERATION)),
        ("post", 4, Form::Message(&OPERATION)),
        ("delete", 5, Form::Message(&OPERATION)),
        ("options", 6, Form::Message(&OPERATION)),
        ("head", 7, Form::Message(&OPERATION)),
        ("patch", 8, Form::Message(&OPERATION)),
        ("parameters", 9, Form::Each(parameters_item)),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Form::Texts),
        ("summary", 2, Form::Text),
        ("description", 3, Form::Text),
        ("externalDocs", 4, Form::Message(&EXTERNAL_DOCS)),
        ("operationId", 5, Form::Text),
        ("produces", 6, Form::Texts),
        ("consumes", 7, Form::Texts),
        ("parameters", 8, Form::Each(parameters_item)),
        ("responses", 9, Form::Special(responses)),
        ("schemes", 10, Form::Texts),
        ("deprecated", 11, Form::Flag),
    ],
    extensions: 13,
};

static EXTERNAL_DOCS: Message =
    Message { fields: &[("description", 1, Form::Text), ("url", 2, Form::Text)], extensions: 3 };

static REFERENCE: Message =
    Message { fields: &[("$ref", 1, Form::Text), ("description", 2, Form::Text)], extensions: 0 };

static BODY: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Flag),
        ("schema", 5, Form::Message(&SCHEMA)),
    ],
    extensions: 6,
};

/// In a header or in a path.
static PLAIN_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("format", 6, Form::Text),
        ("items", 7, Form::Message(&ITEMS)),
        ("collectionFormat", 8, Form::Text),
        ("default", 9, Form::Any),
        ("maximum", 10, Form::Double),
        ("exclusiveMaximum", 11, Form::Flag),
        ("minimum", 12, Form::Double),
        ("exclusiveMinimum", 13, Form::Flag),
        ("maxLength", 14, Form::Integer),
        ("minLength", 15, Form::Integer),
        ("pattern", 16, Form::Text),
        ("maxItems", 17, Form::Integer),
        ("minItems", 18, Form::Integer),
        ("uniqueItems", 19, Form::Flag),
        ("enum", 20, Form::Anys),
        ("multipleOf", 21, Form::Double),
    ],
    extensions: 22,
};

/// In a query or in a form.
static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("allowEmptyValue", 5, Form::Flag),
        ("type", 6, Form::Text),
        ("format", 7, Form::Text),
        ("items", 8, Form::Message(&ITEMS)),
        ("collectionFormat", 9, Form::Text),
        ("default", 10, Form::Any),
        ("maximum", 11, Form::Double),
        ("exclusiveMaximum", 12, Form::Flag),
        ("minimum", 13, Form::Double),
        ("exclusiveMinimum", 14, Form::Flag),
        ("maxLength", 15, Form::Integer),
        ("minLength", 16, Form::Integer),
        ("pattern", 17, Form::Text),
        ("maxItems", 18, Form::Integer),
        ("minItems", 19, Form::Integer),
        ("uniqueItems", 20, Form::Flag),
        ("enum", 21, Form::Anys),
        ("multipleOf", 22, Form::Double),
    ],
    extensions: 23,
};

/// The items of a parameter or a header.
static ITEMS: Message = Message {
    fields: &[
        ("type", 1, Form::Text),
        ("format", 2, Form::Text),
        ("items", 3, Form::Message(&ITEMS)),
        ("collectionFormat", 4, Form::Text),
        ("default", 5, Form::Any),
        ("maximum", 6, Form::Double),
        ("exclusiveMaximum", 7, Form::Flag),
        ("minimum", 8, Form::Double),
        ("exclusiveMinimum", 9, Form::Flag),
        ("maxLength", 10, Form::Integer),
        ("minLength", 11, Form::Integer),
        ("pattern", 12, Form::Text),
        ("maxItems", 13, Form::Integer),
        ("minItems", 14, Form::Integer),
        ("uniqueItems", 15, Form::Flag),
        ("enum", 16, Form::Anys),
        ("multipleOf", 17, Form::Double),
    ],
    extensions: 18,
};

static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("schema", 2, Form::Special(response_schema)),
        ("headers", 3, Form::Named(header)),
        ("examples", 4, Form::Named(any)),
    ],
    extensions: 5,
};

static HEADER: Message = Message {
    fields: &[
        ("type", 1, Form::Text),
        ("format", 2, Form::Text),
        ("items", 3, Form::Message(&ITEMS)),
        ("collectionFormat", 4, Form::Text),
        ("default", 5, Form::Any),
        ("maximum", 6, Form::Double),
        ("exclusiveMaximum", 7, Form::Flag),
        ("minimum", 8, Form::Double),
        ("exclusiveMinimum", 9, Form::Flag),
        ("maxLength", 10, Form::Integer),
        ("minLength", 11, Form::Integer),
        ("pattern", 12, Form::Text),
        ("maxItems", 13, Form::Integer),
        ("minItems", 14, Form::Integer),
        ("uniqueItems", 15, Form::Flag),
        ("enum", 16, Form::Anys),
        ("multipleOf", 17, Form::Double),
        ("description", 18, Form::Text),
    ],
    extensions: 19,
};

static FILE_SCHEMA: Message = Message {
    fields: &[
        ("format", 1, Form::Text),
        ("title", 2, Form::Text),
        ("description", 3, Form::Text),
        ("default", 4, Form::Any),
        ("required", 5, Form::Texts),
        ("type", 6, Form::Text),
        ("readOnly", 7, Form::Flag),
        ("externalDocs", 8, Form::Message(&EXTERNAL_DOCS)),
        ("example", 9, Form::Any),
    ],
    extensions: 10,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("title", 3, Form::Text),
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("multipleOf", 6, Form::Double),
        ("maximum", 7, Form::Double),
        ("exclusiveMaximum", 8, Form::Flag),
        ("minimum", 9, Form::Double),
        ("exclusiveMinimum", 10, Form::Flag),
        ("maxLength", 11, Form::Integer),
        ("minLength", 12, Form::Integer),
        ("pattern", 13, Form::Text),
        ("maxItems", 14, Form::Integer),
        ("minItems", 15, Form::Integer),
        ("uniqueItems", 16, Form::Flag),
        ("maxProperties", 17, Form::Integer),
        ("minProperties", 18, Form::Integer),
        ("required", 19, Form::Texts),
        ("enum", 20, Form::Anys),
        ("additionalProperties", 21, Form::Special(additional_properties)),
        ("type", 22, Form::Special(types)),
        ("items", 23, Form::Special(items)),
        ("allOf", 24, Form::Messages(&SCHEMA)),
        ("properties", 25, Form::Named(schema)),
        ("discriminator", 26, Form::Text),
        ("readOnly", 27, Form::Flag),
        ("externalDocs", 29, Form::Message(&EXTERNAL_DOCS)),
        ("example", 30, Form::Any),
    ],
    extensions: 31,
};
