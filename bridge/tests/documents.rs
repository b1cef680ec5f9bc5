//! OpenAPI documents of good schemas.

#![allow(clippy::unwrap_used)]

#[path = "support/compile.rs"]
mod compile;

use std::{collections::HashSet, sync::Arc};

use kubridge_bridge::{
    model::{Api, Rules, Schema},
    openapi_doc,
};
use serde_json::Value;

fn inventory() -> Arc<Api> {
    let schema = Schema::from_descriptor_set(&compile::inventory(), Rules::default()).unwrap();
    Arc::clone(&schema.apis[0])
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn pretty(json: &[u8]) -> String {
    serde_json::to_string_pretty(&serde_json::from_slice::<Value>(json).unwrap()).unwrap() + "\n"
}

fn openapi() -> Value {
    serde_json::from_slice(&openapi_doc::document(&inventory())).unwrap()
}

#[test]
fn openapi_v3_is_as_the_golden_file() {
    compile::golden("openapi-v3-inventory.json", &pretty(&openapi_doc::document(&inventory())));
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_has_a_type() {
    let document = openapi();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut references = HashSet::new();
    walk(&document, &mut |value| {
        if let Some(reference) = value.get("$ref") {
            references.insert(reference.as_str().unwrap().to_owned());
        }
        if let Some(additional) = value.get("additionalProperties") {
            assert!(additional.is_object(), "{value:?}");
        }
    });
    for reference in &references {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{reference}");
    }
    for (name, schema) in schemas {
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)), "{name}");
        assert!(
            references.contains(&format!("#/components/schemas/{name}")),
            "{name} is described and not used"
        );
        typed(name, schema);
    }
}

fn walk(value: &Value, visit: &mut dyn FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            visit(map);
            map.values().for_each(|value| walk(value, visit));
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

fn typed(path: &str, schema: &Value) {
    let has = |key: &str| schema.get(key).is_some();
    assert!(
        has("type") || has("$ref") || has("allOf") || has("x-kubernetes-preserve-unknown-fields"),
        "{path}: {schema}"
    );
    assert!(!(has("$ref") && schema.as_object().unwrap().len() > 1), "{path}: siblings of a reference");
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        typed(&format!("{path}.{name}"), property);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            typed(&format!("{path}[{key}]"), inner);
        }
    }
}

#[test]
fn operations_are_exactly_what_is_served() {
    let document = openapi();
    let base = "/apis/inventory.example.com/v1";
    let mut found = Vec::new();
    let mut ids = HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut methods = Vec::new();
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            methods.push(method.as_str());
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            if *path != format!("{base}/") {
                assert!(operation["x-kubernetes-action"].is_string(), "{path} {method}");
                assert_eq!(operation["x-kubernetes-group-version-kind"]["version"], "v1", "{path} {method}");
            }
        }
        found.push(format!("{} {}", path.strip_prefix(base).unwrap(), methods.join(",")));
    }
    assert_eq!(
        found,
        [
            "/ get",
            "/machines get",
            "/namespaces/{namespace}/machines delete,get,post",
            "/namespaces/{namespace}/machines/{name} delete,get,patch,put",
            "/namespaces/{namespace}/machines/{name}/console get",
            "/namespaces/{namespace}/machines/{name}/powercycle post",
            "/namespaces/{namespace}/machines/{name}/status get,patch,put",
            "/racks get",
            "/racks/{name} get",
        ]
    );
}

/// What kubectl reads before it patches, validates and explains.
#[test]
fn kubectl_finds_what_it_reads() {
    let document = openapi();
    let patch =
        &document["paths"]["/apis/inventory.example.com/v1/namespaces/{namespace}/machines/{name}"]["patch"];
    let types: Vec<_> = patch["requestBody"]["content"].as_object().unwrap().keys().collect();
    assert_eq!(types, ["application/json-patch+json", "application/merge-patch+json"]);
    let parameters: Vec<_> =
        patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert!(parameters.contains(&"fieldValidation") && parameters.contains(&"dryRun"), "{parameters:?}");
    let gvk = serde_json::json!({ "group": "inventory.example.com", "version": "v1", "kind": "Machine" });
    assert_eq!(patch["x-kubernetes-group-version-kind"], gvk);

    let schemas = document["components"]["schemas"].as_object().unwrap();
    let with = |kind: &str| -> Vec<&String> {
        let of_kind = |schema: &Value| {
            schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| {
                kinds.iter().any(|k| k["group"] == "inventory.example.com" && k["kind"] == kind)
            })
        };
        schemas.iter().filter(|(_, schema)| of_kind(schema)).map(|(name, _)| name).collect()
    };
    assert_eq!(with("Machine"), ["com.example.inventory.v1.Machine"]);
    assert_eq!(with("MachineList"), ["com.example.inventory.v1.MachineList"]);
    assert_eq!(with("Rack"), ["com.example.inventory.v1.Rack"]);
    assert_eq!(with("DeleteOptions"), ["io.kubridge.v1.DeleteOptions"]);

    let machine = &schemas["com.example.inventory.v1.Machine"];
    assert!(machine["description"].as_str().unwrap().starts_with("A machine in a rack."));
    for property in ["apiVersion", "kind", "metadata", "spec", "status"] {
        assert!(!machine["properties"][property]["description"].as_str().unwrap().is_empty(), "{property}");
    }
}

