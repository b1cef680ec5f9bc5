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
    /// When it was last read, or found unchanged.
    pub checked_at: Option<SystemTime>,
}

impl<T> Clone for SchemaState<T> {
    fn clone(&self) -> Self {
        Self {
            current: self.current.clone(),
            source: self.source.clone(),
            last_error: self.last_error.clone(),
            rejected: self.rejected.clone(),
            checked_at: self.checked_at,
        }
    }
}

impl<T> Default for SchemaState<T> {
    fn default() -> Self {
        Self { current: None, source: None, last_error: None, rejected: None, checked_at: None }
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
}

impl<T> Clone for SchemaHandle<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), suspicion: Arc::clone(&self.suspicion) }
    }
}

type Compile<T> = Box<dyn Fn(&FetchedSchema) -> Result<Arc<T>, Rejected> + Send + Sync>;

/// Reads a backend's schema at the start, when the backend comes back, on suspicion, and every few minutes.
pub struct SchemaWatcher<T> {
    backend: Backend,
    file: Option<PathBuf>,
    compile: Compile<T>,
    pace: SchemaPace,
    state: watch::Sender<SchemaState<T>>,
    suspicion: Arc<Notify>,
    /// What was last compiled, good or bad, and its etag.
    seen: Vec<u8>,
    etag: String,
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
    pub fn new(
        backend: Backend,
        file: Option<PathBuf>,
        pace: SchemaPace,
        compile: impl Fn(&FetchedSchema) -> Result<Arc<T>, Rejected> + Send + Sync + 'static,
    ) -> (Self, SchemaHandle<T>) {
        let state = watch::Sender::new(SchemaState::default());
        let suspicion = Arc::new(Notify::new());
        let handle = SchemaHandle { state: state.subscribe(), suspicion: Arc::clone(&suspicion) };
        let compile = Box::new(compile);
        (
            Self { backend, file, compile, pace, state, suspicion, seen: Vec::new(), etag: String::new() },
            handle,
        )
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
            let suspicion = Arc::clone(&self.suspicion);
            let suspected = async {
                suspicion.notified().await;
                sleep_until(begun + self.pace.suspect).await;
            };
            tokio::select! {
                () = sleep_until(next) => {}
                Ok(()) = returns.changed() => {}
                () = suspected => {}
            }
        }
    }

    /// Reads and publishes; whether it could be read.
    async fn read(&mut self) -> bool {
        let fetched = fetch(&self.backend, self.file.as_deref(), &self.etag).await;
        let checked_at = Some(SystemTime::now());
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
            Ok(Some(schema)) if schema.bytes != self.seen => {
                self.seen.clone_from(&schema.bytes);
                self.etag.clone_from(&schema.etag);
                let source = schema.source.clone();
                let compiled = (self.compile)(&schema);
                self.state.send_modify(|state| {
                    state.checked_at = checked_at;
                    state.last_error = None;
                    match compiled {
                        Ok(compiled) => {
                            tracing::info!(backend = %self.backend.endpoint(), %source, "schema read");
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
            Ok(unchanged) => {
                if let Some(schema) = unchanged {
                    self.etag = schema.etag;
                }
                self.state.send_if_modified(|state| {
                    state.checked_at = checked_at;
                    state.last_error.take().is_some()
                });
            }
        }
        true
    }

    fn pause(&self, failures: u32) -> Duration {
        let random = f64::from(uuid::Uuid::new_v4().as_u128() as u32) / f64::from(u32::MAX);
        match failures {
            0 => self.pace.every.mul_f64(1.0 + 0.1 * random),
            _ => {
                let doubled = self.pace.retry_min.saturating_mul(1 << (failures - 1).min(16));
                doubled.min(self.pace.retry_max).mul_f64(0.5 + 0.5 * random)
            }
        }
    }
}
