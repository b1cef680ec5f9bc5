//! The statuses that the store's callers get.

use kubridge_bridge::caller::{
    BackendStatus, CallError, Code, Detail, FieldViolation, PreconditionViolation,
};

use super::Served;
use crate::registry::store::StoreError;

/// A status without details.
pub(super) fn status(code: Code, message: impl Into<String>) -> CallError {
    CallError::Status(Box::new(BackendStatus { code, message: message.into(), details: Vec::new() }))
}

/// INVALID_ARGUMENT naming every faulty field.
pub(super) fn invalid(violations: Vec<FieldViolation>) -> CallError {
    let message = FieldViolation::joined(&violations);
    let details = vec![Detail::FieldViolations(violations)];
    CallError::Status(Box::new(BackendStatus { code: Code::InvalidArgument, message, details }))
}

pub(super) fn unimplemented(path: &str) -> CallError {
    status(Code::Unimplemented, format!("{path} is not a method of the registry"))
}

pub(super) fn malformed(detail: &str) -> CallError {
    status(Code::Internal, format!("the request to the registry is not protobuf: {detail}"))
}

pub(super) fn not_found(served: &Served, name: &str) -> CallError {
    status(Code::NotFound, format!("{} {name:?} not found", served.resource))
}

pub(super) fn already_exists(served: &Served, name: &str) -> CallError {
    status(Code::AlreadyExists, format!("{} {name:?} already exists", served.resource))
}

/// ABORTED: the object is not the one that was read. The text is Kubernetes'.
pub(super) fn conflict(kind: &str, subject: &str) -> CallError {
    let (message, description) = if kind == "UID" {
        (
            "the UID in the precondition does not match the UID in record",
            "the object was deleted and made anew",
        )
    } else {
        (
            "the object has been modified; please apply your changes to the latest version and try again",
            "the object has another resourceVersion by now",
        )
    };
    let details = vec![Detail::PreconditionViolations(vec![PreconditionViolation {
        kind: kind.into(),
        subject: subject.into(),
        description: description.into(),
    }])];
    CallError::Status(Box::new(BackendStatus { code: Code::Aborted, message: message.into(), details }))
}

pub(super) fn expired(version: u64, floor: u64) -> CallError {
    status(Code::OutOfRange, format!("too old resource version: {version} ({floor})"))
}

/// What the client is told of a fault of the store: the mend; paths and causes go to the log.
impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::TooOld { floor } => {
                return status(
                    Code::OutOfRange,
                    format!("too old resource version: the log starts at {floor}"),
                );
            }
            StoreError::Malformed(fault) => return malformed(&fault.to_string()),
            StoreError::Full(_)
            | StoreError::ReadOnly(_)
            | StoreError::Corrupt(_)
            | StoreError::Io(_)
            | StoreError::Stopped => tracing::error!(%error, "the registry's store failed"),
        }
        match error {
            StoreError::Full(_) => status(
                Code::ResourceExhausted,
                "nothing was changed: the disk that holds the registry is full or limited; \
                 free space in the aggregator's --data-dir and try again",
            ),
            StoreError::ReadOnly(_) => status(
                Code::ResourceExhausted,
                "nothing was changed: the registry is on a read-only disk; \
                 make the aggregator's --data-dir writable and try again",
            ),
            StoreError::Corrupt(detail) => status(Code::DataLoss, detail),
            other => status(Code::Internal, other.to_string()),
        }
    }
}
