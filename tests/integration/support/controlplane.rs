//! A real control plane (tests/controlplane): etcd, kube-apiserver and sample-apiserver on loopback.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;

use super::{Client, kubectl::document};

const VARIABLE: &str = "KUBRIDGE_TEST_CONTROLPLANE";

/// The one that most tests share. Nobody stops or kills its processes.
static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();

/// One process of the control plane.
#[derive(Debug, Clone, Deserialize)]
pub struct Server {
    /// `kube-apiserver`, `sample-apiserver-0`.
    pub name: String,
    pub address: SocketAddr,
    pub pid: u32,
}

impl Server {
    /// Sends a signal, such as `STOP`. A process has stopped when this returns.
    pub fn signal(&self, signal: &str) {
        let script = format!("kill -{signal} {}", self.pid);
        assert!(Command::new("bash").args(["-c", &script]).status().unwrap().success(), "{script}");
        // Each thread stops by itself: on a busy machine one goes on answering for a while.
        while signal == "STOP" && !self.is_stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
        })
    }

    /// Whether the process is there. One that has ended and that nobody has waited for is not.
    pub fn runs(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
    }
}

/// A certificate and its key: files in PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

impl Pair {
    /// Both, in PEM.
    pub fn identity(&self) -> Vec<u8> {
        [fs::read(&self.key_file).unwrap(), fs::read(&self.cert_file).unwrap()].concat()
    }
}

/// What `controlplane up` says of itself; tests/controlplane/up.go has the meaning of each.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    pub dir: PathBuf,
    pub kubeconfig: PathBuf,
    pub etcd: Server,
    pub kube_apiserver: Server,
    pub ca_file: PathBuf,
    pub admin: Pair,
    pub front_proxy: Pair,
    pub sample_apiservers: Vec<Server>,
    pub sample_server_name: String,
    pub sample_ca_file: PathBuf,
    pub kube_controller_manager: Option<Server>,
}

/// See the module. It ends when it is dropped, and at the latest with this process.
#[derive(Debug)]
pub struct ControlPlane {
    pub is: Description,
    up: Child,
    /// It lives as long as this is open.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl ControlPlane {
    /// The shared one, with one sample-apiserver, which kube-apiserver aggregates too.
    pub async fn shared() -> &'static Self {
        let start = || SHARED.get_or_init(|| Self::up(&["--sample-apiservers=1", "--aggregate"]));
        match tokio::task::spawn_blocking(start).await.unwrap() {
            Ok(plane) => plane,
            Err(fault) => panic!("{fault}"),
        }
    }

    /// One for a test that stops or kills its processes. `flags`: of `controlplane up`.
    pub async fn start(flags: &'static [&'static str]) -> Self {
        tokio::task::spawn_blocking(|| Self::up(flags))
            .await
            .unwrap()
            .unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// As [`Self::start`]; it may take a while, and why it does not start is told.
    pub fn up(flags: &[&str]) -> Result<Self, String> {
        let program = std::env::var_os(VARIABLE).ok_or_else(|| {
            format!(
                "{VARIABLE} is not set: run ./test, which builds tests/controlplane, or skip these tests: \
                 cargo test -- --skip controlplane"
            )
        })?;
        let mut up = Command::new(&program)
            .arg("up")
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{VARIABLE}={}: {e}", program.display()))?;
        let stdin = up.stdin.take();
        let mut stdout = BufReader::new(up.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).map_err(|e| e.to_string())?;
        if line.is_empty() {
            let status = up.wait().map_err(|e| e.to_string())?;
            return Err(format!(
                "the control plane does not start ({status}): it says why on standard error"
            ));
        }
        let is = serde_json::from_str(&line).map_err(|e| format!("{e}: {line}"))?;
        Ok(Self { is, up, stdin, stdout })
    }

    /// Starts a process again, on its old port and over its old data; returns when it is ready.
    pub fn start_again(&mut self, name: &str) -> Server {
        writeln!(self.stdin.as_mut().unwrap(), "start {name}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{name} does not start: {e}: {line}"))
    }

    /// Kills `controlplane up` itself, which then cannot end its processes in order.
    pub fn kill(&mut self) {
        self.up.kill().unwrap();
        self.up.wait().unwrap();
    }

    /// The processes that are described.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        let is = &self.is;
        [&is.etcd, &is.kube_apiserver]
            .into_iter()
            .chain(&is.sample_apiservers)
            .chain(&is.kube_controller_manager)
    }

    /// A kubeconfig of somebody with a bearer token.
    pub fn kubeconfig(&self, token: &str) -> String {
        let server = format!("https://{}", self.is.kube_apiserver.address);
        document(&json!({"server": server, "certificate-authority": self.is.ca_file}), token)
    }

    /// The administrator, at kube-apiserver.
    pub fn client(&self) -> Client {
        let base = format!("https://{}", self.is.kube_apiserver.address);
        Client::new(&base, &fs::read(&self.is.ca_file).unwrap(), Some(&self.is.admin.identity()))
    }

    /// Somebody who comes to a sample-apiserver directly, by the only name that its certificate has.
    pub fn sample_client(&self, index: usize, identity: &Pair) -> Client {
        let ca = fs::read(&self.is.sample_ca_file).unwrap();
        let address = self.is.sample_apiservers[index].address;
        Client::by_name(&self.is.sample_server_name, address, &ca, Some(&identity.identity()))
    }
}

/// An administrator's kubeconfig for the core API: of the cluster that ./test was given when the control plane could not
/// be built, else of the shared control plane.
pub async fn core_api() -> PathBuf {
    match std::env::var_os("KUBRIDGE_TEST_KUBECONFIG") {
        Some(kubeconfig) => kubeconfig.into(),
        None => ControlPlane::shared().await.is.kubeconfig.clone(),
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.up.wait();
    }
}
