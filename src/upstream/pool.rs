//! The connections to one backend: which one a call takes, when another is opened, and what happens while none can be.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use kubridge_bridge::caller::{CallError, Ran, TransportKind};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{address::Address, returns::Returns};
use super::{
    addresses::{self, Addresses, Known, Lookup},
    balance::{Balancer, Outcome},
    call::transport,
    connection::{Connection, DialError, FailureReason, describe, dial},
    endpoint::{Endpoint, literal},
    limit::Permit,
    options::Options,
    stats::Stats,
    tls::Tls,
};
use crate::{backoff, config::Places};

mod address;
mod returns;

/// Somebody asks for the backend for so long after the last request.
const ASKED: Duration = Duration::from_secs(5);
/// An error names so many addresses.
const NAMED: usize = 3;
/// What a failed attempt may take to be heard of.
const GRACE: Duration = Duration::from_millis(50);

/// Whether a backend can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// No connection, and none wanted yet.
    Idle,
    /// The first connection is being made.
    Connecting,
    /// At least one connection stands.
    Ready,
    /// No connection can be made to any address; it is tried again.
    Failed {
        /// Why.
        reason: FailureReason,
        /// For the log and for conditions: addresses and causes.
        message: Arc<str>,
        /// When it began.
        since: SystemTime,
    },
}

/// The connections to one backend.
pub(super) struct Pool {
    endpoint: Endpoint,
    tls: Option<Tls>,
    options: Options,
    stats: Arc<Stats>,
    lookup: Lookup,
    inner: Mutex<Inner>,
    /// A connection came, went, or has room again.
    changed: Notify,
    /// Somebody wants the addresses looked up.
    look_again: Arc<Notify>,
    state: watch::Sender<ConnectionState>,
    ids: AtomicU64,
    cancel: CancellationToken,
    _cancelled_on_drop: DropGuard,
}

struct Inner {
    balancer: Balancer,
    addresses: BTreeMap<SocketAddr, Address>,
    /// Whether addresses are looked up.
    looking: bool,
    /// When the last lookup failed, and why; until one succeeds.
    unknown: Option<(Instant, DialError)>,
    asked_at: Option<Instant>,
    was_ready: bool,
    returns: Returns,
}

/// A place where a call has been: not again, while there are others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visited {
    pub(super) address: SocketAddr,
    pub(super) connection: u64,
}

/// How long a call waits for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as a connection may take; for room on connections that are full, without a limit.
    Connect,
    /// Until then.
    Until(Instant),
    /// Not at all, and on another address only.
    Elsewhere,
}

impl Pool {
    pub(super) fn new(
        endpoint: Endpoint,
        tls: Option<Tls>,
        options: Options,
        stats: Arc<Stats>,
    ) -> Arc<Self> {
        Self::with_lookup(endpoint, tls, options, stats, addresses::system())
    }

