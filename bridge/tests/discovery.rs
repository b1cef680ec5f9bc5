//! Discovery documents: those of our schemas, and those that others wrote, read and written again.

#![allow(clippy::unwrap_used)]

#[path = "support/compile.rs"]
mod compile;

use std::sync::Arc;

use kubridge_bridge::{
    discovery_doc::{
        self, AggregatedVersions, DocumentFault, Encoded, Freshness, Group, MAX_DOCUMENT, ResponseKind,
        Scope, VersionDocument,
    },
    model::{Api, Rules, Schema},
};
use proptest::prelude::*;
use serde_json::{Value, json};

const AGGREGATED: &[u8] = include_bytes!("golden/discovery-006-agg-discovery.json");
const AGGREGATED_CORE: &[u8] = include_bytes!("golden/discovery-012-agg-discovery-api.json");
const RESOURCES: &[u8] = include_bytes!("golden/discovery-004-resources.json");

fn schema(set: &[u8]) -> Schema {
    Schema::from_descriptor_set(set, Rules::default()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn wardle(version: &str) -> Arc<Api> {
    let schema = schema(&compile::compile("wardle.proto", &compile::fixture("wardle.proto")));
    schema.apis.iter().find(|api| api.version == version).cloned().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The fragments of a document that was read, as the groups of one that is written.
struct Parts(Vec<(String, Vec<(String, Encoded)>)>);

impl Parts {
    fn of(versions: Vec<(String, String, VersionDocument)>) -> Self {
        let mut groups: Vec<(String, Vec<(String, Encoded)>)> = Vec::new();
        for (group, version, document) in versions {
            let fragment = discovery_doc::fragment(&version, Some(&document), Freshness::Current);
            match groups.last_mut().filter(|(name, _)| *name == group) {
                Some((_, versions)) => versions.push((version, fragment)),
                None => groups.push((group, vec![(version, fragment)])),
            }
        }
        Self(groups)
    }

    fn groups(&self) -> Vec<Group<'_>> {
        fn pair((version, fragment): &(String, Encoded)) -> (&str, &Encoded) {
            (version, fragment)
        }
        self.0
            .iter()
            .map(|(name, versions)| Group { name, versions: versions.iter().map(pair).collect() })
            .collect()
    }
}

/// A document that a real API server wrote, without what is left out on purpose.
fn recorded(document: &str) -> String {
    let mut out = document.to_owned();
    while let Some((before, after)) = out.split_once(",\"storageVersionHash\":\"") {
        out = format!("{before}{}", after.split_once('"').unwrap().1);
    }
    out
}

#[test]
fn our_schemas_are_described_as_a_real_api_server_describes_the_same() {
    for (version, expected) in [
        ("v1alpha1", include_str!("golden/discovery-004-resources.json")),
        ("v1beta1", include_str!("golden/discovery-005-resources-v1beta1.json")),
    ] {
        let document = VersionDocument::of_schema(&wardle(version));
        let list = discovery_doc::api_resource_list("wardle.example.com", version, &document);
        assert_eq!(text(&list.json), recorded(expected), "{version}");
    }
    let of_schema = ["v1beta1", "v1alpha1"].map(|version| {
        let document = VersionDocument::of_schema(&wardle(version));
        ("wardle.example.com".to_owned(), version.to_owned(), document)
    });
    let parts = Parts::of(of_schema.into());
    let groups = parts.groups();
    assert_eq!(
        text(&discovery_doc::api_group(&groups[0]).unwrap().json),
        include_str!("golden/discovery-014-direct-group.json")
    );
    assert_eq!(
        text(&discovery_doc::aggregated(&groups).document.json),
        include_str!("golden/discovery-016-direct-agg-discovery.json")
    );
}

/// All of a kube-apiserver: what is read and written again is byte for byte what it wrote, in both forms, with the
/// ETag that it gave it.
#[test]
fn an_aggregated_document_survives() {
    let parts = Parts::of(VersionDocument::from_aggregated(AGGREGATED).unwrap());
    let again = discovery_doc::aggregated(&parts.groups());
    assert_eq!(text(&again.document.json), text(AGGREGATED));
    assert_eq!(
        again.etag,
        "\"31A226155F750C4AFF9A5B431F2D94D4D31FB7C948F87AD2EC25359BCF59643438D9F67CBE4ABDE9E01E4F2BACFE1ECC857EA6CA566AD0FD8A05F11BBEF313A0\""
    );
    assert!(again.document.protobuf == include_bytes!("golden/discovery-011-agg-discovery.protobuf"));
    assert_eq!(
        text(&discovery_doc::api_group_list(&parts.groups()).json),
        include_str!("golden/discovery-001-apis.json")
    );
}

/// Against the bytes that k8s.io/apimachinery makes of the same recorded documents.
#[test]
fn legacy_documents_are_kubernetes_own_protobuf() {
    let parts = Parts::of(VersionDocument::from_aggregated(AGGREGATED).unwrap());
    let groups = parts.groups();
    let wardle = groups.iter().find(|group| group.name == "wardle.example.com").unwrap();
    let resources = VersionDocument::from_resource_list(RESOURCES, "wardle.example.com", "v1alpha1").unwrap();
    let cases: [(Encoded, &[u8]); 4] = [
        (discovery_doc::api_group_list(&groups), include_bytes!("golden/discovery-001-apis.protobuf")),
        (discovery_doc::api_versions(&["v1"]), include_bytes!("golden/discovery-002-api.protobuf")),
        (discovery_doc::api_group(wardle).unwrap(), include_bytes!("golden/discovery-003-group.protobuf")),
        (
            discovery_doc::api_resource_list("wardle.example.com", "v1alpha1", &resources),
            include_bytes!("golden/discovery-004-resources.protobuf"),
        ),
    ];
    for (encoded, expected) in cases {
        assert!(encoded.protobuf == expected, "{}", text(&encoded.json));
    }
}

#[test]
fn the_core_group_survives() {
    let read = VersionDocument::from_aggregated(AGGREGATED_CORE).unwrap();
    assert_eq!(read.iter().map(|(g, v, _)| (g.as_str(), v.as_str())).collect::<Vec<_>>(), [("", "v1")]);
    let pods = read[0].2.resources.iter().find(|resource| resource.resource == "pods").unwrap();
    let eviction = pods.subresources.iter().find(|sub| sub.subresource == "eviction").unwrap();
    assert_eq!(
        (eviction.response_kind.group.as_str(), eviction.response_kind.version.as_str()),
        ("policy", "v1")
    );
    let list = discovery_doc::api_resource_list("", "v1", &read[0].2);
    let list: Value = serde_json::from_slice(&list.json).unwrap();
    assert_eq!(list["groupVersion"], "v1");
    let entry = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods/eviction").unwrap();
    assert_eq!(
        (&entry["group"], &entry["version"], &entry["kind"]),
        (&json!("policy"), &json!("v1"), &json!("Eviction"))
    );
    // The legacy list says the same: what is folded again is what it was.
    let bytes = serde_json::to_vec(&list).unwrap();
    assert_eq!(VersionDocument::from_resource_list(&bytes, "", "v1").unwrap(), read[0].2);
    let parts = Parts::of(read);
    assert_eq!(text(&discovery_doc::aggregated(&parts.groups()).document.json), text(AGGREGATED_CORE));
}

#[test]
fn subresources_are_discovered() {
    let schema = schema(&compile::inventory());
    let document = VersionDocument::of_schema(&schema.apis[0]);
    let list = discovery_doc::api_resource_list("inventory.example.com", "v1", &document);
    let list: Value = serde_json::from_slice(&list.json).unwrap();
    let entries: Vec<_> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            (r["name"].as_str().unwrap(), r["kind"].as_str().unwrap(), r["verbs"].as_array().unwrap().len())
        })
        .collect();
    assert_eq!(
        entries,
        [
            ("machines", "Machine", 8),
            ("machines/console", "GetMachineConsoleRequest", 1),
            ("machines/powercycle", "PowerCycleMachineRequest", 1),
            ("machines/status", "Machine", 3),
            ("racks", "Rack", 3),
        ]
    );
    let parts = Parts::of(vec![("inventory.example.com".into(), "v1".into(), document)]);
    let aggregated = discovery_doc::aggregated(&parts.groups()).document.json;
    let pretty =
        serde_json::to_string_pretty(&serde_json::from_slice::<Value>(&aggregated).unwrap()).unwrap();
    compile::golden("discovery-inventory.json", &(pretty + "\n"));
}

