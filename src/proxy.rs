//! The phases of a request: resolve, read, translate and call, translate back or stream.
//!
//! What is resolved is an immutable snapshot of routes; a request keeps the one that it began with.

mod backend;
mod forward;
mod gzip;
mod reply;
mod routes;
mod world;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use kubridge_bridge::{
    identity, model::Api, proto::UserInfo, request_info::RequestInfo, status::ApiError, verbs,
};

use crate::{
    body::Body,
    brown_out::{Asked, Told},
    cluster::Namespaces,
    lifecycle::{Deadline, Drain},
    telemetry::{Journey, TRACESTATE},
};

pub use backend::{Backend, Called, Connector, Direct, Polls, Remote, RemoteBackend};
pub use forward::{Forward, Identity, has_unknown_coding, wants_upgrade};
pub use reply::warning_header;
pub use routes::{Route, Routes, Unserved};
pub use world::World;

/// The largest body that is read (Kubernetes' limit).
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// Of `tracestate`, in bytes (W3C Trace Context, 3.3.1.5). gRPC servers take 8 KiB of metadata in all.
const MAX_TRACESTATE: usize = 512;

/// What the server's layers know of a request when it reaches the proxy.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The request's audit id: in the answer, the log, and the backend's metadata.
    pub audit_id: Arc<str>,
    /// Where the request comes from, if that is known.
    pub client: Option<IpAddr>,
    /// What is observed of the request.
    pub journey: Arc<Journey>,
}

/// Answers resource requests from the routes that are published to it.
#[derive(Debug)]
pub struct Proxy {
    routes: ArcSwap<Routes>,
    drain: Drain,
    namespaces: Option<Namespaces>,
}

impl Proxy {
    /// Serves nothing until routes are published. `drain` ends watches cleanly. `namespaces`: those of a cluster, in which
    /// alone something may be made.
    pub fn new(drain: Drain, namespaces: Option<Namespaces>) -> Self {
        Self { routes: ArcSwap::default(), drain, namespaces }
    }

    /// Replaces the routes. Requests under way keep theirs; watches of what is no longer served, or by another
    /// backend, end. For one publisher.
    pub fn publish(&self, mut routes: Routes) {
        let old = self.routes.load_full();
        routes.replace(&old, &self.drain);
        self.routes.store(Arc::new(routes));
    }

    /// The present routes.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// What is served of a group and version by a schema.
    ///
    /// # Errors
    /// 404 where nobody claims it, or another server serves it; 503 where its schema has never been known.
    pub fn api(&self, group: &str, version: &str) -> Result<Arc<Api>, ApiError> {
        self.routes.load().api(group, version)
    }

    /// Whether requests like this one are passed on to an HTTPS backend or the delegate: whatever their method is, and
    /// also those that name no resource.
    pub fn forwards(&self, info: &RequestInfo) -> bool {
        self.routes.load().forward(info).is_some()
    }

    /// Why discovery does not know yet what there is, if so.
    pub fn awaits(&self) -> Option<ApiError> {
        self.routes.load().awaits()
    }

    /// Passes on what is nobody's here.
    ///
    /// # Errors
    /// 404 where there is no delegate; else whatever the client is to be told.
    pub async fn delegate(
        &self,
        request: Request<Incoming>,
        info: RequestInfo,
        caller: &Caller,
    ) -> Result<Response<Body>, ApiError> {
        let routes = self.routes.load_full();
        match routes.delegate() {
            Some(delegate) => delegate.serve(request, &info, caller, &self.drain).await,
            None => {
                refuse_upgrade(&request)?;
                Err(ApiError::generic_not_found_path())
            }
        }
    }