    pub(super) fn with_lookup(
        endpoint: Endpoint,
        tls: Option<Tls>,
        options: Options,
        stats: Arc<Stats>,
        lookup: Lookup,
    ) -> Arc<Self> {
        let cancel = CancellationToken::new();
        let inner = Inner {
            balancer: Balancer::new(uuid::Uuid::new_v4().as_u128() as u64),
            addresses: BTreeMap::new(),
            looking: false,
            unknown: None,
            asked_at: None,
            was_ready: false,
            returns: Returns::default(),
        };
        Arc::new(Self {
            endpoint,
            tls,
            options,
            stats,
            lookup,
            inner: Mutex::new(inner),
            changed: Notify::new(),
            look_again: Arc::new(Notify::new()),
            state: watch::Sender::new(ConnectionState::Idle),
            ids: AtomicU64::new(0),
            _cancelled_on_drop: cancel.clone().drop_guard(),
            cancel,
        })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    /// Counts how often the backend was there again after it was not.
    pub(super) fn returns(&self) -> watch::Receiver<u64> {
        self.lock().returns.subscribe()
    }

    /// A place for a call: at none of `avoid` while there are others, on none of their connections in any case.
    ///
    /// # Errors
    /// The last reason, at once, where every attempt to connect has failed only just now; else when the patience is over.
    pub(super) async fn place(
        self: &Arc<Self>,
        avoid: &[Visited],
        patience: Patience,
        permit: &Arc<Permit>,
    ) -> Result<InFlight, CallError> {
        let mut asked_at = Instant::now();
        loop {
            let changed = self.changed.notified();
            match self.try_place(avoid, patience, asked_at) {
                Step::Placed { connection, address } => {
                    let (pool, permit) = (Arc::downgrade(self), Arc::clone(permit));
                    return Ok(InFlight { connection, address, pool, permit, finished: false });
                }
                Step::Down(error) => return Err(unavailable(&error)),
                // What was said of connections before there was room is old then.
                Step::Full if patience == Patience::Connect => {
                    changed.await;
                    asked_at = Instant::now();
                }
                Step::Full | Step::Wait => {
                    let until = match patience {
                        // The attempt that is waited for says why it failed.
                        Patience::Connect => asked_at + self.options.connect_timeout + GRACE,
                        Patience::Until(until) => until,
                        Patience::Elsewhere => asked_at,
                    };
                    if timeout_at(until, changed).await.is_err() {
                        return Err(unavailable(&self.lock().worst(&self.endpoint)));
                    }
                }
            }
        }
    }

    /// Connects to what has no connection, and goes on doing so.
    pub(super) fn wake(self: &Arc<Self>) {
        let now = Instant::now();
        let mut inner = self.lock();
        self.look(&mut inner);
        let inner = &mut *inner;
        for (at, address) in &mut inner.addresses {
            if !address.sweep() && address.is_rested(now) {
                self.start_dial(*at, address, now);
            }
        }
    }

    /// For who would have called, and is answered without: that the backend is back is found out as soon as for who calls.
    pub(super) fn knock(self: &Arc<Self>) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.asked_at = Some(now);
        self.look(&mut inner);
        let fresh = now.checked_sub(self.options.fresh).unwrap_or(now);
        for (at, address) in &mut inner.addresses {
            if address.others(none) == 0
                && !address.has_failed_since(fresh)
                && address.may_attempt(now, &self.options)
            {
                self.start_dial(*at, address, now);
            }
        }
        if inner.addresses.is_empty() && inner.unknown.as_ref().is_none_or(|(at, _)| *at < fresh) {
            self.look_again.notify_one();
        }
    }

    fn try_place(self: &Arc<Self>, avoid: &[Visited], patience: Patience, asked_at: Instant) -> Step {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.asked_at = Some(now);
        self.look(&mut inner);
        let Inner { balancer, addresses, .. } = &mut *inner;
        let visited = |connection: u64| avoid.iter().any(|visited| visited.connection == connection);
        let been = |at: SocketAddr| avoid.iter().any(|visited| visited.address == at);
        let elsewhere = patience == Patience::Elsewhere;
        let open = |at: SocketAddr| {
            !(elsewhere && been(at))
                && addresses.get(&at).is_some_and(|address| address.room(visited).is_some())
        };
        let chosen = balancer.choose(now, open, been);
        if let Some(at) = chosen
            && let Some(address) = addresses.get_mut(&at)
            && let Some(connection) = address.room(visited).cloned()
        {
            balancer.begin(at);
            connection.begin();
            // Busier than wished: taken all the same, but the next one shall have it better.
            let busy = connection.in_flight() > self.options.streams_per_connection.max(1);
            if busy && address.may_grow(address.others(visited), now, &self.options) {
                self.start_dial(at, address, now);
            }
            return Step::Placed { connection, address: at };
        }
        if elsewhere {
            return Step::Down(inner.worst(&self.endpoint));
        }
        let fresh = asked_at.checked_sub(self.options.fresh).unwrap_or(asked_at);
        let (mut full, mut down) = (false, true);
        for (at, address) in addresses.iter_mut() {
            let others = address.others(visited);
            full |= others > 0;
            if others > 0 {
                if address.may_grow(others, now, &self.options) {
                    self.start_dial(*at, address, now);
                }
            } else if !address.has_failed_since(fresh) {
                down = false;
                if address.may_attempt(now, &self.options) {
                    self.start_dial(*at, address, now);
                }
            }
        }
        if full {
            return Step::Full;
        }
        if addresses.is_empty() {
            down = inner.unknown.as_ref().is_some_and(|(at, _)| *at >= fresh);
            if !down {
                self.look_again.notify_one();
            }
        }
        if down { Step::Down(inner.worst(&self.endpoint)) } else { Step::Wait }
    }

