#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use kubridge_bridge::{
    caller::{Call, CallError, Caller as _, Class, Detail},
    proto::{Condition, CreateOptions, DeleteOptions, DeleteRequest, ObjectMeta, Time},
};
use prost::Message as _;

use super::*;
use crate::registry::{
    local_caller::now,
    proto::backend::{
        BrownOut as BrownOutSpec, CreateBackendRequest, Limits as LimitsSpec, ObjectReference,
        ServiceReference, Timeouts as TimeoutsSpec, Tls,
    },
    snapshot::Snapshot,
    tests::{get, registry},
};

fn claim(group: &str, version: &str) -> Claim {
    Claim { group: group.into(), version: version.into(), ..Claim::default() }
}

fn at(endpoint: &str) -> BackendSpec {
    BackendSpec {
        endpoint: endpoint.into(),
        claims: vec![claim("fleet.example.com", "v1")],
        ..BackendSpec::default()
    }
}

fn backend(name: &str, spec: BackendSpec) -> Backend {
    Backend {
        metadata: Some(ObjectMeta { name: name.into(), uid: "u1".into(), ..ObjectMeta::default() }),
        spec: Some(spec),
        status: None,
    }
}

fn seconds(seconds: i64) -> Option<proto::Duration> {
    Some(proto::Duration { duration: seconds * 1_000_000_000 })
}

fn name(namespace: &str, name: &str) -> ObjectReference {
    ObjectReference { namespace: namespace.into(), name: name.into() }
}

fn faults(spec: BackendSpec) -> Vec<String> {
    validate(&backend("fleet", spec)).iter().map(|f| format!("{}: {}", f.field, f.description)).collect()
}

#[test]
fn everything_that_a_spec_says_is_there() {
    let spec = BackendSpec {
        endpoint: String::new(),
        service: Some(ServiceReference { namespace: "default".into(), name: "fleet".into(), port: 50051 }),
        tls: Some(Tls {
            ca_bundle: b"pem".to_vec(),
            server_name: "fleet.example.com".into(),
            ..Tls::default()
        }),
        claims: vec![Claim { version_priority: 7, ..claim("fleet.example.com", "v1beta1") }],
        mapping: "fleet".into(),
        limits: Some(LimitsSpec { max_requests_in_flight: 5, ..LimitsSpec::default() }),
        timeouts: Some(TimeoutsSpec { request: seconds(3), ..TimeoutsSpec::default() }),
        brown_out: Some(BrownOutSpec {
            policy: BrownOutPolicy::AssumeEmpty.into(),
            discovery_max_age: seconds(60),
        }),
        ..BackendSpec::default()
    };
    let declared = read(backend("fleet", spec)).resolved(&|_, _| Err("nothing is referred to".into()));
    let wanted = declared.wanted.unwrap();
    let wish = Wish {
        group: "fleet.example.com".into(),
        version: "v1beta1".into(),
        group_priority: 1000,
        version_priority: 7,
    };
    assert_eq!(wanted.claims, [wish]);
    let resolved = declared.resolved.unwrap();
    assert_eq!(resolved.target.url().unwrap(), "grpcs://fleet.default.svc:50051");
    assert_eq!((resolved.ca_bundle, resolved.mapping.as_deref()), (b"pem".to_vec(), Some("fleet")));
    let expected = Named {
        name: "fleet".into(),
        uid: "u1".into(),
        server_name: Some("fleet.example.com".into()),
        limits: Limits { max_requests: Some(5), ..Limits::default() },
        timeouts: Timeouts { request: Some(Duration::from_secs(3)), ..Timeouts::default() },
        brown_out: BrownOut::AssumeEmpty,
        discovery_max_age: Some(Duration::from_secs(60)),
        ..Named::default()
    };
    assert_eq!(*resolved.named, expected);
}

