//! A backend in another language: a program that ./test has built.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// How long it may take to start, and to stop.
const LIMIT: Duration = Duration::from_secs(60);

/// A program under way. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    /// Where it listens.
    pub addr: SocketAddr,
    process: Child,
}

impl Program {
    /// What `variable`, which ./test sets, names.
    pub fn named_by(variable: &str) -> Command {
        let path = std::env::var_os(variable).unwrap_or_else(|| {
            panic!("{variable} is not set: ./test --install builds the examples, `--skip examples` leaves them out")
        });
        Command::new(PathBuf::from(path))
    }

    /// Starts it; it prints `listening on ADDR`.
    pub async fn start(mut command: Command) -> Self {
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("it starts in time").unwrap();
        let line = line.expect("it says where it listens");
        let addr = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
        Self { addr: addr.parse().unwrap(), process }
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Stops it in order, by SIGTERM.
    pub async fn stop(mut self) -> ExitStatus {
        signal(self.process.id().unwrap(), "TERM");
        tokio::time::timeout(LIMIT, self.process.wait()).await.expect("it stops in time").unwrap()
    }
}

/// Sends a signal, such as `STOP`.
pub fn signal(pid: u32, signal: &str) {
    let script = format!("kill -{signal} {pid}");
    assert!(std::process::Command::new("bash").args(["-c", &script]).status().unwrap().success(), "{script}");
}

/// The APIServices of an example, with the backend where it is.
pub fn apiservices(example: &str, addr: SocketAddr) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example).join("apiservice.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("kubridge.io/backend: ") {
            Some((indent, _)) => format!("{indent}kubridge.io/backend: grpc://{addr}"),
            None => line.to_owned(),
        })
        .collect();
    lines.join("\n") + "\n"
}
