//! PUT of an object or of its status; and what patch and delete share with it: the conditional write.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::{Reply, call, call::Values, delete, exchange::Exchange, input, namespace, prepare};
use crate::{
    caller::{Caller, Class},
    env::Env,
    model::Method,
    negotiate::Endpoint,
    object::{self, Object},
    options::{WriteKind, WriteOptions},
    proto::{DeleteOptions, GetOptions, UpdateOptions},
    status::{ApiError, CallVerb},
    transcode::UnknownFields,
};

/// What of the object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything but the status, where that is a subresource.
    Main,
    /// Nothing but the status.
    Status,
}

/// Replaces an object: 200 and the object as stored.
pub(super) async fn update<C: Caller, E: Env>(
    mut exchange: Exchange<C, E>,
    part: Part,
) -> Result<Reply, ApiError> {
    let method = method(&exchange, part)?;
    let options = WriteOptions::parse(WriteKind::Update, &exchange.request.query)?;
    let media = exchange.negotiate(Endpoint::Object)?;
    let wire = input::object(&mut exchange, options.field_validation)?;
    let options = options.update();
    let mut new = Object::parse(&wire).map_err(|e| exchange.wire_error(&e))?;
    prepare::name(&exchange, &mut new)?;
    prepare::namespace(&exchange, &mut new)?;
    let written = if exchange.managed() || merges_status(&exchange, part) {
        let current = exchange.fetch(&GetOptions::default()).await?;
        replace(&mut exchange, &current, new, part, &options).await?
    } else {
        relay(&exchange, &method, &new, &options).await?
    };
    exchange.object_reply(StatusCode::OK, &media, &written)
}

/// The method that writes `part`.
pub(super) fn method<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    part: Part,
) -> Result<Arc<Method>, ApiError> {
    let methods = &exchange.resource.methods;
    let method = match part {
        Part::Main => methods.update.as_ref(),
        Part::Status => methods.update_status.as_ref().or(methods.update.as_ref()),
    };
    method.cloned().ok_or_else(ApiError::method_not_allowed)
}

/// Whether the status is written by an Update of the whole object.
fn merges_status<C, E>(exchange: &Exchange<C, E>, part: Part) -> bool {
    part == Part::Status && exchange.resource.methods.update_status.is_none()
}

/// `lifecycle: BACKEND`: as the client wrote it.
async fn relay<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    new: &Object,
    options: &UpdateOptions,
) -> Result<Bytes, ApiError> {
    namespace::is_there(exchange).await?;
    if !options.dry_run.is_empty() && !call::binds_dry_run(method) {
        exchange.fetch(&GetOptions::default()).await?;
        return Ok(new.encode().into());
    }
    write(exchange, method, &new.encode(), options).await
}

/// Writes `new` over `current`, which was just read; conditional on the version. A write that changes nothing
/// is not made. The last finalizer of a terminating object is removed by one Delete.
///
/// # Errors
/// 404 where the namespace is gone; 409 when the object changed meanwhile; 422 for what may not be written; 503 when the backend's schema is newer
/// than ours in a place where its fields cannot be carried over.
pub(super) async fn replace<C: Caller, E: Env>(
    exchange: &mut Exchange<C, E>,
    current: &[u8],
    mut new: Object,
    part: Part,
    options: &UpdateOptions,
) -> Result<Bytes, ApiError> {
    let method = method(exchange, part)?;
    namespace::is_there(exchange).await?;
    let unknown = unknown_fields(exchange, current)?;
    let current = exchange.complete(current)?.into_owned();
    let stored = Object::parse(&current).map_err(|e| exchange.wire_error(&e))?;
    if exchange.managed() {
        prepare::update(exchange, &stored, &mut new)?;
    }
    let mut merged = merge(exchange, &stored, new, part)?;
    let unknown = lost(exchange, unknown, part);
    let encode = |exchange: &Exchange<C, E>, merged: &Object| {
        object::carry_over(merged.encode(), &unknown).map_err(|e| exchange.wire_error(&e))
    };
    let mut wire = encode(exchange, &merged)?;
    match compare(exchange, &current, &wire)? {
        Change::Nothing => return Ok(current.into()),
        Change::MetadataOrStatus => {}
        Change::Spec if !exchange.managed() || part == Part::Status => {}
        Change::Spec => {
            merged.meta.generation = stored.meta.generation + 1;
            wire = encode(exchange, &merged)?;
        }
    }
    let last_finalizer = exchange.managed()
        && part == Part::Main
        && stored.meta.deletion_timestamp.is_some()
        && merged.meta.finalizers.is_empty();
    if last_finalizer && let Some(delete) = exchange.resource.methods.delete.clone() {
        if options.dry_run.is_empty() {
            delete::remove(exchange, &delete, &stored.meta, &DeleteOptions::default()).await?;
        }
        return Ok(wire.into());
    }
    if !options.dry_run.is_empty() && !call::binds_dry_run(&method) {
        return Ok(wire.into());
    }
    write(exchange, &method, &wire, options).await
}

