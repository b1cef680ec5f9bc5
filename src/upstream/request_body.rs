//! What is sent to a backend as a request's body: one gRPC message, bytes, or what a client is still sending.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    frame::{Framed, OneMessage},
    pulse::Pulse,
};
use crate::body::{Body as BoxedBody, BodyError};

/// Of a body that comes in while it is sent on, this much is kept, so that a request that did not run can be sent
/// to another address.
const REPLAY_LIMIT: usize = 64 << 10;

/// The body of one attempt. Neither variant costs an allocation to make.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// gRPC's.
    Message(OneMessage),
    /// Known as a whole.
    Whole(Option<Bytes>),
    /// Passed on as it comes.
    Stream(Attempt),
}

impl From<Framed> for RequestBody {
    fn from(message: Framed) -> Self {
        Self::Message(OneMessage(Some(message)))
    }
}

/// Bytes, however they are framed.
#[derive(Debug)]
pub(super) enum Chunk {
    Message(Framed),
    Bytes(Bytes),
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Message(message) => message.remaining(),
            Self::Bytes(bytes) => bytes.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Message(message) => message.chunk(),
            Self::Bytes(bytes) => bytes.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [std::io::IoSlice<'a>]) -> usize {
        match self {
            Self::Message(message) => message.chunks_vectored(dst),
            Self::Bytes(bytes) => bytes.chunks_vectored(dst),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Message(message) => message.advance(count),
            Self::Bytes(bytes) => bytes.advance(count),
        }
    }
}

impl Body for RequestBody {
    type Data = Chunk;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        match &mut *self {
            Self::Message(message) => Pin::new(message)
                .poll_frame(cx)
                .map(|frame| frame.map(|Ok(frame)| Ok(frame.map_data(Chunk::Message)))),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(Chunk::Bytes(bytes))))),
            Self::Stream(attempt) => {
                attempt.poll_frame(cx).map(|frame| frame.map(|f| f.map(|f| f.map_data(Chunk::Bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(message) => message.is_end_stream(),
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(attempt) => attempt.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // gRPC requests carry no content-length.
            Self::Message(_) => SizeHint::default(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(attempt) => attempt.size,
        }
    }
}

/// The body of a request that is to be forwarded: bytes, or what a client is still sending.
#[derive(Debug)]
pub struct ForwardBody(Source);

enum Source {
    Whole(Bytes),
    Stream { tee: Arc<Mutex<Tee>>, size: SizeHint },
}

impl ForwardBody {
    /// No body.
    pub fn empty() -> Self {
        Self(Source::Whole(Bytes::new()))
    }

    /// What a client sends, passed on as it comes. `trailers` takes out of them what must not be passed on.
    pub fn client(body: Incoming, trailers: fn(&mut HeaderMap)) -> Self {
        Self::stream(Stream::Client(body), trailers)
    }

    fn stream(body: Stream, trailers: fn(&mut HeaderMap)) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        let size = body.size_hint();
        let tee = Tee {
            rest: Some(body),
            kept: Some(Vec::new()),
            kept_size: 0,
            trailers,
            attempt: 0,
            failed: false,
        };
        Self(Source::Stream { tee: Arc::new(Mutex::new(tee)), size })
    }

    /// Whether another attempt can send all of it.
    pub(super) fn can_be_sent_again(&self) -> bool {
        match &self.0 {
            Source::Whole(_) => true,
            Source::Stream { tee, .. } => lock(tee).kept.is_some(),
        }
    }

    /// Whether the client broke off.
    pub(super) fn is_broken(&self) -> bool {
        match &self.0 {
            Source::Whole(_) => false,
            Source::Stream { tee, .. } => lock(tee).failed,
        }
    }

    /// The body for the next attempt, on the connection of `pulse`; `None` when too much of it is gone.
    /// What an earlier attempt still holds is void from now on.
    pub(super) fn attempt(&self, pulse: &Arc<Pulse>) -> Option<RequestBody> {
        let (tee, size) = match &self.0 {
            Source::Whole(bytes) => {
                return Some(RequestBody::Whole((!bytes.is_empty()).then(|| bytes.clone())));
            }
            Source::Stream { tee, size } => (tee, size),
        };
        let mut state = lock(tee);
        state.kept.as_ref()?;
        state.attempt += 1;
        pulse.set_sending(true);
        Some(RequestBody::Stream(Attempt {
            tee: Arc::clone(tee),
            number: state.attempt,
            next: 0,
            size: *size,
            ended: false,
            pulse: Arc::clone(pulse),
        }))
    }
}

impl From<Bytes> for ForwardBody {
    fn from(bytes: Bytes) -> Self {
        Self(Source::Whole(bytes))
    }
}

impl From<BoxedBody> for ForwardBody {
    fn from(body: BoxedBody) -> Self {
        Self::stream(Stream::Boxed(body), |_| {})
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Stream { size, .. } => write!(f, "a stream of {size:?}"),
        }
    }
}

enum Stream {
    Client(Incoming),
    Boxed(BoxedBody),
}

impl Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Client(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(body) => body.size_hint(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}

/// A body that comes in, and what has come of it.
struct Tee {
    /// `None` after its end.
    rest: Option<Stream>,
    /// All that has come, while it is little enough to be sent again.
    kept: Option<Vec<Bytes>>,
    kept_size: usize,
    trailers: fn(&mut HeaderMap),
    /// The number of the one attempt that may read on.
    attempt: u32,
    failed: bool,
}

impl Tee {
    fn keep(&mut self, data: &Bytes) {
        self.kept_size += data.len();
        if self.kept_size > REPLAY_LIMIT {
            self.kept = None;
        } else if let Some(kept) = &mut self.kept {
            kept.push(data.clone());
        }
    }
}

/// The one place that locks: the owner of the body and one attempt at a time, so that nobody waits.
fn lock(tee: &Mutex<Tee>) -> std::sync::MutexGuard<'_, Tee> {
    tee.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one attempt sends of a [`Tee`]: what is kept, then what comes.
pub(super) struct Attempt {
    tee: Arc<Mutex<Tee>>,
    number: u32,
    /// Of what is kept.
    next: usize,
    size: SizeHint,
    ended: bool,
    pulse: Arc<Pulse>,
}

impl Attempt {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut tee = lock(&self.tee);
        if tee.attempt != self.number {
            return Poll::Ready(Some(Err("the request is sent elsewhere".into())));
        }
        if let Some(bytes) = tee.kept.as_ref().and_then(|kept| kept.get(self.next)) {
            let bytes = bytes.clone();
            self.next += 1;
            self.ended = tee.rest.is_none() && tee.kept.as_ref().is_none_or(|kept| kept.len() == self.next);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(rest) = &mut tee.rest else {
            self.ended = true;
            return Poll::Ready(None);
        };
        let polled = std::task::ready!(rest.poll_frame(cx));
        let at_end = rest.is_end_stream();
        if polled.is_none() || at_end {
            tee.rest = None;
            self.ended = true;
        }
        Poll::Ready(match polled {
            None => None,
            Some(Err(error)) => {
                tee.failed = true;
                tee.kept = None;
                Some(Err(error))
            }
            Some(Ok(mut frame)) => {
                if let Some(data) = frame.data_ref() {
                    tee.keep(data);
                    self.next += 1;
                } else if let Some(trailers) = frame.trailers_mut() {
                    // They are not kept: this body is sent once.
                    (tee.trailers)(trailers);
                    tee.kept = None;
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.pulse.set_sending(false);
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
