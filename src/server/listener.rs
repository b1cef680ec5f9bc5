//! Connections: accepted, shaken hands with, served, and ended in order.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    conduct::Conduct,
    steps::{MAX_HEADERS, Peer, Steps},
};
use crate::{
    lifecycle::{Drain, Lifecycle},
    telemetry::{Reason, error_chain},
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the first request, for the head of any over HTTP/1.1, and there for the pause before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// What hyper reads of a head. More than the steps allow, so that they can answer with a Status; beyond it hyper answers
/// 431 without one.
const HEAD_LIMIT: usize = 256 << 10;
const MAX_STREAMS: u32 = 250;
/// Streams that a client opened and reset before we looked at them; beyond it the connection is closed.
const MAX_PENDING_RESETS: usize = 50;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// After the system refused us a socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts and serves connections.
pub(super) struct Listener {
    acceptor: TlsAcceptor,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    steps: Arc<Steps>,
    lifecycle: Lifecycle,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Listener {
    pub(super) fn new(tls: Arc<ServerConfig>, steps: Arc<Steps>, lifecycle: Lifecycle) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_LIMIT)
            .max_headers(MAX_HEADERS);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_header_list_size(u32::try_from(HEAD_LIMIT).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { acceptor: tls.into(), http1, http2, steps, lifecycle }
    }

    /// Until the drain has begun and every connection has ended, or was cut by an abort.
    pub(super) async fn serve(self, socket: TcpListener) {
        let this = Arc::new(self);
        let drain = this.lifecycle.drain();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = drain.draining() => break,
                Some(_) = connections.join_next() => {}
                accepted = socket.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(this.clone().connection(stream));
                    }
                    Err(error) if is_about_one_connection(&error) => {}
                    // No file descriptors or no memory: it passes when connections end. Hot retries would not help.
                    Err(error) => {
                        tracing::error!(reason = %Reason::Accept, error = error_chain(&error), "cannot accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        // From here on new connections are refused.
        drop(socket);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        let cut = tokio::select! {
            () = all_ended => false,
            () = this.lifecycle.aborted() => true,
        };
        if cut {
            let left = connections.len();
            if left > 0 {
                tracing::warn!(reason = %Reason::Shutdown, connections = left, "connections were cut");
            }
            connections.shutdown().await;
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let drain = self.lifecycle.drain();
        let shaken = tokio::select! {
            biased;
            () = drain.draining() => return,
            shaken = timeout(HANDSHAKE_TIMEOUT, self.handshake(stream)) => shaken,
        };
        let failed = match shaken {
            Ok(Ok(stream)) => return self.http(stream, &drain).await,
            Ok(Err(error)) => error_chain(&error),
            Err(_) => "the handshake took too long".into(),
        };
        tracing::debug!(reason = %Reason::Tls, error = failed, "no TLS connection");
    }

    async fn handshake(&self, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let _ = stream.set_nodelay(true);
        let mut first = [0];
        // A TLS record begins with 22, an HTTP request with a letter.
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            stream.write_all(PLAIN_HTTP).await?;
            stream.shutdown().await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an HTTP request without TLS"));
        }
        self.acceptor.accept(stream).await
    }

    async fn http(&self, stream: TlsStream<TcpStream>, drain: &Drain) {
        let (tcp, session) = stream.get_ref();
        let address = tcp.peer_addr().ok().map(|peer| peer.ip());
        let certificate = session
            .peer_certificates()
            .and_then(|chain| self.steps.authenticator.certificate(chain))
            .map(Arc::new);
        // ALPN has decided; what begins otherwise is not looked at.
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let conduct = Arc::new(Conduct::default());
        let service = service_fn(|request| {
            let (steps, certificate) = (self.steps.clone(), certificate.clone());
            let conduct = Arc::clone(&conduct);
            async move {
                let begun = conduct.begin();
                let peer = Peer { certificate: certificate.as_deref(), address };
                let answer = steps.answer(request, peer).await;
                begun.answered();
                Ok::<_, Infallible>(answer)
            }
        });
        let io = TokioIo::new(stream);
        let served = async {
            if is_http2 {
                let connection = self.http2.serve_connection(io, service);
                serve(connection, drain, |connection| connection.graceful_shutdown()).await
            } else {
                let connection = self.http1.serve_connection(io, service).with_upgrades();
                serve(connection, drain, |connection| connection.graceful_shutdown()).await
            }
        };
        tokio::select! {
            ended = served => if let Err(error) = ended {
                tracing::debug!(reason = %Reason::Connection, error = error_chain(&error), "a connection broke");
            },
            () = conduct.no_request(HEAD_TIMEOUT) => {
                tracing::debug!(reason = %Reason::Connection, "a connection without a request was cut");
            }
            () = conduct.too_many() => {
                let client = address.map(tracing::field::display);
                tracing::warn!(
                    reason = %Reason::Connection, client,
                    "a client takes back most requests as soon as it has made them: its connection was cut"
                );
            }
        }
    }
}

/// Until the connection has ended; when the drain begins it is to `stop`: finish, and take no new requests.
async fn serve<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    drain: &Drain,
    stop: impl FnOnce(Pin<&mut C>),
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.draining() => {
            stop(connection.as_mut());
            connection.await
        }
    }
}

const PLAIN_HTTP: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
