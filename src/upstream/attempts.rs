//! One request's attempts at a backend, whatever its protocol: a place, and after a failure maybe another.
//!
//! | what failed | tried again |
//! |---|---|
//! | what provably did not run | any verb, twice; the second time within the budget |
//! | a read in flight | twice, within the budget, as long as the client has hardly waited |
//! | a read that an address says it cannot serve now | likewise, on another address that is there |
//! | anything after the first byte of the answer, and after the deadline | never |

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kubridge_bridge::caller::{CallError, Class, Ran, TransportKind};
use tokio::time::{Instant, timeout_at};
use tower::retry::budget::{Budget as _, TpsBudget};

use super::{
    call::{deadline_passed, transport},
    limit::{Full, Kind, Limit, Permit},
    pool::{InFlight, Patience, Pool, Visited},
    stats::{RetryReason, Stats},
};

/// How often a call is tried again.
const RETRIES: usize = 2;
/// A retry waits for a connection only within this time of the first attempt: whoever found out late that a backend is
/// silent has waited enough.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the attempts of all requests to one backend share.
pub(super) struct Shared {
    pub(super) pool: Arc<Pool>,
    pub(super) limit: Limit,
    pub(super) budget: TpsBudget,
    pub(super) stats: Arc<Stats>,
}

impl Shared {
    pub(super) fn new(pool: Arc<Pool>, stats: Arc<Stats>) -> Self {
        let options = pool.options();
        let limit = Limit::new(options.max_requests, options.max_watches, Arc::clone(&stats));
        // A fifth of the requests of the last ten seconds, and ten more.
        let budget = TpsBudget::new(Duration::from_secs(10), 1, 0.2);
        Self { pool, limit, budget, stats }
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The transport failed.
    Transport(Ran, TransportKind),
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
}

/// One request's attempts.
pub(super) struct Attempts {
    shared: Arc<Shared>,
    permit: Arc<Permit>,
    class: Class,
    deadline: Option<Instant>,
    begun: Instant,
    visited: Vec<Visited>,
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
        Ok(Self { shared, permit, class, deadline, begun, visited: Vec::new() })
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
        let (reason, patience, free) = match (failure, self.class) {
            (Failure::Transport(Ran::No, _), _) => {
                (RetryReason::NotRun, Patience::Connect, self.visited.len() == 1)
            }
            (Failure::Transport(Ran::Unknown, TransportKind::Broken), Class::Read) => {
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
