//! HTTP/2: gRPC calls and Kubernetes' REST, with all that can be wrong with an answer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    sync::Notify,
    task::JoinSet,
};

use super::{
    Kind,
    conduct::{Conduct, Mood, Record, grpc, rest},
    server::HALF,
};

/// Serves one connection until it ends.
pub async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, kind: Kind, mood: Mood, record: Record) {
    let end = Arc::new(End::default());
    let Ok(mut connection) = h2::server::handshake(Mortal { io, end: Arc::clone(&end) }).await else {
        return;
    };
    let goodbye = Arc::new(Notify::new());
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let exchange = Exchange { request, respond, end: Arc::clone(&end), goodbye: Arc::clone(&goodbye) };
                requests.spawn(exchange.serve(kind, mood.get(), Arc::clone(&record)));
            }
            () = goodbye.notified() => connection.graceful_shutdown(),
        }
    }
}

struct Exchange {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    end: Arc<End>,
    goodbye: Arc<Notify>,
}

impl Exchange {
    async fn serve(mut self, kind: Kind, conduct: Conduct, record: Record) {
        if conduct == Conduct::Refuses {
            return self.respond.send_reset(Reason::REFUSED_STREAM);
        }
        let Some(body) = body(self.request.body_mut()).await else { return };
        let path = self.request.uri().path().to_owned();
        if let (Conduct::Slow(time), true) = (conduct, path.contains("achine")) {
            tokio::time::sleep(time).await;
        }
        let (head, answer, trailers) = match kind {
            Kind::Grpc => answer_grpc(&path, &body, conduct, &record),
            Kind::Https2 | Kind::Https1 => {
                let (status, body) = rest(self.request.method().as_str(), &path, &body, &record);
                let head =
                    Response::builder().status(status).header("content-type", "application/json").body(());
                (head.unwrap(), body, None)
            }
        };
        match conduct {
            Conduct::Resets => self.respond.send_reset(Reason::INTERNAL_ERROR),
            Conduct::Dies => {
                let Ok(mut stream) = self.respond.send_response(head, false) else { return };
                // In gRPC the beginning of a long message, else that of some JSON.
                let half = if kind == Kind::Grpc { framed(2 * HALF, &[0; HALF]) } else { vec![b' '; HALF] };
                self.end.comes_with(HALF);
                let _ = stream.send_data(half.into(), false);
                std::future::pending().await
            }
            _ => {
                let Ok(mut stream) = self.respond.send_response(head, false) else { return };
                let _ = stream.send_data(answer.into(), trailers.is_none());
                if path.ends_with("/Watch") {
                    return held(stream).await;
                }
                if let Some(trailers) = trailers {
                    let _ = stream.send_trailers(trailers);
                }
                if conduct == Conduct::SaysGoodbye {
                    self.goodbye.notify_one();
                }
            }
        }
    }
}

/// Head, message and trailers.
fn answer_grpc(
    path: &str,
    body: &[u8],
    conduct: Conduct,
    record: &Record,
) -> (Response<()>, Vec<u8>, Option<HeaderMap>) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut trailers = HeaderMap::new();
    let Some(message) = grpc(path, body.get(5..).unwrap_or_default(), record) else {
        trailers.insert("grpc-status", 12.into());
        return (head, Vec::new(), Some(trailers));
    };
    trailers.insert("grpc-status", 0.into());
    let scrambled = conduct == Conduct::Scrambles && path.contains("achine");
    let message = if scrambled { vec![0xff; 64] } else { message };
    (head, framed(message.len(), &message), Some(trailers))
}

fn framed(length: usize, message: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap());
    frame.put_slice(message);
    frame.to_vec()
}

async fn body(stream: &mut RecvStream) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.ok()?;
        stream.flow_control().release_capacity(data.len()).ok()?;
        whole.extend_from_slice(&data);
    }
    Some(whole)
}

/// Keeps a stream open until its other side or the connection ends.
async fn held(mut stream: SendStream<Bytes>) {
    let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
}

/// A socket that can be made to end with what is written next.
struct Mortal<T> {
    io: T,
    end: Arc<End>,
}

#[derive(Default)]
struct End {
    comes: AtomicBool,
    /// So many bytes are still to be written.
    missing: AtomicUsize,
}

impl End {
    fn comes_with(&self, bytes: usize) {
        self.missing.store(bytes, Ordering::SeqCst);
        self.comes.store(true, Ordering::SeqCst);
    }

    fn is_here(&self) -> bool {
        self.comes.load(Ordering::SeqCst) && self.missing.load(Ordering::SeqCst) == 0
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Mortal<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        let missing = self.end.missing.load(Ordering::SeqCst);
        self.end.missing.store(missing.saturating_sub(written), Ordering::SeqCst);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        // All of it is on its way.
        Poll::Ready(if self.end.is_here() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Mortal<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

/// Serves one connection frame by frame: GOAWAY instead of an answer, with a last stream before the first request.
pub async fn turn_away(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 0], payload].concat()
    };
    let mut preface = [0; 24];
    if io.read_exact(&mut preface).await.is_err() || io.write_all(&frame(SETTINGS, 0, &[])).await.is_err() {
        return;
    }
    let mut head = [0; 9];
    while io.flush().await.is_ok() && io.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if io.read_exact(&mut payload).await.is_err() {
            return;
        }
        let answer = match kind {
            SETTINGS if flags == 0 => frame(SETTINGS, 1, &[]),
            // Last stream 0, NO_ERROR.
            HEADERS => frame(GOAWAY, 0, &[0; 8]),
            _ => continue,
        };
        if io.write_all(&answer).await.is_err() {
            return;
        }
        if kind == HEADERS {
            // The other side hangs up: a socket that is closed before all is read would reset the connection.
            let _ = io.flush().await;
            let _ = tokio::io::copy(&mut io, &mut tokio::io::sink()).await;
            return;
        }
    }
}
