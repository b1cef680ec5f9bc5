//! The errors that an API server makes, in Kubernetes' words (k8s.io/apimachinery, api/errors).

use std::{collections::HashSet, time::Duration};

use super::{ApiError, Status, StatusCause, StatusDetails, quote};

/// "flunders.wardle.example.com", or "pods" in the core group.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.into() } else { format!("{resource}.{group}") }
}

impl ApiError {
    /// 404: there is no such object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), quote(name));
        failure(404, "NotFound", message).about(group, resource, name)
    }

    /// 404: there is nothing under this path.
    pub fn generic_not_found_path() -> Self {
        failure(404, "NotFound", "the server could not find the requested resource").with_empty_details()
    }

    /// 409: an object of this name exists.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), quote(name));
        failure(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// 409: every name made from generateName was taken. Nothing was done, so it may be tried again.
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(group, resource),
            quote(name)
        );
        failure(409, "AlreadyExists", message)
            .about(group, resource, name)
            .with_retry_after(Duration::from_secs(1))
    }

    /// 409: the object is not in the state that the request builds on.
    pub fn conflict(group: &str, resource: &str, name: &str, message: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {message}",
            qualified(group, resource),
            quote(name)
        );
        failure(409, "Conflict", message).about(group, resource, name)
    }

    /// 409: somebody else wrote the object first.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(group, resource, name, MODIFIED)
    }

    /// 403. `name` may be empty; so may `resource`, for paths that name none.
    pub fn forbidden(group: &str, resource: &str, name: &str, message: &str) -> Self {
        let what = qualified(group, resource);
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {message}"),
            (false, true) => format!("{what} is forbidden: {message}"),
            (false, false) => format!("{what} {} is forbidden: {message}", quote(name)),
        };
        failure(403, "Forbidden", message).about(group, resource, name)
    }

    /// 401: nobody that we know.
    pub fn unauthorized() -> Self {
        failure(401, "Unauthorized", "Unauthorized")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        failure(400, "BadRequest", message)
    }

    /// 422, with every fault.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<StatusCause>) -> Self {
        let mut message = format!("{} {} is invalid", qualified(group, kind), quote(name));
        let text = aggregate(&causes);
        if !text.is_empty() {
            message.push_str(": ");
            message.push_str(&text);
        }
        let mut error = failure(422, "Invalid", message).about(group, kind, name);
        error.status.details.get_or_insert_default().causes = causes;
        error
    }

    /// 422 without a word of why: what Kubernetes answers to a patch that cannot be applied.
    pub fn unprocessable() -> Self {
        failure(422, "Invalid", "the server rejected our request due to an error in our request")
            .with_empty_details()
    }

    /// 405: the resource does not have the verb.
    pub fn method_not_supported(group: &str, resource: &str, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind {}", quote(&qualified(group, resource)));
        failure(405, "MethodNotAllowed", message).about(group, resource, "")
    }

    /// 405: the path does not have the HTTP method.
    pub fn method_not_allowed() -> Self {
        failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .with_empty_details()
    }

    /// 415: the body is in no format that is read here.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        failure(415, "UnsupportedMediaType", message)
    }

    /// 406: the client reads no format that is written here.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        failure(406, "NotAcceptable", message)
    }

    /// 413: the body is longer than `limit` bytes.
    pub fn request_entity_too_large(limit: u64) -> Self {
        Self::too_large(&format!("limit is {limit}"))
    }

    /// 413, with the reason.
    pub fn too_large(message: &str) -> Self {
        failure(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    /// 431: the request's headers, or the user's identity as a header, are too large.
    pub fn header_too_large(message: impl Into<String>) -> Self {
        failure(431, "", message).with_empty_details()
    }

    /// 410 Expired: the version or the page is gone; the client lists again.
    pub fn expired(message: impl Into<String>) -> Self {
        failure(410, "Expired", message)
    }

    /// 410 Gone: the item is no longer there, and nobody knows where it went.
    pub fn gone(message: impl Into<String>) -> Self {
        failure(410, "Gone", message)
    }

    /// 429. Without Retry-After: add it where a repeat is safe.
    pub fn too_many_requests(message: impl Into<String>) -> Self {
        failure(429, "TooManyRequests", message).with_empty_details()
    }

    /// 502: the backend's answer is none that may be passed on.
    pub fn bad_gateway(message: impl Into<String>) -> Self {
        failure(502, "BadGateway", message)
    }

    /// 503. Without Retry-After: add it where a repeat is safe.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        failure(503, "ServiceUnavailable", message)
    }

    /// 504. Never with Retry-After where a write may have run.
    pub fn timeout(message: &str) -> Self {
        failure(504, "Timeout", format!("Timeout: {message}")).with_empty_details()
    }

    /// 504 for a write of which nobody knows whether it ran.
    pub fn outcome_unknown() -> Self {
        Self::timeout("the outcome is unknown; read the object first")
    }

    /// 504: the version lies in the future (a client that was told of it by another server).
    /// `versions`: the one that was asked for and the present one, where they are known.
    pub fn resource_version_too_large(versions: Option<(u64, u64)>) -> Self {
        let versions = versions.map(|(asked, current)| format!(": {asked}, current: {current}"));
        Self::timeout(&format!("Too large resource version{}", versions.unwrap_or_default()))
            .with_cause(StatusCause::new("ResourceVersionTooLarge", "", "Too large resource version".into()))
            .with_retry_after(Duration::from_secs(1))
    }

    /// 500. The client is told nothing but that; `log` is for us.
    pub fn internal(log: impl Into<String>) -> Self {
        failure(500, "InternalError", "Internal error occurred").with_empty_details().with_log(log)
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.status.details.get_or_insert_default();
        details.group = group.into();
        details.kind = kind.into();
        details.name = name.into();
        self
    }

    fn with_empty_details(mut self) -> Self {
        self.status.details.get_or_insert_default();
        self
    }
}

pub(super) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

pub(super) fn failure(code: u16, reason: &str, message: impl Into<String>) -> ApiError {
    ApiError {
        status: Box::new(Status::with("Failure", code, reason, message.into(), None::<StatusDetails>)),
        retry_after: None,
        log: None,
        schema_suspect: false,
        warnings: Vec::new(),
    }
}

/// `a`, or `[a, b]`; each text once.
fn aggregate(causes: &[StatusCause]) -> String {
    let mut seen = HashSet::new();
    let texts: Vec<String> = causes
        .iter()
        .map(|c| if c.field.is_empty() { c.message.clone() } else { format!("{}: {}", c.field, c.message) })
        .filter(|text| seen.insert(text.clone()))
        .collect();
    match texts.as_slice() {
        [one] => one.clone(),
        [] => String::new(),
        many => format!("[{}]", many.join(", ")),
    }
}
