//! What is claimed, and what is known of backends -> routes, documents, conditions. One loop, no locks:
//! whatever changes wakes it, it looks at everything, and publishes immutable snapshots.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use kubridge_bridge::{
    discovery_doc::VersionDocument,
    model::{Api, Schema},
};
use rustls::client::ResolvesClientCert;
use tokio::sync::Notify;

use crate::{
    authz::Authorizer,
    availability::{self, AVAILABLE, Cause, Documents, Flaw, Observation, Remote, Verdict},
    discovery::{Claimed, Discovery, Freshness},
    openapi::{Documented, OpenApi, Source},
    proxy::{Backend, Proxy, Route, Routes, Unserved},
    registry::{
        self, Applied, Claim, Owner, Protocol, Registry, Target, proto::apiregistration::ApiServiceCondition,
    },
    upstream::FailureReason,
};

mod backends;

use backends::{Backends, Key, Known};

/// What the loop publishes to.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) discovery: Arc<Discovery>,
    pub(super) openapi: Arc<OpenApi>,
    pub(super) proxy: Arc<Proxy>,
}

/// What the settings say of backends.
#[derive(Debug)]
pub(super) struct Configured {
    /// Those whose declared APIs are claimed.
    pub(super) urls: Vec<String>,
    /// What the certificates of the `grpcs://` ones are verified against, PEM.
    pub(super) ca: Vec<u8>,
    /// What every `grpcs://` backend is shown.
    pub(super) identity: Arc<dyn ResolvesClientCert>,
    /// The schemas of backends that cannot tell theirs.
    pub(super) descriptor_sets: BTreeMap<String, PathBuf>,
}

/// The loop, and what it knows.
pub(super) struct Aggregation {
    registry: Registry,
    published: Published,
    /// Our own kinds.
    own: Schema,
    authorizer: Authorizer,
    /// What `--backend` named.
    configured: Vec<String>,
    /// What the certificates of the `grpcs://` ones are verified against, PEM.
    configured_ca: Vec<u8>,
    /// The group-versions that were last applied for each of them.
    applied: HashMap<String, Vec<(String, String)>>,
    backends: Backends,
    changed: Arc<Notify>,
    /// What discovery says of each API, by group and version: made once for each schema.
    described: HashMap<(String, String), (Arc<Api>, Arc<VersionDocument>)>,
}

impl Aggregation {
    /// `configured`: URLs whose declared APIs are claimed.
    pub(super) fn new(
        registry: Registry,
        published: Published,
        authorizer: Authorizer,
        configured: Configured,
    ) -> anyhow::Result<Self> {
        let own = registry::own_kinds()
            .map_err(|faults| anyhow::anyhow!("{faults:?}"))
            .context("the built-in APIs have faults")?;
        let changed = Arc::new(Notify::new());
        let backends = Backends::new(configured.descriptor_sets, configured.identity, Arc::clone(&changed));
        Ok(Self {
            registry,
            published,
            own,
            authorizer,
            configured: configured.urls,
            configured_ca: configured.ca,
            applied: HashMap::new(),
            backends,
            changed,
            described: HashMap::new(),
        })
    }

