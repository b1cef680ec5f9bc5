//! A TCP relay between the aggregator and a backend: the plug to pull.

use std::{net::SocketAddr, sync::Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What the relay does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Passes them on.
    Open,
    /// Holds them back: a process that is stopped, or a silent network.
    Frozen,
    /// Holds back what the backend says: requests arrive, answers do not.
    Mute,
}

/// A relay on a port of its own.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    target: SocketAddr,
    mode: watch::Sender<Mode>,
    /// How often all connections were broken.
    cuts: watch::Sender<u64>,
    accept: Mutex<Option<JoinHandle<()>>>,
}

impl Relay {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let relay = Self {
            addr,
            target,
            mode: watch::Sender::new(Mode::Open),
            cuts: watch::Sender::new(0),
            accept: Mutex::new(None),
        };
        relay.listen(listener);
        relay
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Nothing passes in either direction; connections stay open.
    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    /// Requests arrive at the backend, and its answers nowhere.
    pub fn mute(&self) {
        self.mode.send_replace(Mode::Mute);
    }

    /// What was held back passes again.
    pub fn thaw(&self) {
        self.mode.send_replace(Mode::Open);
    }

    /// Breaks all connections and refuses new ones.
    pub async fn kill(&self) {
        let accept = self.accept.lock().unwrap().take();
        if let Some(accept) = accept {
            accept.abort();
            let _ = accept.await;
        }
        self.cut();
    }

    /// Breaks all connections; new ones are accepted.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Listens again, on the same port.
    pub async fn revive(&self) {
        let listener = TcpListener::bind(self.addr).await.unwrap();
        self.mode.send_replace(Mode::Open);
        self.listen(listener);
    }

    fn listen(&self, listener: TcpListener) {
        let (target, mode, cuts) = (self.target, self.mode.clone(), self.cuts.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, target, mode.subscribe(), cuts.subscribe()));
            }
        });
        *self.accept.lock().unwrap() = Some(task);
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    gate: watch::Receiver<Mode>,
    mut cuts: watch::Receiver<u64>,
) {
    let both = async move {
        let Ok(server) = TcpStream::connect(target).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        tokio::join!(
            pump(client_read, server_write, gate.clone(), &[Mode::Frozen]),
            pump(server_read, client_write, gate, &[Mode::Frozen, Mode::Mute])
        );
    };
    tokio::select! {
        _ = cuts.changed() => {}
        () = both => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut gate: watch::Receiver<Mode>,
    held_in: &[Mode],
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if gate.wait_for(|mode| !held_in.contains(mode)).await.is_err() || read == 0 {
            break;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
