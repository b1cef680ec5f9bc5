//! The tables: what the transcoder knows of each message type, flat and ready for use.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, MessageDescriptor};

use super::{enums::EnumTable, names::NameIndex};

mod compile;

/// All tables of a pool.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<EnumTable>,
    pub(super) by_name: HashMap<Box<str>, u32>,
}

impl Inner {
    pub(super) fn compile(pool: &DescriptorPool) -> Self {
        compile::compile(pool)
    }

    #[inline]
    pub(super) fn message(&self, index: u32) -> &Message {
        &self.messages[index as usize]
    }

    #[inline]
    pub(super) fn enumeration(&self, index: u32) -> &EnumTable {
        &self.enums[index as usize]
    }
}

/// One message type.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) descriptor: MessageDescriptor,
    /// How it is written in JSON, where not as an object of its fields.
    pub(super) special: Special,
    /// In the order of their numbers.
    pub(super) fields: Vec<Field>,
    /// By number: one more than the index into `fields`. Only the low numbers.
    pub(super) by_number: Vec<u32>,
    pub(super) by_name: NameIndex,
    /// Some field has `emit_zero`.
    pub(super) emits_zeros: bool,
    /// How many oneofs there are, synthetic ones not counted.
    pub(super) oneofs: Vec<Box<str>>,
    /// The message has a field of this JSON name of its own.
    pub(super) has_api_version: bool,
    pub(super) has_kind: bool,
}

impl Message {
    /// The position of the field with a number.
    #[inline]
    pub(super) fn position(&self, number: u32) -> Option<usize> {
        match self.by_number.get(number as usize) {
            Some(0) => None,
            Some(at) => Some(*at as usize - 1),
            None => self.fields.binary_search_by_key(&number, |field| field.number).ok(),
        }
    }
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// The key as this crate writes it. A packed list: of the packed form.
    pub(super) tag: u32,
    /// The key on the wire.
    pub(super) key: Key,
    pub(super) kind: Kind,
    pub(super) shape: Shape,
    /// Singular without presence: a zero is not told from absence.
    pub(super) implicit: bool,
    /// Written when zero or empty too.
    pub(super) emit_zero: bool,
    /// A group on the wire (proto2, or editions' DELIMITED), which is not supported.
    pub(super) group: bool,
    /// 0: in no oneof, else one more than its position in [`Message::oneofs`].
    pub(super) oneof: u32,
    pub(super) json_name: Box<str>,
    /// `,"name":`
    pub(super) name: Box<[u8]>,
}

impl Field {
    /// `"name":`
    #[inline]
    pub(super) fn quoted(&self) -> &[u8] {
        &self.name[1..]
    }
}

/// How often a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Singular,
    /// `packed`: the scalars are written in one piece.
    Repeated {
        packed: bool,
    },
    /// The kind of the keys; the field's kind is that of the values.
    Map(Kind),
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(u32),
    /// A message that is an object of its fields.
    Message(u32),
    /// A message that has its own form in JSON.
    Special(Special, u32),
}

pub(super) const VARINT: u32 = 0;
pub(super) const I64: u32 = 1;
pub(super) const LEN: u32 = 2;
pub(super) const I32: u32 = 5;

impl Kind {
    /// The wire type of one value.
    #[inline]
    pub(super) fn wire_type(self) -> u32 {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => I64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => I32,
            Self::String | Self::Bytes | Self::Message(_) | Self::Special(..) => LEN,
            Self::Int32 | Self::Int64 | Self::Uint32 | Self::Uint64 => VARINT,
            Self::Sint32 | Self::Sint64 | Self::Bool | Self::Enum(_) => VARINT,
        }
    }
}

/// Messages with a JSON form of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    /// An object of its fields after all.
    None,
    Time,
    MicroTime,
    GoDuration,
    Quantity,
    IntOrString,
    /// `FieldsV1`, `RawExtension`: JSON as it is.
    Raw,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    /// `ExtraValue`: its strings, without an object around them.
    Strings,
    Any,
    /// `google.protobuf.StringValue` and its siblings: their field 1.
    Wrapper,
}

impl Special {
    fn of(full_name: &str) -> Self {
        match full_name {
            "kubridge.v1.Time" => Self::Time,
            "kubridge.v1.MicroTime" => Self::MicroTime,
            "kubridge.v1.Duration" => Self::GoDuration,
            "kubridge.v1.Quantity" => Self::Quantity,
            "kubridge.v1.IntOrString" => Self::IntOrString,
            "kubridge.v1.FieldsV1" | "kubridge.v1.RawExtension" => Self::Raw,
            "google.protobuf.Timestamp" => Self::Timestamp,
            "google.protobuf.Duration" => Self::Duration,
            "google.protobuf.FieldMask" => Self::FieldMask,
            "google.protobuf.Struct" => Self::Struct,
            "google.protobuf.Value" => Self::Value,
            "google.protobuf.ListValue" => Self::ListValue,
            "kubridge.v1.ExtraValue" => Self::Strings,
            "google.protobuf.Any" => Self::Any,
            "google.protobuf.DoubleValue"
            | "google.protobuf.FloatValue"
            | "google.protobuf.Int64Value"
            | "google.protobuf.UInt64Value"
            | "google.protobuf.Int32Value"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.BoolValue"
            | "google.protobuf.StringValue"
            | "google.protobuf.BytesValue" => Self::Wrapper,
            _ => Self::None,
        }
    }
}

/// A field key as it stands on the wire: at most five bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Key {
    bytes: [u8; 5],
    len: u8,
}

impl Key {
    pub(super) fn new(mut tag: u32) -> Self {
        let mut key = Self::default();
        loop {
            let byte = (tag & 0x7f) as u8;
            tag >>= 7;
            key.bytes[usize::from(key.len)] = if tag == 0 { byte } else { byte | 0x80 };
            key.len += 1;
            if tag == 0 {
                return key;
            }
        }
    }

    #[inline]
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self.len {
            1 => out.push(self.bytes[0]),
            2 => out.extend_from_slice(&[self.bytes[0], self.bytes[1]]),
            len => out.extend_from_slice(&self.bytes[..usize::from(len.min(5))]),
        }
    }
}
