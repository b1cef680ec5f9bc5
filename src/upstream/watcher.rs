//! Keeps a backend's schema up to date: a bad one never replaces a good one.

use std::{
    fmt,
    path::PathBuf,
    pin::pin,
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
use crate::backoff;

mod kept;
mod shared;

pub use kept::KeepSchema;
use shared::{Part, news};

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

/// Reads a backend's schema at the start, when the backend comes back, on suspicion, and every few minutes.
///
/// Of several replicas that share it ([`Self::share`]), the one that leads does so, and what it accepts is in use when it
/// is shared. Until anything is, each uses what it reads.
pub struct SchemaWatcher<T> {
    backend: Backend,
    file: Option<PathBuf>,
    keep: Option<KeepSchema>,
    compile: Compile<T>,
    pace: SchemaPace,
    state: watch::Sender<SchemaState<T>>,
    suspicion: Arc<Notify>,
    revision: Arc<Notify>,
    /// What was last read, or taken up in its place, good or bad.
    seen: Option<FetchedSchema>,
    seen_is_good: bool,
    part: Option<Part>,
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
        let watcher = Self {
            backend,
            file,
            keep,
            compile: Arc::new(compile),
            pace,
            state,
            suspicion,
            revision,
            seen: None,
            seen_is_good: false,
            part: None,
        };
        (watcher, handle)
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
            failures = if !self.asks() || self.read().await { 0 } else { failures + 1 };
            let next = Instant::now() + self.pause(failures);
            let (suspicion, revision) = (Arc::clone(&self.suspicion), Arc::clone(&self.revision));
            let soonest = begun + self.pace.suspect;
            let mut suspected = pin!(async {
                suspicion.notified().await;
                sleep_until(soonest).await;
            });
            loop {
                let again = tokio::select! {
                    () = sleep_until(next) => true,
                    Ok(()) = returns.changed() => true,
                    () = suspected.as_mut() => self.act_on_suspicion().await,
                    () = revision.notified() => self.revise().await,
                    news = news(self.part.as_mut()) => self.hear(news).await,
                };
                if again {
                    break;
                }
            }
        }
    }

    /// Whether this replica is to know what the backend says.
    fn asks(&self) -> bool {
        self.part.as_ref().is_none_or(Part::asks)
    }

    /// Whether the backend is to be read now.
    async fn act_on_suspicion(&mut self) -> bool {
        if !self.asks() {
            self.doubt().await;
        }
        true
    }

    /// Compiles what is in use again. What comes of it may be the same. Whether the backend is to be read now: always.
    async fn revise(&mut self) -> bool {
        if self.revise_shared().await {
            return true;
        }
        let Some(seen) = self.seen.clone() else { return true };
        let compiled = (self.compile)(&seen);
        self.seen_is_good = compiled.is_ok();
        let state = self.state.borrow().clone();
        let same = |new: &Arc<T>| state.current.as_ref().is_some_and(|present| Arc::ptr_eq(present, new));
        if state.rejected.is_none() && compiled.as_ref().is_ok_and(same) {
            return true;
        }
        let source = seen.source.clone();
        if compiled.is_ok() && state.rejected.is_some() && source != SchemaSource::Kept {
            self.keep(seen).await;
        }
        self.publish(source, compiled, None);
        true
    }

    /// Reads and publishes; whether it could be read.
    async fn read(&mut self) -> bool {
        let etag = self.seen.as_ref().map(|seen| seen.etag.clone()).unwrap_or_default();
        let fetched = fetch(&self.backend, self.file.as_deref(), &etag).await;
        let asked_at = SystemTime::now();
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
            Ok(read) if self.is_shared() => self.compare(read, asked_at).await,
            Ok(read) => self.accept(read, asked_at).await,
        }
        true
    }

    /// What was read is in use from now on, if it is good. `None`: it has not changed.
    async fn accept(&mut self, read: Option<FetchedSchema>, asked_at: SystemTime) {
        match read {
            Some(schema) if self.is_news(&schema) => {
                let compiled = (self.compile)(&schema);
                self.seen = Some(schema.clone());
                self.seen_is_good = compiled.is_ok();
                let source = schema.source.clone();
                if self.seen_is_good {
                    self.keep(schema).await;
                }
                self.publish(source, compiled, Some(asked_at));
            }
            unchanged => {
                let mut source = SchemaSource::Service;
                if let Some(schema) = unchanged {
                    source = schema.source.clone();
                    self.seen = Some(schema);
                }
                let good = self.seen_is_good;
                if good {
                    self.confirm(asked_at).await;
                }
                self.state.send_if_modified(|state| {
                    if good {
                        state.confirmed_at = Some(asked_at);
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
        self.offer_seen(asked_at);
    }

    fn is_news(&self, schema: &FetchedSchema) -> bool {
        self.seen.as_ref().is_none_or(|seen| seen.bytes != schema.bytes)
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

    fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 => self.pace.every.mul_f64(1.0 + 0.1 * backoff::fraction()),
            _ => backoff::after(failures, self.pace.retry_min, self.pace.retry_max),
        }
    }
}
