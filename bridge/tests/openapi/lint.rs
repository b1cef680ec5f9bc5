//! Each fault names its place and the mend; what is merely unusual is none.

use kubridge_bridge::openapi_doc::{Fault, accept_v2, accept_v2_each, accept_v3};
use proptest::prelude::*;
use serde_json::{Value, json};

const PATH: &str = "/apis/g.example.com/v1/things";

/// A good document, with one schema on top.
#[expect(clippy::needless_pass_by_value, reason = "callers write json!")]
fn v3(schema: Value) -> Value {
    let answer = |name: &str| {
        json!({ "200": { "description": "OK", "content": { "application/json": { "schema": {
            "$ref": format!("#/components/schemas/{name}") } } } } })
    };
    let gvk = json!({ "group": "g.example.com", "version": "v1", "kind": "Thing" });
    json!({
        "openapi": "3.0.0",
        "info": { "title": "t", "version": "v" },
        "paths": { PATH: {
            "get": { "responses": answer("S") },
            "post": {
                "responses": answer("Thing"), "x-kubernetes-action": "post", "x-kubernetes-group-version-kind": gvk,
            },
        } },
        "components": { "schemas": {
            "S": schema,
            "Thing": { "type": "object", "x-kubernetes-group-version-kind": [gvk] },
        } },
    })
}

fn faults(document: &Value) -> Vec<Fault> {
    let text = serde_json::to_vec(document).unwrap();
    accept_v3(&text, "g.example.com", "v1").err().unwrap_or_default()
}

#[track_caller]
fn one(document: &Value, pointer: &str, says: &str) {
    let faults = faults(document);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].pointer, pointer, "{faults:#?}");
    assert!(faults[0].to_string().contains(says), "{}", faults[0]);
    assert!(!faults[0].mend.is_empty());
}

#[test]
fn a_bad_schema_is_named() {
    const S: &str = "/components/schemas/S";
    let at = |place: &str| format!("{S}{place}");
    for (schema, place, says) in [
        (json!({ "type": "object", "additionalProperties": false }), "/additionalProperties", "leave it out"),
        (
            json!({ "type": "object", "additionalProperties": true }),
            "/additionalProperties",
            "x-kubernetes-preserve-unknown-fields",
        ),
        (json!({ "properties": { "a": { "type": "string" } } }), "", "write `\"type\": \"object\"`"),
        (json!({ "items": { "type": "string" } }), "", "write `\"type\": \"array\"`"),
        (json!({ "format": "int32" }), "", "has `format` and no type"),
        (
            json!({ "type": "object", "properties": { "a/b": { "type": "object", "properties": { "c": { "enum": ["x"] } } } } }),
            "/properties/a~1b/properties/c",
            "no type",
        ),
        (json!({ "type": "array" }), "", "write `items`"),
        (json!({ "type": "array", "items": [{ "type": "string" }] }), "/items", "one schema"),
        (json!({ "type": "null" }), "/type", "no type"),
        (json!({ "type": ["string", "null"] }), "/type", "one type"),
        (json!({ "type": "object", "properties": null }), "/properties", "is null"),
        (json!({ "type": "object", "required": [null] }), "/required/0", "is null"),
        (json!({ "type": "object", "description": null }), "/description", "is null"),
        (json!({ "$ref": "#/components/schemas/Nobody" }), "", "not in the document"),
        (
            json!({ "type": "object", "properties": { "x": { "$ref": "other.json#/X" } } }),
            "/properties/x",
            "other.json",
        ),
        (
            json!({ "allOf": [{ "type": "object", "additionalProperties": false }] }),
            "/allOf/0/additionalProperties",
            "false",
        ),
        (json!(true), "", "no schema"),
    ] {
        one(&v3(schema), &at(place), says);
    }
}

