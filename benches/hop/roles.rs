//! The processes of the bench: this executable, started again as each of them.

use std::{path::PathBuf, process::Stdio, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, Response, header};
use kubridge::{
    authn::Authenticator,
    authz::Authorizer,
    body,
    config::{AuthorizationMode, Tls},
    data_dir::DataDir,
    lifecycle::{Deadline, Lifecycle},
    metrics::Metrics,
    pki::{Names, Pki},
    server::{Handler, Parts, Server},
    upstream::{Backend, Endpoint, Options, TlsOptions},
};
use kubridge_bridge::{
    caller::{Call, Caller as _, Class},
    identity,
    proto::GetRequest,
    status::ApiError,
};
use prost::Message as _;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

/// A server under load.
pub struct Actor {
    pub kubeconfig: PathBuf,
    pub port: u16,
    pub pid: u32,
    _child: Child,
}

/// All processes. They end with it.
pub struct Stage {
    pub passthrough: Actor,
    pub bridged: Actor,
    _backend: Child,
    _dir: TempDir,
}

impl Stage {
    pub async fn set() -> anyhow::Result<Self> {
        let dir = TempDir::new()?;
        let (backend, address) = start(&["backend"]).await?;
        let bridged = actor("bridged", dir.path().join("bridged"), &address).await?;
        let passthrough = actor("passthrough", dir.path().join("passthrough"), &address).await?;
        make_atlas(&address).await?;
        // The schema is read when discovery shows it.
        let mut sender = crate::load::connect(&bridged.kubeconfig, bridged.port).await?;
        for _ in 0..500 {
            let request = http::Request::get(format!("https://localhost{}", crate::PATH));
            let request = request.body(http_body_util::Full::<Bytes>::default())?;
            if sender.send_request(request).await?.status() == 200 {
                return Ok(Self { passthrough, bridged, _backend: backend, _dir: dir });
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        anyhow::bail!("the aggregator does not serve the machine")
    }
}

/// Plays a role until the parent ends.
pub async fn play(args: &[String]) -> anyhow::Result<()> {
    match args {
        [role] if role == "backend" => {
            let options = inventory::Options {
                listen: ([127, 0, 0, 1], 0).into(),
                first_machine: false,
                ..inventory::Options::default()
            };
            let running = inventory::Server::start(options).await?;
            println!("{}", running.addr);
            std::future::pending().await
        }
        [role, dir, backend] if role == "bridged" => {
            let args = [
                "kubridge".to_owned(),
                "serve".to_owned(),
                "--listen=127.0.0.1:0".to_owned(),
                format!("--data-dir={dir}"),
                format!("--backend=grpc://{backend}"),
            ];
            let running = kubridge::cli::start(args).await?;
            println!("{}", running.address());
            std::future::pending().await
        }
        [role, dir, backend] if role == "passthrough" => passthrough(dir.into(), backend).await,
        _ => anyhow::bail!("no such role: {args:?}"),
    }
}

/// The aggregator's listener, TLS, layers and gRPC client, around bytes that are not looked at.
async fn passthrough(dir: PathBuf, backend: &str) -> anyhow::Result<()> {
    let dir = DataDir::open(&dir)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let names = Names { sans: Vec::new(), server_url: Some(format!("https://127.0.0.1:{}", address.port())) };
    let pki = Pki::open(&dir, &Tls::default(), names, std::time::SystemTime::now())?;
    let endpoint = Endpoint::parse(&format!("grpc://{backend}"))?;
    let backend = Backend::new(endpoint, &TlsOptions::default(), Options::default())?;
    let path: Arc<str> = "/inventory.v1.Machines/GetMachine".into();
    let message: Bytes = GetRequest { namespace: "default".into(), name: "atlas".into(), options: None }
        .encode_to_vec()
        .into();
    let handler = Handler::new(move |request, _, caller| {
        let (backend, path, message) = (backend.clone(), path.clone(), message.clone());
        async move {
            let mut metadata = HeaderMap::new();
            identity::write(&caller.user, &mut metadata)?;
            let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
            let call = Call { path, message, class: Class::Read };
            let answer = backend.caller(metadata, deadline).unary(call).await;
            let answer = answer.map_err(|error| ApiError::internal(error.to_string()))?;
            let mut response = Response::new(body::full(answer));
            let opaque = http::HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, opaque);
            Ok(response)
        }
        .boxed()
    });
    let server = Server::new(Parts {
        authenticator: Arc::new(Authenticator::new(None)?),
        authorizer: Authorizer::new(AuthorizationMode::SystemMasters),
        handler,
        lifecycle: Lifecycle::new(),
        metrics: Metrics::new(),
        traces: None,
        request_timeout: std::time::Duration::from_secs(60),
        serving: pki.serving(),
        client_roots: pki.client_roots().to_vec(),
    })?;
    println!("{address}");
    server.serve(listener).await;
    Ok(())
}

async fn actor(role: &str, dir: PathBuf, backend: &str) -> anyhow::Result<Actor> {
    let (child, address) = start(&[role, &dir.to_string_lossy(), backend]).await?;
    let port = address.rsplit(':').next().unwrap_or_default().parse()?;
    let pid = child.id().context("it has ended")?;
    Ok(Actor { kubeconfig: dir.join("admin.kubeconfig"), port, pid, _child: child })
}

/// Starts a role; gives the address that it prints.
async fn start(args: &[&str]) -> anyhow::Result<(Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("role")
        .args(args)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().context("it has no output")?;
    let line = BufReader::new(stdout).lines().next_line().await?.context("it ended at once")?;
    Ok((child, line))
}

async fn make_atlas(backend: &str) -> anyhow::Result<()> {
    let channel = tonic::transport::Endpoint::new(format!("http://{backend}"))?.connect().await?;
    let mut client = inventory::v1::machines_client::MachinesClient::new(channel);
    let machine = inventory::v1::Machine {
        metadata: Some(
            inventory::contract::ObjectMeta {
                name: "atlas".into(),
                namespace: "default".into(),
                uid: "f2b3a57a-5b0e-47d7-926d-0c436b117271".into(),
                generation: 1,
                labels: [("tier".to_owned(), "db".to_owned())].into(),
                ..Default::default()
            }
            .into(),
        ),
        spec: Some(inventory::v1::MachineSpec {
            serial: "A-1".into(),
            rack: "r1".into(),
            cpus: 8,
            cpu_model: "a processor with a name of usual length".into(),
            disks: (0..4)
                .map(|n| inventory::v1::Disk {
                    name: format!("sd{n}"),
                    model: "DISK 500".into(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    client
        .create_machine(inventory::v1::CreateMachineRequest { machine: Some(machine), ..Default::default() })
        .await?;
    Ok(())
}
