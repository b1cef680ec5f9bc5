//! The one table from a failed call to what the client is told (design: "gRPC status to Kubernetes Status").
//! Total: a code or kind that is added does not compile until it has its row.

use std::time::Duration;

use prost_reflect::MessageDescriptor;

use super::{
    ApiError, StatusCause,
    errors::{MODIFIED, qualified},
    json_path,
};
use crate::caller::{
    BackendStatus, CallError, Class, Code, Detail, FieldViolation, PreconditionViolation, Ran,
    TransportError, TransportKind,
};

/// What a failed call was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallVerb {
    /// One object read. `from_version`: the client named a resourceVersion.
    Get {
        /// See above.
        from_version: bool,
    },
    /// A collection read. `from_version`: the client named a resourceVersion or a continue token.
    List {
        /// See above.
        from_version: bool,
    },
    /// A watch. `from_version`: the client named a resourceVersion.
    Watch {
        /// See above.
        from_version: bool,
    },
    /// A new object.
    Create,
    /// A whole object replaced.
    Update,
    /// One object removed.
    Delete,
    /// Many objects removed.
    DeleteCollection,
    /// A subresource of the backend's own.
    Action(Class),
}

impl CallVerb {
    /// Whether the call may have changed something.
    pub fn class(self) -> Class {
        match self {
            Self::Get { .. } | Self::List { .. } | Self::Watch { .. } => Class::Read,
            Self::Create | Self::Update | Self::Delete | Self::DeleteCollection => Class::Write,
            Self::Action(class) => class,
        }
    }

    /// Kubernetes' verb.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get { .. } | Self::Action(Class::Read) => "get",
            Self::List { .. } => "list",
            Self::Watch { .. } => "watch",
            Self::Create | Self::Action(Class::Write) => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    fn is_from_version(self) -> bool {
        match self {
            Self::List { from_version } | Self::Watch { from_version } => from_version,
            Self::Get { .. }
            | Self::Create
            | Self::Update
            | Self::Delete
            | Self::DeleteCollection
            | Self::Action(_) => false,
        }
    }
}

/// What a failed call was about.
#[derive(Debug, Clone, Copy)]
pub struct ErrorContext<'a> {
    /// "inventory.example.com"; empty for the core group.
    pub group: &'a str,
    /// "machines".
    pub resource: &'a str,
    /// "Machine".
    pub kind: &'a str,
    /// The object's name; empty for a collection.
    pub name: &'a str,
    /// What was asked.
    pub verb: CallVerb,
    /// The resource's (or the action's) message: field violations are told in its JSON names.
    pub message: Option<&'a MessageDescriptor>,
    /// The request's field that holds the object ("machine"): cut from the front of violated paths. May be empty.
    pub wrapper: &'a str,
}

/// What the client is told of a failed call.
pub fn from_call_error(error: &CallError, context: &ErrorContext<'_>) -> ApiError {
    match error {
        CallError::Status(status) => from_status(status, context),
        CallError::Transport(failure) => from_transport(failure, context),
    }
}

/// Whether a failed List says no more than that there is nothing: the answer is an empty list.
pub fn means_empty_list(error: &CallError) -> bool {
    match error {
        CallError::Status(status) => status.code == Code::NotFound,
        CallError::Transport(_) => false,
    }
}

