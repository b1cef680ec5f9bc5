//! How many requests run at the same time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// A number that rises and falls, and the most it was within a second: a scrape each minute would see little of it.
#[derive(Debug)]
pub(super) struct Inflight {
    epoch: Instant,
    now: AtomicU64,
    /// The second in the upper half, the most in it in the lower.
    most: AtomicU64,
}

impl Default for Inflight {
    fn default() -> Self {
        Self { epoch: Instant::now(), now: AtomicU64::new(0), most: AtomicU64::new(0) }
    }
}

impl Inflight {
    pub(super) fn begin(&self, at: Instant) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let seen = self.pack(at, now);
        let _ = self.most.try_update(Ordering::Relaxed, Ordering::Relaxed, |most| {
            // A later second is a larger number, and so is more in the same one.
            (seen > most).then_some(seen)
        });
    }

    pub(super) fn end(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    /// The most in this second and the one before it.
    pub(super) fn most(&self, at: Instant) -> u64 {
        let now = self.now.load(Ordering::Relaxed);
        let most = self.most.load(Ordering::Relaxed);
        let recent = (most >> 32) + 1 >= self.pack(at, 0) >> 32;
        if recent { now.max(most & u64::from(u32::MAX)) } else { now }
    }

    fn pack(&self, at: Instant, number: u64) -> u64 {
        let second = at.saturating_duration_since(self.epoch).as_secs() & u64::from(u32::MAX);
        second << 32 | number.min(u64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_most_of_a_second_is_remembered_for_a_second() {
        let inflight = Inflight::default();
        let at = |seconds: f64| inflight.epoch + Duration::from_secs_f64(seconds);
        assert_eq!(inflight.most(at(0.0)), 0);
        for _ in 0..3 {
            inflight.begin(at(5.1));
        }
        inflight.end();
        inflight.end();
        assert_eq!(inflight.most(at(5.2)), 3);
        assert_eq!(inflight.most(at(6.9)), 3);
        assert_eq!(inflight.most(at(7.0)), 1);
        inflight.begin(at(8.0));
        assert_eq!(inflight.most(at(8.1)), 2);
    }
}
