//! What is read from the connections to backends at the time of a scrape.

use std::{collections::HashSet, fmt};

use arc_swap::ArcSwapOption;

use super::families::Gathered;

/// The connections to one backend at one moment. Counts are since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendSample {
    /// Where it is: "grpc://fleet:50051".
    pub backend: String,
    /// Calls without an answer, and open streams.
    pub in_flight: u64,
    /// Calls that were sent again, by why.
    pub retries: Vec<(&'static str, u64)>,
    /// How often an address was left out.
    pub ejections: u64,
    /// Connections that came about.
    pub connected: u64,
    /// Connections that did not.
    pub failed_dials: u64,
}

type Read = dyn Fn() -> Vec<BackendSample> + Send + Sync;

/// Who reads them.
#[derive(Default)]
pub(super) struct Backends(ArcSwapOption<Box<Read>>);

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backends")
    }
}

impl Backends {
    pub(super) fn read_from(&self, read: impl Fn() -> Vec<BackendSample> + Send + Sync + 'static) {
        self.0.store(Some(std::sync::Arc::new(Box::new(read))));
    }

    pub(super) fn gather(&self, gathered: &mut Gathered) {
        let read = self.0.load_full();
        let mut seen = HashSet::new();
        for sample in read.map(|read| read()).unwrap_or_default() {
            // Two APIServices may name one address with different CAs; a series must not be there twice.
            let mut name = sample.backend.clone();
            let mut number = 1;
            while !seen.insert(name.clone()) {
                number += 1;
                name = format!("{} ({number})", sample.backend);
            }
            sample.gather(&name, gathered);
        }
    }
}

impl BackendSample {
    fn gather(&self, name: &str, gathered: &mut Gathered) {
        #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are doubles")]
        gathered.gauge("kubridge_backend_requests_in_flight", &[name], self.in_flight as f64);
        for (reason, count) in &self.retries {
            gathered.counter("kubridge_backend_retries_total", &[name, reason], *count);
        }
        gathered.counter("kubridge_backend_ejections_total", &[name], self.ejections);
        gathered.counter("kubridge_backend_dials_total", &[name, "connected"], self.connected);
        gathered.counter("kubridge_backend_dials_total", &[name, "failed"], self.failed_dials);
    }
}
