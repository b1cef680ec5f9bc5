//! The wiring: from settings to a running server. The only spawner of long-lived tasks.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use kubridge_bridge::mapping::MappingFile;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

mod aggregation;
mod apiserver;
mod cluster;
mod describe;
mod doctor;
mod keeper;
mod lint;
mod manifests;
mod mappings;
mod observe;
mod protos;
mod register;
mod registrar;
mod upkeep;

use aggregation::{Aggregation, Configured, Delegate, Published, Source};
use cluster::Served;
use upkeep::Upkeep;

pub use describe::{DescribeSource, describe};
pub use doctor::{DoctorOptions, DoctorReport, Examination, Examined, Hop, State, Verdict, doctor};
pub use lint::{LintPlace, LintReport, LintSource, LintTls, lint};
pub use manifests::{Installation, NAMESPACE, SERVICE, manifests};
pub use protos::{PROTOS, protos};
pub use register::{ApplyOptions, Registered, Registration, Service, register};

use crate::{
    authn::Authenticator,
    authz::Authorizer,
    cluster::Namespaces,
    config::{Config, San},
    data_dir::{DataDir, read_text},
    discovery::Discovery,
    last_known_good::LastKnownGood,
    lifecycle::{Lifecycle, Signals},
    metrics::Metrics,
    openapi::OpenApi,
    pki::{Names, Pki},
    proxy::Proxy,
    registry::{Manifests, Registry},
    server::{Admin, Parts, Router, Server},
    telemetry::Traces,
    upstream::{Options, check_ca},
};

/// Puts the program together.
#[derive(Debug)]
pub struct App;

/// A program that has its address, its keys and its store, and does not serve yet.
#[derive(Debug)]
pub struct Bound {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    lifecycle: Lifecycle,
    server: Server,
    socket: TcpListener,
    upkeep: Upkeep,
    tasks: JoinSet<()>,
    /// What ends by itself once the drain has begun, soon.
    leaving: JoinSet<()>,
    traces: Option<Arc<Traces>>,
    shutdown_delay: Duration,
    shutdown_grace: Duration,
    // Last, so that the lock is given up last.
    data_dir: DataDir,
}

