//! Idle watches on the defaults of common gRPC servers: nothing happens for a minute (`KUBRIDGE_TEST_IDLE`: for so many
//! seconds), nobody is asked to go away, and then an event arrives on the very same stream.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::support::{Options, Stack, administrator, frames};

const PULSES: &str = "/apis/idlewatch.example.com/v1/pulses";

#[tokio::test(flavor = "multi_thread")]
async fn grpc_go() {
    lives(Command::new(tool("KUBRIDGE_TEST_IDLEWATCH_GO", "grpc_go"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcio() {
    let mut python = Command::new(tool("KUBRIDGE_TEST_IDLEWATCH_PY", "grpcio"));
    python.arg(clients().join("idlewatch-py/server.py"));
    lives(python).await;
}

fn clients() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn tool(variable: &str, test: &str) -> std::ffi::OsString {
    std::env::var_os(variable).unwrap_or_else(|| {
        panic!(
            "{variable} is not set: run ./test, which builds the server, or leave it out: \
             cargo test -- --skip idle_watch::{test}"
        )
    })
}

async fn lives(mut server: Command) {
    let seconds = std::env::var("KUBRIDGE_TEST_IDLE").map_or(60, |text| text.parse().expect("seconds"));
    server.arg(clients()).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("proto"));
    let mut backend = Pulses::start(server);
    let watched = Tap::start(backend.addr).await;
    let stack = behind(&watched).await;
    let version = stack.client.get(PULSES).await.expect(200).json()["metadata"]["resourceVersion"].clone();
    let path = format!("{PULSES}?watch=1&resourceVersion={}", version.as_str().unwrap());
    let mut watches = [stack.watch(&path).await, stack.watch(&path).await];
    // Connections on which nothing is under way: a client's, and an aggregator's to the same backend.
    let (_, _, client) = administrator(&stack.data(""));
    client.get("/version").await.expect(200);
    let unwatched = Tap::start(backend.addr).await;
    let other = behind(&unwatched).await;
    other.client.get(PULSES).await.expect(200);
    let connections = [&watched, &unwatched].map(|tap| tap.count(&tap.connections));

    tokio::time::sleep(Duration::from_secs(seconds)).await;

    assert_eq!(backend.happen(), "sent to 2 of 2", "the watches are the ones that were opened");
    for watch in &mut watches {
        let event = watch.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]["kind"]), (&"ADDED".into(), &"Pulse".into()), "{event}");
        assert_eq!(event["object"]["metadata"]["name"], "pulse-2");
    }
    other.client.get(PULSES).await.expect(200);
    client.get("/version").await.expect(200);
    for (tap, connections) in [&watched, &unwatched].into_iter().zip(connections) {
        assert_eq!(tap.count(&tap.goaways), 0, "the backend has said GOAWAY");
        assert_eq!(tap.count(&tap.connections), connections, "a connection was made anew");
    }
    // Servers take more than one in five minutes for an attack.
    assert!(watched.count(&watched.pings) <= 1 + seconds as usize / 300);
    assert_eq!(unwatched.count(&unwatched.pings), 0);
}

async fn behind(tap: &Tap) -> Stack {
    let args = vec![format!("--backend=grpc://{}", tap.addr)];
    let stack = Stack::with(Options { backend_down: true, args, ..Options::default() }).await;
    stack.until(|stack| stack.serves(PULSES)).await;
    stack
}

/// A server of `tests/clients`, which ends with the test.
struct Pulses {
    addr: SocketAddr,
    process: Child,
    says: BufReader<ChildStdout>,
}

impl Pulses {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(process.stdout.take().unwrap());
        let mut this = Self { addr: ([127, 0, 0, 1], 0).into(), process, says };
        let line = this.line();
        let address = line.strip_prefix("listening ").unwrap_or_else(|| panic!("{command:?}: {line:?}"));
        this.addr = address.parse().unwrap();
        this
    }

    /// Has something happen, and returns what it says of it.
    fn happen(&mut self) -> String {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Pulses {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A relay in front of a backend that looks at the frames that pass.
struct Tap {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Of the backend's.
    goaways: Arc<AtomicUsize>,
    /// Of the aggregator's own.
    pings: Arc<AtomicUsize>,
}

impl Tap {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tap = Self { addr, connections: Arc::default(), goaways: Arc::default(), pings: Arc::default() };
        let (connections, goaways, pings) =
            (Arc::clone(&tap.connections), Arc::clone(&tap.goaways), Arc::clone(&tap.pings));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (goaways, pings) = (Arc::clone(&goaways), Arc::clone(&pings));
                tokio::spawn(async move {
                    let server = TcpStream::connect(target).await.unwrap();
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let is_ping = |kind, flags| kind == frames::PING && flags & frames::ACK == 0;
                    tokio::join!(
                        pass(from_client, to_server, frames::PREFACE.len(), |kind, flags| {
                            pings.fetch_add(usize::from(is_ping(kind, flags)), Ordering::SeqCst);
                        }),
                        pass(from_server, to_client, 0, |kind, _| {
                            goaways.fetch_add(usize::from(kind == frames::GOAWAY), Ordering::SeqCst);
                        }),
                    );
                });
            }
        });
        tap
    }

    fn count(&self, counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }
}

/// Passes frames on, and tells kind and flags of each.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, preface: usize, tell: impl Fn(u8, u8)) {
    let mut bytes = vec![0; preface];
    if from.read_exact(&mut bytes).await.is_err() || to.write_all(&bytes).await.is_err() {
        return;
    }
    loop {
        let mut head = [0; 9];
        if from.read_exact(&mut head).await.is_err() {
            break;
        }
        bytes.resize(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize, 0);
        tell(head[3], head[4]);
        if from.read_exact(&mut bytes).await.is_err()
            || to.write_all(&head).await.is_err()
            || to.write_all(&bytes).await.is_err()
        {
            break;
        }
    }
    let _ = to.shutdown().await;
}
