//! What is counted of requests. A request finds its counters once, by three look-ups with borrowed names, and keeps
//! them: nothing is allocated, and no label is put together before a scrape.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::Method;
use kubridge_bridge::{
    discovery_doc::{ResourceDocument, SubresourceDocument, VersionDocument},
    request_info::RequestInfo,
};

use super::{
    asked::{Asked, DryRun, Scope, Verb},
    cell::{ByCode, Cell, Durations},
    families::Gathered,
    inflight::Inflight,
};
use crate::telemetry::Phases;

/// The label `component`.
const COMPONENT: &str = "apiserver";

/// The paths that name no resource and are counted by themselves (the label `subresource`, as in Kubernetes).
const PATHS: [&str; 10] = [
    "/",
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/readyz",
    "/version",
];

/// A group and version that is claimed.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// "inventory.example.com".
    pub group: &'a str,
    /// "v1".
    pub version: &'a str,
    /// Its resources. As long as it is the same `Arc`, it is not looked at again.
    pub document: Option<&'a Arc<VersionDocument>>,
}

/// The counters of one path or resource, by what is asked of it. Made when they are first wanted.
#[derive(Default)]
struct Series([OnceLock<Box<ByScope>>; Verb::ALL.len()]);

type ByScope = [OnceLock<Arc<Cell>>; Scope::ALL.len() * DryRun::ALL.len()];

impl Series {
    fn cell(&self, verb: Verb, scope: Scope, dry_run: DryRun) -> &Arc<Cell> {
        let of_verb = self.0[verb as usize].get_or_init(Box::default);
        of_verb[scope as usize * DryRun::ALL.len() + dry_run as usize].get_or_init(|| Arc::new(Cell::new()))
    }

    fn each(&self, mut act: impl FnMut(Verb, Scope, DryRun, &Cell)) {
        for (verb, of_verb) in Verb::ALL.iter().zip(&self.0) {
            let cells = of_verb.get().into_iter().flat_map(|cells| cells.iter().enumerate());
            for (at, cell) in cells.filter_map(|(at, cell)| Some((at, cell.get()?))) {
                let (scope, dry_run) = (at / DryRun::ALL.len(), at % DryRun::ALL.len());
                act(*verb, Scope::ALL[scope], DryRun::ALL[dry_run], cell);
            }
        }
    }
}

#[derive(Default)]
struct Resource {
    own: Arc<Series>,
    subresources: HashMap<String, Arc<Series>>,
    watches: Arc<AtomicI64>,
}

/// What was sent on to the backend of a group and version.
struct SentOn {
    answers: [ByCode<Durations>; Verb::ALL.len()],
    resolve: Durations,
    upstream: Durations,
    translate: Durations,
    body: Durations,
}

impl SentOn {
    fn new() -> Self {
        Self {
            answers: Default::default(),
            resolve: Durations::of_phases(),
            upstream: Durations::of_phases(),
            translate: Durations::of_phases(),
            body: Durations::of_phases(),
        }
    }
}

/// A group and version.
struct Version {
    /// "v1.inventory.example.com".
    api_service: String,
    document: Option<Arc<VersionDocument>>,
    /// Discovery of it, and resources that it does not have.
    none: Arc<Series>,
    resources: HashMap<String, Resource>,
    sent_on: Arc<OnceLock<SentOn>>,
}

impl Version {
    /// What is known now, with the counters of what was known before.
    fn new(known: &Known<'_>, old: Option<&Arc<Self>>) -> Arc<Self> {
        let is_same = |old: &&Arc<Self>| match (&old.document, known.document) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if let Some(old) = old.filter(is_same) {
            return Arc::clone(old);
        }
        let resource = |new: &ResourceDocument| {
            let old = old.and_then(|old| old.resources.get(&new.resource));
            let subresource = |new: &SubresourceDocument| {
                let series = old.and_then(|old| old.subresources.get(&new.subresource));
                (new.subresource.clone(), series.cloned().unwrap_or_default())
            };
            let made = Resource {
                own: old.map(|old| Arc::clone(&old.own)).unwrap_or_default(),
                watches: old.map(|old| Arc::clone(&old.watches)).unwrap_or_default(),
                subresources: new.subresources.iter().map(subresource).collect(),
            };
            (new.resource.clone(), made)
        };
        let resources = known.document.map(|document| document.resources.as_slice()).unwrap_or_default();
        Arc::new(Self {
            api_service: format!("{}.{}", known.version, known.group),
            document: known.document.cloned(),
            none: old.map(|old| Arc::clone(&old.none)).unwrap_or_default(),
            resources: resources.iter().map(resource).collect(),
            sent_on: old.map(|old| Arc::clone(&old.sent_on)).unwrap_or_default(),
        })
    }

