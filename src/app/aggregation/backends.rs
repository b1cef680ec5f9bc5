//! The backends that are named by anybody: connections, schemas, and the tasks that keep them up to date.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use kubridge_bridge::model::{Rules, Schema};
use rustls::client::ResolvesClientCert;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    availability::{Cause, Confirmation, Documents, Flaw, Observation, Remote, Verdict},
    proxy::Backend,
    registry::{Claim, Target},
    upstream::{
        self, ConnectionState, Endpoint, FailureReason, FetchedSchema, Options, Rejected, SchemaHandle,
        SchemaPace, SchemaWatcher, TlsOptions,
    },
};

/// What makes two APIServices share a backend: the address, and what its certificate is verified against.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) url: String,
    /// PEM; empty: none.
    pub(super) ca: Vec<u8>,
}

/// All backends.
pub(super) struct Backends {
    entries: HashMap<Key, Entry>,
    descriptor_sets: BTreeMap<String, PathBuf>,
    /// What `grpcs://` backends are shown.
    identity: Arc<dyn ResolvesClientCert>,
    /// Wakes the loop when something becomes known.
    changed: Arc<Notify>,
    tasks: JoinSet<()>,
}

enum Entry {
    Running {
        backend: upstream::Backend,
        schema: SchemaHandle<Schema>,
        cancel: CancellationToken,
    },
    /// Its address or certificates cannot be used.
    Unusable {
        flaw: Flaw,
        why: String,
    },
}

/// What is known of one backend.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The last good schema.
    pub(super) schema: Option<Arc<Schema>>,
    /// Where to send requests.
    pub(super) backend: Option<Backend>,
    rejected: Option<String>,
    last_error: String,
    disconnected: Option<(FailureReason, Arc<str>)>,
    unusable: Option<(Flaw, String)>,
}

impl Backends {
    pub(super) fn new(
        descriptor_sets: BTreeMap<String, PathBuf>,
        identity: Arc<dyn ResolvesClientCert>,
        changed: Arc<Notify>,
    ) -> Self {
        Self { entries: HashMap::new(), descriptor_sets, identity, changed, tasks: JoinSet::new() }
    }

    /// Starts what is wanted and not there; stops what is there and no longer wanted.
    pub(super) fn keep(&mut self, wanted: Vec<Key>) {
        self.entries.retain(|key, entry| {
            let keep = wanted.contains(key);
            if !keep {
                entry.stop();
            }
            keep
        });
        for key in wanted {
            if !self.entries.contains_key(&key) {
                let entry = self.start(&key);
                self.entries.insert(key, entry);
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// The last good schema of a backend.
    pub(super) fn schema(&self, key: &Key) -> Option<Arc<Schema>> {
        match self.entries.get(key)? {
            Entry::Running { schema, .. } => schema.state().borrow().current.clone(),
            Entry::Unusable { .. } => None,
        }
    }

    /// All that is known of a backend.
    pub(super) fn known(&self, key: &Key) -> Known {
        match self.entries.get(key) {
            None => Known::default(),
            Some(Entry::Unusable { flaw, why }) => {
                Known { unusable: Some((*flaw, why.clone())), ..Known::default() }
            }
            Some(Entry::Running { backend, schema, .. }) => {
                let state = schema.state().borrow().clone();
                let disconnected = match &*backend.state().borrow() {
                    ConnectionState::Failed { message, reason, .. } => Some((*reason, Arc::clone(message))),
                    ConnectionState::Idle | ConnectionState::Connecting | ConnectionState::Ready => None,
                };
                Known {
                    schema: state.current,
                    backend: Some(Backend::Remote { backend: backend.clone(), schema: schema.clone() }),
                    rejected: state.rejected.map(|rejected| rejected.faults.join("; ")),
                    last_error: state.last_error.map(|error| error.to_string()).unwrap_or_default(),
                    disconnected,
                    unusable: None,
                }
            }
        }
    }

    fn start(&mut self, key: &Key) -> Entry {
        let backend = Endpoint::parse(&key.url).and_then(|endpoint| {
            let tls = TlsOptions {
                ca: (!key.ca.is_empty()).then(|| key.ca.clone()),
                identity: endpoint.is_tls().then(|| Arc::clone(&self.identity)),
                server_name: None,
            };
            upstream::Backend::new(endpoint, &tls, Options::default())
        });
        let backend = match backend {
            Ok(backend) => backend,
            Err(error) => return Entry::Unusable { flaw: Flaw::of(&error), why: error.to_string() },
        };
        let file = self.descriptor_sets.get(&key.url).cloned();
        let (watcher, schema) =
            SchemaWatcher::new(backend.clone(), file, None, SchemaPace::default(), compile);
        let cancel = CancellationToken::new();
        backend.connect();
        self.tasks.spawn(watcher.run(cancel.clone()));
        self.tasks.spawn(forward(schema.state(), Arc::clone(&self.changed), cancel.clone()));
        self.tasks.spawn(forward(backend.state(), Arc::clone(&self.changed), cancel.clone()));
        Entry::Running { backend, schema, cancel }
    }
}

impl Entry {
    fn stop(&mut self) {
        if let Self::Running { cancel, .. } = self {
            cancel.cancel();
        }
    }
}

impl Known {
    pub(super) fn observation(&self, url: &str, claim: &Claim) -> Observation {
        let url = url.to_owned();
        if let Some((flaw, why)) = self.unusable.clone() {
            return Observation::Unusable { url, flaw, why };
        }
        let verdict = match (&self.disconnected, &self.schema) {
            (Some((reason, message)), _) => Verdict::Unavailable {
                cause: Cause::Connect(*reason),
                message: Arc::clone(message),
                since: Instant::now(),
            },
            (None, None) => Verdict::Unknown,
            (None, Some(_)) => Verdict::Available { since: Instant::now() },
        };
        let service = match &claim.target {
            Target::Service { namespace, name, .. } => Some((namespace.clone(), name.clone())),
            Target::Local | Target::Grpc { .. } | Target::UnknownProtocol { .. } => None,
        };
        Observation::Remote(Remote {
            url,
            service,
            group_version: format!("{}/{}", claim.group, claim.version),
            verdict,
            documents: self.documents(claim),
        })
    }

    fn documents(&self, claim: &Claim) -> Documents {
        let Some(schema) = &self.schema else {
            return match &self.rejected {
                Some(faults) => Documents::Rejected { faults: faults.clone() },
                None if self.last_error.is_empty() => Documents::Pending,
                None => Documents::Missing { last_error: self.last_error.clone() },
            };
        };
        if super::find(schema, claim).is_none() {
            let declared =
                super::declared(schema).into_iter().map(|(group, version)| format!("{group}/{version}"));
            return Documents::NotDeclared { declared: declared.collect() };
        }
        Documents::Known {
            confirmation: Confirmation::Live,
            newer_rejected: self.rejected.clone(),
            openapi_quarantined: None,
        }
    }
}

/// Descriptors -> what is served, or every fault.
fn compile(fetched: &FetchedSchema) -> Result<Arc<Schema>, Rejected> {
    Schema::from_descriptor_set(&fetched.bytes, Rules::default())
        .map(Arc::new)
        .map_err(|faults| Rejected { faults: faults.iter().map(ToString::to_string).collect() })
}

/// Wakes the loop whenever a state changes.
async fn forward<T>(mut state: watch::Receiver<T>, changed: Arc<Notify>, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            news = state.changed() => if news.is_err() { return },
        }
        changed.notify_one();
    }
}
