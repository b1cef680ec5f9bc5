#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use kubridge_bridge::model::Api;

use super::*;
use crate::app::LintPlace;

fn registration(backend: &str) -> Registration {
    Registration {
        backend: backend.parse().unwrap(),
        source: LintSource { place: LintPlace::DescriptorSet("unused".into()), mappings: Vec::new() },
        backend_ca_file: None,
        service: None,
        service_ca_file: None,
    }
}

fn schema(apis: &[(&str, &str)]) -> Schema {
    let api = |(group, version): &(&str, &str)| {
        Arc::new(Api { group: (*group).to_owned(), version: (*version).to_owned(), resources: Vec::new() })
    };
    Schema { apis: apis.iter().map(api).collect(), advice: Vec::new(), mapped: None }
}

fn service(backend: &str) -> Value {
    services(&registration(backend), &schema(&[("a.example.com", "v1")])).unwrap().remove(0)
}

#[test]
fn versions_have_the_priorities_of_kubernetes_order() {
    let schema = schema(&[
        ("a.example.com", "v1beta1"),
        ("a.example.com", "v2"),
        ("b.example.com", "v1alpha1"),
        ("a.example.com", "v1"),
    ]);
    let made = services(&registration("grpc://h:1"), &schema).unwrap();
    let priorities: Vec<_> = made
        .iter()
        .map(|service| {
            (
                service["metadata"]["name"].as_str().unwrap(),
                service["spec"]["versionPriority"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        priorities,
        [
            ("v2.a.example.com", 100),
            ("v1.a.example.com", 99),
            ("v1beta1.a.example.com", 98),
            ("v1alpha1.b.example.com", 100)
        ]
    );
}

#[test]
fn what_is_printed_is_a_manifest_that_the_server_reads() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let certificate = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap().cert.pem();
    std::fs::write(&ca, &certificate).unwrap();
    let in_cluster = Registration {
        backend_ca_file: Some(ca.clone()),
        service: Some(Service { namespace: "kubridge".into(), name: "kubridge".into(), port: None }),
        service_ca_file: Some(ca),
        ..registration("grpcs://h:1")
    };
    let apis = schema(&[("a.example.com", "v1"), ("b.example.com", "v1")]);
    let text = yaml(&services(&in_cluster, &apis).unwrap()).unwrap();
    let manifest = dir.path().join("apiservices.yaml");
    std::fs::write(&manifest, &text).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    assert_eq!(documents.len(), 2, "{text}");
    let [first, _] = documents.as_slice() else { panic!("{text}") };
    assert_eq!(first["metadata"]["annotations"][BACKEND], "grpcs://h:1");
    assert_eq!(first["metadata"]["annotations"][BACKEND_CA], certificate.as_str());
    assert_eq!(first["spec"]["service"], json!({"namespace": "kubridge", "name": "kubridge", "port": 443}));
    assert_eq!(first["spec"]["caBundle"], BASE64_STANDARD.encode(&certificate));
}

#[test]
fn what_others_wrote_stays_and_what_is_the_same_is_no_change() {
    let wanted = service("grpc://h:1");
    let mut present = wanted.clone();
    present["metadata"]["resourceVersion"] = json!("7");
    present["metadata"]["labels"] = json!({"team": "a"});
    present["metadata"]["annotations"]["note"] = json!("b");
    present["status"] = json!({"conditions": []});
    assert_eq!(merge(&present, &wanted), present);

    present["spec"]["versionPriority"] = json!(1);
    present["spec"]["caBundle"] = json!("Q0E=");
    present["metadata"]["annotations"][PROTOCOL] = json!("grpc");
    present["metadata"]["annotations"][BACKEND] = json!("grpcs://old:1");
    let merged = merge(&present, &wanted);
    assert_eq!(merged["spec"], wanted["spec"], "the backend's CA is ours, too");
    assert_eq!(merged["metadata"]["annotations"], json!({BACKEND: "grpc://h:1", "note": "b"}));
    assert_eq!(
        (&merged["metadata"]["resourceVersion"], &merged["metadata"]["labels"]),
        (&json!("7"), &json!({"team": "a"}))
    );

    present["spec"]["service"] = json!({"namespace": "n", "name": "kubridge", "port": 443});
    let merged = merge(&present, &wanted);
    assert_eq!(merged["spec"]["caBundle"], "Q0E=", "the kube-apiserver's trust in the Service");
    assert_eq!(merged["spec"]["service"]["name"], "kubridge");
}

#[test]
fn what_is_somebody_elses_is_refused_with_the_mend() {
    let wanted = service("grpc://h:1");
    let other = service("grpc://other:1");
    assert_eq!(refusal(&wanted, &wanted, false), None);
    assert_eq!(
        refusal(&other, &wanted, false).unwrap(),
        "it belongs to grpc://other:1: --force takes it over"
    );
    assert_eq!(refusal(&other, &wanted, true), None);

    let mut classic = other.clone();
    classic["metadata"]["annotations"] = json!({});
    assert!(refusal(&classic, &wanted, false).unwrap().starts_with("it belongs to the server itself"));
    classic["spec"]["service"] = json!({"namespace": "kube-system", "name": "metrics-server"});
    let why = refusal(&classic, &wanted, false).unwrap();
    assert_eq!(why, "it belongs to the Service kube-system/metrics-server: --force takes it over");

    let mut kept = other.clone();
    kept["metadata"]["labels"] = json!({AUTOMANAGED: "true"});
    let why = refusal(&kept, &wanted, true).unwrap();
    assert!(why.starts_with("--backend grpc://other:1 of the server keeps it"), "{why}");
    kept["metadata"]["annotations"][MANIFEST] = json!("a.yaml");
    let why = refusal(&kept, &wanted, true).unwrap();
    assert!(why.starts_with("the file a.yaml in --manifests"), "{why}");
}
