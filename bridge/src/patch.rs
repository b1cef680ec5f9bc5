//! JSON patch (RFC 6902) and merge patch (RFC 7386), as kube-apiserver applies them.

mod strict;

use json_patch::{AddOperation, PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use crate::{negotiate::PATCH_TYPES, status::ApiError, transcode::MAX_DEPTH};

/// How many operations a JSON patch may have.
pub const MAX_OPERATIONS: usize = 10_000;
/// How many bytes of JSON the copy operations of one patch may make in all: copies of copies double.
pub const MAX_COPIED: usize = 3 << 20;

/// The object after a patch. `content_type` is the Content-Type header's value; a patch of any other type than
/// [`PATCH_TYPES`] is 415, one that is no JSON 400, one that does not fit the object 422.
pub fn apply(content_type: &str, current: &[u8], patch: &[u8]) -> Result<Vec<u8>, ApiError> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let [json, merge] = PATCH_TYPES;
    let patched = if essence.eq_ignore_ascii_case(json) {
        json_patch(read_current(current)?, patch)?
    } else if essence.eq_ignore_ascii_case(merge) {
        merge_patch(read_current(current)?, patch)?
    } else {
        return Err(ApiError::unsupported_media_type(&PATCH_TYPES));
    };
    if !patched.is_object() {
        return Err(ApiError::unprocessable());
    }
    serde_json::to_vec(&patched).map_err(|error| ApiError::internal(format!("a patched object: {error}")))
}

/// What is wrong with a patch itself, in Kubernetes' words: keys that stand twice.
pub fn strict_faults(content_type: &str, patch: &[u8]) -> Vec<String> {
    let json = content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(PATCH_TYPES[0]);
    let whose = if json { "json patch " } else { "" };
    let duplicates = strict::duplicates(patch);
    duplicates.into_iter().map(|path| format!("{whose}duplicate field \"{path}\"")).collect()
}

fn read_current(current: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(current)
        .map_err(|error| ApiError::internal(format!("the object to patch: {error}")))
}

fn undecodable(error: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("error decoding patch: {error}"))
}

fn merge_patch(mut object: Value, patch: &[u8]) -> Result<Value, ApiError> {
    let patch: Value = serde_json::from_slice(patch).map_err(undecodable)?;
    if !patch.is_object() {
        let what = kind_of(&patch);
        return Err(undecodable(format_args!(
            "json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
        )));
    }
    check_depth(0, &patch)?;
    json_patch::merge(&mut object, &patch);
    Ok(object)
}

fn json_patch(mut object: Value, patch: &[u8]) -> Result<Value, ApiError> {
    let patch: Value = serde_json::from_slice(patch).map_err(undecodable)?;
    let Value::Array(operations) = patch else {
        let what = kind_of(&patch);
        return Err(undecodable(format_args!(
            "json: cannot unmarshal {what} into Go value of type jsonpatch.Patch"
        )));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(ApiError::too_large(&format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut copied = 0;
    for operation in operations {
        let refused = |error: &dyn std::fmt::Display| ApiError::unprocessable().with_log(error.to_string());
        let operation: PatchOperation = serde_json::from_value(operation).map_err(|e| refused(&e))?;
        let operation = checked(operation, &object, &mut copied)?;
        // What a failed patch leaves behind is thrown away.
        json_patch::patch_unsafe(&mut object, &[operation]).map_err(|e| refused(&e))?;
    }
    Ok(object)
}

/// The operation, if it does not make the object too deep or too large. A `replace` of a key that is not there is
/// an `add`: kube-apiserver's library does so, and clients rely on it.
fn checked(
    operation: PatchOperation,
    object: &Value,
    copied: &mut usize,
) -> Result<PatchOperation, ApiError> {
    match &operation {
        PatchOperation::Add(add) => check_depth(add.path.tokens().count(), &add.value)?,
        PatchOperation::Replace(replace) => {
            check_depth(replace.path.tokens().count(), &replace.value)?;
            if is_missing_key(object, &replace.path) {
                let (path, value) = (replace.path.clone(), replace.value.clone());
                return Ok(PatchOperation::Add(AddOperation { path, value }));
            }
        }
        PatchOperation::Copy(copy) => {
            if let Some(value) = object.pointer(copy.from.as_str()) {
                check_depth(copy.path.tokens().count(), value)?;
                *copied += size(value, MAX_COPIED);
                if *copied > MAX_COPIED {
                    return Err(ApiError::too_large(&format!(
                        "The allowed maximum size of what a JSON patch copies is {MAX_COPIED} bytes"
                    )));
                }
            }
        }
        PatchOperation::Move(r#move) => {
            if let Some(value) = object.pointer(r#move.from.as_str()) {
                check_depth(r#move.path.tokens().count(), value)?;
            }
        }
        PatchOperation::Remove(_) | PatchOperation::Test(_) => {}
    }
    Ok(operation)
}

fn is_missing_key(object: &Value, path: &Pointer) -> bool {
    let Some((parent, key)) = path.split_back() else { return false };
    match object.pointer(parent.as_str()) {
        Some(Value::Object(map)) => !map.contains_key(key.decoded().as_ref()),
        _ => false,
    }
}

fn check_depth(at: usize, value: &Value) -> Result<(), ApiError> {
    if at + depth(value) > MAX_DEPTH {
        return Err(ApiError::bad_request(format!("the patch nests the object deeper than {MAX_DEPTH}")));
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// About how long the value's JSON is; stops counting beyond `limit`.
fn size(value: &Value, limit: usize) -> usize {
    let within = |sum: usize, more: usize| if sum > limit { sum } else { sum + more };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().fold(2, |sum, item| within(sum, 1 + size(item, limit))),
        Value::Object(map) => {
            map.iter().fold(2, |sum, (key, value)| within(sum, key.len() + 4 + size(value, limit)))
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
