//! One HTTP/2 connection: how it is made, and the handle that calls use.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::AlertDescription;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    endpoint::{Endpoint, Tls},
    frame::OneMessage,
    health,
    options::Options,
    pulse::{self, Pulse, Pulsed},
};

/// One message may fill its stream's window, so that a large answer is not stop and go.
const STREAM_WINDOW: u32 = 2 << 20;
/// Larger than several streams': slow readers must not starve the others.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Room for `grpc-status-details-bin`.
const MAX_HEADERS: u32 = 64 << 10;
/// A DATA frame's size: larger ones mean fewer copies when large messages are put together.
const FRAME_SIZE: u32 = 64 << 10;
/// How long the first address may be without a connection until the next one is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);

/// Why no connection could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The host has no address.
    Dns,
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// The certificate or the handshake.
    Tls,
    /// What listens there does not speak HTTP/2.
    NotHttp2,
    /// Anything else: no route, a reset.
    Network,
}

impl FailureReason {
    /// The reason as a condition writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "DnsFailed",
            Self::Refused => "ConnectionRefused",
            Self::Timeout => "ConnectTimeout",
            Self::Tls => "TlsFailed",
            Self::NotHttp2 => "NotHttp2",
            Self::Network => "NetworkFailed",
        }
    }
}

/// A failed attempt to connect. The message is for the log and for conditions: it names addresses.
#[derive(Debug, Clone)]
pub(super) struct DialError {
    pub(super) reason: FailureReason,
    pub(super) message: String,
}

/// An established connection.
pub(super) struct Connection {
    pub(super) id: u64,
    /// The endpoint and the address behind it, for the log.
    pub(super) label: Arc<str>,
    pub(super) opened: Instant,
    sender: SendRequest<OneMessage>,
    pulse: Arc<Pulse>,
    in_flight: AtomicUsize,
    peer_max: AtomicUsize,
    closed: AtomicBool,
    released: Arc<Notify>,
}

impl Connection {
    pub(super) fn sender(&self) -> SendRequest<OneMessage> {
        self.sender.clone()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// How many streams the backend allows.
    pub(super) fn peer_max(&self) -> usize {
        self.peer_max.load(Ordering::Relaxed)
    }

    /// How many calls may run here: one stream is kept for the health check.
    pub(super) fn capacity(&self) -> usize {
        self.peer_max().saturating_sub(1).max(1)
    }

    /// Whether new calls may start here.
    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && !self.sender.is_closed() && !self.pulse.is_cut()
    }

    /// No new calls here; those in flight go on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Counts a call in. The caller holds the pool's lock, so that limits are kept.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.pulse.ask();
        InFlight(Arc::clone(self))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("label", &self.label)
            .field("in_flight", &self.in_flight())
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// A call's place on a connection, given back on drop.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Connection>);

impl InFlight {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.0.released.notify_waiters();
    }
}

/// Makes a connection to any address of the endpoint. `closed` is told when no new call can start on it.
pub(super) async fn dial(
    id: u64,
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    options: &Options,
    released: Arc<Notify>,
    closed: impl FnOnce(&Connection, Option<&hyper::Error>) + Send + 'static,
) -> Result<Arc<Connection>, DialError> {
    let addresses = resolve(endpoint, options).await?;
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut errors: Vec<DialError> = Vec::new();
    loop {
        running.extend(waiting.next().map(|address| establish(address, endpoint, tls, options)));
        tokio::select! {
            outcome = running.next() => match outcome {
                Some(Ok(established)) => return Ok(established.start(id, endpoint, options, released, closed)),
                Some(Err(error)) => errors.push(error),
                None => return Err(worst(&errors)),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

async fn resolve(endpoint: &Endpoint, options: &Options) -> Result<Vec<SocketAddr>, DialError> {
    if let Some(ip) = endpoint.ip() {
        return Ok(vec![SocketAddr::new(ip, endpoint.port())]);
    }
    let dns = |why: String| DialError {
        reason: FailureReason::Dns,
        message: format!("{endpoint}: looking up {:?}: {why}", endpoint.host()),
    };
    let lookup = tokio::net::lookup_host((endpoint.host(), endpoint.port()));
    let found: Vec<SocketAddr> = match timeout(options.connect_timeout, lookup).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(dns(error.to_string())),
        Err(_) => return Err(dns("no answer in time".to_owned())),
    };
    if found.is_empty() { Err(dns("it has no address".to_owned())) } else { Ok(found) }
}

/// The first error tells most: later addresses often fail for want of IPv6.
fn worst(errors: &[DialError]) -> DialError {
    let message = errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ");
    let reason = errors.first().map_or(FailureReason::Network, |error| error.reason);
    DialError { reason, message }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

type Driver = http2::Connection<TokioIo<Pulsed<Box<dyn Socket>>>, OneMessage, TokioExecutor>;

/// A connection whose backend has sent its SETTINGS.
struct Established {
    peer: SocketAddr,
    sender: SendRequest<OneMessage>,
    driver: Driver,
    pulse: Arc<Pulse>,
}

impl Established {
    fn start(
        self,
        id: u64,
        endpoint: &Endpoint,
        options: &Options,
        released: Arc<Notify>,
        closed: impl FnOnce(&Connection, Option<&hyper::Error>) + Send + 'static,
    ) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            id,
            label: format!("{endpoint} ({})", self.peer).into(),
            opened: Instant::now(),
            sender: self.sender,
            pulse: self.pulse,
            in_flight: AtomicUsize::new(0),
            peer_max: AtomicUsize::new(self.driver.current_max_send_streams()),
            closed: AtomicBool::new(false),
            released,
        });
        tokio::spawn(health::watch(
            Arc::downgrade(&connection),
            Arc::clone(&connection.pulse),
            endpoint.clone(),
            options.silence,
            options.silence_grace,
        ));
        // The driver must not hold the connection: it ends when the last handle is dropped.
        let weak = Arc::downgrade(&connection);
        let mut driver = self.driver;
        tokio::spawn(async move {
            let ended = std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut driver).poll(cx);
                if let Some(connection) = weak.upgrade() {
                    connection.peer_max.store(driver.current_max_send_streams(), Ordering::Relaxed);
                }
                polled
            })
            .await;
            drop(driver);
            if let Some(connection) = weak.upgrade() {
                connection.close();
                closed(&connection, ended.as_ref().err());
                connection.released.notify_waiters();
            }
        });
        connection
    }
}