#[test]
fn what_is_unusual_passes() {
    for schema in [
        json!({}),
        json!({ "description": "Any value: apiextensions' JSON." }),
        json!({ "x-kubernetes-preserve-unknown-fields": true }),
        json!({ "x-kubernetes-int-or-string": true, "pattern": "^[0-9]+$" }),
        json!({ "oneOf": [{ "type": "string" }, { "type": "number" }], "description": "Quantity" }),
        json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] }),
        json!({ "default": {}, "allOf": [{ "$ref": "#/components/schemas/Thing" }] }),
        json!({ "type": "object", "default": null, "example": { "a": null, "additionalProperties": true } }),
        json!({ "type": "string", "nullable": true, "enum": ["a", null] }),
        json!({ "type": "array", "x-kubernetes-preserve-unknown-fields": true }),
        // Names that are keywords elsewhere: CustomResourceDefinition describes schemas.
        json!({ "type": "object", "properties": {
            "$ref": { "type": "string" }, "additionalProperties": { "description": "JSONSchemaPropsOrBool" },
            "type": { "type": "string" }, "items": { "type": "string" }, "default": { "type": "boolean" },
        } }),
        // Conditions of a structural schema have no types.
        json!({ "type": "object", "anyOf": [{ "required": ["a"] }, { "not": { "properties": { "b": { "enum": ["x"] } } } }] }),
        json!({ "type": "object", "additionalProperties": { "type": "object", "additionalProperties": { "type": "string" } } }),
    ] {
        let faults = faults(&v3(schema.clone()));
        assert!(faults.is_empty(), "{schema}: {faults:#?}");
    }
}

#[test]
fn kinds_are_marked_and_only_once() {
    let gvk = json!({ "group": "g.example.com", "version": "v1", "kind": "Thing" });
    let twice = json!({ "type": "object", "x-kubernetes-group-version-kind": [gvk] });
    one(&v3(twice), "/components/schemas/Thing", "as is S");

    let mut document = v3(json!({}));
    document["components"]["schemas"]["Thing"]
        .as_object_mut()
        .unwrap()
        .remove("x-kubernetes-group-version-kind");
    one(&document, "/components/schemas/Thing", "\"kind\": \"Thing\"");

    let mut document = v3(json!({}));
    document["paths"][PATH]["post"].as_object_mut().unwrap().remove("x-kubernetes-group-version-kind");
    one(&document, "/paths/~1apis~1g.example.com~1v1~1things/post", "the action post of no kind");

    // Of another group many may be there: DeleteOptions, Scale.
    let mut document = v3(json!({ "type": "object", "x-kubernetes-group-version-kind": [
        { "group": "", "version": "v1", "kind": "DeleteOptions" },
        { "group": "g.example.com", "version": "v1", "kind": "DeleteOptions" },
    ] }));
    assert!(faults(&document).is_empty());
    // A subresource answers what it likes.
    let operation = document["paths"][PATH]["post"].clone();
    document["paths"][format!("{PATH}/{{name}}/log")] = json!({ "get": operation });
    document["paths"][format!("{PATH}/{{name}}/log")]["get"]["responses"] =
        document["paths"][PATH]["get"]["responses"].clone();
    assert!(faults(&document).is_empty());
}

#[test]
fn names_are_there_once() {
    let text = serde_json::to_string(&v3(json!({ "type": "object" }))).unwrap();
    let twice = text.replace("\"S\":{", "\"S\":{\"type\":\"object\"},\"S\":{");
    let faults = accept_v3(twice.as_bytes(), "g.example.com", "v1").unwrap_err();
    assert_eq!(faults[0].to_string(), "/components/schemas/S: is there twice; leave one of them out");
    assert_eq!(faults.len(), 1);
    let elsewhere = text.replace("\"schemas\":{", "\"schemas\":{\"Unused\":{},\"Unused\":{},");
    assert!(
        accept_v3(elsewhere.as_bytes(), "g.example.com", "v1").is_ok(),
        "what is cut off may be as it likes"
    );

    let mut document = v3(json!({}));
    let parameter = json!({ "name": "limit", "in": "query", "schema": { "type": "integer" } });
    document["paths"][PATH]["get"]["parameters"] = json!([parameter, parameter]);
    one(&document, "/paths/~1apis~1g.example.com~1v1~1things/get/parameters/1", "twice");
}

