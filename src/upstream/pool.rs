//! The connections to one endpoint: which one a call takes, when another is opened, and what happens while
//! none can be.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use kubridge_bridge::caller::{CallError, Ran, TransportKind};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};

use super::{
    call::transport,
    connection::{Connection, DialError, FailureReason, InFlight, describe, dial},
    endpoint::{Endpoint, Tls},
    options::Options,
};

/// A connection that lived shorter than this counts as a failure when the next one is paced.
const STABLE: Duration = Duration::from_secs(1);

/// Whether a backend can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// No connection, and none wanted yet.
    Idle,
    /// The first connection is being made.
    Connecting,
    /// At least one connection stands.
    Ready,
    /// No connection can be made; it is tried again.
    Failed {
        /// Why.
        reason: FailureReason,
        /// For the log and for conditions: addresses and causes.
        message: Arc<str>,
        /// When it began.
        since: SystemTime,
    },
}

/// The connections to one endpoint.
pub(super) struct Pool {
    endpoint: Endpoint,
    tls: Option<Tls>,
    options: Options,
    inner: Mutex<Inner>,
    /// A connection came, went, or has room again.
    changed: Arc<Notify>,
    state: watch::Sender<ConnectionState>,
    /// Counts how often the backend was reachable again after it was not.
    returns: watch::Sender<u64>,
    ids: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    connections: Vec<Arc<Connection>>,
    dialing: bool,
    redialing: bool,
    /// Dials that ended, so that who waits for one knows that it was after its question.
    dials: u64,
    failures: u32,
    not_before: Option<Instant>,
    last_error: Option<DialError>,
    was_ready: bool,
}