#[test]
fn a_legacy_list_is_read_and_keeps_its_storage_version_hashes() {
    let document = VersionDocument::from_resource_list(RESOURCES, "wardle.example.com", "v1alpha1").unwrap();
    let again = discovery_doc::api_resource_list("wardle.example.com", "v1alpha1", &document);
    assert_eq!(text(&again.json), text(RESOURCES));
    let fragment = discovery_doc::fragment("v1alpha1", Some(&document), Freshness::Current);
    assert!(!text(&fragment.json).contains("Hash"), "aggregated discovery has no such field");
    assert_eq!(VersionDocument::from_json(&document.to_json()).unwrap(), document);
}

#[test]
fn a_legacy_list_is_folded() {
    let list = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "a.example.com/v1", "resources": [
        { "name": "as/scale", "singularName": "", "namespaced": true, "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"] },
        { "name": "as", "singularName": "a", "namespaced": true, "kind": "A", "verbs": ["get", "list"], "shortNames": ["x"], "categories": ["all"] },
        { "name": "as/log", "singularName": "", "namespaced": true, "group": "ignored", "kind": "", "verbs": null },
        { "name": "ghosts/proxy/metrics", "singularName": "", "namespaced": false, "kind": "G", "verbs": ["get"] },
    ]});
    let document =
        VersionDocument::from_resource_list(list.to_string().as_bytes(), "a.example.com", "v1").unwrap();
    let [a, ghosts] = document.resources.as_slice() else { panic!("{document:?}") };
    assert_eq!(
        (a.resource.as_str(), a.scope, a.short_names.len(), a.categories.len()),
        ("as", Scope::Namespaced, 1, 1)
    );
    let subresources: Vec<_> =
        a.subresources.iter().map(|s| (s.subresource.as_str(), &s.response_kind)).collect();
    let scale = ResponseKind { group: "autoscaling".into(), version: "v1".into(), kind: "Scale".into() };
    assert_eq!(subresources, [("scale", &scale), ("log", &ResponseKind::default())]);
    assert_eq!((ghosts.resource.as_str(), ghosts.scope, ghosts.verbs.len()), ("ghosts", Scope::Cluster, 0));
    assert_eq!(ghosts.subresources[0].subresource, "proxy/metrics");
    // A parent that only subresources have is in the aggregated document, with a kind that is not null, and not in
    // the legacy list.
    let fragment = discovery_doc::fragment("v1", Some(&document), Freshness::Current);
    assert!(text(&fragment.json).contains(
        r#"{"resource":"ghosts","responseKind":{"group":"","version":"","kind":""},"scope":"Cluster","singularResource":"","verbs":[],"subresources":["#
    ));
    let again = discovery_doc::api_resource_list("a.example.com", "v1", &document).json;
    let again: Value = serde_json::from_slice(&again).unwrap();
    let names: Vec<_> =
        again["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["as", "as/log", "as/scale", "ghosts/proxy/metrics"]);
}

