//! What a backend's connections have done, for metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Why a call was tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// It provably did not run: any verb.
    NotRun,
    /// A read that failed in flight.
    ReadFailed,
    /// A read for which an address said that it is not available.
    Unavailable,
}

impl RetryReason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NotRun, Self::ReadFailed, Self::Unavailable];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRun => "not_run",
            Self::ReadFailed => "read_failed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Counters and gauges of one backend. They only grow, but for those that say "in flight" or "now".
#[derive(Debug, Default)]
pub struct Stats {
    pub(super) requests: AtomicUsize,
    pub(super) watches: AtomicUsize,
    pub(super) own: AtomicUsize,
    pub(super) rejected: AtomicU64,
    pub(super) dials: AtomicU64,
    pub(super) failed_dials: AtomicU64,
    pub(super) ejections: AtomicU64,
    pub(super) retries: [AtomicU64; RetryReason::ALL.len()],
    pub(super) over_budget: AtomicU64,
    pub(super) addresses: AtomicUsize,
    pub(super) connections: AtomicUsize,
}

impl Stats {
    /// Requests in flight, watches apart.
    pub fn requests_in_flight(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Watches and other streams without an end in flight.
    pub fn watches_in_flight(&self) -> usize {
        self.watches.load(Ordering::Relaxed)
    }

    /// Requests and watches that were answered with 429 because too many were in flight.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Attempts to connect.
    pub fn dials(&self) -> u64 {
        self.dials.load(Ordering::Relaxed)
    }

    /// Attempts to connect that failed.
    pub fn failed_dials(&self) -> u64 {
        self.failed_dials.load(Ordering::Relaxed)
    }

    /// How often an address was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Calls that were tried again.
    pub fn retries(&self, reason: RetryReason) -> u64 {
        self.retries[reason as usize].load(Ordering::Relaxed)
    }

    /// Calls that would have been tried again, had there not been so many retries.
    pub fn over_budget(&self) -> u64 {
        self.over_budget.load(Ordering::Relaxed)
    }

    /// The addresses that there are now.
    pub fn addresses(&self) -> usize {
        self.addresses.load(Ordering::Relaxed)
    }

    /// The connections that stand now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
