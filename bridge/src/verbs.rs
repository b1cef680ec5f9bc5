//! The verbs, one file each, generic over a [`crate::caller::Caller`].

mod action;
mod call;
mod create;
mod delete;
mod delete_collection;
mod exchange;
mod filter;
mod get;
mod input;
mod list;
mod namespace;
mod patch;
mod prepare;
mod respond;
mod update;
mod watch;
mod whole;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};

pub use self::{call::list_call, list::Chunks, whole::read_all};
use self::{exchange::Exchange, update::Part};
use crate::{proto::UserInfo, request_info::RequestInfo, status::ApiError};

/// A request for a resource, read and authorised.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked for.
    pub info: RequestInfo,
    /// The HTTP method.
    pub method: Method,
    /// The query, as sent.
    pub query: String,
    /// The headers, as sent.
    pub headers: HeaderMap,
    /// The whole body (at most 3 MiB: the server saw to it).
    pub body: Bytes,
    /// Who asks.
    pub user: Arc<UserInfo>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// 200, 201, 202 or 207.
    pub status: StatusCode,
    /// Complete: "application/json".
    pub content_type: String,
    /// Each becomes a `Warning: 299 - "..."` header.
    pub warnings: Vec<String>,
    /// The body.
    pub body: Body,
    /// The backend sent fields that our schema does not know: it should be read again.
    pub schema_suspect: bool,
}

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// As it comes. An error resets the stream: a list never looks whole when it is not.
    Stream(BoxStream<'static, Result<Bytes, ApiError>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(bytes) => f.debug_tuple("Whole").field(&bytes.len()).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// Answers a request for `resource`. The one entrance of this module.
///
/// # Errors
/// What the client is told instead: nothing was sent yet, and the status says whether anything was done.
pub async fn serve<C: crate::caller::Caller, E: crate::env::Env>(
    resource: &Arc<crate::model::Resource>,
    caller: &C,
    env: &E,
    request: Request,
) -> Result<Reply, ApiError> {
    let exchange = Exchange::new(resource, caller, env, request);
    let warnings = exchange.warnings.clone();
    dispatch(exchange).await.map_err(|error| error.with_warnings(warnings.take()))
}

async fn dispatch<C: crate::caller::Caller, E: crate::env::Env>(
    exchange: Exchange<C, E>,
) -> Result<Reply, ApiError> {
    let resource = Arc::clone(&exchange.resource);
    check_path(&exchange)?;
    let (info, status) = (&exchange.request.info, resource.status_subresource);
    // What makes several calls, or lasts, is boxed: every request carries the largest of the rest.
    match (info.subresource.as_str(), info.verb.as_str()) {
        ("", "get") => get::get(exchange).await,
        ("", "list") => list::list(exchange).await,
        ("", "watch") => Box::pin(watch::watch(exchange)).await,
        ("", "create") => create::create(exchange).await,
        ("", "update") => Box::pin(update::update(exchange, Part::Main)).await,
        ("", "patch") => Box::pin(patch::patch(exchange, Part::Main)).await,
        ("", "delete") => Box::pin(delete::delete(exchange)).await,
        ("", "deletecollection") => Box::pin(delete_collection::delete_collection(exchange)).await,
        ("", _) => Err(ApiError::method_not_allowed()),
        ("status", "get") if status => get::get(exchange).await,
        ("status", "update") if status => Box::pin(update::update(exchange, Part::Status)).await,
        ("status", "patch") if status => Box::pin(patch::patch(exchange, Part::Status)).await,
        ("status", _) if status => Err(ApiError::method_not_allowed()),
        (name, _) => match resource.actions.iter().position(|action| action.name == name) {
            Some(index) => action::action(exchange, index).await,
            None => Err(ApiError::generic_not_found_path()),
        },
    }
}

/// 404 and 405 for what the paths of a resource do not have, whatever the backend has.
fn check_path<C: crate::caller::Caller, E: crate::env::Env>(
    exchange: &Exchange<C, E>,
) -> Result<(), ApiError> {
    let (info, resource) = (&exchange.request.info, &exchange.resource);
    // In a list or watch the name is a selector's.
    let collection = matches!(info.verb.as_str(), "list" | "watch");
    let (named, in_namespace) = (!info.name.is_empty() && !collection, !info.namespace.is_empty());
    // The old `/watch/` paths read whatever the method is called.
    if exchange.request.method == Method::HEAD
        || (info.verb == "watch" && exchange.request.method != Method::GET)
    {
        return Err(ApiError::method_not_allowed());
    }
    if in_namespace != resource.namespaced && (in_namespace || named) || !info.rest.is_empty() {
        return Err(ApiError::generic_not_found_path());
    }
    let everywhere = resource.namespaced && !in_namespace;
    let allowed = match info.verb.as_str() {
        "create" => named != info.subresource.is_empty() && !everywhere,
        "get" | "update" | "patch" | "delete" => named,
        "deletecollection" => !named && !everywhere,
        _ => true,
    };
    if allowed { Ok(()) } else { Err(ApiError::method_not_allowed()) }
}
