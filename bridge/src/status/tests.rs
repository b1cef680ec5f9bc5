#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::caller::{
    BackendStatus, CallError, Class, Code, Detail, FieldViolation, PreconditionViolation, Ran,
    TransportError, TransportKind,
};

/// The Status that a real kube-apiserver answered.
pub(crate) fn golden(name: &str) -> Status {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
}

const G: &str = "wardle.example.com";
const R: &str = "flunders";

#[test]
fn as_kube_apiserver_says_it() {
    let nobody = "User \"nobody\" cannot watch resource \"flunders\" in API group \"wardle.example.com\" in the namespace \"fx\"";
    for (file, error) in [
        ("164-404-resource", ApiError::generic_not_found_path()),
        ("171-404-delete", ApiError::not_found(G, R, "nope")),
        ("173-409-exists", ApiError::already_exists(G, R, "a")),
        ("140-patch-merge-stale-rv", ApiError::modified(G, R, "a")),
        (
            "189-403-rbac-nonresource",
            ApiError::forbidden("", "", "", "User \"nobody\" cannot get path \"/metrics\""),
        ),
        ("244-watch-forbidden", ApiError::forbidden(G, R, "", nobody)),
        (
            "186-403-admission-banflunder",
            ApiError::forbidden(G, R, "banned", "this name may not be used, please change the resource name"),
        ),
        ("193-401", ApiError::unauthorized()),
        ("198-405-post-item", ApiError::method_not_allowed()),
        (
            "208-406-bad-as",
            ApiError::not_acceptable(&[
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
            ]),
        ),
        (
            "211-415-put",
            ApiError::unsupported_media_type(&[
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
            ]),
        ),
        ("084-rv-future-get", ApiError::resource_version_too_large(Some((99_999_999, 864)))),
        (
            "261-410-configmap-exact",
            ApiError::expired("The resourceVersion for the provided list is too old."),
        ),
        (
            "110-update-without-rv",
            ApiError::invalid(
                G,
                R,
                "a",
                vec![StatusCause::new(
                    "FieldValueInvalid",
                    "metadata.resourceVersion",
                    "Invalid value: 0: must be specified for an update".into(),
                )],
            ),
        ),
    ] {
        let mut want = golden(file);
        // An empty `details` and one whose fields are all empty are one document.
        want.details =
            want.details.or_else(|| error.status.details.clone().filter(|d| *d == StatusDetails::default()));
        assert_eq!(*error.status, want, "{file}");
    }
    let uid = "3e68d240-ce41-4ce0-9f9f-0f5448ff76e4";
    let deleted = Status::deleted(G, R, "b", uid);
    let path = format!("{}/tests/golden/247-delete.json", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(deleted.to_json(), std::fs::read(path).unwrap().trim_ascii_end());
}

#[test]
fn several_causes_are_one_message() {
    let cause = |field: &str| StatusCause::required(field, "");
    let message = |causes| ApiError::invalid(G, "Flunder", "a", causes).status.message.clone();
    assert_eq!(message(vec![]), "Flunder.wardle.example.com \"a\" is invalid");
    assert_eq!(message(vec![cause("x")]), "Flunder.wardle.example.com \"a\" is invalid: x: Required value");
    assert_eq!(
        message(vec![cause("x"), cause("y"), cause("x")]),
        "Flunder.wardle.example.com \"a\" is invalid: [x: Required value, y: Required value]"
    );
}

#[test]
fn quoted_as_go_quotes() {
    for (text, want) in [
        ("a\"b\\", r#""a\"b\\""#),
        ("\u{1}\n\u{7f}", r#""\x01\n\x7f""#),
        ("\u{e9}\u{200b}", "\"\u{e9}\\u200b\""),
    ] {
        assert_eq!(quote(text), want);
    }
}

fn context(verb: CallVerb) -> ErrorContext<'static> {
    ErrorContext {
        group: G,
        resource: R,
        kind: "Flunder",
        name: "a",
        verb,
        message: None,
        wrapper: "flunder",
    }
}

fn told(code: Code, message: &str, details: Vec<Detail>, verb: CallVerb) -> ApiError {
    let status = BackendStatus { code, message: message.into(), details };
    from_call_error(&CallError::Status(Box::new(status)), &context(verb))
}

const LIST: CallVerb = CallVerb::List { from_version: false };
const WATCH: CallVerb = CallVerb::Watch { from_version: true };

const GET: CallVerb = CallVerb::Get { from_version: false };

#[test]
fn the_table() {
    use CallVerb::{Create, Delete, Update};
    let rows: [(Code, CallVerb, u16, &str, Option<u64>); 31] = [
        (Code::Ok, GET, 500, "InternalError", None),
        (Code::Cancelled, GET, 500, "InternalError", None),
        (Code::Unknown, GET, 500, "InternalError", None),
        (Code::InvalidArgument, Create, 400, "BadRequest", None),
        (Code::DeadlineExceeded, GET, 504, "Timeout", None),
        (Code::DeadlineExceeded, Update, 504, "Timeout", None),
        (Code::NotFound, GET, 404, "NotFound", None),
        (Code::NotFound, Delete, 404, "NotFound", None),
        (Code::AlreadyExists, Create, 409, "AlreadyExists", None),
        (Code::PermissionDenied, GET, 403, "Forbidden", None),
        (Code::ResourceExhausted, GET, 429, "TooManyRequests", Some(1)),
        (Code::ResourceExhausted, Create, 429, "TooManyRequests", None),
        (Code::FailedPrecondition, Update, 422, "Invalid", None),
        (Code::Aborted, Update, 409, "Conflict", None),
        (Code::OutOfRange, WATCH, 410, "Expired", None),
        (Code::OutOfRange, LIST, 400, "BadRequest", None),
        (Code::OutOfRange, Create, 400, "BadRequest", None),
        (Code::Unimplemented, GET, 405, "MethodNotAllowed", None),
        (Code::Internal, GET, 500, "InternalError", None),
        (Code::Unavailable, GET, 503, "ServiceUnavailable", Some(1)),
        (Code::Unavailable, LIST, 503, "ServiceUnavailable", Some(1)),
        (Code::Unavailable, WATCH, 503, "ServiceUnavailable", Some(1)),
        (Code::Unavailable, CallVerb::Action(Class::Read), 503, "ServiceUnavailable", Some(1)),
        (Code::Unavailable, CallVerb::Action(Class::Write), 504, "Timeout", None),
        (Code::Unavailable, Create, 504, "Timeout", None),
        (Code::Unavailable, Update, 504, "Timeout", None),
        (Code::Unavailable, Delete, 504, "Timeout", None),
        (Code::Unavailable, CallVerb::DeleteCollection, 504, "Timeout", None),
        (Code::DataLoss, GET, 500, "InternalError", None),
        (Code::Unauthenticated, GET, 500, "InternalError", None),
        (Code::Unauthenticated, Delete, 500, "InternalError", None),
    ];
    assert!(Code::ALL.iter().all(|code| rows.iter().any(|row| row.0 == *code)));
    for (code, verb, http, reason, after) in rows {
        let error = told(code, "secret 10.0.0.7", vec![], verb);
        assert_eq!((error.status.code, error.status.reason.as_str()), (http, reason), "{code:?} {verb:?}");
        assert_eq!(error.retry_after, after.map(Duration::from_secs), "{code:?} {verb:?}");
        assert!(error.log.as_deref().unwrap().contains("10.0.0.7"));
        assert!(http < 500 || !error.status.message.contains("secret"), "{}", error.status.message);
    }
}

#[test]
fn details_decide() {
    use CallVerb::{Create, Update};
    let promise = || Detail::RetryAfter(Duration::from_millis(1500));
    for code in [Code::Unavailable, Code::ResourceExhausted, Code::DeadlineExceeded] {
        let error = told(code, "", vec![promise()], Create);
        assert_eq!(error.retry_after, Some(Duration::from_secs(2)), "{code:?}");
        assert_eq!(error.status.details.unwrap().retry_after_seconds, Some(2));
    }
    let quota = Detail::QuotaViolations(vec!["no more machines".into()]);
    let error = told(Code::ResourceExhausted, "x", vec![quota], Create);
    assert_eq!((error.status.code, error.retry_after), (403, None));
    assert!(error.status.message.ends_with("is forbidden: no more machines"));
    for (kind, code) in [("RESOURCE_VERSION", 409), ("UID", 409), ("POWER", 422)] {
        let violation =
            PreconditionViolation { kind: kind.into(), subject: "s".into(), description: "d".into() };
        let error =
            told(Code::FailedPrecondition, "", vec![Detail::PreconditionViolations(vec![violation])], Update);
        assert_eq!(error.status.code, code, "{kind}");
    }
    let too_large = "grpc: received message larger than max (5000000 vs. 4194304)";
    assert_eq!(told(Code::ResourceExhausted, too_large, vec![], Create).status.code, 413);
    assert_eq!(told(Code::ResourceExhausted, too_large, vec![], GET).status.code, 500);
    let tonic = "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes";
    assert_eq!(told(Code::OutOfRange, tonic, vec![], Update).status.code, 413);
}

#[test]
fn violations_are_told_in_json_names() {
    let violation = |field: &str, reason: &str, text: &str| FieldViolation {
        field: field.into(),
        description: text.into(),
        reason: reason.into(),
    };
    let details = vec![Detail::FieldViolations(vec![
        violation("flunder.spec.serial_number", "", "must be upper case"),
        violation("spec.disks[0].size_bytes", "SIZE_REQUIRED", ""),
        violation("spec.rack", "", "Required value: name a rack"),
    ])];
    let error = told(Code::InvalidArgument, "bad", details, CallVerb::Create);
    assert_eq!(
        error.status.message,
        "Flunder.wardle.example.com \"a\" is invalid: [spec.serialNumber: Invalid value: must be upper case, \
         spec.disks[0].sizeBytes: Required value, spec.rack: Required value: name a rack]"
    );
    let causes = error.status.details.unwrap().causes;
    assert_eq!(causes[1].reason, "FieldValueRequired");
    assert_eq!(causes[2].reason, "FieldValueRequired", "said in the description alone");
}

#[test]
fn json_names_come_from_the_schema() {
    let pool = prost_reflect::DescriptorPool::decode(crate::proto::DESCRIPTORS).unwrap();
    let meta = pool.get_message_by_name("kubridge.v1.ObjectMeta").unwrap();
    for (path, want) in [
        ("managed_fields[3].fields_v1.Raw", "managedFields[3].fieldsV1.Raw"),
        ("labels[\"example.com/a_b\"]", "labels[\"example.com/a_b\"]"),
        ("labels.a_b", "labels.aB"),
        ("owner_references[0].apiVersion", "ownerReferences[0].apiVersion"),
        ("", ""),
        ("x_y.]z[", "xY.]z["),
    ] {
        assert_eq!(json_path(path, Some(&meta), ""), want);
    }
}

#[test]
fn transport_failures() {
    use TransportKind::{Broken, Cancelled, Deadline, Protocol, Unavailable};
    for (kind, ran, verb, code, after) in [
        (Unavailable, Ran::No, CallVerb::Get { from_version: false }, 503, true),
        (Broken, Ran::Unknown, LIST, 503, true),
        (Unavailable, Ran::No, CallVerb::Create, 503, true),
        (Broken, Ran::No, CallVerb::Update, 503, true),
        (Broken, Ran::Unknown, CallVerb::Update, 504, false),
        (Unavailable, Ran::Unknown, CallVerb::Delete, 504, false),
        (Cancelled, Ran::Unknown, CallVerb::Delete, 504, false),
        (Deadline, Ran::Unknown, CallVerb::Get { from_version: false }, 504, false),
        (Deadline, Ran::Unknown, CallVerb::Create, 504, false),
        (Protocol, Ran::Unknown, CallVerb::Get { from_version: false }, 500, false),
        (Protocol, Ran::Unknown, CallVerb::Create, 504, false),
    ] {
        let error = TransportError { ran, kind, message: "10.0.0.7:1 refused".into() };
        let error = from_call_error(&CallError::Transport(Box::new(error)), &context(verb));
        assert_eq!(
            (error.status.code, error.retry_after.is_some()),
            (code, after),
            "{kind:?} {ran:?} {verb:?}"
        );
        assert!(!error.status.message.contains("10.0.0.7"));
        assert_eq!(error.log.as_deref(), Some("10.0.0.7:1 refused"));
    }
}

#[test]
fn a_backend_that_speaks_kubernetes_words_is_not_made_to_say_them_twice() {
    let told = |description: &str, reason: &str| {
        let violation = FieldViolation {
            field: "spec.reference".into(),
            description: description.into(),
            reason: reason.into(),
        };
        let error =
            told(Code::InvalidArgument, "", vec![Detail::FieldViolations(vec![violation])], CallVerb::Create);
        let cause = error.status.details.unwrap().causes.remove(0);
        (cause.reason, cause.message)
    };
    let cause = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
    assert_eq!(told("Required value", ""), cause("FieldValueRequired", "Required value"));
    assert_eq!(told("Forbidden: not now", "X"), cause("FieldValueForbidden", "Forbidden: not now"));
    assert_eq!(
        told("Required values are missing", ""),
        cause("FieldValueInvalid", "Invalid value: Required values are missing")
    );
    assert_eq!(
        told("must be set", "FIELD_REQUIRED"),
        cause("FieldValueRequired", "Required value: must be set")
    );
}
