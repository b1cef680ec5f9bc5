//! What is counted of the watches that are made of List.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{cell::Durations, families::Gathered};

/// What a poll came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollResult {
    /// There was something to tell.
    Changed,
    /// Everything was as before.
    Unchanged,
    /// The List could not be had, or not be read.
    Failed,
}

impl PollResult {
    const ALL: [Self; 3] = [Self::Changed, Self::Unchanged, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

/// The counters of one resource. They end with the last handle.
pub struct Polls {
    running: AtomicBool,
    results: [AtomicU64; PollResult::ALL.len()],
    durations: Durations,
    changes: AtomicU64,
    events: AtomicU64,
    expired: AtomicU64,
}

impl Polls {
    fn new() -> Self {
        Self {
            running: AtomicBool::new(false),
            results: Default::default(),
            durations: Durations::of_requests(),
            changes: AtomicU64::new(0),
            events: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        }
    }

    /// Whether the List is polled.
    pub fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
    }

    /// A poll has ended, and found so many changes.
    pub fn polled(&self, result: PollResult, duration: Duration, changes: u64) {
        self.results[result as usize].fetch_add(1, Ordering::Relaxed);
        self.durations.observe(duration);
        self.changes.fetch_add(changes, Ordering::Relaxed);
    }

    /// So many events went to a watch.
    pub fn told(&self, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
    }

    /// A watch was answered with 410.
    pub fn expired(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Polls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Polls")
    }
}

/// By group, version and plural.
#[derive(Default)]
pub(super) struct AllPolls(Mutex<BTreeMap<[String; 3], Weak<Polls>>>);

impl AllPolls {
    pub(super) fn of(&self, group: &str, version: &str, resource: &str) -> Arc<Polls> {
        let key = [group, version, resource].map(str::to_owned);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, polls| polls.strong_count() > 0);
        if let Some(known) = all.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let polls = Arc::new(Polls::new());
        all.insert(key, Arc::downgrade(&polls));
        polls
    }

    pub(super) fn gather(&self, gathered: &mut Gathered) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, polls) in all.iter().filter_map(|(key, polls)| Some((key, polls.upgrade()?))) {
            let labels: Vec<&str> = key.iter().map(String::as_str).collect();
            let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let running = if polls.running.load(Ordering::Relaxed) { 1.0 } else { 0.0 };
            gathered.gauge("kubridge_made_watch_pollers", &labels, running);
            for result in PollResult::ALL {
                let labels = [&labels[..], &[result.as_str()]].concat();
                gathered.counter(
                    "kubridge_made_watch_polls_total",
                    &labels,
                    load(&polls.results[result as usize]),
                );
            }
            let durations = polls.durations.sample();
            gathered.histogram("kubridge_made_watch_poll_duration_seconds", &labels, durations);
            for (family, count) in [
                ("kubridge_made_watch_changes_total", &polls.changes),
                ("kubridge_made_watch_events_total", &polls.events),
                ("kubridge_made_watch_expired_total", &polls.expired),
            ] {
                gathered.counter(family, &labels, load(count));
            }
        }
    }
}
