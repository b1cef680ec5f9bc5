//! When a backend has come back: its schema may be another.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// A backend that loses its connections and is connected to again at once is taken for a new one at most so often: there
/// are servers that end each connection after an answer, and whoever asks them for their schema each time is answered.
const AT_MOST_EACH: Duration = Duration::from_secs(5);

/// Counts how often a backend was there again after it was not.
#[derive(Debug, Default)]
pub(super) struct Returns {
    count: watch::Sender<u64>,
    last: Option<Instant>,
    /// One that came too soon is counted later.
    planned: bool,
}

impl Returns {
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// It is back after an outage, in which it could not be connected to.
    pub(super) fn after_outage(&mut self, now: Instant) {
        self.last = Some(now);
        self.count.send_modify(|count| *count += 1);
    }

    /// It was connected to again as soon as its connections were lost. When to call [`Self::later`], if at all.
    pub(super) fn at_once(&mut self, now: Instant) -> Option<Instant> {
        match self.last.map(|last| last + AT_MOST_EACH).filter(|next| *next > now) {
            None => {
                self.after_outage(now);
                None
            }
            Some(next) => (!std::mem::replace(&mut self.planned, true)).then_some(next),
        }
    }

    /// The time is come that [`Self::at_once`] gave.
    pub(super) fn later(&mut self, now: Instant) {
        self.planned = false;
        if self.last.is_none_or(|last| last + AT_MOST_EACH <= now) {
            self.after_outage(now);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_backend_that_ends_each_connection_returns_now_and_then() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut returns = Returns::default();
        let counted = returns.subscribe();
        assert_eq!(returns.at_once(at(0)), None);
        assert_eq!(*counted.borrow(), 1, "the first time at once");
        assert_eq!(returns.at_once(at(1)), Some(at(5000)), "none is lost");
        for millis in 2..5000 {
            assert_eq!(returns.at_once(at(millis)), None);
        }
        assert_eq!(*counted.borrow(), 1);
        returns.later(at(5000));
        assert_eq!(*counted.borrow(), 2);
        assert_eq!(returns.at_once(at(5001)), Some(at(10_000)));
        returns.after_outage(at(5002));
        assert_eq!(*counted.borrow(), 3, "an outage counts each time");
        returns.later(at(10_000));
        assert_eq!(*counted.borrow(), 3, "it has been noticed since");
        assert_eq!(returns.at_once(at(20_000)), None);
        assert_eq!(*counted.borrow(), 4);
    }
}
