//! The real kubectl, with nothing of the machine's: its own kubeconfig, cache directory and home.

use std::{ffi::OsStr, fs, path::PathBuf, process::Stdio, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{Client, Inspector};

/// How long one kubectl may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Where kubectl is: `KUBRIDGE_TEST_KUBECTL` (set by ./test), else PATH.
fn program() -> PathBuf {
    std::env::var_os("KUBRIDGE_TEST_KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from)
}

/// What a kubectl printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Output {
    /// Fails unless kubectl exited with 0; gives what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// Fails unless kubectl exited with another code; gives its complaint.
    #[track_caller]
    pub fn fails(self) -> String {
        assert_ne!(self.code, 0, "stdout: {}", self.stdout);
        self.stderr
    }
}

/// A kubectl of one user, whose every exchange is inspected.
#[derive(Debug)]
pub struct Kubectl {
    /// None: it speaks to the aggregator directly.
    inspector: Option<Inspector>,
    kubeconfig: PathBuf,
    home: TempDir,
}

/// The kubeconfig of somebody with a bearer token, at this cluster.
pub fn document(cluster: &Value, token: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    })
    .to_string()
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        // A kubectl that goes on is not asked after each of its exchanges.
        if let (Some(inspector), false) = (&self.inspector, std::thread::panicking()) {
            inspector.check();
            assert!(inspector.seen() > 0, "kubectl spoke to somebody else");
        }
    }
}

impl Kubectl {
    /// Speaks as `client` does where `token` is [`NO_TOKEN`], else with the token.
    pub async fn new(client: Client, token: &str) -> Self {
        let inspector = Inspector::start(client).await;
        let home = TempDir::new().unwrap();
        let ca = BASE64_STANDARD.encode(inspector.certificate());
        let cluster = json!({"server": inspector.url(), "certificate-authority-data": ca});
        let kubeconfig = home.path().join("config");
        fs::write(&kubeconfig, document(&cluster, token)).unwrap();
        Self { inspector: Some(inspector), kubeconfig, home }
    }

    /// With a kubeconfig as the aggregator wrote it, and nothing in between.
    pub fn direct(kubeconfig: PathBuf) -> Self {
        Self { inspector: None, kubeconfig, home: TempDir::new().unwrap() }
    }

    #[track_caller]
    fn inspect(&self) {
        if let Some(inspector) = &self.inspector {
            inspector.check();
        }
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.home.path().join("cache"))
            .arg("--cache-dir")
            .arg(self.home.path().join("cache"))
            .args(args)
            .kill_on_drop(true);
        command
    }

    /// Runs `kubectl ARGS`.
    pub async fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, "", &[]).await
    }

    /// Runs `kubectl ARGS` with standard input and environment variables.
    pub async fn run_with(&self, args: &[&str], stdin: &str, env: &[(&str, &str)]) -> Output {
        let mut command = self.command(args);
        command.envs(env.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| {
            panic!("{}: {e}: install kubectl 1.30 or newer, or run ./test", program().display())
        });
        let mut input = child.stdin.take().unwrap();
        let feed = async {
            let _ = input.write_all(stdin.as_bytes()).await;
            drop(input);
        };
        let (_, output) = tokio::time::timeout(LIMIT, async { tokio::join!(feed, child.wait_with_output()) })
            .await
            .unwrap_or_else(|_| panic!("kubectl {args:?} took more than {LIMIT:?}"));
        let output = output.unwrap();
        self.inspect();
        Output {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Starts a kubectl that goes on, such as `get -w`.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { _child: child, lines }
    }
}

/// A kubectl under way. It ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// The next line that it prints.
    pub async fn line(&mut self) -> String {
        tokio::time::timeout(LIMIT, self.lines.next_line())
            .await
            .expect("kubectl prints a line in time")
            .unwrap()
            .expect("kubectl goes on")
    }
}
