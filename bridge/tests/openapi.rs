//! OpenAPI documents of others: cut, linted, converted, merged.

#![allow(clippy::unwrap_used)]

#[path = "support/compile.rs"]
mod compile;

#[path = "openapi/lint.rs"]
mod lint;
#[path = "openapi/merge.rs"]
mod merge;

use std::{collections::BTreeSet, sync::Arc};

use kubridge_bridge::{
    model::{Api, Rules, Schema},
    openapi_doc::{self, V2Document, V3Document},
};
use serde_json::{Value, json};

/// Recorded: sample-apiserver's document, through kube-apiserver.
const WARDLE: &str = include_str!("golden/openapi-020-v3-wardle.json");
const WARDLE_GROUP: &str = include_str!("golden/openapi-025-v3-wardle-group.json");

fn inventory() -> Arc<Api> {
    let schema = Schema::from_descriptor_set(&compile::inventory(), Rules::default()).unwrap();
    Arc::clone(&schema.apis[0])
}

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Every `$ref` with a text.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            let parts = map.iter().filter(|(key, _)| !key.starts_with("x-"));
            parts.for_each(|(_, value)| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[track_caller]
fn resolves(document: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn our_own_documents_have_no_faults() {
    let api = inventory();
    let v3 = openapi_doc::document(&api);
    let accepted = openapi_doc::accept_v3(&v3, &api.group, &api.version).unwrap_or_else(|f| panic!("{f:#?}"));
    assert_eq!(value(&accepted.to_bytes()), value(&v3), "nothing of it is cut off");
    let v2 = V2Document::of_schema(&api);
    let accepted =
        openapi_doc::accept_v2(&v2.to_bytes(), &api.group, &api.version).unwrap_or_else(|f| panic!("{f:#?}"));
    assert_eq!(accepted, v2);
    for fixture in ["wardle.proto", "small.proto"] {
        let set = compile::compile(fixture, &compile::fixture(fixture));
        for api in Schema::from_descriptor_set(&set, Rules::default()).unwrap().apis {
            openapi_doc::accept_v3(&openapi_doc::document(&api), &api.group, &api.version)
                .unwrap_or_else(|faults| panic!("{fixture}: {faults:#?}"));
            openapi_doc::accept_v2(&V2Document::of_schema(&api).to_bytes(), &api.group, &api.version)
                .unwrap_or_else(|faults| panic!("{fixture}: {faults:#?}"));
        }
    }
}

#[test]
fn version_2_says_what_version_3_says() {
    let document = value(&V2Document::of_schema(&inventory()).to_json("v1"));
    let pretty = serde_json::to_string_pretty(&document).unwrap() + "\n";
    compile::golden("openapi-v2-inventory.json", &pretty);
    resolves(&document);
    let item = &document["paths"]["/apis/inventory.example.com/v1/namespaces/{namespace}/machines/{name}"];
    let patch = &item["patch"];
    assert_eq!(patch["consumes"], json!(["application/json-patch+json", "application/merge-patch+json"]));
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Machine");
    assert_eq!(patch["parameters"][0]["in"], "body");
    assert_eq!(patch["parameters"][0]["schema"]["$ref"], "#/definitions/io.kubridge.v1.Patch");
    assert_eq!(item["parameters"][0]["type"], "string");
    let machine = &document["definitions"]["com.example.inventory.v1.Machine"];
    assert_eq!(
        machine["x-kubernetes-group-version-kind"],
        json!([{ "group": "inventory.example.com", "version": "v1", "kind": "Machine" }])
    );
    let metadata = &machine["properties"]["metadata"];
    assert_eq!(metadata["$ref"], "#/definitions/io.kubridge.v1.ObjectMeta");
    assert!(metadata["description"].is_string() && metadata["allOf"].is_null());
    let disks = &document["definitions"]["com.example.inventory.v1.MachineSpec"]["properties"]["disks"];
    assert_eq!(disks["x-kubernetes-list-map-keys"], json!(["name"]));
}

#[test]
fn a_real_document_passes_and_is_cut_to_its_claim() {
    let accepted = openapi_doc::accept_v3(WARDLE.as_bytes(), "wardle.example.com", "v1alpha1")
        .unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(value(accepted.json()), value(WARDLE.as_bytes()), "it is only about its claim already");
    let other = openapi_doc::accept_v3(WARDLE.as_bytes(), "wardle.example.com", "v1beta1").unwrap();
    assert!(other.is_empty() && !accepted.is_empty());
    assert_eq!(value(other.json())["components"], json!({}));

    // A server that speaks of others.
    let mut document = value(WARDLE.as_bytes());
    let item = document["paths"]["/apis/wardle.example.com/v1alpha1/fischers"].clone();
    for path in [
        "/apis/apps/v1/deployments",
        "/apis/wardle.example.com/v1alpha1x/fischers",
        "/apis/wardle.example.com/",
        "/api/v1/pods",
    ] {
        document["paths"][path] = item.clone();
    }
    document["components"]["schemas"]["Unused"] = json!({ "type": "null" });
    document["x-more"] = json!(1);
    let text = serde_json::to_vec(&document).unwrap();
    assert_eq!(openapi_doc::accept_v3(&text, "wardle.example.com", "v1alpha1").unwrap(), accepted);
}

#[test]
fn what_is_no_group_version_has_a_key() {
    let group = openapi_doc::accept_v3_at(WARDLE_GROUP.as_bytes(), "apis/wardle.example.com").unwrap();
    assert_eq!(keys(&value(group.json())["paths"]), ["/apis/wardle.example.com/"]);
    let cut = openapi_doc::accept_v3_at(WARDLE.as_bytes(), "apis/wardle.example.com").unwrap();
    assert!(cut.is_empty(), "a group's key is not about its versions");
}

#[test]
fn a_document_goes_to_version_2_and_back() {
    let v3 = openapi_doc::accept_v3(WARDLE.as_bytes(), "wardle.example.com", "v1alpha1").unwrap();
    let v2 = V2Document::from_v3(&v3);
    let document = value(&v2.to_bytes());
    resolves(&document);
    let create = &document["paths"]["/apis/wardle.example.com/v1alpha1/fischers"]["post"];
    let body =
        &value(v3.json())["paths"]["/apis/wardle.example.com/v1alpha1/fischers"]["post"]["requestBody"];
    assert_eq!(create["consumes"], json!(keys(&body["content"])));
    assert_eq!(create["parameters"][0]["name"], "body");
    assert_eq!(
        create["responses"]["201"]["schema"]["$ref"].as_str().map(|r| r.starts_with("#/definitions/")),
        Some(true)
    );
    // It passes as if it had been downloaded.
    let accepted = openapi_doc::accept_v2(&v2.to_bytes(), "wardle.example.com", "v1alpha1")
        .unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(accepted, v2);

    let back = V3Document::from_v2(&v2);
    openapi_doc::accept_v3(back.json(), "wardle.example.com", "v1alpha1")
        .unwrap_or_else(|faults| panic!("{faults:#?}"));
    let (first, second) = (value(v3.json()), value(back.json()));
    assert_eq!(keys(&first["paths"]), keys(&second["paths"]));
    assert_eq!(keys(&first["components"]["schemas"]), keys(&second["components"]["schemas"]));
    let name =
        first["components"]["schemas"].as_object().unwrap().keys().find(|name| name.ends_with(".Fischer"));
    let schema = |document: &Value| document["components"]["schemas"][name.unwrap()].clone();
    assert_eq!(
        schema(&first)["x-kubernetes-group-version-kind"],
        schema(&second)["x-kubernetes-group-version-kind"]
    );
    let metadata = &schema(&second)["properties"]["metadata"];
    assert!(metadata["allOf"][0]["$ref"].as_str().unwrap().ends_with(".ObjectMeta"), "{metadata}");
    let patch = |document: &Value| {
        let item = &document["paths"]["/apis/wardle.example.com/v1alpha1/fischers/{name}"];
        keys(&item["patch"]["requestBody"]["content"]).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(patch(&first), patch(&second), "kubectl decides by it how it patches");
}

#[test]
fn what_the_other_version_cannot_say_is_any_value() {
    let schema = |schema: Value| {
        let document = json!({
            "openapi": "3.0.0", "info": {},
            "paths": { "/apis/g/v1/things": { "get": { "responses": { "200": {
                "description": "", "content": { "application/json": { "schema": {
                    "$ref": "#/components/schemas/S" } } } } } } } },
            "components": { "schemas": { "S": schema, "T": { "type": "object" } } },
        });
        let v3 = openapi_doc::accept_v3(&serde_json::to_vec(&document).unwrap(), "g", "v1").unwrap();
        value(&V2Document::from_v3(&v3).to_bytes())["definitions"]["S"].clone()
    };
    assert_eq!(
        schema(json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }], "format": "int-or-string" })),
        json!({ "type": "string", "format": "int-or-string" })
    );
    assert_eq!(
        schema(json!({ "description": "d", "type": "string", "nullable": true })),
        json!({ "description": "d" })
    );
    assert_eq!(
        schema(json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                       "properties": { "a": { "type": "string" } } })),
        json!({ "x-kubernetes-preserve-unknown-fields": true })
    );
    assert_eq!(
        schema(json!({ "type": "object", "not": { "required": ["a"] }, "anyOf": [{ "required": ["b"] }],
                       "properties": { "a": { "description": "d", "allOf": [{ "$ref": "#/components/schemas/T" }] } } })),
        json!({ "type": "object", "properties": { "a": { "description": "d", "$ref": "#/definitions/T" } } })
    );
}

#[test]
fn documents_survive_the_disk() {
    let api = inventory();
    let (v3, v2) = (V3Document::of_schema(&api), V2Document::of_schema(&api));
    assert_eq!(V3Document::from_bytes(&v3.to_bytes()).unwrap(), v3);
    assert_eq!(V2Document::from_bytes(&v2.to_bytes()).unwrap(), v2);
    assert!(V3Document::from_bytes(b"{").is_err() && V2Document::from_bytes(b"").is_err());
}
