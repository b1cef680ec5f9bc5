//! One OpenAPI document, v3 or v2, that is fit to be published.

use bytes::Bytes;
use serde_json::Value;

use super::{Fault, accept, convert, discovered, json, parts::Parts};
use crate::{discovery_doc::VersionDocument, model::Api};

/// The OpenAPI v3 document of one group and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V3Document {
    json: Bytes,
}

/// The OpenAPI v2 document of one group and version, taken apart so that it can be merged with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct V2Document {
    pub(super) parts: Parts,
}

impl V3Document {
    pub(super) fn new(document: &Value) -> Self {
        Self { json: super::bytes(document).into() }
    }

    /// What our own schema says.
    pub fn of_schema(api: &Api) -> Self {
        Self { json: super::document(api).into() }
    }

    /// For a server that has no OpenAPI at all: what discovery says of a group and version. `key` is its place below
    /// `/openapi/v3/`, "apis/inventory.example.com/v1".
    pub fn of_discovery(key: &str, document: &VersionDocument) -> Self {
        Self::new(&discovered::document(key, document))
    }

    /// For a server that has no v3: what its v2 document says of the group and version.
    pub fn from_v2(document: &V2Document) -> Self {
        Self::new(&convert::v3_from_v2(&document.to_value()))
    }

    /// The document as it is served: JSON.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// For the disk: JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.json.to_vec()
    }

    /// From the disk.
    ///
    /// # Errors
    /// The bytes are no JSON.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        json::parse(bytes, &mut Vec::new())?;
        Ok(Self { json: Bytes::copy_from_slice(bytes) })
    }

    /// Whether it describes no path: the server has the document, and says nothing in it.
    pub fn is_empty(&self) -> bool {
        self.value().get("paths").and_then(Value::as_object).is_none_or(|paths| paths.is_empty())
    }

    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
}

impl V2Document {
    pub(super) fn new(document: Value) -> Self {
        Self { parts: Parts::new(document) }
    }

    /// What our own schema says.
    pub fn of_schema(api: &Api) -> Self {
        Self::new(convert::v2_from_v3(&super::document_value(api)))
    }

    /// For a server that has no v2.
    pub fn from_v3(document: &V3Document) -> Self {
        Self::new(convert::v2_from_v3(&document.value()))
    }

    /// The document as it is served at `/openapi/v2`: JSON.
    pub fn to_json(&self, server_version: &str) -> Vec<u8> {
        self.parts.to_json("Kubridge", server_version)
    }

    /// Without the paths below these keys ("apis/inventory.example.com/v1"), and without what only they use.
    pub fn without(&self, keys: &[&str]) -> Self {
        let mut parts = self.parts.clone();
        parts.paths.retain(|path, _| !keys.iter().any(|key| !key.is_empty() && accept::is_below(path, key)));
        parts.keep_reached();
        Self { parts }
    }

    /// For the disk: JSON, a valid OpenAPI v2 document.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.parts.to_json("Kubridge", "")
    }

    /// From the disk.
    ///
    /// # Errors
    /// The bytes are no JSON.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        Ok(Self::new(json::parse(bytes, &mut Vec::new())?))
    }

    /// Whether it describes no path: the server has the document, and says nothing in it.
    pub fn is_empty(&self) -> bool {
        self.parts.paths.is_empty()
    }

    pub(super) fn to_value(&self) -> Value {
        serde_json::from_slice(&self.to_bytes()).unwrap_or_default()
    }
}
