//! Connections: accepted, shaken hands with, served, and ended in order.

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::steps::{Peer, Steps};
use crate::{
    authn::CertificateUser,
    lifecycle::{Drain, Lifecycle},
    telemetry::{Reason, error_chain},
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the head of an HTTP/1.1 request, and for the pause before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// What hyper reads of a head. More than the steps allow, so that they can answer with a Status.
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
    http: auto::Builder<TokioExecutor>,
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
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_LIMIT);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_header_list_size(u32::try_from(HEAD_LIMIT).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { acceptor: tls.into(), http, steps, lifecycle }
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
            .and_then(|chain| chain.first())
            .and_then(CertificateUser::new)
            .map(Arc::new);
        let service = service_fn(|request| {
            let (steps, certificate) = (self.steps.clone(), certificate.clone());
            async move {
                let peer = Peer { certificate: certificate.as_deref(), address };
                Ok::<_, Infallible>(steps.answer(request, peer).await)
            }
        });
        let http = self.http.clone();
        // ALPN has decided: waiting for a preface would let a silent client wait forever.
        let http = if session.alpn_protocol() == Some(b"h2") { http.http2_only() } else { http.http1_only() };
        let mut connection = pin!(http.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = drain.draining() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(reason = %Reason::Connection, error = error_chain(error.as_ref()), "a connection broke");
        }
    }
}

const PLAIN_HTTP: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
