//! Messages compared as what they say, not as how they were written: two encoders order maps and fields as they like,
//! and write a zero or leave it out. What is not in the schema counts as it stands.

use std::collections::{BTreeMap, HashMap};

use bytes::Buf as _;
use prost::encoding::{WireType, decode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::annotations;
use crate::wire::{self, Field, Malformed};

/// How deep messages are looked into; what is deeper counts as it stands.
const DEPTH: usize = 100;

/// How a value is written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Varint,
    Fixed32,
    Fixed64,
    /// A string or bytes.
    Text,
    /// A message: its index.
    Message(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    /// A zero is not told from absence.
    Implicit,
    /// Presence counts.
    Optional,
    Repeated,
    Map,
}

#[derive(Debug)]
struct FieldShape {
    name: Box<str>,
    value: Value,
    count: Count,
    output_only: bool,
    required: bool,
    /// A path of a field mask may lead into it.
    open: bool,
}

#[derive(Debug, Default)]
struct Shape {
    fields: BTreeMap<u32, FieldShape>,
}

/// The shapes of a message and of all that it reaches.
#[derive(Debug)]
pub(super) struct Shapes {
    shapes: Vec<Shape>,
}

/// The shape of the message that [`Shapes::of`] was asked for.
const ROOT: usize = 0;

impl Shapes {
    pub(super) fn of(message: &MessageDescriptor) -> Self {
        let mut known = HashMap::from([(message.full_name().to_owned(), ROOT)]);
        let mut todo = vec![message.clone()];
        let mut shapes = Vec::new();
        while let Some(message) = todo.get(shapes.len()).cloned() {
            let mut fields = BTreeMap::new();
            for field in message.fields() {
                let value = match field.kind() {
                    Kind::Message(inner) => {
                        let next = todo.len();
                        let index = *known.entry(inner.full_name().to_owned()).or_insert(next);
                        if index == next {
                            todo.push(inner);
                        }
                        Value::Message(index)
                    }
                    Kind::String | Kind::Bytes => Value::Text,
                    Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Value::Fixed64,
                    Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Value::Fixed32,
                    _ => Value::Varint,
                };
                fields.insert(field.number(), FieldShape::of(&field, value));
            }
            shapes.push(Shape { fields });
        }
        Self { shapes }
    }

    /// The message in its one form: fields in the order of their numbers, maps in that of their keys, no implicit
    /// zeros, lists unpacked.
    pub(super) fn canonical(&self, message: &[u8]) -> Result<Vec<u8>, Malformed> {
        self.canonical_of(ROOT, message, DEPTH)
    }

    /// One field of the message, alone, in its one form; empty: it is absent.
    pub(super) fn canonical_field(&self, message: &[u8], number: u32) -> Result<Vec<u8>, Malformed> {
        self.canonical(&wire::without(message, |n| n != number)?)
    }

    /// The paths of the fields among `numbers` that differ, in proto names: of a field mask for an update from `old`
    /// to `new`. `nested`: also into messages that both have, never into maps or lists.
    pub(super) fn changes(
        &self,
        old: &[u8],
        new: &[u8],
        nested: bool,
        counts: impl Fn(u32) -> bool,
    ) -> Result<Vec<String>, Malformed> {
        let mut paths = Vec::new();
        let depth = if nested { DEPTH } else { 0 };
        self.changes_of(ROOT, old, new, "", depth, &mut paths, &counts)?;
        Ok(paths)
    }

    #[allow(clippy::too_many_arguments, reason = "a recursion's state")]
    fn changes_of(
        &self,
        shape: usize,
        old: &[u8],
        new: &[u8],
        prefix: &str,
        depth: usize,
        paths: &mut Vec<String>,
        counts: &dyn Fn(u32) -> bool,
    ) -> Result<(), Malformed> {
        let Some(shape) = self.shapes.get(shape) else { return Ok(()) };
        let (before, after) = (group(old)?, group(new)?);
        let none = Vec::new();
        for (number, field) in shape.fields.iter().filter(|(number, _)| counts(**number)) {
            let (was, is) = (before.get(number).unwrap_or(&none), after.get(number).unwrap_or(&none));
            let (mut one, mut other) = (Vec::new(), Vec::new());
            self.put(*number, field, was, DEPTH, &mut one)?;
            self.put(*number, field, is, DEPTH, &mut other)?;
            if one == other {
                continue;
            }
            let path = format!("{prefix}{}", field.name);
            match field.value {
                Value::Message(inner) if field.open && depth > 0 && !was.is_empty() && !is.is_empty() => {
                    let found = paths.len();
                    let below = |_| true;
                    self.changes_of(
                        inner,
                        &joined(was),
                        &joined(is),
                        &format!("{path}."),
                        depth - 1,
                        paths,
                        &below,
                    )?;
                    // What differs is not in the schema: all of the message.
                    if paths.len() == found && !self.only_output(inner, &joined(was), &joined(is))? {
                        paths.push(path);
                    }
                }
                _ if field.output_only && !prefix.is_empty() => {}
                _ => paths.push(path),
            }
        }
        Ok(())
    }

    /// Whether nothing differs but what the service alone writes.
    fn only_output(&self, shape: usize, old: &[u8], new: &[u8]) -> Result<bool, Malformed> {
        let Some(found) = self.shapes.get(shape) else { return Ok(false) };
        let output = |number: u32| found.fields.get(&number).is_some_and(|field| field.output_only);
        let rest = |message: &[u8]| self.canonical_of(shape, &wire::without(message, output)?, DEPTH);
        Ok(rest(old)? == rest(new)?)
    }

    /// The paths of REQUIRED fields that are absent, in proto names, below `prefix`. A number or bool without
    /// presence is never absent.
    pub(super) fn missing(&self, message: &[u8]) -> Result<Vec<String>, Malformed> {
        let mut paths = Vec::new();
        self.missing_of(ROOT, message, "", DEPTH, &mut paths)?;
        Ok(paths)
    }

    fn missing_of(
        &self,
        shape: usize,
        message: &[u8],
        prefix: &str,
        depth: usize,
        paths: &mut Vec<String>,
    ) -> Result<(), Malformed> {
        let Some(shape) = self.shapes.get(shape).filter(|_| depth > 0) else { return Ok(()) };
        let fields = group(message)?;
        for (number, field) in &shape.fields {
            let found = fields.get(number).map(Vec::as_slice).unwrap_or_default();
            let path = format!("{prefix}{}", field.name);
            if field.required && !field.output_only {
                let empty = match (field.value, field.count) {
                    (Value::Text, Count::Implicit) => found.iter().all(|f| f.value.is_empty()),
                    (_, Count::Implicit) => false,
                    _ => found.is_empty(),
                };
                if empty {
                    paths.push(path);
                    continue;
                }
            }
            match (field.value, field.count) {
                (Value::Message(inner), Count::Repeated) => {
                    for (index, element) in found.iter().enumerate() {
                        let path = format!("{path}[{index}].");
                        self.missing_of(inner, element.value, &path, depth - 1, paths)?;
                    }
                }
                (Value::Message(inner), Count::Optional) if !found.is_empty() => {
                    self.missing_of(inner, &joined(found), &format!("{path}."), depth - 1, paths)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn canonical_of(&self, shape: usize, message: &[u8], depth: usize) -> Result<Vec<u8>, Malformed> {
        let Some(shape) = self.shapes.get(shape).filter(|_| depth > 0) else { return Ok(message.to_vec()) };
        let mut out = Vec::with_capacity(message.len());
        for (number, found) in group(message)? {
            match shape.fields.get(&number) {
                Some(field) => self.put(number, field, &found, depth, &mut out)?,
                None => found.iter().for_each(|field| out.extend_from_slice(field.raw)),
            }
        }
        Ok(out)
    }

    /// Appends a field in its one form.
    fn put(
        &self,
        number: u32,
        field: &FieldShape,
        found: &[Field<'_>],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match (field.count, field.value) {
            (Count::Map, Value::Message(entry)) => {
                let mut entries = BTreeMap::new();
                for found in found {
                    let entry = self.canonical_of(entry, found.value, depth - 1)?;
                    entries.insert(wire::without(&entry, |n| n != 1)?, entry);
                }
                entries.values().for_each(|entry| wire::put_bytes(out, number, entry));
            }
            (Count::Repeated, Value::Message(inner)) => {
                for found in found {
                    wire::put_bytes(out, number, &self.canonical_of(inner, found.value, depth - 1)?);
                }
            }
            (_, Value::Message(inner)) => {
                if !found.is_empty() {
                    let merged = self.canonical_of(inner, &joined(found), depth - 1)?;
                    wire::put_bytes(out, number, &merged);
                }
            }
            (Count::Repeated, Value::Text) => found.iter().for_each(|f| out.extend_from_slice(f.raw)),
            (Count::Repeated, value) => {
                for found in found {
                    unpack(number, value, found, out);
                }
            }
            (count, _) => {
                if let Some(last) = found.last()
                    && !(count == Count::Implicit && is_zero(last))
                {
                    out.extend_from_slice(last.raw);
                }
            }
        }
        Ok(())
    }
}

impl FieldShape {
    fn of(field: &FieldDescriptor, value: Value) -> Self {
        let count = if field.is_map() {
            Count::Map
        } else if field.is_list() {
            Count::Repeated
        } else if field.supports_presence() {
            Count::Optional
        } else {
            Count::Implicit
        };
        let behavior = annotations::behavior(field);
        let open = match field.kind() {
            Kind::Message(inner) => {
                count == Count::Optional && !inner.full_name().starts_with("google.protobuf.")
            }
            _ => false,
        };
        Self {
            name: field.name().into(),
            value,
            count,
            output_only: behavior.output_only,
            required: behavior.required,
            open,
        }
    }
}

fn group(message: &[u8]) -> Result<BTreeMap<u32, Vec<Field<'_>>>, Malformed> {
    let mut fields: BTreeMap<u32, Vec<Field<'_>>> = BTreeMap::new();
    for field in wire::fields(message) {
        let field = field?;
        fields.entry(field.number).or_default().push(field);
    }
    Ok(fields)
}

/// All occurrences of a singular message: protobuf merges them so.
fn joined(found: &[Field<'_>]) -> Vec<u8> {
    found.iter().flat_map(|field| field.value).copied().collect()
}

fn is_zero(field: &Field<'_>) -> bool {
    match field.wire_type {
        WireType::LengthDelimited => field.value.is_empty(),
        _ => field.value.iter().all(|byte| *byte == 0),
    }
}

/// Appends the elements of a packed or unpacked list of numbers, each as a field.
fn unpack(number: u32, value: Value, field: &Field<'_>, out: &mut Vec<u8>) {
    if field.wire_type != WireType::LengthDelimited {
        out.extend_from_slice(field.raw);
        return;
    }
    let mut rest = field.value;
    let (wire_type, width) = match value {
        Value::Fixed32 => (WireType::ThirtyTwoBit, 4),
        Value::Fixed64 => (WireType::SixtyFourBit, 8),
        _ => (WireType::Varint, 0),
    };
    while !rest.is_empty() {
        if wire_type == WireType::Varint {
            let Ok(element) = decode_varint(&mut rest) else { return };
            wire::put_varint(out, number, element);
        } else {
            let Some(element) = rest.get(..width) else { return };
            prost::encoding::encode_key(number, wire_type, out);
            out.extend_from_slice(element);
            rest.advance(width);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::proto;

    fn meta() -> Shapes {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        Shapes::of(&pool.get_message_by_name("kubridge.v1.ObjectMeta").unwrap())
    }

    /// Fields, and the entries of maps, in another order; lists keep theirs.
    fn shuffled(message: &[u8], seed: u32) -> Vec<u8> {
        const LABELS: u32 = 11;
        let mut fields: Vec<Field<'_>> = wire::fields(message).map(Result::unwrap).collect();
        fields.sort_by_key(|field| {
            let entry = field.value.iter().fold(seed, |sum, byte| sum.wrapping_mul(31) ^ u32::from(*byte));
            (field.number.wrapping_mul(seed) % 7, if field.number == LABELS { entry } else { 0 })
        });
        fields.iter().flat_map(|field| field.raw).copied().collect()
    }

    fn metas() -> impl Strategy<Value = proto::ObjectMeta> {
        let owner = ("[a-z]{0,3}", any::<Option<bool>>()).prop_map(|(name, controller)| {
            proto::OwnerReference { name, controller, ..proto::OwnerReference::default() }
        });
        (
            "[a-z]{0,4}",
            any::<i64>(),
            prop::collection::hash_map("[a-z]{0,2}", "[a-z]{0,2}", 0..5),
            prop::collection::vec(owner, 0..3),
            prop::option::of((any::<i64>(), any::<i32>())),
        )
            .prop_map(|(name, generation, labels, owner_references, time)| proto::ObjectMeta {
                name,
                generation,
                labels,
                owner_references,
                creation_timestamp: time.map(|(seconds, nanos)| proto::Time { seconds, nanos }),
                ..proto::ObjectMeta::default()
            })
    }

    proptest! {
        #[test]
        fn how_it_was_written_does_not_count(meta_of in metas(), seed in 1_u32..20) {
            use prost::Message as _;
            let shapes = meta();
            let wire = meta_of.encode_to_vec();
            let other = shuffled(&wire, seed);
            let canonical = shapes.canonical(&wire).unwrap();
            prop_assert_eq!(&canonical, &shapes.canonical(&meta_of.clone().encode_to_vec()).unwrap());
            prop_assert_eq!(proto::ObjectMeta::decode(canonical.as_slice()).unwrap(), meta_of);
            prop_assert_eq!(shapes.canonical(&canonical).unwrap(), canonical.clone());
            prop_assert_eq!(shapes.canonical(&other).unwrap(), canonical);
            prop_assert!(shapes.changes(&wire, &other, true, |_| true).unwrap().is_empty());
        }

        #[test]
        fn what_differs_is_named(one in metas(), other in metas()) {
            use prost::Message as _;
            let paths = meta().changes(&one.encode_to_vec(), &other.encode_to_vec(), true, |_| true).unwrap();
            prop_assert_eq!(paths.is_empty(), one == other);
            let named = |name: &str| paths.iter().any(|path| path.split('.').next() == Some(name));
            prop_assert_eq!(named("name"), one.name != other.name);
            prop_assert_eq!(named("labels"), one.labels != other.labels);
            prop_assert_eq!(named("owner_references"), one.owner_references != other.owner_references);
            prop_assert_eq!(named("creation_timestamp"), one.creation_timestamp != other.creation_timestamp);
        }

        #[test]
        fn garbage_is_refused_or_kept(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let shapes = meta();
            if let Ok(canonical) = shapes.canonical(&bytes) {
                prop_assert_eq!(shapes.canonical(&canonical).unwrap(), canonical);
            }
            let _ = shapes.missing(&bytes);
            let _ = shapes.changes(&bytes, &[], true, |_| true);
        }
    }
}
