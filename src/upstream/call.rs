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
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header, uri};
use http_body::Body as _;
use hyper::body::Incoming;
use kubridge_bridge::caller::{BackendStatus, CallError, Code, Ran, TransportError, TransportKind};
use tokio::time::{Instant, Sleep};

use super::{
    balance::Outcome,
    connection::{Connection, describe},
    endpoint::Endpoint,
    frame::{Deframer, FrameError, Framed},
    pool::InFlight,
    request_body::RequestBody,
    status,
    traffic::Traffic,
    unimplemented::Unimplemented,
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
    let mut request = Request::new(RequestBody::from(framed));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = outgoing.uri.clone();
    *request.headers_mut() = outgoing.headers.clone();
    if let Some(deadline) = outgoing.deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        request.headers_mut().insert(status::GRPC_TIMEOUT, status::timeout_value(left));
    }
    let response = match connection.send(request).await {
        Ok(response) => response,
        Err(failed) => {
            let given_back = failed.message().is_some();
            let error = failed.into_error();
            let refused = refusal(&error);
            let ran = if given_back || refused.is_some() { Ran::No } else { Ran::Unknown };
            if given_back {
                connection.close();
            }
            // Who says goodbye is no failure: another connection will do.
            if !given_back && refused != Some(Refusal::GoAway) {
                place.record(Outcome::Failed);
            }
            return Err(transport(ran, TransportKind::Broken, format!("{from}: {}", describe(&error))));
        }
    };
    let from = Arc::clone(from);
    let (head, body) = response.into_parts();
    match accept(&head, &from) {
        Ok(trailers_only) => {
            place.record(Outcome::Answered);
            Ok(Answer {
                body: (!trailers_only).then_some(body),
                frames: Deframer::new(outgoing.max_message),
                deadline: outgoing.deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
                place: (!trailers_only).then_some(place),
                from,
                traffic: None,
                method: None,
            })
        }
        Err(error) => {
            let answered = matches!(&error, CallError::Status(status) if status.code != Code::Unavailable);
            place.record(if answered { Outcome::Answered } else { Outcome::Failed });
            Err(error)
        }
    }
}

/// Whether an answer's headers begin one; and whether they end it, with status OK.
fn accept(head: &http::response::Parts, from: &str) -> Result<bool, CallError> {
    // Trailers-only: the status is in the headers, and the answer ends with them.
    match status::from_trailers(&head.headers) {
        Some(found) if found.code != Code::Ok => return Err(CallError::Status(Box::new(found))),
        Some(_) => return Ok(true),
        None => {}
    }
    if head.status != StatusCode::OK {
        return Err(CallError::Status(Box::new(status::from_http(head.status))));
    }
    let content_type = head.headers.get(header::CONTENT_TYPE);
    if !content_type.is_some_and(is_grpc) {
        let message = format!("{from}: content-type {content_type:?} instead of application/grpc");
        return Err(transport(Ran::Unknown, TransportKind::Protocol, message));
    }
    Ok(false)
}

/// Calls a method with an empty message and waits for whatever comes of it. The future does not keep the connection.
pub(super) fn probe(
    connection: &Connection,
    endpoint: &Endpoint,
    path: &str,
) -> impl Future<Output = ()> + Send + use<> {
    let sent = uri(endpoint, path).ok().zip(Framed::new(Bytes::new())).map(|(uri, framed)| {
        let mut request = Request::new(RequestBody::from(framed));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        *request.headers_mut() = base_headers();
        connection.send(request)
    });
    async move {
        let Some(sent) = sent else { return };
        if let Ok(answer) = sent.await {
            let mut body = answer.into_body();
            while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
        }
    }
}

/// An answer whose headers have come: its messages, then its status.
pub struct Answer {
    body: Option<Incoming>,
    frames: Deframer,
    deadline: Option<Pin<Box<Sleep>>>,
    place: Option<InFlight>,
    from: Arc<str>,
    /// Who is told how it ends.
    traffic: Option<Arc<Traffic>>,
    /// Which method answers, and who is told whether it does.
    method: Option<(Arc<str>, Arc<Unimplemented>)>,
}

impl Answer {
    /// The same, which reports how it ends. Whoever drops it before has seen nothing wrong with it.
    pub(super) fn reporting_to(mut self, traffic: Arc<Traffic>) -> Self {
        self.traffic = Some(traffic);
        self
    }

    /// The same, which tells whether the method is there.
    pub(super) fn of_method(mut self, path: Arc<str>, unimplemented: Arc<Unimplemented>) -> Self {
        self.method = Some((path, unimplemented));
        self
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
            Ok(Some(message)) => {
                if let Some((path, unimplemented)) = &self.method {
                    unimplemented.answered(path);
                }
                Poll::Ready(Some(Ok(message)))
            }
            ended => {
                if let Some((path, unimplemented)) = &self.method {
                    unimplemented.ended(path, &ended);
                }
                if let (Err(CallError::Transport(error)), Some(place)) = (&ended, &self.place)
                    && error.kind != TransportKind::Deadline
                {
                    place.record(Outcome::Failed);
                }
                if let Err(error) = &ended
                    && let Some(traffic) = self.traffic.take()
                {
                    traffic.report(&Err::<(), _>(error.clone()));
                }
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

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(traffic) = &self.traffic {
            traffic.answered();
        }
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

/// How the backend said that it did not take the call up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// GOAWAY, with a last stream before this one.
    GoAway,
    /// REFUSED_STREAM.
    Stream,
}

pub(super) fn refusal(error: &hyper::Error) -> Option<Refusal> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return match h2.reason() {
                _ if !h2.is_remote() => None,
                _ if h2.is_go_away() => Some(Refusal::GoAway),
                Some(h2::Reason::REFUSED_STREAM) if h2.is_reset() => Some(Refusal::Stream),
                _ => None,
            };
        }
        cause = error.source();
    }
    None
}
