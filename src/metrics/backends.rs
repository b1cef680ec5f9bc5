//! What is read from the connections to backends at the time of a scrape.

use std::{collections::HashSet, fmt};

use arc_swap::ArcSwapOption;

use super::families::Gathered;

/// The connections to one backend at one moment. Counts are since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendSample {
    /// Where it is: "grpc://fleet:50051".
    pub backend: String,
    /// Calls without an answer.
    pub requests_in_flight: u64,
    /// Open streams without an end.
    pub watches_in_flight: u64,
    /// Calls that were refused because too many were in flight.
    pub rejected: u64,
    /// Calls that were sent again, by why.
    pub retries: Vec<(&'static str, u64)>,
    /// Calls that would have been sent again, had there not been so many.
    pub retries_over_budget: u64,
    /// How often an address was left out.
    pub ejections: u64,
    /// Attempts to connect.
    pub dials: u64,
    /// Those that failed.
    pub failed_dials: u64,
    /// Addresses that there are now.
    pub addresses: u64,
    /// Connections that stand now.
    pub connections: u64,
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
        for (family, value) in [
            ("kubridge_backend_requests_in_flight", self.requests_in_flight),
            ("kubridge_backend_watches_in_flight", self.watches_in_flight),
            ("kubridge_backend_addresses", self.addresses),
            ("kubridge_backend_connections", self.connections),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are doubles")]
            gathered.gauge(family, &[name], value as f64);
        }
        for (reason, count) in &self.retries {
            gathered.counter("kubridge_backend_retries_total", &[name, reason], *count);
        }
        for (family, count) in [
            ("kubridge_backend_retries_over_budget_total", self.retries_over_budget),
            ("kubridge_backend_rejected_requests_total", self.rejected),
            ("kubridge_backend_ejections_total", self.ejections),
            ("kubridge_backend_dials_total", self.dials),
            ("kubridge_backend_failed_dials_total", self.failed_dials),
        ] {
            gathered.counter(family, &[name], count);
        }
    }
}
