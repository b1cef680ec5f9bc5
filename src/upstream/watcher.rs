//! Keeps a backend's schema up to date: a bad one never replaces a good one.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    backend::Backend,
    schema::{FetchError, FetchedSchema, SchemaSource, fetch},
};
use crate::{
    backoff,
    last_known_good::{Entry, LastKnownGood},
};

/// The parts of a kept schema.
const DESCRIPTORS: &str = "descriptors";
const ETAG: &str = "etag";

/// Why a schema that was read is not used: every fault, each with its mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The faults.
    pub faults: Vec<String>,
}

/// What is known of a backend's schema.
#[derive(Debug)]
pub struct SchemaState<T> {
    /// The last good schema.
    pub current: Option<Arc<T>>,
    /// Where it came from.
    pub source: Option<SchemaSource>,
    /// Why the last attempt to read it failed; `None` after success.
    pub last_error: Option<FetchError>,
    /// Why the schema that the backend has now is not used.
    pub rejected: Option<Arc<Rejected>>,
    /// When the backend last said that [`Self::current`] is what it serves; before this process began, too.
    pub confirmed_at: Option<SystemTime>,
}

impl<T> Clone for SchemaState<T> {
    fn clone(&self) -> Self {
        Self {
            current: self.current.clone(),
            source: self.source.clone(),
            last_error: self.last_error.clone(),
            rejected: self.rejected.clone(),
            confirmed_at: self.confirmed_at,
        }
    }
}

impl<T> Default for SchemaState<T> {
    fn default() -> Self {
        Self { current: None, source: None, last_error: None, rejected: None, confirmed_at: None }
    }
}

/// How often a schema is read.
#[derive(Debug, Clone)]
pub struct SchemaPace {
    /// The pause after the first failure; doubled with each further one.
    pub retry_min: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
    /// The pause when all is well; up to a tenth is added, so that not all are read at once.
    pub every: Duration,
    /// Suspicion leads to a reading at most this often.
    pub suspect: Duration,
}

impl Default for SchemaPace {
    fn default() -> Self {
        Self {
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(10),
            every: Duration::from_secs(300),
            suspect: Duration::from_secs(5),
        }
    }
}

/// What others see of a [`SchemaWatcher`].
#[derive(Debug)]
pub struct SchemaHandle<T> {
    state: watch::Receiver<SchemaState<T>>,
    suspicion: Arc<Notify>,
    revision: Arc<Notify>,
}

impl<T> SchemaHandle<T> {
    /// The state. It changes when the schema, the last error or the rejection does.
    pub fn state(&self) -> watch::Receiver<SchemaState<T>> {
        self.state.clone()
    }

    /// The backend sent something that the schema does not know: read it again.
    pub fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// What the schema is compiled with is another one: compile it again, whether or not the backend can be asked.
    pub fn compile_again(&self) {
        self.revision.notify_one();
    }
}

impl<T> Clone for SchemaHandle<T> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            suspicion: Arc::clone(&self.suspicion),
            revision: Arc::clone(&self.revision),
        }
    }
}

type Compile<T> = Arc<dyn Fn(&FetchedSchema) -> Result<Arc<T>, Rejected> + Send + Sync>;

/// Where a schema that was accepted is kept.
#[derive(Debug, Clone)]
pub struct KeepSchema {
    /// The files.
    pub store: LastKnownGood,
    /// The backend's name there.
    pub subject: String,
}

/// Reads a backend's schema at the start, when the backend comes back, on suspicion, and every few minutes.
pub struct SchemaWatcher<T> {
    backend: Backend,
    file: Option<PathBuf>,
    keep: Option<KeepSchema>,
    compile: Compile<T>,
    pace: SchemaPace,
    state: watch::Sender<SchemaState<T>>,
    suspicion: Arc<Notify>,
    revision: Arc<Notify>,
    /// What was last compiled, good or bad.
    seen: Option<FetchedSchema>,
}

