//! Random schemas.

use proptest::prelude::*;
use prost_reflect::{MessageDescriptor, prost_types};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FieldOptions,
    FileDescriptorProto, MessageOptions, OneofDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::super::support::POOL;

const SCALARS: [Type; 15] = [
    Type::Double,
    Type::Float,
    Type::Int64,
    Type::Uint64,
    Type::Int32,
    Type::Fixed64,
    Type::Fixed32,
    Type::Bool,
    Type::String,
    Type::Bytes,
    Type::Uint32,
    Type::Sfixed32,
    Type::Sfixed64,
    Type::Sint32,
    Type::Sint64,
];

const WELL_KNOWN: [&str; 16] = [
    "Timestamp",
    "Duration",
    "FieldMask",
    "Struct",
    "Value",
    "ListValue",
    "Any",
    "Empty",
    "StringValue",
    "BytesValue",
    "BoolValue",
    "Int32Value",
    "Int64Value",
    "UInt64Value",
    "FloatValue",
    "DoubleValue",
];

#[derive(Debug, Clone)]
pub(crate) struct FieldSpec {
    /// Scalars, then an enum, well-known types, and messages of the schema.
    kind: usize,
    shape: Shape,
    /// How far the number is from the one before.
    gap: i32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Implicit,
    Optional,
    Packed,
    Unpacked,
    Map(usize),
    Oneof(usize),
}

pub(crate) fn spec() -> impl Strategy<Value = Vec<Vec<FieldSpec>>> {
    let shape = prop_oneof![
        3 => Just(Shape::Implicit),
        2 => Just(Shape::Optional),
        2 => Just(Shape::Packed),
        1 => Just(Shape::Unpacked),
        2 => (2..15_usize).prop_map(Shape::Map),
        2 => (0..2_usize).prop_map(Shape::Oneof),
    ];
    let gap = prop_oneof![5 => Just(1), 1 => 2..40, 1 => 100..1000];
    let field = (0..40_usize, shape, gap).prop_map(|(kind, shape, gap)| FieldSpec { kind, shape, gap });
    prop::collection::vec(prop::collection::vec(field, 1..9), 1..4)
}

/// The first message of the schema.
pub(crate) fn build(spec: &[Vec<FieldSpec>]) -> MessageDescriptor {
    let mut file = FileDescriptorProto {
        name: Some("random.proto".into()),
        package: Some("random".into()),
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    for name in ["any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"] {
        file.dependency.push(format!("google/protobuf/{name}.proto"));
    }
    // The JSON names are the proto names, so that prost-reflect reads them too.
    let values = [("Zero", 0), ("One", 1), ("Two", 2), ("Far", 70_000), ("Minus", -3)];
    let value = |(name, number): (&str, i32)| EnumValueDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        options: None,
    };
    file.enum_type.push(EnumDescriptorProto {
        name: Some("Choice".into()),
        value: values.map(value).to_vec(),
        ..Default::default()
    });
    for (index, fields) in spec.iter().enumerate() {
        file.message_type.push(message(index, fields, spec.len()));
    }
    let mut pool = POOL.clone();
    pool.add_file_descriptor_proto(file).unwrap();
    pool.get_message_by_name("random.M0").unwrap()
}

fn message(index: usize, fields: &[FieldSpec], messages: usize) -> DescriptorProto {
    let mut message = DescriptorProto { name: Some(format!("M{index}")), ..Default::default() };
    let oneofs: Vec<usize> =
        (0..2).filter(|n| fields.iter().any(|field| field.shape == Shape::Oneof(*n))).collect();
    for n in &oneofs {
        message.oneof_decl.push(OneofDescriptorProto { name: Some(format!("choice_{n}")), options: None });
    }
    let mut number = 0;
    for (at, spec) in fields.iter().enumerate() {
        number += spec.gap;
        let name = format!("some_field_{at}");
        let mut field = FieldDescriptorProto {
            name: Some(name.clone()),
            number: Some(number),
            label: Some(Label::Optional as i32),
            ..kind(spec.kind, messages)
        };
        match spec.shape {
            Shape::Implicit => {}
            Shape::Optional => field.proto3_optional = Some(true),
            Shape::Packed => field.label = Some(Label::Repeated as i32),
            Shape::Unpacked => {
                field.label = Some(Label::Repeated as i32);
                if !matches!(field.r#type(), Type::String | Type::Bytes | Type::Message) {
                    field.options = Some(FieldOptions { packed: Some(false), ..Default::default() });
                }
            }
            Shape::Map(key) => {
                let key = match SCALARS[key] {
                    Type::Bytes => Type::String,
                    other => other,
                };
                let entry = format!("SomeField{at}Entry");
                message.nested_type.push(map_entry(&entry, key, &field));
                field.label = Some(Label::Repeated as i32);
                field.r#type = Some(Type::Message as i32);
                field.type_name = Some(format!(".random.M{index}.{entry}"));
            }
            Shape::Oneof(n) => {
                field.oneof_index = oneofs.iter().position(|have| *have == n).map(|at| at as i32)
            }
        }
        message.field.push(field);
    }
    // Synthetic oneofs come last.
    for field in message.field.iter_mut().filter(|field| field.proto3_optional()) {
        field.oneof_index = Some(message.oneof_decl.len() as i32);
        message
            .oneof_decl
            .push(OneofDescriptorProto { name: Some(format!("_{}", field.name())), options: None });
    }
    message
}

fn map_entry(name: &str, key: Type, value: &FieldDescriptorProto) -> DescriptorProto {
    let field = |name: &str, number| FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(Label::Optional as i32),
        ..Default::default()
    };
    DescriptorProto {
        name: Some(name.into()),
        field: vec![
            FieldDescriptorProto { r#type: Some(key as i32), ..field("key", 1) },
            FieldDescriptorProto {
                r#type: value.r#type,
                type_name: value.type_name.clone(),
                ..field("value", 2)
            },
        ],
        options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
        ..Default::default()
    }
}

fn kind(kind: usize, messages: usize) -> FieldDescriptorProto {
    let of = |kind: Type, name: Option<String>| FieldDescriptorProto {
        r#type: Some(kind as i32),
        type_name: name,
        ..Default::default()
    };
    match kind {
        0..15 => of(SCALARS[kind], None),
        15..18 => of(Type::Enum, Some(".random.Choice".into())),
        18..34 => of(Type::Message, Some(format!(".google.protobuf.{}", WELL_KNOWN[kind - 18]))),
        _ => of(Type::Message, Some(format!(".random.M{}", kind % messages))),
    }
}
