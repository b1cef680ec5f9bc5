//! The body of a write -> the resource message.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use super::exchange::Exchange;
use crate::{
    caller::Caller,
    env::Env,
    envelope,
    model::Resource,
    negotiate,
    options::FieldValidation,
    status::ApiError,
    transcode::{JsonError, Parsed},
};

/// Reads the body as the resource.
///
/// # Errors
/// 415 for another format, 400 for all that is wrong with the body, naming the place.
pub(super) fn object<C: Caller, E: Env>(
    exchange: &mut Exchange<C, E>,
    validation: FieldValidation,
) -> Result<Vec<u8>, ApiError> {
    let resource = Arc::clone(&exchange.resource);
    if resource.wire_twin
        && negotiate::content_type(&exchange.request.headers).as_deref() == Some(envelope::MEDIA_TYPE)
    {
        return twin(&resource, &exchange.request.body);
    }
    let json = json(exchange)?;
    if json.iter().all(u8::is_ascii_whitespace) {
        return Err(unrecognized(&resource.kind, "unexpected end of JSON input (<empty>)"));
    }
    let api_version = resource.api_version();
    let parsed = resource
        .message
        .from_json(&json)
        .map_err(|error| bad_json(&api_version, &resource.kind, &json, &error))?;
    check_kind(&api_version, &resource.kind, parsed.api_version.as_deref(), parsed.kind.as_deref())?;
    report(exchange, &resource.kind, &parsed, validation)?;
    Ok(parsed.wire)
}

/// Kubernetes' own protobuf, of a message that is the same on the wire.
fn twin(resource: &Resource, body: &[u8]) -> Result<Vec<u8>, ApiError> {
    let envelope = envelope::open(body)?;
    check_kind(&resource.api_version(), &resource.kind, Some(envelope.api_version), Some(envelope.kind))?;
    // Whatever is not valid is the client's fault here, not a backend's.
    let valid = resource.message.to_json(envelope.object, None, &mut Vec::new());
    valid.map_err(|error| ApiError::bad_request(format!("the body is not a {}: {error}", resource.kind)))?;
    Ok(envelope.object.to_vec())
}

/// The body as JSON, whatever it was sent as.
pub(super) fn json<C: Caller, E: Env>(exchange: &Exchange<C, E>) -> Result<Bytes, ApiError> {
    Ok(match negotiate::body_json(&exchange.request.headers, &exchange.request.body)? {
        Cow::Borrowed(_) => exchange.request.body.clone(),
        Cow::Owned(json) => json.into(),
    })
}

/// Does as `validation` says with what the schema does not have.
pub(super) fn report<C: Caller, E: Env>(
    exchange: &mut Exchange<C, E>,
    kind: &str,
    parsed: &Parsed,
    validation: FieldValidation,
) -> Result<(), ApiError> {
    let faults = strict_faults(parsed);
    match validation {
        FieldValidation::Warn => exchange.warnings.extend(faults),
        FieldValidation::Strict if !faults.is_empty() => {
            let text = format!("strict decoding error: {}", faults.join(", "));
            return Err(not_handled(&exchange.resource.version, kind, &text));
        }
        FieldValidation::Ignore | FieldValidation::Strict => {}
    }
    Ok(())
}

/// `unknown field "spec.foo"`, `duplicate field "spec.bar"`.
pub(super) fn strict_faults(parsed: &Parsed) -> Vec<String> {
    let unknown = parsed.unknown.iter().map(|path| format!("unknown field \"{path}\""));
    let duplicates = parsed.duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
    unknown.chain(duplicates).collect()
}

fn unrecognized(kind: &str, text: &str) -> ApiError {
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {text}"
    ))
}

fn not_handled(version: &str, kind: &str, text: &str) -> ApiError {
    ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {text}"))
}

/// 400: the body is not JSON, or not of `kind`.
pub(super) fn bad_json(api_version: &str, kind: &str, json: &[u8], error: &JsonError) -> ApiError {
    match error {
        JsonError::Syntax { .. } | JsonError::Utf8 { .. } => unrecognized(kind, &error.to_string()),
        JsonError::TooDeep { .. } | JsonError::Value { .. } => {
            // An object of another kind fits the schema nowhere: say so, and not where it fails first.
            let other: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
            let text = |key: &str| other.get(key).and_then(serde_json::Value::as_str);
            match check_kind(api_version, kind, text("apiVersion"), text("kind")) {
                Err(other_kind) => other_kind,
                Ok(()) => not_handled(version(api_version), kind, &error.to_string()),
            }
        }
    }
}

/// 400 unless apiVersion and kind, where given, are the expected ones.
pub(super) fn check_kind(
    expected_version: &str,
    expected_kind: &str,
    api_version: Option<&str>,
    kind: Option<&str>,
) -> Result<(), ApiError> {
    let api_version = api_version.filter(|v| !v.is_empty()).unwrap_or(expected_version);
    let kind = kind.filter(|k| !k.is_empty()).unwrap_or(expected_kind);
    if kind != expected_kind {
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {expected_kind}: no kind \"{kind}\" is registered for version \"{api_version}\" here",
            version(api_version)
        )));
    }
    if api_version != expected_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected_version})"
        )));
    }
    Ok(())
}

fn version(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or_default()
}