#[test]
fn what_is_no_document_is_a_fault_and_no_panic() {
    for text in ["", "[]", "null", "3", "{}", "{\"openapi\":\"3.1.0\"}", "{\"swagger\":\"2.0\"}", "<html>"] {
        assert!(accept_v3(text.as_bytes(), "g", "v1").is_err(), "{text}");
    }
    for text in ["", "[]", "{}", "{\"openapi\":\"3.0.0\"}"] {
        assert!(accept_v2(text.as_bytes(), "g", "v1").is_err(), "{text}");
    }
    let odd = r#"{"openapi":"3.0.0","paths":[],"components":{"schemas":[1]}}"#;
    let faults = accept_v3(odd.as_bytes(), "g", "v1").unwrap_err();
    assert!(faults.iter().any(|fault| fault.pointer == "/paths"), "{faults:?}");
    let empty = accept_v3(br#"{"openapi":"3.0.0","info":{}}"#, "g", "v1").unwrap();
    assert!(empty.is_empty(), "nothing said is no fault");
    let many: Vec<String> = (0..500).map(|n| format!("\"p{n}\":{{\"type\":\"x\"}}")).collect();
    let schema: Value =
        serde_json::from_str(&format!("{{\"type\":\"object\",\"properties\":{{{}}}}}", many.join(",")))
            .unwrap();
    assert_eq!(faults_len(&v3(schema)), 50);
}

fn faults_len(document: &Value) -> usize {
    faults(document).len()
}

#[test]
fn version_2_is_cut_and_linted_too() {
    let document = json!({
        "swagger": "2.0", "info": {},
        "paths": {
            PATH: { "get": {
                "parameters": [{ "$ref": "#/parameters/pretty" }],
                "responses": { "200": { "description": "OK", "schema": { "$ref": "#/definitions/A" } } },
            } },
            "/apis/g.example.com/v2/things": { "get": { "responses": { "200": {
                "description": "OK", "schema": { "$ref": "#/definitions/B" } } } } },
        },
        "parameters": { "pretty": { "name": "pretty", "in": "query", "type": "string" },
                        "other": { "name": "other", "in": "query", "type": "string" } },
        "definitions": { "A": { "type": "object" }, "B": { "type": "array" } },
    });
    let text = serde_json::to_vec(&document).unwrap();
    let good = accept_v2(&text, "g.example.com", "v1").unwrap();
    let written: Value = serde_json::from_slice(&good.to_bytes()).unwrap();
    assert_eq!(written["definitions"], json!({ "A": { "type": "object" } }));
    assert_eq!(written["parameters"].as_object().unwrap().len(), 1);
    let bad = accept_v2(&text, "g.example.com", "v2").unwrap_err();
    assert_eq!(bad[0].pointer, "/definitions/B");
    let claims = ["v1", "v2", "v3"].map(|version| ("g.example.com".to_owned(), version.to_owned()));
    let each = accept_v2_each(&text, &claims).unwrap();
    assert_eq!(each[0], Ok(good));
    assert_eq!(each[1], Err(bad));
    assert!(each[2].as_ref().unwrap().is_empty());
}

fn anything() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "openapi",
        "swagger",
        "paths",
        "components",
        "schemas",
        "definitions",
        "parameters",
        "responses",
        "properties",
        "items",
        "additionalProperties",
        "allOf",
        "type",
        "$ref",
        "get",
        "post",
        "content",
        "schema",
        "x-kubernetes-group-version-kind",
        "x-kubernetes-action",
        "requestBody",
        "in",
        "name",
        "A",
        PATH,
        "200",
        "required",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "3.0.0",
            "2.0",
            "object",
            "array",
            "#/components/schemas/A",
            "#/definitions/A",
            "#/parameters/A",
            "#",
            "",
            "body",
            "get",
            "list",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|entries| {
                entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn strange_documents_do_not_panic(mut document in anything(), paths in anything(), schemas in anything()) {
        if let Some(document) = document.as_object_mut() {
            document.insert("openapi".into(), "3.0.0".into());
            document.insert("swagger".into(), "2.0".into());
            document.insert("paths".into(), json!({ PATH: paths }));
            document.insert("components".into(), json!({ "schemas": { "A": schemas } }));
            document.insert("definitions".into(), json!({ "A": schemas }));
        }
        let text = serde_json::to_vec(&document).unwrap();
        if let Ok(v3) = accept_v3(&text, "g.example.com", "v1") {
            super::resolves(&super::value(v3.json()));
            super::resolves(&super::value(&super::V2Document::from_v3(&v3).to_bytes()));
        }
        if let Ok(v2) = accept_v2(&text, "g.example.com", "v1") {
            let json = v2.to_bytes();
            super::resolves(&super::value(&json));
            super::resolves(&super::value(super::V3Document::from_v2(&v2).json()));
            super::openapi_doc::protobuf_v2(&json);
        }
    }
}
