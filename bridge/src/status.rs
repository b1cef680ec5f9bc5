//! Errors: what the client is told (a `metav1.Status`), and what the log is told.
//! One total table from gRPC to Kubernetes.

mod details;
mod errors;
mod field_path;
mod grpc;
mod quote;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::golden;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::{
    details::details,
    errors::qualified,
    field_path::json_path,
    grpc::{CallVerb, ErrorContext, from_call_error, means_empty_list},
    quote::quote,
};

/// `metav1.Status` (k8s.io/apimachinery). Serialises with kind and apiVersion, as Kubernetes does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// "Status".
    pub kind: String,
    /// "v1".
    pub api_version: String,
    /// List metadata, empty but for an inconsistent `continue`.
    pub metadata: StatusMetadata,
    /// "Success" or "Failure".
    pub status: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For programs: `metav1.StatusReason`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Which object, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<StatusDetails>,
    /// The HTTP status code. 0: none (success of a delete).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

fn is_zero(code: &u16) -> bool {
    *code == 0
}

/// The metadata of a Status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusMetadata {
    /// With 410 on an expired page: where an inconsistent list may go on.
    #[serde(rename = "continue", default, skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
}

/// `metav1.StatusDetails`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The kind; in errors of the API server itself the resource ("flunders").
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One for each fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// When to try again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// `metav1.StatusCause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCause {
    /// `metav1.CauseType`: "FieldValueInvalid".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The JSON path: "spec.serial".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// A failed request: what the client gets, and separately what the log gets.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {}", .status.reason, .status.message)]
pub struct ApiError {
    /// What the client gets. `status.code` is the HTTP status.
    pub status: Box<Status>,
    /// The Retry-After header. Only where repeating the request, whatever its verb, is safe (design: Retry-After).
    pub retry_after: Option<Duration>,
    /// What the log gets, beside the status: addresses, causes, the backend's own words.
    pub log: Option<String>,
    /// The backend sent what our schema does not know or contradicts: it should be read again.
    pub schema_suspect: bool,
    /// Each becomes a `Warning: 299 - "..."` header: a typo in a field's name often explains what is missing.
    pub warnings: Vec<String>,
}

impl Status {
    /// Success of a delete that has nothing left to show: `details` name what is gone.
    pub fn deleted(group: &str, resource: &str, name: &str, uid: &str) -> Self {
        Self {
            details: Some(StatusDetails {
                name: name.into(),
                group: group.into(),
                kind: resource.into(),
                uid: uid.into(),
                ..StatusDetails::default()
            }),
            ..Self::with("Success", 0, "", String::new(), None)
        }
    }

    /// The document, as Kubernetes writes it (without a final line feed).
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a Status is plain strings and numbers")
    }

    fn with(status: &str, code: u16, reason: &str, message: String, details: Option<StatusDetails>) -> Self {
        Self {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: StatusMetadata::default(),
            status: status.into(),
            message,
            reason: reason.into(),
            details,
            code,
        }
    }
}

impl StatusCause {
    /// `Invalid value: VALUE: text`. `value` is written as JSON, as Kubernetes does.
    pub fn invalid(field: &str, value: &str, text: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {}: {text}", quote(value)))
    }

    /// `Required value: text`.
    pub fn required(field: &str, text: &str) -> Self {
        let message =
            if text.is_empty() { "Required value".into() } else { format!("Required value: {text}") };
        Self::new("FieldValueRequired", field, message)
    }

    /// `Forbidden: text`.
    pub fn forbidden(field: &str, text: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {text}"))
    }

    /// `Unsupported value: VALUE: supported values: "A", "B"`. `value` is written as given: quote it where it is a string.
    pub fn not_supported(field: &str, value: &str, supported: &[&str]) -> Self {
        let list = supported.iter().map(|s| quote(s)).collect::<Vec<_>>().join(", ");
        Self::new(
            "FieldValueNotSupported",
            field,
            format!("Unsupported value: {value}: supported values: {list}"),
        )
    }

    /// `Too long: text`.
    pub fn too_long(field: &str, text: &str) -> Self {
        Self::new("FieldValueTooLong", field, format!("Too long: {text}"))
    }

    /// A cause with its `metav1.CauseType`.
    pub fn new(reason: &str, field: &str, message: String) -> Self {
        Self { reason: reason.into(), message, field: field.into() }
    }
}

impl ApiError {
    /// The HTTP status.
    pub fn code(&self) -> http::StatusCode {
        http::StatusCode::from_u16(self.status.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Adds what the log is told beside the status.
    #[must_use]
    pub fn with_log(mut self, log: impl Into<String>) -> Self {
        self.log = Some(log.into());
        self
    }

    /// Adds Retry-After, as header and in the details. Rounded up to whole seconds, at least one.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        let whole = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        let seconds = u32::try_from(whole.max(1)).unwrap_or(u32::MAX);
        self.retry_after = Some(Duration::from_secs(seconds.into()));
        self.status.details.get_or_insert_default().retry_after_seconds = Some(seconds);
        self
    }

    /// Adds warnings.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// Marks the schema for a re-read.
    #[must_use]
    pub fn with_schema_suspect(mut self) -> Self {
        self.schema_suspect = true;
        self
    }

    /// Adds a cause.
    #[must_use]
    pub fn with_cause(mut self, cause: StatusCause) -> Self {
        self.status.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// Adds where an inconsistent list may go on (410 on an expired page).
    #[must_use]
    pub fn with_continue(mut self, token: impl Into<String>) -> Self {
        self.status.metadata.continue_token = token.into();
        self
    }
}
