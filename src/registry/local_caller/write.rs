//! Create, Update, UpdateStatus, Delete.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use kubridge_bridge::{
    caller::{CallError, FieldViolation},
    proto::{self, ObjectMeta},
    wire::{self, Malformed},
};
use prost::Message as _;

use super::{Admission, Served, answer, decode};
use crate::registry::store::{Change, Key, Store, Stored};

const OBJECT: u32 = 1;
const OPTIONS: u32 = 2;
const METADATA: u32 = 1;
const STATUS: u32 = 3;

/// Which part of the object an update writes; the other stays as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything but the status.
    Object,
    /// The status.
    Status,
}

pub(super) async fn create(store: &Store, served: &Arc<Served>, message: Bytes) -> Result<Bytes, CallError> {
    let options: proto::CreateOptions = decode(&field(&message, OPTIONS)?)?;
    let object = field(&message, OBJECT)?.into_owned();
    let metadata = metadata(&object)?;
    if metadata.name.is_empty() {
        return Err(answer::invalid(vec![required("metadata.name", "name or generateName is required")]));
    }
    let name = metadata.name.clone();
    let key = Key { resource: served.resource.clone(), namespace: metadata.namespace, name: metadata.name };
    let served = Arc::clone(served);
    let written = store
        .write(key, !options.dry_run.is_empty(), move |old| {
            if old.is_some() {
                return Err(answer::already_exists(&served, &name));
            }
            admit(&served, &object, None)
        })
        .await?;
    Ok(written.object.map(|stored| stored.object).unwrap_or_default())
}

pub(super) async fn update(
    store: &Store,
    served: &Arc<Served>,
    message: Bytes,
    part: Part,
) -> Result<Bytes, CallError> {
    let options: proto::UpdateOptions = decode(&field(&message, OPTIONS)?)?;
    let new = field(&message, OBJECT)?.into_owned();
    let metadata = metadata(&new)?;
    let key = Key {
        resource: served.resource.clone(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
    };
    let served = Arc::clone(served);
    let written = store
        .write(key, !options.dry_run.is_empty(), move |old| {
            let old = old.ok_or_else(|| answer::not_found(&served, &metadata.name))?;
            if metadata.resource_version.is_empty() {
                return Err(answer::invalid(vec![FieldViolation {
                    field: "metadata.resourceVersion".into(),
                    description: "Invalid value: 0: must be specified for an update".into(),
                    reason: "FieldValueInvalid".into(),
                }]));
            }
            check(old, Some(&metadata.resource_version), Some(metadata.uid.as_str()), &metadata.name)?;
            let (base, status) = match part {
                Part::Object => (&new[..], &old.object[..]),
                Part::Status => (&old.object[..], &new[..]),
            };
            let merged = with_status(base, status).map_err(|error| answer::malformed(&error.to_string()))?;
            admit(&served, &merged, Some(&old.object))
        })
        .await?;
    Ok(written.object.map(|stored| stored.object).unwrap_or_default())
}

pub(super) async fn delete(
    store: &Store,
    served: &Arc<Served>,
    request: proto::DeleteRequest,
) -> Result<Bytes, CallError> {
    let options = request.options.unwrap_or_default();
    let preconditions = options.preconditions.unwrap_or_default();
    let key =
        Key { resource: served.resource.clone(), namespace: request.namespace, name: request.name.clone() };
    let served = Arc::clone(served);
    store
        .write(key, !options.dry_run.is_empty(), move |old| {
            let old = old.ok_or_else(|| answer::not_found(&served, &request.name))?;
            check(
                old,
                preconditions.resource_version.as_deref(),
                preconditions.uid.as_deref(),
                &request.name,
            )?;
            Ok::<_, CallError>(Change::Delete)
        })
        .await?;
    Ok(Bytes::new())
}

fn admit(served: &Served, object: &[u8], old: Option<&[u8]>) -> Result<Change, CallError> {
    let now = now();
    (served.kind.admit)(Admission { object, old, now }).map(Change::Put).map_err(answer::invalid)
}

/// Whether `old` is the object that the caller read. What is empty or absent is not asked.
fn check(old: &Stored, version: Option<&str>, uid: Option<&str>, name: &str) -> Result<(), CallError> {
    if version.is_some_and(|version| !version.is_empty() && version != old.version.to_string()) {
        return Err(answer::conflict("RESOURCE_VERSION", name));
    }
    if let Some(uid) = uid.filter(|uid| !uid.is_empty())
        && metadata(&old.object)?.uid != uid
    {
        return Err(answer::conflict("UID", name));
    }
    Ok(())
}

/// `base` with the status of `other`.
fn with_status(base: &[u8], other: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = wire::without(base, |number| number == STATUS)?;
    if wire::has_field(other, STATUS)? {
        wire::put_bytes(&mut out, STATUS, &wire::message_field(other, STATUS)?);
    }
    Ok(out)
}

fn metadata(object: &[u8]) -> Result<ObjectMeta, CallError> {
    ObjectMeta::decode(&*field(object, METADATA)?).map_err(|error| answer::malformed(&error.to_string()))
}

fn field(message: &[u8], number: u32) -> Result<std::borrow::Cow<'_, [u8]>, CallError> {
    wire::message_field(message, number).map_err(|error| answer::malformed(&error.to_string()))
}

fn required(field: &str, detail: &str) -> FieldViolation {
    FieldViolation {
        field: field.into(),
        description: format!("Required value: {detail}"),
        reason: "FieldValueRequired".into(),
    }
}

/// The time, to the second, as metadata carries it.
pub fn now() -> proto::Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    proto::Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: 0 }
}
