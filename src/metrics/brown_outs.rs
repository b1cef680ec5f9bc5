//! What is counted of backends that are stood in for while they are away.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::families::Gathered;

/// The counters of one resource. They end with the last handle.
#[derive(Default)]
pub struct BrownOuts {
    /// When what is kept was listed, and how many objects that are.
    kept: Mutex<Option<(SystemTime, usize)>>,
    answered: AtomicU64,
    unanswered: AtomicU64,
}

impl BrownOuts {
    /// What is kept was listed at that time, and is so many objects; `None`: nothing is kept.
    pub fn set_kept(&self, kept: Option<(SystemTime, usize)>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// A request was answered in the backend's place, or could not be.
    pub fn asked(&self, answered: bool) {
        let count = if answered { &self.answered } else { &self.unanswered };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for BrownOuts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BrownOuts")
    }
}

/// By group, version and plural.
#[derive(Default)]
pub(super) struct AllBrownOuts(Mutex<BTreeMap<[String; 3], Weak<BrownOuts>>>);

impl AllBrownOuts {
    pub(super) fn of(&self, group: &str, version: &str, resource: &str) -> Arc<BrownOuts> {
        let key = [group, version, resource].map(str::to_owned);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, counts| counts.strong_count() > 0);
        if let Some(known) = all.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let counts = Arc::new(BrownOuts::default());
        all.insert(key, Arc::downgrade(&counts));
        counts
    }

    pub(super) fn gather(&self, gathered: &mut Gathered, now: SystemTime) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, counts) in all.iter().filter_map(|(key, counts)| Some((key, counts.upgrade()?))) {
            let labels: Vec<&str> = key.iter().map(String::as_str).collect();
            if let Some((taken, objects)) = *counts.kept.lock().unwrap_or_else(PoisonError::into_inner) {
                let age = now.duration_since(taken).unwrap_or_default().as_secs_f64();
                gathered.gauge("kubridge_snapshot_age_seconds", &labels, age);
                gathered.gauge("kubridge_snapshot_objects", &labels, objects as f64);
            }
            for (result, count) in [("answered", &counts.answered), ("unanswered", &counts.unanswered)] {
                let labels = [&labels[..], &[result]].concat();
                gathered.counter("kubridge_brown_out_requests_total", &labels, count.load(Ordering::Relaxed));
            }
        }
    }
}
