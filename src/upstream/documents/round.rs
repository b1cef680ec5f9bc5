//! One round of questions to an HTTPS backend: discovery first, then OpenAPI. Each answer is published at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use kubridge_bridge::{
    discovery_doc::VersionDocument,
    openapi_doc::{self, V2Document, V3Document},
};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    DocumentError, Documents, DocumentsWatcher, GroupVersion, OpenApiState, Priorities, VersionDocuments,
    Wanted, disk, documents_subject,
    fetch::{Answer, As},
};

const AGGREGATED_OR_PLAIN: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const JSON: &str = "application/json";

/// How exactly a restart knows the age of what is kept.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(30);

/// A document, or its faults.
type Read<T> = Result<Arc<T>, Arc<str>>;

/// What was last read, so that the backend need not send it again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By path ("/apis"): the ETag, and what was in the document.
    aggregated: HashMap<&'static str, (String, Arc<Aggregated>)>,
    /// When the files were last told that they are still true.
    confirmed: Option<Instant>,
    /// Of a delegate.
    priorities: Arc<Priorities>,
    /// By group and version: where its v3 document was read, with the hash, and what came of it.
    v3: HashMap<GroupVersion, (String, Read<V3Document>)>,
    v2: SeenV2,
}

impl Seen {
    /// What is known from the disk stays until the backend says otherwise.
    pub(super) fn restore(&mut self, documents: &Documents) {
        self.priorities = Arc::clone(&documents.priorities);
        self.v2.whole.clone_from(&documents.v2);
    }
}

/// What was made of `/openapi/v2`.
#[derive(Debug, Default)]
struct SeenV2 {
    etag: String,
    /// Each group and version's part.
    cut: HashMap<GroupVersion, Read<V2Document>>,
    /// All of a delegate's.
    whole: Option<Arc<V2Document>>,
}

impl SeenV2 {
    async fn cut(answer: Answer, versions: Vec<GroupVersion>) -> Self {
        let Answer { etag, body, .. } = answer;
        let cut = blocking(move || {
            let each = versions.into_iter().map(|version| {
                let outcome = openapi_doc::accept_v2(&body, &version.0, &version.1);
                let outcome = outcome.map(Arc::new).map_err(|faults| faults_text(&faults));
                (version, outcome)
            });
            each.collect()
        });
        Self { etag, cut: cut.await, whole: None }
    }

    async fn whole(answer: Answer) -> Self {
        let Answer { etag, body, .. } = answer;
        let whole = match blocking(move || openapi_doc::accept_v2_whole(&body)).await {
            Ok(whole) => Some(Arc::new(whole)),
            Err(faults) => {
                let faults = faults_text(&faults);
                tracing::warn!(%faults, "the delegate's OpenAPI v2 document has faults: it is left out");
                None
            }
        };
        Self { etag, cut: HashMap::new(), whole }
    }
}

/// What one document lists.
type Aggregated = BTreeMap<GroupVersion, Arc<VersionDocument>>;

/// `/openapi/v3`.
#[derive(Debug, Deserialize)]
struct Index {
    paths: BTreeMap<String, IndexEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexEntry {
    #[serde(rename = "serverRelativeURL")]
    server_relative_url: String,
}

/// An `APIServiceList`, as far as it is read.
#[derive(Debug, Deserialize)]
struct ApiServices {
    items: Vec<ApiService>,
}

#[derive(Debug, Deserialize)]
struct ApiService {
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    group: String,
    version: String,
    #[serde(default)]
    group_priority_minimum: i32,
    #[serde(default)]
    version_priority: i32,
}

type Outcomes = BTreeMap<GroupVersion, Result<Arc<VersionDocument>, DocumentError>>;

impl DocumentsWatcher {
    /// Asks for everything that is wanted; whether all of it was answered.
    pub(super) async fn round(&mut self, wanted: &[GroupVersion]) -> bool {
        let outcomes = match &self.wanted {
            Wanted::Claimed(_) => self.discover(wanted).await,
            Wanted::All => self.discover_all().await,
        };
        let discovered = outcomes.as_ref().is_ok_and(|outcomes| {
            outcomes.values().all(|outcome| !matches!(outcome, Err(DocumentError::Failed(_))))
        });
        if discovered && matches!(self.wanted, Wanted::All) {
            self.rank().await;
        }
        self.publish_discovery(outcomes).await;
        // A backend that does not even tell what it serves is not asked for more.
        discovered && self.describe().await
    }