    /// Answers a request for a resource, or one that [`Self::forwards`].
    ///
    /// # Errors
    /// Whatever the client is to be told: see [`ApiError`].
    pub async fn serve(
        &self,
        request: Request<Incoming>,
        info: RequestInfo,
        caller: &Caller,
    ) -> Result<Response<Body>, ApiError> {
        let routes = self.routes.load_full();
        if let Some((forward, drain)) = routes.forward(&info) {
            return forward.serve(request, &info, caller, drain.unwrap_or(&self.drain)).await;
        }
        refuse_upgrade(&request)?;
        let (backend, resource) = routes.resolve(&info)?;

        let (head, body) = request.into_parts();
        let body = read_body(&head.method, body).await?;

        let query = head.uri.query().unwrap_or_default().to_owned();
        let shape = reply::Shape {
            drain: (info.verb == "watch")
                .then(|| routes.drain(&info.api_group, &info.api_version).unwrap_or(&self.drain).clone()),
            list: info.verb == "list",
            gzip: gzip::accepted(&head.headers),
        };
        // The server set it, for everything that is not long-running.
        let deadline = head.extensions.get::<Deadline>().map(|deadline| deadline.0);
        let mut metadata = HeaderMap::new();
        identity::write(&caller.user, &mut metadata)?;
        write_trace(&head.headers, caller, &mut metadata);

        let request = verbs::Request {
            info,
            method: head.method,
            query,
            headers: head.headers,
            body,
            user: Arc::clone(&caller.user),
        };
        let asked = Asked {
            user: &caller.user.username,
            verb: &request.info.verb,
            namespace: &request.info.namespace,
            name: &request.info.name,
            query: &request.query,
        };
        let namespaces = self.namespaces.as_ref();
        let connect = backend::Connect { user: caller, asked, resource, deadline, namespaces };
        let connector = backend.connect(metadata, connect);
        let world = World::new(Arc::clone(&caller.audit_id), backend, self.namespaces.clone());
        let answer = verbs::serve(resource, &connector, &world, request).await;
        match answer {
            Ok(answer) => {
                if answer.schema_suspect {
                    backend.suspect();
                }
                let mut response = reply::response(answer, &shape).await?;
                if let Some(told) = connector.told() {
                    reply::tell(&mut response, told);
                }
                Ok(response)
            }
            Err(error) => {
                if error.schema_suspect {
                    backend.suspect();
                }
                Err(match connector.told() {
                    Some(Told::Unanswered(why)) => reply::with_why(error, why),
                    Some(Told::Answered { .. }) | None => error,
                })
            }
        }
    }
}

/// Refuses to speak another protocol.
///
/// # Errors
/// 400 for a request that asks for one.
pub fn refuse_upgrade<B>(request: &Request<B>) -> Result<(), ApiError> {
    if !wants_upgrade(request.headers(), request.version()) {
        return Ok(());
    }
    let protocol = request.headers().get(http::header::UPGRADE).and_then(|value| value.to_str().ok());
    Err(forward::no_upgrade(protocol.unwrap_or_default()))
}

/// Reads a body of at most [`MAX_BODY`]. Only methods that have one.
async fn read_body(method: &Method, body: Incoming) -> Result<Bytes, ApiError> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(Bytes::new());
    }
    // Before a byte of it is read: who asked with `Expect: 100-continue` need not send it.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(ApiError::request_entity_too_large(MAX_BODY as u64));
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ApiError::request_entity_too_large(MAX_BODY as u64))
        }
        Err(error) => {
            Err(ApiError::bad_request("the request's body ended early").with_log(error.to_string()))
        }
    }
}

/// `audit-id`, `traceparent`, `tracestate`: what joins the backend's log to ours.
fn write_trace(headers: &HeaderMap, caller: &Caller, metadata: &mut HeaderMap) {
    if let Ok(value) = http::HeaderValue::from_str(&caller.audit_id) {
        metadata.insert("audit-id", value);
    }
    if let Some(value) = headers.get("traceparent").and_then(identity::traceparent) {
        metadata.insert("traceparent", value.clone());
        if let Some(state) = headers.get(TRACESTATE).filter(|state| state.len() <= MAX_TRACESTATE) {
            metadata.insert(TRACESTATE, state.clone());
        }
    }
}
