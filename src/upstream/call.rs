//! One call on one connection: request headers, the answer's headers, messages, trailers.
//!
//! # Whether a failed call can have run
//!
//! | what happened | [`Ran`] |
//! |---|---|
//! | no connection: refused, DNS, TLS, no SETTINGS | `No`: nothing was sent |
//! | the connection ended before the request was taken up | `No`: hyper gives the request back |
//! | RST_STREAM REFUSED_STREAM before the answer's headers | `No`: RFC 9113, 8.7 |
//! | GOAWAY with a last stream before this one | `No`: RFC 9113, 6.8 |
//! | any other RST_STREAM, a reset connection, silence, the deadline | `Unknown` |
//! | anything after the answer's headers | `Unknown` |
//!
//! h2 gives the error of a received GOAWAY only to streams beyond its last one; those before it go on, and
//! get an I/O error if the connection then ends. `tests/ran.rs` holds this.

use std::{
    fmt,
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri,
};
use http_body::Body as _;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use kubridge_bridge::caller::{BackendStatus, CallError, Code, Ran, TransportError, TransportKind};
use tokio::time::{Instant, Sleep};

use super::{
    connection::{InFlight, describe},
    endpoint::Endpoint,
    frame::{Deframer, FrameError, Framed, OneMessage},
    status,
};

const TE: HeaderName = header::TE;
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// The headers that every call has.
pub(super) fn base_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    let agent = concat!("kubridge/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers
}

/// What is the same in every attempt of a call.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) uri: Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) message: &'a Bytes,
    pub(super) deadline: Option<Instant>,
    pub(super) max_message: usize,
}

/// Where a method is.
pub(super) fn uri(endpoint: &Endpoint, path: &str) -> Result<Uri, CallError> {
    let scheme = if endpoint.is_tls() { uri::Scheme::HTTPS } else { uri::Scheme::HTTP };
    Uri::builder()
        .scheme(scheme)
        .authority(endpoint.authority().clone())
        .path_and_query(path)
        .build()
        .map_err(|error| {
            transport(Ran::No, TransportKind::Protocol, format!("{endpoint}: method path {path:?}: {error}"))
        })
}

/// Sends the request and waits for the answer's headers.
pub(super) async fn start(place: InFlight, outgoing: &Outgoing<'_>) -> Result<Answer, CallError> {
    let connection = place.connection();
    let from = &connection.label;
    let Some(framed) = Framed::new(outgoing.message.clone()) else {
        let length = outgoing.message.len();
        return Err(transport(
            Ran::No,
            TransportKind::Protocol,
            format!("{from}: a request of {length} bytes"),
        ));
    };
    let mut request = Request::new(OneMessage(Some(framed)));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = outgoing.uri.clone();
    *request.headers_mut() = outgoing.headers.clone();
    if let Some(deadline) = outgoing.deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        request.headers_mut().insert(status::GRPC_TIMEOUT, status::timeout_value(left));
    }
    let response = match connection.sender().try_send_request(request).await {
        Ok(response) => response,
        Err(failed) => {
            let given_back = failed.message().is_some();
            let error = failed.into_error();
            let ran = if given_back || refused(&error) { Ran::No } else { Ran::Unknown };
            if given_back {
                connection.close();
            }
            return Err(transport(ran, TransportKind::Broken, format!("{from}: {}", describe(&error))));
        }
    };
    let from = Arc::clone(from);
    Answer::new(response, place, outgoing.max_message, outgoing.deadline, from)
}

/// Calls a method with an empty message and waits for whatever comes of it.
pub(super) async fn probe(mut sender: SendRequest<OneMessage>, endpoint: &Endpoint, path: &str) {
    let Ok(uri) = uri(endpoint, path) else { return };
    let mut request = Request::new(OneMessage(Framed::new(Bytes::new())));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri;
    *request.headers_mut() = base_headers();
    if let Ok(answer) = sender.try_send_request(request).await {
        let mut body = answer.into_body();
        while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
    }
}

/// An answer whose headers have come: its messages, then its status.
pub struct Answer {
    body: Option<Incoming>,
    frames: Deframer,
    deadline: Option<Pin<Box<Sleep>>>,
    place: Option<InFlight>,
    from: Arc<str>,
}

