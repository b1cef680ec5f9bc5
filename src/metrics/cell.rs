//! The counters of one combination of labels.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus::{Histogram, HistogramOpts, core::Metric as _, proto};

/// The upper ends of the buckets of request durations, in seconds: kube-apiserver's.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

/// Those of a phase within a request: bridged calls take fractions of a millisecond.
const PHASE_SECONDS: [f64; 17] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0, 60.0,
];

/// The status codes that have a place of their own. In rising order.
const COMMON: [u16; 25] = [
    101, 200, 201, 202, 204, 301, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 499, 500,
    501, 502, 503, 504,
];

/// Durations.
pub(super) struct Durations(Histogram);

impl Durations {
    pub(super) fn of_requests() -> Self {
        Self::with(&SECONDS)
    }

    pub(super) fn of_phases() -> Self {
        Self::with(&PHASE_SECONDS)
    }

    fn with(buckets: &[f64]) -> Self {
        // The family gives it its name when it is written.
        let options = HistogramOpts::new("duration", "duration").buckets(buckets.to_vec());
        Self(Histogram::with_opts(options).expect("the buckets rise"))
    }

    pub(super) fn observe(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }

    pub(super) fn sample(&self) -> proto::Histogram {
        self.0.metric().get_histogram().clone()
    }
}

/// Something for each status code, made when it is first seen.
pub(super) struct ByCode<T> {
    common: [std::sync::OnceLock<T>; COMMON.len()],
    others: Mutex<BTreeMap<u16, T>>,
}

impl<T> Default for ByCode<T> {
    fn default() -> Self {
        Self { common: Default::default(), others: Mutex::default() }
    }
}

impl<T> ByCode<T> {
    /// What is kept for a code. Those below 100 and beyond 599 are one.
    pub(super) fn with(&self, code: u16, make: impl FnOnce() -> T, act: impl FnOnce(&T)) {
        match COMMON.binary_search(&code) {
            Ok(at) => act(self.common[at].get_or_init(make)),
            Err(_) => {
                let code = if (100..600).contains(&code) { code } else { 0 };
                let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
                act(others.entry(code).or_insert_with(make));
            }
        }
    }

    pub(super) fn each(&self, mut act: impl FnMut(&str, &T)) {
        for (code, kept) in COMMON.iter().zip(&self.common) {
            if let Some(kept) = kept.get() {
                act(&code.to_string(), kept);
            }
        }
        for (code, kept) in self.others.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            act(&code.to_string(), kept);
        }
    }
}

/// What is counted of requests that ask for the same with the same verb.
pub(super) struct Cell {
    pub(super) codes: ByCode<AtomicU64>,
    pub(super) durations: Durations,
    /// Long-running ones under way.
    pub(super) running: AtomicI64,
    /// Whether one of them was long-running: its gauge is written from then on.
    pub(super) ran_long: std::sync::atomic::AtomicBool,
}

impl Cell {
    pub(super) fn new() -> Self {
        Self {
            codes: ByCode::default(),
            durations: Durations::of_requests(),
            running: AtomicI64::new(0),
            ran_long: false.into(),
        }
    }

    pub(super) fn done(&self, code: u16, elapsed: Duration) {
        self.codes.with(
            code,
            || AtomicU64::new(0),
            |count| {
                count.fetch_add(1, Ordering::Relaxed);
            },
        );
        self.durations.observe(elapsed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_and_odd_ones_are_few() {
        assert!(COMMON.is_sorted());
        let codes = ByCode::<AtomicU64>::default();
        for code in [200, 200, 418, 0, 700, 65_535] {
            codes.with(code, AtomicU64::default, |count| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut seen = Vec::new();
        codes.each(|code, count| seen.push((code.to_owned(), count.load(Ordering::Relaxed))));
        assert_eq!(seen, [("200".into(), 2), ("0".into(), 3), ("418".into(), 1)]);
    }
}
