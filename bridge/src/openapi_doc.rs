//! OpenAPI documents: from the model, or as other servers wrote them; v3 for each group and version, the v3 index, and
//! v2, which is one for all.
//!
//! Made once for each schema. Only what is served is described: kubectl reads the kinds and the media
//! types of PATCH from here to decide how to explain, validate and apply.

mod accept;
mod components;
mod convert;
mod discovered;
mod documents;
mod fixed;
mod json;
mod lint;
mod merge;
mod operations;
mod parts;
mod protobuf;
mod refs;
mod structural;

use serde_json::{Value, json};

use crate::model::Api;

pub use accept::{accept_v2, accept_v2_each, accept_v2_whole, accept_v3, accept_v3_at};
pub use documents::{V2Document, V3Document};
pub use lint::Fault;
pub use merge::merge;
pub use protobuf::protobuf_v2;
pub use structural::structural;

use lint::MAX_FAULTS;

/// The OpenAPI v3 document of one group and version, as JSON.
///
/// Described are the kinds, their lists, everything that they reach, and every path and operation.
pub fn document(api: &Api) -> Vec<u8> {
    bytes(&document_value(api))
}

pub(crate) fn document_value(api: &Api) -> Value {
    let mut components = components::Components::new(api);
    let paths = operations::paths(api, &mut components);
    json!({
        "openapi": "3.0.0",
        "info": { "title": title(api), "version": api.version },
        "paths": paths,
        "components": { "schemas": components.into_schemas() },
    })
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

fn title(api: &Api) -> &str {
    if api.group.is_empty() { "core" } else { &api.group }
}

fn bytes(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).expect("a JSON value with string keys always serialises")
}