async fn establish(
    address: SocketAddr,
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    options: &Options,
) -> Result<Established, DialError> {
    let fail = |reason, why: String| DialError { reason, message: format!("{endpoint} ({address}): {why}") };
    let stage = AtomicUsize::new(0);
    let work = async {
        let tcp = TcpStream::connect(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => fail(FailureReason::Refused, "connection refused".to_owned()),
            io::ErrorKind::TimedOut => fail(FailureReason::Timeout, error.to_string()),
            _ => fail(FailureReason::Network, error.to_string()),
        })?;
        tune(&tcp, options);
        let io: Box<dyn Socket> = match tls {
            None => Box::new(tcp),
            Some(tls) => {
                stage.store(1, Ordering::Relaxed);
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                let stream = connector
                    .connect(tls.name.clone(), tcp)
                    .await
                    .map_err(|error| fail(FailureReason::Tls, explain_tls(&error, tls)))?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    let why = "it does not offer HTTP/2 (ALPN h2) over TLS: is this a gRPC server?";
                    return Err(fail(FailureReason::NotHttp2, why.to_owned()));
                }
                Box::new(stream)
            }
        };
        stage.store(2, Ordering::Relaxed);
        let pulse = Pulse::new();
        handshake(address, io, Arc::clone(&pulse), options).await.map_err(|why| match (pulse.alert(), tls) {
            (Some(alert), _) => fail(FailureReason::Tls, explain_alert(alert)),
            // It has agreed to speak HTTP/2.
            (None, Some(_)) => fail(FailureReason::Tls, format!("no HTTP/2 ({why}): {REFUSED}")),
            (None, None) => {
                fail(FailureReason::NotHttp2, format!("no HTTP/2 ({why}): is this a gRPC server?"))
            }
        })
    };
    match timeout(options.connect_timeout, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            const STAGES: [&str; 3] = ["the TCP connection", "the TLS handshake", "HTTP/2 SETTINGS"];
            let stage = STAGES[stage.load(Ordering::Relaxed)];
            let why = format!("no answer within {:?}, waiting for {stage}", options.connect_timeout);
            Err(fail(FailureReason::Timeout, why))
        }
    }
}

/// Sends the preface and waits for the backend's: before that, nothing is asked of it.
/// So a listener behind which nobody is alive, or which is no HTTP/2 server, never gets a call.
async fn handshake(
    peer: SocketAddr,
    io: Box<dyn Socket>,
    pulse: Arc<Pulse>,
    options: &Options,
) -> Result<Established, String> {
    let io = TokioIo::new(Pulsed { io, pulse: Arc::clone(&pulse) });
    let (sender, driver) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(Duration::from_secs(20))
        // grpc-go allows a connection without streams one ping in two hours.
        .keep_alive_while_idle(false)
        .handshake::<_, OneMessage>(io)
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
    Ok(Established { peer, sender, driver, pulse })
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

/// What to do when a backend does not take our certificate.
const REFUSED: &str = "if it asks for a client certificate, it must trust the CA of Kubridge's: \
                       DATA_DIR/pki/ca.crt, or what signed --backend-client-cert-file";

fn explain_alert(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired
        | Alert::NoCertificate
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError => format!("it refuses our client certificate (alert {alert:?}): {REFUSED}"),
        Alert::NoApplicationProtocol => {
            "it does not offer HTTP/2 (ALPN h2) over TLS: is this a gRPC server?".to_owned()
        }
        _ => format!("it ended the TLS connection (alert {alert:?}): its log says why"),
    }
}

fn explain_tls(error: &io::Error, tls: &Tls) -> String {
    use rustls::{CertificateError, Error};
    if let Some(alert) = pulse::alert(error) {
        return explain_alert(alert);
    }
    let name = tls.name.to_str();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "its certificate is not signed by the CA that was given: give the PEM bundle of the CA that signed it"
                .to_owned()
        }
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => {
            format!("its certificate is not for {name:?}: use a name that it has, or set the server name")
        }
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "its certificate has expired: renew it".to_owned()
        }
        Some(Error::InvalidCertificate(CertificateError::Other(other)))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "its certificate is one of a CA: give it one with basicConstraints CA:FALSE".to_owned()
        }
        Some(Error::InvalidMessage(_)) => "it does not speak TLS: write grpc:// for plain text".to_owned(),
        _ => format!("TLS: {error}"),
    }
}

/// An error with its causes, each once.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
