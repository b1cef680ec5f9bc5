//! One connection: how it is made, and the handle that requests use.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::Either;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use tokio::time::Instant;

use super::{endpoint::Endpoint, options::Options, pulse::Pulse, request_body::RequestBody, tls::Tls};

mod establish;
mod explain;

pub(super) use establish::{establish, establish_http1, prove_life};
pub(super) use explain::describe;

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

/// What a failed request is: hyper gives it back when nothing of it was sent.
pub(super) type Unsent = TrySendError<Request<RequestBody>>;

/// An established connection.
pub(super) struct Connection {
    pub(super) id: u64,
    /// The endpoint and the address behind it, for the log.
    pub(super) label: Arc<str>,
    /// The address.
    pub(super) peer: SocketAddr,
    pub(super) opened: Instant,
    sender: Sender,
    pulse: Arc<Pulse>,
    in_flight: AtomicUsize,
    peer_max: AtomicUsize,
    closed: AtomicBool,
    answered: AtomicBool,
    mourned: AtomicBool,
    https: bool,
}

enum Sender {
    Http2(http2::SendRequest<RequestBody>),
    /// One request at a time.
    Http1(Mutex<http1::SendRequest<RequestBody>>),
}

impl Connection {
    /// Sends a request. The future does not keep the connection.
    pub(super) fn send(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, Unsent>> + Send + use<> {
        match &self.sender {
            Sender::Http2(sender) => Either::Left(sender.clone().try_send_request(request)),
            Sender::Http1(sender) => {
                let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
                Either::Right(sender.try_send_request(request))
            }
        }
    }

    /// Whether it speaks HTTP/1.1: one request at a time.
    pub(super) fn is_http1(&self) -> bool {
        matches!(self.sender, Sender::Http1(_))
    }

    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// How many streams the backend allows.
    pub(super) fn peer_max(&self) -> usize {
        self.peer_max.load(Ordering::Relaxed)
    }

    /// How many requests may run here: one of gRPC's streams is kept for the health check.
    pub(super) fn capacity(&self) -> usize {
        match self.https {
            true => self.peer_max(),
            false => self.peer_max().saturating_sub(1).max(1),
        }
    }

    /// Whether new requests may start here.
    pub(super) fn is_open(&self) -> bool {
        let over = match &self.sender {
            Sender::Http2(sender) => sender.is_closed(),
            // Its driver says so.
            Sender::Http1(_) => false,
        };
        !over && !self.closed.load(Ordering::Acquire) && !self.pulse.is_cut()
    }

    /// No new requests here; those in flight go on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// A request was answered here: whatever ends the connection now, the backend can be spoken to.
    pub(super) fn note_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::note_answer`] was called.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// The backend ended the connection because it does not take our certificate. In TLS 1.3 it says so when the
    /// handshake is over for us; no request was looked at.
    pub(super) fn refusal(&self) -> Option<DialError> {
        let alert = self.pulse.alert().filter(|_| !self.has_answered())?;
        let message = format!("{}: {}", self.label, explain::alert(alert, self.https));
        Some(DialError { reason: FailureReason::Tls, message })
    }

    /// Counts a request in. The caller holds the pool's lock, so that limits are kept.
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.pulse.ask();
    }

    /// Counts a request out. HTTP/1.1 cannot cancel one: unless it was `finished`, the connection ends with it.
    pub(super) fn end(&self, finished: bool) {
        // A backend that answers before it has read the request would take its rest for the next one.
        if self.is_http1() && (!finished || self.pulse.is_sending()) {
            self.close();
            self.pulse.abandon();
        }
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// Since when it was silent, where it was cut for that or a request has waited for `silence` without a byte.
    pub(super) fn silent_since(&self, silence: Duration) -> Option<Instant> {
        let since = self.pulse.quiet_since();
        let cut = self.pulse.is_cut() && !self.pulse.is_abandoned();
        ((cut || self.pulse.is_waited_for()) && since.elapsed() >= silence).then_some(since)
    }

    /// Whether a failed request here tells something new: all requests of a connection that breaks fail together,
    /// and that is one failure.
    pub(super) fn is_news(&self) -> bool {
        self.is_open() || !self.mourned.swap(true, Ordering::AcqRel)
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

/// Makes a connection to one address of the endpoint. `closed` is told when no new request can start on it.
pub(super) async fn dial(
    id: u64,
    address: SocketAddr,
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    options: &Options,
    closed: impl FnOnce(&Connection, Option<&hyper::Error>) + Send + 'static,
) -> Result<Arc<Connection>, DialError> {
    let established = establish(address, endpoint, tls, options).await?;
    Ok(established.start(id, endpoint, tls, options, closed))
}
