//! The steps that every request goes through, in one list: [`Steps::pass`].

use std::{
    any::Any,
    fmt::{self, Write as _},
    net::IpAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kubridge_bridge::{options, proto::UserInfo, request_info::RequestInfo, status::ApiError};

use super::respond::{Style, error_response};
use crate::{
    authn::{ANONYMOUS, Authenticator, ClientCertificate, Refused},
    authz::{Attributes, Authorizer, Decision, forbidden_message},
    body::{self, Body, BodyError},
    lifecycle::{Deadline, Lifecycle},
    metrics::{Asked, Metrics, Tally},
    proxy::{Caller, has_unknown_coding, wants_upgrade},
    telemetry::{self, Access, Finished, Journey, Reason, Traces},
};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// A client that sends it with `true` gets `Server-Timing` (W3C) back. It says how long things take, so it is for those
/// who were let in.
const TIMING: HeaderName = HeaderName::from_static("kubridge-timing");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const AUDIT_ID_LIMIT: usize = 64;
/// Until a request is to be sent again that the cluster's API server had to say something to, and did not.
const UNANSWERED_PAUSE: Duration = Duration::from_secs(1);
/// The status of a request whose client went away before it was answered: in the log and in metrics, as other servers
/// have it. Nobody gets it.
const CLIENT_GONE: u16 = 499;
/// All names and values of a request's head, and what each pair costs beside its length (RFC 9113, 6.5.2).
const HEAD_LIMIT: usize = 64 << 10;
const PAIR_COST: usize = 32;
/// So many headers are over the limit, however short they are.
pub(super) const MAX_HEADERS: usize = HEAD_LIMIT / PAIR_COST;

type Answer = Result<Response<Body>, ApiError>;
type Function = dyn Fn(Request<Incoming>, RequestInfo, Caller) -> BoxFuture<'static, Answer> + Send + Sync;

/// The last step: answers a request of someone who may.
#[derive(Clone)]
pub struct Handler(Arc<Function>);

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

impl Handler {
    /// A handler of a function.
    pub fn new(
        function: impl Fn(Request<Incoming>, RequestInfo, Caller) -> BoxFuture<'static, Answer>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(function))
    }
}

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer<'a> {
    pub(super) certificate: Option<&'a ClientCertificate>,
    pub(super) address: Option<IpAddr>,
}

/// The steps, and what they need.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) authorizer: Authorizer,
    pub(super) handler: Handler,
    pub(super) request_timeout: Duration,
    pub(super) lifecycle: Lifecycle,
    pub(super) metrics: Arc<Metrics>,
    pub(super) traces: Option<Arc<Traces>>,
}

impl Steps {
    /// Answers any request, whatever happens.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: Peer<'_>) -> Response<Body> {
        let mut seen = Seen::new(&request);
        let asks_for_upgrade = wants_upgrade(request.headers(), request.version());
        let style = Style::of(request.uri().query().unwrap_or_default(), request.headers());
        let passed = AssertUnwindSafe(self.pass(request, peer, &mut seen)).catch_unwind().await;
        seen.journey.answered();
        let answer = passed.unwrap_or_else(|panic| Err(ApiError::internal(panic_text(panic.as_ref()))));
        let mut response = answer.unwrap_or_else(|error| error_response(&error, &seen.audit_id, style));
        let is_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        // Exactly one, whatever came from below.
        if let Ok(id) = HeaderValue::from_str(&seen.audit_id) {
            headers.insert(AUDIT_ID, id);
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        if asks_for_upgrade && !is_switched {
            // What it sends behind it is in another protocol, and no request of anybody's.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if seen.timing && seen.journey.was_allowed() {
            headers.insert(SERVER_TIMING, server_timing(&seen.journey));
        }
        seen.code = response.status().as_u16();
        if seen.tally.is_none() {
            seen.tally = Some(self.metrics.tally(&Asked::unread(&seen.method)));
        }
        if seen.method == Method::HEAD {
            response = without_body(response);
        }
        logged(response, seen, &self.lifecycle)
    }