#[test]
fn every_fault_names_its_field() {
    assert!(faults(at("grpc://127.0.0.1:50051")).is_empty());
    let none = BackendSpec::default();
    assert_eq!(
        faults(none),
        [
            "spec.endpoint: Required value: say where the backend is: here, or in spec.service",
            "spec.claims: Required value: name the groups and versions that the backend serves",
        ]
    );
    let both = BackendSpec { service: Some(ServiceReference::default()), ..at("grpc://fleet:1") };
    assert!(faults(both)[0].contains("may not be there where spec.service is"));
    let mut bad = at("fleet:50051");
    bad.claims.push(claim("apps", "v1"));
    bad.claims.push(claim("fleet.example.com", "v1"));
    bad.claims.push(Claim { version_priority: -1, ..claim("a_b", "V1") });
    bad.timeouts = Some(TimeoutsSpec { silence: seconds(-1), ..TimeoutsSpec::default() });
    bad.limits = Some(LimitsSpec { max_message_bytes: -1, ..LimitsSpec::default() });
    bad.brown_out = Some(BrownOutSpec { policy: 77, ..BrownOutSpec::default() });
    let fields: Vec<String> =
        faults(bad).into_iter().map(|fault| fault.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(
        fields,
        [
            "spec.endpoint",
            "spec.claims[1].group",
            "spec.claims[2]",
            "spec.claims[3].group",
            "spec.claims[3].version",
            "spec.claims[3].versionPriority",
            "spec.limits.maxMessageBytes",
            "spec.timeouts.silence",
            "spec.brownOut.policy",
        ]
    );
    let tls = Tls {
        ca_bundle: b"pem".to_vec(),
        ca_bundle_from: Some(KeyReference::default()),
        client_certificate: Some(name("", "cert")),
        server_name: "a b".into(),
    };
    let plain = BackendSpec { tls: Some(tls), ..at("grpc://fleet:1") };
    let fields: Vec<String> =
        faults(plain).into_iter().map(|fault| fault.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(
        fields,
        [
            "spec.tls",
            "spec.tls.caBundleFrom",
            "spec.tls.caBundleFrom",
            "spec.tls.clientCertificate.namespace",
            "spec.tls.serverName",
        ]
    );
}

#[test]
fn what_may_be_claimed() {
    for group in ["", "apps", "rbac.authorization.k8s.io", "kubridge.io"] {
        assert!(refused(group, true).is_some(), "{group}");
    }
    assert!(refused("metrics.k8s.io", false).unwrap().contains("--allow-k8s-io-claims"));
    assert_eq!(refused("metrics.k8s.io", true), None);
    assert_eq!(refused("fleet.example.com", false), None);
}

#[test]
fn what_is_referred_to_is_looked_up() {
    let tls = Tls {
        ca_bundle_from: Some(KeyReference { config_map: Some(name("ns", "ca")), ..KeyReference::default() }),
        client_certificate: Some(name("ns", "cert")),
        ..Tls::default()
    };
    let declared = read(backend("fleet", BackendSpec { tls: Some(tls), ..at("grpcs://fleet:1") }));
    let sources: Vec<String> = declared.sources().map(|source| source.to_string()).collect();
    assert_eq!(sources, ["the ConfigMap ns/ca", "the Secret ns/cert"]);
    let found = declared.clone().resolved(&|source, key| Ok(format!("{source} {key}").into_bytes()));
    let resolved = found.resolved.unwrap();
    assert_eq!(resolved.ca_bundle, b"the ConfigMap ns/ca ca.crt");
    let identity = resolved.named.identity.clone().unwrap();
    assert_eq!(identity.key, b"the Secret ns/cert tls.key");
    assert!(!format!("{identity:?}").contains("tls.key"), "keys are not shown");
    let missing = declared.resolved(&|_, _| Err("it is not there".into())).resolved;
    assert_eq!(missing, Err(Unresolved::Reference("it is not there".into())));
}

#[test]
fn claims_that_name_a_backend_get_what_it_says() {
    let service = |backend: &str| {
        let wish = Wish {
            group: "fleet.example.com".into(),
            version: "v1".into(),
            group_priority: 1,
            version_priority: 1,
        };
        crate::registry::snapshot::claimed(api_service(backend, &wish))
    };
    let known = |spec| read(backend("fleet", spec)).resolved(&|_, _| Err(String::new()));
    let snapshot = Snapshot::new(0, [service("fleet")], [known(at("grpc://fleet:1"))]);
    assert_eq!(snapshot.claims[0].target, Target::Grpc { url: "grpc://fleet:1".into() });
    assert_eq!(snapshot.claims[0].backend.as_ref().unwrap().name, "fleet");

    let unresolved = |snapshot: &Snapshot| match &snapshot.claims[0].target {
        Target::Unresolved { why } => why.clone(),
        other => panic!("{other:?}"),
    };
    let faulty = Snapshot::new(0, [service("fleet")], [known(at("fleet:1"))]);
    assert!(unresolved(&faulty).contains("spec.endpoint"), "{}", unresolved(&faulty));
    let none = Snapshot::new(0, [service("freight")], [known(at("grpc://fleet:1"))]);
    assert!(unresolved(&none).starts_with("no Backend is called \"freight\": create it"));
}

#[test]
fn a_status_keeps_the_time_of_what_stays_and_what_others_said() {
    let condition = |of: &str, status: &str, at: i64| Condition {
        r#type: of.into(),
        status: status.into(),
        last_transition_time: Some(Time { seconds: at, nanos: 0 }),
        ..Condition::default()
    };
    let status = |conditions: Vec<Condition>| BackendStatus { conditions, ..BackendStatus::default() };
    let present = status(vec![condition("A", "True", 1), condition("B", "True", 1)]);
    let said = status(vec![condition("A", "True", 0), condition("C", "False", 0)]);
    let written = with_status(&present, &said, Time { seconds: 9, nanos: 0 });
    let expected = vec![condition("A", "True", 1), condition("B", "True", 1), condition("C", "False", 9)];
    assert_eq!(written.conditions, expected);
    assert!(!is_status(&present, &said));
    assert!(is_status(&written, &said));
    assert!(!is_status(&written, &BackendStatus { observed_generation: 2, ..said.clone() }));
    assert!(!is_status(&written, &status(vec![condition("A", "False", 0)])));
}

async fn call(registry: &crate::registry::Registry, method: &str, message: Vec<u8>) -> Result<(), CallError> {
    let path = Arc::from(format!("/kubridge.backend.v1alpha1.Backends/{method}"));
    let call = Call { path, message: message.into(), class: Class::Write };
    registry.caller().unary(call).await.map(|_| ())
}

async fn create(registry: &crate::registry::Registry, backend: &Backend) -> Result<(), CallError> {
    let request =
        CreateBackendRequest { backend: Some(backend.clone()), options: Some(CreateOptions::default()) };
    call(registry, "CreateBackend", request.encode_to_vec()).await
}

#[tokio::test]
async fn the_store_refuses_what_is_for_clusters() {
    let (registry, _dir) = registry().await;
    let tls = Tls { client_certificate: Some(name("ns", "cert")), ..Tls::default() };
    let refused =
        create(&registry, &backend("fleet", BackendSpec { tls: Some(tls), ..at("grpcs://a:1") })).await;
    let Err(CallError::Status(status)) = refused else { panic!("{refused:?}") };
    let Detail::FieldViolations(violations) = &status.details[0] else { panic!("{status:?}") };
    assert_eq!(violations[0].field, "spec.tls.clientCertificate");
    assert_eq!(violations[0].reason, "FieldValueForbidden");
}

#[tokio::test]
async fn a_backend_is_held_and_let_go() {
    let (registry, _dir) = registry().await;
    create(&registry, &backend("fleet", at("grpc://fleet:1"))).await.unwrap();
    let read = async || {
        let listed = registry.store.list(registry.backends.clone(), String::new()).await.unwrap();
        listed.objects.first().map(|object| Backend::decode(&**object).unwrap())
    };
    registry.hold_backend("fleet", "another").await.unwrap();
    assert!(read().await.unwrap().metadata.unwrap().finalizers.is_empty(), "it is another one");
    registry.hold_backend("fleet", "u1").await.unwrap();
    registry.hold_backend("fleet", "u1").await.unwrap();
    assert_eq!(read().await.unwrap().metadata.unwrap().finalizers, [FINALIZER]);
    let status = BackendStatus { endpoint: "grpc://fleet:1".into(), ..BackendStatus::default() };
    registry.set_backend_status("fleet", "u1", status.clone()).await.unwrap();
    assert_eq!(read().await.unwrap().status, Some(status));

    registry.let_backend_go("fleet", "u1").await.unwrap();
    assert!(read().await.is_some(), "nobody deleted it");
    registry
        .change("fleet", "u1", |backend| {
            let mut metadata = backend.metadata.clone().unwrap();
            metadata.deletion_timestamp = Some(now());
            Some((1, metadata.encode_to_vec()))
        })
        .await
        .unwrap();
    registry.let_backend_go("fleet", "u1").await.unwrap();
    assert_eq!(read().await, None);
    let options = Some(DeleteOptions::default());
    let gone = DeleteRequest { name: "fleet".into(), options, ..DeleteRequest::default() };
    call(&registry, "DeleteBackend", gone.encode_to_vec()).await.unwrap_err();
    assert!(get(&registry, "v1alpha1.kubridge.io").await.is_some(), "its own APIService is built in");
}

#[test]
fn a_backend_by_itself_refers_to_nothing() {
    let declared = read(backend("fleet", at("grpc://fleet:1")));
    assert_eq!(declared.sources().count(), 0);
    let backends: BTreeMap<String, Arc<Declared>> = BTreeMap::new();
    let local = crate::registry::snapshot::claimed(Default::default());
    assert_eq!(resolve(local.clone(), &backends), local);
}
