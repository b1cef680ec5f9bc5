//! Requests to HTTPS backends and to the delegate: passed on as they are, under our headers, streamed both ways.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, Version, header, uri::PathAndQuery};
use hyper::body::Incoming;
use kubridge_bridge::{
    caller::{Ran, TransportKind},
    request_info::RequestInfo,
    status::ApiError,
};
use tokio::time::Instant;

use super::Caller;
use crate::{
    body::Body,
    config::Token,
    lifecycle::{Deadline, Drain},
    upstream::{self, ForwardBody, ForwardError, Forwarded},
};

mod answer;
mod headers;
mod path;
mod upgrade;

pub use headers::{has_unknown_coding, wants_upgrade};

/// When a client may try again.
const SOON: std::time::Duration = std::time::Duration::from_secs(1);

/// Who requests are passed on to: every method, every path.
#[derive(Debug, Clone)]
pub struct Forward {
    backend: upstream::Backend,
    identity: Identity,
    /// "the backend of APIService v1.metrics.example.com"
    who: Arc<str>,
    /// Where to look when it does not answer: "kubectl describe apiservice v1.metrics.example.com".
    see: Arc<str>,
}

/// How the other side is told who asks.
#[derive(Debug, Clone)]
pub enum Identity {
    /// In the headers of a front proxy, `X-Remote-*`: believed because of our client certificate.
    Remote,
    /// By impersonation, as whoever our certificate or this token says we are.
    Impersonate(Option<Token>),
}

impl Forward {
    /// To the HTTPS backend of an APIService: "v1.metrics.example.com".
    pub fn new(backend: upstream::Backend, api_service: &str) -> Self {
        Self {
            backend,
            identity: Identity::Remote,
            who: format!("the backend of APIService {api_service}").into(),
            see: format!("kubectl describe apiservice {api_service}").into(),
        }
    }

    /// To the kube-apiserver that gets what nobody claims.
    pub fn to_delegate(backend: upstream::Backend, identity: Identity) -> Self {
        let see = "whether the kube-apiserver of --delegate-kubeconfig runs";
        Self { backend, identity, who: "the delegate".into(), see: see.into() }
    }

    /// Whether requests that began with this one are served by `other` too.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.backend.is_same(&other.backend)
    }

    /// Answers a request with what the backend answers.
    ///
    /// # Errors
    /// There is no answer, or none that may be passed on.
    pub(super) async fn serve(
        &self,
        mut request: Request<Incoming>,
        info: &RequestInfo,
        caller: &Caller,
        drain: &Drain,
    ) -> Result<Response<Body>, ApiError> {
        // TRACE would show a client what we say of it, CONNECT is for proxies of another kind.
        if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
            return Err(ApiError::method_not_allowed());
        }
        path::refuse_ambiguity(info)?;
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        if wants_upgrade(request.headers(), request.version()) {
            return self.upgrade(request, caller, drain, deadline).await;
        }
        self.head(&mut request, caller).await?;
        let method = request.method().clone();
        let request = request.map(|body| ForwardBody::client(body, headers::trailers));
        let begun = Instant::now();
        caller.journey.set_backend(self.backend.endpoint());
        let outcome = caller.journey.upstream(self.backend.forward(request, deadline)).await;
        let response = outcome.map_err(|error| self.failed(&error, &method))?;
        // What has no deadline may be silent for as long as it likes.
        let idle = deadline.map(|at| at.saturating_duration_since(begun));
        let drain = (info.verb == "watch").then_some(drain);
        self.answer(response, &method, idle, drain)
    }

    /// The request's head as the backend gets it.
    async fn head<B>(&self, request: &mut Request<B>, caller: &Caller) -> Result<(), ApiError> {
        let authority = request.uri().authority();
        let host = match authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
            Some(host) => Some(host),
            None => request.headers().get(header::HOST).cloned(),
        };
        let path = request.uri().path_and_query().cloned();
        let original = headers::Original {
            path: path.as_ref().map_or("/", PathAndQuery::path),
            host,
            client: caller.client,
            user: &caller.user,
            audit_id: &caller.audit_id,
        };
        let headers = request.headers_mut();
        headers::request(headers, &original, &self.identity)?;
        if let Identity::Impersonate(Some(token)) = &self.identity {
            let value = token.bearer().await.map_err(|why| {
                let message = format!("{} cannot be asked: our own token is not readable", self.who);
                ApiError::service_unavailable(message).with_log(why)
            })?;
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(())
    }

    fn answer(
        &self,
        response: Response<Forwarded>,
        method: &Method,
        idle: Option<std::time::Duration>,
        drain: Option<&Drain>,
    ) -> Result<Response<Body>, ApiError> {
        use http_body::Body as _;
        let (mut head, body) = response.into_parts();
        if head.status.is_redirection() && head.headers.get(header::LOCATION).is_some_and(|to| !to.is_empty())
        {
            let message = "the backend attempted to redirect this request, which is not permitted";
            let log = format!("{}: {} to {:?}", self.who, head.status, head.headers[header::LOCATION]);
            return Err(ApiError::bad_gateway(message).with_log(log));
        }
        if headers::has_unknown_coding(&head.headers) {
            let message = "the backend's answer has a transfer coding that is not read here";
            let log = format!("{}: {:?}", self.who, head.headers[header::TRANSFER_ENCODING]);
            return Err(ApiError::bad_gateway(message).with_log(log));
        }
        let length = match body.size_hint().exact() {
            _ if *method == Method::HEAD => headers::Length::NotSent,
            Some(length) => headers::Length::Exact(length),
            None => headers::Length::Unknown,
        };
        headers::response(&mut head.headers, length);
        head.version = Version::default();
        head.extensions.clear();
        Ok(Response::from_parts(head, answer::body(body, idle, drain)))
    }

    /// What the client is told when there is no answer. Retry-After only where the request may be repeated.
    fn failed(&self, ForwardError(error): &ForwardError, method: &Method) -> ApiError {
        let may_be_repeated =
            error.ran == Ran::No || matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let (who, see) = (&self.who, &self.see);
        let told = match error.kind {
            TransportKind::Overloaded => {
                let message = format!("too many requests to {who} are in flight, please try again later");
                ApiError::too_many_requests(message).with_retry_after(SOON)
            }
            TransportKind::Deadline if may_be_repeated => {
                ApiError::timeout(&format!("{who} did not answer in time"))
            }
            TransportKind::Unavailable
            | TransportKind::Broken
            | TransportKind::Cancelled
            | TransportKind::Protocol
                if may_be_repeated =>
            {
                let message = format!("{who} is not available at the moment; see: {see}");
                ApiError::service_unavailable(message).with_retry_after(SOON)
            }
            TransportKind::Unavailable
            | TransportKind::Broken
            | TransportKind::Cancelled
            | TransportKind::Protocol
            | TransportKind::Deadline => ApiError::outcome_unknown(),
        };
        told.with_log(error.message.clone())
    }
}

/// The answer to who asks for another protocol where there is none.
pub(super) fn no_upgrade(protocol: &str) -> ApiError {
    ApiError::bad_request(format!(
        "an upgrade to {protocol:?} is not possible here: only resources of HTTPS backends have upgrades, \
         to websocket or SPDY/3.1"
    ))
}
