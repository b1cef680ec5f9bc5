#![allow(clippy::unwrap_used, reason = "tests")]

use kubridge_bridge::proto::Time;

use super::*;
use crate::registry::{
    proto::apiregistration::{ApiServiceSpec, ApiServiceStatus},
    target::{BACKEND_CA, ca_bundle},
};

const NOW: Time = Time { seconds: 1_790_000_000, nanos: 0 };

fn remote() -> ApiService {
    ApiService {
        metadata: Some(ObjectMeta { name: "v1.example.com".into(), ..Default::default() }),
        spec: Some(ApiServiceSpec {
            service: Some(ServiceReference { namespace: "ns".into(), name: "api".into(), port: Some(443) }),
            group: "example.com".into(),
            version: "v1".into(),
            group_priority_minimum: 1000,
            version_priority: 15,
            ..Default::default()
        }),
        status: None,
    }
}

fn changed(change: impl FnOnce(&mut ObjectMeta, &mut ApiServiceSpec)) -> ApiService {
    let mut service = remote();
    let (metadata, spec) = (service.metadata.get_or_insert_default(), service.spec.get_or_insert_default());
    change(metadata, spec);
    service
}

/// Field and text of each fault.
fn faults(service: &ApiService) -> Vec<(String, String)> {
    validate(service).into_iter().map(|fault| (fault.field, fault.description)).collect()
}

#[track_caller]
fn assert_one(service: &ApiService, field: &str, text: &str) {
    assert_eq!(faults(service), [(field.to_owned(), text.to_owned())]);
}

#[test]
fn what_kubernetes_accepts_is_accepted() {
    let legacy = |metadata: &mut ObjectMeta, spec: &mut ApiServiceSpec| {
        metadata.name = "v1.".into();
        spec.group.clear();
        spec.service = None;
    };
    for service in [
        remote(),
        changed(|_, spec| (spec.group_priority_minimum, spec.version_priority) = (20_000, 1_000)),
        changed(|_, spec| spec.insecure_skip_tls_verify = true),
        changed(|_, spec| spec.ca_bundle = b"not PEM, and nobody minds yet".into()),
        changed(legacy),
    ] {
        assert_eq!(faults(&service), []);
    }
}

#[test]
fn faults_are_those_of_kubernetes() {
    assert_one(
        &changed(|metadata, _| metadata.name = "v2.example.com".into()),
        "metadata.name",
        "Invalid value: \"v2.example.com\": must be `spec.version+\".\"+spec.group`: \"v1.example.com\"",
    );
    assert_one(
        &changed(|metadata, spec| {
            metadata.name = "v2.".into();
            (spec.group, spec.version) = (String::new(), "v2".into());
        }),
        "spec.group",
        "Required value: only v1 may have an empty group and it better be legacy kube",
    );
    for value in [0, -1, 20_001] {
        assert_one(
            &changed(|_, spec| spec.group_priority_minimum = value),
            "spec.groupPriorityMinimum",
            &format!("Invalid value: {value}: must be positive and less than 20000"),
        );
    }
    assert_one(
        &changed(|_, spec| spec.version_priority = 1_001),
        "spec.versionPriority",
        "Invalid value: 1001: must be positive and less than 1000",
    );
    assert_one(
        &changed(|_, spec| (spec.insecure_skip_tls_verify, spec.ca_bundle) = (true, vec![1])),
        "spec.insecureSkipTLSVerify",
        "Invalid value: true: may not be true if caBundle is present",
    );
    let no_service = ServiceReference { port: Some(70_000), ..Default::default() };
    assert_eq!(
        faults(&changed(|_, spec| spec.service = Some(no_service))),
        [
            ("spec.service.namespace".to_owned(), "Required value".to_owned()),
            ("spec.service.name".to_owned(), "Required value".to_owned()),
            (
                "spec.service.port".to_owned(),
                "Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive".to_owned()
            ),
        ]
    );
    let local = changed(|_, spec| {
        (spec.service, spec.ca_bundle, spec.insecure_skip_tls_verify) = (None, vec![1, 2], true);
    });
    assert_eq!(
        faults(&local),
        [
            (
                "spec.caBundle".to_owned(),
                "Invalid value: \"2 bytes\": local APIServices may not have a caBundle".to_owned()
            ),
            (
                "spec.insecureSkipTLSVerify".to_owned(),
                "Invalid value: true: local APIServices may not have insecureSkipTLSVerify".to_owned()
            ),
        ]
    );
}

