//! One address of a backend: its connections, and the attempts to make one.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::super::{
    connection::{Connection, DialError},
    options::Options,
};

/// A connection that lived shorter than this counts as a failure when the next one is paced.
const STABLE: Duration = Duration::from_secs(1);
/// So many attempts may run at once: a packet that was lost in front of a full backlog is sent again too late.
const MAX_ATTEMPTS: usize = 4;

/// One address: its connections, and the attempts to make one.
#[derive(Debug, Default)]
pub(super) struct Address {
    connections: Vec<Arc<Connection>>,
    /// When each attempt that runs began, by its number.
    attempts: Vec<(u64, Instant)>,
    /// Attempts that failed, and connections that did not last, in a row.
    failures: u32,
    not_before: Option<Instant>,
    /// When an attempt last failed, and why; until one succeeds.
    word: Option<(Instant, DialError)>,
    /// When it is tried again without being asked.
    redial_at: Option<Instant>,
}

impl Address {
    /// Forgets connections that take no more calls; whether there are others.
    pub(super) fn sweep(&mut self) -> bool {
        self.connections.retain(|connection| connection.is_open());
        !self.connections.is_empty()
    }

    pub(super) fn connections(&self) -> &[Arc<Connection>] {
        &self.connections
    }

    /// The least busy connection that has room, but none of `avoid`.
    pub(super) fn room(&self, avoid: impl Fn(u64) -> bool) -> Option<&Arc<Connection>> {
        self.connections
            .iter()
            .filter(|connection| connection.is_open() && !avoid(connection.id))
            .filter(|connection| connection.in_flight() < connection.capacity())
            .min_by_key(|connection| connection.in_flight())
    }

    /// How many connections there are beside those of `avoid`.
    pub(super) fn others(&self, avoid: impl Fn(u64) -> bool) -> usize {
        self.connections.iter().filter(|connection| connection.is_open() && !avoid(connection.id)).count()
    }

    /// Why the last attempt failed.
    pub(super) fn error(&self) -> Option<&DialError> {
        self.word.as_ref().map(|(_, error)| error)
    }

    /// Whether an attempt failed at or after `since`, so that another would tell nothing new.
    pub(super) fn has_failed_since(&self, since: Instant) -> bool {
        self.word.as_ref().is_some_and(|(at, _)| *at >= since)
    }

    /// Whether one more attempt makes sense beside those that run.
    pub(super) fn may_attempt(&self, now: Instant, options: &Options) -> bool {
        match self.attempts.last() {
            None => true,
            Some((_, begun)) => self.attempts.len() < MAX_ATTEMPTS && *begun + options.backoff_asked <= now,
        }
    }

    /// Whether another connection beside `others`, which are busy, makes sense. Over HTTP/1.1 each request has one to
    /// itself.
    pub(super) fn may_grow(&self, others: usize, now: Instant, options: &Options) -> bool {
        let (most, at_once) = match self.connections.iter().any(|connection| connection.is_http1()) {
            true => (options.max_requests.saturating_add(options.max_watches), MAX_ATTEMPTS),
            false => (options.max_connections, 1),
        };
        self.attempts.len() < at_once
            && others + self.attempts.len() < most
            && self.not_before.is_none_or(|at| at <= now)
    }

    /// How many HTTP/1.1 connections wait for a request.
    pub(super) fn idle_http1(&self) -> usize {
        let idle = |connection: &&Arc<Connection>| {
            connection.is_http1() && connection.is_open() && connection.in_flight() == 0
        };
        self.connections.iter().filter(idle).count()
    }

