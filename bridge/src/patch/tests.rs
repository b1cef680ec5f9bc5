#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::status::golden;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json; charset=utf-8";

fn flunder() -> Vec<u8> {
    json!({"kind": "Flunder", "metadata": {"name": "a", "labels": {"t": "1", "m": "2"}},
           "spec": {"reference": "other", "list": [1, 2, 3], "a/b": 1}})
    .to_string()
    .into_bytes()
}

fn patched(content_type: &str, patch: &Value) -> Result<Value, ApiError> {
    let out = apply(content_type, &flunder(), patch.to_string().as_bytes())?;
    Ok(serde_json::from_slice(&out).unwrap())
}

#[test]
fn patches_apply() {
    for (content_type, patch, pointer, want) in [
        (MERGE, json!({"spec": {"reference": "x"}}), "/spec/reference", json!("x")),
        (MERGE, json!({"metadata": {"labels": {"m": null}}}), "/metadata/labels", json!({"t": "1"})),
        (MERGE, json!({"spec": {"list": [9]}}), "/spec/list", json!([9])),
        (MERGE, json!({}), "/spec/reference", json!("other")),
        (
            JSON,
            json!([{"op": "replace", "path": "/spec/reference", "value": "jp"}]),
            "/spec/reference",
            json!("jp"),
        ),
        (JSON, json!([{"op": "replace", "path": "/spec/nope", "value": 1}]), "/spec/nope", json!(1)),
        (JSON, json!([{"op": "add", "path": "/spec/list/-", "value": 4}]), "/spec/list/3", json!(4)),
        (JSON, json!([{"op": "remove", "path": "/spec/a~1b"}]), "/spec/list", json!([1, 2, 3])),
        (
            JSON,
            json!([{"op": "copy", "from": "/spec/list", "path": "/spec/two"}]),
            "/spec/two",
            json!([1, 2, 3]),
        ),
        (JSON, json!([{"op": "move", "from": "/spec/list/0", "path": "/spec/one"}]), "/spec/one", json!(1)),
        (JSON, json!([]), "/spec/reference", json!("other")),
    ] {
        let out = patched(content_type, &patch).unwrap();
        assert_eq!(out.pointer(pointer), Some(&want), "{patch}");
    }
}

#[test]
fn refused_as_kube_apiserver_does() {
    let too_many: Vec<Value> =
        (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "Flunder"})).collect();
    for (file, content_type, patch) in [
        (
            "128-patch-json-test-failed",
            JSON,
            json!([{"op": "test", "path": "/spec/reference", "value": "x"}]),
        ),
        ("129-patch-json-missing-path", JSON, json!([{"op": "remove", "path": "/spec/nope"}])),
        ("132-patch-json-bad-op", JSON, json!([{"op": "frob", "path": "/x"}])),
        ("134-patch-json-too-many-ops", JSON, Value::Array(too_many)),
        ("136-patch-merge-array", MERGE, json!([1])),
    ] {
        let error = patched(content_type, &patch).unwrap_err();
        assert_eq!(*error.status, golden(file), "{file}");
    }
    for (file, content_type) in [("133-patch-json-garbage", JSON), ("135-patch-merge-garbage", MERGE)] {
        let (error, want) = (apply(content_type, &flunder(), b"not json").unwrap_err(), golden(file));
        assert_eq!((error.status.code, &error.status.reason), (want.code, &want.reason));
        assert!(error.status.message.starts_with("error decoding patch: "));
    }
    let error = apply("application/json", &flunder(), b"{}").unwrap_err();
    assert_eq!(error.status.code, golden("143-patch-415").code);
    assert_eq!(
        error.status.message,
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json"
    );
}

#[test]
fn what_would_not_be_an_object_is_refused() {
    for patch in [
        json!([{"op": "replace", "path": "", "value": 1}]),
        json!([{"op": "replace", "path": "/spec/list/7", "value": 1}]),
        json!([{"op": "add", "path": "/spec/nope/x", "value": 1}]),
        json!([{"op": "add", "path": "no-slash", "value": 1}]),
        json!([{"op": "add", "path": "/x"}]),
    ] {
        assert_eq!(patched(JSON, &patch).unwrap_err().code().as_u16(), 422, "{patch}");
    }
    assert_eq!(patched(JSON, &json!({})).unwrap_err().code().as_u16(), 400);
}

#[test]
fn no_patch_makes_an_object_too_large_or_too_deep() {
    let mut doubling = vec![json!({"op": "add", "path": "/spec/x", "value": ["0123456789"]})];
    doubling.extend((0..60).map(|_| json!({"op": "copy", "from": "/spec/x", "path": "/spec/x/-"})));
    let error = patched(JSON, &Value::Array(doubling)).unwrap_err();
    assert!(matches!(error.code().as_u16(), 400 | 413), "{error}");
    let wide: Vec<Value> = (0..9_000)
        .map(|i| json!({"op": "copy", "from": "/spec", "path": format!("/spec{i}")}))
        .chain((0..900).map(|i| json!({"op": "copy", "from": "", "path": format!("/all{i}")})))
        .collect();
    assert_eq!(patched(JSON, &Value::Array(wide)).unwrap_err().code().as_u16(), 413);
    let path = (0..101).map(|_| "/a").collect::<String>();
    let mut deep: Vec<Value> =
        (1..=101).map(|i| json!({"op": "add", "path": path[..2 * i], "value": {}})).collect();
    assert_eq!(patched(JSON, &Value::Array(deep.clone())).unwrap_err().code().as_u16(), 400);
    deep.truncate(90);
    patched(JSON, &Value::Array(deep)).unwrap();
}
