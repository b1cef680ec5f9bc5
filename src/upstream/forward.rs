//! Requests that are forwarded as they are, to HTTPS backends: streamed both ways, over HTTP/2 or HTTP/1.1.
//!
//! What provably did not run is sent again where its body still can be; see `attempts`. Dropping the answer's body
//! cancels the request: RST_STREAM, or in HTTP/1.1 the end of the connection.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use kubridge_bridge::caller::{CallError, Class, Ran, TransportError, TransportKind};
use tokio::time::{Instant, timeout_at};

use super::{
    attempts::Failure,
    backend::Backend,
    balance::Outcome,
    call::{Refusal, refusal},
    connection::describe,
    limit::Kind,
    pool::InFlight,
    request_body::{ForwardBody, RequestBody},
    traffic::Traffic,
};
use crate::body::BodyError;

mod upgrade;

pub use upgrade::{Held, Switched, Upgrade};

/// Why a request has no answer. The text is for the log: it names addresses.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ForwardError(pub Box<TransportError>);

impl ForwardError {
    fn new(ran: Ran, kind: TransportKind, message: String) -> Self {
        Self(Box::new(TransportError { ran, kind, message }))
    }
}

impl From<CallError> for ForwardError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Transport(error) => Self(error),
            // Only gRPC answers become statuses.
            CallError::Status(status) => Self::new(Ran::Unknown, TransportKind::Protocol, status.message),
        }
    }
}

/// What is the same in every attempt.
struct Head {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    authority: Authority,
    host: Option<HeaderValue>,
}

impl Head {
    fn new(backend: &Backend, parts: http::request::Parts) -> Self {
        let authority = without_default_port(backend.endpoint().authority());
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let host = HeaderValue::from_str(authority.as_str()).ok();
        Self { method: parts.method, path, headers: parts.headers, authority, host }
    }

    /// Whether it can be repeated.
    fn class(&self) -> Class {
        match self.method {
            Method::GET | Method::HEAD | Method::OPTIONS => Class::Read,
            _ => Class::Write,
        }
    }

    fn request(&self, http1: bool, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        if http1 {
            *request.version_mut() = Version::HTTP_11;
            *request.uri_mut() = Uri::from(self.path.clone());
            if let Some(host) = &self.host {
                request.headers_mut().insert(header::HOST, host.clone());
            }
        } else {
            *request.version_mut() = Version::HTTP_2;
            let mut uri = http::uri::Parts::default();
            uri.scheme = Some(Scheme::HTTPS);
            uri.authority = Some(self.authority.clone());
            uri.path_and_query = Some(self.path.clone());
            *request.uri_mut() = Uri::from_parts(uri).expect("it has all three parts");
        }
        request
    }
}

impl Backend {
    /// Forwards a request: its method, its path and query as they are written, its headers and its body; what asks for
    /// the backend by name is ours to say. Returns when the answer's head is there. Without a deadline it is a watch,
    /// for the limit on what is in flight; the deadline is for the head only.
    ///
    /// The backend is asked by the name that its certificate has: servers that compare the two (SNI and `Host`) answer
    /// 421 to anything else, and Kubernetes' own do not look at it.
    ///
    /// # Errors
    /// There is no answer; whether the request can have run is said.
    pub async fn forward<B: Into<ForwardBody>>(
        &self,
        request: Request<B>,
        deadline: Option<Instant>,
    ) -> Result<Response<Forwarded>, ForwardError> {
        let kind = if deadline.is_some() { Kind::Request } else { Kind::Watch };
        let outcome = self.forward_as(kind, request, deadline).await;
        Ok(match (outcome, kind) {
            // Whether it is one, its end tells.
            (Ok(response), Kind::Request) if !is_unavailable(response.status()) => {
                response.map(|body| body.reporting_to(self.traffic()))
            }
            (outcome, _) => {
                self.traffic_ref().report_forwarded(&outcome);
                outcome?
            }
        })
    }

    /// The same for our own questions: they are never refused because requests are in flight, and who asks them draws
    /// the conclusions.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub async fn ask(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<Response<Forwarded>, ForwardError> {
        self.forward_as(Kind::Own, request, Some(deadline)).await
    }

    async fn forward_as<B: Into<ForwardBody>>(
        &self,
        kind: Kind,
        request: Request<B>,
        deadline: Option<Instant>,
    ) -> Result<Response<Forwarded>, ForwardError> {
        let (parts, body) = request.into_parts();
        let (head, body) = (Head::new(self, parts), body.into());
        let sent = AtomicBool::new(false);
        let work = self.forward_until(kind, &head, &body, deadline, &sent);
        let Some(at) = deadline else { return work.await };
        match timeout_at(at, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let ran = if sent.load(Ordering::Relaxed) { Ran::Unknown } else { Ran::No };
                let message = format!("{}: the deadline passed", self.endpoint());
                Err(ForwardError::new(ran, TransportKind::Deadline, message))
            }
        }
    }

    async fn forward_until(
        &self,
        kind: Kind,
        head: &Head,
        body: &ForwardBody,
        deadline: Option<Instant>,
        sent: &AtomicBool,
    ) -> Result<Response<Forwarded>, ForwardError> {
        let mut attempts = self.attempts(head.class(), kind, deadline)?;
        let silence = self.options().silence;
        let mut place = attempts.first().await?;
        let mut earlier = None;
        loop {
            let Some(attempt) = body.attempt(place.connection().pulse()) else {
                let message = format!("{}: the request's body cannot be sent again", self.endpoint());
                return Err(ForwardError::new(Ran::Unknown, TransportKind::Broken, message));
            };
            let (visited, connection) = (place.visited(), Arc::clone(place.connection()));
            sent.store(true, Ordering::Relaxed);
            let outcome = tokio::select! {
                biased;
                outcome = attempt_once(place, head, attempt) => Some(outcome),
                () = attempts.late() => None,
            };
            let outcome = match (outcome, earlier) {
                (Some(outcome), _) => outcome,
                (None, Some(earlier)) => return earlier,
                (None, None) => unreachable!("only a retry has to be quick"),
            };
            let failure = match &outcome {
                Ok(response) if is_unavailable(response.status()) => Failure::Unavailable,
                Ok(_) => return outcome,
                Err(_) if body.is_broken() => {
                    let message = format!("{}: the client broke off its request", self.endpoint());
                    return Err(ForwardError::new(Ran::Unknown, TransportKind::Cancelled, message));
                }
                Err(error) => Failure::Transport(error.0.ran, error.0.kind),
            };
            if matches!(failure, Failure::Transport(Ran::No, _)) {
                sent.store(false, Ordering::Relaxed);
            }
            if !body.can_be_sent_again() {
                return outcome;
            }
            match attempts.next(visited, failure.on(&connection, silence)).await {
                None => return outcome,
                Some(next) => {
                    tracing::debug!(path = head.path.path(), ?failure, "the request is tried again");
                    (place, earlier) = (next, Some(outcome));
                }
            }
        }
    }
}

