//! The backends that are named by anybody: connections, what they serve, how they are, and the tasks that keep all of
//! it up to date.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use futures::future::join_all;
use kubridge_bridge::{mapping::MappingFile, model::Schema};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    availability::{Confirmation, Flaw, Verdict},
    brown_out::Policy,
    made_watch::MadeWatch,
    metrics::BackendSample,
    registry::{Named, Protocol, Target, backend::Resolved},
    upstream::{
        self, Documents, GroupVersion, RetryReason, SchemaHandle, SchemaSource, SchemaState, Stats,
        documents_subject,
    },
};

mod start;

pub(super) use start::Settings;
use start::probe_path;

/// What makes two APIServices share a backend: where it is, how its certificate is verified, and how it is mapped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) target: Target,
    /// PEM; empty: none.
    pub(super) ca: Vec<u8>,
    /// The certificate is not verified.
    pub(super) insecure: bool,
    /// The Mapping that was chosen for it.
    pub(super) mapping: Option<String>,
    /// The Backend object that it is, if it is one.
    pub(super) backend: Option<Arc<Named>>,
}

impl Key {
    /// That of a Backend object.
    pub(super) fn of(resolved: &Resolved) -> Self {
        let Resolved { target, ca_bundle, mapping, named } = resolved.clone();
        Self { target, ca: ca_bundle, insecure: false, mapping, backend: Some(named) }
    }

    fn is_https(&self) -> bool {
        matches!(self.target, Target::Service { protocol: Protocol::Https, .. })
    }

    /// Its name on the disk. Another CA is another backend.
    fn subject(&self) -> String {
        if let Some(backend) = &self.backend {
            // Wherever it is, and whomever it trusts.
            return format!("Backend {} {}", backend.name, backend.uid);
        }
        let trust: String =
            Sha256::digest(&self.ca).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let mapping = self.mapping.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} {trust}{mapping}", self.target.url().unwrap_or_default())
    }

    /// All names that its documents have on the disk.
    fn subjects(&self, versions: &[GroupVersion]) -> Vec<String> {
        let backend = self.subject();
        match self.is_https() {
            true => versions.iter().map(|version| documents_subject(&backend, version)).collect(),
            false => vec![backend],
        }
    }
}

/// All backends.
pub(super) struct Backends {
    entries: HashMap<Key, Entry>,
    settings: Settings,
    /// What may be on the disk.
    subjects: HashSet<String>,
    /// For who counts them.
    listed: Arc<ArcSwap<Vec<(String, upstream::Backend)>>>,
    /// Wakes the loop when something becomes known.
    changed: Arc<Notify>,
    tasks: JoinSet<()>,
}

enum Entry {
    Running(Box<Running>),
    /// Its address or certificates cannot be used.
    Unusable {
        flaw: Flaw,
        why: String,
    },
}

struct Running {
    backend: upstream::Backend,
    verdict: watch::Receiver<Verdict>,
    source: Source,
    /// What is answered while it cannot be reached.
    brown_out: Option<Policy>,
    /// Whose methods it is known to have or lack.
    schema: Option<Arc<Schema>>,
    /// When it was last seen to be as it says it is, and whether it is now.
    live: Live,
    cancel: CancellationToken,
}

/// Where it is learnt what a backend serves.
enum Source {
    Schema(SchemaHandle<Schema>, MadeWatch),
    Documents {
        wanted: watch::Sender<Arc<[GroupVersion]>>,
        /// What it is asked for to show that it lives.
        probed: watch::Sender<String>,
        documents: watch::Receiver<Arc<Documents>>,
    },
}

#[derive(Debug, Default)]
struct Live {
    now: bool,
    last: Option<SystemTime>,
}

