//! Starting and stopping.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tonic::transport::{Certificate, Identity, Server as Transport, ServerTlsConfig, server::TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    DESCRIPTORS,
    contract::schema_server::SchemaServer,
    fault::Fault,
    host,
    kind::Kind,
    machines::Machines,
    racks::Racks,
    schema::Schema,
    store::{Key, OpenError, Store},
    v1::{machines_server::MachinesServer, racks_server::RacksServer},
    verbs::{Backend, fields_of},
};

/// The largest request. (gRPC's usual 4 MiB would be a cliff for large objects.)
const MAX_MESSAGE: usize = 64 << 20;
/// What the health service knows.
const SERVICES: [&str; 3] = ["", "inventory.v1.Machines", "inventory.v1.Racks"];

/// How it is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port 0: any that is free.
    pub listen: SocketAddr,
    /// The database's file; `:memory:` for none.
    pub database: PathBuf,
    /// How many changes are kept for watches and pages to continue from.
    pub log_limit: u64,
    /// How large the database may become, in bytes.
    pub max_bytes: Option<u64>,
    /// How often a quiet watch says how far it is, if its client wants that.
    pub bookmark_every: Duration,
    /// How long calls in flight get to finish when it stops.
    pub grace: Duration,
    /// Enter the machine that this runs on, and its rack, into an empty database.
    pub first_machine: bool,
    /// Mutual TLS. Without it, who asks is hearsay.
    pub tls: Option<Tls>,
    /// The descriptors that are told, where that is not all that is served.
    pub descriptors: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            database: PathBuf::from(":memory:"),
            log_limit: 10_000,
            max_bytes: None,
            bookmark_every: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            first_machine: true,
            tls: None,
            descriptors: None,
        }
    }
}

/// A certificate, its key, and the CA whose clients are let in; all PEM.
#[derive(Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Tls {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub client_ca: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The first objects could not be written.
    #[error("the first machine could not be entered: {0}")]
    FirstMachine(String),
    /// The address.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The certificate or the key.
    #[error("TLS: {0}")]
    Tls(#[from] tonic::transport::Error),
    /// The descriptors are compiled in; this is a fault of the build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The inventory.
#[derive(Debug)]
pub struct Server;

/// An inventory that serves. Dropped, it goes on until the runtime ends.
#[derive(Debug)]
pub struct Running {
    /// The address, with the port that it got.
    pub addr: SocketAddr,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    stopping: watch::Sender<bool>,
    health: HealthReporter,
    grace: Duration,
}

impl Server {
    /// Opens the database, listens, and serves.
    pub async fn start(options: Options) -> Result<Running, StartError> {
        let (path, log_limit, max_bytes) = (options.database, options.log_limit, options.max_bytes);
        let opened = tokio::task::spawn_blocking(move || Store::open(&path, log_limit, max_bytes)).await;
        let store = Arc::new(opened.map_err(|error| StartError::FirstMachine(error.to_string()))??);
        if options.first_machine {
            enter_host(&store).await.map_err(|fault| StartError::FirstMachine(fault.to_string()))?;
        }
        let listen = options.listen;
        let incoming = TcpIncoming::bind(listen).map_err(|error| StartError::Listen(listen, error))?;
        let addr = incoming.local_addr().map_err(|error| StartError::Listen(listen, error))?;

        let (stopping, stopped) = watch::channel(false);
        let health = HealthReporter::new();
        for service in SERVICES {
            health.set_service_status(service, ServingStatus::Serving).await;
        }
        let health_service = tonic_health::server::HealthService::from_health_reporter(health.clone());
        let backend = Backend { store, stopping: stopped.clone(), bookmark_every: options.bookmark_every };
        // From the compiler's bytes: decoded into prost's types, the custom options would be lost.
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let mut transport = Transport::builder()
            // A peer that vanished is noticed, and its watches end.
            .http2_keepalive_interval(Some(Duration::from_secs(60)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)));
        if let Some(tls) = options.tls {
            let identity = Identity::from_pem(tls.certificate, tls.key);
            let client_ca = Certificate::from_pem(tls.client_ca);
            transport =
                transport.tls_config(ServerTlsConfig::new().identity(identity).client_ca_root(client_ca))?;
        }
        let router = transport
            .add_service(
                MachinesServer::new(Machines(backend.clone())).max_decoding_message_size(MAX_MESSAGE),
            )
            .add_service(RacksServer::new(Racks(backend)).max_decoding_message_size(MAX_MESSAGE))
            .add_service(SchemaServer::new(Schema::new(options.descriptors)))
            .add_service(tonic_health::pb::health_server::HealthServer::new(health_service))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        let mut stop = stopped;
        let serve = router.serve_with_incoming_shutdown(incoming.with_nodelay(Some(true)), async move {
            let _asked_or_dropped = stop.wait_for(|stopping| *stopping).await;
        });
        Ok(Running { addr, task: tokio::spawn(serve), stopping, health, grace: options.grace })
    }
}

impl Running {
    /// Says NOT_SERVING, ends the watches, takes no new calls, and lets those in flight finish.
    /// False: some did not, in the time they had.
    pub async fn stop(mut self) -> bool {
        for service in SERVICES {
            self.health.set_service_status(service, ServingStatus::NotServing).await;
        }
        self.stopping.send_replace(true);
        // Whoever watches the health still gets NOT_SERVING, and then the end of the stream.
        for service in SERVICES {
            self.health.clear_service_status(service).await;
        }
        match timeout(self.grace, &mut self.task).await {
            Ok(_) => true,
            Err(_) => {
                self.task.abort();
                false
            }
        }
    }

    /// Waits until it ends by itself, which is a fault.
    pub async fn failed(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Ok(())) => "the server ended".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// The host and its rack, where the database is new.
async fn enter_host(store: &Store) -> Result<(), Fault> {
    if !store.read(|view| view.is_new()).await? {
        return Ok(());
    }
    store
        .write(|tx| {
            let mut rack = host::rack();
            tx.put(&key_of(&rack)?, &mut rack, None)?;
            let mut machine = host::machine(std::path::Path::new("/"));
            tx.put(&key_of(&machine)?, &mut machine, None)
        })
        .await
}

fn key_of<T: Kind>(object: &T) -> Result<Key, Fault> {
    let fields = fields_of(object)?;
    Ok(Key { resource: T::PLURAL, namespace: fields.namespace, name: fields.name })
}
