//! A cluster whose kube-apiserver forwards inventory.example.com to a Kubridge in this process, which asks an inventory in
//! this process. Kubridge is the service account of `deploy/manifests`, with its rights and no others.

use std::{fs, net::SocketAddr, path::PathBuf, sync::OnceLock};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use super::{Client, ControlPlane, Kubectl};

/// The group and version that the inventory serves.
pub const API_SERVICE: &str = "v1.inventory.example.com";
/// The name that kube-apiserver calls Kubridge by.
pub const SERVER_NAME: &str = "kubridge.kubridge-system.svc";
/// The plain manifests.
pub const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/manifests");

/// The inventory's group is one: one test at a time has it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
static PLANE: OnceLock<ControlPlane> = OnceLock::new();

/// See the module.
pub struct Cluster {
    pub plane: &'static ControlPlane,
    /// The administrator's, at the kube-apiserver.
    pub kubectl: Kubectl,
    inventory: Option<inventory::Running>,
    kubridges: Vec<kubridge::cli::Running>,
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// A cluster whose APIService is Available.
    pub async fn start() -> Self {
        let mut cluster = Self::without_kubridge().await;
        let address = cluster.start_kubridge(&[]).await;
        cluster.point_at(address.port()).await;
        cluster.claim(address.port()).await;
        cluster.available().await;
        cluster
    }

    /// Waits until kube-apiserver calls the APIService Available.
    pub async fn available(&self) {
        let wait = ["wait", "--for=condition=Available", "--timeout=60s", "apiservice", API_SERVICE];
        self.kubectl.run(&wait).await.ok();
    }

