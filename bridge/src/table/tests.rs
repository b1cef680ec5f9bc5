#![allow(clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost_reflect::DescriptorPool;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver};
use serde_json::{Value, json};

use super::*;
use crate::{
    model::{Column, Methods},
    transcode::Tables,
};

const PROTO: &str = r#"
    syntax = "proto3";
    package t.v1;
    import "kubridge/v1/meta.proto";
    import "google/protobuf/struct.proto";
    message Machine {
      kubridge.v1.ObjectMeta metadata = 1;
      Spec spec = 2;
      Status status = 3;
    }
    message Spec {
      string serial = 1; int64 cores = 2; double load = 3; bool on = 4; repeated string disks = 5;
      kubridge.v1.Quantity memory = 6; kubridge.v1.Time bought = 7; google.protobuf.Struct extra = 8;
    }
    message Status { repeated kubridge.v1.Condition conditions = 1; }
"#;

struct Source;

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == "t.proto" {
            File::from_source(name, PROTO)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

fn machine() -> MessageType {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source);
    resolver.add(DescriptorSetFileResolver::decode(crate::proto::DESCRIPTORS).unwrap());
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("t.proto").unwrap();
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap();
    Tables::compile(&pool).message("t.v1.Machine").unwrap()
}

fn resource(columns: &[(&str, &str, &str)]) -> Resource {
    Resource {
        group: "t.example.com".into(),
        version: "v1".into(),
        kind: "Machine".into(),
        list_kind: "MachineList".into(),
        plural: "machines".into(),
        singular: "machine".into(),
        short_names: vec![],
        categories: vec![],
        namespaced: true,
        managed: true,
        versioned: true,
        keeps: crate::model::Keeps::default(),
        per_user: false,
        columns: columns
            .iter()
            .map(|(name, path, kind)| Column {
                name: (*name).into(),
                path: (*path).into(),
                column_type: (*kind).into(),
                format: String::new(),
                description: "d".into(),
                priority: 1,
                compute: None,
            })
            .collect(),
        selectable_fields: vec![],
        deprecation_warning: None,
        description: String::new(),
        message: machine(),
        spec_field: Some(2),
        status_field: Some(3),
        methods: Methods::default(),
        status_subresource: false,
        actions: vec![],
        wire_twin: false,
        names: crate::model::NameSyntax::default(),
        table: std::sync::OnceLock::new(),
    }
}

fn wire() -> Vec<u8> {
    let object = json!({
        "metadata": {"name": "a", "namespace": "fx", "creationTimestamp": "2026-11-23T05:04:57Z",
                     "labels": {"example.com/tier": "web"}},
        "spec": {"serial": "S1", "cores": 9007199254740993_i64, "load": 1.5, "on": true, "disks": ["sda", "sdb"],
                 "memory": "2Gi", "bought": "2026-11-23T05:00:00Z", "extra": {"x": {"y": 1}}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Hot", "status": "False"}]},
    });
    machine().from_json(object.to_string().as_bytes()).unwrap().wire
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_410_297 + 150)
}

/// The cells between Name and Age.
fn cells(columns: &[(&str, &str, &str)], wire: &[u8]) -> Vec<Value> {
    let mut out = Vec::new();
    let table = TableColumns::compile(&resource(columns));
    table.row(wire, MetaVersion::V1, IncludeObject::None, now(), &mut out).unwrap();
    let row: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(row["object"], Value::Null);
    let cells = row["cells"].as_array().unwrap();
    cells[1..cells.len() - 1].to_vec()
}