    async fn discover(&mut self, wanted: &[GroupVersion]) -> Result<Outcomes, Arc<str>> {
        let mut documents: HashMap<&'static str, Result<Option<Arc<Aggregated>>, String>> = HashMap::new();
        let mut outcomes = Outcomes::new();
        for version in wanted {
            let path = if version.0.is_empty() { "/api" } else { "/apis" };
            if !documents.contains_key(path) {
                documents.insert(path, self.aggregated(path).await);
            }
            let listed = match &documents[path] {
                Ok(Some(all)) => all.get(version).map(|document| Ok(Arc::clone(document))),
                Ok(None) => None,
                Err(why) => Some(Err(DocumentError::Failed(why.as_str().into()))),
            };
            let outcome = match listed {
                Some(outcome) => outcome,
                // Not in the one document, or there is none: the version's own is asked for.
                None => self.plain(version).await,
            };
            outcomes.insert(version.clone(), outcome);
        }
        Ok(outcomes)
    }

    async fn discover_all(&mut self) -> Result<Outcomes, Arc<str>> {
        let mut outcomes = Outcomes::new();
        for path in ["/api", "/apis"] {
            match self.aggregated(path).await {
                Ok(Some(all)) => {
                    outcomes.extend(all.iter().map(|(version, known)| (version.clone(), Ok(known.clone()))));
                }
                Ok(None) => {
                    let endpoint = self.client.backend().endpoint();
                    return Err(format!(
                        "{endpoint}{path} has no aggregated discovery: Kubernetes 1.30 or newer is needed"
                    )
                    .into());
                }
                Err(why) => return Err(why.into()),
            }
        }
        Ok(outcomes)
    }

    /// The ranks that the delegate's own APIServices give; without the right to read them the last known stay.
    async fn rank(&mut self) {
        const PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
        let Ok(answer) = self.client.get(As::Aggregator, PATH, JSON, "").await else { return };
        if answer.status != StatusCode::OK {
            return;
        }
        let Ok(list) = serde_json::from_slice::<ApiServices>(&answer.body) else { return };
        let ranks = list.items.into_iter().map(|service| {
            let Spec { group, version, group_priority_minimum, version_priority } = service.spec;
            ((group, version), (group_priority_minimum, version_priority))
        });
        self.seen.priorities = Arc::new(ranks.collect());
    }

    /// The one document for everything. `None`: the backend has no such thing.
    async fn aggregated(&mut self, path: &'static str) -> Result<Option<Arc<Aggregated>>, String> {
        let etag = self.seen.aggregated.get(path).map(|(etag, _)| etag.clone()).unwrap_or_default();
        let answer = self.client.get(As::Aggregator, path, AGGREGATED_OR_PLAIN, &etag).await?;
        match answer.status {
            StatusCode::NOT_MODIFIED => Ok(self.seen.aggregated.get(path).map(|(_, all)| Arc::clone(all))),
            StatusCode::OK if is_aggregated(&answer.media) => {
                let parsed = VersionDocument::from_aggregated(&answer.body)
                    .map_err(|error| self.client.failing(path, &error.to_string()))?;
                let all = parsed
                    .into_iter()
                    .map(|(group, version, document)| ((group, version), Arc::new(document)));
                let all: Arc<Aggregated> = Arc::new(all.collect());
                self.seen.aggregated.insert(path, (answer.etag, Arc::clone(&all)));
                Ok(Some(all))
            }
            StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::NOT_ACCEPTABLE => Ok(None),
            status => Err(self.client.failing(path, &format!("bad status {status}"))),
        }
    }

    /// `/apis/G/V` alone.
    async fn plain(&self, version: &GroupVersion) -> Result<Arc<VersionDocument>, DocumentError> {
        let (group, name) = version;
        let path = if group.is_empty() { format!("/api/{name}") } else { format!("/apis/{group}/{name}") };
        let failed = |why: String| DocumentError::Failed(why.into());
        let answer = self.client.get(As::Aggregator, &path, JSON, "").await.map_err(failed)?;
        match answer.status {
            StatusCode::OK => VersionDocument::from_resource_list(&answer.body, group, name)
                .map(Arc::new)
                .map_err(|error| failed(self.client.failing(&path, &error.to_string()))),
            StatusCode::NOT_FOUND => Err(DocumentError::NotServed),
            status => Err(failed(self.client.failing(&path, &format!("bad status {status}")))),
        }
    }