    fn gather(&self, group: &str, version: &str, gathered: &mut Gathered) {
        gather(&self.none, &[group, version, "", ""], gathered);
        for (name, resource) in &self.resources {
            gather(&resource.own, &[group, version, name, ""], gathered);
            for (subresource, series) in &resource.subresources {
                gather(series, &[group, version, name, subresource], gathered);
            }
            #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are doubles")]
            let watches = resource.watches.load(Ordering::Relaxed) as f64;
            gathered.gauge("kubridge_watch_clients", &[group, version, name], watches);
        }
        let Some(sent_on) = self.sent_on.get() else { return };
        for (verb, answers) in Verb::ALL.iter().zip(&sent_on.answers) {
            answers.each(|code, durations| {
                let labels = [verb.as_str(), group, version, code];
                let sample = durations.sample();
                let count = sample.get_sample_count();
                gathered.counter("apiserver_kube_aggregator_request_total", &labels, count);
                gathered.histogram("apiserver_kube_aggregator_request_duration_seconds", &labels, sample);
            });
        }
        for (phase, durations) in [
            ("resolve", &sent_on.resolve),
            ("upstream", &sent_on.upstream),
            ("translate", &sent_on.translate),
            ("body", &sent_on.body),
        ] {
            let labels = [self.api_service.as_str(), phase];
            gathered.histogram("kubridge_backend_request_duration_seconds", &labels, durations.sample());
        }
    }
}

type Versions = HashMap<String, HashMap<String, Arc<Version>>>;

/// See the module.
#[derive(Default)]
pub(super) struct Requests {
    versions: ArcSwap<Versions>,
    /// By [`PATHS`].
    paths: [Arc<Series>; PATHS.len()],
    /// Paths that nobody claims, and requests that were refused before anybody looked.
    others: Arc<Series>,
    read_only: Arc<Inflight>,
    mutating: Arc<Inflight>,
}

impl Requests {
    pub(super) fn know<'a>(&self, known: impl IntoIterator<Item = Known<'a>>) {
        let old = self.versions.load();
        let mut versions = Versions::new();
        for known in known {
            let of_old = old.get(known.group).and_then(|group| group.get(known.version));
            let version = Version::new(&known, of_old);
            versions.entry(known.group.to_owned()).or_default().insert(known.version.to_owned(), version);
        }
        self.versions.store(Arc::new(versions));
    }

    pub(super) fn tally(&self, asked: &Asked<'_>) -> Tally {
        let Asked { info, verb, scope, dry_run } = *asked;
        let versions = self.versions.load();
        let version = info.and_then(|info| versions.get(&info.api_group)?.get(&info.api_version));
        let resource = info.zip(version).and_then(|(info, version)| version.resources.get(&info.resource));
        let series = match (info, version, resource) {
            (Some(info), _, Some(resource)) if info.subresource.is_empty() => Some(&resource.own),
            (Some(info), _, Some(resource)) => resource.subresources.get(&info.subresource),
            (_, Some(version), None) => Some(&version.none),
            (Some(info), None, None) if !info.is_resource_request => self.path(info),
            _ => None,
        };
        let is_served = resource.is_some() && series.is_some();
        // A subresource that there is not is counted with what nobody claims.
        let cell = series.unwrap_or(&self.others).cell(verb, scope, dry_run);
        Tally {
            cell: Arc::clone(cell),
            version: version.cloned(),
            watches: resource.filter(|_| verb == Verb::Watch).map(|resource| Arc::clone(&resource.watches)),
            verb,
            is_served,
            running: Running::No,
        }
    }

    /// Counts it as running at the same time as others, until its tally is dropped.
    pub(super) fn begin(&self, tally: &mut Tally, method: &Method, at: Instant) {
        let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let inflight = if is_read { &self.read_only } else { &self.mutating };
        inflight.begin(at);
        tally.running = Running::Short(Arc::clone(inflight));
    }

    fn path(&self, info: &RequestInfo) -> Option<&Arc<Series>> {
        let path = info.path.as_str();
        let at = PATHS.iter().position(|known| {
            let rest = path.strip_prefix(known);
            // "/livez/ping" is counted with "/livez", "/apis/" with "/apis"; nothing but itself is "/".
            rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && *known != "/"))
        })?;
        // Discovery of a group that nobody claims is a path that nobody claims.
        let named = matches!(PATHS[at], "/api" | "/apis") && path.trim_end_matches('/') != PATHS[at];
        (!named).then(|| &self.paths[at])
    }

    pub(super) fn gather(&self, gathered: &mut Gathered) {
        for (group, versions) in &**self.versions.load() {
            for (name, version) in versions {
                version.gather(group, name, gathered);
            }
        }
        for (path, series) in PATHS.iter().zip(&self.paths) {
            gather(series, &["", "", "", path], gathered);
        }
        gather(&self.others, &[""; 4], gathered);
        let now = Instant::now();
        for (kind, inflight) in [("mutating", &self.mutating), ("readOnly", &self.read_only)] {
            #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are doubles")]
            gathered.gauge("apiserver_current_inflight_requests", &[kind], inflight.most(now) as f64);
        }
    }
}

