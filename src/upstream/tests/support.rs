//! A well-behaved HTTP/2 server whose answers the test writes, and short cuts.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use kubridge_bridge::caller::{Call, CallError, Class, TransportError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Notify,
};

use super::super::{Backend, BackendCaller, Endpoint, Options, TlsOptions};

/// One request at the server.
pub(super) struct Exchange {
    pub(super) request: Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
    /// The number of the connection, from 0.
    pub(super) connection: usize,
    /// Makes the connection go away gracefully.
    pub(super) go_away: Arc<Notify>,
}

impl Exchange {
    pub(super) fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// The whole request body.
    pub(super) async fn body(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        let body = self.request.body_mut();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            whole.extend_from_slice(&data);
        }
        whole
    }

    /// Answers with messages and status OK.
    pub(super) async fn ok(mut self, messages: &[&[u8]]) {
        let mut stream = self.respond.send_response(grpc_headers(), false).unwrap();
        for message in messages {
            send(&mut stream, framed(message)).await;
        }
        stream.send_trailers(status(0)).unwrap();
    }

    /// A trailers-only answer.
    pub(super) fn error(mut self, code: i32, message: &'static str) {
        let mut response = grpc_headers();
        response.headers_mut().extend(status(code));
        response.headers_mut().insert("grpc-message", message.parse().unwrap());
        self.respond.send_response(response, true).unwrap();
    }
}

/// Sends data as flow control allows.
pub(super) async fn send(stream: &mut h2::SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        stream.send_data(data.split_to(room.min(data.len())), false).unwrap();
    }
}

pub(super) fn grpc_headers() -> Response<()> {
    Response::builder().header("content-type", "application/grpc+proto").body(()).unwrap()
}

pub(super) fn status(code: i32) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    trailers
}

pub(super) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

/// Serves every connection with `handler`, each request in a task.
pub(super) async fn serve<F, W>(builder: h2::server::Builder, handler: F) -> SocketAddr
where
    F: Fn(Exchange) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for connection in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_connection(tcp, connection, builder.clone(), handler.clone()));
        }
    });
    address
}

pub(super) async fn serve_connection<T, F, W>(io: T, number: usize, builder: h2::server::Builder, handler: F)
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Exchange) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
    let go_away = Arc::new(Notify::new());
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let go_away = Arc::clone(&go_away);
                tokio::spawn(handler(Exchange { request, respond, connection: number, go_away }));
            }
            () = go_away.notified() => connection.graceful_shutdown(),
        }
    }
}

/// Quick enough for a test, slow enough for a busy machine.
pub(super) fn options() -> Options {
    Options {
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..Options::default()
    }
}

pub(super) fn backend(address: SocketAddr, options: Options) -> Backend {
    let endpoint = Endpoint::parse(&format!("grpc://{address}")).unwrap();
    Backend::new(endpoint, &TlsOptions::default(), options).unwrap()
}

pub(super) fn caller(address: SocketAddr) -> BackendCaller {
    backend(address, options()).caller(HeaderMap::new(), None)
}

pub(super) fn call(message: &[u8]) -> Call {
    Call { path: "/test.Test/Call".into(), message: Bytes::copy_from_slice(message), class: Class::Write }
}

pub(super) fn transport<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> TransportError {
    match outcome {
        Err(CallError::Transport(error)) => *error,
        other => panic!("not a transport error: {other:?}"),
    }
}