    async fn pass(&self, mut request: Request<Incoming>, peer: Peer<'_>, seen: &mut Seen) -> Answer {
        limit_head(request.headers())?;
        refuse_ambiguity(&request)?;
        let query = request.uri().query().unwrap_or_default();
        let info = RequestInfo::new(request.method(), request.uri().path(), query);
        let user = self.authenticate(request.headers(), peer.certificate, &info).await?;
        seen.journey.authenticated();
        seen.user = Some(user.clone());
        seen.verb.clone_from(&info.verb);
        let asked = Asked::new(&info, request.method(), query, request.headers());
        let tally = seen.tally.insert(self.metrics.tally(&asked));
        refuse_impersonation(request.headers(), &user)?;
        self.authorize(&user, &info).await?;
        seen.journey.authorized();
        let deadline = self.deadline(query, &info)?;
        match deadline {
            Some(_) => self.metrics.begin(tally, request.method(), seen.journey.begun()),
            None => tally.begin_long(),
        }
        let is_served = tally.is_served();
        if let Some(traces) = self.traces.as_ref().filter(|_| user.username != ANONYMOUS) {
            // Nobody without a name fills a collector.
            let trace = traces.begin(request.headers_mut());
            if trace.is_sampled() {
                seen.traces = Some(Arc::clone(traces));
                seen.route = is_served.then(|| route(&info));
            }
            seen.journey.set_trace(trace);
        }
        // Who asks was decided, and what is between the client and us is nobody else's either.
        self.authenticator.strip(request.headers_mut());
        request.headers_mut().remove(TIMING);
        let caller = Caller {
            user,
            audit_id: seen.audit_id.clone(),
            client: peer.address,
            journey: seen.journey.clone(),
        };
        self.call(request, info, caller, deadline).await
    }

    async fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
        info: &RequestInfo,
    ) -> Result<Arc<UserInfo>, ApiError> {
        let known = self.authenticator.authenticate(headers, certificate, SystemTime::now()).await;
        known.map_err(|refused| match refused {
            Refused::Rejected(rejected) => ApiError::unauthorized().with_log(rejected.to_string()),
            Refused::Unanswered(_) | Refused::CasUnknown => unanswered(
                "who you are cannot be found out: the cluster's API server does not say whether your credentials are good",
                &refused,
                info,
            ),
        })
    }

    async fn authorize(&self, user: &UserInfo, info: &RequestInfo) -> Result<(), ApiError> {
        let what = Attributes::from(info);
        let decided = self.authorizer.authorize(user, &what).await;
        let Decision { allowed, reason } = decided.map_err(|error| {
            unanswered("the cluster's API server does not say whether you may do this", &error, info)
        })?;
        if allowed {
            return Ok(());
        }
        // Who said nothing of themselves is asked to, before they are told what they may not.
        if user.username == ANONYMOUS && self.authorizer.asks_who() {
            return Err(ApiError::unauthorized().with_log("no credentials"));
        }
        let message = forbidden_message(user, &what, &reason);
        Err(ApiError::forbidden(&info.api_group, &info.resource, &info.name, &message))
    }

    /// `None` for what may take as long as it wants.
    fn deadline(&self, query: &str, info: &RequestInfo) -> Result<Option<Deadline>, ApiError> {
        let long_running = matches!(info.verb.as_str(), "watch" | "proxy")
            || matches!(info.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy");
        if long_running {
            return Ok(None);
        }
        let asked = options::request_timeout(query)?;
        let timeout = asked.map_or(self.request_timeout, |asked| asked.min(self.request_timeout));
        Ok(Some(Deadline(tokio::time::Instant::now() + timeout)))
    }

    async fn call(
        &self,
        mut request: Request<Incoming>,
        info: RequestInfo,
        caller: Caller,
        deadline: Option<Deadline>,
    ) -> Answer {
        let Some(deadline) = deadline else { return (self.handler.0)(request, info, caller).await };
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
        request.extensions_mut().insert(deadline);
        let answered = tokio::time::timeout_at(deadline.0, (self.handler.0)(request, info, caller)).await;
        answered.unwrap_or_else(|_| {
            // No Retry-After: nobody knows whether a write has run.
            Err(if is_write {
                ApiError::outcome_unknown()
            } else {
                ApiError::timeout("request did not complete within the allotted timeout")
            })
        })
    }
}