    /// A cluster that has the manifests, the Service of the inventory, and nothing that names Kubridge.
    pub async fn without_kubridge() -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let start = || PLANE.get_or_init(|| ControlPlane::up(&[]).unwrap_or_else(|fault| panic!("{fault}")));
        let plane = tokio::task::spawn_blocking(start).await.unwrap();
        let dir = TempDir::new().unwrap();
        let kubectl = Kubectl::direct(plane.is.kubeconfig.clone());
        for file in ["namespace.yaml", "crd.yaml", "rbac.yaml"] {
            kubectl.run(&["apply", "-f", &format!("{MANIFESTS}/{file}")]).await.ok();
        }
        kubectl
            .run(&["wait", "--for=condition=Established", "crd/backends.kubridge.io", "--timeout=30s"])
            .await
            .ok();
        let inventory = inventory::Server::start(inventory::Options {
            listen: ([127, 0, 0, 1], 0).into(),
            database: dir.path().join("inventory.db"),
            ..inventory::Options::default()
        })
        .await
        .unwrap();
        let cluster =
            Self { plane, kubectl, inventory: Some(inventory), kubridges: Vec::new(), dir, _turn: turn };
        cluster.apply(&external("default", "inventory", cluster.inventory_address().port())).await;
        cluster
    }

    /// Where the inventory listens.
    pub fn inventory_address(&self) -> SocketAddr {
        self.inventory.as_ref().expect("it runs").addr
    }

    /// Starts one more Kubridge; tells where it listens.
    pub async fn start_kubridge(&mut self, more: &[&str]) -> SocketAddr {
        self.start_kubridge_at(([127, 0, 0, 1], 0).into(), more).await
    }

    /// Starts a Kubridge that makes APIServices by itself, to which its Service leads.
    pub async fn start_registrar(&mut self, more: &[&str]) -> SocketAddr {
        // What it writes into APIServices is the port that it is called at: it must be known before it listens.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.start_registrar_at(free, more).await
    }

    /// The same, at an address that is free.
    pub async fn start_registrar_at(&mut self, listen: SocketAddr, more: &[&str]) -> SocketAddr {
        self.point_at(listen.port()).await;
        let service = format!("--service=kubridge-system/kubridge:{}", listen.port());
        let more: Vec<&str> = more.iter().copied().chain([service.as_str()]).collect();
        self.start_kubridge_at(listen, &more).await
    }

    async fn start_kubridge_at(&mut self, listen: SocketAddr, more: &[&str]) -> SocketAddr {
        let number = self.kubridges.len();
        let mut args = vec![
            "kubridge".to_owned(),
            "serve".into(),
            format!("--listen={listen}"),
            format!("--data-dir={}", self.data_dir(number).display()),
            format!("--kubeconfig={}", self.service_account().await.display()),
        ];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let running = kubridge::cli::start(&args).await.unwrap();
        let address = running.address();
        self.kubridges.push(running);
        address
    }

    /// Stops a Kubridge in order.
    pub async fn stop_kubridge(&mut self, number: usize) {
        self.kubridges.remove(number).stop().await.unwrap();
    }

    /// Stops the inventory in order.
    pub async fn stop_inventory(&mut self) {
        self.inventory.take().expect("it runs").stop().await;
    }

    /// Starts the inventory again, over the same database and on the same port.
    pub async fn start_inventory(&mut self, listen: SocketAddr) {
        let options = inventory::Options {
            listen,
            database: self.dir.path().join("inventory.db"),
            ..inventory::Options::default()
        };
        self.inventory = Some(inventory::Server::start(options).await.unwrap());
    }

    /// The directory of the Kubridge of this number.
    pub fn data_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("kubridge-{number}"))
    }

    /// The administrator of the cluster, at a Kubridge directly.
    pub fn direct(&self, number: usize) -> Client {
        self.direct_as(number, Some(&self.plane.is.admin.identity()))
    }

    /// Somebody with a certificate, or nobody, at a Kubridge directly.
    pub fn direct_as(&self, number: usize, identity: Option<&[u8]>) -> Client {
        let ca = fs::read(self.data_dir(number).join("pki/ca.crt")).unwrap();
        Client::by_name(SERVER_NAME, self.kubridges[number].address(), &ca, identity)
    }

    /// A file of this test.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `kubectl apply`.
    pub async fn apply(&self, object: &Value) {
        self.kubectl.run_with(&["apply", "-f", "-"], &object.to_string(), &[]).await.ok();
    }

    /// Has the Service of Kubridge lead to a port of this host.
    pub async fn point_at(&self, port: u16) {
        self.apply(&external("kubridge-system", "kubridge", port)).await;
    }

    /// Has kube-apiserver send what is asked of the inventory's group to Kubridge.
    pub async fn claim(&self, port: u16) {
        let backend = format!("grpc://inventory.default.svc:{}", self.inventory_address().port());
        self.claim_for(port, &backend).await;
    }

    /// The same, for a backend that is somewhere else.
    pub async fn claim_for(&self, port: u16, backend: &str) {
        self.apply(&json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": API_SERVICE, "annotations": {"kubridge.io/backend": backend}},
            "spec": {
                "group": "inventory.example.com", "version": "v1",
                "groupPriorityMinimum": 1000, "versionPriority": 15,
                "service": {"namespace": "kubridge-system", "name": "kubridge", "port": port},
            },
        }))
        .await;
    }

    /// A kubeconfig of the service account.
    async fn service_account(&self) -> PathBuf {
        let token = self.kubectl.run(&["create", "token", "kubridge", "-n", "kubridge-system"]).await.ok();
        self.kubeconfig("kubridge", token.trim())
    }

    /// A kubeconfig of somebody with a bearer token.
    pub fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        self.file(&format!("{name}.kubeconfig"), &self.plane.kubeconfig(token))
    }

    /// Ends the claim, so that the next test begins without it, and everything else in order.
    pub async fn end(mut self) {
        self.kubectl.run(&["delete", "backend", "--all", "--timeout=30s"]).await.ok();
        self.kubectl.run(&["delete", "apiservice", API_SERVICE, "--ignore-not-found"]).await.ok();
        for running in self.kubridges.drain(..) {
            running.stop().await.unwrap();
        }
        if let Some(inventory) = self.inventory.take() {
            inventory.stop().await;
        }
    }
}

/// A Service that leads to this host.
fn external(namespace: &str, name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    })
}
