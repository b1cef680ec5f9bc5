//! Several Kubridges, each a process, behind a kube-apiserver that dials their endpoints itself.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{Client, ControlPlane, Kubectl, cluster::MANIFESTS, program::signal};

/// How long the slow things may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// See the module.
pub struct Replicas {
    pub plane: ControlPlane,
    /// The administrator's, at the kube-apiserver.
    pub kubectl: Kubectl,
    inventory: Option<inventory::Running>,
    running: Vec<Option<Replica>>,
    host: IpAddr,
    dir: TempDir,
}

struct Replica {
    process: Child,
    address: SocketAddr,
    /// Where its metrics are.
    metrics: u16,
    /// Whether it was elected, as its log says.
    leads: Arc<AtomicBool>,
}

impl Replicas {
    /// As many replicas, all of them ready, and the APIService of the inventory Available.
    pub async fn start(count: usize, flags: &'static [&'static str]) -> Self {
        Self::start_with(count, flags, None).await
    }

    /// The same; with a `brown_out` policy the inventory is claimed by a Backend object that says so.
    pub async fn start_with(count: usize, flags: &'static [&'static str], brown_out: Option<&str>) -> Self {
        let plane = ControlPlane::start(flags).await;
        let dir = TempDir::new().unwrap();
        let kubectl = Kubectl::direct(plane.is.kubeconfig.clone());
        for file in ["namespace.yaml", "crd.yaml", "rbac.yaml"] {
            kubectl.run(&["apply", "-f", &format!("{MANIFESTS}/{file}")]).await.ok();
        }
        let mut this = Self { plane, kubectl, inventory: None, running: Vec::new(), host: host(), dir };
        this.start_inventory(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
        this.apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "kubridge-system", "name": "kubridge"},
            "spec": {"ports": [{"name": "https", "port": 443}]},
        }))
        .await;
        for number in 0..count {
            this.running.push(None);
            this.start_replica(number).await;
        }
        let backend = format!("grpc://{}", this.inventory_address());
        let claim = match brown_out {
            None => json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": super::cluster::API_SERVICE, "annotations": {"kubridge.io/backend": backend}},
                "spec": {
                    "group": "inventory.example.com", "version": "v1",
                    "groupPriorityMinimum": 1000, "versionPriority": 15,
                    "service": {"namespace": "kubridge-system", "name": "kubridge", "port": 443},
                },
            }),
            Some(policy) => json!({
                "apiVersion": "kubridge.io/v1alpha1", "kind": "Backend", "metadata": {"name": "inventory"},
                "spec": {
                    "endpoint": backend,
                    "claims": [{"group": "inventory.example.com", "version": "v1"}],
                    "brownOut": {"policy": policy},
                },
            }),
        };
        this.apply(&claim).await;
        let made = ["wait", "--for=create", "--timeout=60s", "apiservice", super::cluster::API_SERVICE];
        this.kubectl.run(&made).await.ok();
        let wait =
            ["wait", "--for=condition=Available", "--timeout=60s", "apiservice", super::cluster::API_SERVICE];
        this.kubectl.run(&wait).await.ok();
        this
    }

    /// `kubectl apply`.
    pub async fn apply(&self, object: &Value) {
        self.kubectl.run_with(&["apply", "-f", "-"], &object.to_string(), &[]).await.ok();
    }

    /// Where the inventory listens.
    pub fn inventory_address(&self) -> SocketAddr {
        self.inventory.as_ref().expect("it runs").addr
    }

    /// Stops the inventory in order; tells where it was.
    pub async fn stop_inventory(&mut self) -> SocketAddr {
        let address = self.inventory_address();
        self.inventory.take().expect("it runs").stop().await;
        address
    }

    /// Starts the inventory over the same database.
    pub async fn start_inventory(&mut self, listen: SocketAddr) {
        let options = inventory::Options {
            listen,
            database: self.dir.path().join("inventory.db"),
            ..inventory::Options::default()
        };
        self.inventory = Some(inventory::Server::start(options).await.unwrap());
    }

    /// Starts a replica; when it says that it is ready, its Service leads to it.
    pub async fn start_replica(&mut self, number: usize) {
        let token = self.kubectl.run(&["create", "token", "kubridge", "-n", "kubridge-system"]).await.ok();
        let kubeconfig = self.dir.path().join(format!("{number}.kubeconfig"));
        fs::write(&kubeconfig, self.plane.kubeconfig(token.trim())).unwrap();
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut process = Command::new(env!("CARGO_BIN_EXE_kubridge"))
            .arg("serve")
            .arg(format!("--listen={}", SocketAddr::new(self.host, 0)))
            .arg(format!("--data-dir={}", self.data_dir(number).display()))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--metrics-listen=127.0.0.1:{metrics}"))
            .args(["--shutdown-delay=2s", "--shutdown-grace=10s", "--log-format=json"])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("it goes on until it serves");
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["fields"]["message"] == "serving" || line["message"] == "serving" {
                let address = line["fields"]["address"].as_str().or(line["address"].as_str()).unwrap();
                break address.parse().unwrap();
            }
        };
        let leads = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&leads);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("this replica's part has changed") {
                    told.store(line.contains("\"leads\":true"), Ordering::Relaxed);
                }
            }
        });
        self.running[number] = Some(Replica { process, address, metrics, leads });
        let begun = Instant::now();
        while !self.says_ready(number).await {
            assert!(begun.elapsed() < LIMIT, "replica {number} does not become ready");
            sleep(Duration::from_millis(50)).await;
        }
        self.set_ready(number, true).await;
    }

    /// How many objects of a resource a replica keeps a snapshot of.
    pub async fn snapshot(&self, number: usize, resource: &str) -> Option<usize> {
        let port = self.running[number].as_ref().expect("it runs").metrics;
        let page =
            reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.unwrap().text().await.unwrap();
        let of = format!("resource=\"{resource}\"}} ");
        let line =
            page.lines().find(|line| line.starts_with("kubridge_snapshot_objects") && line.contains(&of))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until Kubridge says of the Backend that it is away.
    pub async fn until_away(&self) {
        let wait = ["wait", "--for=condition=Connected=false", "--timeout=60s", "backend/inventory"];
        self.kubectl.run(&wait).await.ok();
    }

    /// Whether `/readyz` of a replica is 200.
    pub async fn says_ready(&self, number: usize) -> bool {
        let request = self.direct(number).request(http::Method::GET, "/readyz");
        request.send().await.is_ok_and(|response| response.status() == 200)
    }

    /// Somebody without a name, at a replica directly.
    pub fn direct(&self, number: usize) -> Client {
        let ca = fs::read(self.data_dir(number).join("pki/ca.crt")).unwrap();
        let address = self.running[number].as_ref().expect("it runs").address;
        Client::by_name("kubridge.kubridge-system.svc", address, &ca, None)
    }

    /// What the endpoint controller does when a pod's readiness changes.
    pub async fn set_ready(&self, number: usize, ready: bool) {
        let address = self.running[number].as_ref().expect("it ran").address;
        self.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "kubridge-system", "name": format!("kubridge-{number}"),
                         "labels": {"kubernetes.io/service-name": "kubridge"}},
            "ports": [{"name": "https", "port": address.port()}],
            "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": ready}}],
        }))
        .await;
    }

    /// SIGTERM, and no new requests, as when a pod is deleted.
    pub async fn stop_replica(&mut self, number: usize) {
        let replica = self.running[number].as_mut().expect("it runs");
        signal(replica.process.id().unwrap(), "TERM");
        self.set_ready(number, false).await;
        let mut replica = self.running[number].take().expect("it runs");
        let status = timeout(LIMIT, replica.process.wait()).await.expect("it stops in time").unwrap();
        assert!(status.success(), "{status}");
    }

    /// SIGKILL. Nobody has noticed yet.
    pub async fn kill_replica(&mut self, number: usize) {
        let replica = self.running[number].as_mut().expect("it runs");
        replica.process.kill().await.unwrap();
        replica.leads.store(false, Ordering::Relaxed);
    }

    /// The replica that leads, once there is one.
    pub async fn leader(&self) -> usize {
        let leads = |replica: &Option<Replica>| {
            replica.as_ref().is_some_and(|replica| replica.leads.load(Ordering::Relaxed))
        };
        let begun = Instant::now();
        loop {
            if let Some(number) = self.running.iter().position(leads) {
                return number;
            }
            assert!(begun.elapsed() < LIMIT, "nobody leads");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn data_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("replica-{number}"))
    }
}

/// An address of this host that an EndpointSlice may have: loopback ones are refused. Nothing is sent.
pub fn host() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let found = socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr());
    match found {
        Ok(address) if !address.ip().is_loopback() && !address.ip().is_unspecified() => address.ip(),
        other => panic!(
            "this machine has no IPv4 address but loopback ones ({other:?}): give it one, of a dummy interface say"
        ),
    }
}
