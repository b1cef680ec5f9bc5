//! An object on the wire: its metadata read and rewritten, the rest untouched.
//!
//! Reading ([`MetaView`]) borrows and does not allocate: get, list and watch do it for every object.
//! Rewriting ([`Object`]) decodes the metadata and happens on write paths only.

use std::{borrow::Cow, time::SystemTime};

use bytes::Bytes;
use prost::Message as _;
use uuid::Uuid;

use crate::{
    model::Resource,
    proto::{ObjectMeta, Time},
    transcode::{UnknownFields, WireError},
    wire::{self, Malformed},
};

/// `metadata` in every object and in every list.
pub const METADATA: u32 = 1;
/// `items` in every list.
pub const ITEMS: u32 = 2;

/// The metadata of an object, read from the wire without a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MetaView<'a> {
    object: &'a [u8],
    /// The name.
    pub name: &'a str,
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// The uid; empty for an object born outside of Kubridge.
    pub uid: &'a str,
    /// The version, as the backend wrote it.
    pub resource_version: &'a str,
    /// As stored: 0 reads as 1, see [`MetaView::generation`].
    pub stored_generation: i64,
    /// When the object was made, in seconds since 1970.
    pub created: Option<i64>,
    /// When its deletion was asked for, in seconds since 1970.
    pub deleted: Option<i64>,
    /// Whether it has finalizers.
    pub has_finalizers: bool,
}

impl<'a> MetaView<'a> {
    /// Reads the metadata of an object.
    ///
    /// # Errors
    /// The object or its metadata is not protobuf, or a string in it is not UTF-8: the backend's fault.
    pub fn of(object: &'a [u8]) -> Result<Self, WireError> {
        let mut view = Self { object, ..Self::default() };
        for field in wire::fields(object) {
            let field = field.map_err(|e| malformed("", e))?;
            if field.number == METADATA && is_bytes(&field) {
                view.read(field.value)?;
            }
        }
        Ok(view)
    }

    fn read(&mut self, metadata: &'a [u8]) -> Result<(), WireError> {
        for field in wire::fields(metadata) {
            let field = field.map_err(|e| malformed("metadata", e))?;
            if field.number == 7 && field.wire_type == prost::encoding::WireType::Varint {
                self.stored_generation = field.varint().cast_signed();
                continue;
            }
            if !is_bytes(&field) {
                continue;
            }
            match field.number {
                1 => self.name = text(field.value, "metadata.name")?,
                3 => self.namespace = text(field.value, "metadata.namespace")?,
                5 => self.uid = text(field.value, "metadata.uid")?,
                6 => self.resource_version = text(field.value, "metadata.resourceVersion")?,
                8 => self.created = Some(seconds(field.value, "metadata.creationTimestamp")?),
                9 => self.deleted = Some(seconds(field.value, "metadata.deletionTimestamp")?),
                14 => self.has_finalizers = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// The generation: 0 reads as 1.
    pub fn generation(&self) -> i64 {
        self.stored_generation.max(1)
    }

    /// The version as a number; `None`: it is not a decimal uint64.
    pub fn version(&self) -> Option<u64> {
        self.resource_version.parse().ok()
    }

    /// The labels, in the order of the wire. Of a key that stands twice the last one counts.
    pub fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        wire::fields(self.object)
            .map_while(Result::ok)
            .filter(|field| field.number == METADATA && is_bytes(field))
            .flat_map(|field| wire::fields(field.value).map_while(Result::ok))
            .filter(|field| field.number == 11 && is_bytes(field))
            .map(|entry| {
                let (mut key, mut value) = ("", "");
                for part in wire::fields(entry.value).map_while(Result::ok).filter(is_bytes) {
                    match part.number {
                        1 => key = std::str::from_utf8(part.value).unwrap_or_default(),
                        2 => value = std::str::from_utf8(part.value).unwrap_or_default(),
                        _ => {}
                    }
                }
                (key, value)
            })
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.labels().filter(|(k, _)| *k == key).last().map(|(_, value)| value)
    }

    /// The uid: the stored one, else the one that is made of what identifies the object.
    pub fn uid(&self, resource: &Resource) -> Cow<'a, str> {
        if self.uid.is_empty() { made_uid(resource, self).to_string().into() } else { self.uid.into() }
    }
}

/// The uid of an object that was born outside of Kubridge: UUIDv5 (RFC 9562) of group, resource, namespace,
/// name and creationTimestamp. Every process makes the same one.
fn made_uid(resource: &Resource, meta: &MetaView<'_>) -> Uuid {
    let created = meta.created.map(|seconds| seconds.to_string()).unwrap_or_default();
    let identity = [&resource.group, &resource.plural, meta.namespace, meta.name, &created].join("/");
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("kubridge:{identity}").as_bytes())
}

/// The object as clients see it: one that was born outside of Kubridge gets a uid and a generation.
/// Any other is returned as it is, without a copy; so is what is answered and not kept (a review).
///
/// # Errors
/// The object is not protobuf.
pub fn complete<'a>(resource: &Resource, object: &'a [u8]) -> Result<Cow<'a, [u8]>, WireError> {
    let meta = MetaView::of(object)?;
    if resource.create_only() || (!meta.uid.is_empty() && meta.stored_generation != 0) {
        return Ok(object.into());
    }
    let mut extra = Vec::with_capacity(48);
    if meta.uid.is_empty() {
        wire::put_bytes(&mut extra, 5, meta.uid(resource).as_bytes());
    }
    if meta.stored_generation == 0 {
        wire::put_varint(&mut extra, 7, 1);
    }
    Ok(append(object, &[METADATA], &extra).map_err(|e| malformed("", e))?.into())
}