impl App {
    /// Takes the data directory and the address, makes or opens what is in the one, and starts the background work.
    pub async fn build(config: Config) -> anyhow::Result<Bound> {
        let data_dir = DataDir::open(&config.data_dir)?;
        let socket = bind(config.listen).await?;
        let address = socket.local_addr().context("cannot read the address that is listened on")?;
        let served = Served::open(&config, &data_dir).await?;
        let pki = Arc::new(Pki::open(&data_dir, &config.tls, names(&config, address), SystemTime::now())?);
        let lifecycle = Lifecycle::new();
        let (mut tasks, mut leaving) = (JoinSet::new(), JoinSet::new());
        let (authenticator, authorizer) = match &served {
            None => (
                Authenticator::new(config.token_auth_file.clone())?,
                Authorizer::new(config.authorization_mode),
            ),
            Some(served) => (served.authenticator(&lifecycle, &mut tasks), served.authorizer(&mut tasks)),
        };
        let authenticator = Arc::new(authenticator);
        let given: Arc<[MappingFile]> = mappings::read(&config.mappings)?.into();
        let (mappings, known_mappings) = watch::channel(given);
        let configured = Configured {
            urls: config.backends.iter().map(ToString::to_string).collect(),
            allow_k8s_io: config.allow_k8s_io_claims,
            ca: backend_ca(config.tls.backend_ca_file.as_deref())?.unwrap_or_default(),
            identity: pki.client(),
            proxy_identity: pki.proxy_client(),
            service_rules: config.service_rules.clone(),
            kept: LastKnownGood::open(data_dir.path())?,
            schemas: served.as_ref().map(|served| served.schemas(&lifecycle, &mut tasks)),
            max_age: config.discovery_max_age,
            delegate: delegate(&config, &data_dir, &pki, &mut tasks).await?,
            descriptor_sets: config
                .descriptor_sets
                .iter()
                .map(|(url, file)| (url.to_string(), file.clone()))
                .collect(),
            mappings: known_mappings,
            options: Options {
                max_requests: config.max_backend_requests_inflight,
                services: served.as_ref().map(Served::services),
                ..Options::default()
            },
        };
        let metrics = Metrics::new();
        let traces = observe::traces(&config)?;
        let namespaces = served.as_ref().map(|served| served.namespaces(&mut tasks));
        let (source, audience) = match served {
            None => (
                embedded(&config, &data_dir, authorizer.clone(), &metrics, mappings, &mut tasks).await?,
                None,
            ),
            Some(served) => {
                let (source, audience) = served.source(&config, &lifecycle, &mut tasks, &mut leaving);
                (source, Some(audience))
            }
        };
        let rooms = wire(source, namespaces, configured, (&lifecycle, &metrics), &mut tasks).await?;
        let router = Router {
            lifecycle: lifecycle.clone(),
            discovery: rooms.discovery,
            openapi: rooms.openapi,
            proxy: rooms.proxy,
            metrics: Arc::clone(&metrics),
        };
        let server = Server::new(Parts {
            authenticator: authenticator.clone(),
            authorizer,
            handler: router.handler(),
            lifecycle: lifecycle.clone(),
            metrics: Arc::clone(&metrics),
            traces: traces.clone(),
            request_timeout: config.request_timeout,
            serving: pki.serving(),
            client_roots: pki.client_roots().to_vec(),
        })?;
        let admin = observe::bind(&config).await?;
        let metrics_address = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(socket) = admin {
            tasks.spawn(Admin { lifecycle: lifecycle.clone(), metrics }.serve(socket));
        }
        Ok(Bound {
            address,
            metrics_address,
            lifecycle,
            server,
            socket,
            upkeep: Upkeep { pki, authenticator, audience },
            tasks,
            leaving,
            traces,
            shutdown_delay: config.shutdown_delay,
            shutdown_grace: config.shutdown_grace,
            data_dir,
        })
    }
}

