//! What `kubridge register` does: makes the APIServices of a backend, and prints or applies them.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Method, StatusCode};
use kubridge_bridge::{discovery_doc::compare_versions, model::Schema};
use serde_json::{Map, Value, json};

use super::{
    apiserver::ApiServer,
    backend_ca,
    lint::{LintReport, LintSource, read},
};
use crate::{
    config::{BackendUrl, Kubeconfig},
    registry::{AUTOMANAGED, BACKEND, BACKEND_CA, MANIFEST, PROTOCOL},
};

const PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
/// How often a write is tried again that somebody else was faster than.
const RETRIES: usize = 5;
/// As of custom resources.
const GROUP_PRIORITY: i32 = 1000;
/// Of a group's preferred version; each other has one less than the one before it.
const VERSION_PRIORITY: i32 = 100;

/// What is to be registered.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Where the aggregator finds the backend.
    pub backend: BackendUrl,
    /// Where its schema is read from.
    pub source: LintSource,
    /// What the aggregator verifies the backend's certificate against, PEM.
    pub backend_ca_file: Option<PathBuf>,
    /// In a cluster: the Service of the aggregator.
    pub service: Option<Service>,
    /// In a cluster: what the kube-apiserver verifies the aggregator's certificate against, PEM.
    pub service_ca_file: Option<PathBuf>,
}

/// A Service, as an APIService names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `None`: 443.
    pub port: Option<u16>,
}

/// How they are applied.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// The server.
    pub kubeconfig: Kubeconfig,
    /// The server checks, and writes nothing.
    pub dry_run: bool,
    /// What claims the group and version for somebody else is changed, too.
    pub force: bool,
}

/// What there is to print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// For standard output.
    pub text: String,
    /// What was refused, and the mend of each.
    pub refused: Vec<String>,
}

/// The APIServices, as YAML; or, with `apply`, what became of each. The outer error: nothing could be read or asked.
/// The inner one: the schema has faults.
pub async fn register(
    registration: Registration,
    apply: Option<ApplyOptions>,
) -> anyhow::Result<Result<Registered, LintReport>> {
    let services = match claims(&registration).await? {
        Ok(services) => services,
        Err(report) => return Ok(Err(report)),
    };
    Ok(Ok(match apply {
        None => Registered { text: yaml(&services)?, refused: Vec::new() },
        Some(options) => apply_all(&services, &options).await?,
    }))
}

/// Reads the schema; one APIService for each group and version of it. The errors: as [`register`] has them.
pub(super) async fn claims(registration: &Registration) -> anyhow::Result<Result<Vec<Value>, LintReport>> {
    Ok(match read(registration.source.clone()).await? {
        Ok((_, schema)) => Ok(services(registration, &schema)?),
        Err(report) => Err(report),
    })
}

/// One APIService for each group and version, the preferred versions of each group first.
fn services(registration: &Registration, schema: &Schema) -> anyhow::Result<Vec<Value>> {
    let mut versions: Vec<(&str, &str)> =
        schema.apis.iter().map(|api| (api.group.as_str(), api.version.as_str())).collect();
    versions.sort_by(|a, b| a.0.cmp(b.0).then_with(|| compare_versions(a.1, b.1)));
    let url = registration.backend.to_string();
    let mut annotations = Map::from_iter([(BACKEND.to_owned(), json!(url))]);
    if let Some(pem) = backend_ca(registration.backend_ca_file.as_deref())? {
        annotations.insert(BACKEND_CA.to_owned(), json!(String::from_utf8(pem)?));
    }
    let service = registration.service.as_ref().map(|service| {
        json!({"namespace": service.namespace, "name": service.name, "port": service.port.unwrap_or(443)})
    });
    let bundle = registration.service_ca_file.as_deref().map(|file| {
        let setting = || format!("--service-ca-file {}", file.display());
        let pem = std::fs::read(file).with_context(setting)?;
        crate::upstream::check_ca(&pem).with_context(setting)?;
        anyhow::Ok(BASE64_STANDARD.encode(pem))
    });
    let bundle = bundle.transpose()?;
    let mut rank = 0;
    let mut group_before = None;
    let mut services = Vec::with_capacity(versions.len());
    for (group, version) in versions {
        rank = if group_before == Some(group) { rank + 1 } else { 0 };
        group_before = Some(group);
        let mut spec = json!({
            "group": group,
            "version": version,
            "groupPriorityMinimum": GROUP_PRIORITY,
            "versionPriority": (VERSION_PRIORITY - rank).max(1),
        });
        for (key, value) in [("service", &service), ("caBundle", &bundle.as_ref().map(|text| json!(text)))] {
            if let (Some(value), Some(spec)) = (value, spec.as_object_mut()) {
                spec.insert(key.to_owned(), value.clone());
            }
        }
        services.push(json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": format!("{version}.{group}"), "annotations": annotations},
            "spec": spec,
        }));
    }
    Ok(services)
}

/// Objects as YAML, one document each.
pub(super) fn yaml(services: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for (at, service) in services.iter().enumerate() {
        if at > 0 {
            text.push_str("---\n");
        }
        text.push_str(&serde_saphyr::to_string(service)?);
    }
    Ok(text)
}

