//! Protobuf wire <-> Kubernetes JSON, by a table compiled once per message type.
//! One pass, no intermediate tree. See docs/contract.md for the JSON profile.

use std::{fmt, sync::Arc};

use prost_reflect::{DescriptorPool, MessageDescriptor};

mod decode;
mod encode;
mod enums;
mod fault;
mod field_mask;
mod json_reader;
mod json_writer;
mod names;
mod path;
mod table;
mod time;
mod unknown;
mod wire_reader;

pub use enums::enum_value_name;
use table::{Inner, Kind, Message, Shape};
pub(crate) use time::rfc3339;

/// How deep messages, lists and maps may nest, in both directions.
pub const MAX_DEPTH: usize = 100;

/// The compiled tables of a descriptor pool. Cheap to clone.
#[derive(Clone)]
pub struct Tables {
    inner: Arc<Inner>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("messages", &self.inner.messages.len()).finish_non_exhaustive()
    }
}

impl Tables {
    /// Compiles all messages of `pool`. Names that collide are faults of the lint (`model`), not of this.
    pub fn compile(pool: &DescriptorPool) -> Self {
        Self { inner: Arc::new(Inner::compile(pool)) }
    }

    /// The table of a message by its full name.
    pub fn message(&self, full_name: &str) -> Option<MessageType> {
        let index = *self.inner.by_name.get(full_name)?;
        Some(MessageType { tables: Arc::clone(&self.inner), index })
    }
}

/// A message type: a handle on its table. Cheap to clone.
#[derive(Clone)]
pub struct MessageType {
    tables: Arc<Inner>,
    index: u32,
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageType").field(&self.full_name()).finish()
    }
}

/// What goes in front of a message's own fields.
#[derive(Debug, Clone, Copy)]
pub struct TypeMeta<'a> {
    /// "inventory.example.com/v1".
    pub api_version: &'a str,
    /// "Machine".
    pub kind: &'a str,
}

/// What was seen on the way from wire to JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noticed {
    /// The wire had fields that the schema does not know: the backend is newer.
    pub unknown_fields: bool,
}

/// A JSON document as a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The message on the wire.
    pub wire: Vec<u8>,
    /// The top level's `apiVersion`, unless the message has such a field.
    pub api_version: Option<String>,
    /// The top level's `kind`, unless the message has such a field.
    pub kind: Option<String>,
    /// Paths of fields that the schema does not have: `spec.foo`, `spec.disks[0].bar`. In Kubernetes' form.
    pub unknown: Vec<String>,
    /// Paths of keys that stood twice; the last one won.
    pub duplicates: Vec<String>,
}

/// The wire is not what the schema says. The backend's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum WireError {
    #[error("{path}: malformed protobuf at byte {offset}")]
    Malformed { path: String, offset: usize },
    #[error("{path}: a string that is not UTF-8")]
    Utf8 { path: String },
    #[error("{path}: nested deeper than {MAX_DEPTH}")]
    TooDeep { path: String },
    #[error("{path}: {message}")]
    Value { path: String, message: String },
}

/// The JSON is not JSON, or not what the schema says. The client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum JsonError {
    /// Not JSON.
    #[error("line {line}, column {column}: {message}")]
    Syntax { line: usize, column: usize, message: String },
    #[error("the body is not UTF-8 at byte {offset}")]
    Utf8 { offset: usize },
    #[error("{path}: nested deeper than {MAX_DEPTH}")]
    TooDeep { path: String },
    /// JSON, but not of the field's type: a type error in Kubernetes' words.
    #[error("{path}: {message}")]
    Value { path: String, message: String },
}

impl MessageType {
    fn table(&self) -> &Message {
        self.tables.message(self.index)
    }

    /// "inventory.v1.Machine".
    pub fn full_name(&self) -> &str {
        self.table().descriptor.full_name()
    }

    /// The descriptor, for the documents that are made when a schema is read. Not for requests.
    pub fn descriptor(&self) -> &MessageDescriptor {
        &self.table().descriptor
    }

    /// Appends the message as a JSON object. `type_meta` comes first: `{"kind":..,"apiVersion":..,` as
    /// Kubernetes writes it, without a member that the message has as a field of its own. A message with a JSON
    /// form of its own (Time, Struct) is written in that form. On an error `out` is as it was.
    pub fn to_json(
        &self,
        wire: &[u8],
        type_meta: Option<TypeMeta<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<Noticed, WireError> {
        encode::Encoder::run(&self.tables, self.table(), wire, type_meta, out)
            .map_err(|fault| fault.into_error(wire, self.full_name()))
    }

    /// Reads a JSON object as this message. `unknown` and `duplicates` hold at most 100 paths each, as Kubernetes
    /// reports them. `null` is an absent field, and in a map the zero of its type.
    pub fn from_json(&self, json: &[u8]) -> Result<Parsed, JsonError> {
        if let Err(error) = simdutf8::compat::from_utf8(json) {
            return Err(JsonError::Utf8 { offset: error.valid_up_to() });
        }
        decode::Decoder::run(&self.tables, self.table(), json)
            .map_err(|fault| fault.into_error(json, self.full_name()))
    }

    /// The field with this JSON name.
    pub fn field(&self, json_name: &str) -> Option<FieldType> {
        let position = self.table().by_name.get(json_name.as_bytes())?;
        Some(FieldType { parent: self.clone(), position: position as usize })
    }

    /// Unknown fields by the path of message fields that leads to them, for a read-modify-write.
    /// `Err`: some lie in a list or map, where they cannot be carried over.
    pub fn unknown_fields(&self, wire: &[u8]) -> Result<Vec<UnknownFields>, UnknownInCollection> {
        unknown::collect(&self.tables, self.table(), wire)
    }
}

/// Raw unknown fields of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFields {
    /// The numbers of the message fields that lead there; empty: the message itself.
    pub path: Vec<u32>,
    /// The fields on the wire.
    pub raw: Vec<u8>,
}

/// Unknown fields stand inside a list or map element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: fields that the schema does not know, inside a list or map")]
pub struct UnknownInCollection {
    /// The JSON path of the list or map.
    pub path: String,
}

/// A field of a message, for table columns and selectors.
#[derive(Debug, Clone)]
pub struct FieldType {
    parent: MessageType,
    position: usize,
}

impl FieldType {
    fn table(&self) -> &table::Field {
        &self.parent.table().fields[self.position]
    }

    /// The field number.
    pub fn number(&self) -> u32 {
        self.table().number
    }

    /// The message type of a singular message field (not of the JSON scalars such as Time or Quantity).
    pub fn message(&self) -> Option<MessageType> {
        match (self.table().shape, self.table().kind) {
            (Shape::Singular, Kind::Message(index)) => {
                Some(MessageType { tables: Arc::clone(&self.parent.tables), index })
            }
            _ => None,
        }
    }

    /// Appends the field's JSON value, as [`MessageType::to_json`] would write it. False: it would not be written.
    /// `parent` is the wire of the message that holds the field.
    pub fn write_json(&self, parent: &[u8], out: &mut Vec<u8>) -> Result<bool, WireError> {
        encode::Encoder::run_field(&self.parent.tables, self.parent.table(), self.position, parent, out)
            .map_err(|fault| fault.into_error(parent, self.parent.full_name()))
    }
}
