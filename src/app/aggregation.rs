//! What is claimed, and what is known of backends -> routes, documents, conditions. One loop, no locks:
//! whatever changes wakes it, it looks at everything, and publishes immutable snapshots.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kubridge_bridge::{
    discovery_doc::VersionDocument, mapping::MappingFile, model::Api, openapi_doc, proto::Condition,
};
use rustls::client::ResolvesClientCert;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::{
    availability::{self, METHODS_UNIMPLEMENTED, Observation},
    cluster::Schemas,
    config::ServiceRules,
    discovery::{Claimed, Discovery, Freshness},
    last_known_good::LastKnownGood,
    metrics::{self, Metrics},
    openapi::{Documented, OpenApi},
    proxy::{Backend, Proxy, Route, Routes},
    registry::{self, Claim, Rank, Snapshot, Target, proto::apiregistration::ApiServiceCondition},
    upstream::{GroupVersion, Options},
};

mod backends;
mod brown_out;
mod claims;
mod compiler;
mod delegate;
mod look;
mod report;
mod source;

use backends::{Backends, Key};
use claims::Claims;
pub(super) use delegate::{Delegate, certificate};
use look::{Look, Said};
pub(super) use report::BackendReport;
pub(super) use source::Source;

/// What the loop publishes to.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) discovery: Arc<Discovery>,
    pub(super) openapi: Arc<OpenApi>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) metrics: Arc<Metrics>,
}

/// What the settings say of backends.
#[derive(Debug)]
pub(super) struct Configured {
    /// Those whose declared APIs are claimed.
    pub(super) urls: Vec<String>,
    /// Backends may claim groups that end with .k8s.io.
    pub(super) allow_k8s_io: bool,
    /// What the certificates of the `grpcs://` ones are verified against, PEM.
    pub(super) ca: Vec<u8>,
    /// What every `grpcs://` backend is shown.
    pub(super) identity: Arc<dyn ResolvesClientCert>,
    /// What every HTTPS backend is shown.
    pub(super) proxy_identity: Arc<dyn ResolvesClientCert>,
    /// Where Services are.
    pub(super) service_rules: ServiceRules,
    /// How every backend is connected to.
    pub(super) options: Options,
    /// The schemas of backends that cannot tell theirs.
    pub(super) descriptor_sets: BTreeMap<String, PathBuf>,
    /// How services are Kubernetes APIs that do not say so themselves.
    pub(super) mappings: watch::Receiver<Arc<[MappingFile]>>,
    /// Where what they say of themselves is kept.
    pub(super) kept: LastKnownGood,
    /// In a cluster: where all replicas have the schemas of Backend objects from.
    pub(super) schemas: Option<Schemas>,
    /// For how long that is served as Current while they are away.
    pub(super) max_age: Duration,
    /// Who gets what nobody claims.
    pub(super) delegate: Option<Delegate>,
}

/// The loop, and what it knows.
pub(super) struct Aggregation {
    source: Source,
    published: Published,
    /// Our own kinds and who has their objects, where they are served here.
    own: Vec<(Arc<Api>, Backend)>,
    /// What was last said of each claim, where our own store does not keep it.
    said: HashMap<String, Vec<Condition>>,
    /// What is claimed for backends.
    claims: Claims,
    /// What the certificates of the `grpcs://` ones are verified against, PEM.
    configured_ca: Vec<u8>,
    backends: Backends,
    delegate: Option<Delegate>,
    /// What discovery says of each API.
    described: HashMap<GroupVersion, (Arc<Api>, Arc<VersionDocument>)>,
    max_age: Duration,
    changed: Arc<Notify>,
}

impl Aggregation {
    /// `configured`: URLs whose declared APIs are claimed.
    pub(super) fn new(source: Source, published: Published, configured: Configured) -> anyhow::Result<Self> {
        let own = source.own_kinds()?;
        let changed = Arc::new(Notify::new());
        let settings = backends::Settings {
            descriptor_sets: configured.descriptor_sets,
            mappings: configured.mappings,
            grpc_identity: configured.identity,
            https_identity: configured.proxy_identity,
            service_rules: configured.service_rules,
            options: configured.options,
            kept: configured.kept,
            schemas: configured.schemas,
            metrics: Arc::clone(&published.metrics),
        };
        let backends = Backends::new(settings, Arc::clone(&changed));
        published.metrics.read_backends(backends.samples());
        Ok(Self {
            source,
            published,
            own,
            said: HashMap::new(),
            claims: Claims::new(configured.urls, configured.allow_k8s_io),
            configured_ca: configured.ca,
            backends,
            delegate: configured.delegate,
            described: HashMap::new(),
            max_age: configured.max_age,
            changed,
        })
    }