/// Our own store of APIServices, and what is kept in step with it.
async fn embedded(
    config: &Config,
    data_dir: &DataDir,
    authorizer: Authorizer,
    metrics: &Arc<Metrics>,
    mappings: watch::Sender<Arc<[MappingFile]>>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Source> {
    let registry = Registry::open(data_dir.path()).await?;
    tasks.spawn(observe::follow(registry.clone(), Arc::clone(metrics)));
    if let Some(directory) = &config.manifests {
        let mut manifests = Manifests::new(registry.clone(), directory, mappings);
        // What the files say is there before the first request.
        manifests.poll().await?;
        tasks.spawn(manifests.run());
    }
    let running = registry.clone();
    tasks.spawn(async move { running.run().await });
    Ok(Source::Embedded(registry, authorizer))
}

/// Puts upstream, availability, discovery, openapi and proxy together. Their long-lived tasks go into `tasks` and end
/// with them.
async fn wire(
    source: Source,
    namespaces: Option<Namespaces>,
    configured: Configured,
    (lifecycle, metrics): (&Lifecycle, &Arc<Metrics>),
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Published> {
    let published = Published {
        metrics: Arc::clone(metrics),
        discovery: Arc::new(Discovery::new(Arc::clone(metrics))),
        openapi: Arc::new(OpenApi::default()),
        proxy: Arc::new(Proxy::new(lifecycle.drain(), namespaces)),
    };
    let mut aggregation = Aggregation::new(source, published.clone(), configured)?;
    aggregation.begin().await;
    tasks.spawn(aggregation.run());
    Ok(published)
}

/// The delegate, if there is one, and what it last said of itself.
async fn delegate(
    config: &Config,
    data_dir: &DataDir,
    pki: &Pki,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Option<Delegate>> {
    let Some(settings) = &config.delegate else { return Ok(None) };
    let kept = LastKnownGood::of_delegate(data_dir.path())?;
    let (delegate, watcher) = Delegate::new(settings, pki.proxy_client(), kept).await?;
    tasks.spawn(watcher.run(CancellationToken::new()));
    Ok(Some(delegate))
}

/// What backends of the command line are verified against, in PEM, and known to be usable.
fn backend_ca(file: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(file) = file else { return Ok(None) };
    let setting = || format!("--backend-ca-file {}", file.display());
    let pem =
        read_text(file).with_context(setting)?.context("there is no such file").with_context(setting)?;
    check_ca(pem.as_bytes()).with_context(setting)?;
    Ok(Some(pem.into_bytes()))
}

impl Bound {
    /// Where it listens: with the port that the system chose, if it was asked to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is to be had without TLS, if anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// `DATA_DIR/admin.kubeconfig`.
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        self.upkeep.pki.kubeconfig().map(Path::to_owned)
    }

    /// What `/readyz` is made of.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The data directory that this program holds.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Serves until a signal, then stops in order; a second signal, or the end of the grace, cuts what is left.
    pub async fn run(self, signals: Signals) -> anyhow::Result<()> {
        let Self { address, lifecycle, server, socket, upkeep, mut tasks, leaving, traces, .. } = self;
        let kubeconfig = upkeep.pki.kubeconfig().map(|file| tracing::field::display(file.display()));
        tracing::info!(%address, kubeconfig, "serving");
        tasks.spawn(upkeep.run());
        let stop = stop(lifecycle.clone(), signals, self.shutdown_delay, self.shutdown_grace);
        serve_until_stopped(server.serve(socket), stop).await;
        // A server without connections ends at once: what others wait for is given back before the process goes.
        tokio::select! {
            _ = leaving.join_all() => {}
            () = lifecycle.aborted() => {}
        }
        tasks.shutdown().await;
        if let Some(traces) = traces {
            traces.shutdown().await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn serve_until_stopped(serve: impl Future<Output = ()>, stop: impl Future<Output = ()>) {
    let mut serve = std::pin::pin!(serve);
    tokio::select! {
        () = serve.as_mut() => return,
        // It ends with the abort, which the server then acts on.
        () = stop => {}
    }
    serve.await;
}

/// The phases of a stop. Each wait is cut short by the next signal.
async fn stop(lifecycle: Lifecycle, mut signals: Signals, delay: Duration, grace: Duration) {
    signals.recv().await;
    tracing::info!(?delay, ?grace, "stopping; a second signal ends at once");
    lifecycle.stop();
    let in_order = async {
        sleep(delay).await;
        lifecycle.start_drain();
        sleep(grace).await;
    };
    tokio::select! {
        () = in_order => tracing::warn!(?grace, "the grace is over"),
        () = signals.recv() => tracing::warn!("a second signal"),
    }
    lifecycle.abort();
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    let bound = match bound {
        // ":6443" on a machine without IPv6.
        Err(_) if address.ip().is_unspecified() && address.is_ipv6() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.with_context(|| {
        format!("cannot listen on {address} (is another server there? --listen names another address, port 0 any free one)")
    })
}

fn names(config: &Config, address: SocketAddr) -> Names {
    let mut sans = config.tls.sans.clone();
    sans.extend(host_name());
    // The name that the kube-apiserver expects.
    let service = config.cluster.as_ref().map(|cluster| &cluster.service);
    sans.extend(service.and_then(|of| format!("{}.{}.svc", of.name, of.namespace).parse().ok()));
    if !address.ip().is_unspecified() {
        sans.push(San::Ip(address.ip()));
    }
    let server_url = match &config.advertise_url {
        Some(url) => {
            sans.push(url.host().clone());
            url.as_str().to_owned()
        }
        // A server that listens on one address only is found nowhere else.
        None if address.ip().is_unspecified() || address.ip().is_loopback() && address.is_ipv4() => {
            format!("https://127.0.0.1:{}", address.port())
        }
        None => format!("https://{address}"),
    };
    // In a cluster the administrators are its own.
    Names { sans, server_url: config.cluster.is_none().then_some(server_url) }
}

fn host_name() -> Option<San> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())?;
    name.trim().parse().ok()
}

#[cfg(test)]
mod tests;
