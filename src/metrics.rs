//! What is counted: the closed set of families, made once in `app` and handed down.
//!
//! Names, labels and buckets are Kubernetes' own where it has them; ours begin with `kubridge_`. Label values come from
//! what is claimed and served, never from what a client writes, so that the number of series is bounded; those of a
//! group and version that is no longer claimed, and of an APIService that is deleted, are gone with it.
//!
//! | file | what it does |
//! |---|---|
//! | `families` | every family: name, type, labels, help. docs/metrics.md is checked against it |
//! | `requests` | what is counted of requests, by resource and verb; the handle that a request keeps |
//! | `asked` | verb, scope and dry run, as Kubernetes' metrics call them |
//! | `cell` | the counters of one combination of labels |
//! | `inflight` | how many requests run at the same time |
//! | `services` | what is counted of APIServices: availability, age of discovery |
//! | `backends` | what is read from the connections to backends at the time of a scrape |
//! | `brown_outs` | what is counted of backends that are stood in for while they are away |
//! | `polls` | what is counted of watches that are made of List |
//! | `process` | what the process uses |

mod asked;
mod backends;
mod brown_outs;
mod cell;
mod families;
mod inflight;
mod polls;
mod process;
mod requests;
mod services;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use http::Method;
use prometheus::{TextEncoder, proto::MetricFamily};

pub use asked::Asked;
pub use backends::BackendSample;
pub use brown_outs::BrownOuts;
pub use families::{FAMILIES, Family, Kind};
pub use polls::{PollResult, Polls};
pub use requests::{Known, Tally};
pub use services::{Confirmed, Documents};

use backends::Backends;
use brown_outs::AllBrownOuts;
use families::Gathered;
use polls::AllPolls;
use requests::Requests;
use services::Services;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted.
#[derive(Default)]
pub struct Metrics {
    requests: Requests,
    services: Services,
    backends: Backends,
    polls: AllPolls,
    brown_outs: AllBrownOuts,
    aggregations: AtomicU64,
}

impl Metrics {
    /// Nothing was counted yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What is served from now on. Series of what is not in it end; those of what stays go on.
    pub fn know<'a>(&self, versions: impl IntoIterator<Item = Known<'a>>) {
        self.requests.know(versions);
    }

    /// The handle of a request that asks for something. Requests of a kind share it: nothing is made but for the first.
    pub fn tally(&self, asked: &Asked<'_>) -> Tally {
        self.requests.tally(asked)
    }

    /// Counts a request as running at the same time as others, until its tally is dropped.
    pub fn begin(&self, tally: &mut Tally, method: &Method, at: Instant) {
        self.requests.begin(tally, method, at);
    }

    /// What the `Available` condition of an APIService says; `reason` is the condition's.
    pub fn set_available(&self, name: &str, available: bool, reason: &str) {
        self.services.set_available(name, available, reason);
    }

    /// When the discovery document of an APIService was last confirmed by its backend. `None`: never, or it is not the
    /// backend that says it.
    pub fn set_discovery_age(&self, name: &str, confirmed: Option<Confirmed>) {
        self.services.set_confirmed(name, confirmed);
    }

    /// Which documents of an APIService are served from the last known good ones, because its backend does not answer.
    pub fn set_last_known_good(&self, name: &str, documents: Documents) {
        self.services.set_last_known_good(name, documents);
    }

    /// An APIService was deleted: its series end.
    pub fn forget(&self, name: &str) {
        self.services.forget(name);
    }

    /// Forgets every APIService that is not among these.
    pub fn keep(&self, names: impl Fn(&str) -> bool) {
        self.services.keep(names);
    }

    /// The aggregated discovery document was made anew.
    pub fn discovery_aggregated(&self) {
        self.aggregations.fetch_add(1, Ordering::Relaxed);
    }

    /// Where the state of the connections is read at the time of a scrape. Replaces what was there.
    pub fn read_backends(&self, read: impl Fn() -> Vec<BackendSample> + Send + Sync + 'static) {
        self.backends.read_from(read);
    }

    /// The counters of a resource whose watch is made of List. They end with the last handle.
    pub fn polls(&self, group: &str, version: &str, resource: &str) -> Arc<Polls> {
        self.polls.of(group, version, resource)
    }

    /// The counters of a resource whose backend is stood in for while it is away. They end with the last handle.
    pub fn brown_outs(&self, group: &str, version: &str, resource: &str) -> Arc<BrownOuts> {
        self.brown_outs.of(group, version, resource)
    }

    /// Everything in Prometheus' text format 0.0.4. (OpenMetrics would make one family of
    /// `aggregator_unavailable_apiservice` and `aggregator_unavailable_apiservice_total`.)
    pub fn text(&self) -> String {
        let mut text = String::new();
        TextEncoder::new()
            .encode_utf8(&self.gather(), &mut text)
            .expect("families have names and samples, and a String takes what is written to it");
        text
    }

    fn gather(&self) -> Vec<MetricFamily> {
        let mut gathered = Gathered::default();
        self.requests.gather(&mut gathered);
        self.services.gather(&mut gathered, SystemTime::now());
        self.backends.gather(&mut gathered);
        self.polls.gather(&mut gathered);
        self.brown_outs.gather(&mut gathered, SystemTime::now());
        let aggregations = self.aggregations.load(Ordering::Relaxed);
        gathered.counter("aggregator_discovery_aggregation_count_total", &[], aggregations);
        process::gather(&mut gathered);
        gathered.families()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests;
