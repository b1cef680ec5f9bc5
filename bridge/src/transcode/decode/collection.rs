//! Lists and maps: JSON -> wire.

use std::{borrow::Cow, collections::HashSet};

use super::Decoder;
use crate::transcode::{
    fault::{JsonFault, JsonResult},
    json_reader::{key_integer, shown},
    table::{Field, Key, Kind, Special},
};

/// Up to here keys that are not in order are compared one by one.
const FEW: usize = 16;

impl<'t, 'a> Decoder<'t, 'a> {
    /// A list. `depth` is that of the object that holds it.
    pub(super) fn list(&mut self, field: &'t Field, packed: bool, depth: usize) -> JsonResult<()> {
        self.open(b'[', "an array", depth + 1)?;
        if self.reader.closes(b']') {
            return Ok(());
        }
        if packed {
            field.key.put(&mut self.out.bytes);
            let mark = self.out.open();
            loop {
                self.scalar(field.kind)?;
                if !self.reader.more(b']')? {
                    break;
                }
            }
            self.out.close(mark);
            return Ok(());
        }
        loop {
            field.key.put(&mut self.out.bytes);
            match field.kind {
                Kind::Message(_) => self.message(field.kind, depth + 1)?,
                Kind::Special(special, _) => self.special_element(special, field.kind, depth + 1)?,
                kind => {
                    self.scalar(kind)?;
                }
            }
            if !self.reader.more(b']')? {
                return Ok(());
            }
        }
    }

    /// An element of a list or value of a map.
    fn special_element(&mut self, special: Special, kind: Kind, depth: usize) -> JsonResult<()> {
        if special == Special::Raw && self.reader.peek() == b'n' {
            self.reader.literal("null")?;
            self.out.put_bytes(&[]);
            return Ok(());
        }
        self.message(kind, depth)
    }

    /// A map. `depth` is that of the object that holds it.
    pub(super) fn map(&mut self, field: &'t Field, key_kind: Kind, depth: usize) -> JsonResult<()> {
        self.open(b'{', "an object", depth + 1)?;
        if self.reader.closes(b'}') {
            return Ok(());
        }
        let key_tag = Key::new(1 << 3 | key_kind.wire_type());
        let value_tag = Key::new(2 << 3 | field.kind.wire_type());
        let mut keys = Keys { first: self.keys.len(), in_order: true, set: None };
        loop {
            self.reader.key_start()?;
            let at = self.reader.at;
            let name = self.reader.string()?;
            self.reader.expect(b':', "':' after the name of a member")?;
            if self.overridden.is_some() && self.is_overridden(at) {
                self.reader.skip_value(depth + 1)?;
            } else {
                if key_kind == Kind::String {
                    field.key.put(&mut self.out.bytes);
                    let entry = self.out.open();
                    key_tag.put(&mut self.out.bytes);
                    self.out.put_bytes(&name);
                    self.map_value(field.kind, value_tag, depth + 1)?;
                    self.out.close(entry);
                } else {
                    field.key.put(&mut self.out.bytes);
                    let entry = self.out.open();
                    key_tag.put(&mut self.out.bytes);
                    self.map_key(key_kind, &name, at)?;
                    self.map_value(field.kind, value_tag, depth + 1)?;
                    self.out.close(entry);
                }
                if self.overridden.is_none() && !keys.insert(&mut self.keys, name) {
                    return Err(JsonFault::duplicate(at));
                }
            }
            if !self.reader.more(b'}')? {
                self.keys.truncate(keys.first);
                return Ok(());
            }
        }
    }

    #[inline(always)]
    fn map_value(&mut self, kind: Kind, tag: Key, depth: usize) -> JsonResult<()> {
        if self.reader.peek() == b'n' && !self.kind_has_null(kind) {
            // As Kubernetes reads it: the zero of the type, which an entry without a value has.
            return self.reader.literal("null");
        }
        tag.put(&mut self.out.bytes);
        match kind {
            Kind::Message(_) | Kind::Special(..) => self.message(kind, depth),
            kind => self.scalar(kind).map(|_| ()),
        }
    }

    /// A key that is no string.
    fn map_key(&mut self, kind: Kind, name: &[u8], at: usize) -> JsonResult<()> {
        let fault = |expected: &str| {
            JsonFault::value(at, format!("the key must be {expected} in quotes, not {:?}", shown(name)))
        };
        let signed = |min: i64, max: i64| {
            key_integer(name).and_then(|key| key.signed()).filter(|key| (min..=max).contains(key))
        };
        let unsigned = |max: u64| key_integer(name).and_then(|key| key.unsigned()).filter(|key| *key <= max);
        match kind {
            Kind::Bool => match name {
                b"true" => self.out.bytes.push(1),
                b"false" => self.out.bytes.push(0),
                _ => return Err(fault("true or false")),
            },
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                let key =
                    signed(i32::MIN.into(), i32::MAX.into()).ok_or_else(|| fault("an integer of 32 bits"))?;
                match kind {
                    Kind::Int32 => self.out.put_varint(key as u64),
                    Kind::Sint32 => self.out.put_varint((key << 1 ^ key >> 63) as u64),
                    _ => self.out.bytes.extend_from_slice(&(key as i32).to_le_bytes()),
                }
            }
            Kind::Uint32 | Kind::Fixed32 => {
                let key = unsigned(u32::MAX.into()).ok_or_else(|| fault("an unsigned integer of 32 bits"))?;
                match kind {
                    Kind::Uint32 => self.out.put_varint(key),
                    _ => self.out.bytes.extend_from_slice(&(key as u32).to_le_bytes()),
                }
            }
            Kind::Uint64 | Kind::Fixed64 => {
                let key = unsigned(u64::MAX).ok_or_else(|| fault("an unsigned integer of 64 bits"))?;
                match kind {
                    Kind::Uint64 => self.out.put_varint(key),
                    _ => self.out.bytes.extend_from_slice(&key.to_le_bytes()),
                }
            }
            _ => {
                let key = signed(i64::MIN, i64::MAX).ok_or_else(|| fault("an integer of 64 bits"))?;
                match kind {
                    Kind::Int64 => self.out.put_varint(key as u64),
                    Kind::Sint64 => self.out.put_varint((key << 1 ^ key >> 63) as u64),
                    _ => self.out.bytes.extend_from_slice(&key.to_le_bytes()),
                }
            }
        }
        Ok(())
    }
}

/// The keys that a map had so far. Keys in ascending order, as Kubernetes writes them, are compared with one only.
struct Keys<'a> {
    /// Where the map's keys start on the stack of all open maps.
    first: usize,
    in_order: bool,
    set: Option<HashSet<Cow<'a, [u8]>>>,
}

impl<'a> Keys<'a> {
    /// False: it was there before.
    fn insert(&mut self, keys: &mut Vec<Cow<'a, [u8]>>, key: Cow<'a, [u8]>) -> bool {
        let own = &keys[self.first..];
        let new = if self.in_order && own.last().is_none_or(|last| *last < key) {
            true
        } else {
            self.in_order = false;
            match &mut self.set {
                Some(set) => set.insert(key.clone()),
                None if own.len() <= FEW => !own.contains(&key),
                None => {
                    let mut set: HashSet<_> = own.iter().cloned().collect();
                    let new = set.insert(key.clone());
                    self.set = Some(set);
                    new
                }
            }
        };
        keys.push(key);
        new
    }
}