#[test]
fn a_subresource_of_another_scope_is_a_fault() {
    let list = json!({ "kind": "APIResourceList", "groupVersion": "a.example.com/v1", "resources": [
        { "name": "as", "namespaced": false, "kind": "A", "verbs": [] },
        { "name": "as/status", "namespaced": true, "kind": "A", "verbs": [] },
    ]});
    let fault =
        VersionDocument::from_resource_list(list.to_string().as_bytes(), "a.example.com", "v1").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the discovery document has resource as Cluster and its subresource status Namespaced: both need the same scope"
    );
}

fn aggregated(versions: &Value) -> Vec<u8> {
    let items =
        json!([{ "metadata": { "name": "a.example.com", "creationTimestamp": null }, "versions": versions }]);
    let list = json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items });
    list.to_string().into_bytes()
}

#[test]
fn nulls_and_unknown_fields_of_an_aggregated_document_are_nothing() {
    let document = aggregated(&json!([{
        "version": "v1", "freshness": "Current", "new": { "deep": [[[]]] },
        "resources": [{
            "resource": "as", "responseKind": null, "scope": "Cluster", "singularResource": null, "verbs": null,
            "subresources": [{ "subresource": "status", "responseKind": null, "acceptedTypes": [{ "kind": "A" }], "verbs": ["get"] }],
        }],
    }]));
    let read = VersionDocument::from_aggregated(&document).unwrap();
    let fragment = discovery_doc::fragment("v1", Some(&read[0].2), Freshness::Stale);
    assert_eq!(
        text(&fragment.json),
        concat!(
            r#"{"version":"v1","resources":[{"resource":"as","responseKind":{"group":"","version":"","kind":""},"scope":"Cluster","#,
            r#""singularResource":"","verbs":[],"subresources":[{"subresource":"status","responseKind":{"group":"","version":"","kind":""},"#,
            r#""acceptedTypes":[{"group":"","version":"","kind":"A"}],"verbs":["get"]}]}],"freshness":"Stale"}"#
        )
    );
}

