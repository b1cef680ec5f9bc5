use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::*;

const GRPC: &str = "grpc://h:1";
const HTTPS: &str = "https://api.wardle.svc:443";

fn remote(url: &str, verdict: Verdict, documents: Documents) -> Remote {
    let service = (url == HTTPS).then(|| ("wardle".to_owned(), "api".to_owned()));
    let group_version = "a.b/v1".into();
    Remote { url: url.into(), service, group_version, verdict, documents, unimplemented: None }
}

fn available_now() -> Verdict {
    Verdict::Available { since: Instant::now() }
}

fn down(cause: Cause, message: &str) -> Verdict {
    Verdict::Unavailable { cause, message: message.into(), since: Instant::now() }
}

fn known(confirmation: Confirmation) -> Documents {
    Documents::Known { confirmation, newer_rejected: None, openapi_quarantined: None }
}

fn said(observation: &Observation, r#type: &str) -> Option<(String, String, String)> {
    let all = conditions(observation);
    let found = all.into_iter().find(|condition| condition.r#type == r#type)?;
    assert_eq!(found.last_transition_time, None, "the writer's");
    Some((found.status, found.reason, found.message))
}

#[track_caller]
fn assert_said(observation: &Observation, r#type: &str, status: &str, reason: &str, message: &str) {
    let wanted = (status.to_owned(), reason.to_owned(), message.to_owned());
    assert_eq!(said(observation, r#type), Some(wanted), "{observation:?}");
}

#[test]
fn a_local_one_is_available_in_kubernetes_words_and_says_nothing_else() {
    assert_said(&Observation::Local, AVAILABLE, "True", "Local", "Local APIServices are always available");
    assert_eq!(conditions(&Observation::Local).len(), 1);
}

#[test]
fn what_cannot_be_used_names_its_reason_and_mend() {
    let unusable = |flaw, why: &str| Observation::Unusable { url: GRPC.into(), flaw, why: why.into() };
    let cases = [
        (Observation::NoBackend, "BackendNotNamed", "annotate it with kubridge.io/backend: grpc://HOST:PORT"),
        (
            Observation::UnknownProtocol { protocol: "ftp".into() },
            "ProtocolNotSupported",
            "write grpc, grpcs or https",
        ),
        (
            unusable(Flaw::Address, "no port"),
            "InvalidBackend",
            "no connection to grpc://h:1: no port; the address is in",
        ),
        (unusable(Flaw::CaBundle, "no certificate"), "InvalidCABundle", "no certificate; the address is in"),
    ];
    for (observation, reason, part) in cases {
        let (status, is, message) = said(&observation, AVAILABLE).unwrap_or_default();
        assert_eq!((status.as_str(), is.as_str()), ("False", reason));
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_is_the_matter_now_goes_before_what_it_told() {
    let cases = [
        (
            GRPC,
            Cause::Connect(FailureReason::Refused),
            "grpc://h:1 (127.0.0.1:1): refused",
            "FailedDiscoveryCheck",
            "failing or missing response from grpc://h:1: (127.0.0.1:1): refused; start the backend, or correct its address",
        ),
        (
            GRPC,
            Cause::Connect(FailureReason::Dns),
            "grpc://h:1: looking up \"h\": unknown",
            "HostNotFound",
            "grpc://h:1 is not present: looking up \"h\": unknown; correct the host in the annotation kubridge.io/backend",
        ),
        (
            HTTPS,
            Cause::Connect(FailureReason::Dns),
            "unknown",
            "ServiceNotFound",
            "service/api in \"wardle\" is not present: unknown; create the Service, or write a rule for it: \
             --service-resolution wardle/api=HOST:PORT",
        ),
        (
            HTTPS,
            Cause::Probe,
            "bad status from https://api.wardle.svc:443/apis/a.b/v1: 500",
            "FailedDiscoveryCheck",
            "failing or missing response from https://api.wardle.svc:443/apis/a.b/v1: bad status from \
             https://api.wardle.svc:443/apis/a.b/v1: 500",
        ),
        (
            GRPC,
            Cause::Traffic,
            "no answer",
            "FailedDiscoveryCheck",
            "failing or missing response from grpc://h:1: no answer",
        ),
        (
            GRPC,
            Cause::NotServing,
            "NOT_SERVING",
            "NotServing",
            "grpc://h:1 is connected and does not serve: NOT_SERVING; see the backend's log, or let it report SERVING \
             for the service \"\"",
        ),
        (GRPC, Cause::Flapping, "lost 3 times", "Flapping", "grpc://h:1 comes and goes: lost 3 times"),
    ];
    for (url, cause, message, reason, wanted) in cases {
        for documents in
            [known(Confirmation::Live), Documents::Pending, Documents::Rejected { faults: "x".into() }]
        {
            let observation = Observation::Remote(remote(url, down(cause, message), documents));
            assert_said(&observation, AVAILABLE, "False", reason, wanted);
        }
    }
    let tls = remote(GRPC, down(Cause::Connect(FailureReason::Tls), "wrong CA"), Documents::Pending);
    let (_, reason, message) = said(&Observation::Remote(tls), AVAILABLE).unwrap_or_default();
    assert_eq!(reason, "FailedDiscoveryCheck");
    assert!(message.contains("wrong CA; the address is in the annotation kubridge.io/backend"), "{message}");
    assert!(message.contains("kubridge.io/backend-ca") && message.contains("spec.caBundle"), "{message}");
}

#[test]
fn what_it_tells_decides_while_it_is_available() {
    let quarantined = Documents::Known {
        confirmation: Confirmation::Live,
        newer_rejected: None,
        openapi_quarantined: Some("no type".into()),
    };
    let newer = Documents::Known {
        confirmation: Confirmation::Live,
        newer_rejected: Some("no List".into()),
        openapi_quarantined: None,
    };
    let missing = || Documents::Missing { last_error: "bad status: 404".into() };
    let rejected = || Documents::Rejected { faults: "no List".into() };
    let not_declared = || Documents::NotDeclared { declared: vec!["a.b/v2".into()] };
    let cases = [
        (GRPC, Documents::Pending, "Unknown", "SchemaNotReadYet", "asked for its schema"),
        (HTTPS, Documents::Pending, "Unknown", "DiscoveryNotReadYet", "asked for its discovery document"),
        (
            HTTPS,
            missing(),
            "False",
            "FailedDiscoveryCheck",
            "failing or missing response from https://api.wardle.svc:443/apis/a.b/v1: no discovery document: bad status: 404",
        ),
        (GRPC, missing(), "False", "FailedDiscoveryCheck", "no schema: bad status"),
        (
            HTTPS,
            Documents::Missing { last_error: "failing or missing response from https://x/apis: 404".into() },
            "False",
            "FailedDiscoveryCheck",
            "failing or missing response from https://x/apis: 404",
        ),
        (GRPC, rejected(), "False", "SchemaRejected", "kubridge lint --backend grpc://h:1"),
        (HTTPS, rejected(), "False", "DiscoveryRejected", "correct what it answers on /apis"),
        (
            GRPC,
            not_declared(),
            "False",
            "GroupVersionNotDeclared",
            "does not declare a.b/v1 (it declares a.b/v2)",
        ),
        (GRPC, not_declared(), "False", "GroupVersionNotDeclared", "the proto's option"),
        (
            HTTPS,
            Documents::NotDeclared { declared: vec![] },
            "False",
            "GroupVersionNotDeclared",
            "declares nothing",
        ),
        (GRPC, newer.clone(), "True", "PassedWithOldSchema", "no List"),
        (HTTPS, newer, "True", "PassedWithOldDiscovery", "no List"),
        (HTTPS, quarantined, "True", "PassedWithOldOpenAPI", "no type"),
        (HTTPS, known(Confirmation::Live), "True", "Passed", "all checks passed"),
    ];
    for (url, documents, status, reason, part) in cases {
        let observation = Observation::Remote(remote(url, available_now(), documents));
        let (is, why, message) = said(&observation, AVAILABLE).unwrap_or_default();
        assert_eq!((is.as_str(), why.as_str()), (status, reason), "{observation:?}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn after_a_restart_the_last_word_stays_until_it_was_asked() {
    let observation = Observation::Remote(remote(GRPC, Verdict::Unknown, known(Confirmation::Live)));
    assert_eq!(said(&observation, AVAILABLE), None);
    assert!(said(&observation, DISCOVERY_CURRENT).is_some());
}

#[test]
fn discovery_says_how_far_it_can_be_relied_on_in_absolute_times() {
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 678);
    let (since, until) = (at(1_790_000_000), at(1_790_086_400));
    let cases = [
        (Confirmation::Live, "True", "Live", "what is served of it is what the backend says"),
        (
            Confirmation::LastKnownGood { since, until: Some(until) },
            "True",
            "LastKnownGood",
            "the backend has not confirmed it since 2026-09-21T14:13:20Z; it is served as Current until \
             2026-09-22T14:13:20Z, then as Stale",
        ),
        (
            Confirmation::LastKnownGood { since, until: None },
            "True",
            "LastKnownGood",
            "the backend has not confirmed it since 2026-09-21T14:13:20Z; it is served as Current for as long as that \
             lasts",
        ),
        (
            Confirmation::Expired { since, at: until },
            "False",
            "Expired",
            "the backend has not confirmed it since 2026-09-21T14:13:20Z; it is served as Stale since \
             2026-09-22T14:13:20Z: bring the backend back",
        ),
    ];
    for (confirmation, status, reason, message) in cases {
        let observation = Observation::Remote(remote(HTTPS, available_now(), known(confirmation)));
        assert_said(&observation, DISCOVERY_CURRENT, status, reason, message);
    }
    let never = Observation::Remote(remote(HTTPS, available_now(), Documents::Pending));
    assert_said(
        &never,
        DISCOVERY_CURRENT,
        "False",
        "NeverKnown",
        "what the backend serves of a.b/v1 has never been known: /apis/a.b/v1 answers 503 until it is; see the condition \
         Available",
    );
}

#[test]
fn methods_that_are_lacking_are_named_and_taken_back() {
    let lacking = |methods: Option<&[&str]>| {
        let unimplemented = methods.map(|all| all.iter().map(|path| (*path).to_owned()).collect());
        let known = remote(GRPC, available_now(), known(Confirmation::Live));
        Observation::Remote(Remote { unimplemented, ..known })
    };
    assert_eq!(said(&lacking(None), METHODS_UNIMPLEMENTED), None);
    assert_said(
        &lacking(Some(&["/a.M/Get", "/a.M/Update"])),
        METHODS_UNIMPLEMENTED,
        "True",
        "MethodsUnimplemented",
        "the backend answers /a.M/Get, /a.M/Update with UNIMPLEMENTED: implement what the proto declares, or remove it \
         there, so that discovery does not promise it",
    );
    let (status, reason, _) = said(&lacking(Some(&[])), METHODS_UNIMPLEMENTED).unwrap_or_default();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "AllImplemented"));
    let (_, _, message) = said(&lacking(Some(&["/a.M/X"; 13])), METHODS_UNIMPLEMENTED).unwrap_or_default();
    assert!(message.contains("/a.M/X and 3 more with UNIMPLEMENTED"), "{message}");
}

#[test]
fn every_reason_that_is_documented_is_given() {
    let code = include_str!("../conditions.rs");
    for reason in Reason::ALL {
        assert!(code.contains(&format!("Reason::{reason:?}")), "{reason:?}");
    }
}