#[test]
fn group_and_version_must_be_names() {
    for group in ["Example.com", "-a", "a-", "a..b", ".a", "a_b", "ä"] {
        let service = changed(|metadata, spec| {
            metadata.name = format!("v1.{group}");
            spec.group = group.into();
        });
        let faults = faults(&service);
        assert_eq!(faults.len(), 1, "{group}: {faults:?}");
        assert!(faults[0].0 == "spec.group" && faults[0].1.contains("RFC 1123 subdomain"), "{faults:?}");
    }
    for version in ["V1", "1v", "v-", "v.1", ""] {
        let service = changed(|metadata, spec| {
            metadata.name = format!("{version}.example.com");
            spec.version = version.into();
        });
        let faults = faults(&service);
        assert_eq!(faults.len(), 1, "{version}: {faults:?}");
        assert!(faults[0].0 == "spec.version" && faults[0].1.contains("DNS-1035 label"), "{faults:?}");
    }
    let long = "a".repeat(64);
    let service = changed(|metadata, spec| {
        metadata.name = format!("{long}.example.com");
        spec.version = long.clone();
    });
    assert_one(
        &service,
        "spec.version",
        &format!("Invalid value: {long:?}: must be no more than 63 characters"),
    );
}

#[test]
fn a_name_that_is_no_path_segment_is_only_that() {
    for (name, faulty) in [
        (".", vec!["may not be '.'"]),
        ("..", vec!["may not be '..'"]),
        ("a/b%c", vec!["may not contain '/'", "may not contain '%'"]),
    ] {
        let service = changed(|metadata, _| metadata.name = name.into());
        let wanted: Vec<_> = faulty
            .iter()
            .map(|text| ("metadata.name".to_owned(), format!("Invalid value: {name:?}: {text}")))
            .collect();
        assert_eq!(faults(&service), wanted);
    }
}

#[test]
fn every_fault_is_reported_at_once() {
    let service = ApiService::default();
    let fields: Vec<String> = faults(&service).into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        ["metadata.name", "spec.group", "spec.version", "spec.groupPriorityMinimum", "spec.versionPriority"]
    );
}

#[test]
fn the_backend_annotation_must_be_a_grpc_url() {
    let annotated = |url: &str| {
        changed(|metadata, spec| {
            metadata.annotations.insert(BACKEND.into(), url.into());
            spec.service = None;
        })
    };
    for good in
        ["grpc://127.0.0.1:50051", "grpcs://fleet.default.svc:443", "grpc://[::1]:50051", "grpc://h:1/"]
    {
        assert_eq!(faults(&annotated(good)), [], "{good}");
    }
    for bad in [
        "",
        "fleet:50051",
        "http://fleet:80",
        "grpc://",
        "grpc://fleet",
        "grpc://:50051",
        "grpc://fleet:0",
        "grpc://fleet:99999",
        "grpc://u:p@fleet:1",
        "grpc://fleet:1/path",
        "grpc://fleet:1?x=y",
        "grpc://fl eet:1",
    ] {
        let faults = faults(&annotated(bad));
        assert_eq!(faults.len(), 1, "{bad}: {faults:?}");
        assert_eq!(faults[0].0, "metadata.annotations[kubridge.io/backend]");
        assert!(faults[0].1.contains("must be grpc://HOST:PORT or grpcs://HOST:PORT"), "{}", faults[0].1);
    }
    let mut service = annotated("grpcs://fleet:443");
    service.spec.get_or_insert_default().ca_bundle = b"PEM".into();
    assert_eq!(faults(&service), [], "remote, so it may have a caBundle");
    assert_eq!(ca_bundle(&service), b"PEM");
    service.spec.get_or_insert_default().service = remote().spec.unwrap().service;
    assert_eq!(ca_bundle(&service), b"", "with a service the bundle is trust in us");
    service.metadata.get_or_insert_default().annotations.insert(BACKEND_CA.into(), "OURS".into());
    assert_eq!(ca_bundle(&service), b"OURS");
}