    /// Whether no attempt runs, and none is to wait.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        self.attempts.is_empty() && self.not_before.is_none_or(|at| at <= now)
    }

    pub(super) fn attempts(&self) -> usize {
        self.attempts.len()
    }

    pub(super) fn begin(&mut self, attempt: u64, now: Instant) {
        self.attempts.push((attempt, now));
    }

    /// An attempt has made a connection; whether it is the only one.
    pub(super) fn connected(&mut self, attempt: u64, connection: Arc<Connection>) -> bool {
        self.attempts.retain(|(other, _)| *other != attempt);
        let only = !self.sweep();
        self.connections.push(connection);
        self.word = None;
        self.not_before = None;
        self.redial_at = None;
        only
    }

    /// An attempt has failed.
    pub(super) fn failed(&mut self, attempt: u64, error: DialError, now: Instant) {
        self.attempts.retain(|(other, _)| *other != attempt);
        self.failures = self.failures.saturating_add(1);
        self.word = Some((now, error));
    }

    /// A connection takes no more calls; whether it was one of ours.
    pub(super) fn closed(&mut self, connection: &Connection) -> bool {
        let before = self.connections.len();
        self.connections.retain(|other| other.id != connection.id && other.is_open());
        if self.connections.len() == before {
            return false;
        }
        let lived = connection.opened.elapsed();
        self.failures = if lived < STABLE { self.failures.saturating_add(1) } else { 0 };
        true
    }

    /// A connection was silent since then, and so may be the others: no new calls on those that have heard nothing
    /// since. Whether there were any.
    pub(super) fn suspect(&mut self, since: Instant) -> bool {
        let silent =
            |connection: &&Arc<Connection>| connection.is_open() && !connection.pulse().heard_since(since);
        let suspects = self.connections.iter().filter(silent);
        let suspected = suspects.map(|connection| connection.close()).count();
        self.sweep();
        suspected > 0
    }

    /// How long to rest: not at all after a connection that lasted; else doubled with each failure, up to `longest`, and
    /// between half and all of it, so that not all come at once. `random` is between 0 and 1.
    pub(super) fn pause(&self, options: &Options, longest: Duration, random: f64) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else { return Duration::ZERO };
        let doubled = options.backoff_min.saturating_mul(1 << doublings.min(16));
        doubled.min(longest).mul_f64(0.5 + 0.5 * random)
    }

    /// Nothing is tried before `at`, unless somebody asks.
    pub(super) fn rest_until(&mut self, at: Instant) {
        self.not_before = Some(at);
    }

    /// Notes that it is to be tried at `at`; `false` where it will be sooner anyway.
    pub(super) fn plan(&mut self, at: Instant, now: Instant) -> bool {
        let sooner = self.redial_at.is_none_or(|planned| at < planned || planned < now);
        if sooner {
            self.redial_at = Some(at);
        }
        sooner
    }

    /// Whether what was planned for `at` is still so; it is no longer afterwards.
    pub(super) fn is_due(&mut self, at: Instant) -> bool {
        let due = self.redial_at == Some(at);
        if due {
            self.redial_at = None;
        }
        due
    }

    /// No new calls here; those in flight end by themselves.
    pub(super) fn drain(self) {
        for connection in self.connections {
            connection.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::connection::FailureReason;

    fn error() -> DialError {
        DialError { reason: FailureReason::Refused, message: "refused".into() }
    }

    fn failed(times: u32) -> Address {
        let mut address = Address::default();
        for attempt in 0..times {
            address.begin(attempt.into(), Instant::now());
            address.failed(attempt.into(), error(), Instant::now());
        }
        address
    }

    #[test]
    fn each_failure_doubles_the_pause_up_to_a_limit() {
        let options = Options::default();
        let longest = options.backoff_max;
        let pause = |failures, random| failed(failures).pause(&options, longest, random).as_millis();
        assert_eq!(pause(0, 1.0), 0, "who has not failed is not made to wait");
        assert_eq!([1, 2, 3, 6].map(|n| pause(n, 1.0)), [100, 200, 400, 3200]);
        assert_eq!([7, 8, 100, u32::from(u16::MAX)].map(|n| pause(n, 1.0)), [5000; 4]);
        assert_eq!([1, 7].map(|n| pause(n, 0.0)), [50, 2500], "at least half of it");
        assert_eq!(failed(9).pause(&options, options.backoff_asked, 1.0), options.backoff_asked);
    }

    #[test]
    fn attempts_run_side_by_side_only_when_the_last_one_hangs() {
        let (options, begun) = (Options::default(), Instant::now());
        let mut address = Address::default();
        assert!(address.may_attempt(begun, &options) && address.may_grow(0, begun, &options));
        let mut now = begun;
        for attempt in 0..MAX_ATTEMPTS {
            assert!(address.may_attempt(now, &options), "{attempt} run already");
            address.begin(attempt as u64, now);
            assert!(!address.may_attempt(now, &options) && !address.may_grow(1, now, &options));
            now += options.backoff_asked;
        }
        assert!(!address.may_attempt(now, &options), "{MAX_ATTEMPTS} are enough");
        address.failed(0, error(), now);
        assert!(address.may_attempt(now, &options) && address.attempts() == MAX_ATTEMPTS - 1);
        assert!(address.has_failed_since(now) && !address.has_failed_since(now + options.fresh));
        assert_eq!(address.error().map(|error| error.reason), Some(FailureReason::Refused));
    }

    #[test]
    fn there_are_so_many_connections_and_none_is_added_while_it_rests() {
        let (options, now) = (Options::default(), Instant::now());
        let mut address = Address::default();
        assert!(address.may_grow(options.max_connections - 1, now, &options));
        assert!(!address.may_grow(options.max_connections, now, &options));
        address.rest_until(now + options.backoff_min);
        assert!(!address.may_grow(0, now, &options) && !address.is_rested(now));
        let later = now + options.backoff_min;
        assert!(address.may_grow(0, later, &options) && address.is_rested(later));
    }

    #[test]
    fn the_earliest_plan_counts_and_only_once() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let mut address = Address::default();
        assert!(address.plan(at(200), now));
        assert!(!address.plan(at(300), now), "it will be sooner");
        assert!(address.plan(at(100), now));
        assert!(!address.is_due(at(200)), "it is no longer planned");
        assert!(address.is_due(at(100)) && !address.is_due(at(100)));
        // A plan whose time has passed is none.
        assert!(address.plan(at(100), now) && address.plan(at(500), at(101)));
    }
}
