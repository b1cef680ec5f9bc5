//! Descriptors -> tables. Runs when a schema is read, never for a request.

use std::collections::HashMap;

use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind as Described, MessageDescriptor,
};

use super::{Field, Inner, Key, Kind, LEN, Message, Shape, Special};
use crate::{
    proto,
    transcode::{enums::EnumTable, names::NameIndex},
    wire,
};

/// How far fields are found by their number as an index; beyond it they are searched.
const DENSE: u32 = 512;

pub(super) fn compile(pool: &DescriptorPool) -> Inner {
    let by_name: HashMap<Box<str>, u32> =
        pool.all_messages().map(|message| message.full_name().into()).zip(0..).collect();
    let enums: HashMap<Box<str>, u32> =
        pool.all_enums().map(|descriptor| descriptor.full_name().into()).zip(0..).collect();
    let indexes = Indexes { messages: by_name, enums };
    Inner {
        messages: pool.all_messages().map(|descriptor| message(descriptor, &indexes)).collect(),
        enums: pool.all_enums().map(|descriptor| EnumTable::compile(&descriptor)).collect(),
        by_name: indexes.messages,
    }
}

struct Indexes {
    messages: HashMap<Box<str>, u32>,
    enums: HashMap<Box<str>, u32>,
}

impl Indexes {
    fn message(&self, descriptor: &MessageDescriptor) -> u32 {
        *self.messages.get(descriptor.full_name()).expect("a field's type is in its pool")
    }

    fn enumeration(&self, descriptor: &EnumDescriptor) -> u32 {
        *self.enums.get(descriptor.full_name()).expect("a field's type is in its pool")
    }
}

fn message(descriptor: MessageDescriptor, indexes: &Indexes) -> Message {
    let mut oneofs = Vec::new();
    let mut fields: Vec<Field> = Vec::with_capacity(descriptor.fields().len());
    for described in descriptor.fields() {
        fields.push(field(&described, &mut oneofs, indexes));
    }
    fields.sort_by_key(|field| field.number);
    // A Kubernetes list always shows its items, also when there are none.
    let list_meta = |field: &FieldDescriptor| matches!(field.kind(), Described::Message(kind) if kind.full_name() == "kubridge.v1.ListMeta");
    if descriptor.get_field(1).is_some_and(|field| field.name() == "metadata" && list_meta(&field)) {
        for field in &mut fields {
            field.emit_zero |=
                field.number == 2 && &*field.json_name == "items" && field.shape != Shape::Singular;
        }
    }
    let dense = fields.iter().map(|field| field.number).filter(|number| *number < DENSE).max();
    let mut by_number = vec![0; dense.map_or(0, |number| number as usize + 1)];
    for (field, at) in fields.iter().zip(1..) {
        if let Some(slot) = by_number.get_mut(field.number as usize) {
            *slot = at;
        }
    }
    let by_name = NameIndex::new(fields.iter().map(|field| &*field.json_name).zip(0..));
    Message {
        special: Special::of(descriptor.full_name()),
        emits_zeros: fields.iter().any(|field| field.emit_zero),
        has_api_version: by_name.get(b"apiVersion").is_some(),
        has_kind: by_name.get(b"kind").is_some(),
        by_number,
        by_name,
        oneofs,
        fields,
        descriptor,
    }
}

fn field(described: &FieldDescriptor, oneofs: &mut Vec<Box<str>>, indexes: &Indexes) -> Field {
    let mut shape = Shape::Singular;
    let mut of = described.kind();
    if let (true, Some(entry)) = (described.is_map(), of.as_message().cloned()) {
        shape = Shape::Map(kind(&entry.map_entry_key_field().kind(), indexes));
        of = entry.map_entry_value_field().kind();
    } else if described.cardinality() == Cardinality::Repeated {
        shape = Shape::Repeated { packed: described.is_packed() };
    }
    let kind = kind(&of, indexes);
    let wire_type = match shape {
        Shape::Map(_) | Shape::Repeated { packed: true } => LEN,
        Shape::Singular | Shape::Repeated { .. } => kind.wire_type(),
    };
    let options = described.options().encode_to_vec();
    let options = wire::message_field(&options, proto::EXTENSION).unwrap_or_default();
    let emit_zero = proto::Field::decode(&*options).is_ok_and(|option| option.emit_zero);
    let is_message = matches!(kind, Kind::Message(_) | Kind::Special(..));
    let oneof = described.containing_oneof().filter(|oneof| !oneof.is_synthetic());
    let oneof = oneof.map_or(0, |oneof| {
        let at = oneofs.iter().position(|name| **name == *oneof.name()).unwrap_or_else(|| {
            oneofs.push(oneof.name().into());
            oneofs.len() - 1
        });
        u32::try_from(at + 1).expect("fewer than 2^32 oneofs")
    });
    let implicit = shape == Shape::Singular && !described.supports_presence() && oneof == 0;
    let tag = described.number() << 3 | wire_type;
    let mut name = b",".to_vec();
    name.extend_from_slice(&serde_json::to_vec(described.json_name()).unwrap_or_default());
    name.push(b':');
    Field {
        number: described.number(),
        tag,
        key: Key::new(tag),
        kind,
        shape,
        implicit,
        // A message or a field with presence has an absence to show; a zero would be a claim.
        emit_zero: emit_zero
            && (implicit || shape != Shape::Singular)
            && !(is_message && shape == Shape::Singular),
        group: described.is_group(),
        oneof,
        json_name: described.json_name().into(),
        name: name.into_boxed_slice(),
    }
}

fn kind(described: &Described, indexes: &Indexes) -> Kind {
    match described {
        Described::Double => Kind::Double,
        Described::Float => Kind::Float,
        Described::Int32 => Kind::Int32,
        Described::Int64 => Kind::Int64,
        Described::Uint32 => Kind::Uint32,
        Described::Uint64 => Kind::Uint64,
        Described::Sint32 => Kind::Sint32,
        Described::Sint64 => Kind::Sint64,
        Described::Fixed32 => Kind::Fixed32,
        Described::Fixed64 => Kind::Fixed64,
        Described::Sfixed32 => Kind::Sfixed32,
        Described::Sfixed64 => Kind::Sfixed64,
        Described::Bool => Kind::Bool,
        Described::String => Kind::String,
        Described::Bytes => Kind::Bytes,
        Described::Enum(descriptor) => Kind::Enum(indexes.enumeration(descriptor)),
        Described::Message(descriptor) => {
            let index = indexes.message(descriptor);
            match Special::of(descriptor.full_name()) {
                Special::None => Kind::Message(index),
                special => Kind::Special(special, index),
            }
        }
    }
}