impl<T> fmt::Debug for SchemaWatcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaWatcher")
            .field("backend", &self.backend)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> SchemaWatcher<T> {
    /// A watcher, to be run, and its handle. `compile` turns descriptors into what is published.
    /// What `keep` has from an earlier process is read by [`Self::restore`]; a `file` needs no keeping.
    pub fn new(
        backend: Backend,
        file: Option<PathBuf>,
        keep: Option<KeepSchema>,
        pace: SchemaPace,
        compile: impl Fn(&FetchedSchema) -> Result<Arc<T>, Rejected> + Send + Sync + 'static,
    ) -> (Self, SchemaHandle<T>) {
        let state = watch::Sender::new(SchemaState::default());
        let (suspicion, revision) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handle = SchemaHandle {
            state: state.subscribe(),
            suspicion: Arc::clone(&suspicion),
            revision: Arc::clone(&revision),
        };
        let keep = keep.filter(|_| file.is_none());
        let compile: Compile<T> = Arc::new(compile);
        (Self { backend, file, keep, compile, pace, state, suspicion, revision, seen: None }, handle)
    }

    /// Takes up the schema that was last good, before the backend is asked: it may be down.
    pub async fn restore(mut self) -> Self {
        let Some(keep) = self.keep.clone() else { return self };
        let compile = Arc::clone(&self.compile);
        let restored = tokio::task::spawn_blocking(move || {
            let mut kept = keep.store.read(&keep.subject)?;
            let bytes = kept.entry.parts.remove(DESCRIPTORS)?;
            let etag = kept.entry.parts.remove(ETAG).and_then(|etag| String::from_utf8(etag).ok());
            let schema = FetchedSchema { bytes, source: SchemaSource::Kept, etag: etag.unwrap_or_default() };
            let compiled = compile(&schema);
            if let Err(rejected) = &compiled {
                // It was good for an earlier version, or with a mapping that is not there now.
                tracing::warn!(subject = %keep.subject, faults = %rejected.faults.join("; "), "a kept schema is not usable");
            }
            Some((schema, compiled, kept.confirmed_at))
        });
        if let Ok(Some((schema, compiled, confirmed_at))) = restored.await {
            self.state.send_modify(|state| {
                state.confirmed_at = Some(confirmed_at);
                match compiled {
                    Ok(compiled) => {
                        state.current = Some(compiled);
                        state.source = Some(schema.source.clone());
                    }
                    Err(rejected) => state.rejected = Some(Arc::new(rejected)),
                }
            });
            self.seen = Some(schema);
        }
        self
    }

    /// Runs until `cancel`.
    pub async fn run(mut self, cancel: CancellationToken) {
        let _ = cancel.clone().run_until_cancelled(self.watch()).await;
    }

    async fn watch(&mut self) {
        let mut returns = self.backend.returns();
        let mut failures = 0;
        loop {
            // A return from here on is news; what came before is read now.
            returns.mark_unchanged();
            let begun = Instant::now();
            failures = if self.read().await { 0 } else { failures + 1 };
            let next = Instant::now() + self.pause(failures);
            let (suspicion, revision) = (Arc::clone(&self.suspicion), Arc::clone(&self.revision));
            let suspected = async {
                suspicion.notified().await;
                sleep_until(begun + self.pace.suspect).await;
            };
            tokio::select! {
                () = sleep_until(next) => {}
                Ok(()) = returns.changed() => {}
                () = suspected => {}
                () = revision.notified() => self.revise().await,
            }
        }
    }

    /// Compiles what was last read again. What comes of it may be the same.
    async fn revise(&mut self) {
        let Some(seen) = self.seen.clone() else { return };
        let compiled = (self.compile)(&seen);
        let state = self.state.borrow().clone();
        let same = |new: &Arc<T>| state.current.as_ref().is_some_and(|present| Arc::ptr_eq(present, new));
        if state.rejected.is_none() && compiled.as_ref().is_ok_and(same) {
            return;
        }
        let source = seen.source.clone();
        if compiled.is_ok() && state.rejected.is_some() && source != SchemaSource::Kept {
            self.keep(seen).await;
        }
        self.publish(source, compiled, None);
    }

    /// Reads and publishes; whether it could be read.
    async fn read(&mut self) -> bool {
        let etag = self.seen.as_ref().map(|seen| seen.etag.clone()).unwrap_or_default();
        let fetched = fetch(&self.backend, self.file.as_deref(), &etag).await;
        let confirmed_at = Some(SystemTime::now());
        match fetched {
            Err(error) => {
                let text = error.to_string();
                self.state.send_if_modified(|state| {
                    let known = state.last_error.as_ref().is_some_and(|last| last.to_string() == text);
                    if !known {
                        tracing::warn!(backend = %self.backend.endpoint(), error = %text, "the schema cannot be read");
                    }
                    state.last_error = Some(error);
                    !known
                });
                return false;
            }
            Ok(Some(schema)) if self.seen.as_ref().is_none_or(|seen| seen.bytes != schema.bytes) => {
                let compiled = (self.compile)(&schema);
                self.seen = Some(schema.clone());
                let source = schema.source.clone();
                if compiled.is_ok() {
                    self.keep(schema).await;
                }
                self.publish(source, compiled, confirmed_at);
            }
            Ok(unchanged) => {
                let mut source = SchemaSource::Service;
                if let Some(schema) = unchanged {
                    source = schema.source.clone();
                    self.seen = Some(schema);
                }
                let good = self.state.borrow().rejected.is_none();
                if good {
                    self.confirm().await;
                }
                self.state.send_if_modified(|state| {
                    if good {
                        state.confirmed_at = confirmed_at;
                    }
                    // Kept since before; from now on it is the backend's own word.
                    let was_kept = state.source == Some(SchemaSource::Kept);
                    if was_kept {
                        state.source = Some(source);
                    }
                    state.last_error.take().is_some() || was_kept
                });
            }
        }
        true
    }

    /// What was compiled is in use from now on; a rejected schema changes nothing but what is said of it.
    /// `asked_at`: when the backend said that it is what it serves. `None`: it was not asked.
    fn publish(
        &self,
        source: SchemaSource,
        compiled: Result<Arc<T>, Rejected>,
        asked_at: Option<SystemTime>,
    ) {
        self.state.send_modify(|state| {
            if asked_at.is_some() {
                state.last_error = None;
            }
            match compiled {
                Ok(compiled) => {
                    tracing::info!(backend = %self.backend.endpoint(), %source, "schema read");
                    state.confirmed_at = asked_at.or(state.confirmed_at);
                    state.current = Some(compiled);
                    state.source = Some(source);
                    state.rejected = None;
                }
                Err(rejected) => {
                    let faults = rejected.faults.join("; ");
                    tracing::warn!(backend = %self.backend.endpoint(), %source, %faults, "schema rejected");
                    state.rejected = Some(Arc::new(rejected));
                }
            }
        });
    }

    /// Writes an accepted schema to the disk. One that cannot be written is served all the same.
    async fn keep(&self, schema: FetchedSchema) {
        let Some(keep) = self.keep.clone() else { return };
        let written = tokio::task::spawn_blocking(move || {
            let parts = [(DESCRIPTORS.to_owned(), schema.bytes), (ETAG.to_owned(), schema.etag.into_bytes())];
            keep.store.write(&keep.subject, &Entry { parts: parts.into() })
        });
        if let Ok(Err(error)) = written.await {
            tracing::error!(backend = %self.backend.endpoint(), %error, "the schema is not kept for a restart");
        }
    }

    async fn confirm(&self) {
        let Some(keep) = self.keep.clone() else { return };
        let confirmed = move || keep.store.confirm(&keep.subject, SystemTime::now());
        let _ = tokio::task::spawn_blocking(confirmed).await;
    }

    fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 => self.pace.every.mul_f64(1.0 + 0.1 * backoff::fraction()),
            _ => backoff::after(failures, self.pace.retry_min, self.pace.retry_max),
        }
    }
}
