//! One address of a victim: a listener that can go and come back, and connections that behave as they are told.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{Duration, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Kind,
    conduct::{Conduct, Mood, Record},
    http1, http2,
};

/// So much of an answer is sent before its server dies.
pub const HALF: usize = 2048;

/// Certificate and key, PEM.
pub type Pem = (String, String);

/// What a server is.
#[derive(Clone)]
pub struct Setup {
    pub kind: Kind,
    /// Its own, and that of a server in disguise.
    pub tls: Option<[Arc<ServerConfig>; 2]>,
    pub record: Record,
}

impl Setup {
    /// `certificates`: the server's own, and another; none: plain text.
    pub fn new(kind: Kind, certificates: Option<[&Pem; 2]>, record: Record) -> Self {
        Self { kind, tls: certificates.map(|pair| pair.map(|pem| Arc::new(config(kind, pem)))), record }
    }
}

fn config(kind: Kind, (certificate, key): &Pem) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = match kind {
        Kind::Grpc | Kind::Https2 => vec![b"h2".to_vec()],
        Kind::Https1 => vec![b"http/1.1".to_vec()],
    };
    config
}

/// See the module.
pub struct Server {
    pub addr: SocketAddr,
    setup: Setup,
    mood: Mood,
    /// Keeps the port while nobody listens: connections to it are refused, and nobody else gets it.
    _reserved: Socket,
    listening: Option<JoinHandle<()>>,
    /// Fills the backlog of a listener that never accepts.
    clog: Vec<Socket>,
}

impl Server {
    pub fn start(setup: Setup) -> Self {
        let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        reserved.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        // Only now: a port that is picked for who may share it may be somebody else's.
        reserved.set_reuse_address(true).unwrap();
        let addr = reserved.local_addr().unwrap().as_socket().unwrap();
        let mood = Mood::new(Conduct::Well);
        let mut server = Self { addr, setup, mood, _reserved: reserved, listening: None, clog: Vec::new() };
        server.listen();
        server
    }

    /// Changes what it does with connections and requests from now on; those that there are go on.
    pub fn behave(&self, conduct: Conduct) {
        self.mood.set(conduct);
    }

    /// Ends all connections, and refuses new ones.
    pub async fn kill(&mut self) {
        self.clog.clear();
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _ = listening.await;
        }
    }

    /// Listens again, behaving well.
    pub async fn revive(&mut self) {
        self.kill().await;
        self.behave(Conduct::Well);
        self.listen();
    }

    /// Ends all connections, and treats new ones otherwise.
    pub async fn restart(&mut self, conduct: Conduct) {
        self.kill().await;
        self.behave(conduct);
        self.listen();
    }

    /// Ends all connections; new ones are neither accepted nor refused.
    pub async fn swallow(&mut self) {
        self.kill().await;
        let listener = bound(self.addr);
        listener.listen(0).unwrap();
        self.clog.push(listener);
        for _ in 0..16 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _in_progress = socket.connect(&self.addr.into());
            self.clog.push(socket);
            if timeout(Duration::from_millis(200), TcpStream::connect(self.addr)).await.is_err() {
                return;
            }
        }
        panic!("a listener that never accepts goes on taking connections");
    }

    fn listen(&mut self) {
        let listener = bound(self.addr);
        listener.listen(1024).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener.into()).unwrap();
        let (setup, mood) = (self.setup.clone(), self.mood.clone());
        self.listening = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                connections.spawn(serve(tcp, setup.clone(), mood.clone()));
                while connections.try_join_next().is_some() {}
            }
        }));
    }
}

fn bound(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&addr.into()).unwrap();
    socket
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn serve(tcp: TcpStream, setup: Setup, mood: Mood) {
    let _ = tcp.set_nodelay(true);
    let conduct = mood.get();
    match conduct {
        Conduct::Silent => return held(tcp).await,
        // Its end is a reset.
        Conduct::Resets if setup.kind == Kind::Https1 => {
            SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
        }
        _ => {}
    }
    let mut io: Box<dyn Io> = match setup.tls {
        None => Box::new(tcp),
        Some([own, other]) => {
            let config = if conduct == Conduct::Disguised { other } else { own };
            let Ok(stream) = TlsAcceptor::from(config).accept(tcp).await else { return };
            Box::new(stream)
        }
    };
    match (conduct, setup.kind) {
        (Conduct::Babbles, _) => {
            let _ = io.write_all(&[0xfe; 512]).await;
            let _ = io.flush().await;
            held(io).await;
        }
        (Conduct::TurnsAway, _) => http2::turn_away(io).await,
        (_, Kind::Grpc | Kind::Https2) => http2::serve(io, setup.kind, mood, setup.record).await,
        (_, Kind::Https1) => http1::serve(io, &mood, &setup.record).await,
    }
}

/// Reads what comes, and says nothing more, until the other side hangs up.
async fn held(mut io: impl AsyncRead + Unpin) {
    let _ = tokio::io::copy(&mut io, &mut tokio::io::sink()).await;
}