impl Pool {
    pub(super) fn new(endpoint: Endpoint, tls: Option<Tls>, options: Options) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            tls,
            options,
            inner: Mutex::default(),
            changed: Arc::new(Notify::new()),
            state: watch::Sender::new(ConnectionState::Idle),
            returns: watch::Sender::new(0),
            ids: AtomicU64::new(0),
        })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    pub(super) fn returns(&self) -> watch::Receiver<u64> {
        self.returns.subscribe()
    }

    /// A place for a call, not on one of the connections `avoid`. Waits for a connection or for room; fails at once
    /// with the last reason while the backend is down.
    pub(super) async fn place(self: &Arc<Self>, avoid: &[u64]) -> Result<InFlight, CallError> {
        let asked_at = self.lock().dials;
        loop {
            let changed = self.changed.notified();
            if let Some(outcome) = self.try_place(avoid, asked_at) {
                return outcome.map_err(|error| self.unavailable(&error));
            }
            changed.await;
        }
    }

    /// Opens a connection when there is none and none is being made.
    pub(super) fn wake(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.connections.retain(|connection| connection.is_open());
        if inner.connections.is_empty() && inner.not_before.is_none_or(|at| at <= Instant::now()) {
            self.start_dial(&mut inner);
        }
    }

    fn try_place(self: &Arc<Self>, avoid: &[u64], asked_at: u64) -> Option<Result<InFlight, DialError>> {
        let mut inner = self.lock();
        inner.connections.retain(|connection| connection.is_open());
        let best = inner
            .connections
            .iter()
            .filter(|connection| !avoid.contains(&connection.id))
            .min_by_key(|connection| connection.in_flight())
            .cloned();
        let wanted = self.options.streams_per_connection.max(1);
        if let Some(best) = &best
            && best.in_flight() < wanted.min(best.capacity())
        {
            return Some(Ok(best.begin()));
        }
        // Avoided connections do not count: they may be the only ones.
        let others = inner.connections.iter().filter(|connection| !avoid.contains(&connection.id)).count();
        let paused = inner.not_before.is_some_and(|at| at > Instant::now());
        if others < self.options.max_connections.max(1) && !paused {
            self.start_dial(&mut inner);
        }
        // Busier than wished, but not full: better than to wait.
        if let Some(best) = best.filter(|best| best.in_flight() < best.capacity()) {
            return Some(Ok(best.begin()));
        }
        if others > 0 || inner.dialing && inner.dials == asked_at {
            return None;
        }
        if inner.dialing && !paused && inner.last_error.is_none() {
            return None;
        }
        inner.last_error.clone().map(Err)
    }

    /// One dial at a time. It is a task of its own: a caller that gives up must not end it for the others.
    fn start_dial(self: &Arc<Self>, inner: &mut Inner) {
        if inner.dialing {
            return;
        }
        inner.dialing = true;
        if inner.connections.is_empty() && inner.last_error.is_none() {
            self.state.send_replace(ConnectionState::Connecting);
        }
        let weak = Arc::downgrade(self);
        let (endpoint, tls, options) = (self.endpoint.clone(), self.tls.clone(), self.options.clone());
        let (id, changed) = (self.ids.fetch_add(1, Ordering::Relaxed), Arc::clone(&self.changed));
        tokio::spawn(async move {
            let on_close = {
                let weak = Weak::clone(&weak);
                move |connection: &Connection, error: Option<&hyper::Error>| {
                    if let Some(pool) = weak.upgrade() {
                        pool.closed(connection, error);
                    }
                }
            };
            let outcome = dial(id, &endpoint, tls.as_ref(), &options, changed, on_close).await;
            if let Some(pool) = weak.upgrade() {
                pool.dialed(outcome);
            }
        });
    }

    fn dialed(self: &Arc<Self>, outcome: Result<Arc<Connection>, DialError>) {
        let mut inner = self.lock();
        inner.dialing = false;
        inner.dials += 1;
        inner.connections.retain(|connection| connection.is_open());
        match outcome {
            Ok(connection) => {
                tracing::debug!(connection = %connection.label, "connected");
                let returned = inner.connections.is_empty() && inner.was_ready
                    || inner.last_error.is_some() && inner.connections.is_empty();
                inner.connections.push(connection);
                inner.was_ready = true;
                inner.last_error = None;
                inner.not_before = None;
                self.state.send_if_modified(|state| {
                    std::mem::replace(state, ConnectionState::Ready) != ConnectionState::Ready
                });
                if returned {
                    self.returns.send_modify(|count| *count += 1);
                }
            }
            Err(error) => {
                inner.failures = inner.failures.saturating_add(1);
                let pause = self.pause(inner.failures);
                inner.not_before = Some(Instant::now() + pause);
                if inner.connections.is_empty() {
                    self.failed(&error);
                    self.redial_after(&mut inner, pause);
                }
                inner.last_error = Some(error);
            }
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// No new calls on this connection: a backend that stops, or a broken one.
    fn closed(self: &Arc<Self>, connection: &Connection, error: Option<&hyper::Error>) {
        let mut inner = self.lock();
        inner.connections.retain(|other| other.id != connection.id && other.is_open());
        let lived = connection.opened.elapsed();
        inner.failures = if lived < STABLE { inner.failures.saturating_add(1) } else { 0 };
        let why = error.map_or_else(|| "closed by the backend".to_owned(), |error| describe(error));
        tracing::debug!(connection = %connection.label, %why, ?lived, "connection ended");
        if inner.connections.is_empty() && !inner.dialing {
            // Tried at once when the connection was a stable one.
            let pause = if inner.failures == 0 { Duration::ZERO } else { self.pause(inner.failures) };
            self.state.send_replace(ConnectionState::Connecting);
            self.redial_after(&mut inner, pause);
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    fn failed(&self, error: &DialError) {
        self.state.send_if_modified(|state| {
            let message: Arc<str> = error.message.as_str().into();
            let (since, first) = match state {
                ConnectionState::Failed { since, reason, .. } => (*since, *reason != error.reason),
                ConnectionState::Idle | ConnectionState::Connecting | ConnectionState::Ready => {
                    (SystemTime::now(), true)
                }
            };
            if first {
                tracing::warn!(backend = %self.endpoint, error = %error.message, "backend unreachable");
            }
            *state = ConnectionState::Failed { reason: error.reason, message, since };
            first
        });
    }

    /// The backend is tried again without a call, so that its return is noticed.
    fn redial_after(self: &Arc<Self>, inner: &mut Inner, pause: Duration) {
        if std::mem::replace(&mut inner.redialing, true) {
            return;
        }
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(pause).await;
            if let Some(pool) = weak.upgrade() {
                pool.lock().redialing = false;
                pool.wake();
            }
        });
    }

    /// Doubled with each failure, up to a limit; between half and all of it, so that not all come at once.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = self.options.backoff_min.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let longest = doubled.min(self.options.backoff_max);
        let random = uuid::Uuid::new_v4().as_u128() as u32;
        longest.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    fn unavailable(&self, error: &DialError) -> CallError {
        transport(Ran::No, TransportKind::Unavailable, error.message.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics under the lock; if something did, the connections are still what they are.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("endpoint", &self.endpoint)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
