//! Kubernetes' rules of merging v2 documents.

use kubridge_bridge::openapi_doc::{V2Document, accept_v2_whole, merge};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{keys, resolves, value};

/// Paths, each answering a definition; definitions.
#[expect(clippy::needless_pass_by_value, reason = "callers write json!")]
fn document(paths: &[(&str, &str)], definitions: Value) -> V2Document {
    let paths: Map<String, Value> = paths
        .iter()
        .map(|(path, definition)| {
            let schema = json!({ "$ref": format!("#/definitions/{definition}") });
            let get = json!({ "responses": { "200": { "description": "OK", "schema": schema } } });
            ((*path).to_owned(), json!({ "get": get }))
        })
        .collect();
    let document = json!({ "swagger": "2.0", "info": {}, "paths": paths, "definitions": definitions });
    accept_v2_whole(&serde_json::to_vec(&document).unwrap()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn merged(documents: &[&V2Document]) -> Value {
    let document = value(&merge(documents.iter().copied()).to_bytes());
    resolves(&document);
    document
}

fn answer<'a>(document: &'a Value, path: &str) -> &'a str {
    document["paths"][path]["get"]["responses"]["200"]["schema"]["$ref"].as_str().unwrap()
}

#[test]
fn the_earlier_path_wins_and_the_other_goes_with_what_only_it_used() {
    let a = document(&[("/a", "A")], json!({ "A": { "type": "object", "description": "first" } }));
    let b = document(
        &[("/a", "Old"), ("/b", "B")],
        json!({ "Old": { "type": "object" }, "B": { "type": "object" } }),
    );
    let both = merged(&[&a, &b]);
    assert_eq!(keys(&both["paths"]), ["/a", "/b"]);
    assert_eq!(keys(&both["definitions"]), ["A", "B"]);
    assert_eq!(both["definitions"]["A"]["description"], "first");
}

#[test]
fn what_is_equal_but_for_its_kinds_is_one_and_has_all_kinds() {
    let kind = |group: &str| json!({ "group": group, "version": "v1", "kind": "DeleteOptions" });
    let of = |path: &str, kinds: &[Value]| {
        let options = json!({ "type": "object", "x-kubernetes-group-version-kind": kinds });
        document(&[(path, "DeleteOptions")], json!({ "DeleteOptions": options }))
    };
    let both = merged(&[&of("/a", &[kind("b"), kind("")]), &of("/b", &[kind("a"), kind("b")])]);
    assert_eq!(keys(&both["definitions"]), ["DeleteOptions"]);
    assert_eq!(
        both["definitions"]["DeleteOptions"]["x-kubernetes-group-version-kind"],
        json!([kind(""), kind("a"), kind("b")])
    );
    let none = document(&[("/c", "DeleteOptions")], json!({ "DeleteOptions": { "type": "object" } }));
    assert_eq!(keys(&merged(&[&none, &of("/a", &[kind("a")])])["definitions"]), ["DeleteOptions"]);
}

#[test]
fn what_is_different_gets_another_name() {
    let of = |path: &str, text: &str| {
        document(
            &[(path, "List")],
            json!({
                "List": { "type": "array", "items": { "$ref": "#/definitions/Meta" } },
                "Meta": { "type": "object", "description": text, "properties": { "more": { "$ref": "#/definitions/Meta" } } },
            }),
        )
    };
    let both = merged(&[
        &of("/a", "old"),
        &of("/b", "new"),
        &of("/c", "old"),
        &of("/d", "new"),
        &of("/e", "newest"),
    ]);
    assert_eq!(keys(&both["definitions"]), ["List", "Meta", "Meta_v2", "Meta_v3"]);
    assert_eq!(both["definitions"]["Meta_v2"]["properties"]["more"]["$ref"], "#/definitions/Meta_v2");
    assert_eq!(both["definitions"]["Meta_v3"]["description"], "newest");
}

#[test]
fn an_earlier_new_name_is_used_again() {
    let of = |path: &str, text: &str| {
        document(
            &[(path, "Thing")],
            json!({
                "Thing": { "type": "object", "description": text, "properties": { "meta": { "$ref": "#/definitions/Meta" } } },
                "Meta": { "type": "object", "description": text },
            }),
        )
    };
    let all = merged(&[&of("/a", "1"), &of("/b", "2"), &of("/c", "2"), &of("/d", "2")]);
    assert_eq!(keys(&all["definitions"]), ["Meta", "Meta_v2", "Thing", "Thing_v2"]);
    for path in ["/b", "/c", "/d"] {
        assert_eq!(answer(&all, path), "#/definitions/Thing_v2");
    }
    assert_eq!(all["definitions"]["Thing_v2"]["properties"]["meta"]["$ref"], "#/definitions/Meta_v2");
}