    /// Has the addresses looked up from now on.
    fn look(self: &Arc<Self>, inner: &mut Inner) {
        if std::mem::replace(&mut inner.looking, true) {
            return;
        }
        self.state.send_replace(ConnectionState::Connecting);
        let literals = |places: &Places| places.iter().map(literal).collect::<Option<Vec<_>>>();
        if let Some(addresses) = self.endpoint.candidates().first().and_then(literals) {
            // Known at once, and for ever.
            return self.set_addresses(inner, &addresses);
        }
        let looking = Addresses::new(
            &self.endpoint,
            self.options.services.as_ref(),
            Arc::clone(&self.lookup),
            self.options.connect_timeout,
            Arc::clone(&self.look_again),
        );
        let (mut known, weak, cancel) = (looking.watch(), Arc::downgrade(self), self.cancel.clone());
        tokio::spawn(async move {
            let follow = async {
                while known.changed().await.is_ok() {
                    let news = known.borrow_and_update().clone();
                    match weak.upgrade() {
                        Some(pool) => pool.looked_up(&news),
                        None => return,
                    }
                }
            };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = looking.run() => {}
                () = follow => {}
            }
        });
    }

    fn looked_up(self: &Arc<Self>, known: &Known) {
        let mut inner = self.lock();
        inner.unknown = known.error.as_ref().map(|error| {
            let message = format!("{}: {error}", self.endpoint);
            (known.at.unwrap_or_else(Instant::now), DialError { reason: FailureReason::Dns, message })
        });
        if known.error.is_none() || known.addresses.is_empty() {
            self.set_addresses(&mut inner, &known.addresses);
        }
        self.tell(&mut inner);
        drop(inner);
        self.changed.notify_waiters();
    }

    fn set_addresses(self: &Arc<Self>, inner: &mut Inner, wanted: &[SocketAddr]) {
        let gone: Vec<_> = inner.addresses.keys().filter(|at| !wanted.contains(at)).copied().collect();
        for at in gone {
            if let Some(address) = inner.addresses.remove(&at) {
                tracing::debug!(backend = %self.endpoint, address = %at, "no longer an address of the backend");
                address.drain();
            }
        }
        inner.balancer.set(wanted);
        let now = Instant::now();
        for at in wanted {
            if !inner.addresses.contains_key(at) {
                let address = inner.addresses.entry(*at).or_default();
                self.start_dial(*at, address, now);
            }
        }
        self.stats.addresses.store(inner.addresses.len(), Ordering::Relaxed);
    }

    /// A task of its own: a caller that gives up must not end it for the others.
    fn start_dial(self: &Arc<Self>, at: SocketAddr, address: &mut Address, now: Instant) {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        address.begin(id, now);
        self.stats.dials.fetch_add(1, Ordering::Relaxed);
        // If this one hangs, another may get through.
        self.plan(at, address, now + self.options.backoff_asked, now);
        let weak = Arc::downgrade(self);
        let (endpoint, tls, options) = (self.endpoint.clone(), self.tls.clone(), self.options.clone());
        tokio::spawn(async move {
            let on_close = {
                let weak = Weak::clone(&weak);
                move |connection: &Connection, error: Option<&hyper::Error>| {
                    if let Some(pool) = weak.upgrade() {
                        pool.closed(at, connection, error);
                    }
                }
            };
            let outcome = dial(id, at, &endpoint, tls.as_ref(), &options, on_close).await;
            if let Some(pool) = weak.upgrade() {
                pool.dialed(at, id, outcome);
            }
        });
    }

    fn dialed(self: &Arc<Self>, at: SocketAddr, attempt: u64, outcome: Result<Arc<Connection>, DialError>) {
        let now = Instant::now();
        let mut inner = self.lock();
        let others_stand =
            inner.addresses.iter().any(|(other, address)| *other != at && address.others(none) > 0);
        let asked = inner.is_asked(now);
        // Who left while it was dialled is not wanted.
        let Some(address) = inner.addresses.get_mut(&at) else { return };
        match outcome {
            Ok(connection) => {
                tracing::debug!(connection = %connection.label, "connected");
                let was_down = address.error().is_some();
                if address.connected(attempt, connection) && was_down && others_stand {
                    inner.balancer.returned(at, now);
                }
            }
            Err(error) => {
                self.stats.failed_dials.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(error = %error.message, "not connected");
                address.failed(attempt, error, now);
                let longest = match asked && !others_stand {
                    true => self.options.backoff_asked,
                    false => self.options.backoff_max,
                };
                let rested = now + address.pause(&self.options, longest, backoff::fraction());
                address.rest_until(rested);
                if !address.sweep() {
                    self.plan(at, address, rested, now);
                }
                // It may be somewhere else by now.
                self.look_again.notify_one();
            }
        }
        self.tell(&mut inner);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// No new calls on this connection: a backend that stops, or a broken one.
    fn closed(self: &Arc<Self>, at: SocketAddr, connection: &Connection, error: Option<&hyper::Error>) {
        let why = error.map_or_else(|| "closed by the backend".to_owned(), |error| describe(error));
        tracing::debug!(connection = %connection.label, %why, "connection ended");
        let now = Instant::now();
        let mut inner = self.lock();
        if let Some(address) = inner.addresses.get_mut(&at)
            && address.closed(connection)
            && address.connections().is_empty()
            && address.attempts() == 0
        {
            // Tried at once when the connection was a stable one.
            let pause = address.pause(&self.options, self.options.backoff_asked, backoff::fraction());
            self.plan(at, address, now + pause, now);
            self.look_again.notify_one();
        }
        self.tell(&mut inner);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// A call on this connection has failed after it was silent since then. Whoever is silent on one connection is so on
    /// all: what waits there must not be waited for, too.
    fn silent(self: &Arc<Self>, at: SocketAddr, since: Instant) {
        let now = Instant::now();
        let mut inner = self.lock();
        let Some(address) = inner.addresses.get_mut(&at) else { return };
        if !address.suspect(since) {
            return;
        }
        tracing::debug!(backend = %self.endpoint, address = %at, "silent: its other connections are given up");
        if address.connections().is_empty() && address.attempts() == 0 {
            self.plan(at, address, now, now);
        }
        self.tell(&mut inner);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The address is tried again without a call, so that its return is noticed.
    fn plan(self: &Arc<Self>, at: SocketAddr, address: &mut Address, when: Instant, now: Instant) {
        if !address.plan(when, now) {
            return;
        }
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep_until(when).await;
            if let Some(pool) = weak.upgrade() {
                pool.redial(at, when);
            }
        });
    }

    fn redial(self: &Arc<Self>, at: SocketAddr, planned: Instant) {
        let now = Instant::now();
        let mut inner = self.lock();
        let wanted_now =
            inner.is_asked(now) && !inner.addresses.values().any(|address| address.others(none) > 0);
        let Some(address) = inner.addresses.get_mut(&at) else { return };
        if !address.is_due(planned) || address.sweep() {
            return;
        }
        // Beside an attempt that hangs only while somebody waits for it.
        if address.attempts() == 0 || wanted_now && address.may_attempt(now, &self.options) {
            self.start_dial(at, address, now);
        }
    }

    fn return_later(self: &Arc<Self>, at: Instant) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep_until(at).await;
            if let Some(pool) = weak.upgrade() {
                pool.lock().returns.later(Instant::now());
            }
        });
    }

    /// Says what has become of the backend as a whole.
    fn tell(self: &Arc<Self>, inner: &mut Inner) {
        let connections = inner.addresses.values().map(|address| address.others(none)).sum();
        self.stats.connections.store(connections, Ordering::Relaxed);
        let known_bad = match inner.addresses.is_empty() {
            true => inner.unknown.is_some(),
            false => inner.addresses.values().all(|address| address.error().is_some()),
        };
        if connections > 0 {
            let stands = *self.state.borrow() == ConnectionState::Ready;
            let before = (!stands).then(|| self.state.send_replace(ConnectionState::Ready));
            let now = Instant::now();
            match before {
                Some(ConnectionState::Failed { .. }) => inner.returns.after_outage(now),
                Some(_) if inner.was_ready => {
                    if let Some(at) = inner.returns.at_once(now) {
                        self.return_later(at);
                    }
                }
                Some(_) | None => {}
            }
            inner.was_ready = true;
        } else if known_bad {
            self.failed(&inner.worst(&self.endpoint));
        } else {
            self.state.send_if_modified(|state| {
                let stood = *state == ConnectionState::Ready;
                if stood {
                    *state = ConnectionState::Connecting;
                }
                stood
            });
        }
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

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics under the lock; if something did, the connections are still what they are.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Step {
    Placed {
        connection: Arc<Connection>,
        address: SocketAddr,
    },
    /// Every connection is full.
    Full,
    /// It is not known yet whether a connection can be made.
    Wait,
    Down(DialError),
}

impl Inner {
    fn is_asked(&self, now: Instant) -> bool {
        self.asked_at.is_some_and(|at| now.saturating_duration_since(at) < ASKED)
    }

    /// The reason that tells most, with the causes of several addresses.
    fn worst(&self, endpoint: &Endpoint) -> DialError {
        let mut errors: Vec<&DialError> = self.addresses.values().filter_map(Address::error).collect();
        errors.extend(self.unknown.as_ref().map(|(_, error)| error));
        errors.sort_by_key(|error| telling(error.reason));
        let Some(first) = errors.first() else {
            let message = format!("{endpoint}: no connection yet");
            return DialError { reason: FailureReason::Timeout, message };
        };
        let mut message =
            errors.iter().take(NAMED).map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ");
        if let Some(more) = errors.len().checked_sub(NAMED).filter(|more| *more > 0) {
            message.push_str(&format!("; and {more} more"));
        }
        DialError { reason: first.reason, message }
    }
}

/// A call's place on a connection, given back on drop.
pub(super) struct InFlight {
    connection: Arc<Connection>,
    address: SocketAddr,
    pool: Weak<Pool>,
    permit: Arc<Permit>,
    finished: bool,
}

impl InFlight {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The request's right to the backend, for what outlasts this place.
    pub(super) fn permit(&self) -> Arc<Permit> {
        Arc::clone(&self.permit)
    }

    /// Where it is, to be somewhere else next time.
    pub(super) fn visited(&self) -> Visited {
        Visited { address: self.address, connection: self.connection.id }
    }

    /// The answer was read to its end: the connection can be used again, whatever it speaks.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }

    /// What became of the call, for the calls to come.
    pub(super) fn record(&self, outcome: Outcome) {
        let Some(pool) = self.pool.upgrade() else { return };
        if outcome == Outcome::Failed {
            // Before another try is made.
            if let Some(since) = self.connection.silent_since(pool.options.silence) {
                pool.silent(self.address, since);
            }
            if !self.connection.is_news() {
                return;
            }
        }
        if pool.lock().balancer.record(self.address, outcome, Instant::now()) {
            pool.stats.ejections.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(backend = %pool.endpoint, address = %self.address, "an address fails again and again: ejected");
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.connection.end(self.finished);
        if let Some(pool) = self.pool.upgrade() {
            let mut inner = pool.lock();
            inner.balancer.end(self.address);
            if self.connection.is_http1()
                && let Some(address) = inner.addresses.get_mut(&self.address)
                && address.idle_http1() > pool.options.max_connections
            {
                self.connection.close();
                address.sweep();
            }
            drop(inner);
            pool.changed.notify_waiters();
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("connection", &self.connection)
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}

/// What is there and wrong tells more than what is not there: later addresses often fail for want of IPv6.
fn telling(reason: FailureReason) -> u8 {
    match reason {
        FailureReason::Tls => 0,
        FailureReason::NotHttp2 => 1,
        FailureReason::Refused => 2,
        FailureReason::Timeout => 3,
        FailureReason::Network => 4,
        FailureReason::Dns => 5,
    }
}

fn none(_: u64) -> bool {
    false
}

fn unavailable(error: &DialError) -> CallError {
    transport(Ran::No, TransportKind::Unavailable, error.message.clone())
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("endpoint", &self.endpoint)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
