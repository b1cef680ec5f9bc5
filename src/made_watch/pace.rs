//! When the next poll is: soon where things change, seldom where they do not, and never so often that the backend does
//! little else than list.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest interval: where every poll finds something.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest: where nothing changes.
const LONGEST: Duration = Duration::from_secs(5);
/// When something is left that only another poll can confirm.
const UNSETTLED: Duration = Duration::from_millis(20);
/// One part in so many of the time is spent listing.
const SHARE: u32 = 10;
/// So much of it may be spent in advance: a write is followed at once.
const ADVANCE: Duration = Duration::from_millis(500);
/// The pauses after failures: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];

/// What a poll found, as far as the next one hangs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Nothing,
    Changes,
    /// Something that the next poll has to confirm.
    Unsettled,
    Failed,
}

/// When the next poll may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    /// When somebody asks for it.
    pub(super) earliest: Instant,
    /// When nobody does.
    pub(super) regular: Instant,
}

#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    failures: u32,
    /// Time spent listing beyond the share.
    spent: Duration,
    at: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { interval: Duration::from_secs(1), failures: 0, spent: Duration::ZERO, at: None }
    }

    /// A poll has ended at `now` after `cost`.
    pub(super) fn next(&mut self, now: Instant, cost: Duration, outcome: Outcome) -> Next {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.spent = self.spent.saturating_sub(passed / SHARE) + cost;
        let earliest = now + self.spent.saturating_sub(ADVANCE) * SHARE;
        if outcome == Outcome::Failed {
            let pause = PAUSES[0].saturating_mul(1 << self.failures.min(8)).min(PAUSES[1]);
            self.failures += 1;
            let again = earliest.max(now + pause);
            return Next { earliest: earliest.max(now + PAUSES[0]), regular: again };
        }
        self.failures = 0;
        self.interval = match outcome {
            Outcome::Nothing => (self.interval * 3 / 2).min(LONGEST),
            Outcome::Changes | Outcome::Unsettled | Outcome::Failed => (self.interval / 4).max(SHORTEST),
        };
        let wait = if outcome == Outcome::Unsettled { UNSETTLED } else { self.interval };
        Next { earliest, regular: earliest.max(now + wait) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Duration = Duration::from_millis(2);

    /// The waits of polls that nobody asks for, one after the other.
    fn waits(pace: &mut Pace, mut now: Instant, cost: Duration, outcomes: &[Outcome]) -> Vec<u128> {
        let mut waits = Vec::new();
        for outcome in outcomes {
            now += cost;
            let next = pace.next(now, cost, *outcome).regular;
            waits.push((next - now).as_millis());
            now = next;
        }
        waits
    }

    #[test]
    fn what_changes_is_looked_at_often_and_what_does_not_seldom() {
        let mut pace = Pace::new();
        let idle = waits(&mut pace, Instant::now(), CHEAP, &[Outcome::Nothing; 6]);
        assert_eq!(idle, [1500, 2250, 3375, 5000, 5000, 5000]);
        let now = Instant::now() + Duration::from_secs(60);
        let busy = waits(&mut pace, now, CHEAP, &[Outcome::Changes, Outcome::Changes, Outcome::Changes]);
        assert_eq!(busy, [1250, 312, 200]);
        assert_eq!(waits(&mut pace, now, CHEAP, &[Outcome::Unsettled]), [20]);
    }

    #[test]
    fn no_more_than_a_tenth_of_the_time_is_spent_listing() {
        for cost in [2, 30, 400, 3000].map(Duration::from_millis) {
            let mut pace = Pace::new();
            let begin = Instant::now();
            let (mut now, mut spent) = (begin, Duration::ZERO);
            // Somebody asks all the time.
            for _ in 0..500 {
                now += cost;
                spent += cost;
                now = pace.next(now, cost, Outcome::Changes).earliest.max(now);
            }
            let share = spent.as_secs_f64() / ((now - begin) + ADVANCE * SHARE).as_secs_f64();
            assert!(share < 0.11, "{cost:?}: {share}");
        }
    }

    #[test]
    fn a_write_is_followed_at_once_and_failures_are_waited_out() {
        let mut pace = Pace::new();
        let now = Instant::now();
        let next = pace.next(now, CHEAP, Outcome::Nothing);
        assert_eq!(next.earliest, now);
        let failing = waits(&mut pace, now, CHEAP, &[Outcome::Failed; 7]);
        assert_eq!(failing, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(waits(&mut pace, now, CHEAP, &[Outcome::Nothing]), [2250]);
    }
}