#[test]
fn fields_have_the_json_profile() {
    let document = openapi();
    let spec = &document["components"]["schemas"]["com.example.inventory.v1.MachineSpec"];
    let property = |name: &str| {
        let mut schema = spec["properties"][name].clone();
        schema.as_object_mut().unwrap().remove("description");
        schema
    };
    use serde_json::json;
    let disk = json!({ "$ref": "#/components/schemas/com.example.inventory.v1.Disk" });
    let power = json!({ "type": "string", "enum": ["Unspecified", "On", "Off"] });
    for (name, expected) in [
        ("serial", json!({ "type": "string" })),
        ("cores", json!({ "type": "integer", "format": "int32" })),
        ("memoryBytes", json!({ "type": "integer", "format": "int64" })),
        ("big", json!({ "type": "integer", "format": "int64" })),
        ("podCIDR", json!({ "type": "string" })),
        (
            "disks",
            json!({ "type": "array", "items": disk, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
        ),
        ("tags", json!({ "type": "array", "items": { "type": "string" }, "x-kubernetes-list-type": "set" })),
        ("allowedPower", json!({ "type": "array", "items": power, "x-kubernetes-list-type": "atomic" })),
        ("settings", json!({ "type": "object", "additionalProperties": { "type": "string" } })),
        ("spares", json!({ "type": "object", "additionalProperties": disk })),
        ("desiredPower", power.clone()),
        ("memory", json!({ "type": "string" })),
        ("port", json!({ "type": "string", "format": "int-or-string", "x-kubernetes-int-or-string": true })),
        ("free", json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })),
        ("anything", json!({ "x-kubernetes-preserve-unknown-fields": true })),
        ("key", json!({ "type": "string", "format": "byte" })),
        ("loadLimit", json!({ "type": "number", "format": "double" })),
        ("locked", json!({ "type": "boolean" })),
        ("extension", json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })),
        ("bought", json!({ "type": "string", "format": "date-time" })),
        ("disk", disk.clone()),
    ] {
        assert_eq!(property(name), expected, "{name}");
    }
    assert_eq!(spec["required"], json!(["serial"]));
    assert_eq!(spec["properties"]["part"]["description"], "Parts have parts.");
    let power = spec["properties"]["desiredPower"]["description"].as_str().unwrap();
    assert_eq!(power, "Possible values:\n - `\"On\"`: It runs.\n - `\"Off\"`: It does not.");
    let part = &document["components"]["schemas"]["com.example.inventory.v1.Part"];
    assert_eq!(
        part["properties"]["parts"]["items"]["$ref"],
        "#/components/schemas/com.example.inventory.v1.Part"
    );
    let body = &document["components"]["schemas"]["com.example.inventory.v1.PowerCycleMachineRequest"];
    let fields: Vec<_> = body["properties"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["apiVersion", "kind", "name", "pauseSeconds"]);
}

#[test]
fn a_list_answer_that_is_called_like_the_list_kind_gives_way() {
    // small.proto's response message is MachineList, as is the list's kind.
    let text = compile::fixture("small.proto")
        .replace("returns (google.protobuf.Empty) {\n    option", "returns (MachineList) {\n    option");
    let schema =
        Schema::from_descriptor_set(&compile::compile("test.proto", &text), Rules::default()).unwrap();
    let document: Value = serde_json::from_slice(&openapi_doc::document(&schema.apis[0])).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas["com.example.test.v1.MachineList"]["properties"]["apiVersion"].is_object());
    assert!(schemas["proto.test.v1.MachineList"]["properties"]["apiVersion"].is_null());
}

#[test]
fn the_index_names_each_document() {
    let path = openapi_doc::path("inventory.example.com", "v1");
    assert_eq!(
        text(openapi_doc::index([(path.as_str(), "AB12")])),
        r#"{"paths":{"apis/inventory.example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/inventory.example.com/v1?hash=AB12"}}}"#
    );
    assert_eq!(openapi_doc::path("", "v1"), "api/v1");
}