fn from_status(status: &BackendStatus, cx: &ErrorContext<'_>) -> ApiError {
    let text = status.message.as_str();
    let said = || format!("the backend answered {}: {text}", status.code.as_str());
    if let Some(quota) = quota(status) {
        return ApiError::forbidden(cx.group, cx.resource, cx.name, &quota).with_log(said());
    }
    if matches!(status.code, Code::ResourceExhausted | Code::OutOfRange) && is_message_size(text) {
        return match cx.verb.class() {
            Class::Write => {
                ApiError::too_large("the backend does not take a message of this size").with_log(said())
            }
            Class::Read => ApiError::internal(said()),
        };
    }
    let error = match status.code {
        Code::InvalidArgument => invalid_argument(status, cx),
        Code::NotFound => match cx.verb {
            // The object does not exist yet: what is missing is something else, and only the backend knows what.
            CallVerb::Create if !text.is_empty() => {
                with_message(ApiError::not_found(cx.group, cx.resource, cx.name), text)
            }
            CallVerb::Create
            | CallVerb::Get { .. }
            | CallVerb::List { .. }
            | CallVerb::Watch { .. }
            | CallVerb::Update
            | CallVerb::Delete
            | CallVerb::DeleteCollection
            | CallVerb::Action(_) => ApiError::not_found(cx.group, cx.resource, cx.name),
        },
        Code::AlreadyExists => ApiError::already_exists(cx.group, cx.resource, cx.name),
        Code::Aborted => ApiError::conflict(cx.group, cx.resource, cx.name, or(text, MODIFIED)),
        Code::FailedPrecondition => failed_precondition(status, cx),
        Code::OutOfRange if cx.verb.is_from_version() => {
            ApiError::expired(or(text, "The provided resource version is too old."))
        }
        Code::OutOfRange => ApiError::bad_request(or(text, "a value is out of range")),
        Code::PermissionDenied => {
            ApiError::forbidden(cx.group, cx.resource, cx.name, or(text, "the backend denies it"))
        }
        Code::ResourceExhausted => {
            let error = ApiError::too_many_requests(or(text, "the backend has more to do than it can"));
            retry_after(error, status, cx.verb.class())
        }
        Code::Unimplemented => ApiError::method_not_supported(cx.group, cx.resource, cx.verb.as_str()),
        // The backend does not know the version that the client names (yet). client-go begins anew when it reads
        // this cause; after any other 504 it would ask for the same version for ever.
        Code::DeadlineExceeded
            if matches!(
                cx.verb,
                CallVerb::Get { from_version: true } | CallVerb::List { from_version: true }
            ) =>
        {
            ApiError::resource_version_too_large(None)
        }
        Code::DeadlineExceeded if let Some(operation) = running(status) => ApiError::timeout(&format!(
            "the operation {operation} of the backend is not done yet and goes on; the object shows when it is"
        )),
        Code::DeadlineExceeded => match (cx.verb.class(), promised(status)) {
            (_, Some(after)) => ApiError::timeout(TOO_LATE).with_retry_after(after),
            (Class::Read, None) => ApiError::timeout(TOO_LATE),
            (Class::Write, None) => ApiError::outcome_unknown(),
        },
        Code::Unavailable => match (cx.verb.class(), promised(status)) {
            (_, Some(after)) => unavailable(cx).with_retry_after(after),
            (Class::Read, None) => unavailable(cx).with_retry_after(SOON),
            (Class::Write, None) => ApiError::outcome_unknown(),
        },
        // UNAUTHENTICATED: the backend rejected us; a 401 would log the user out.
        Code::Unauthenticated
        | Code::Cancelled
        | Code::Internal
        | Code::Unknown
        | Code::DataLoss
        // An error that says OK: the backend broke the protocol.
        | Code::Ok => ApiError::internal(""),
    };
    error.with_log(said())
}

fn from_transport(failure: &TransportError, cx: &ErrorContext<'_>) -> ApiError {
    let error = match (failure.kind, cx.verb.class(), failure.ran) {
        // Nothing was sent, whatever the verb.
        (TransportKind::Overloaded, Class::Read | Class::Write, Ran::No | Ran::Unknown) => {
            ApiError::too_many_requests(BUSY).with_retry_after(SOON)
        }
        (TransportKind::Deadline, Class::Read, Ran::No | Ran::Unknown)
        | (TransportKind::Deadline, Class::Write, Ran::No) => ApiError::timeout(TOO_LATE),
        (TransportKind::Protocol, Class::Read, Ran::No | Ran::Unknown)
        | (TransportKind::Protocol, Class::Write, Ran::No) => ApiError::internal(""),
        (
            TransportKind::Unavailable | TransportKind::Broken | TransportKind::Cancelled,
            Class::Read,
            Ran::No | Ran::Unknown,
        )
        | (
            TransportKind::Unavailable | TransportKind::Broken | TransportKind::Cancelled,
            Class::Write,
            Ran::No,
        ) => unavailable(cx).with_retry_after(SOON),
        (
            TransportKind::Unavailable
            | TransportKind::Broken
            | TransportKind::Cancelled
            | TransportKind::Deadline
            | TransportKind::Protocol,
            Class::Write,
            Ran::Unknown,
        ) => ApiError::outcome_unknown(),
    };
    error.with_log(failure.message.as_str())
}

const SOON: Duration = Duration::from_secs(1);
const BUSY: &str = "too many requests to the backend of this API are in flight, please try again later";
const TOO_LATE: &str = "the backend did not answer in time";

