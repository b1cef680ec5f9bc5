//! How a verb reaches a backend: the one seam between the bridge and the network.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;

/// Whether a call may change something. Decides what a failure in flight means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Get, List, Watch: may be repeated.
    Read,
    /// Create, Update, Delete, actions: never sent twice unless it provably did not run.
    Write,
}

/// One gRPC call, as values. Metadata and the deadline belong to the [`Caller`], which is made for one request.
#[derive(Debug, Clone)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: Arc<str>,
    /// The request message on the wire.
    pub message: Bytes,
    /// Whether it may change something.
    pub class: Class,
}

/// Speaks gRPC on behalf of one request: a remote backend, or the aggregator's own store.
pub trait Caller: Clone + Send + Sync + 'static {
    /// The messages of a server stream. It ends with `None` only when the backend ended it with OK.
    type Stream: Stream<Item = Result<Bytes, CallError>> + Send + Unpin + 'static;

    /// One message, one answer.
    fn unary(&self, call: Call) -> impl Future<Output = Result<Bytes, CallError>> + Send;

    /// One message, a stream of answers. Returns when the response headers are there.
    /// Dropping the stream cancels the call.
    fn stream(&self, call: Call) -> impl Future<Output = Result<Self::Stream, CallError>> + Send;
}

/// Why a call gave no (further) message.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The backend answered with a status other than OK.
    #[error("the backend answered {}: {}", .0.code.as_str(), .0.message)]
    Status(Box<BackendStatus>),
    /// The backend was not reached, or went away.
    #[error("{}", .0.message)]
    Transport(Box<TransportError>),
}

/// A gRPC status that the backend sent, with the `google.rpc` details that are understood.
#[derive(Debug, Clone)]
pub struct BackendStatus {
    /// The code.
    pub code: Code,
    /// The text, as the backend wrote it.
    pub message: String,
    /// `grpc-status-details-bin`, decoded.
    pub details: Vec<Detail>,
}

/// A `google.rpc` error detail that the bridge acts on.
#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    /// `google.rpc.BadRequest`.
    FieldViolations(Vec<FieldViolation>),
    /// `google.rpc.PreconditionFailure`.
    PreconditionViolations(Vec<PreconditionViolation>),
    /// `google.rpc.QuotaFailure`: descriptions.
    QuotaViolations(Vec<String>),
    /// `google.rpc.RetryInfo`: the promise that nothing happened, and when to try again.
    RetryAfter(Duration),
    /// No detail of `google.rpc`: the write is a `google.longrunning.Operation` that was not done when the request's
    /// time was over, and goes on.
    StillRunning {
        /// Its name.
        operation: String,
    },
    /// `google.rpc.ErrorInfo`: reason and domain.
    ErrorInfo {
        /// SCREAMING_SNAKE_CASE.
        reason: String,
        /// Who defines the reason.
        domain: String,
    },
}

/// One faulty field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path, in proto or JSON names.
    pub field: String,
    /// What is wrong.
    pub description: String,
    /// Why, for programs; may be empty.
    pub reason: String,
}

impl fmt::Display for FieldViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}

impl FieldViolation {
    /// All of them in one line.
    pub fn joined(violations: &[Self]) -> String {
        violations.iter().map(Self::to_string).collect::<Vec<_>>().join("; ")
    }
}

/// One precondition that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreconditionViolation {
    /// Such as `RESOURCE_VERSION` or `UID`.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub description: String,
}

/// A failure of the transport: nothing that the backend said.
#[derive(Debug, Clone)]
pub struct TransportError {
    /// Whether the backend can have run the call.
    pub ran: Ran,
    /// What happened.
    pub kind: TransportKind,
    /// For the log: addresses and causes. Never sent to a client.
    pub message: String,
}

/// Whether a failed call can have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// Provably not: refused, REFUSED_STREAM, beyond GOAWAY's last stream.
    No,
    /// It may have.
    Unknown,
}

/// What happened to a call that has no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// No connection.
    Unavailable,
    /// So many calls to the backend are in flight that no more are sent.
    Overloaded,
    /// The connection broke or the stream was reset.
    Broken,
    /// The deadline passed.
    Deadline,
    /// The client went away, or the aggregator is stopping.
    Cancelled,
    /// The backend does not speak gRPC as it must: no trailers, a bad frame, too large a message.
    Protocol,
}

/// A gRPC status code (grpc.io, statuscodes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are gRPC's")]
pub enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    /// All codes, by number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of a number; a number that gRPC does not define is `Unknown`.
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|i| Self::ALL.get(i).copied()).unwrap_or(Self::Unknown)
    }

    /// gRPC's number.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// gRPC's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}
