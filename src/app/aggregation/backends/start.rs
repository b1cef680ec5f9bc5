//! One backend begins: its connections, and the tasks that learn of it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use kubridge_bridge::mapping::MappingFile;
use rustls::client::ResolvesClientCert;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Entry, Key, Live, Running, Source};
use crate::{
    app::aggregation::{
        brown_out::{self, Watched},
        compiler::{Compiler, follow},
        delegate,
    },
    availability::{self, Availability, Flaw},
    cluster::{
        Schemas,
        schemas::{Owner, Sharing},
    },
    config::ServiceRules,
    last_known_good::LastKnownGood,
    made_watch::MadeWatch,
    metrics::Metrics,
    registry::{Named, Target, backend::Identity},
    upstream::{
        self, Asker, DocumentsPace, DocumentsWatcher, Endpoint, EndpointError, FetchedSchema, GroupVersion,
        KeepDocuments, KeepSchema, Options, SchemaPace, SchemaWatcher, TlsOptions, Wanted,
    },
};

/// How long an HTTPS backend may take to show that it lives: kube-aggregator's 5 s.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// What every backend is made with.
#[derive(Debug)]
pub(in super::super) struct Settings {
    /// The schemas of backends that cannot tell theirs, by URL.
    pub(in super::super) descriptor_sets: BTreeMap<String, PathBuf>,
    /// How services are Kubernetes APIs that do not say so themselves.
    pub(in super::super) mappings: watch::Receiver<Arc<[MappingFile]>>,
    /// What `grpcs://` backends are shown.
    pub(in super::super) grpc_identity: Arc<dyn ResolvesClientCert>,
    /// What HTTPS backends are shown.
    pub(in super::super) https_identity: Arc<dyn ResolvesClientCert>,
    /// Where Services are.
    pub(in super::super) service_rules: ServiceRules,
    /// How each is connected to.
    pub(in super::super) options: Options,
    /// Where documents are kept.
    pub(in super::super) kept: LastKnownGood,
    /// In a cluster: where all replicas have the schemas of Backend objects from.
    pub(in super::super) schemas: Option<Schemas>,
    /// What is counted.
    pub(in super::super) metrics: Arc<Metrics>,
}

/// A long-lived task, made when it is known what it wakes.
pub(super) type Work = Box<dyn FnOnce(Arc<Notify>) -> BoxFuture<'static, ()> + Send>;