#[test]
fn cells_by_path_and_type() {
    for (path, kind, want) in [
        (".spec.serial", "string", json!("S1")),
        (".spec.serial", "", json!("S1")),
        (".spec.serial", "integer", Value::Null),
        (".spec.cores", "", json!(9_007_199_254_740_993_i64)),
        (".spec.cores", "string", json!("9007199254740993")),
        (".spec.load", "", json!(1.5)),
        (".spec.load", "integer", json!(1)),
        (".spec.on", "", json!(true)),
        (".spec.on", "string", json!("true")),
        (".spec.memory", "", json!("2Gi")),
        (".spec.bought", "", json!("7m27s")),
        (".spec.bought", "string", json!("2026-11-23T05:00:00Z")),
        (".spec.disks[0]", "string", json!("sda")),
        (".spec.disks[-1]", "string", json!("sdb")),
        (".spec.disks[2]", "string", Value::Null),
        (".spec.disks[*]", "string", json!("sda,sdb")),
        (".spec.disks", "string", json!("[\"sda\",\"sdb\"]")),
        (".spec.extra.x.y", "integer", json!(1)),
        (".status.conditions[?(@.type==\"Ready\")].status", "string", json!("True")),
        (".status.conditions[?(@.type != 'Ready')].status", "string", json!("False")),
        (".status.conditions[?(@.type==\"Nope\")].status", "string", Value::Null),
        (".metadata.labels['example.com/tier']", "string", json!("web")),
        (".metadata.labels.example\\.com/tier", "string", json!("web")),
        (".metadata.labels.nope", "string", Value::Null),
        (".metadata.annotations.x", "string", Value::Null),
        (".spec.nope", "string", Value::Null),
    ] {
        assert_eq!(cells(&[("C", path, kind)], &wire()), [want], "{path} {kind}");
    }
    assert_eq!(
        cells(&[("C", ".spec.serial", ""), ("D", ".status.conditions[0].type", "")], b""),
        [Value::Null, Value::Null]
    );
}

/// Every field that kubectl finds in the Table of a real API server is in ours, in its place.
#[test]
fn a_table_as_kube_apiserver_writes_it() {
    let golden = |name: &str| -> Value {
        let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let table = TableColumns::compile(&resource(&[("Serial", ".spec.serial", "")]));
    for (file, include) in
        [("087-table-get", IncludeObject::Metadata), ("088-table-includeObject-None", IncludeObject::None)]
    {
        let mut out = Vec::new();
        table.begin(MetaVersion::V1, Some(br#"{"resourceVersion":"864"}"#), true, &mut out);
        table.row(&wire(), MetaVersion::V1, include, now(), &mut out).unwrap();
        table.end(None, &mut out);
        let (ours, theirs): (Value, Value) = (serde_json::from_slice(&out).unwrap(), golden(file));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours), keys(&theirs));
        assert_eq!((&ours["kind"], &ours["apiVersion"]), (&theirs["kind"], &theirs["apiVersion"]));
        assert_eq!(keys(&ours["columnDefinitions"][0]), keys(&theirs["columnDefinitions"][0]));
        assert_eq!(ours["columnDefinitions"][0]["format"], "name");
        assert_eq!(ours["columnDefinitions"][1]["priority"], 1);
        assert_eq!(ours["columnDefinitions"][2]["type"], "date");
        assert_eq!(ours["rows"][0]["cells"], json!(["a", "S1", "2m30s"]));
        let (object, theirs) = (&ours["rows"][0]["object"], &theirs["rows"][0]["object"]);
        assert_eq!((&object["kind"], &object["apiVersion"]), (&theirs["kind"], &theirs["apiVersion"]));
        assert_eq!(object["metadata"]["name"], theirs["metadata"]["name"]);
        assert!(object.get("spec").is_none());
    }
}

#[test]
fn streamed_tables_and_whole_objects() {
    let table = TableColumns::compile(&resource(&[]));
    let mut out = Vec::new();
    table.begin(MetaVersion::V1beta1, None, false, &mut out);
    table.row(&wire(), MetaVersion::V1beta1, IncludeObject::Object, now(), &mut out).unwrap();
    table.end(Some(b"{}"), &mut out);
    let value: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&value["columnDefinitions"], &value["metadata"]), (&Value::Null, &json!({})));
    let object = &value["rows"][0]["object"];
    assert_eq!((&object["kind"], &object["apiVersion"]), (&json!("Machine"), &json!("t.example.com/v1")));
    assert_eq!(object["spec"]["serial"], "S1");
    let mut out = Vec::new();
    table.row(b"", MetaVersion::V1, IncludeObject::Metadata, now(), &mut out).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&out).unwrap(),
        json!({"cells": ["", "<unknown>"], "object":
            {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {}}})
    );
    // Not protobuf: nothing half-written.
    let mut out = b"x".to_vec();
    table.row(b"\x0a\xff", MetaVersion::V1, IncludeObject::None, now(), &mut out).unwrap_err();
    assert_eq!(out, b"x");
}