    /// Publishes what is known at the start: nothing that is claimed is 404 from the first request on.
    pub(super) async fn begin(&mut self) {
        if let Some(registry) = self.source.registry()
            && let Err(error) = registry.retain_backends(self.claims.urls()).await
        {
            tracing::error!(%error, "APIServices of an earlier command line could not be removed");
        }
        self.step().await;
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut changes = self.source.changes();
        let mut delegate = self.delegate.as_ref().map(Delegate::documents);
        loop {
            let delegate_changed = async {
                match &mut delegate {
                    Some(documents) => documents.changed().await,
                    None => std::future::pending().await,
                }
            };
            let stale_at = self.step().await;
            // Some documents become Stale by time alone.
            let grown_old = async {
                match stale_at.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default()) {
                    Some(rest) => sleep(rest).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.next() => if changed.is_err() { return },
                () = self.changed.notified() => {}
                Ok(()) = delegate_changed => {}
                () = grown_old => {}
            }
        }
    }

    /// Looks at everything once; says when the next document becomes Stale by time alone.
    async fn step(&mut self) -> Option<SystemTime> {
        let Some(snapshot) = self.source.snapshot() else {
            // Not 404: whatever is asked for may be claimed.
            self.published.proxy.publish(Routes::awaiting_claims());
            return None;
        };
        self.backends.keep(self.wanted(&snapshot)).await;
        self.claim(&snapshot).await;
        self.publish(&snapshot).await
    }

    /// Every backend that somebody names, and what is claimed of it.
    fn wanted(&self, snapshot: &Snapshot) -> HashMap<Key, Vec<GroupVersion>> {
        let mut wanted: HashMap<Key, Vec<GroupVersion>> = HashMap::new();
        for claim in &snapshot.claims {
            if let Some(key) = self.key(claim) {
                wanted.entry(key).or_default().push((claim.group.clone(), claim.version.clone()));
            }
        }
        for url in self.claims.urls() {
            wanted.entry(self.configured_key(url)).or_default();
        }
        // How they are is to be said, whatever is claimed of them.
        for resolved in snapshot.backends.values().filter_map(|backend| backend.resolved.as_ref().ok()) {
            wanted.entry(Key::of(resolved)).or_default();
        }
        wanted
    }

    /// Makes the APIServices that follow from what is known, where they are in our own store.
    async fn claim(&mut self, snapshot: &Arc<Snapshot>) {
        let Some(registry) = self.source.registry() else { return };
        let (backends, ca) = (&self.backends, &self.configured_ca);
        let schema = |url: &str| backends.schema(&configured_key(url, ca));
        self.claims.declared(registry, &snapshot.claims, schema).await;
        self.claims.of_backends(registry, snapshot).await;
    }

