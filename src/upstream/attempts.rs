//! One request's attempts at a backend, whatever its protocol: a place, and after a failure maybe another.
//!
//! | what failed | tried again |
//! |---|---|
//! | what provably did not run | any verb, twice; the second time within the budget |
//! | a read in flight | twice, within the budget, as long as the client has hardly waited |
//! | a read on a connection that was silent | likewise, on another one that stands, which must answer at once |
//! | a read that an address says it cannot serve now | likewise, on another address that is there |
//! | anything after the first byte of the answer, and after the deadline | never |

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kubridge_bridge::caller::{CallError, Class, Ran, TransportKind};
use tokio::time::{Instant, sleep_until, timeout_at};
use tower::retry::budget::{Budget as _, TpsBudget};

use super::{
    call::{deadline_passed, transport},
    connection::Connection,
    limit::{Full, Kind, Limit, Permit},
    pool::{InFlight, Patience, Pool, Visited},
    stats::{RetryReason, Stats},
    unimplemented::Unimplemented,
};

/// How often a call is tried again.
const RETRIES: usize = 2;
/// A retry waits for a connection only within this time of the first attempt: whoever found out late that a backend is
/// silent has waited enough.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a read whose connection was silent may take longer than finding that out. The next address may be as silent, and
/// three seconds are all that a client waits for a backend that is stopped.
const LATE: Duration = Duration::from_millis(150);
/// What it has in any case.
const LEAST: Duration = Duration::from_millis(50);

/// What the attempts of all requests to one backend share.
pub(super) struct Shared {
    pub(super) pool: Arc<Pool>,
    pub(super) limit: Limit,
    pub(super) budget: TpsBudget,
    pub(super) stats: Arc<Stats>,
    pub(super) unimplemented: Arc<Unimplemented>,
}

impl Shared {
    pub(super) fn new(pool: Arc<Pool>, stats: Arc<Stats>) -> Self {
        let options = pool.options();
        let limit = Limit::new(options.max_requests, options.max_watches, Arc::clone(&stats));
        // A fifth of the requests of the last ten seconds, and ten more.
        let budget = TpsBudget::new(Duration::from_secs(10), 1, 0.2);
        Self { pool, limit, budget, stats, unimplemented: Arc::default() }
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The transport failed.
    Transport(Ran, TransportKind),
    /// The connection broke after it was silent for so long that it was given up.
    Silent,
    /// The backend says that it is not available: UNAVAILABLE, 502, 503, 504.
    Unavailable,
    /// Any other answer.
    Answer,
}

impl Failure {
    /// What a failed gRPC call says.
    pub(super) fn of(error: &CallError) -> Self {
        match error {
            CallError::Transport(error) => Self::Transport(error.ran, error.kind),
            CallError::Status(status) if status.code == kubridge_bridge::caller::Code::Unavailable => {
                Self::Unavailable
            }
            CallError::Status(_) => Self::Answer,
        }
    }

    /// The same, of a request on this connection.
    pub(super) fn on(self, connection: &Connection, silence: Duration) -> Self {
        match self {
            Self::Transport(Ran::Unknown, TransportKind::Broken)
                if connection.silent_since(silence).is_some() =>
            {
                Self::Silent
            }
            same => same,
        }
    }
}

/// One request's attempts.
pub(super) struct Attempts {
    shared: Arc<Shared>,
    permit: Arc<Permit>,
    class: Class,
    deadline: Option<Instant>,
    begun: Instant,
    visited: Vec<Visited>,
    /// By when the present attempt must be answered.
    latest: Option<Instant>,
}

impl Attempts {
    /// Lets a request in.
    ///
    /// # Errors
    /// Too many are in flight.
    pub(super) fn new(
        shared: Arc<Shared>,
        class: Class,
        kind: Kind,
        deadline: Option<Instant>,
    ) -> Result<Self, CallError> {
        let permit = shared.limit.admit(kind).map_err(|Full { max }| {
            let message = format!("{}: {max} calls are in flight already", shared.pool.endpoint());
            transport(Ran::No, TransportKind::Overloaded, message)
        })?;
        shared.budget.deposit();
        let (permit, begun) = (Arc::new(permit), Instant::now());
        Ok(Self { shared, permit, class, deadline, begun, visited: Vec::new(), latest: None })
    }

    /// The place for the first attempt.
    ///
    /// # Errors
    /// No connection can be made, or the deadline passed: nothing was sent.
    pub(super) async fn first(&self) -> Result<InFlight, CallError> {
        self.place(Patience::Connect).await
    }

    /// The place for the next attempt after the one at `visited` failed before the first byte of an answer. `None`: the
    /// failure stands.
    pub(super) async fn next(&mut self, visited: Visited, failure: Failure) -> Option<InFlight> {
        self.visited.push(visited);
        if self.visited.len() > RETRIES || self.deadline.is_some_and(|at| at <= Instant::now()) {
            return None;
        }
        let soon = Patience::Until(self.begun + PATIENCE);
        let options = self.shared.pool.options();
        let late = self.begun + options.silence + options.silence_grace + LATE;
        self.latest = (failure == Failure::Silent).then(|| late.max(Instant::now() + LEAST));
        let (reason, patience, free) = match (failure, self.class) {
            (Failure::Transport(Ran::No, _), _) => {
                (RetryReason::NotRun, Patience::Connect, self.visited.len() == 1)
            }
            (Failure::Transport(Ran::Unknown, TransportKind::Broken) | Failure::Silent, Class::Read) => {
                (RetryReason::ReadFailed, soon, false)
            }
            (Failure::Transport(Ran::Unknown, TransportKind::Protocol), Class::Read) => {
                (RetryReason::ReadFailed, Patience::Elsewhere, false)
            }
            (Failure::Unavailable, Class::Read) => (RetryReason::Unavailable, Patience::Elsewhere, false),
            _ => return None,
        };
        // The place first: who has none spends nothing.
        let place = self.place(patience).await.ok()?;
        if !free && !self.shared.budget.withdraw() {
            self.shared.stats.over_budget.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.shared.stats.retries[reason as usize].fetch_add(1, Ordering::Relaxed);
        Some(place)
    }

    /// Completes when the present attempt was to be quick, and was not.
    pub(super) async fn late(&self) {
        match self.latest {
            None => std::future::pending().await,
            Some(latest) => sleep_until(latest).await,
        }
    }

    async fn place(&self, patience: Patience) -> Result<InFlight, CallError> {
        let pool = &self.shared.pool;
        let placing = pool.place(&self.visited, patience, &self.permit);
        match self.deadline {
            None => placing.await,
            Some(deadline) => match timeout_at(deadline, placing).await {
                Ok(placed) => placed,
                Err(_) => Err(deadline_passed(Ran::No, &pool.endpoint().to_string())),
            },
        }
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts")
            .field("backend", self.shared.pool.endpoint())
            .field("class", &self.class)
            .field("visited", &self.visited)
            .finish_non_exhaustive()
    }
}