async fn apply_all(services: &[Value], options: &ApplyOptions) -> anyhow::Result<Registered> {
    let server = ApiServer::new(&options.kubeconfig)?;
    let mut registered = Registered::default();
    let dry_run = if options.dry_run { " (server dry run)" } else { "" };
    for service in services {
        let name = service.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        match apply(&server, name, service, options).await.with_context(|| format!("APIService {name}"))? {
            Outcome::Done(done) => {
                let _ = writeln!(registered.text, "apiservice.apiregistration.k8s.io/{name} {done}{dry_run}");
            }
            Outcome::Refused(why) => registered.refused.push(format!("APIService {name}: {why}")),
        }
    }
    Ok(registered)
}

enum Outcome {
    /// In kubectl's words.
    Done(&'static str),
    Refused(String),
}

/// Creates it, or changes what there is so that it says the same.
async fn apply(
    server: &ApiServer,
    name: &str,
    wanted: &Value,
    options: &ApplyOptions,
) -> anyhow::Result<Outcome> {
    let query = if options.dry_run { "?fieldManager=kubridge&dryRun=All" } else { "?fieldManager=kubridge" };
    let path = format!("{PATH}/{name}");
    for _ in 0..=RETRIES {
        let Some(present) = server.get(&path).await?.found::<Value>()? else {
            let answer = server.send(Method::POST, &format!("{PATH}{query}"), wanted).await?;
            if answer.status == StatusCode::CONFLICT {
                continue; // it is there now
            }
            answer.json::<Value>()?;
            return Ok(Outcome::Done("created"));
        };
        if let Some(why) = refusal(&present, wanted, options.force) {
            return Ok(Outcome::Refused(why));
        }
        let merged = merge(&present, wanted);
        if merged == present {
            return Ok(Outcome::Done("unchanged"));
        }
        let answer = server.send(Method::PUT, &format!("{path}{query}"), &merged).await?;
        if answer.status == StatusCode::CONFLICT {
            continue; // somebody else wrote
        }
        answer.json::<Value>()?;
        return Ok(Outcome::Done("configured"));
    }
    anyhow::bail!(
        "somebody else writes it all the time; see who with kubectl get apiservice {name} -o yaml -w"
    )
}

/// Why what there is must not be changed, and what to do about it.
fn refusal(present: &Value, wanted: &Value, force: bool) -> Option<String> {
    let annotation = |of: &Value, name: &str| -> Option<String> {
        let annotations = of.pointer("/metadata/annotations")?;
        Some(annotations.get(name)?.as_str()?.to_owned())
    };
    let label = present.pointer("/metadata/labels").and_then(|labels| labels.get(AUTOMANAGED));
    let (theirs, ours) = (annotation(present, BACKEND), annotation(wanted, BACKEND));
    if label == Some(&json!("true")) && merge(present, wanted) != *present {
        let keeper = match annotation(present, MANIFEST) {
            Some(file) => format!("the file {file} in --manifests"),
            None => format!("--backend {}", theirs.unwrap_or_default()),
        };
        return Some(format!(
            "{keeper} of the server keeps it as it is: change that, or take it out there first"
        ));
    }
    if force || theirs == ours {
        return None;
    }
    let owner = match (theirs, present.pointer("/spec/service")) {
        (Some(url), _) => url,
        (None, Some(service)) => {
            let part = |key: &str| service.get(key).and_then(Value::as_str).unwrap_or_default();
            format!("the Service {}/{}", part("namespace"), part("name"))
        }
        (None, None) => "the server itself".to_owned(),
    };
    Some(format!("it belongs to {owner}: --force takes it over"))
}

/// `present`, so that it says what `wanted` does; what others wrote into it stays.
fn merge(present: &Value, wanted: &Value) -> Value {
    let mut merged = present.clone();
    let Some(annotations) = object(&mut merged, "metadata").map(|metadata| entry(metadata, "annotations"))
    else {
        return merged;
    };
    // Where the backend is and how it is spoken to is ours as a whole.
    for ours in [BACKEND, BACKEND_CA, PROTOCOL] {
        match wanted.pointer("/metadata/annotations").and_then(|annotations| annotations.get(ours)) {
            Some(value) => {
                annotations.insert(ours.to_owned(), value.clone());
            }
            None => {
                annotations.remove(ours);
            }
        }
    }
    let written = wanted.get("spec").and_then(Value::as_object);
    let says = |key: &str| written.is_some_and(|spec| spec.contains_key(key));
    if let Some(spec) = object(&mut merged, "spec") {
        // Where there is a Service, its CA may be somebody else's work; else it would be the backend's.
        if says("caBundle") || !(says("service") || spec.contains_key("service")) {
            spec.remove("caBundle");
            spec.remove("insecureSkipTLSVerify");
        }
        spec.extend(written.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    }
    merged
}

fn object<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value.as_object_mut().map(|object| entry(object, key))
}

/// An object in an object, made if it is not there.
fn entry<'a>(object: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let inner = object.entry(key).or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    inner.as_object_mut().expect("it was made one just now")
}

#[cfg(test)]
mod tests;
