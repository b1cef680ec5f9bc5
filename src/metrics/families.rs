//! Every family, and how samples become what the encoder writes.

use prometheus::proto::{Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// One family of series.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// As it is written.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const fn family(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind, labels, help }
}

/// Every family there is.
pub static FAMILIES: &[Family] = &[
    family(
        "apiserver_request_total",
        Kind::Counter,
        &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"],
        "Requests that were answered, by what they asked for and the status of the answer.",
    ),
    family(
        "apiserver_request_duration_seconds",
        Kind::Histogram,
        &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"],
        "From a request's head to the last byte of its answer, in seconds.",
    ),
    family(
        "apiserver_current_inflight_requests",
        Kind::Gauge,
        &["request_kind"],
        "The most requests that ran at the same time in the last second, without the long-running ones.",
    ),
    family(
        "apiserver_longrunning_requests",
        Kind::Gauge,
        &["verb", "group", "version", "resource", "subresource", "scope", "component"],
        "Long-running requests under way, such as watches.",
    ),
    family(
        "apiserver_kube_aggregator_request_total",
        Kind::Counter,
        &["verb", "group", "version", "code"],
        "Requests that were sent on to a backend, by the status of the answer.",
    ),
    family(
        "apiserver_kube_aggregator_request_duration_seconds",
        Kind::Histogram,
        &["verb", "group", "version", "code"],
        "Requests that were sent on to a backend, from their head to the last byte of the answer, in seconds.",
    ),
    family(
        "aggregator_unavailable_apiservice",
        Kind::Gauge,
        &["name"],
        "1 while the APIService is not available, else 0.",
    ),
    family(
        "aggregator_unavailable_apiservice_total",
        Kind::Counter,
        &["name", "reason"],
        "How often an APIService became unavailable, by the reason of its condition.",
    ),
    family(
        "aggregator_discovery_aggregation_count_total",
        Kind::Counter,
        &[],
        "How often the aggregated discovery document was made anew.",
    ),
    family(
        "kubridge_backend_request_duration_seconds",
        Kind::Histogram,
        &["api_service", "phase"],
        "Requests to backends by phase, in seconds: resolve (until the call is sent), upstream (until the backend \
         answers), translate (until our answer begins), body (until its last byte).",
    ),
    family(
        "kubridge_backend_requests_in_flight",
        Kind::Gauge,
        &["backend"],
        "Calls to the backend that are not answered yet, watches apart.",
    ),
    family(
        "kubridge_backend_watches_in_flight",
        Kind::Gauge,
        &["backend"],
        "Watches of the backend that are open.",
    ),
    family(
        "kubridge_backend_rejected_requests_total",
        Kind::Counter,
        &["backend"],
        "Requests that were answered with 429, because too many to the backend were in flight.",
    ),
    family(
        "kubridge_backend_retries_total",
        Kind::Counter,
        &["backend", "reason"],
        "Calls that were sent again, by why.",
    ),
    family(
        "kubridge_backend_retries_over_budget_total",
        Kind::Counter,
        &["backend"],
        "Calls that would have been sent again, had there not been so many of them.",
    ),
    family(
        "kubridge_backend_ejections_total",
        Kind::Counter,
        &["backend"],
        "How often an address of the backend was left out because it failed.",
    ),
    family(
        "kubridge_backend_dials_total",
        Kind::Counter,
        &["backend"],
        "Attempts to connect to the backend.",
    ),
    family(
        "kubridge_backend_failed_dials_total",
        Kind::Counter,
        &["backend"],
        "Attempts to connect to the backend that failed.",
    ),
    family("kubridge_backend_addresses", Kind::Gauge, &["backend"], "Addresses that the backend has."),
    family(
        "kubridge_backend_connections",
        Kind::Gauge,
        &["backend"],
        "Connections to the backend that stand.",
    ),
    family(
        "kubridge_discovery_age_seconds",
        Kind::Gauge,
        &["api_service"],
        "How long ago the backend last confirmed what discovery says of the APIService.",
    ),
    family(
        "kubridge_last_known_good_documents",
        Kind::Gauge,
        &["api_service", "document"],
        "1 for each document that is served as it was last known, because the backend does not answer.",
    ),
    family(
        "kubridge_watch_clients",
        Kind::Gauge,
        &["group", "version", "resource"],
        "Watches that clients have open.",
    ),
    family(
        "kubridge_made_watch_pollers",
        Kind::Gauge,
        &["group", "version", "resource"],
        "1 while a List is polled because somebody watches and the backend has no Watch, else 0.",
    ),
    family(
        "kubridge_made_watch_polls_total",
        Kind::Counter,
        &["group", "version", "resource", "result"],
        "Polls of a List for watches, by what they came to: changed, unchanged, failed.",
    ),
    family(
        "kubridge_made_watch_poll_duration_seconds",
        Kind::Histogram,
        &["group", "version", "resource"],
        "What a poll of a List took, in seconds.",
    ),
    family(
        "kubridge_made_watch_changes_total",
        Kind::Counter,
        &["group", "version", "resource"],
        "Changes that polls found.",
    ),
    family(
        "kubridge_made_watch_events_total",
        Kind::Counter,
        &["group", "version", "resource"],
        "Events that were made for watches.",
    ),
    family(
        "kubridge_made_watch_expired_total",
        Kind::Counter,
        &["group", "version", "resource"],
        "Made watches that were answered with 410, because what is later than their version is not known any more.",
    ),
    family(
        "kubridge_snapshot_age_seconds",
        Kind::Gauge,
        &["group", "version", "resource"],
        "How long ago that was listed which reads are answered from while the backend cannot be reached.",
    ),
    family(
        "kubridge_snapshot_objects",
        Kind::Gauge,
        &["group", "version", "resource"],
        "How many objects that was.",
    ),
    family(
        "kubridge_brown_out_requests_total",
        Kind::Counter,
        &["group", "version", "resource", "result"],
        "Requests that were answered in the place of a backend that could not be reached, or could not be: answered, unanswered.",
    ),
    family("process_cpu_seconds_total", Kind::Counter, &[], "CPU time used, user and system, in seconds."),
    family("process_open_fds", Kind::Gauge, &[], "Open file descriptors."),
    family("process_max_fds", Kind::Gauge, &[], "The most file descriptors that may be open."),
    family("process_resident_memory_bytes", Kind::Gauge, &[], "Memory in RAM."),
    family("process_virtual_memory_bytes", Kind::Gauge, &[], "Address space in use."),
    family(
        "process_start_time_seconds",
        Kind::Gauge,
        &[],
        "When the process started, in seconds since 1970.",
    ),
    family("process_threads", Kind::Gauge, &[], "Threads."),
];

