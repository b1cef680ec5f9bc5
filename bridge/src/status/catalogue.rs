//! Every kind of Status that the aggregator itself makes: one entry for each constructor of [`ApiError`]. (What a
//! backend says goes through the table in `grpc`.) docs/errors.md is made of it.

use std::time::Duration;

use super::{ApiError, StatusCause};

/// One kind of Status, as it is documented.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The constructor of [`ApiError`].
    pub constructor: &'static str,
    /// One of the kind, with the names of its parts in place of them.
    pub sample: fn() -> ApiError,
    /// When a client gets it.
    pub when: &'static str,
    /// What there is to do.
    pub mend: &'static str,
}

const SOON: Duration = Duration::from_secs(1);

/// All of them, by their HTTP status.
pub const FAMILIES: &[Family] = &[
    Family {
        constructor: "bad_request",
        sample: || ApiError::bad_request("{message}"),
        when: "the query, the headers or the body cannot be read, or contradict the path",
        mend: "correct the request as the message says",
    },
    Family {
        constructor: "unauthorized",
        sample: ApiError::unauthorized,
        when: "there is no client certificate and no token that is known; the log says why",
        mend: "use a kubeconfig of this server, such as `DATA_DIR/admin.kubeconfig`, or a token of `--token-auth-file`",
    },
    Family {
        constructor: "forbidden",
        sample: || ApiError::forbidden("{group}", "{resource}", "{name}", "{message}"),
        when: "the user may not do that, or the backend says so",
        mend: "ask for the group system:masters, or run with `--authorization-mode=AlwaysAllow`; \
               `kubectl auth can-i` says what is allowed",
    },
    Family {
        constructor: "not_found",
        sample: || ApiError::not_found("{group}", "{resource}", "{name}"),
        when: "the backend has no such object",
        mend: "correct the name or the namespace",
    },
    Family {
        constructor: "generic_not_found_path",
        sample: ApiError::generic_not_found_path,
        when: "nobody claims the path, or the resource is not in the schema",
        mend: "see `kubectl api-resources`, and `kubectl get apiservices` for what is claimed",
    },
    Family {
        constructor: "method_not_supported",
        sample: || ApiError::method_not_supported("{group}", "{resource}", "{verb}"),
        when: "the backend answers UNIMPLEMENTED",
        mend: "implement the method, or take it out of the schema",
    },
    Family {
        constructor: "method_not_allowed",
        sample: ApiError::method_not_allowed,
        when: "the path does not have this HTTP method: the backend lacks the verb, and it cannot be made",
        mend: "`kubridge describe` says which method would make the verb",
    },
    Family {
        constructor: "not_acceptable",
        sample: || ApiError::not_acceptable(&["{media types}"]),
        when: "Accept names no form that is written here",
        mend: "accept one of those in the message",
    },
    Family {
        constructor: "already_exists",
        sample: || ApiError::already_exists("{group}", "{resource}", "{name}"),
        when: "a create of a name that is taken",
        mend: "choose another name, or update the object",
    },
    Family {
        constructor: "generate_name_conflict",
        sample: || ApiError::generate_name_conflict("{group}", "{resource}", "{name}"),
        when: "each name that was made of generateName was taken",
        mend: "try again: nothing was done",
    },
    Family {
        constructor: "conflict",
        sample: || ApiError::conflict("{group}", "{resource}", "{name}", "{message}"),
        when: "the object is not in the state that the request builds on",
        mend: "read it again, and decide anew",
    },
    Family {
        constructor: "modified",
        sample: || ApiError::modified("{group}", "{resource}", "{name}"),
        when: "somebody else wrote the object since it was read",
        mend: "read it again, make the change again, and write",
    },
    Family {
        constructor: "expired",
        sample: || ApiError::expired("{message}"),
        when: "the version or the page is older than what is kept",
        mend: "list again (clients do)",
    },
    Family {
        constructor: "gone",
        sample: || ApiError::gone("{message}"),
        when: "what is asked for is no longer there",
        mend: "begin anew",
    },
    Family {
        constructor: "request_entity_too_large",
        sample: || ApiError::request_entity_too_large(3_145_728),
        when: "the body is longer than 3 MiB",
        mend: "make the object smaller",
    },
    Family {
        constructor: "too_large",
        sample: || ApiError::too_large("{message}"),
        when: "what is asked for is more than is done at once",
        mend: "ask for less, as the message says",
    },
    Family {
        constructor: "unsupported_media_type",
        sample: || ApiError::unsupported_media_type(&["{media types}"]),
        when: "Content-Type names no form that is read here",
        mend: "send one of those in the message",
    },
    Family {
        constructor: "invalid",
        sample: || {
            let cause = StatusCause::new("FieldValueInvalid", "{field}", "{cause}".to_owned());
            ApiError::invalid("{group}", "{kind}", "{name}", vec![cause])
        },
        when: "the object or the options break a rule; `details.causes` has each",
        mend: "correct each field that is named",
    },
    Family {
        constructor: "unprocessable",
        sample: ApiError::unprocessable,
        when: "a patch that cannot be applied: a test failed, or a path is not there; the log says which",
        mend: "read the object, and make the patch anew",
    },
    Family {
        constructor: "too_many_requests",
        sample: || ApiError::too_many_requests("{message}"),
        when: "more requests to the backend are in flight than may be, or it says so",
        mend: "wait for Retry-After where it is sent; raise `--max-backend-requests-inflight`",
    },
    Family {
        constructor: "header_too_large",
        sample: || ApiError::header_too_large("{message}"),
        when: "the user's groups and extra values do not fit into a header",
        mend: "give the user fewer",
    },
    Family {
        constructor: "internal",
        sample: || ApiError::internal("{log}"),
        when: "a bug, or a backend's answer that is none; the log has the reason under the Audit-Id",
        mend: "see the log",
    },
    Family {
        constructor: "bad_gateway",
        sample: || ApiError::bad_gateway("{message}"),
        when: "the answer of an HTTPS backend must not be passed on",
        mend: "correct the backend",
    },
    Family {
        constructor: "service_unavailable",
        sample: || ApiError::service_unavailable("{message}").with_retry_after(SOON),
        when: "the backend cannot be reached, or has never been; Retry-After only where a repeat is safe",
        mend: "`kubectl describe apiservice NAME` says what is the matter",
    },
    Family {
        constructor: "timeout",
        sample: || ApiError::timeout("{message}"),
        when: "no answer in time",
        mend: "try again; read the object first where the request was a write",
    },
    Family {
        constructor: "outcome_unknown",
        sample: ApiError::outcome_unknown,
        when: "a write was sent, and the backend went away before it answered",
        mend: "read the object before you repeat the write",
    },
    Family {
        constructor: "resource_version_too_large",
        sample: || ApiError::resource_version_too_large(None),
        when: "the backend has not reached the version that the client names",
        mend: "list again (clients do)",
    },
];
