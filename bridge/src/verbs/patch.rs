//! PATCH: Get, patch, Update under the version that was read.

use http::StatusCode;
use serde_json::Value;

use super::{
    Reply,
    delete::RETRIES,
    exchange::Exchange,
    input, prepare,
    update::{self, Part},
};
use crate::{
    caller::Caller,
    env::Env,
    negotiate::{self, Endpoint, PATCH_TYPES},
    object::{MetaView, Object},
    options::{FieldValidation, WriteKind, WriteOptions},
    patch,
    proto::GetOptions,
    status::{ApiError, StatusCause},
    transcode::TypeMeta,
};

/// Patches an object: 200 and the object as stored.
pub(super) async fn patch<C: Caller, E: Env>(
    mut exchange: Exchange<C, E>,
    part: Part,
) -> Result<Reply, ApiError> {
    update::method(&exchange, part)?;
    // First of all: what an option means hangs on the type (`force` belongs to apply), and clients that try one
    // type after the other look for the 415.
    let content_type = negotiate::content_type(&exchange.request.headers).unwrap_or_default();
    if !PATCH_TYPES.contains(&content_type.as_str()) {
        return Err(ApiError::unsupported_media_type(&PATCH_TYPES));
    }
    let options = WriteOptions::parse(WriteKind::Patch, &exchange.request.query)?;
    let media = exchange.negotiate(Endpoint::Object)?;
    let body = exchange.request.body.clone();
    let patch = Patch {
        content_type: &content_type,
        body: &body,
        faults: match options.field_validation {
            FieldValidation::Ignore => Vec::new(),
            FieldValidation::Warn | FieldValidation::Strict => patch::strict_faults(&content_type, &body),
        },
    };
    let mut retries = if patch.names_resource_version() { 0 } else { RETRIES };
    let warned = exchange.warnings.len();
    let written = loop {
        match attempt(&mut exchange, &patch, part, &options).await {
            Err(error) if error.status.reason == "Conflict" && retries > 0 => retries -= 1,
            other => break other?,
        }
        exchange.warnings.truncate(warned);
    };
    exchange.object_reply(StatusCode::OK, &media, &written)
}

struct Patch<'a> {
    content_type: &'a str,
    body: &'a [u8],
    /// What is wrong with the patch itself, though it can be applied.
    faults: Vec<String>,
}

impl Patch<'_> {
    /// Whether the patch says itself which version it is for. What cannot be read fails later.
    fn names_resource_version(&self) -> bool {
        match serde_json::from_slice(self.body) {
            Ok(Value::Array(operations)) => operations.iter().any(|operation| {
                let path = operation.get("path").and_then(Value::as_str).unwrap_or_default();
                matches!(path, "" | "/metadata" | "/metadata/resourceVersion")
            }),
            Ok(patch) => patch.pointer("/metadata/resourceVersion").is_some(),
            Err(_) => false,
        }
    }
}

async fn attempt<C: Caller, E: Env>(
    exchange: &mut Exchange<C, E>,
    patch: &Patch<'_>,
    part: Part,
    options: &WriteOptions,
) -> Result<bytes::Bytes, ApiError> {
    let current = exchange.fetch(&GetOptions::default()).await?;
    let complete = exchange.complete(&current)?.into_owned();
    let json = patch::apply(patch.content_type, &as_json(exchange, &complete)?, patch.body)?;
    let parsed = match exchange.resource.message.from_json(&json) {
        Ok(parsed) => parsed,
        Err(error) => return Err(unfit(&json, &error.to_string())),
    };
    let api_version = exchange.resource.api_version();
    let kind = &exchange.resource.kind;
    input::check_kind(&api_version, kind, parsed.api_version.as_deref(), parsed.kind.as_deref())?;
    let mut faults = patch.faults.clone();
    faults.extend(input::strict_faults(&parsed));
    if !faults.is_empty() {
        match options.field_validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => exchange.warnings.extend(faults),
            FieldValidation::Strict => {
                return Err(unfit(&json, &format!("strict decoding error: {}", faults.join(", "))));
            }
        }
    }
    let mut new = Object::parse(&parsed.wire).map_err(|e| exchange.wire_error(&e))?;
    let stored = MetaView::of(&complete).map_err(|e| exchange.wire_error(&e))?;
    if exchange.managed() && !new.meta.uid.is_empty() && new.meta.uid != stored.uid {
        let resource = &exchange.resource;
        let cause = StatusCause::invalid("metadata.uid", &new.meta.uid, "field is immutable");
        return Err(ApiError::invalid(&resource.group, &resource.kind, exchange.name(), vec![cause]));
    }
    prepare::name(exchange, &mut new)?;
    prepare::namespace(exchange, &mut new)?;
    update::replace(exchange, &current, new, part, &options.update()).await
}

fn as_json<C: Caller, E: Env>(exchange: &mut Exchange<C, E>, object: &[u8]) -> Result<Vec<u8>, ApiError> {
    let api_version = exchange.resource.api_version();
    let type_meta = TypeMeta { api_version: &api_version, kind: &exchange.resource.kind };
    let mut json = Vec::with_capacity(object.len() * 2);
    let noticed = exchange
        .resource
        .message
        .to_json(object, Some(type_meta), &mut json)
        .map_err(|e| exchange.wire_error(&e))?;
    exchange.schema_suspect |= noticed.unknown_fields;
    Ok(json)
}

/// 422: the patch makes something of the object that is not of its schema.
fn unfit(json: &[u8], text: &str) -> ApiError {
    let cause = StatusCause::invalid("patch", &String::from_utf8_lossy(json), text);
    ApiError::invalid("", "", "", vec![cause])
}