/// `place`: group, version, resource, subresource.
fn gather(series: &Series, place: &[&str; 4], gathered: &mut Gathered) {
    let [group, version, resource, subresource] = *place;
    series.each(|verb, scope, dry_run, cell| {
        let (verb, scope, dry_run) = (verb.as_str(), scope.as_str(), dry_run.as_str());
        let of_duration = [verb, dry_run, group, version, resource, subresource, scope, COMPONENT];
        let durations = cell.durations.sample();
        if durations.get_sample_count() > 0 {
            gathered.histogram("apiserver_request_duration_seconds", &of_duration, durations);
        }
        cell.codes.each(|code, count| {
            let labels = [verb, dry_run, group, version, resource, subresource, scope, COMPONENT, code];
            gathered.counter("apiserver_request_total", &labels, count.load(Ordering::Relaxed));
        });
        if cell.ran_long.load(Ordering::Relaxed) {
            let labels = [verb, group, version, resource, subresource, scope, COMPONENT];
            #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are doubles")]
            let running = cell.running.load(Ordering::Relaxed) as f64;
            gathered.gauge("apiserver_longrunning_requests", &labels, running);
        }
    });
}

enum Running {
    No,
    Short(Arc<Inflight>),
    Long,
}

/// The counters of one request under way. Dropped: it is under way no longer.
pub struct Tally {
    cell: Arc<Cell>,
    /// What its backend is asked for, if it is sent on to one.
    version: Option<Arc<Version>>,
    watches: Option<Arc<AtomicI64>>,
    verb: Verb,
    is_served: bool,
    running: Running,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally").field("verb", &self.verb).finish_non_exhaustive()
    }
}

impl Tally {
    /// Whether it is for a resource that is served: its name is none that a client made up.
    pub fn is_served(&self) -> bool {
        self.is_served
    }

    /// It may take as long as it wants: it is counted as such, and as a watch if it is one.
    pub fn begin_long(&mut self) {
        self.cell.ran_long.store(true, Ordering::Relaxed);
        self.cell.running.fetch_add(1, Ordering::Relaxed);
        if let Some(watches) = &self.watches {
            watches.fetch_add(1, Ordering::Relaxed);
        }
        self.running = Running::Long;
    }

    /// The last byte of the answer is out. `phases`: of one that was sent on to a backend.
    pub fn done(&self, code: u16, elapsed: Duration, phases: Option<&Phases>) {
        self.cell.done(code, elapsed);
        let (Some(version), Some(phases)) = (&self.version, phases) else { return };
        let sent_on = version.sent_on.get_or_init(SentOn::new);
        let observe = |durations: &Durations| durations.observe(elapsed);
        sent_on.answers[self.verb as usize].with(code, Durations::of_requests, observe);
        sent_on.resolve.observe(phases.resolve);
        sent_on.upstream.observe(phases.upstream);
        sent_on.translate.observe(phases.translate);
        sent_on.body.observe(phases.body);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        match &self.running {
            Running::No => {}
            Running::Short(inflight) => inflight.end(),
            Running::Long => {
                self.cell.running.fetch_sub(1, Ordering::Relaxed);
                if let Some(watches) = &self.watches {
                    watches.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }
}
