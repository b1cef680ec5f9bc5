//! One connection to one address: TCP, TLS, and HTTP up to where requests can be sent.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    super::{
        endpoint::Endpoint,
        health,
        options::Options,
        pulse::{Pulse, Pulsed},
        request_body::RequestBody,
        tls::Tls,
    },
    Connection, DialError, FailureReason, Sender,
    explain::{self, describe},
};
use crate::registry::Protocol;

/// One message may fill its stream's window, so that a large answer is not stop and go.
const STREAM_WINDOW: u32 = 2 << 20;
/// What a client does not take of a forwarded answer waits here.
const FORWARD_WINDOW: u32 = 256 << 10;
/// Larger than several streams': slow readers must not starve the others.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Room for `grpc-status-details-bin`.
const MAX_HEADERS: u32 = 64 << 10;
/// A DATA frame's size: larger ones mean fewer copies when large messages are put together.
const FRAME_SIZE: u32 = 64 << 10;
/// How much of an answer in HTTP/1.1 is read ahead; its head must fit.
const HTTP1_BUFFER: usize = 128 << 10;

fn is_https(endpoint: &Endpoint) -> bool {
    endpoint.protocol() == Protocol::Https
}

pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

type Io = TokioIo<Pulsed<Box<dyn Socket>>>;

enum Driver {
    Http2(Box<http2::Connection<Io, RequestBody, TokioExecutor>>),
    Http1(Box<http1::Connection<Io, RequestBody>>),
}

impl Driver {
    fn max_streams(&self) -> usize {
        match self {
            Self::Http2(driver) => driver.current_max_send_streams(),
            Self::Http1(_) => 1,
        }
    }
}

impl Future for Driver {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match &mut *self {
            Self::Http2(driver) => Pin::new(driver).poll(cx),
            Self::Http1(driver) => Pin::new(driver).poll(cx),
        }
    }
}

/// A connection on which requests can be sent.
pub(in super::super) struct Established {
    peer: SocketAddr,
    sender: Sender,
    driver: Driver,
    pulse: Arc<Pulse>,
}

impl Established {
    /// Sets it going. `closed` is told when no new request can start on it.
    pub(in super::super) fn start(
        self,
        id: u64,
        endpoint: &Endpoint,
        tls: Option<&Tls>,
        options: &Options,
        closed: impl FnOnce(&Connection, Option<&hyper::Error>) + Send + 'static,
    ) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            id,
            label: format!("{endpoint} ({})", self.peer).into(),
            peer: self.peer,
            opened: Instant::now(),
            sender: self.sender,
            pulse: self.pulse,
            in_flight: AtomicUsize::new(0),
            peer_max: AtomicUsize::new(self.driver.max_streams()),
            closed: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            mourned: AtomicBool::new(false),
            https: is_https(endpoint),
        });
        let (weak, pulse) = (Arc::downgrade(&connection), Arc::clone(&connection.pulse));
        match (&self.driver, tls) {
            (Driver::Http1(_), Some(tls)) => {
                let probe = (self.peer, tls.clone(), options.clone());
                tokio::spawn(health::watch_http1(weak, pulse, probe));
            }
            // hyper sends pings.
            (Driver::Http2(_), _) if is_https(endpoint) => {}
            _ => {
                let (silence, grace) = (options.silence, options.silence_grace);
                tokio::spawn(health::watch(weak, pulse, endpoint.clone(), silence, grace));
            }
        }
        // The driver must not hold the connection: it ends when the last handle is dropped.
        let weak = Arc::downgrade(&connection);
        let mut driver = self.driver;
        tokio::spawn(async move {
            let ended = std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut driver).poll(cx);
                if let (Driver::Http2(driver), Some(connection)) = (&driver, weak.upgrade()) {
                    connection.peer_max.store(driver.current_max_send_streams(), Ordering::Relaxed);
                }
                polled
            })
            .await;
            drop(driver);
            if let Some(connection) = weak.upgrade() {
                connection.close();
                closed(&connection, ended.as_ref().err());
            }
        });
        connection
    }

    /// An HTTP/1.1 connection for one request that is no pool's business.
    pub(in super::super) fn single(self) -> Option<http1::SendRequest<RequestBody>> {
        let (Sender::Http1(sender), Driver::Http1(driver)) = (self.sender, self.driver) else { return None };
        tokio::spawn(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::debug!(error = describe(&error), "a connection for an upgrade ended");
            }
        });
        sender.into_inner().ok()
    }
}

/// Connects to one address, with whatever the endpoint's scheme speaks.
pub(in super::super) async fn establish(
    address: SocketAddr,
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    options: &Options,
) -> Result<Established, DialError> {
    staged(address, endpoint, tls.map(|tls| (tls, &tls.config)), options).await
}

/// Connects to one address with HTTP/1.1.
pub(in super::super) async fn establish_http1(
    address: SocketAddr,
    endpoint: &Endpoint,
    tls: &Tls,
    options: &Options,
) -> Result<Established, DialError> {
    staged(address, endpoint, Some((tls, &tls.http1)), options).await
}

/// Whether who listens at `address` still shakes hands. Its certificate was looked at before: any answer will do.
pub(in super::super) async fn prove_life(address: SocketAddr, tls: &Tls) -> bool {
    let Ok(tcp) = TcpStream::connect(address).await else { return false };
    let connector = TlsConnector::from(Arc::clone(&tls.http1));
    match connector.connect(tls.name.clone(), tcp).await {
        Ok(_) => true,
        // What rustls complains of was said by somebody.
        Err(error) => error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
    }
}