/// Names the resource: a namespace that cannot be emptied shows this text and nothing else.
fn unavailable(cx: &ErrorContext<'_>) -> ApiError {
    let of = qualified(cx.group, cx.resource);
    ApiError::service_unavailable(format!("the backend of {of} is not available at the moment"))
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

fn with_message(mut error: ApiError, message: &str) -> ApiError {
    error.status.message = message.into();
    error
}

/// What the backend promises: nothing happened, and the request may come again.
fn promised(status: &BackendStatus) -> Option<Duration> {
    status
        .details
        .iter()
        .find_map(|detail| if let Detail::RetryAfter(after) = detail { Some(*after) } else { None })
}

/// The operation that goes on.
fn running(status: &BackendStatus) -> Option<&str> {
    status.details.iter().find_map(|detail| {
        if let Detail::StillRunning { operation } = detail { Some(operation.as_str()) } else { None }
    })
}

fn retry_after(error: ApiError, status: &BackendStatus, class: Class) -> ApiError {
    match (promised(status), class) {
        (Some(after), _) => error.with_retry_after(after),
        (None, Class::Read) => error.with_retry_after(SOON),
        (None, Class::Write) => error,
    }
}

fn quota(status: &BackendStatus) -> Option<String> {
    let descriptions = status.details.iter().find_map(|detail| {
        if let Detail::QuotaViolations(descriptions) = detail { Some(descriptions) } else { None }
    })?;
    let listed = descriptions.iter().filter(|d| !d.is_empty()).cloned().collect::<Vec<_>>().join(", ");
    Some(if listed.is_empty() { or(&status.message, "exceeded quota").into() } else { listed })
}

/// How grpc-go, C-core, grpc-java, grpc-dotnet and tonic say that a message is too large: there is no code for it.
fn is_message_size(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("message")
        && ["larger than max", "exceeds maximum", "exceeds the maximum", "length too large"]
            .iter()
            .any(|words| text.contains(words))
}

fn invalid_argument(status: &BackendStatus, cx: &ErrorContext<'_>) -> ApiError {
    let violations: Vec<&FieldViolation> = status
        .details
        .iter()
        .filter_map(|detail| if let Detail::FieldViolations(v) = detail { Some(v) } else { None })
        .flatten()
        .collect();
    if violations.is_empty() {
        return ApiError::bad_request(or(&status.message, "the backend takes this for invalid"));
    }
    let causes = violations.iter().map(|v| cause_of(v, cx)).collect();
    ApiError::invalid(cx.group, cx.kind, cx.name, causes)
}

fn cause_of(violation: &FieldViolation, cx: &ErrorContext<'_>) -> StatusCause {
    let said = violation.description.as_str();
    // A backend that says it in Kubernetes' words need not say it twice.
    let (reason, words) = CAUSE_TYPES
        .iter()
        .find(|(_, words)| {
            said.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
        .copied()
        .unwrap_or_else(|| cause_type(&violation.reason));
    let message = if said.is_empty() {
        words.to_owned()
    } else if said.starts_with(words) {
        said.to_owned()
    } else {
        format!("{words}: {said}")
    };
    StatusCause::new(reason, &json_path(&violation.field, cx.message, cx.wrapper), message)
}

/// Each `metav1.CauseType` that a backend may mean, and its words.
const CAUSE_TYPES: [(&str, &str); 7] = [
    ("FieldValueRequired", "Required value"),
    ("FieldValueDuplicate", "Duplicate value"),
    ("FieldValueNotSupported", "Unsupported value"),
    ("FieldValueForbidden", "Forbidden"),
    ("FieldValueNotFound", "Not found"),
    ("FieldValueTooLong", "Too long"),
    ("FieldValueInvalid", "Invalid value"),
];

/// The `metav1.CauseType` and its words for a violation's reason, which is the backend's own
/// (`FIELD_REQUIRED`, `MACHINE_SERIAL_DUPLICATE`) or Kubernetes' (`FieldValueRequired`).
fn cause_type(reason: &str) -> (&'static str, &'static str) {
    let plain: String =
        reason.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let has = |word: &str| plain.contains(word);
    let [required, duplicate, unsupported, forbidden, not_found, too_long, invalid] = CAUSE_TYPES;
    if has("required") || has("missing") {
        required
    } else if has("duplicate") {
        duplicate
    } else if has("notsupported") || has("unsupported") {
        unsupported
    } else if has("forbidden") || has("immutable") {
        forbidden
    } else if has("notfound") {
        not_found
    } else if has("toolong") {
        too_long
    } else {
        invalid
    }
}

fn failed_precondition(status: &BackendStatus, cx: &ErrorContext<'_>) -> ApiError {
    let violations: Vec<&PreconditionViolation> = status
        .details
        .iter()
        .filter_map(|detail| if let Detail::PreconditionViolations(v) = detail { Some(v) } else { None })
        .flatten()
        .collect();
    if let Some(v) = violations.iter().find(|v| matches!(v.kind.as_str(), "RESOURCE_VERSION" | "UID")) {
        let text = or(or(&v.description, &status.message), MODIFIED);
        return ApiError::conflict(cx.group, cx.resource, cx.name, text);
    }
    let causes = if violations.is_empty() {
        let text = or(&status.message, "the object is not in a state that allows it");
        vec![StatusCause::new("FieldValueInvalid", "", text.into())]
    } else {
        violations
            .iter()
            .map(|v| {
                let text = or(&v.description, or(&status.message, &v.kind));
                StatusCause::new(
                    "FieldValueInvalid",
                    &json_path(&v.subject, cx.message, cx.wrapper),
                    text.into(),
                )
            })
            .collect()
    };
    ApiError::invalid(cx.group, cx.kind, cx.name, causes)
}