    async fn publish_discovery(&mut self, outcomes: Result<Outcomes, Arc<str>>) {
        let before = Arc::clone(&self.state.borrow());
        let now = SystemTime::now();
        let mut versions = BTreeMap::new();
        match outcomes {
            Ok(outcomes) => {
                for (version, outcome) in outcomes {
                    let mut known = before.versions.get(&version).cloned().unwrap_or_default();
                    match outcome {
                        Ok(document) => {
                            known.error = None;
                            known.confirmed_at = Some(now);
                            // The same document stays the same, so that nothing is made of it again.
                            if known.discovery.as_ref() != Some(&document) {
                                known.discovery = Some(document);
                            }
                        }
                        Err(error) => known.error = Some(error),
                    }
                    versions.insert(version, known);
                }
            }
            Err(why) => {
                versions.clone_from(&before.versions);
                for known in versions.values_mut() {
                    known.error = Some(DocumentError::Failed(Arc::clone(&why)));
                }
            }
        }
        self.replace(versions).await;
    }

    /// Reads the OpenAPI documents; whether all were answered. None at all is an answer.
    async fn describe(&mut self) -> bool {
        let mut versions = self.state.borrow().versions.clone();
        let index = self.index().await;
        let mut complete = index.is_ok();
        for (version, known) in &mut versions {
            let outcome = match &index {
                Ok(Some(index)) => match index.paths.get(&openapi_doc::path(&version.0, &version.1)) {
                    Some(entry) => self.v3(version, &entry.server_relative_url).await.map(Some),
                    None => Ok(None),
                },
                Ok(None) => Ok(None),
                Err(why) => Err(OpenApiState::Failed(Arc::clone(why))),
            };
            known.openapi = match outcome {
                Ok(Some(document)) => {
                    known.v3 = Some(document);
                    OpenApiState::Current
                }
                Ok(None) => {
                    known.v3 = None;
                    OpenApiState::Absent
                }
                Err(state) => state,
            };
            complete &= !matches!(known.openapi, OpenApiState::Failed(_));
        }
        complete &= self.v2(&mut versions).await;
        self.replace(versions).await;
        complete
    }

    /// `/openapi/v3`. `None`: the backend has none.
    async fn index(&self) -> Result<Option<Index>, Arc<str>> {
        const PATH: &str = "/openapi/v3";
        let answer = self.client.get(As::OpenApi, PATH, JSON, "").await?;
        match answer.status {
            StatusCode::OK => serde_json::from_slice(&answer.body)
                .map(Some)
                .map_err(|error| self.client.failing(PATH, &error.to_string()).into()),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.client.failing(PATH, &format!("bad status {status}")).into()),
        }
    }

    async fn v3(&mut self, version: &GroupVersion, url: &str) -> Result<Arc<V3Document>, OpenApiState> {
        // The address has the document's hash.
        if let Some((read, outcome)) = self.seen.v3.get(version)
            && read == url
        {
            return outcome.clone().map_err(OpenApiState::Quarantined);
        }
        let failed = |why: String| OpenApiState::Failed(why.into());
        if !url.starts_with("/openapi/v3/") {
            return Err(failed(self.client.failing(url, "the index names an address outside /openapi/v3/")));
        }
        let answer = self.client.get(As::OpenApi, url, JSON, "").await.map_err(failed)?;
        if answer.status != StatusCode::OK {
            return Err(failed(self.client.failing(url, &format!("bad status {}", answer.status))));
        }
        let (group, name) = version.clone();
        let outcome = blocking(move || openapi_doc::accept_v3(&answer.body, &group, &name)).await;
        let outcome = outcome.map(Arc::new).map_err(|faults| faults_text(&faults));
        self.seen.v3.insert(version.clone(), (url.to_owned(), outcome.clone()));
        outcome.map_err(OpenApiState::Quarantined)
    }

    /// Reads `/openapi/v2` and cuts each version's part out of it; whether it was answered.
    async fn v2(&mut self, versions: &mut BTreeMap<GroupVersion, VersionDocuments>) -> bool {
        const PATH: &str = "/openapi/v2";
        let cut = &self.seen.v2.cut;
        let has_all = match self.wanted {
            Wanted::Claimed(_) => versions.keys().all(|version| cut.contains_key(version)),
            Wanted::All => true,
        };
        let etag = if has_all { self.seen.v2.etag.clone() } else { String::new() };
        let answer = match self.client.get(As::OpenApi, PATH, JSON, &etag).await {
            Ok(answer) => answer,
            Err(why) => {
                fail_all(versions, &why.into());
                return false;
            }
        };
        match (answer.status, &self.wanted) {
            (StatusCode::NOT_MODIFIED, _) => {}
            (StatusCode::OK, Wanted::Claimed(_)) => {
                self.seen.v2 = SeenV2::cut(answer, versions.keys().cloned().collect()).await;
            }
            (StatusCode::OK, Wanted::All) => self.seen.v2 = SeenV2::whole(answer).await,
            (StatusCode::NOT_FOUND, _) => {
                self.seen.v2 = SeenV2::default();
                versions.values_mut().for_each(|known| known.v2 = None);
                return true;
            }
            (status, _) => {
                fail_all(versions, &self.client.failing(PATH, &format!("bad status {status}")).into());
                return false;
            }
        }
        for (version, known) in versions {
            match self.seen.v2.cut.get(version) {
                Some(Ok(document)) => known.v2 = Some(Arc::clone(document)),
                Some(Err(faults)) => known.openapi = OpenApiState::Quarantined(Arc::clone(faults)),
                None => {}
            }
        }
        true
    }