/// An address says that it cannot serve now.
pub(super) fn is_unavailable(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

async fn attempt_once(
    place: InFlight,
    head: &Head,
    body: RequestBody,
) -> Result<Response<Forwarded>, ForwardError> {
    let connection = place.connection();
    let from = &connection.label;
    let failed = match connection.send(head.request(connection.is_http1(), body)).await {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            // Nobody asked for it. What follows is no HTTP, and must reach nobody: the connection ends here.
            connection.pulse().abandon();
            let message = format!("{from}: it switched protocols without being asked to");
            return Err(ForwardError::new(Ran::Unknown, TransportKind::Protocol, message));
        }
        Ok(response) => {
            connection.note_answer();
            let ill = is_unavailable(response.status());
            place.record(if ill { Outcome::Failed } else { Outcome::Answered });
            return Ok(response.map(|body| Forwarded::new(body, Guard::Place(place))));
        }
        Err(failed) => failed,
    };
    let given_back = failed.message().is_some();
    let error = failed.into_error();
    if let Some(refused) = connection.refusal() {
        return Err(ForwardError::new(Ran::No, TransportKind::Unavailable, refused.message));
    }
    let refused = refusal(&error);
    if given_back {
        connection.close();
    } else if refused != Some(Refusal::GoAway) {
        place.record(Outcome::Failed);
    }
    let ran = if given_back || refused.is_some() { Ran::No } else { Ran::Unknown };
    Err(ForwardError::new(ran, TransportKind::Broken, format!("{from}: {}", describe(&error))))
}

/// `Host` of HTTPS does not name port 443 (RFC 9110, 4.2.3): servers that compare names take it for another.
fn without_default_port(authority: &Authority) -> Authority {
    match authority.as_str().strip_suffix(":443") {
        Some(host) => host.parse().unwrap_or_else(|_| authority.clone()),
        None => authority.clone(),
    }
}

/// What lasts as long as an answer's body.
pub(super) enum Guard {
    Place(InFlight),
    /// The answer of a connection that is no pool's.
    Single(upgrade::Held),
}

/// The body of a forwarded answer. Its errors are for the log: who reads it must not see a clean end.
pub struct Forwarded {
    body: Option<Incoming>,
    guard: Option<Guard>,
    /// Who is told how it ends.
    traffic: Option<Arc<Traffic>>,
}

impl Forwarded {
    fn new(body: Incoming, guard: Guard) -> Self {
        let mut this = Self { body: Some(body), guard: Some(guard), traffic: None };
        this.release_at_end();
        this
    }

    /// The same, which reports how it ends. Whoever drops it before has seen nothing wrong with it.
    fn reporting_to(mut self, traffic: Arc<Traffic>) -> Self {
        self.traffic = Some(traffic);
        self
    }

    /// Its place is free for the next request as soon as nothing more can come.
    fn release_at_end(&mut self) {
        if self.body.as_ref().is_none_or(Incoming::is_end_stream)
            && let Some(Guard::Place(place)) = self.guard.take()
        {
            place.finish();
        }
    }
}

impl Body for Forwarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        Poll::Ready(match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if frame.is_trailers() {
                    self.body = None;
                }
                self.release_at_end();
                Some(Ok(frame))
            }
            None => {
                self.body = None;
                self.release_at_end();
                None
            }
            Some(Err(error)) => {
                let from = match self.guard.take() {
                    Some(Guard::Place(place)) => {
                        place.record(Outcome::Failed);
                        Arc::clone(&place.connection().label)
                    }
                    Some(Guard::Single(held)) => Arc::clone(&held.label),
                    None => Arc::from("a backend"),
                };
                self.body = None;
                let message = format!("{from}: {}", describe(&error));
                if let Some(traffic) = self.traffic.take() {
                    traffic.failed(&message);
                }
                Some(Err(message.into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        if let Some(traffic) = &self.traffic {
            traffic.answered();
        }
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarded").field("ended", &self.body.is_none()).finish_non_exhaustive()
    }
}