async fn staged(
    address: SocketAddr,
    endpoint: &Endpoint,
    tls: Option<(&Tls, &Arc<ClientConfig>)>,
    options: &Options,
) -> Result<Established, DialError> {
    const STAGES: [&str; 3] = ["the TCP connection", "the TLS handshake", "HTTP/2 SETTINGS"];
    let stage = AtomicUsize::new(0);
    let work = stages(address, endpoint, tls, options, &stage);
    match timeout(options.connect_timeout, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let stage = STAGES[stage.load(Ordering::Relaxed)];
            let why = format!("no answer within {:?}, waiting for {stage}", options.connect_timeout);
            Err(failure(address, endpoint, FailureReason::Timeout, &why))
        }
    }
}

fn failure(address: SocketAddr, endpoint: &Endpoint, reason: FailureReason, why: &str) -> DialError {
    DialError { reason, message: format!("{endpoint} ({address}): {why}") }
}

async fn stages(
    address: SocketAddr,
    endpoint: &Endpoint,
    tls: Option<(&Tls, &Arc<ClientConfig>)>,
    options: &Options,
    stage: &AtomicUsize,
) -> Result<Established, DialError> {
    let fail = |reason, why: &str| failure(address, endpoint, reason, why);
    let tcp = TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => fail(FailureReason::Refused, "connection refused"),
        io::ErrorKind::TimedOut => fail(FailureReason::Timeout, &error.to_string()),
        _ => fail(FailureReason::Network, &error.to_string()),
    })?;
    tune(&tcp, options);
    let io: Box<dyn Socket> = match tls {
        None => Box::new(tcp),
        Some((tls, config)) => {
            stage.store(1, Ordering::Relaxed);
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector
                .connect(tls.name.clone(), tcp)
                .await
                .map_err(|error| fail(FailureReason::Tls, &explain::tls(&error, tls, endpoint)))?;
            if !speaks_http2(&stream) {
                if is_https(endpoint) {
                    return http1(address, Box::new(stream))
                        .await
                        .map_err(|error| fail(FailureReason::Network, &describe(&error)));
                }
                let why = "it does not offer HTTP/2 (ALPN h2) over TLS: is this a gRPC server?";
                return Err(fail(FailureReason::NotHttp2, why));
            }
            Box::new(stream)
        }
    };
    stage.store(2, Ordering::Relaxed);
    let pulse = Pulse::new();
    let shaken = handshake(address, io, Arc::clone(&pulse), is_https(endpoint), options).await;
    shaken.map_err(|why| match (pulse.alert(), tls) {
        (Some(alert), _) => fail(FailureReason::Tls, &explain::alert(alert, is_https(endpoint))),
        // It has agreed to speak HTTP/2.
        (None, Some(_)) => {
            let refused = explain::refused(is_https(endpoint));
            fail(FailureReason::Tls, &format!("no HTTP/2 ({why}): {refused}"))
        }
        (None, None) => fail(FailureReason::NotHttp2, &format!("no HTTP/2 ({why}): is this a gRPC server?")),
    })
}

fn speaks_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

async fn http1(peer: SocketAddr, io: Box<dyn Socket>) -> hyper::Result<Established> {
    let pulse = Pulse::new();
    let io = TokioIo::new(Pulsed::new(io, Arc::clone(&pulse)));
    let (sender, driver) =
        http1::Builder::new().max_buf_size(HTTP1_BUFFER).handshake::<_, RequestBody>(io).await?;
    let driver = Driver::Http1(Box::new(driver));
    Ok(Established { peer, sender: Sender::Http1(Mutex::new(sender)), driver, pulse })
}

/// Sends the preface and waits for the backend's: before that, nothing is asked of it.
/// So a listener behind which nobody is alive, or which is no HTTP/2 server, never gets a call.
async fn handshake(
    peer: SocketAddr,
    io: Box<dyn Socket>,
    pulse: Arc<Pulse>,
    https: bool,
    options: &Options,
) -> Result<Established, String> {
    let io = TokioIo::new(Pulsed::new(io, Arc::clone(&pulse)));
    // Servers of HTTPS may be pinged often; those of gRPC count pings.
    let (window, interval, patience) = match https {
        true => (FORWARD_WINDOW, options.silence, options.silence_grace),
        false => (STREAM_WINDOW, options.ping_interval, Duration::from_secs(20)),
    };
    let (sender, driver) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_stream_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(interval)
        .keep_alive_timeout(patience)
        // grpc-go allows a connection without streams one ping in two hours.
        .keep_alive_while_idle(false)
        .handshake::<_, RequestBody>(io)
        .await
        .map_err(|error| error.to_string())?;
    let unless_settled = CutOnDrop(Some(Arc::clone(&pulse)));
    let mut driver = driver;
    let closed = || "the connection was closed at once".to_owned();
    tokio::select! {
        biased;
        () = pulse.gone().cancelled() => return Err(closed()),
        () = pulse.settled() => {}
        ended = &mut driver => return Err(ended.err().map_or_else(closed, |error| describe(&error))),
    }
    unless_settled.disarm();
    Ok(Established { peer, sender: Sender::Http2(sender), driver: Driver::Http2(Box::new(driver)), pulse })
}

/// Closes the socket of a handshake that was given up: hyper's task would wait on for the backend.
struct CutOnDrop(Option<Arc<Pulse>>);

impl CutOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(pulse) = &self.0 {
            pulse.cut();
        }
    }
}

fn tune(tcp: &TcpStream, options: &Options) {
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let tuned = tcp.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
    #[cfg(target_os = "linux")]
    let tuned = tuned.and_then(|()| {
        socket.set_tcp_user_timeout(Some(
            (options.silence + options.silence_grace).max(Duration::from_secs(10)),
        ))
    });
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket options");
    }
}