    async fn publish(&mut self, snapshot: &Snapshot) -> Option<SystemTime> {
        let (now, claims) = (SystemTime::now(), &snapshot.claims);
        let mut routes = Routes::default();
        let mut claimed = Vec::with_capacity(claims.len());
        let mut documented = Vec::with_capacity(claims.len());
        let mut conditions = Vec::new();
        let mut described = HashMap::with_capacity(claims.len());
        // What is said of the APIServices that name a Backend.
        let mut of_backends = HashMap::new();
        let mut stale_at = None;
        // As in Kubernetes our own APIs are served even while their APIServices are deleted: those come back.
        for (api, backend) in &self.own {
            let route = Route::Served { api: Arc::clone(api), backend: backend.clone() };
            routes.insert(&api.group, &api.version, route);
        }
        for claim in claims {
            let look = self.look(claim, now);
            let (freshness, until) = look.freshness();
            stale_at = [stale_at, until].into_iter().flatten().min();
            let said = availability::conditions(&look.observation);
            self.count(claim, &look);
            if let Some(backend) = &claim.backend {
                of_backends.insert((backend.name.clone(), claim.name.clone()), said.clone());
            }
            if self.is_news(claim, &said) {
                conditions.push((claim, said));
            }
            let version = (claim.group.clone(), claim.version.clone());
            let document = match look.said {
                Said::Nothing => None,
                Said::ByBackend(document) => Some(document),
                Said::BySchema(api) => {
                    // Made once for each schema.
                    let known = self.described.remove(&version).filter(|(known, _)| Arc::ptr_eq(known, &api));
                    let document = known
                        .map_or_else(|| Arc::new(VersionDocument::of_schema(&api)), |(_, document)| document);
                    described.insert(version, (api, Arc::clone(&document)));
                    Some(document)
                }
            };
            routes.insert(&claim.group, &claim.version, look.route);
            documented.extend(look.source.map(|(origin, source)| {
                let documented = Documented::new(&claim.group, &claim.version, source);
                Documented { origin, ..documented }
            }));
            claimed.push(Claimed {
                group: claim.group.clone(),
                version: claim.version.clone(),
                api_service: claim.name.clone(),
                document,
                freshness,
            });
        }
        self.described = described;
        // Of claims that are gone.
        if self.said.len() > claims.len() {
            self.said.retain(|name, _| claims.iter().any(|claim| claim.name == *name));
        }
        if let Some(delegate) = &self.delegate {
            routes.set_delegate(delegate.route(), delegate.is_known());
            let until = self.add_delegated(delegate, now, &mut claimed, &mut documented, claims);
            stale_at = [stale_at, until].into_iter().flatten().min();
        }
        // Routes first: what discovery shows can be asked for.
        self.published.proxy.publish(routes);
        self.published.discovery.publish(&claimed);
        let openapi = Arc::clone(&self.published.openapi);
        let described = tokio::task::spawn_blocking(move || openapi.publish(&documented)).await;
        if let Err(error) = described {
            tracing::error!(%error, "the OpenAPI documents could not be made");
        }
        // Last: who waited for them finds everything there.
        for (claim, conditions) in conditions {
            self.source.say(claim, conditions).await;
        }
        let reports = snapshot.backends.values().map(|backend| self.report(backend, &of_backends, now));
        let reports = reports.collect();
        self.source.report(reports, |backend| self.claims.refused(backend)).await;
        stale_at
    }

    fn count(&self, claim: &Claim, look: &Look) {
        let confirmed = look.confirmed();
        let away = confirmed.is_some_and(|confirmed| confirmed != metrics::Confirmed::Now);
        let documents = metrics::Documents { discovery: away, openapi: away && look.source.is_some() };
        self.published.metrics.set_discovery_age(&claim.name, confirmed);
        self.published.metrics.set_last_known_good(&claim.name, documents);
    }

    /// What the delegate serves beside the claims, each in its place.
    fn add_delegated(
        &self,
        delegate: &Delegate,
        now: SystemTime,
        claimed: &mut Vec<Claimed>,
        documented: &mut Vec<Documented>,
        claims: &[Arc<Claim>],
    ) -> Option<SystemTime> {
        let mut stale_at = None;
        let here: HashSet<(&str, &str)> =
            claims.iter().map(|claim| (claim.group.as_str(), claim.version.as_str())).collect();
        let mut ranks: HashMap<GroupVersion, (i32, i32)> = HashMap::new();
        for claim in claims {
            let version = (claim.group.clone(), claim.version.clone());
            ranks.insert(version, (claim.group_priority, claim.version_priority));
        }
        for served in delegate.serves(|(group, version)| here.contains(&(group, version))) {
            let until = served.confirmed_at.and_then(|at| at.checked_add(self.max_age));
            let freshness = match until {
                Some(until) if until <= now => Freshness::Stale,
                until => {
                    stale_at = [stale_at, until].into_iter().flatten().min();
                    Freshness::Current
                }
            };
            let (group, version) = served.version.clone();
            ranks.insert(served.version, served.priorities);
            let key = openapi_doc::path(&group, &version);
            documented.extend(served.look.source.map(|(_, source)| Documented::delegate(key, source)));
            claimed.push(Claimed {
                api_service: format!("{version}.{group}"),
                group,
                version,
                document: served.look.said.by_backend(),
                freshness,
            });
        }
        documented.extend(delegate.v2().map(Documented::delegate_v2));
        registry::sort_by_rank(claimed, |claimed| {
            let version = (claimed.group.clone(), claimed.version.clone());
            let (group_priority, version_priority) = ranks.get(&version).copied().unwrap_or_default();
            Rank { group: &claimed.group, version: &claimed.version, group_priority, version_priority }
        });
        stale_at
    }