/// The samples of one scrape, by family.
#[derive(Debug)]
pub(super) struct Gathered(Vec<Vec<Metric>>);

impl Default for Gathered {
    fn default() -> Self {
        Self(FAMILIES.iter().map(|_| Vec::new()).collect())
    }
}

impl Gathered {
    /// A sample of a counter. `values` in the order of the family's labels.
    pub(super) fn counter(&mut self, name: &str, values: &[&str], value: u64) {
        #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are doubles")]
        self.counter_f64(name, values, value as f64);
    }

    /// A sample of a counter of something that is not whole.
    pub(super) fn counter_f64(&mut self, name: &str, values: &[&str], value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        self.add(name, Kind::Counter, values, |metric| metric.set_counter(counter));
    }

    /// A sample of a gauge.
    pub(super) fn gauge(&mut self, name: &str, values: &[&str], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.add(name, Kind::Gauge, values, |metric| metric.set_gauge(gauge));
    }

    /// A sample of a histogram.
    pub(super) fn histogram(&mut self, name: &str, values: &[&str], histogram: Histogram) {
        self.add(name, Kind::Histogram, values, |metric| metric.set_histogram(histogram));
    }

    fn add(&mut self, name: &str, kind: Kind, values: &[&str], set: impl FnOnce(&mut Metric)) {
        let (at, family) =
            FAMILIES.iter().enumerate().find(|(_, family)| family.name == name).expect("it is in the list");
        debug_assert!(family.kind == kind && family.labels.len() == values.len(), "{name}: {values:?}");
        let labels = family.labels.iter().zip(values).map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value((*value).to_owned());
            label
        });
        let mut metric = Metric::from_label(labels.collect());
        set(&mut metric);
        self.0[at].push(metric);
    }

    /// The families that have samples.
    pub(super) fn families(self) -> Vec<MetricFamily> {
        let found = FAMILIES.iter().zip(self.0).filter(|(_, samples)| !samples.is_empty());
        found
            .map(|(family, samples)| {
                let mut made = MetricFamily::default();
                made.set_name(family.name.to_owned());
                made.set_help(family.help.to_owned());
                made.set_field_type(match family.kind {
                    Kind::Counter => MetricType::COUNTER,
                    Kind::Gauge => MetricType::GAUGE,
                    Kind::Histogram => MetricType::HISTOGRAM,
                });
                made.set_metric(samples);
                made
            })
            .collect()
    }
}
