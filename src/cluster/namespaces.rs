//! Which namespaces there are, watched in the cluster.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use kubridge_bridge::env::NamespaceState;
use tokio::time::timeout;

use super::Pauses;

/// How long the API server may take to be asked for a namespace that the watch does not know.
const PATIENCE: Duration = Duration::from_secs(5);

/// The cluster's namespaces. Cheap to clone.
#[derive(Clone)]
pub struct Namespaces(Arc<Inner>);

struct Inner {
    api: Api<PartialObjectMeta<Namespace>>,
    /// Those that the watch has told of, and whether they are being deleted.
    known: ArcSwap<HashMap<String, bool>>,
}

/// Whether a namespace is there cannot be found out: the API server does not answer. The text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("whether there is a namespace {name:?} cannot be found out: {why}")]
pub struct NamespaceUnknown {
    name: String,
    why: String,
}

impl Namespaces {
    /// The second one must be run: without it every namespace is asked for.
    pub fn new(client: Client) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let api = Api::<PartialObjectMeta<Namespace>>::all(client);
        let this = Self(Arc::new(Inner { api: api.clone(), known: ArcSwap::default() }));
        let events = watcher(api, watcher::Config::default()).backoff(Pauses::default());
        (this.clone(), follow(events, this.0))
    }

    /// What is known of a namespace. The watch may be late: one that it does not tell of is asked for.
    ///
    /// # Errors
    /// It is not known, and the API server does not answer.
    pub async fn state(&self, name: &str) -> Result<NamespaceState, NamespaceUnknown> {
        match self.0.known.load().get(name) {
            Some(false) => return Ok(NamespaceState::Active),
            Some(true) => return Ok(NamespaceState::Terminating),
            None => {}
        }
        let unknown = |why: String| NamespaceUnknown { name: name.to_owned(), why };
        match timeout(PATIENCE, self.0.api.get_opt(name)).await {
            Ok(Ok(Some(namespace))) if is_terminating(&namespace) => Ok(NamespaceState::Terminating),
            Ok(Ok(Some(_))) => Ok(NamespaceState::Active),
            Ok(Ok(None)) => Ok(NamespaceState::Missing),
            Ok(Err(error)) => Err(unknown(error.to_string())),
            Err(_) => Err(unknown(format!("no answer within {PATIENCE:?}"))),
        }
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces").field("known", &self.0.known.load().len()).finish_non_exhaustive()
    }
}

/// Its phase says the same, and is part of more than is watched.
fn is_terminating(namespace: &PartialObjectMeta<Namespace>) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

async fn follow(
    events: impl Stream<Item = Result<Event<PartialObjectMeta<Namespace>>, watcher::Error>>,
    all: Arc<Inner>,
) {
    let known = &all.known;
    let mut events = std::pin::pin!(events);
    let mut listed = HashMap::new();
    let change = |change: &dyn Fn(&mut HashMap<String, bool>)| {
        let mut all = HashMap::clone(&known.load());
        change(&mut all);
        known.store(Arc::new(all));
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(namespace)) => {
                listed.insert(namespace.name_any(), is_terminating(&namespace));
            }
            Ok(Event::InitDone) => known.store(Arc::new(std::mem::take(&mut listed))),
            Ok(Event::Apply(namespace)) => change(&|all| {
                all.insert(namespace.name_any(), is_terminating(&namespace));
            }),
            Ok(Event::Delete(namespace)) => change(&|all| {
                all.remove(&namespace.name_any());
            }),
            Err(error) => tracing::debug!(%error, "namespaces are not watched for now"),
        }
    }
}
