//! What HTTPS backends say of themselves: discovery and OpenAPI documents, read now and then, kept on the disk.
//!
//! A document that is bad never replaces a good one, and one that cannot be read now stays as it was.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kubridge_bridge::{
    discovery_doc::VersionDocument,
    openapi_doc::{V2Document, V3Document},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use crate::{backoff, config::Token, last_known_good::LastKnownGood};

mod disk;
mod fetch;
mod round;

use fetch::Client;

/// A group ("": the core group) and a version.
pub type GroupVersion = (String, String);

/// `groupPriorityMinimum` and `versionPriority`, by group and version.
pub type Priorities = BTreeMap<GroupVersion, (i32, i32)>;

/// What is known of one backend, by group and version.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// One entry for each that is wanted.
    pub versions: BTreeMap<GroupVersion, VersionDocuments>,
    /// Of a delegate: its whole OpenAPI v2 document.
    pub v2: Option<Arc<V2Document>>,
    /// Of a delegate: the ranks that its own APIServices give.
    pub priorities: Arc<Priorities>,
    /// Whether the backend has been asked since the process began.
    pub asked: bool,
}

/// What is known of one group and version.
#[derive(Debug, Clone, Default)]
pub struct VersionDocuments {
    /// What it serves, as last said.
    pub discovery: Option<Arc<VersionDocument>>,
    /// Why the last attempt to learn it failed; `None` after success.
    pub error: Option<DocumentError>,
    /// Its OpenAPI v3 document.
    pub v3: Option<Arc<V3Document>>,
    /// Its part of the OpenAPI v2 document; of a delegate [`Documents::v2`] has it.
    pub v2: Option<Arc<V2Document>>,
    /// What became of the last attempt to read OpenAPI documents.
    pub openapi: OpenApiState,
    /// When the backend last said that [`Self::discovery`] is what it serves.
    pub confirmed_at: Option<SystemTime>,
}

/// Why it is not known what a backend serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentError {
    /// No answer, or a bad one. The text names the address.
    Failed(Arc<str>),
    /// The backend says that it does not serve this group and version.
    NotServed,
}

/// What became of the last attempt to read OpenAPI documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OpenApiState {
    /// None yet.
    #[default]
    Unknown,
    /// Read.
    Current,
    /// The backend has none: nothing is wrong.
    Absent,
    /// It has one with these faults. The last good one stays.
    Quarantined(Arc<str>),
    /// It could not be read. The last good one stays.
    Failed(Arc<str>),
}

/// How often documents are read.
#[derive(Debug, Clone)]
pub struct DocumentsPace {
    /// The pause after the first failure; doubled with each further one.
    pub retry_min: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
    /// The pause when all is well; up to a tenth is added, so that not all are read at once.
    pub every: Duration,
}

impl Default for DocumentsPace {
    fn default() -> Self {
        Self {
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            every: Duration::from_secs(60),
        }
    }
}

/// Which groups and versions a backend is asked for.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// These, as they change.
    Claimed(watch::Receiver<Arc<[GroupVersion]>>),
    /// All that it has: a delegate's.
    All,
}

/// In whose name it is asked.
#[derive(Debug, Clone)]
pub enum Asker {
    /// kube-aggregator's names, in headers that are believed because of our certificate.
    FrontProxy,
    /// Our own: the connection's certificate, or this token.
    Own(Option<Token>),
}

/// Reads a backend's documents at the start, when it comes back, when other group-versions are wanted, and every minute.
pub struct DocumentsWatcher {
    client: Client,
    wanted: Wanted,
    keep: Option<KeepDocuments>,
    pace: DocumentsPace,
    state: watch::Sender<Arc<Documents>>,
    /// What was last read, to ask whether it is still so.
    seen: round::Seen,
}

/// Where documents are kept.
#[derive(Debug, Clone)]
pub struct KeepDocuments {
    /// The files.
    pub store: LastKnownGood,
    /// The backend's name there; a group and version has a file of its own behind it, see [`documents_subject`].
    pub backend: String,
}

/// The name under which the documents of one group and version of a backend are kept.
pub fn documents_subject(backend: &str, (group, version): &GroupVersion) -> String {
    format!("{backend} {group}/{version}")
}

impl fmt::Debug for DocumentsWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentsWatcher").field("client", &self.client).finish_non_exhaustive()
    }
}

impl DocumentsWatcher {
    /// A watcher, to be run, and what others see of it.
    pub fn new(
        backend: Backend,
        who: Asker,
        wanted: Wanted,
        keep: Option<KeepDocuments>,
        pace: DocumentsPace,
    ) -> (Self, watch::Receiver<Arc<Documents>>) {
        let state = watch::Sender::new(Arc::default());
        let documents = state.subscribe();
        let seen = round::Seen::default();
        (Self { client: Client::new(backend, who), wanted, keep, pace, state, seen }, documents)
    }

    /// Takes up what was last good, before the backend is asked: it may be down.
    pub async fn restore(mut self) -> Self {
        if let Some(keep) = self.keep.clone() {
            let wanted = self.wanted.clone();
            let restored = tokio::task::spawn_blocking(move || match wanted {
                Wanted::Claimed(claims) => {
                    Documents { versions: disk::read(&keep, &claims.borrow()), ..Documents::default() }
                }
                Wanted::All => {
                    let whole = disk::read_whole(&keep);
                    let versions = disk::read(&keep, &whole.versions);
                    Documents { versions, v2: whole.v2, priorities: Arc::new(whole.priorities), asked: false }
                }
            });
            if let Ok(documents) = restored.await {
                self.seen.restore(&documents);
                self.state.send_replace(Arc::new(documents));
            }
        }
        self
    }

    /// Runs until `cancel`.
    pub async fn run(mut self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&mut self) {
        let mut returns = self.client.backend().returns();
        let mut failures = 0;
        loop {
            // A return from here on is news; what came before is read now.
            returns.mark_unchanged();
            let wanted = self.claimed();
            failures = if self.round(&wanted).await { 0 } else { failures + 1 };
            let next = Instant::now() + self.pause(failures);
            let mut claims = match &self.wanted {
                Wanted::Claimed(claims) => Some(claims.clone()),
                Wanted::All => None,
            };
            let others_wanted = async {
                match &mut claims {
                    Some(claims) => claims.wait_for(|now| **now != *wanted).await.map(drop),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep_until(next) => {}
                Ok(()) = returns.changed() => {}
                Ok(()) = others_wanted => {}
            }
        }
    }

    fn claimed(&self) -> Arc<[GroupVersion]> {
        match &self.wanted {
            Wanted::Claimed(claims) => Arc::clone(&claims.borrow()),
            Wanted::All => Arc::from([]),
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 => self.pace.every.mul_f64(1.0 + 0.1 * backoff::fraction()),
            _ => backoff::after(failures, self.pace.retry_min, self.pace.retry_max),
        }
    }
}
