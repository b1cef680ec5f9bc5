//! A gRPC backend with the inventory's schema that hands every call to the test.

use std::{net::SocketAddr, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{SendStream, server::SendResponse};
use http::{HeaderMap, Response};
use kubridge_bridge::proto::GetSchemaResponse;
use prost::Message as _;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::extension::soon;

/// See the module. It ends with its runtime.
#[derive(Debug)]
pub struct Scripted {
    pub addr: SocketAddr,
    calls: mpsc::Receiver<ScriptedCall>,
}

/// One call, not yet answered. Dropped it is reset.
#[derive(Debug)]
pub struct ScriptedCall {
    /// "GetMachine"
    pub method: String,
    pub headers: HeaderMap,
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
}

impl Scripted {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, calls) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, tell.clone()));
            }
        });
        Self { addr, calls }
    }

    /// The next call.
    pub async fn next(&mut self) -> ScriptedCall {
        soon(self.calls.recv()).await.unwrap()
    }

    /// Fails if another call has come.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        if let Ok(call) = self.calls.try_recv() {
            panic!("one call too many: {call:?}");
        }
    }
}

impl ScriptedCall {
    /// Sends the head.
    pub fn open(&mut self) -> &mut SendStream<Bytes> {
        self.stream.get_or_insert_with(|| {
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            self.respond.send_response(head, false).unwrap()
        })
    }

    /// Sends a message.
    pub fn send(&mut self, message: &[u8]) {
        self.open().send_data(framed(message), false).unwrap();
    }

    /// Ends with one more message, or with none, and OK.
    pub fn answer(mut self, message: &[u8]) {
        self.send(message);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        self.stream.unwrap().send_trailers(trailers).unwrap();
    }

    /// Waits until the other side takes the call back.
    pub async fn cancelled(mut self) -> h2::Reason {
        let reset = std::future::poll_fn(|cx| match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        });
        soon(reset).await.unwrap()
    }

    /// How long the caller waits.
    pub fn timeout(&self) -> Option<Duration> {
        let text = self.headers.get("grpc-timeout")?.to_str().unwrap();
        let (number, unit) = text.split_at(text.len() - 1);
        let number: u32 = number.parse().unwrap();
        let unit = match unit {
            "n" => Duration::from_nanos(1),
            "u" => Duration::from_micros(1),
            "m" => Duration::from_millis(1),
            "S" => Duration::from_secs(1),
            "M" => Duration::from_secs(60),
            "H" => Duration::from_secs(3600),
            other => panic!("no unit of grpc-timeout: {other}"),
        };
        Some(unit * number)
    }
}

async fn serve(socket: TcpStream, tell: mpsc::Sender<ScriptedCall>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, _) = request.into_parts();
        let method = head.uri.path().rsplit('/').next().unwrap().to_owned();
        let mut call = ScriptedCall { method, headers: head.headers, respond, stream: None };
        match head.uri.path() {
            "/kubridge.v1.Schema/Get" => {
                let file_descriptor_set = inventory::DESCRIPTORS.to_vec();
                let answer = GetSchemaResponse { file_descriptor_set, etag: "1".into(), not_modified: false };
                call.answer(&answer.encode_to_vec());
            }
            // Health: UNIMPLEMENTED, which is an answer.
            path if path.starts_with("/grpc.") => {
                let head = Response::builder().header("content-type", "application/grpc");
                let head = head.header("grpc-status", "12").body(()).unwrap();
                let _ = call.respond.send_response(head, true);
            }
            _ => {
                if tell.send(call).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}