#[test]
fn the_protocol_annotation_is_grpc_grpcs_or_https() {
    let with = |protocol: &str| {
        changed(|metadata, _| drop(metadata.annotations.insert(PROTOCOL.into(), protocol.into())))
    };
    for (text, protocol) in [("grpc", Protocol::Grpc), ("grpcs", Protocol::Grpcs), ("https", Protocol::Https)]
    {
        let wanted = Target::Service { protocol, namespace: "ns".into(), name: "api".into(), port: 443 };
        assert_eq!(target(&with(text)), wanted);
        assert_eq!(wanted.url(), Some(format!("{text}://api.ns.svc:443")));
        assert_eq!(faults(&with(text)), []);
    }
    assert_eq!(target(&with("https")), target(&remote()), "the classic one is the default");
    assert_eq!(target(&with("http")), Target::UnknownProtocol { protocol: "http".into() });
    assert_one(
        &with("http"),
        "metadata.annotations[kubridge.io/protocol]",
        "Unsupported value: \"http\": supported values: \"grpc\", \"grpcs\", \"https\"",
    );
}

fn admitted(service: &ApiService, old: Option<&ApiService>) -> ApiService {
    let (object, old) = (service.encode_to_vec(), old.map(prost::Message::encode_to_vec));
    let bytes = admit(Admission { object: &object, old: old.as_deref(), now: NOW }).unwrap();
    ApiService::decode(&bytes[..]).unwrap()
}

fn condition(reason: &str) -> ApiServiceStatus {
    let condition = ApiServiceCondition {
        r#type: AVAILABLE.into(),
        status: "True".into(),
        reason: reason.into(),
        ..Default::default()
    };
    ApiServiceStatus { conditions: vec![condition] }
}

#[test]
fn admission_fills_in_the_port_and_wipes_the_status_of_a_new_object() {
    let mut service = changed(|_, spec| spec.service.get_or_insert_default().port = None);
    service.status = Some(condition("Passed"));
    let made = admitted(&service, None);
    assert_eq!(made.spec.unwrap().service.unwrap().port, Some(443));
    assert_eq!(made.status, None, "unknown until it was looked at");
    assert_eq!(made.metadata, service.metadata);
}

#[test]
fn a_local_service_is_available_and_only_a_local_one_says_so() {
    let local = changed(|_, spec| spec.service = None);
    let made = admitted(&local, None);
    let conditions = made.status.clone().unwrap().conditions;
    assert_eq!(conditions.len(), 1);
    assert_eq!((conditions[0].reason.as_str(), conditions[0].last_transition_time), ("Local", Some(NOW)));
    assert_eq!(admitted(&made, Some(&made)), made, "once");
    let moved = ApiService { spec: remote().spec, ..made.clone() };
    assert_eq!(admitted(&moved, Some(&made)).status.unwrap().conditions, []);
    let mut was_remote = ApiService { status: Some(condition("Passed")), ..local.clone() };
    let current = ApiServiceCondition {
        r#type: DISCOVERY_CURRENT.into(),
        ..was_remote.status.clone().unwrap().conditions[0].clone()
    };
    let unimplemented = ApiServiceCondition { r#type: METHODS_UNIMPLEMENTED.into(), ..current.clone() };
    was_remote.status.get_or_insert_default().conditions.extend([current, unimplemented]);
    let conditions = admitted(&was_remote, Some(&remote())).status.unwrap().conditions;
    assert_eq!(
        conditions,
        made.status.clone().unwrap().conditions,
        "what was said of the backend goes with it"
    );
    let kept = ApiService { status: Some(condition("Passed")), ..remote() };
    assert_eq!(admitted(&kept, Some(&remote())), kept);
}

#[test]
fn a_condition_has_a_known_status() {
    let mut service = ApiService { status: Some(condition("Passed")), ..remote() };
    service.status.as_mut().unwrap().conditions[0].status = "Maybe".into();
    assert_one(
        &service,
        "status.conditions[0].status",
        "Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \"Unknown\"",
    );
}
