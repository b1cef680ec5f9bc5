//! What `kubridge describe` does: a served API on one page, from a schema or from a running server.

use std::fmt::Write as _;

use anyhow::Context as _;
use http::StatusCode;
use kubridge_bridge::{
    describe::{ApiFacts, page},
    discovery_doc::{VersionDocument, compare_versions},
    openapi_doc,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    apiserver::ApiServer,
    lint::{LintReport, LintSource, read},
};
use crate::{
    config::Kubeconfig,
    registry::{BACKEND, PROTOCOL},
    server::DESCRIBE_PATH,
};

const APISERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// What is to be described.
#[derive(Debug, Clone)]
pub enum DescribeSource {
    /// What a schema would serve.
    Schema(LintSource),
    /// What a server serves.
    Server {
        /// Which.
        kubeconfig: Box<Kubeconfig>,
        /// "inventory.example.com"; empty: the core group.
        group: String,
        /// `None`: all that are there.
        version: Option<String>,
    },
}

/// What could be found out of a group and version.
#[derive(Debug, Default)]
struct Known {
    facts: Option<ApiFacts>,
    /// The server knows more, and does not tell it to us.
    untold: bool,
}

/// A group and version, described.
#[derive(Debug, Clone)]
struct Described {
    /// What the server says of the backend, one a line.
    said: Vec<String>,
    facts: Option<ApiFacts>,
    group_version: String,
}

/// Describes it, as text or as JSON (one [`ApiFacts`] each, in a list). The outer error: nothing could be read. The
/// inner one: the schema has faults.
pub async fn describe(source: DescribeSource, as_json: bool) -> anyhow::Result<Result<String, LintReport>> {
    let described = match source {
        DescribeSource::Schema(source) => {
            let (fetched, schema) = match read(source).await? {
                Ok(read) => read,
                Err(report) => return Ok(Err(report)),
            };
            let apis = schema.apis.iter().map(|api| Described {
                said: vec![format!("The schema was read from {}.", fetched.source)],
                facts: Some(ApiFacts::of_api(api)),
                group_version: String::new(),
            });
            apis.collect()
        }
        DescribeSource::Server { kubeconfig, group, version } => {
            of_server(&ApiServer::new(&kubeconfig)?, &group, version.as_deref()).await?
        }
    };
    Ok(Ok(if as_json {
        let facts: Vec<&ApiFacts> =
            described.iter().filter_map(|described| described.facts.as_ref()).collect();
        format!("{}\n", serde_json::to_string_pretty(&facts)?)
    } else {
        text(&described)
    }))
}