/// What is known of one backend.
pub(super) struct Known {
    /// Where to send requests.
    pub(super) backend: upstream::Backend,
    pub(super) verdict: Verdict,
    pub(super) learnt: Learnt,
    /// What is answered while it cannot be reached.
    pub(super) brown_out: Option<Policy>,
    /// The methods of its schema that it answers with UNIMPLEMENTED: "/inventory.v1.Machines/GetMachine".
    pub(super) unimplemented: Vec<String>,
    live: bool,
    last_live: Option<SystemTime>,
}

/// What a backend is known to serve.
pub(super) enum Learnt {
    Schema {
        state: SchemaState<Schema>,
        handle: SchemaHandle<Schema>,
        made: MadeWatch,
        /// The Mapping that was chosen is not there.
        unmapped: Option<String>,
    },
    Documents(Arc<Documents>),
}

impl Known {
    /// Why what was `confirmed_at` some time is believed now.
    pub(super) fn confirmation(
        &self,
        confirmed_at: Option<SystemTime>,
        max_age: Duration,
        now: SystemTime,
    ) -> Confirmation {
        if self.live {
            return Confirmation::Live;
        }
        let since = confirmed_at.max(self.last_live).unwrap_or(now);
        let until = since.checked_add(max_age);
        match until {
            Some(at) if at <= now => Confirmation::Expired { since, at },
            until => Confirmation::LastKnownGood { since, until },
        }
    }
}

impl Backends {
    pub(super) fn new(settings: Settings, changed: Arc<Notify>) -> Self {
        Self {
            entries: HashMap::new(),
            settings,
            subjects: HashSet::new(),
            listed: Arc::default(),
            changed,
            tasks: JoinSet::new(),
        }
    }

    /// Reads what the connections to all backends have done.
    pub(super) fn samples(&self) -> impl Fn() -> Vec<BackendSample> + Send + Sync + use<> {
        let listed = Arc::clone(&self.listed);
        move || listed.load().iter().map(|(url, backend)| sample(url, backend.stats())).collect()
    }

    fn list(&self) {
        let mut listed: Vec<(String, upstream::Backend)> = self
            .entries
            .iter()
            .filter_map(|(key, entry)| match entry {
                Entry::Running(running) => Some((key.target.url()?, running.backend.clone())),
                Entry::Unusable { .. } => None,
            })
            .collect();
        listed.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.listed.store(Arc::new(listed));
    }

    /// Starts what is wanted and not there; stops what is there and no longer wanted. What a new one last said of
    /// itself is known when this returns.
    pub(super) async fn keep(&mut self, wanted: HashMap<Key, Vec<GroupVersion>>) {
        let known = self.entries.len();
        let subjects = wanted.iter().flat_map(|(key, versions)| key.subjects(versions)).collect();
        self.entries.retain(|key, entry| {
            let keep = wanted.contains_key(key);
            if let (false, Entry::Running(running)) = (keep, &*entry) {
                running.cancel.cancel();
            }
            keep
        });
        let (mut missing, before) = (Vec::new(), self.entries.len());
        for (key, versions) in wanted {
            match self.entries.get(&key) {
                Some(Entry::Running(running)) => running.want(&versions),
                Some(Entry::Unusable { .. }) => {}
                None => missing.push((key, versions)),
            }
        }
        // Files are read: all at once.
        let started =
            join_all(missing.into_iter().map(|(key, versions)| self.settings.start(key, versions))).await;
        for (key, entry, work) in started {
            for work in work {
                self.tasks.spawn(work(Arc::clone(&self.changed)));
            }
            self.entries.insert(key, entry);
        }
        if before < known || before < self.entries.len() {
            self.list();
        }
        while self.tasks.try_join_next().is_some() {}
        self.forget(subjects).await;
    }