/// The answer to HEAD: the length is told, the body is not sent. (hyper sees to it in HTTP/1.1 only.)
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    // A backend that was asked with HEAD has said it, and sent nothing.
    if let Some(length) = body.size_hint().exact()
        && !head.headers.contains_key(header::CONTENT_LENGTH)
    {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, body::empty())
}

fn limit_head(headers: &HeaderMap) -> Result<(), ApiError> {
    let pairs = headers.iter();
    let size: usize = pairs.map(|(name, value)| name.as_str().len() + value.len() + PAIR_COST).sum();
    if size > HEAD_LIMIT {
        return Err(ApiError::header_too_large(format!(
            "the request's headers have {size} bytes, {PAIR_COST} for each one included; at most {HEAD_LIMIT} are \
             read: send fewer or shorter ones"
        )));
    }
    Ok(())
}

/// What others may read otherwise than we do is not read at all (RFC 9112, 3.2 and 6.1). hyper has refused what frames
/// the body in two ways.
fn refuse_ambiguity<B>(request: &Request<B>) -> Result<(), ApiError> {
    let headers = request.headers();
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return Err(ApiError::bad_request(format!("the request has {hosts} Host headers: send one")));
    }
    if has_unknown_coding(headers) {
        let message = "the request's Transfer-Encoding is not chunked alone: no other coding is read here";
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}

/// To act as somebody else is not supported; to act as oneself when somebody else was meant would be worse.
fn refuse_impersonation(headers: &HeaderMap, user: &UserInfo) -> Result<(), ApiError> {
    let Some(first) = headers.keys().find(|name| name.as_str().starts_with("impersonate-")) else {
        return Ok(());
    };
    if user.username == ANONYMOUS {
        return Err(ApiError::unauthorized().with_log("impersonation without credentials"));
    }
    let named = headers.get("impersonate-user").and_then(|name| name.to_str().ok()).unwrap_or_default();
    let message = format!(
        "User {:?} cannot impersonate:user-info resource \"users\" in API group \"authentication.k8s.io\" at the \
         cluster scope: impersonation is not supported here, send the request without {first}",
        user.username
    );
    Err(ApiError::forbidden("authentication.k8s.io", "users", named, &message))
}

/// The cluster's API server is away: nothing ran, and it may be back soon.
fn unanswered(message: &str, why: &dyn std::error::Error, info: &RequestInfo) -> ApiError {
    let error = ApiError::service_unavailable(message).with_log(telemetry::error_chain(why));
    // A client that discovers would stand still for it.
    if info.is_resource_request { error.with_retry_after(UNANSWERED_PAUSE) } else { error }
}

/// What a resource's path is an instance of.
fn route(info: &RequestInfo) -> String {
    let mut route = match info.api_group.as_str() {
        "" => format!("/api/{}", info.api_version),
        group => format!("/apis/{group}/{}", info.api_version),
    };
    if !info.namespace.is_empty() {
        route.push_str("/namespaces/{namespace}");
    }
    let _ = write!(route, "/{}", info.resource);
    if !info.name.is_empty() && matches!(info.verb.as_str(), "get" | "update" | "patch" | "delete" | "create")
    {
        route.push_str("/{name}");
    }
    if !info.subresource.is_empty() {
        let _ = write!(route, "/{}", info.subresource);
    }
    route
}

/// The phases of a request until its answer begins, in milliseconds.
fn server_timing(journey: &Journey) -> HeaderValue {
    let phases = journey.phases();
    let mut text = String::with_capacity(128);
    for (name, duration) in [
        ("authn", phases.authn),
        ("authz", phases.authz),
        ("resolve", phases.resolve),
        ("upstream", phases.upstream),
        ("translate", phases.translate),
        ("total", journey.elapsed()),
    ] {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{name};dur={:.3}", duration.as_secs_f64() * 1e3);
    }
    HeaderValue::try_from(text).expect("names and numbers are ASCII")
}