fn text(described: &[Described]) -> String {
    let mut text = String::new();
    for (at, Described { said, facts, group_version }) in described.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        match facts {
            Some(facts) => text.push_str(&page(facts)),
            None => {
                let _ = writeln!(text, "{group_version}\n\nWhat it serves is not known.");
            }
        }
        if !said.is_empty() {
            text.push('\n');
        }
        for line in said {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

async fn of_server(server: &ApiServer, group: &str, version: Option<&str>) -> anyhow::Result<Vec<Described>> {
    let services = api_services(server, group).await?;
    let mut versions: Vec<String> = match version {
        Some(version) => vec![version.to_owned()],
        None => {
            let claimed = services.iter().map(|service| service.spec.version.clone());
            claimed.chain(served_versions(server, group).await?).collect()
        }
    };
    versions.sort_by(|a, b| compare_versions(a, b));
    versions.dedup();
    let mut described = Vec::with_capacity(versions.len());
    for version in versions {
        let service = services.iter().find(|service| service.spec.version == version);
        let known = facts(server, group, &version).await?;
        if known.facts.is_none() && service.is_none() {
            continue;
        }
        let mut said = service.map(ApiService::said).unwrap_or_default();
        if known.untold {
            said.push(format!("Which method does what is told to those who may get {DESCRIBE_PATH}."));
        }
        described.push(Described {
            said,
            facts: known.facts,
            group_version: if group.is_empty() { version } else { format!("{group}/{version}") },
        });
    }
    if described.is_empty() {
        let name = match (group, version) {
            ("", version) => version.unwrap_or("the core group").to_owned(),
            (group, None) => group.to_owned(),
            (group, Some(version)) => format!("{group}/{version}"),
        };
        anyhow::bail!(
            "the server does not serve {name}; see kubectl api-versions, and kubectl get apiservices"
        );
    }
    Ok(described)
}

/// The APIServices of a group. None where the server has no such things, or does not show them to us.
async fn api_services(server: &ApiServer, group: &str) -> anyhow::Result<Vec<ApiService>> {
    let answer = server.get(APISERVICES).await?;
    if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) {
        return Ok(Vec::new());
    }
    let all: ApiServices = answer.json().with_context(|| format!("GET {APISERVICES}"))?;
    Ok(all.items.into_iter().filter(|service| service.spec.group == group).collect())
}

/// The versions that discovery lists.
async fn served_versions(server: &ApiServer, group: &str) -> anyhow::Result<Vec<String>> {
    if group.is_empty() {
        let versions: Option<CoreVersions> = server.get("/api").await?.found()?;
        return Ok(versions.map(|versions| versions.versions).unwrap_or_default());
    }
    let group: Option<ApiGroup> = server.get(&format!("/apis/{group}")).await?.found()?;
    Ok(group.into_iter().flat_map(|group| group.versions).map(|version| version.version).collect())
}

/// What the aggregator says of itself; where another server answers, what its documents say.
async fn facts(server: &ApiServer, group: &str, version: &str) -> anyhow::Result<Known> {
    let place = openapi_doc::path(group, version);
    let told = server.get(&format!("{DESCRIBE_PATH}/{place}")).await?;
    if told.status == StatusCode::OK {
        return told.json().map(|facts| Known { facts: Some(facts), untold: false });
    }
    let untold = told.status == StatusCode::FORBIDDEN;
    let list = server.get(&format!("/{place}")).await?;
    if matches!(list.status, StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE) {
        return Ok(Known::default());
    }
    if !list.status.is_success() {
        return Err(list.refusal());
    }
    let discovery = VersionDocument::from_resource_list(&list.body, group, version)?;
    let openapi = server.get(&format!("/openapi/v3/{place}")).await?;
    let openapi: Value = if openapi.status.is_success() { openapi.json()? } else { json!(null) };
    let facts = Some(ApiFacts::of_documents(group, version, &discovery, &openapi));
    Ok(Known { facts, untold })
}

impl ApiService {
    /// Who serves it, and its conditions.
    fn said(&self) -> Vec<String> {
        let annotation =
            |name: &str| self.metadata.annotations.as_ref().and_then(|all| all.get(name)?.as_str());
        let by = match (annotation(BACKEND), &self.spec.service) {
            (Some(url), _) => url.to_owned(),
            (None, Some(service)) => {
                let protocol = annotation(PROTOCOL).unwrap_or("https");
                format!("the Service {}/{} over {protocol}", service.namespace, service.name)
            }
            (None, None) => "the server itself".to_owned(),
        };
        let mut said = vec![format!("APIService {}: served by {by}.", self.metadata.name)];
        for condition in &self.status.conditions {
            said.push(format!(
                "{} {} ({}): {}",
                condition.r#type, condition.status, condition.reason, condition.message
            ));
        }
        said
    }
}

// As Kubernetes' own types have it, as far as it is read here.

#[derive(Debug, Deserialize)]
struct ApiServices {
    items: Vec<ApiService>,
}

#[derive(Debug, Deserialize)]
struct ApiService {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    annotations: Option<serde_json::Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    #[serde(default)]
    group: String,
    version: String,
    service: Option<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    namespace: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Deserialize)]
struct ApiGroup {
    versions: Vec<ApiGroupVersion>,
}

#[derive(Debug, Deserialize)]
struct ApiGroupVersion {
    version: String,
}

#[derive(Debug, Deserialize)]
struct CoreVersions {
    versions: Vec<String>,
}
