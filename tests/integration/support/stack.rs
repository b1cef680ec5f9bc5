//! The aggregator and the inventory in this process, each on a port of its own, with a relay between them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream::BoxStream};
use http::Method;
use kubridge::{
    config::Tls,
    data_dir::DataDir,
    pki::{Names, Pki},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ca, Client, Hostile, Kubectl, NO_TOKEN, Relay};

/// How a stack differs from the usual one.
#[derive(Default)]
pub struct Options {
    /// The inventory makes its first machine, the host.
    pub seed: bool,
    /// How many changes the inventory remembers.
    pub log_limit: Option<u64>,
    /// Users with tokens: Kubernetes' CSV.
    pub tokens: String,
    /// The inventory tells nothing of its Watch methods.
    pub watchless: bool,
    /// Another backend than the inventory.
    pub backend: Option<SocketAddr>,
    /// The inventory speaks mutual TLS: this CA signed its certificate, and it lets in Kubridge's clients only.
    pub tls: Option<Ca>,
    /// Nobody listens where the backend should be, and it is not given as --backend.
    pub backend_down: bool,
    /// The backend runs, and nobody claims anything of it: it is not given as --backend.
    pub unclaimed: bool,
    /// What is served once the stack is up; none: the inventory.
    pub serves: Option<&'static str>,
    /// More arguments of `kubridge serve`.
    pub args: Vec<String>,
}

/// See the module.
pub struct Stack {
    /// Speaks as the administrator.
    pub client: Client,
    /// Between the aggregator and the backend.
    pub relay: Relay,
    base: String,
    ca: Vec<u8>,
    dir: TempDir,
    args: Vec<String>,
    inventory: Option<inventory::Running>,
    descriptors: Option<Vec<u8>>,
    kubridge: Option<kubridge::cli::Running>,
}

impl Stack {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let dir = TempDir::new().unwrap();
        let data_dir = dir.path().join("data");
        let tls = options.tls.as_ref().map(|ca| ca.backend(&kubridge_ca(&data_dir)));
        let descriptors = options.watchless.then(Hostile::watchless);
        let (inventory, target) = match options.backend {
            Some(addr) => (None, addr),
            None => {
                let running = inventory::Server::start(inventory::Options {
                    listen: ([127, 0, 0, 1], 0).into(),
                    database: dir.path().join("inventory.db"),
                    first_machine: options.seed,
                    log_limit: options.log_limit.unwrap_or(100_000),
                    tls,
                    descriptors: descriptors.clone(),
                    ..inventory::Options::default()
                })
                .await
                .unwrap();
                let addr = running.addr;
                (Some(running), addr)
            }
        };
        let relay = Relay::start(target).await;
        let mut args = vec![
            "kubridge".to_owned(),
            "serve".into(),
            "--listen=127.0.0.1:0".into(),
            format!("--data-dir={}", data_dir.display()),
        ];
        match &options.tls {
            _ if options.backend_down => relay.kill().await,
            _ if options.unclaimed => {}
            None => args.push(format!("--backend=grpc://{}", relay.addr())),
            Some(ca) => {
                let file = dir.path().join("backend-ca.pem");
                fs::write(&file, ca.pem()).unwrap();
                args.push(format!("--backend=grpcs://{}", relay.addr()));
                args.push(format!("--backend-ca-file={}", file.display()));
            }
        }
        if !options.tokens.is_empty() {
            let file = dir.path().join("tokens.csv");
            fs::write(&file, &options.tokens).unwrap();
            args.push(format!("--token-auth-file={}", file.display()));
        }
        args.extend(options.args);
        let (kubridge, client, base, ca) = serve(&args, &data_dir).await;
        let kubridge = Some(kubridge);
        let stack = Self { client, relay, base, ca, dir, args, inventory, descriptors, kubridge };
        if !options.backend_down && !options.unclaimed {
            let serves = options.serves.unwrap_or("/apis/inventory.example.com/v1");
            stack.until(|stack| stack.serves(serves)).await;
        }
        stack
    }

    /// Stops the aggregator in order, as SIGTERM would.
    pub async fn stop(&mut self) {
        self.kubridge.take().expect("it runs").stop().await.unwrap();
    }

    /// Stops the aggregator in order and starts it again over the same data directory, with more arguments.
    pub async fn restart(&mut self, more: &[&str]) {
        self.stop().await;
        self.start_again(more).await;
    }

    /// After [`Self::stop`].
    pub async fn start_again(&mut self, more: &[&str]) {
        let args: Vec<String> =
            self.args.iter().cloned().chain(more.iter().map(|arg| (*arg).to_owned())).collect();
        let (kubridge, client, base, ca) = serve(&args, &self.dir.path().join("data")).await;
        (self.kubridge, self.client, self.base, self.ca) = (Some(kubridge), client, base, ca);
    }

    /// Stops the inventory in order, and starts it again over the same database, on the same port.
    pub async fn restart_backend(&mut self) {
        let running = self.inventory.take().expect("it runs");
        let listen = running.addr;
        running.stop().await;
        let options = inventory::Options {
            listen,
            database: self.dir.path().join("inventory.db"),
            first_machine: false,
            descriptors: self.descriptors.clone(),
            ..inventory::Options::default()
        };
        self.inventory = Some(inventory::Server::start(options).await.unwrap());
    }

    /// What `--metrics-listen` serves, without TLS.
    pub fn metrics_address(&self) -> SocketAddr {
        self.kubridge.as_ref().and_then(kubridge::cli::Running::metrics_address).expect("--metrics-listen")
    }

    /// Whether something is there.
    pub async fn serves(&self, path: &str) -> bool {
        self.client.get(path).await.status == 200
    }

    /// The `Available` condition of an APIService: status, reason, message.
    pub async fn available(&self, name: &str) -> [String; 3] {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}");
        let service = self.client.get(&path).await.json();
        let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition = conditions.into_iter().find(|c| c["type"] == "Available").unwrap_or_default();
        ["status", "reason", "message"].map(|field| condition[field].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until something is so; fails after fifteen seconds.
    pub async fn until<'a, F: Future<Output = bool>>(&'a self, mut so: impl FnMut(&'a Self) -> F) {
        let begin = Instant::now();
        while !so(self).await {
            assert!(begin.elapsed() < Duration::from_secs(15), "it does not come");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where the inventory itself listens.
    pub fn inventory_addr(&self) -> SocketAddr {
        self.inventory.as_ref().expect("it runs").addr
    }

    /// Where the aggregator looks for the backend: the relay.
    pub fn backend_addr(&self) -> SocketAddr {
        self.relay.addr()
    }

    /// A file of the data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join("data").join(name)
    }

    /// Where the aggregator listens.
    pub fn addr(&self) -> SocketAddr {
        self.base.trim_start_matches("https://").parse().unwrap()
    }

    /// What signed the aggregator's certificate, PEM.
    pub fn ca(&self) -> &[u8] {
        &self.ca
    }

    /// A client without a name.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.base, &self.ca, None)
    }

    /// `DATA_DIR/admin.kubeconfig`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("data/admin.kubeconfig")
    }

    /// The administrator's kubectl.
    pub async fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.client.clone(), NO_TOKEN).await
    }

    /// The kubectl of somebody with a bearer token.
    pub async fn kubectl_with_token(&self, token: &str) -> Kubectl {
        Kubectl::new(self.anonymous(), token).await
    }

    /// Opens a watch; fails unless it is answered with 200.
    pub async fn watch(&self, path: &str) -> Watch {
        Watch::open(&self.client, path).await
    }
}