/// One Update.
pub(super) async fn write<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    object: &[u8],
    options: &UpdateOptions,
) -> Result<Bytes, ApiError> {
    let values = Values {
        namespace: exchange.namespace(),
        name: exchange.name(),
        object,
        update: Some(options),
        ..Values::default()
    };
    exchange
        .unary(method, &values, Class::Write)
        .await
        .map_err(|error| exchange.call_error(&error, CallVerb::Update, exchange.name(), method))
}

/// The stored object's fields that our schema does not know.
pub(super) fn unknown_fields<C: Caller, E: Env>(
    exchange: &mut Exchange<C, E>,
    stored: &[u8],
) -> Result<Vec<UnknownFields>, ApiError> {
    let unknown = exchange.resource.message.unknown_fields(stored).map_err(|error| {
        let message = "the backend's schema is newer than the one that is served; try again in a moment";
        ApiError::service_unavailable(message)
            .with_retry_after(Duration::from_secs(1))
            .with_log(error.to_string())
            .with_schema_suspect()
    })?;
    exchange.schema_suspect |= !unknown.is_empty();
    Ok(unknown)
}

fn merge<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    stored: &Object,
    new: Object,
    part: Part,
) -> Result<Object, ApiError> {
    let fault = |e| exchange.wire_error(&e);
    match part {
        Part::Main => {
            let mut merged = new;
            if let Some(status) = kept_status(exchange) {
                merged.take_field(status, stored).map_err(fault)?;
            }
            Ok(merged)
        }
        Part::Status => {
            let mut merged = stored.clone();
            if let Some(status) = exchange.resource.status_field {
                merged.take_field(status, &new).map_err(fault)?;
            }
            if !new.meta.resource_version.is_empty() {
                merged.meta.resource_version = new.meta.resource_version;
            }
            Ok(merged)
        }
    }
}

/// The field that a write of the main resource may not change.
fn kept_status<C: Caller, E: Env>(exchange: &Exchange<C, E>) -> Option<u32> {
    let resource = &exchange.resource;
    let apart = resource.status_subresource || !resource.keeps.status;
    resource.status_field.filter(|_| apart && resource.managed)
}

/// The unknown fields that the merged object does not have from the stored one already.
fn lost<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    unknown: Vec<UnknownFields>,
    part: Part,
) -> Vec<UnknownFields> {
    let kept = kept_status(exchange);
    let status = exchange.resource.status_field;
    let is_lost = |fields: &UnknownFields| match (fields.path.first().copied(), part) {
        (Some(object::METADATA), _) => true,
        (first, Part::Main) => kept.is_none() || first != kept,
        (first, Part::Status) => first.is_some() && first == status,
    };
    unknown.into_iter().filter(is_lost).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    MetadataOrStatus,
    Spec,
}

/// What differs, as a client would see it: field order, map order and explicit defaults do not count.
fn compare<C: Caller, E: Env>(exchange: &Exchange<C, E>, old: &[u8], new: &[u8]) -> Result<Change, ApiError> {
    if old == new {
        return Ok(Change::Nothing);
    }
    let (mut old, mut new) = (as_value(exchange, old)?, as_value(exchange, new)?);
    if old == new {
        return Ok(Change::Nothing);
    }
    for object in [&mut old, &mut new] {
        if let Some(object) = object.as_object_mut() {
            object.remove("metadata");
            object.remove("status");
        }
    }
    Ok(if old == new { Change::MetadataOrStatus } else { Change::Spec })
}

fn as_value<C: Caller, E: Env>(exchange: &Exchange<C, E>, object: &[u8]) -> Result<Value, ApiError> {
    let mut json = Vec::with_capacity(object.len() * 2);
    exchange.resource.message.to_json(object, None, &mut json).map_err(|e| exchange.wire_error(&e))?;
    serde_json::from_slice(&json).map_err(|e| ApiError::internal(format!("our own JSON: {e}")))
}
