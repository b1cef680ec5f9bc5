//! The service's message <-> the contract form. Top-level fields change places; what is in them is not looked at.

use prost::{Message as _, encoding::WireType};
use sha2::{Digest as _, Sha256};

use super::{facts::Home, names::Place, plan::Plan};
use crate::{
    object::{METADATA, Object},
    proto::{Condition, Time},
    transcode::rfc3339,
    wire::{self, Malformed},
};

/// `spec` of every mapped resource.
pub(super) const SPEC: u32 = 2;
/// `status` of every mapped resource.
pub(super) const STATUS: u32 = 3;

/// When the service last wrote the object: an annotation that no client writes.
pub const UPDATE_TIME: &str = "kubridge.io/update-time";

/// Why a message of the service is no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    Malformed(Malformed),
    /// This name fits no pattern.
    Name(String),
}

impl From<Malformed> for Unfit {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// What is known of an object beside its message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Operated {
    pub(super) conditions: Vec<Condition>,
    /// Changes when the conditions do; empty: nothing is going on.
    pub(super) mark: String,
}

/// The contract form of a message.
pub(super) fn to_contract(plan: &Plan, message: &[u8], operated: &Operated) -> Result<Vec<u8>, Unfit> {
    let place = match plan.identity.of(message)? {
        Ok((_, place)) => place,
        Err(name) => return Err(Unfit::Name(name)),
    };
    let (mut spec, mut status) = (Vec::with_capacity(message.len()), Vec::new());
    let meta = metadata(plan, &place, message, operated)?;
    for field in wire::fields(message) {
        let field = field?;
        match plan.homes.get(&field.number) {
            // What the schema does not know goes where it is noticed.
            None | Some(Home::Spec) => spec.extend_from_slice(field.raw),
            Some(Home::Status) => status.extend_from_slice(field.raw),
            Some(_) => {}
        }
    }
    if let Some(operations) = &plan.operations {
        for condition in &operated.conditions {
            wire::put_bytes(&mut status, operations.conditions, &condition.encode_to_vec());
        }
    }
    let mut out = Vec::with_capacity(meta.len() + spec.len() + status.len() + 16);
    wire::put_bytes(&mut out, METADATA, &meta);
    wire::put_bytes(&mut out, SPEC, &spec);
    if plan.has_status {
        wire::put_bytes(&mut out, STATUS, &status);
    }
    Ok(out)
}

/// `kubridge.v1.ObjectMeta`. Timestamps and the entries of maps are the same on the wire as the service's.
fn metadata(plan: &Plan, place: &Place, message: &[u8], operated: &Operated) -> Result<Vec<u8>, Unfit> {
    let mut meta = Vec::with_capacity(128);
    wire::put_bytes(&mut meta, 1, place.name.as_bytes());
    if !place.namespace.is_empty() {
        wire::put_bytes(&mut meta, 3, place.namespace.as_bytes());
    }
    let mut version = version(plan, message)?;
    if !operated.mark.is_empty() {
        version.push(MARK);
        version.push_str(&operated.mark);
    }
    wire::put_bytes(&mut meta, 6, version.as_bytes());
    for field in wire::fields(message) {
        let field = field?;
        if field.wire_type != WireType::LengthDelimited {
            continue;
        }
        match plan.homes.get(&field.number) {
            Some(Home::Uid) => wire::put_bytes(&mut meta, 5, field.value),
            Some(Home::CreationTimestamp) => wire::put_bytes(&mut meta, 8, field.value),
            Some(Home::Labels) => wire::put_bytes(&mut meta, 11, field.value),
            Some(Home::Annotations) => wire::put_bytes(&mut meta, 12, field.value),
            Some(Home::UpdateTime) => {
                if let Some(text) = timestamp(field.value)? {
                    let mut entry = Vec::new();
                    wire::put_bytes(&mut entry, 1, UPDATE_TIME.as_bytes());
                    wire::put_bytes(&mut entry, 2, text.as_bytes());
                    wire::put_bytes(&mut meta, 12, &entry);
                }
            }
            _ => {}
        }
    }
    Ok(meta)
}

/// RFC 3339; `None`: it is outside of what that can say.
fn timestamp(value: &[u8]) -> Result<Option<String>, Malformed> {
    let mut time = Time::default();
    for field in wire::fields(value) {
        let field = field?;
        match field.number {
            1 => time.seconds = field.varint().cast_signed(),
            2 => time.nanos = i32::try_from(field.varint()).unwrap_or_default(),
            _ => {}
        }
    }
    Ok(rfc3339(time.seconds, time.nanos))
}

/// What tells one state of the object from another: the etag, else a fingerprint of all of it. Opaque.
pub(super) fn version(plan: &Plan, message: &[u8]) -> Result<String, Malformed> {
    if let Some(number) = plan.field(Home::ResourceVersion) {
        let etag = wire::message_field(message, number)?;
        if !etag.is_empty() {
            return Ok(String::from_utf8_lossy(&etag).into_owned());
        }
    }
    let digest = Sha256::digest(plan.shapes.canonical(message)?);
    Ok(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Between the version of a message and the mark of what is going on with it.
const MARK: char = '~';

/// Whether a version that a client has is that of the message: what else was going on does not matter to a write.
pub(super) fn is_of(version: &str, message: &str) -> bool {
    version == message || version.rsplit_once(MARK).is_some_and(|(version, _)| version == message)
}

/// The service's message of a contract-form object: what clients give, and the fields that name it.
pub(super) fn from_contract(
    plan: &Plan,
    object: &Object,
    ids: Option<&super::names::Ids>,
) -> Result<Vec<u8>, Malformed> {
    let whole = object.encode();
    let spec = wire::message_field(&whole, SPEC)?;
    let mut out = Vec::with_capacity(whole.len());
    if let Some(ids) = ids {
        plan.identity.put(&mut out, ids);
    }
    for field in wire::fields(&spec) {
        let field = field?;
        // A name that is a part of the spec, too, is not taken from there.
        if plan.homes.get(&field.number).is_none_or(|home| *home == Home::Spec) {
            out.extend_from_slice(field.raw);
        }
    }
    for (home, map) in [(Home::Labels, &object.meta.labels), (Home::Annotations, &object.meta.annotations)] {
        let Some(number) = plan.field(home) else { continue };
        for (key, value) in map.iter().filter(|(key, _)| *key != UPDATE_TIME) {
            let mut entry = Vec::with_capacity(key.len() + value.len() + 4);
            wire::put_bytes(&mut entry, 1, key.as_bytes());
            wire::put_bytes(&mut entry, 2, value.as_bytes());
            wire::put_bytes(&mut out, number, &entry);
        }
    }
    Ok(out)
}

/// `stored` with all that clients give taken from `new`.
pub(super) fn merged(plan: &Plan, stored: &[u8], new: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = wire::without(stored, |number| plan.is_given(number))?;
    out.extend(wire::without(new, |number| !plan.is_given(number))?);
    Ok(out)
}

/// Whether the object is deleted and only kept for an undelete (AIP-164).
pub(super) fn is_deleted(plan: &Plan, message: &[u8]) -> Result<bool, Malformed> {
    match plan.field(Home::DeleteTime) {
        Some(number) => wire::has_field(message, number),
        None => Ok(false),
    }
}