    /// Publishes, and writes to the disk what changed.
    async fn replace(&mut self, versions: BTreeMap<GroupVersion, VersionDocuments>) {
        let before = Arc::clone(&self.state.borrow());
        if let Some(keep) = self.keep.clone() {
            let (before, after) = (Arc::clone(&before), versions.clone());
            let (priorities, v2) = (Arc::clone(&self.seen.priorities), self.seen.v2.whole.clone());
            let all = matches!(self.wanted, Wanted::All);
            let confirm = self.seen.confirmed.is_none_or(|at| at.elapsed() >= CONFIRM_INTERVAL);
            if confirm {
                self.seen.confirmed = Some(Instant::now());
            }
            blocking(move || {
                for (version, known) in &after {
                    let same = before.versions.get(version).is_some_and(|earlier| earlier.is_same(known));
                    if !same && known.discovery.is_some() {
                        disk::write(&keep, version, known);
                    }
                    if confirm && known.error.is_none() && known.confirmed_at.is_some() {
                        keep.store.confirm(&documents_subject(&keep.backend, version), SystemTime::now());
                    }
                }
                let whole = before.versions.keys().eq(after.keys())
                    && before.priorities == priorities
                    && same(before.v2.as_ref(), v2.as_ref());
                if all && !whole {
                    disk::write_whole(&keep, after.keys(), &priorities, v2.as_deref());
                }
            })
            .await;
        }
        self.state.send_if_modified(|state| {
            // Only a later confirmation: nobody has anything to do.
            let same = state.asked
                && state.priorities == self.seen.priorities
                && same(state.v2.as_ref(), self.seen.v2.whole.as_ref())
                && state.versions.len() == versions.len()
                && state.versions.iter().zip(&versions).all(|((a, earlier), (b, known))| {
                    let said = earlier.error == known.error && earlier.openapi == known.openapi;
                    a == b && earlier.is_same(known) && said
                });
            let priorities = Arc::clone(&self.seen.priorities);
            let v2 = self.seen.v2.whole.clone();
            *state = Arc::new(Documents { versions, v2, priorities, asked: true });
            !same
        });
    }
}

impl VersionDocuments {
    /// Whether the documents are those of `other`: what is known of their age may differ.
    fn is_same(&self, other: &Self) -> bool {
        same(self.discovery.as_ref(), other.discovery.as_ref())
            && same(self.v3.as_ref(), other.v3.as_ref())
            && same(self.v2.as_ref(), other.v2.as_ref())
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn fail_all(versions: &mut BTreeMap<GroupVersion, VersionDocuments>, why: &Arc<str>) {
    for known in versions.values_mut() {
        known.openapi = OpenApiState::Failed(Arc::clone(why));
    }
}

/// Parameters in any order, as client-go reads it.
fn is_aggregated(media: &str) -> bool {
    let mut parts = media.split(';').map(str::trim);
    let base = parts.next().unwrap_or_default().eq_ignore_ascii_case(JSON);
    let parameters: Vec<&str> = parts.collect();
    base && ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"]
        .iter()
        .all(|wanted| parameters.contains(wanted))
}

fn faults_text(faults: &[openapi_doc::Fault]) -> Arc<str> {
    const SHOWN: usize = 3;
    let mut text = faults.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if faults.len() > SHOWN {
        text.push_str(&format!("; and {} more", faults.len() - SHOWN));
    }
    text.into()
}

/// Large documents are read on a thread that may take its time.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_aggregated_discovery_come_in_any_order() {
        assert!(is_aggregated("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"));
        assert!(is_aggregated("application/json;as=APIGroupDiscoveryList;v=v2; g=apidiscovery.k8s.io"));
        assert!(!is_aggregated("application/json"));
        assert!(!is_aggregated("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"));
    }
}