#[test]
fn a_version_that_its_server_calls_stale_is_not_read_and_one_named_twice_is_read_once() {
    let resource = |name: &str| json!([{ "resource": name, "scope": "Cluster" }]);
    let document = aggregated(&json!([
        { "version": "v2", "freshness": "Stale" },
        { "version": "v1", "freshness": "Current", "resources": resource("first") },
        { "version": "v1", "resources": resource("second") },
    ]));
    let read = VersionDocument::from_aggregated(&document).unwrap();
    let read: Vec<_> = read.iter().map(|(_, v, d)| (v.as_str(), d.resources[0].resource.as_str())).collect();
    assert_eq!(read, [("v1", "first")]);
    let all = AggregatedVersions::read(&document).unwrap();
    assert_eq!((all.known.len(), all.stale), (1, vec![("a.example.com".to_owned(), "v2".to_owned())]));
}

#[test]
fn what_is_no_discovery_document_is_refused_with_the_reason() {
    // What is skipped needs no stack, however deep it is.
    let nested = format!("{}{}", r#"{"kind":"APIGroupDiscoveryList","x":"#, "[".repeat(100_000));
    let cases: [(Vec<u8>, &str); 9] = [
        (b"<html>".to_vec(), "cannot be read: expected value"),
        (b"{\"kind\":\"\xff\"}".to_vec(), "is not UTF-8"),
        (nested.into_bytes(), "EOF while parsing a list"),
        (vec![b' '; MAX_DOCUMENT + 1], "has 8388609 bytes; at most 8388608"),
        (br#"{"kind":"Status","apiVersion":"v1"}"#.to_vec(), "is Status of v1, not an APIGroupDiscoveryList"),
        (b"{}".to_vec(), "is without a kind, not an APIGroupDiscoveryList"),
        (
            aggregated(&json!([{ "version": "v1", "resources": [{ "resource": "as", "scope": "Galaxy" }] }])),
            "unknown variant `Galaxy`",
        ),
        (
            aggregated(
                &json!([{ "version": "v1", "resources": [{ "resource": "as/status", "scope": "Cluster" }] }]),
            ),
            "\"as/status\", which no path can have",
        ),
        (
            aggregated(&json!([{ "version": "v1", "resources": [{ "scope": "Cluster" }] }])),
            "missing field `resource`",
        ),
    ];
    for (document, expected) in cases {
        let fault = VersionDocument::from_aggregated(&document).unwrap_err().to_string();
        assert!(fault.contains(expected), "{fault}");
    }
    let other = VersionDocument::from_resource_list(RESOURCES, "wardle.example.com", "v1").unwrap_err();
    assert!(matches!(other, DocumentFault::Other { .. }), "{other}");
    assert!(VersionDocument::from_resource_list(AGGREGATED, "", "v1").is_err());
    let unnamed = br#"{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"/status"}]}"#;
    assert!(matches!(VersionDocument::from_resource_list(unnamed, "", "v1"), Err(DocumentFault::Name(_))));
}

#[test]
fn the_core_group_is_empty_unless_it_is_claimed() {
    let none = discovery_doc::api_versions(&[]);
    assert_eq!(text(&none.json), r#"{"kind":"APIVersions","versions":[],"serverAddressByClientCIDRs":[]}"#);
    let fragment = discovery_doc::fragment("v1", None, Freshness::Stale);
    assert_eq!(text(&fragment.json), r#"{"version":"v1","freshness":"Stale"}"#);
    let empty = Group { name: "b.example.com", versions: vec![] };
    assert!(discovery_doc::api_group(&empty).is_none());
    let core = Group { name: "", versions: vec![("v1", &fragment)] };
    let list = discovery_doc::api_group_list(&[core, empty]);
    assert_eq!(text(&list.json), r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#);
}

/// A document with some bytes replaced.
fn damaged(document: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let damage =
        (0..document.len(), prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b'}'), Just(b'0')]);
    (prop::collection::vec(damage, 1..6), 0..document.len()).prop_map(move |(damage, end)| {
        let mut bytes = document.to_vec();
        damage.iter().for_each(|&(at, byte)| bytes[at] = byte);
        if end % 7 == 0 {
            bytes.truncate(end);
        }
        bytes
    })
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        damaged(AGGREGATED),
        damaged(AGGREGATED_CORE),
        damaged(RESOURCES),
        prop::collection::vec(any::<u8>(), 0..200)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a backend answers is read or refused; what is read is written, kept and read again as the same.
    #[test]
    fn no_bytes_of_a_backend_panic(bytes in anything()) {
        let mut read = VersionDocument::from_aggregated(&bytes).unwrap_or_default();
        if let Ok(document) = VersionDocument::from_resource_list(&bytes, "wardle.example.com", "v1alpha1") {
            read.push(("wardle.example.com".into(), "v1alpha1".into(), document));
        }
        if let Ok(document) = VersionDocument::from_json(&bytes) {
            prop_assert_eq!(&VersionDocument::from_json(&document.to_json()).unwrap(), &document);
        }
        for (group, version, document) in &read {
            prop_assert_eq!(&VersionDocument::from_json(&document.to_json()).unwrap(), document);
            let list = discovery_doc::api_resource_list(group, version, document);
            serde_json::from_slice::<Value>(&list.json).unwrap();
            kubridge_bridge::envelope::open(&list.protobuf).unwrap();
        }
        let expected: Vec<_> = read.clone();
        let parts = Parts::of(read);
        let written = discovery_doc::aggregated(&parts.groups());
        kubridge_bridge::envelope::open(&written.document.protobuf).unwrap();
        let again = VersionDocument::from_aggregated(&written.document.json).unwrap();
        let plain = |(g, v, d): &(String, String, VersionDocument)| (g.clone(), v.clone(), d.resources.clone());
        prop_assert_eq!(again.iter().map(plain).collect::<Vec<_>>(), expected.iter().map(plain).collect::<Vec<_>>());
    }
}
