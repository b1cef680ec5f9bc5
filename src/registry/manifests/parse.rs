//! A manifest's text -> APIServices, Backends and Mappings.

use std::{collections::HashMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kubridge_bridge::{caller::FieldViolation, mapping::MappingFile, proto::ObjectMeta};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::registry::{
    backend::{API_VERSION, BackendReader},
    proto::{
        apiregistration::{ApiService, ApiServiceSpec, ServiceReference},
        backend::Backend,
    },
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

/// What a manifest says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    /// Its APIServices.
    pub services: Vec<ApiService>,
    /// Its Backends.
    pub backends: Vec<Backend>,
    /// Its Mappings. Their file has no name yet.
    pub mappings: Vec<MappingFile>,
}

/// What a manifest says: one or more YAML documents, or JSON (which is YAML). All of it, or the first fault.
pub fn parse(text: &[u8]) -> Result<Manifest, FileFault> {
    let text = std::str::from_utf8(text)
        .map_err(|error| FileFault { line: None, message: format!("not UTF-8: {error}") })?;
    let mut manifest = Manifest::default();
    let documents: Vec<(String, Of)> = documents(text)
        .into_iter()
        .map(|document| {
            let of = Of::text(&document);
            (document, of)
        })
        .collect();
    if documents.iter().all(|(_, of)| *of == Of::Other) {
        manifest.services = api_services(text, &[])?;
        return Ok(manifest);
    }
    for (document, of) in &documents {
        match of {
            Of::Mapping => manifest.mappings.extend(mappings(document, &manifest.mappings)?),
            Of::Backend => manifest.backends.extend(backends(document, &manifest.backends)?),
            Of::Other => manifest.services.extend(api_services(document, &manifest.services)?),
        }
    }
    Ok(manifest)
}

/// What a document is, or is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Mapping,
    Backend,
    /// An APIService, or a fault.
    Other,
}

impl Of {
    /// What is no YAML is something else.
    fn text(text: &str) -> Self {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_default();
        let is = |document: &Value| {
            let ours =
                document["apiVersion"].as_str().is_some_and(|version| version.starts_with("kubridge.io/"));
            match document["kind"].as_str() {
                Some("Backend") => Self::Backend,
                Some("Mapping") => Self::Mapping,
                _ if ours => Self::Mapping,
                _ => Self::Other,
            }
        };
        documents.iter().map(is).find(|of| *of != Self::Other).unwrap_or(Self::Other)
    }
}

/// The documents of a text, each as many lines down as it was. (A line that begins with `---` ends a document wherever
/// it stands, in strings too.)
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marks = line.strip_prefix("---").is_some_and(|rest| rest.trim_start() != rest || rest.is_empty());
        if marks {
            documents.push("\n".repeat(number));
        }
        if let Some(last) = documents.last_mut() {
            last.push_str(line);
        }
    }
    documents
}

/// The Mappings of a text that has nothing else. `before`: those of the same file.
fn mappings(text: &str, before: &[MappingFile]) -> Result<Vec<MappingFile>, FileFault> {
    let line = text.lines().position(|line| !line.is_empty() && !line.starts_with("---"));
    let line = line.map(|line| line as u64 + 1);
    let read = MappingFile::read("", text).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        FileFault { line, message: format!("Mapping: {}", faults.join("; ")) }
    })?;
    for (index, mapping) in read.iter().enumerate() {
        let name = &mapping.metadata.name;
        if before.iter().chain(&read[..index]).any(|other| other.metadata.name == *name) {
            let fault = |message: &str| FileFault { line, message: format!("Mapping {name:?}: {message}") };
            return Err(fault("it is there twice"));
        }
    }
    Ok(read)
}

/// The Backends of a text that has nothing else. `before`: those of the same file.
fn backends(text: &str, before: &[Backend]) -> Result<Vec<Backend>, FileFault> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| FileFault {
        line: error.location().map(|location| location.line()),
        message: error.to_string(),
    })?;
    let reader = BackendReader::default();
    let mut backends: Vec<Backend> = Vec::with_capacity(documents.len());
    for document in documents {
        let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let fault =
            |message: String| FileFault { line: None, message: format!("Backend {name:?}: {message}") };
        if document["apiVersion"] != API_VERSION {
            return Err(fault(format!("its apiVersion is {}: write {API_VERSION}", document["apiVersion"])));
        }
        let backend = reader.manifest(&document).map_err(fault)?;
        let is_same = |other: &Backend| other.metadata.as_ref().is_some_and(|metadata| metadata.name == name);
        if before.iter().chain(&backends).any(is_same) {
            return Err(fault("it is there twice".into()));
        }
        backends.push(backend);
    }
    Ok(backends)
}

/// The APIServices of a text that has nothing else. `before`: those of the same file.
fn api_services(text: &str, before: &[ApiService]) -> Result<Vec<ApiService>, FileFault> {
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
            return Err(fault(FieldViolation::joined(&faults)));
        }
        if before
            .iter()
            .chain(&services)
            .any(|other| other.metadata.as_ref().is_some_and(|metadata| metadata.name == name))
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
                "it is a {} of {}: only APIService of apiregistration.k8s.io/v1, and Backend and Mapping of \
                 kubridge.io/v1alpha1 belong here",
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
