//! The body of a backend's answer on its way to the client: every frame at once, no clean end after an error.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep, sleep_until};

use super::headers;
use crate::{
    body::{self, Body, BodyError},
    lifecycle::Drain,
    upstream::Forwarded,
};

/// `idle`: how long the backend may send nothing. `drain`: of a watch, which ends cleanly when the aggregator stops.
pub(super) fn body(inner: Forwarded, idle: Option<Duration>, drain: Option<&Drain>) -> Body {
    if inner.is_end_stream() {
        return body::empty();
    }
    let drain = drain.map(|drain| Box::pin(drain.draining_owned()) as BoxFuture<'static, ()>);
    Answer { inner: Some(inner), idle, silence: None, drain }.boxed_unsync()
}

struct Answer {
    /// `None` after the end.
    inner: Option<Forwarded>,
    idle: Option<Duration>,
    /// Runs while the backend is waited for; most answers need none.
    silence: Option<Pin<Box<Sleep>>>,
    drain: Option<BoxFuture<'static, ()>>,
}

impl Answer {
    /// Whether the backend has been silent for too long. Asked when it is waited for.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(idle) = self.idle else { return false };
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + idle)));
        silence.as_mut().poll(cx).is_ready()
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(cx);
        match polled {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::trailers(trailers);
                }
                // The next silence begins when the backend is waited for again.
                self.silence = None;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => {
                self.inner = None;
                Poll::Ready(ended)
            }
            Poll::Pending => {
                if self.drain.as_mut().is_some_and(|drain| drain.as_mut().poll(cx).is_ready()) {
                    // The backend's stream is cancelled, the client's ends as if it had run its time.
                    self.inner = None;
                    return Poll::Ready(None);
                }
                if self.is_over(cx) {
                    self.inner = None;
                    let idle = self.idle.unwrap_or_default();
                    return Poll::Ready(Some(Err(format!("the backend sent nothing for {idle:?}").into())));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Forwarded::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Forwarded::size_hint)
    }
}