    /// What serves a claim, if anything can, and what is to be said about it.
    fn look(&mut self, claim: &Claim, now: SystemTime) -> Look {
        let Some(key) = self.key(claim) else {
            let own =
                self.own.iter().find(|(api, _)| api.group == claim.group && api.version == claim.version);
            return match (&claim.target, own) {
                (Target::Unnamed, _) => Look::unserved(claim, Observation::NoBackend),
                (Target::Unresolved { why }, _) => {
                    Look::unserved(claim, Observation::Unresolved { why: why.clone() })
                }
                (Target::UnknownProtocol { protocol }, _) => {
                    Look::unserved(claim, Observation::UnknownProtocol { protocol: protocol.clone() })
                }
                (_, Some((api, backend))) => Look::own(Arc::clone(api), backend.clone()),
                (_, None) => {
                    let version = (claim.group.clone(), claim.version.clone());
                    let known = self.delegate.as_ref().and_then(|delegate| delegate.version(&version));
                    Look::delegated(known.as_ref())
                }
            };
        };
        match self.backends.known(&key, now) {
            Some(Ok(known)) => {
                Look::remote(claim, &known, self.says(claim, METHODS_UNIMPLEMENTED), self.max_age, now)
            }
            Some(Err((flaw, why))) => {
                let url = claim.target.url().unwrap_or_default();
                Look::unserved(claim, Observation::Unusable { url, flaw, why })
            }
            None => unreachable!("every key that a claim has is kept"),
        }
    }

    /// The backend of a claim; `None`: it has none.
    fn key(&self, claim: &Claim) -> Option<Key> {
        let of = |ca: Vec<u8>| Key {
            target: claim.target.clone(),
            ca,
            insecure: claim.insecure_skip_tls_verify,
            mapping: claim.mapping.clone(),
            backend: claim.backend.clone(),
        };
        match &claim.target {
            Target::Local
            | Target::Named { .. }
            | Target::Unresolved { .. }
            | Target::Unnamed
            | Target::UnknownProtocol { .. } => None,
            // What a --backend declares is claimed with its URL alone: the CA is the command line's.
            Target::Grpc { url }
                if claim.backend.is_none()
                    && claim.ca_bundle.is_empty()
                    && self.claims.urls().contains(url) =>
            {
                Some(Key { mapping: claim.mapping.clone(), ..self.configured_key(url) })
            }
            Target::Grpc { .. } | Target::Service { .. } => Some(of(claim.ca_bundle.clone())),
        }
    }

    fn configured_key(&self, url: &str) -> Key {
        configured_key(url, &self.configured_ca)
    }

    /// Whether a condition of this type has been said of the claim.
    fn says(&self, claim: &Claim, r#type: &str) -> bool {
        match self.source.registry() {
            Some(_) => claim.conditions.iter().any(|condition| condition.r#type == r#type),
            None => {
                self.said.get(&claim.name).is_some_and(|said| said.iter().any(|one| one.r#type == r#type))
            }
        }
    }

    /// Whether this has not been said of the claim yet.
    fn is_news(&mut self, claim: &Claim, said: &[Condition]) -> bool {
        if self.source.registry().is_some() {
            return !are_written(said, &claim.conditions);
        }
        if self.said.get(&claim.name).is_some_and(|before| before == said) {
            return false;
        }
        self.said.insert(claim.name.clone(), said.to_vec());
        true
    }
}

/// Whether an APIService says all of this already. Its resourceVersion moves only where something is news.
fn are_written(said: &[Condition], present: &[ApiServiceCondition]) -> bool {
    said.iter().all(|said| {
        present.iter().any(|present| {
            present.r#type == said.r#type
                && present.status == said.status
                && present.reason == said.reason
                && present.message == said.message
        })
    })
}

/// The key of a `--backend`.
fn configured_key(url: &str, ca: &[u8]) -> Key {
    let ca = if url.starts_with("grpcs://") { ca.to_vec() } else { Vec::new() };
    Key { target: Target::Grpc { url: url.to_owned() }, ca, insecure: false, mapping: None, backend: None }
}
