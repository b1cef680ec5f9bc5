//! The processes: a control plane (tests/controlplane), and this executable, started again as Kubridge.

use std::{fs, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    time::{Instant, sleep},
};

use crate::{
    Way,
    load::{self, Client, Identity},
};

const FLUNDERS: &str = "/apis/wardle.example.com/v1beta1/namespaces/default/flunders";
/// From the watch cache: etcd is not asked.
pub const ONE: &str = "/apis/wardle.example.com/v1beta1/namespaces/default/flunders/f000?resourceVersion=0";
pub const LIST: &str = "/apis/wardle.example.com/v1beta1/namespaces/default/flunders?resourceVersion=0";
const OBJECTS: usize = 500;

/// What `controlplane up` says of itself; tests/controlplane/up.go has the meaning of each.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plane {
    kube_apiserver: Server,
    ca_file: String,
    admin: Pair,
    front_proxy: Pair,
    sample_apiservers: Vec<Server>,
    sample_ca_file: String,
}

#[derive(Deserialize)]
struct Server {
    address: SocketAddr,
    pid: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pair {
    cert_file: String,
    key_file: String,
}

/// All processes. They end with it.
pub struct Stage {
    plane: Plane,
    kubridge: (SocketAddr, u32),
    dir: TempDir,
    _kubridge: Child,
    _up: (Child, Option<ChildStdin>),
}

impl Stage {
    pub async fn set() -> anyhow::Result<Self> {
        let program = std::env::var("KUBRIDGE_TEST_CONTROLPLANE")
            .context("KUBRIDGE_TEST_CONTROLPLANE is not set: build tests/controlplane, or run ./test once")?;
        let args = ["up", "--sample-apiservers=1", "--aggregate"];
        let (mut up, line) = start(&program, args.iter().map(|arg| (*arg).to_owned()).collect()).await?;
        let stdin = up.stdin.take();
        let plane: Plane = serde_json::from_str(&line).context("what the control plane says of itself")?;
        let dir = TempDir::new()?;
        let this = std::env::current_exe()?.to_string_lossy().into_owned();
        let (child, line) = start(&this, arguments(&plane, dir.path())?).await?;
        let kubridge = (line.parse()?, child.id().context("Kubridge has ended")?);
        let stage = Self { plane, kubridge, dir, _kubridge: child, _up: (up, stdin) };
        stage.fill().await?;
        Ok(stage)
    }

    pub async fn ways(&self) -> anyhow::Result<Vec<Way>> {
        let Plane { kube_apiserver, sample_apiservers, ca_file, sample_ca_file, admin, .. } = &self.plane;
        let (sample, server) = (sample_apiservers[0].address, kube_apiserver.address);
        let direct = admin.identity(sample_ca_file)?.connect(sample, "api.wardle.svc").await?;
        let aggregated = admin.identity(ca_file)?.connect(server, "kubernetes.default.svc").await?;
        let kubeconfig = self.dir.path().join("data/admin.kubeconfig");
        let (address, pid) = self.kubridge;
        let ours = load::connect(&kubeconfig, address.port()).await?;
        Ok(vec![
            Way { name: "nobody", client: direct, pid: std::process::id() },
            Way { name: "kube-apiserver", client: aggregated, pid: kube_apiserver.pid },
            Way { name: "Kubridge", client: ours, pid },
        ])
    }

    /// Makes the objects, and waits until all three ways give the same list.
    async fn fill(&self) -> anyhow::Result<()> {
        let ways = self.ways().await?;
        let client = &ways[1].client;
        for n in 0..OBJECTS {
            let object = json!({
                "apiVersion": "wardle.example.com/v1beta1", "kind": "Flunder",
                "metadata": { "name": format!("f{n:03}"), "labels": { "tier": "db", "rack": "r1" } },
                "spec": { "flunderReference": "another", "referenceType": "Flunder" },
            });
            let (status, body) = send(client, Method::POST, FLUNDERS, object.to_string()).await?;
            anyhow::ensure!(status == 201, "{status}: {}", String::from_utf8_lossy(&body));
        }
        let begin = Instant::now();
        loop {
            let mut lists = Vec::new();
            for way in &ways {
                lists.push(send(&way.client, Method::GET, LIST, String::new()).await?);
            }
            if lists.iter().all(|list| *list == lists[0] && list.0 == 200) {
                return Ok(());
            }
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(30), "the three do not agree");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Pair {
    fn identity(&self, ca_file: &str) -> anyhow::Result<Identity> {
        let [ca, certificate, key] = [ca_file, &self.cert_file, &self.key_file].map(fs::read);
        Ok(Identity { ca: ca?, certificate: certificate?, key: key? })
    }
}

/// Serves until the parent ends.
pub async fn kubridge(args: &[&str]) -> anyhow::Result<()> {
    let running = kubridge::cli::start([&["kubridge", "serve"], args].concat()).await?;
    println!("{}", running.address());
    std::future::pending().await
}

fn arguments(plane: &Plane, dir: &Path) -> anyhow::Result<Vec<String>> {
    let manifests = dir.join("manifests");
    fs::create_dir(&manifests)?;
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": "v1beta1.wardle.example.com" },
        "spec": {
            "group": "wardle.example.com", "version": "v1beta1",
            "groupPriorityMinimum": 1000, "versionPriority": 15,
            "service": { "namespace": "wardle", "name": "api", "port": 443 },
            "caBundle": BASE64_STANDARD.encode(fs::read(&plane.sample_ca_file)?),
        },
    });
    fs::write(manifests.join("wardle.yaml"), service.to_string())?;
    Ok(vec![
        "role".to_owned(),
        "kubridge".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        format!("--data-dir={}", dir.join("data").display()),
        format!("--manifests={}", manifests.display()),
        format!("--service-resolution=wardle/api={}", plane.sample_apiservers[0].address),
        format!("--proxy-client-cert-file={}", plane.front_proxy.cert_file),
        format!("--proxy-client-key-file={}", plane.front_proxy.key_file),
    ])
}

/// Starts a program; gives the first line that it prints.
async fn start(program: &str, args: Vec<String>) -> anyhow::Result<(Child, String)> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let stdout = child.stdout.take().context("it has no output")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    Ok((child, line.with_context(|| format!("{program} ended at once"))?))
}

async fn send(
    client: &Client,
    method: Method,
    path: &str,
    body: String,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    request = request.header(header::ACCEPT, crate::ACCEPT).header(header::CONTENT_TYPE, crate::ACCEPT);
    let response = client.clone().send_request(request.body(Full::from(body))?).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
