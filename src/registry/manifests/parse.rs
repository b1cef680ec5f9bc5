//! A manifest's text -> APIServices.

use std::{collections::HashMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kubridge_bridge::proto::ObjectMeta;
use serde::{Deserialize, de::IgnoredAny};

use crate::registry::{
    proto::apiregistration::{ApiService, ApiServiceSpec, ServiceReference},
    validation::validate,
};

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFault {
    /// The line, from 1, where it is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The APIServices of a manifest: one or more YAML documents, or JSON (which is YAML). All of them, or the first fault.
pub fn parse(text: &[u8]) -> Result<Vec<ApiService>, FileFault> {
    let text = std::str::from_utf8(text)
        .map_err(|error| FileFault { line: None, message: format!("not UTF-8: {error}") })?;
    let documents: Vec<Document> = serde_saphyr::from_multiple(text).map_err(|error| FileFault {
        line: error.location().map(|location| location.line()),
        message: error.to_string(),
    })?;
    let mut services: Vec<ApiService> = Vec::with_capacity(documents.len());
    for document in documents {
        let name = document.metadata.name.clone();
        let fault =
            |message: String| FileFault { line: None, message: format!("APIService {name:?}: {message}") };
        let service = document.read().map_err(fault)?;
        let faults = validate(&service);
        if !faults.is_empty() {
            let faults: Vec<String> =
                faults.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
            return Err(fault(faults.join("; ")));
        }
        if services.iter().any(|other| other.metadata.as_ref().is_some_and(|metadata| metadata.name == name))
        {
            return Err(fault("it is there twice".into()));
        }
        services.push(service);
    }
    Ok(services)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
    // What the server writes: a manifest may be what `kubectl get -o yaml` printed.
    #[serde(default, rename = "status")]
    _status: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    service: Option<Service>,
    #[serde(default)]
    group: String,
    version: String,
    #[serde(default, rename = "insecureSkipTLSVerify")]
    insecure_skip_tls_verify: bool,
    #[serde(default)]
    ca_bundle: Option<String>,
    group_priority_minimum: i32,
    version_priority: i32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    port: Option<i32>,
}

impl Document {
    fn read(self) -> Result<ApiService, String> {
        if self.api_version != "apiregistration.k8s.io/v1" || self.kind != "APIService" {
            return Err(format!(
                "it is a {} of {}: only APIService of apiregistration.k8s.io/v1 belongs here",
                self.kind, self.api_version
            ));
        }
        let ca_bundle = STANDARD
            .decode(self.spec.ca_bundle.unwrap_or_default().replace(['\n', '\r'], ""))
            .map_err(|error| format!("spec.caBundle: not base64: {error}"))?;
        Ok(ApiService {
            metadata: Some(ObjectMeta {
                name: self.metadata.name,
                labels: self.metadata.labels.unwrap_or_default(),
                annotations: self.metadata.annotations.unwrap_or_default(),
                ..Default::default()
            }),
            spec: Some(ApiServiceSpec {
                service: self.spec.service.map(|service| ServiceReference {
                    namespace: service.namespace,
                    name: service.name,
                    port: service.port,
                }),
                group: self.spec.group,
                version: self.spec.version,
                insecure_skip_tls_verify: self.spec.insecure_skip_tls_verify,
                ca_bundle,
                group_priority_minimum: self.spec.group_priority_minimum,
                version_priority: self.spec.version_priority,
            }),
            status: None,
        })
    }
}