    /// Publishes what is known at the start: nothing that is claimed is 404 from the first request on.
    pub(super) async fn begin(&mut self) {
        if let Err(error) = self.registry.retain_backends(&self.configured).await {
            tracing::error!(%error, "APIServices of an earlier command line could not be removed");
        }
        self.step().await;
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut snapshots = self.registry.snapshots();
        loop {
            self.step().await;
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                () = self.changed.notified() => {}
            }
        }
    }

    /// Looks at everything once.
    async fn step(&mut self) {
        let snapshot = Arc::clone(&self.registry.snapshots().borrow());
        self.backends.keep(self.wanted(&snapshot.claims));
        self.claim(&snapshot.claims).await;
        self.publish(&snapshot.claims).await;
    }

    /// Every backend that somebody names.
    fn wanted(&self, claims: &[Arc<Claim>]) -> Vec<Key> {
        let mut wanted: Vec<Key> = claims.iter().filter_map(|claim| self.key(claim)).collect();
        wanted.extend(self.configured.iter().map(|url| self.configured_key(url)));
        wanted
    }

    /// Claims what the `--backend`s declare; again when somebody deleted it, as Kubernetes does with what it manages.
    async fn claim(&mut self, claims: &[Arc<Claim>]) {
        for url in &self.configured {
            let Some(schema) = self.backends.schema(&self.configured_key(url)) else {
                continue;
            };
            let declared = declared(&schema);
            let claimed = |(group, version): &(String, String)| {
                claims.iter().any(|claim| claim.group == *group && claim.version == *version)
            };
            if self.applied.get(url) == Some(&declared) && declared.iter().all(claimed) {
                continue;
            }
            match self.registry.apply(&Owner::Backend(url.clone()), registry::claims(url, &declared)).await {
                Ok(outcome) => {
                    for (name, applied) in outcome {
                        log_applied(url, &name, &applied);
                    }
                    self.applied.insert(url.clone(), declared);
                }
                Err(error) => tracing::error!(%url, %error, "what the backend declares could not be claimed"),
            }
        }
    }

    async fn publish(&mut self, claims: &[Arc<Claim>]) {
        let mut routes = Routes::default();
        let mut claimed = Vec::with_capacity(claims.len());
        let mut documented = Vec::with_capacity(claims.len());
        let mut conditions = Vec::with_capacity(claims.len());
        let mut described = HashMap::with_capacity(claims.len());
        for claim in claims {
            let (served, observation) = self.look(claim);
            let api = served.as_ref().map(|(api, _)| Arc::clone(api));
            let route = match served {
                Some((api, backend)) => Route::Served { api, backend },
                None => Route::Unserved(unserved(claim, &observation)),
            };
            routes.insert(&claim.group, &claim.version, route);
            documented.extend(api.clone().map(|api| {
                let documented = match claim.target {
                    Target::Local => Documented::own,
                    _ => Documented::new,
                };
                documented(&claim.group, &claim.version, Source::Schema(api))
            }));
            let key = (claim.group.clone(), claim.version.clone());
            let document = api.map(|api| {
                let known = self.described.remove(&key).filter(|(known, _)| Arc::ptr_eq(known, &api));
                let document = known
                    .map_or_else(|| Arc::new(VersionDocument::of_schema(&api)), |(_, document)| document);
                described.insert(key, (api, Arc::clone(&document)));
                document
            });
            claimed.push(Claimed {
                group: claim.group.clone(),
                version: claim.version.clone(),
                api_service: claim.name.clone(),
                document,
                freshness: Freshness::Current,
            });
            conditions.push((claim, availability::conditions(&observation)));
        }
        self.described = described;
        // Routes first: what discovery shows can be asked for.
        self.published.proxy.publish(routes);
        self.published.discovery.publish(&claimed);
        // Documents are made and compressed, which may take a while.
        let openapi = Arc::clone(&self.published.openapi);
        if let Err(error) = tokio::task::spawn_blocking(move || openapi.publish(&documented)).await {
            tracing::error!(%error, "the OpenAPI documents could not be made");
        }
        for (claim, conditions) in conditions {
            let conditions = conditions
                .into_iter()
                .map(|condition| ApiServiceCondition {
                    r#type: condition.r#type,
                    status: condition.status,
                    reason: condition.reason,
                    message: condition.message,
                    last_transition_time: None,
                })
                .collect();
            if let Err(error) = self.registry.set_conditions(&claim.name, &claim.uid, conditions).await {
                tracing::error!(api_service = claim.name, %error, "a condition could not be written");
            }
        }
    }

    /// What serves a claim, if anything can, and what is to be said about it.
    fn look(&self, claim: &Claim) -> (Option<(Arc<Api>, Backend)>, Observation) {
        match &claim.target {
            Target::Local => {
                let served = find(&self.own, claim).map(|api| (api, self.own_backend(claim)));
                (served, Observation::Local)
            }
            Target::UnknownProtocol { protocol } => {
                (None, Observation::UnknownProtocol { protocol: protocol.clone() })
            }
            Target::Service { protocol: Protocol::Https, .. } => {
                let url = claim.target.url().unwrap_or_default();
                let why = "this version speaks to gRPC backends only".to_owned();
                (None, Observation::Unusable { url, flaw: Flaw::Address, why })
            }
            Target::Grpc { .. } | Target::Service { .. } => {
                let url = claim.target.url().unwrap_or_default();
                let known = self.key(claim).map_or(Known::default(), |key| self.backends.known(&key));
                let observation = known.observation(&url, claim);
                let served = known.schema.as_ref().and_then(|schema| find(schema, claim)).zip(known.backend);
                (served, observation)
            }
        }
    }

    fn key(&self, claim: &Claim) -> Option<Key> {
        match &claim.target {
            // What a --backend declares is claimed with its URL alone: the CA is the command line's.
            Target::Grpc { url } if claim.ca_bundle.is_empty() && self.configured.contains(url) => {
                Some(self.configured_key(url))
            }
            Target::Grpc { .. } | Target::Service { protocol: Protocol::Grpc | Protocol::Grpcs, .. } => {
                claim.target.url().map(|url| Key { url, ca: claim.ca_bundle.clone() })
            }
            Target::Local | Target::Service { .. } | Target::UnknownProtocol { .. } => None,
        }
    }

    fn configured_key(&self, url: &str) -> Key {
        let ca = if url.starts_with("grpcs://") { self.configured_ca.clone() } else { Vec::new() };
        Key { url: url.to_owned(), ca }
    }

    fn own_backend(&self, claim: &Claim) -> Backend {
        match claim.group.as_str() {
            "authentication.k8s.io" | "authorization.k8s.io" => Backend::Review(self.authorizer),
            _ => Backend::Store(self.registry.caller()),
        }
    }
}

