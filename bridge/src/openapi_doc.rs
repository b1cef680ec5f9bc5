//! The model -> OpenAPI documents: v3 for each group and version, the v3 index, and a minimal v2.
//!
//! Made once for each schema. Only what is served is described: kubectl reads the kinds and the media
//! types of PATCH from here to decide how to explain, validate and apply.

mod components;
mod fixed;
mod operations;

use serde_json::{Value, json};

use crate::{model::Api, wire::put_bytes};

/// The OpenAPI v3 document of one group and version, as JSON.
///
/// Described are the kinds, their lists, everything that they reach, and every path and operation.
pub fn document(api: &Api) -> Vec<u8> {
    let mut components = components::Components::new(api);
    let paths = operations::paths(api, &mut components);
    bytes(&json!({
        "openapi": "3.0.0",
        "info": { "title": title(api), "version": api.version },
        "paths": paths,
        "components": { "schemas": components.into_schemas() },
    }))
}

/// The index at `/openapi/v3`: the path of each document without its first slash
/// ("apis/inventory.example.com/v1") and the document's [`crate::discovery_doc::hash`].
pub fn index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let paths: serde_json::Map<String, Value> = documents
        .into_iter()
        .map(|(path, hash)| {
            (path.to_owned(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }))
        })
        .collect();
    bytes(&json!({ "paths": paths }))
}

/// "apis/inventory.example.com/v1", or "api/v1" in the core group: where a document stands below `/openapi/v3/`.
pub fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// A valid `/openapi/v2` that describes nothing: clients that can read v3 do not ask for more.
pub fn v2(server_version: &str) -> Vec<u8> {
    bytes(&json!({
        "swagger": "2.0",
        "info": { "title": "Kubridge", "version": server_version },
        "paths": {},
        "definitions": {},
    }))
}

/// The same document in gnostic's protobuf (`openapi.v2.Document`), which is what client-go asks for.
pub fn v2_protobuf(server_version: &str) -> Vec<u8> {
    let mut info = Vec::new();
    put_bytes(&mut info, 1, b"Kubridge");
    put_bytes(&mut info, 2, server_version.as_bytes());
    let mut document = Vec::new();
    put_bytes(&mut document, 1, b"2.0");
    put_bytes(&mut document, 2, &info);
    put_bytes(&mut document, 8, b""); // paths
    put_bytes(&mut document, 9, b""); // definitions
    document
}

fn title(api: &Api) -> &str {
    if api.group.is_empty() { "core" } else { &api.group }
}

fn bytes(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).expect("a JSON value with string keys always serialises")
}