/// Starts the aggregator; with it its administrator's client, its URL and its CA.
async fn serve(args: &[String], data_dir: &Path) -> (kubridge::cli::Running, Client, String, Vec<u8>) {
    let kubridge = kubridge::cli::start(args).await.unwrap();
    let (base, ca, client) = administrator(data_dir);
    (kubridge, client, base, ca)
}

/// Where the server of a data directory is (by its admin.kubeconfig), its CA in PEM, and a client as the administrator.
pub fn administrator(data_dir: &Path) -> (String, Vec<u8>, Client) {
    let kubeconfig = fs::read_to_string(data_dir.join("admin.kubeconfig")).unwrap();
    let text = |name: &str| {
        let line = kubeconfig.lines().find_map(|l| l.trim().strip_prefix(&format!("{name}: "))).unwrap();
        line.trim().trim_matches('"').to_owned()
    };
    let field = |name: &str| BASE64_STANDARD.decode(text(name)).unwrap();
    let ca = field("certificate-authority-data");
    let identity = [field("client-key-data"), field("client-certificate-data")].concat();
    let base = text("server");
    let client = Client::new(&base, &ca, Some(&identity));
    (base, ca, client)
}

/// The CA of a data directory, made as its first start makes it.
fn kubridge_ca(data_dir: &Path) -> String {
    let held = DataDir::open(data_dir).unwrap();
    let names = Names { sans: Vec::new(), server_url: Some("https://127.0.0.1".into()) };
    Pki::open(&held, &Tls::default(), names, SystemTime::now()).unwrap();
    fs::read_to_string(data_dir.join("pki/ca.crt")).unwrap()
}

/// A watch under way.
pub struct Watch {
    stream: BoxStream<'static, reqwest::Result<Bytes>>,
    buffer: BytesMut,
}

impl Watch {
    /// Fails unless it is answered with 200.
    pub async fn open(client: &Client, path: &str) -> Self {
        let response = client.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        Self { stream: response.bytes_stream().boxed(), buffer: BytesMut::new() }
    }

    /// The next event; nothing when the watch has ended cleanly. Fails when it does not come.
    pub async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(Duration::from_secs(30), self.whenever()).await.expect("an event comes in time")
    }

    /// The next event, however long it takes.
    pub async fn whenever(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = self.stream.next().await?;
            self.buffer.extend_from_slice(&chunk.unwrap());
        }
    }
}

/// A valid machine.
pub fn machine(name: &str) -> Value {
    json!({
        "apiVersion": "inventory.example.com/v1", "kind": "Machine",
        "metadata": {"name": name},
        "spec": {"serial": format!("S-{name}"), "rack": "r1", "cpus": 4, "memory": "8Gi"},
    })
}