#[test]
fn a_new_name_is_not_one_that_somebody_has() {
    let a = document(&[("/a", "X")], json!({ "X": { "type": "object", "description": "a" } }));
    let b = document(
        &[("/b", "X"), ("/c", "X_v2")],
        json!({ "X": { "type": "object", "description": "b" }, "X_v2": { "type": "string" } }),
    );
    let both = merged(&[&a, &b]);
    assert_eq!(keys(&both["definitions"]), ["X", "X_v2", "X_v3"]);
    assert_eq!((answer(&both, "/b"), answer(&both, "/c")), ("#/definitions/X_v3", "#/definitions/X_v2"));
}

#[test]
fn parameters_are_as_definitions() {
    let of = |path: &str, kind: &str| {
        let document = json!({
            "swagger": "2.0", "info": {},
            "paths": { path: { "parameters": [{ "$ref": "#/parameters/pretty" }], "get": { "responses": {} } } },
            "parameters": { "pretty": { "name": "pretty", "in": "query", "type": kind } },
        });
        accept_v2_whole(&serde_json::to_vec(&document).unwrap()).unwrap()
    };
    let all = merged(&[&of("/a", "string"), &of("/b", "boolean"), &of("/c", "string"), &of("/d", "boolean")]);
    assert_eq!(keys(&all["parameters"]), ["pretty", "pretty_v2"]);
    assert_eq!(all["paths"]["/d"]["parameters"][0]["$ref"], "#/parameters/pretty_v2");
}

/// Small documents that have much in common.
fn some() -> impl Strategy<Value = V2Document> {
    const NAMES: [&str; 4] = ["A", "B", "C", "A_v2"];
    let definition = (0..3_usize, prop::collection::vec(0..NAMES.len(), 0..3)).prop_map(|(text, refs)| {
        let properties: Map<String, Value> = refs
            .iter()
            .map(|at| (format!("p{at}"), json!({ "$ref": format!("#/definitions/{}", NAMES[*at]) })))
            .collect();
        json!({ "type": "object", "description": format!("{text}"), "properties": properties,
                "x-kubernetes-group-version-kind": [{ "group": "g", "version": "v1", "kind": format!("K{text}") }] })
    });
    let definitions = prop::collection::vec(definition, NAMES.len());
    let paths = prop::collection::vec((0..6_usize, 0..NAMES.len()), 0..4);
    (paths, definitions).prop_map(|(paths, definitions)| {
        let paths: Vec<(String, &str)> =
            paths.iter().map(|(path, name)| (format!("/{path}"), NAMES[*name])).collect();
        let paths: Vec<(&str, &str)> = paths.iter().map(|(path, name)| (path.as_str(), *name)).collect();
        let definitions: Map<String, Value> = NAMES
            .iter()
            .zip(definitions)
            .map(|(name, definition)| ((*name).to_owned(), definition))
            .collect();
        document(&paths, definitions.into())
    })
}

/// What a path answers, with all that it refers to in place, so deep.
fn expanded(document: &Value, schema: &Value, depth: usize) -> Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) if depth > 0 => {
            let target = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
            let properties: Map<String, Value> = target["properties"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, schema)| (name.clone(), expanded(document, schema, depth - 1)))
                .collect();
            json!({ "description": target["description"], "properties": properties })
        }
        _ => Value::Null,
    }
}

proptest! {
    #[test]
    fn all_paths_are_there_with_what_they_refer_to(documents in prop::collection::vec(some(), 0..6)) {
        let all: Vec<&V2Document> = documents.iter().collect();
        let document = merged(&all);
        prop_assert_eq!(&document, &merged(&all), "the same of the same");
        for path in keys(&document["paths"]) {
            let first = documents.iter().map(|one| value(&one.to_bytes())).find(|one| !one["paths"][path].is_null());
            let first = first.unwrap();
            // The definition that a path names is its own; what that refers to is equal by name, as in Kubernetes.
            let schema = |document: &Value| {
                let schema = &document["paths"][path]["get"]["responses"]["200"]["schema"];
                expanded(document, schema, 1)["description"].clone()
            };
            prop_assert_eq!(schema(&document), schema(&first), "{}", path);
        }
        let again = merge([&merge(all.iter().copied()), &merge(all.iter().copied())]);
        prop_assert_eq!(value(&again.to_bytes()), document, "a document merged with itself is itself");
    }
}
