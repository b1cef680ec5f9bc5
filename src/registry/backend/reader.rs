//! Backends in JSON: of a cluster, and in manifests.

use kube::api::DynamicObject;
use kubridge_bridge::{caller::FieldViolation, proto::ObjectMeta, transcode::MessageType};
use prost::Message as _;
use serde_json::Value;

use super::{BACKENDS, Declared, validation};
use crate::registry::{
    own_kinds,
    proto::backend::{Backend, BackendStatus},
};

/// Reads Backends that are JSON.
#[derive(Debug, Clone)]
pub struct BackendReader {
    /// How a Backend is written in JSON.
    message: MessageType,
}

impl Default for BackendReader {
    fn default() -> Self {
        let kinds = own_kinds().expect("the built-in APIs have no faults");
        let mut resources = kinds.apis.iter().flat_map(|api| &api.resources);
        let backend = resources.find(|resource| resource.kind == BACKENDS.kind);
        Self { message: backend.expect("Backend is one of our own kinds").message.clone() }
    }
}

impl BackendReader {
    /// What an object of a cluster says. What it refers to is not looked up.
    ///
    /// # Errors
    /// It is no Backend. The text is for the log, and names the mend.
    pub fn read(&self, object: &DynamicObject) -> Result<Declared, String> {
        let json = serde_json::to_vec(object).expect("what came as JSON is written as JSON");
        let read = self.message.from_json(&json).map_err(|error| error.to_string());
        let read = read.and_then(|parsed| Backend::decode(&*parsed.wire).map_err(|error| error.to_string()));
        read.map(super::read).map_err(|error| {
            format!(
                "{error}; is its CustomResourceDefinition that of this version (deploy/manifests/crd.yaml)?"
            )
        })
    }

    /// What a manifest says, for our own store.
    ///
    /// # Errors
    /// Every fault of it.
    pub fn manifest(&self, document: &Value) -> Result<Backend, String> {
        let parsed =
            self.message.from_json(document.to_string().as_bytes()).map_err(|error| error.to_string())?;
        if !parsed.unknown.is_empty() {
            return Err(format!("there is no {}", parsed.unknown.join(", no ")));
        }
        let backend = Backend::decode(&*parsed.wire).map_err(|error| error.to_string())?;
        let Some(ObjectMeta { name, labels, annotations, .. }) = backend.metadata else {
            return Err("metadata.name is missing".to_owned());
        };
        let metadata = Some(ObjectMeta { name, labels, annotations, ..ObjectMeta::default() });
        // A manifest may be what `kubectl get -o yaml` printed.
        let backend = Backend { metadata, spec: backend.spec, status: None };
        let mut faults = validation::named(&backend);
        faults.extend(validation::standalone(&backend));
        if faults.is_empty() {
            return Ok(backend);
        }
        Err(FieldViolation::joined(&faults))
    }

    /// A status as a cluster is told it.
    ///
    /// # Errors
    /// None that a status of ours can have.
    pub fn status(&self, status: &BackendStatus) -> Result<Value, String> {
        let object = Backend { status: Some(status.clone()), ..Backend::default() }.encode_to_vec();
        let mut json = Vec::new();
        self.message.to_json(&object, None, &mut json).map_err(|error| error.to_string())?;
        let mut object: Value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        Ok(object["status"].take())
    }
}
