//! A victim in a process of its own, to be stopped and continued by signals: this test binary again, running only
//! [`child`].

use std::{env, fs, net::SocketAddr, path::Path, process::Stdio, sync::Arc};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child as Process, Command},
    sync::mpsc,
    task::JoinHandle,
};

use super::{
    Kind,
    conduct::{Deed, Record},
    server::{Pem, Server, Setup},
};

const KIND: &str = "KUBRIDGE_TEST_VICTIM";
const DIR: &str = "KUBRIDGE_TEST_VICTIM_DIR";

/// Not a test: what the child processes of the matrix run. Does nothing in an ordinary run.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let (Ok(kind), Some(dir)) = (env::var(KIND), env::var_os(DIR)) else { return };
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap();
    let pem = Path::new(&dir).join("certificate.pem").exists().then(|| {
        let read = |name: &str| fs::read_to_string(Path::new(&dir).join(name)).unwrap();
        (read("certificate.pem"), read("key.pem"))
    });
    let record: Record = Arc::new(|deed| match deed {
        Deed::Write(name) => say(&format!("ran {name}")),
        Deed::Question => say("asked"),
    });
    let server = Server::start(Setup::new(kind, pem.as_ref().map(|pem| [pem, pem]), record));
    say(&format!("listening {}", server.addr));
    // Until whoever started it is gone.
    let _ = tokio::io::stdin().read(&mut [0]).await;
}

/// A line for whoever started this process; the test harness has words of its own on the same output.
fn say(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n>{line}").and_then(|()| out.flush()).unwrap();
}

/// See the module. It is killed when this is dropped.
pub struct Child {
    pub addr: SocketAddr,
    process: Process,
    heard: JoinHandle<()>,
    _dir: TempDir,
}

impl Child {
    pub async fn start(kind: Kind, certificate: Option<&Pem>, record: Record) -> Self {
        let dir = TempDir::new().unwrap();
        if let Some((certificate, key)) = certificate {
            fs::write(dir.path().join("certificate.pem"), certificate).unwrap();
            fs::write(dir.path().join("key.pem"), key).unwrap();
        }
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1", "matrix::victim::child::child"])
            .env(KIND, kind.name())
            .env(DIR, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (told, mut tells) = mpsc::channel(1);
        let heard = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(addr) = line.strip_prefix(">listening ") {
                    told.send(addr.parse().unwrap()).await.unwrap();
                } else if let Some(name) = line.strip_prefix(">ran ") {
                    record(Deed::Write(name));
                } else if line == ">asked" {
                    record(Deed::Question);
                }
            }
        });
        let addr = tells.recv().await.expect("the child listens");
        Self { addr, process, heard, _dir: dir }
    }

    /// SIGSTOP: it neither reads nor writes from now on, and its sockets stay open.
    pub async fn stop(&self) {
        self.signal("STOP").await;
        self.until(|state| state == 'T').await;
    }

    /// SIGCONT.
    pub async fn go_on(&self) {
        self.signal("CONT").await;
        self.until(|state| state != 'T').await;
    }

    /// Kills it, and hears what it said last.
    pub async fn end(mut self) {
        self.process.kill().await.unwrap();
        self.heard.await.unwrap();
    }

    async fn signal(&self, signal: &str) {
        let pid = self.process.id().expect("it runs");
        let sent = Command::new("bash").args(["-c", &format!("kill -{signal} {pid}")]).status().await;
        assert!(sent.unwrap().success(), "kill -{signal}");
    }

    /// The state of a process: `R`, `S`, `T` and so on (proc(5)). A signal acts a moment after it was sent.
    async fn until(&self, so: impl Fn(char) -> bool) {
        let stat = format!("/proc/{}/stat", self.process.id().expect("it runs"));
        loop {
            let text = fs::read_to_string(&stat).unwrap();
            // The name in parentheses may hold anything.
            if text.rsplit(") ").next().and_then(|rest| rest.chars().next()).is_some_and(&so) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}