impl Settings {
    pub(super) async fn start(&self, key: Key, versions: Vec<GroupVersion>) -> (Key, Entry, Vec<Work>) {
        let backend = match self.connect(&key) {
            Ok(backend) => backend,
            Err(Unusable { flaw, why }) => return (key, Entry::Unusable { flaw, why }, Vec::new()),
        };
        let cancel = CancellationToken::new();
        let mut work: Vec<Work> = Vec::new();
        let settings = availability::Settings::default();
        let mut brown_out = None;
        let (source, availability) = if key.is_https() {
            let (probed, path) = watch::channel(probe_path(&versions));
            let (wanted, claims) = watch::channel(Arc::from(versions));
            let keep = KeepDocuments { store: self.kept.clone(), backend: key.subject() };
            let (watcher, documents) = DocumentsWatcher::new(
                backend.clone(),
                Asker::FrontProxy,
                Wanted::Claimed(claims),
                Some(keep),
                DocumentsPace::default(),
            );
            let watcher = watcher.restore().await;
            let stop = cancel.clone();
            work.push(Box::new(|_| watcher.run(stop).boxed()));
            work.push(wake(documents.clone(), cancel.clone()));
            let url = key.target.url().unwrap_or_default();
            let asked = backend.clone();
            let ask = move |request| status(asked.clone(), request);
            let (availability, watch) = Availability::https(&backend, url, path, ask, settings);
            work.push(until(cancel.clone(), watch));
            (Source::Documents { wanted, probed, documents }, availability)
        } else {
            let file = key.target.url().and_then(|url| self.descriptor_sets.get(&url).cloned());
            let keep = KeepSchema { store: self.kept.clone(), subject: key.subject() };
            let compiler = Compiler::new(self.mappings.clone(), key.mapping.clone());
            let compile = move |fetched: &FetchedSchema| compiler.compile(fetched);
            let (watcher, schema) =
                SchemaWatcher::new(backend.clone(), file, Some(keep), SchemaPace::default(), compile);
            let watcher = match self.shared(&key) {
                None => watcher.restore().await,
                Some((sharing, keeping)) => {
                    let mut keeping = keeping.boxed();
                    let watcher = tokio::select! {
                        watcher = watcher.share(sharing).restore() => watcher,
                        () = &mut keeping => unreachable!("it runs until it is dropped"),
                    };
                    work.push(until(cancel.clone(), keeping));
                    watcher
                }
            };
            let stop = cancel.clone();
            work.push(Box::new(|_| watcher.run(stop).boxed()));
            work.push(wake(schema.state(), cancel.clone()));
            work.push(until(cancel.clone(), follow(self.mappings.clone(), schema.clone())));
            let (availability, watch) = Availability::grpc(backend.clone(), settings);
            work.push(until(cancel.clone(), watch));
            work.push(wake(backend.unimplemented().news(), cancel.clone()));
            work.push(until(cancel.clone(), forget_methods(backend.clone())));
            let (made, pollers) = MadeWatch::new(Arc::clone(&self.metrics));
            work.push(until(cancel.clone(), pollers));
            if let Some(Watched { policy, work: watch }) =
                brown_out::start(&key, &backend, availability.verdict(), &self.metrics)
            {
                brown_out = Some(policy);
                work.push(until(cancel.clone(), watch));
            }
            (Source::Schema(schema, made), availability)
        };
        let verdict = availability.verdict();
        work.push(wake(verdict.clone(), cancel.clone()));
        backend.connect();
        let live = Live::default();
        let running = Running { backend, verdict, source, brown_out, schema: None, live, cancel };
        (key, Entry::Running(Box::new(running)), work)
    }
}

impl Settings {
    /// What all replicas serve of a backend that is an object. The future keeps it up to date: to be run.
    fn shared(&self, key: &Key) -> Option<(Sharing, impl Future<Output = ()> + Send + use<>)> {
        let (schemas, named) = (self.schemas.as_ref()?, key.backend.as_ref()?);
        Some(schemas.share(Owner { name: named.name.clone(), uid: named.uid.clone() }))
    }

    /// Connects to nothing yet.
    fn connect(&self, key: &Key) -> Result<upstream::Backend, Unusable> {
        let endpoint = match &key.target {
            Target::Service { protocol, namespace, name, port } => {
                let port = u16::try_from(*port).unwrap_or_default();
                Endpoint::service(*protocol, namespace, name, port, &self.service_rules)?
            }
            target => Endpoint::parse(&target.url().unwrap_or_default())?,
        };
        let own = if key.is_https() { &self.https_identity } else { &self.grpc_identity };
        let identity = match key.backend.as_ref().and_then(|backend| backend.identity.as_ref()) {
            None => Arc::clone(own),
            Some(Identity { certificate, key }) => certified(certificate, key)?,
        };
        let tls = TlsOptions {
            ca: (!key.ca.is_empty()).then(|| key.ca.clone()),
            identity: endpoint.is_tls().then_some(identity),
            server_name: key.backend.as_ref().and_then(|backend| backend.server_name.clone()),
            insecure_skip_tls_verify: key.insecure,
        };
        Ok(upstream::Backend::new(endpoint, &tls, options(self.options.clone(), key.backend.as_deref()))?)
    }
}