/// The object with another resourceVersion.
///
/// # Errors
/// The object is not protobuf.
pub fn with_version(object: &[u8], version: &str) -> Result<Vec<u8>, WireError> {
    let mut extra = Vec::with_capacity(version.len() + 2);
    wire::put_bytes(&mut extra, 6, version.as_bytes());
    append(object, &[METADATA], &extra).map_err(|e| malformed("", e))
}

/// Appends `raw` fields to the message that `path` leads to, which is made when it is absent. Occurrences of
/// one message field are merged into one, in the place of the first, for decoders that do not merge.
fn append(message: &[u8], path: &[u32], raw: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(message.len() + raw.len() + 16);
    let Some((&number, path)) = path.split_first() else {
        out.extend_from_slice(message);
        out.extend_from_slice(raw);
        return Ok(out);
    };
    let inner = append(&wire::message_field(message, number)?, path, raw)?;
    let mut inner = Some(inner);
    for field in wire::fields(message) {
        let field = field?;
        if field.number != number {
            out.extend_from_slice(field.raw);
        } else if let Some(inner) = inner.take() {
            wire::put_bytes(&mut out, number, &inner);
        }
    }
    if let Some(inner) = inner {
        wire::put_bytes(&mut out, number, &inner);
    }
    Ok(out)
}

fn reaches(message: &[u8], path: &[u32]) -> Result<bool, Malformed> {
    let Some((&number, path)) = path.split_first() else { return Ok(true) };
    Ok(wire::has_field(message, number)? && reaches(&wire::message_field(message, number)?, path)?)
}

/// Carries unknown fields of the stored object over into the one that replaces it. What stood in a message
/// that the new object does not have is gone with that message.
///
/// # Errors
/// The object is not protobuf.
pub fn carry_over(object: Vec<u8>, unknown: &[UnknownFields]) -> Result<Vec<u8>, WireError> {
    let mut object = object;
    for fields in unknown {
        if reaches(&object, &fields.path).map_err(|e| malformed("", e))? {
            object = append(&object, &fields.path, &fields.raw).map_err(|e| malformed("", e))?;
        }
    }
    Ok(object)
}

/// An object on a write path: metadata decoded, the rest as it stands on the wire.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    /// The metadata that the contract defines. Fields that it does not define are not here:
    /// [`carry_over`] brings them back from the stored object.
    pub meta: ObjectMeta,
    /// Everything else, as it stands on the wire.
    rest: Vec<u8>,
}

impl Object {
    /// Takes an object apart.
    ///
    /// # Errors
    /// The object is not protobuf, or its metadata is not ObjectMeta.
    pub fn parse(object: &[u8]) -> Result<Self, WireError> {
        let metadata = wire::message_field(object, METADATA).map_err(|e| malformed("", e))?;
        let meta = ObjectMeta::decode(&*metadata)
            .map_err(|e| WireError::Value { path: "metadata".into(), message: e.to_string() })?;
        let rest = wire::without(object, |number| number == METADATA).map_err(|e| malformed("", e))?;
        Ok(Self { meta, rest })
    }

    /// Puts it together again.
    pub fn encode(&self) -> Vec<u8> {
        let length = self.meta.encoded_len();
        let mut out = Vec::with_capacity(wire::bytes_len(METADATA, length) + self.rest.len());
        wire::put_bytes(&mut out, METADATA, &self.meta.encode_to_vec());
        out.extend_from_slice(&self.rest);
        out
    }

    /// Takes one top-level field from `other`; where `other` has none, this has none either.
    ///
    /// # Errors
    /// The object is not protobuf.
    pub fn take_field(&mut self, number: u32, other: &Self) -> Result<(), WireError> {
        let fault = |e| malformed("", e);
        let mut rest = wire::without(&self.rest, |n| n == number).map_err(fault)?;
        rest.extend_from_slice(&wire::without(&other.rest, |n| n != number).map_err(fault)?);
        self.rest = rest;
        Ok(())
    }
}

/// A point of time as metadata has it: whole seconds.
pub fn time(now: SystemTime) -> Time {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    Time { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 }
}

/// A chunk of a list: its metadata and its items.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// ListMeta on the wire, where the chunk has it.
    pub metadata: Option<Bytes>,
    /// The items, slices of the chunk.
    pub items: Vec<Bytes>,
}

impl Chunk {
    /// Splits a List response.
    ///
    /// # Errors
    /// The chunk is not protobuf.
    pub fn parse(chunk: &Bytes) -> Result<Self, WireError> {
        let mut parsed = Self::default();
        for field in wire::fields(chunk) {
            let field = field.map_err(|e| malformed("", e))?;
            match field.number {
                METADATA if is_bytes(&field) => {
                    parsed.metadata = Some(match parsed.metadata.take() {
                        None => chunk.slice_ref(field.value),
                        Some(first) => [&first[..], field.value].concat().into(),
                    });
                }
                ITEMS if is_bytes(&field) => parsed.items.push(chunk.slice_ref(field.value)),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

fn is_bytes(field: &wire::Field<'_>) -> bool {
    field.wire_type == prost::encoding::WireType::LengthDelimited
}

fn malformed(path: &str, at: Malformed) -> WireError {
    WireError::Malformed { path: path.into(), offset: at.offset }
}

fn text<'a>(value: &'a [u8], path: &str) -> Result<&'a str, WireError> {
    std::str::from_utf8(value).map_err(|_| WireError::Utf8 { path: path.into() })
}

fn seconds(time: &[u8], path: &str) -> Result<i64, WireError> {
    let mut seconds = 0;
    for field in wire::fields(time) {
        let field = field.map_err(|e| malformed(path, e))?;
        if field.number == 1 {
            seconds = field.varint().cast_signed();
        }
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests;