impl Answer {
    fn new(
        response: Response<Incoming>,
        place: InFlight,
        limit: usize,
        deadline: Option<Instant>,
        from: Arc<str>,
    ) -> Result<Self, CallError> {
        let (head, body) = response.into_parts();
        // Trailers-only: the status is in the headers, and the answer ends with them.
        let trailers_only = match status::from_trailers(&head.headers) {
            Some(found) if found.code != Code::Ok => return Err(CallError::Status(Box::new(found))),
            found => found.is_some(),
        };
        if !trailers_only {
            if head.status != StatusCode::OK {
                return Err(CallError::Status(Box::new(status::from_http(head.status))));
            }
            let content_type = head.headers.get(header::CONTENT_TYPE);
            if !content_type.is_some_and(is_grpc) {
                let message = format!("{from}: content-type {content_type:?} instead of application/grpc");
                return Err(transport(Ran::Unknown, TransportKind::Protocol, message));
            }
        }
        Ok(Self {
            body: (!trailers_only).then_some(body),
            frames: Deframer::new(limit),
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
            place: (!trailers_only).then_some(place),
            from,
        })
    }

    /// The next message; `None` after status OK.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = poll_body(body, &mut self.frames, &self.from, cx);
        let polled = match (polled, &mut self.deadline) {
            (Poll::Pending, Some(deadline)) => {
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(deadline_passed(Ran::Unknown, &self.from)))
            }
            (polled, _) => polled,
        };
        match ready!(polled) {
            Ok(Some(message)) => Poll::Ready(Some(Ok(message))),
            ended => {
                // Dropping the body resets the stream unless it has ended.
                self.body = None;
                self.place = None;
                Poll::Ready(ended.transpose())
            }
        }
    }

    /// Exactly one message, then status OK. The caller watches the deadline.
    pub(super) async fn single(mut self) -> Result<Bytes, CallError> {
        self.deadline = None;
        let mut next = async || std::future::poll_fn(|cx| self.poll_message(cx)).await.transpose();
        let first = next().await?;
        let second = if first.is_some() { next().await? } else { None };
        match (first, second) {
            (Some(message), None) => Ok(message),
            (None, _) => Err(protocol(&self.from, "status OK without a message")),
            (Some(_), Some(_)) => Err(protocol(&self.from, "more than one message in a unary answer")),
        }
    }
}

impl Stream for Answer {
    type Item = Result<Bytes, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("from", &self.from)
            .field("ended", &self.body.is_none())
            .finish_non_exhaustive()
    }
}

/// The error of a deadline that passed.
pub(super) fn deadline_passed(ran: Ran, from: &str) -> CallError {
    transport(ran, TransportKind::Deadline, format!("{from}: the deadline passed"))
}

/// A transport error.
pub(super) fn transport(ran: Ran, kind: TransportKind, message: String) -> CallError {
    CallError::Transport(Box::new(TransportError { ran, kind, message }))
}

fn poll_body(
    body: &mut Incoming,
    frames: &mut Deframer,
    from: &str,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, CallError>> {
    let bad = |error: FrameError| protocol(from, &error.to_string());
    loop {
        if let Some(message) = frames.next().map_err(bad)? {
            return Poll::Ready(Ok(Some(message)));
        }
        let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let message = format!("{from}: {}", describe(&error));
                return Poll::Ready(Err(transport(Ran::Unknown, TransportKind::Broken, message)));
            }
            None => {
                let message = format!("{from}: the answer ended without trailers");
                return Poll::Ready(Err(transport(Ran::Unknown, TransportKind::Broken, message)));
            }
        };
        match frame.into_data() {
            Ok(data) => frames.push(data),
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else { continue };
                return Poll::Ready(match status::from_trailers(&trailers) {
                    Some(BackendStatus { code: Code::Ok, .. }) => frames.finish().map(|()| None).map_err(bad),
                    Some(status) => Err(CallError::Status(Box::new(status))),
                    None => Err(protocol(from, "trailers without grpc-status")),
                });
            }
        }
    }
}

fn protocol(from: &str, what: &str) -> CallError {
    transport(Ran::Unknown, TransportKind::Protocol, format!("{from}: {what}"))
}

/// `application/grpc`, with a suffix or parameters.
fn is_grpc(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    let Some(rest) =
        value.get(..16).filter(|start| start.eq_ignore_ascii_case(b"application/grpc")).map(|_| &value[16..])
    else {
        return false;
    };
    matches!(rest.first(), None | Some(b'+' | b';'))
}

/// The backend said that it did not take the call up.
fn refused(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_remote()
                && (h2.is_go_away() || h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM));
        }
        cause = error.source();
    }
    false
}