/// Those of all, but for what a Backend object says.
fn options(all: Options, backend: Option<&Named>) -> Options {
    let Some(Named { schema, limits, timeouts, .. }) = backend else { return all };
    Options {
        max_requests: limits.max_requests.unwrap_or(all.max_requests),
        max_watches: limits.max_watches.unwrap_or(all.max_watches),
        max_message: limits.max_message.unwrap_or(all.max_message),
        connect_timeout: timeouts.connect.unwrap_or(all.connect_timeout),
        request_timeout: timeouts.request.or(all.request_timeout),
        silence: timeouts.silence.unwrap_or(all.silence),
        schema: *schema,
        ..all
    }
}

/// What of a backend cannot be used.
#[derive(Debug)]
struct Unusable {
    flaw: Flaw,
    why: String,
}

impl From<EndpointError> for Unusable {
    fn from(error: EndpointError) -> Self {
        Self { flaw: Flaw::of(&error), why: error.to_string() }
    }
}

/// The certificate that a Backend object names.
fn certified(certificate: &[u8], key: &[u8]) -> Result<Arc<dyn ResolvesClientCert>, Unusable> {
    delegate::certificate(certificate, key)
        .map_err(|error| Unusable { flaw: Flaw::ClientCertificate, why: format!("{error:#}") })
}

/// Asks an HTTPS backend for its life's sake.
async fn status(backend: upstream::Backend, request: Request<()>) -> Result<StatusCode, String> {
    let request = request.map(|()| Bytes::new());
    let answer = backend.ask(request, Instant::now() + PROBE_PATIENCE).await;
    let (head, mut body) = answer.map_err(|error| error.to_string())?.into_parts();
    // Read to its end, so that the connection can be used again.
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| format!("the answer broke off: {error}"))?;
    }
    Ok(head.status)
}

/// Where an HTTPS backend is asked whether it lives: any of its APIServices will do.
pub(super) fn probe_path(versions: &[GroupVersion]) -> String {
    let (group, version) = versions.first().map_or(("", "v1"), |(group, version)| (group, version));
    availability::probe_path(group, version)
}

fn until(cancel: CancellationToken, work: impl Future<Output = ()> + Send + 'static) -> Work {
    Box::new(move |_| cancel.run_until_cancelled_owned(work).map(|_| ()).boxed())
}

/// A backend that has come back may be another one, with other methods.
async fn forget_methods(backend: upstream::Backend) {
    let mut returns = backend.returns();
    while returns.changed().await.is_ok() {
        backend.unimplemented().clear();
    }
}

/// Wakes the loop whenever a state changes.
fn wake<T: Send + Sync + 'static>(mut state: watch::Receiver<T>, cancel: CancellationToken) -> Work {
    let news = |changed: Arc<Notify>| async move {
        while let Some(Ok(())) = cancel.run_until_cancelled(state.changed()).await {
            changed.notify_one();
        }
    };
    Box::new(|changed| news(changed).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::backend::{Limits, Origin, Timeouts};

    #[test]
    fn a_backend_object_has_the_last_word_where_it_says_something() {
        let second = Some(Duration::from_secs(1));
        let named = Named {
            schema: Origin::Reflection,
            limits: Limits { max_requests: Some(1), max_watches: Some(2), max_message: Some(3) },
            timeouts: Timeouts { connect: second, request: second, silence: second },
            ..Named::default()
        };
        let made = options(Options::default(), Some(&named));
        assert_eq!((made.max_requests, made.max_watches, made.max_message), (1, 2, 3));
        assert_eq!([Some(made.connect_timeout), made.request_timeout, Some(made.silence)], [second; 3]);
        assert_eq!(made.schema, Origin::Reflection);

        let all = Options { max_requests: 7, ..Options::default() };
        let made = options(all.clone(), Some(&Named::default()));
        assert_eq!((made.max_requests, made.connect_timeout), (7, all.connect_timeout));
        assert_eq!((made.request_timeout, made.schema), (None, Origin::Any));
    }
}