    /// Removes from the disk what nobody claims any more.
    async fn forget(&mut self, subjects: HashSet<String>) {
        if self.subjects == subjects {
            return;
        }
        self.subjects.clone_from(&subjects);
        let kept = self.settings.kept.clone();
        let removed = tokio::task::spawn_blocking(move || kept.retain(&subjects)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "documents of backends that are no longer named stay on the disk");
        }
    }

    /// The last good schema of a gRPC backend.
    pub(super) fn schema(&self, key: &Key) -> Option<Arc<Schema>> {
        match self.entries.get(key)? {
            Entry::Running(running) => match &running.source {
                Source::Schema(schema, _) => schema.state().borrow().current.clone(),
                Source::Documents { .. } => None,
            },
            Entry::Unusable { .. } => None,
        }
    }

    /// All that is known of a backend, or why nothing can be.
    pub(super) fn known(&mut self, key: &Key, now: SystemTime) -> Option<Result<Known, (Flaw, String)>> {
        Some(match self.entries.get_mut(key)? {
            Entry::Unusable { flaw, why } => Err((*flaw, why.clone())),
            Entry::Running(running) => {
                let files = self.settings.mappings.borrow();
                let chosen = key.mapping.as_ref().map(|name| MappingFile::named(&files, name));
                Ok(running.known(now, chosen.and_then(Result::err).map(|fault| fault.to_string())))
            }
        })
    }
}

impl Running {
    fn want(&self, versions: &[GroupVersion]) {
        if let Source::Documents { wanted, probed, .. } = &self.source {
            probed.send_replace(probe_path(versions));
            wanted.send_if_modified(|present| {
                let changed = **present != *versions;
                if changed {
                    *present = versions.into();
                }
                changed
            });
        }
        if let Some(Policy::Snapshot(snapshots)) = &self.brown_out {
            snapshots.retain(|group, version| versions.iter().any(|(g, v)| (&**g, &**v) == (group, version)));
        }
    }

    fn known(&mut self, now: SystemTime, unmapped: Option<String>) -> Known {
        let verdict = self.verdict.borrow().clone();
        let (learnt, fresh) = match &self.source {
            Source::Schema(handle, made) => {
                let state = handle.state().borrow().clone();
                if let Some(schema) = &state.current
                    && !self.schema.as_ref().is_some_and(|known| Arc::ptr_eq(known, schema))
                {
                    self.backend.unimplemented().set_methods(schema.called());
                    self.schema = Some(Arc::clone(schema));
                }
                let fresh = state.last_error.is_none()
                    && match state.source {
                        None | Some(SchemaSource::Kept) => false,
                        // Another replica asks what it serves, this one only whether it lives.
                        Some(SchemaSource::Shared) => matches!(verdict, Verdict::Available { .. }),
                        Some(_) => true,
                    };
                (Learnt::Schema { state, handle: handle.clone(), made: made.clone(), unmapped }, fresh)
            }
            Source::Documents { documents, .. } => {
                let documents = Arc::clone(&documents.borrow());
                let fresh =
                    documents.asked && documents.versions.values().all(|version| version.error.is_none());
                (Learnt::Documents(documents), fresh)
            }
        };
        let live = fresh && !verdict.is_unavailable();
        // Until a moment ago, where it was live at the last look.
        if live || self.live.now {
            self.live.last = Some(now);
        }
        self.live.now = live;
        let (backend, brown_out) = (self.backend.clone(), self.brown_out.clone());
        let unimplemented = backend.unimplemented().found();
        Known { backend, verdict, learnt, brown_out, unimplemented, live, last_live: self.live.last }
    }
}

fn sample(url: &str, stats: &Stats) -> BackendSample {
    BackendSample {
        backend: url.to_owned(),
        requests_in_flight: stats.requests_in_flight() as u64,
        watches_in_flight: stats.watches_in_flight() as u64,
        rejected: stats.rejected(),
        retries: RetryReason::ALL.map(|reason| (reason.as_str(), stats.retries(reason))).to_vec(),
        retries_over_budget: stats.over_budget(),
        ejections: stats.ejections(),
        dials: stats.dials(),
        failed_dials: stats.failed_dials(),
        addresses: stats.addresses() as u64,
        connections: stats.connections() as u64,
    }
}