fn find(schema: &Schema, claim: &Claim) -> Option<Arc<Api>> {
    schema.apis.iter().find(|api| api.group == claim.group && api.version == claim.version).cloned()
}

fn declared(schema: &Schema) -> Vec<(String, String)> {
    schema.apis.iter().map(|api| (api.group.clone(), api.version.clone())).collect()
}

fn unserved(claim: &Claim, observation: &Observation) -> Unserved {
    let reason = match observation {
        Observation::Local | Observation::UnknownProtocol { .. } => {
            "is of a kind that this version does not serve"
        }
        Observation::Unusable { .. } => "has an address or a CA that cannot be used",
        Observation::Remote(Remote {
            verdict: Verdict::Unavailable { cause: Cause::Connect(FailureReason::Tls), .. },
            ..
        }) => "cannot be reached, because a certificate is not accepted",
        Observation::Remote(Remote { documents, .. }) => match documents {
            Documents::Rejected { .. } => "has a schema with faults",
            Documents::NotDeclared { .. } => "does not declare this group and version",
            Documents::Pending | Documents::Missing { .. } | Documents::Known { .. } => {
                "has not been reached yet"
            }
        },
    };
    let available = availability::conditions(observation).into_iter().find(|said| said.r#type == AVAILABLE);
    let log = available.map(|condition| condition.message).unwrap_or_default();
    Unserved { api_service: claim.name.clone(), reason, log }
}

fn log_applied(url: &str, name: &str, applied: &Applied) {
    match applied {
        Applied::Conflict(owner) => tracing::warn!(
            %url, api_service = name, ?owner,
            "the backend declares a group and version that somebody else claims; it is left alone"
        ),
        Applied::Unchanged => {}
        Applied::Created | Applied::Updated | Applied::Removed => {
            tracing::info!(%url, api_service = name, ?applied, "claimed what the backend declares");
        }
    }
}
