//! Why a call fails, and the gRPC status that says so.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const DOMAIN: &str = "inventory.example.com";

/// One faulty field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The path in JSON names: `spec.disks[1].name`.
    pub(crate) field: String,
    /// What is wrong, and what to write.
    pub(crate) description: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{resource} {name:?} not found")]
    NotFound { resource: &'static str, name: String },
    #[error("{resource} {name:?} already exists")]
    AlreadyExists { resource: &'static str, name: String },
    #[error(
        "{resource} {name:?} is at version {actual}, not {expected}: read it again and apply the change to that"
    )]
    Conflict { resource: &'static str, name: String, expected: String, actual: String },
    #[error("{resource} {name:?} has the uid {actual}, not {expected}: it is another object of that name")]
    Uid { resource: &'static str, name: String, expected: String, actual: String },
    #[error("{}", .0.iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    #[error("{0}")]
    BadRequest(String),
    #[error("{description}")]
    Refused { kind: &'static str, subject: String, description: String },
    #[error("version {asked} is too old: what came after it is kept from {oldest} on; list again")]
    TooOld { asked: i64, oldest: i64 },
    #[error("Too large resource version: {asked}, current: {head}")]
    TooNew { asked: i64, head: i64 },
    #[error("the database is full: nothing was written")]
    Full,
    #[error("the database failed, nothing was written: {0}")]
    Database(rusqlite::Error),
    #[error("a stored object does not decode: {0}")]
    Damaged(#[from] prost::DecodeError),
    #[error("a database job ended early: {0}")]
    Job(#[from] tokio::task::JoinError),
    #[error("the server is stopping: resume elsewhere")]
    Stopping,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Database(error),
        }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        let mut details = ErrorDetails::new();
        let code = match fault {
            Fault::NotFound { .. } => Code::NotFound,
            Fault::AlreadyExists { .. } => Code::AlreadyExists,
            Fault::Conflict { resource, name, .. } => {
                details.add_precondition_failure_violation(
                    "RESOURCE_VERSION",
                    format!("{resource}/{name}"),
                    text.as_str(),
                );
                details.set_error_info("RESOURCE_VERSION", DOMAIN, []);
                Code::Aborted
            }
            Fault::Uid { resource, name, .. } => {
                details.add_precondition_failure_violation(
                    "UID",
                    format!("{resource}/{name}"),
                    text.as_str(),
                );
                details.set_error_info("UID", DOMAIN, []);
                Code::Aborted
            }
            Fault::Invalid(violations) => {
                for violation in violations {
                    details.add_bad_request_violation(violation.field, violation.description);
                }
                Code::InvalidArgument
            }
            Fault::BadRequest(_) => Code::InvalidArgument,
            Fault::Refused { kind, subject, description } => {
                details.add_precondition_failure_violation(kind, subject, description);
                Code::FailedPrecondition
            }
            Fault::TooOld { .. } => Code::OutOfRange,
            Fault::TooNew { .. } => Code::DeadlineExceeded,
            Fault::Full => Code::ResourceExhausted,
            Fault::Stopping => Code::Unavailable,
            Fault::Database(_) | Fault::Damaged(_) | Fault::Job(_) => Code::Internal,
        };
        if matches!(code, Code::Internal | Code::ResourceExhausted) {
            tracing::error!(error = %text, "storage");
        }
        Self::with_error_details(code, text, details)
    }
}
