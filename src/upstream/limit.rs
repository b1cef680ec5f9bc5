//! How many requests to one backend may be in flight: one backend cannot take the process's memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::stats::Stats;

/// What a call is, for the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request that is soon answered.
    Request,
    /// A watch or another stream without an end.
    Watch,
    /// What the aggregator itself asks: not limited, so that a busy backend is not taken for a dead one.
    Own,
}

/// The limits of one backend.
#[derive(Debug)]
pub(super) struct Limit {
    max_requests: usize,
    max_watches: usize,
    stats: Arc<Stats>,
}

/// A request's right to the backend, given back on drop.
#[derive(Debug)]
pub(super) struct Permit {
    kind: Kind,
    stats: Arc<Stats>,
}

/// So many are in flight that no more are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    /// The limit.
    pub(super) max: usize,
}

impl Limit {
    pub(super) fn new(max_requests: usize, max_watches: usize, stats: Arc<Stats>) -> Self {
        Self { max_requests, max_watches, stats }
    }

    /// At once, or not at all.
    pub(super) fn admit(&self, kind: Kind) -> Result<Permit, Full> {
        let max = match kind {
            Kind::Request => self.max_requests,
            Kind::Watch => self.max_watches,
            Kind::Own => usize::MAX,
        };
        let permit = Permit { kind, stats: Arc::clone(&self.stats) };
        let before = permit.gauge().fetch_add(1, Ordering::AcqRel);
        if before < max {
            return Ok(permit);
        }
        self.stats.rejected.fetch_add(1, Ordering::Relaxed);
        Err(Full { max })
    }
}

impl Permit {
    fn gauge(&self) -> &AtomicUsize {
        match self.kind {
            Kind::Request => &self.stats.requests,
            Kind::Watch => &self.stats.watches,
            Kind::Own => &self.stats.own,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge().fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_kind_has_its_own_limit_and_room_comes_back() {
        let stats = Arc::new(Stats::default());
        let limit = Limit::new(2, 3, Arc::clone(&stats));
        let mut held: Vec<_> = (0..2).map(|_| limit.admit(Kind::Request).unwrap()).collect();
        assert_eq!(limit.admit(Kind::Request).unwrap_err(), Full { max: 2 });
        let watches: Vec<_> = (0..3).map(|_| limit.admit(Kind::Watch).unwrap()).collect();
        assert_eq!(limit.admit(Kind::Watch).unwrap_err(), Full { max: 3 });
        let _own: Vec<_> = (0..9).map(|_| limit.admit(Kind::Own).unwrap()).collect();
        let counted = || (stats.requests_in_flight(), stats.watches_in_flight(), stats.rejected());
        assert_eq!(counted(), (2, 3, 2));
        held.pop();
        held.push(limit.admit(Kind::Request).unwrap());
        assert!(limit.admit(Kind::Request).is_err());
        drop((held, watches));
        assert_eq!(counted(), (0, 0, 3));
    }
}