fn audit_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(AUDIT_ID).and_then(|id| id.to_str().ok()).filter(|id| {
        (1..=AUDIT_ID_LIMIT).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    });
    given.map_or_else(|| uuid::Uuid::new_v4().to_string().into(), Arc::from)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    format!("a panic: {text}")
}

/// What the access line needs to know.
#[derive(Debug)]
struct Seen {
    journey: Arc<Journey>,
    tally: Option<Tally>,
    /// Of one that is sampled.
    traces: Option<Arc<Traces>>,
    route: Option<String>,
    timing: bool,
    method: Method,
    path: String,
    verb: String,
    user_agent: Option<HeaderValue>,
    audit_id: Arc<str>,
    user: Option<Arc<UserInfo>>,
    code: u16,
    is_done: bool,
}

/// Dropped before there was an answer: the client went away.
impl Drop for Seen {
    fn drop(&mut self) {
        if !self.is_done {
            self.code = CLIENT_GONE;
            self.done(0, Some(Reason::Connection));
        }
    }
}

impl Seen {
    fn new(request: &Request<Incoming>) -> Self {
        Self {
            journey: Arc::new(Journey::new()),
            tally: None,
            traces: None,
            route: None,
            timing: request.headers().get(TIMING).is_some_and(|value| value == "true"),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            verb: String::new(),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
            audit_id: audit_id(request.headers()),
            user: None,
            code: 0,
            is_done: false,
        }
    }

    /// The last byte is out: the access line, and what is counted.
    fn done(&mut self, bytes: u64, cut: Option<Reason>) {
        self.is_done = true;
        let latency = self.journey.elapsed();
        let phases = self.journey.was_sent_on().then(|| self.journey.phases());
        if let Some(tally) = &self.tally {
            tally.done(self.code, latency, phases.as_ref());
        }
        if let Some(traces) = &self.traces {
            let finished = Finished {
                method: &self.method,
                path: &self.path,
                route: self.route.take(),
                verb: &self.verb,
                code: self.code,
                audit_id: &self.audit_id,
                cut: cut.is_some(),
            };
            traces.finish(&self.journey, &finished);
        }
        telemetry::access(&Access {
            method: &self.method,
            path: &self.path,
            verb: &self.verb,
            code: self.code,
            latency,
            bytes,
            backend: self.journey.backend(),
            upstream: phases.map(|phases| phases.upstream),
            retries: self.journey.retries(),
            user: self.user.as_ref().map_or("", |user| &user.username),
            audit_id: &self.audit_id,
            trace: self.journey.trace(),
            user_agent: self.user_agent.as_ref().and_then(|agent| agent.to_str().ok()).unwrap_or_default(),
            cut,
        });
    }
}

/// The access line: at once when the whole answer is there, else when the last byte is out or the stream is cut.
fn logged(response: Response<Body>, mut seen: Seen, lifecycle: &Lifecycle) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        seen.done(length, None);
        return response;
    }
    let lifecycle = lifecycle.clone();
    response
        .map(|body| Logged { body, seen, lifecycle, bytes: 0, cut: Some(Reason::Connection) }.boxed_unsync())
}

struct Logged {
    body: Body,
    seen: Seen,
    lifecycle: Lifecycle,
    bytes: u64,
    /// What it means when the stream is dropped now.
    cut: Option<Reason>,
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            None => self.cut = None,
            Some(Err(error)) => {
                self.cut = Some(Reason::Backend);
                let audit_id = &*self.seen.audit_id;
                tracing::warn!(audit_id, error = telemetry::error_chain(error.as_ref()), "a stream was cut");
            }
            Some(Ok(frame)) => self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let stopping = self.lifecycle.drain().is_draining();
        // A body that knows its end is not polled for it.
        let cut = self.cut.filter(|_| !self.body.is_end_stream());
        let cut = cut.map(|cut| if stopping && cut == Reason::Connection { Reason::Shutdown } else { cut });
        self.seen.done(self.bytes, cut);
    }
}