#[test]
fn paths_are_checked_against_the_schema() {
    let machine = Arc::new(machine());
    for (path, want) in [
        (".spec.serial", Ok("string")),
        ("{.spec.cores}", Ok("integer")),
        ("$.spec.load", Ok("number")),
        (".spec.on", Ok("boolean")),
        (".metadata.creationTimestamp", Ok("date")),
        (".metadata.labels.x", Ok("string")),
        (".metadata.ownerReferences[0].name", Ok("string")),
        (".status.conditions[?(@.type=='Ready')].observedGeneration", Ok("integer")),
        (".spec.extra.any.thing[3]", Ok("string")),
        (".kind", Err("t.v1.Machine has no field \"kind\"")),
        (".spec.nope", Err("t.v1.Spec has no field \"nope\"; it has serial, cores")),
        (".spec.serial.x", Err("goes on behind a value of type string")),
        (".spec.disks.x", Err("in a list")),
        (".spec[0]", Err("t.v1.Spec is no list")),
        (".metadata.labels[0]", Err("behind a map")),
        (".status.conditions[?(@.nope==1)].type", Err("has no field \"nope\"")),
    ] {
        let path_ = JsonPath::parse(path).unwrap();
        match (path_.check(&machine), want) {
            (Ok(()), Ok(kind)) => assert_eq!(path_.column_type(&machine), Some(kind), "{path}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{path}: {error}"),
            (got, want) => panic!("{path}: {got:?}, not {want:?}"),
        }
    }
    for path in
        ["", "spec", ".", ".a..b", ".a[", ".a[x]", ".a['b]", ".a[?(@.b)]", ".a[?(@.b==)]", ".a[?(@.b=='x']"]
    {
        assert!(JsonPath::parse(path).is_err(), "{path}");
    }
}

#[test]
fn ages_as_kubectl_prints_them() {
    const M: u64 = 60;
    const H: u64 = 60 * M;
    const D: u64 = 24 * H;
    for (seconds, want) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (10 * M - 1, "9m59s"),
        (10 * M + 5, "10m"),
        (3 * H - 1, "179m"),
        (3 * H, "3h"),
        (3 * H + M, "3h1m"),
        (8 * H - 1, "7h59m"),
        (8 * H + M, "8h"),
        (2 * D - 1, "47h"),
        (2 * D, "2d"),
        (2 * D + H, "2d1h"),
        (8 * D + H, "8d"),
        (730 * D - 1, "729d"),
        (730 * D, "2y"),
        (731 * D, "2y1d"),
        (8 * 365 * D + D, "8y"),
    ] {
        assert_eq!(human_duration(Duration::from_secs(seconds)), want, "{seconds}");
    }
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for (instant, want) in [
        ("2001-09-09T01:46:40Z", "0s"),
        ("2001-09-09T01:46:41.999Z", "0s"),
        ("2001-09-09T01:46:42Z", "<invalid>"),
        ("2001-09-09T03:46:10+02:00", "30s"),
        ("2000-02-29T00:00:00Z", "558d"),
        ("1969-12-31T23:59:59Z", "31y"),
        ("yesterday", "<invalid>"),
        ("", "<invalid>"),
    ] {
        assert_eq!(super::age::age(instant, now), want, "{instant}");
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(path in "[a-z.\\[\\]()?@='\"\\\\0-9*\u{e9}]{0,24}", instant in "[0-9TZ:.+\u{e9}-]{0,30}") {
        let _ = JsonPath::parse(&path);
        let _ = super::age::age(&instant, UNIX_EPOCH);
    }
}
