//! Kubernetes' admission plugin `NamespaceLifecycle`: what may be written in which namespace.

use super::exchange::Exchange;
use crate::{
    caller::Caller,
    env::{Env, NamespaceState},
    status::{ApiError, StatusCause},
};

/// Whether the request's namespace takes new objects: one called `name`, or a subresource of that.
///
/// # Errors
/// 404: there is no such namespace. 403 with the cause `NamespaceTerminating`: it is being deleted.
pub(super) async fn takes_new<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    name: &str,
) -> Result<(), ApiError> {
    let namespace = exchange.namespace();
    match find(exchange).await? {
        NamespaceState::Terminating => {
            let (group, resource) = (&exchange.request.info.api_group, &exchange.request.info.resource);
            let message = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            Err(ApiError::forbidden(group, resource, name, &message).with_cause(StatusCause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".to_owned(),
            }))
        }
        NamespaceState::Active | NamespaceState::Missing => Ok(()),
    }
}

/// Whether the request's namespace is there, so that what is in it may be changed. (Deleting is always allowed.)
///
/// # Errors
/// 404: there is no such namespace.
pub(super) async fn is_there<C: Caller, E: Env>(exchange: &Exchange<C, E>) -> Result<(), ApiError> {
    find(exchange).await.map(drop)
}

async fn find<C: Caller, E: Env>(exchange: &Exchange<C, E>) -> Result<NamespaceState, ApiError> {
    let namespace = exchange.namespace();
    if namespace.is_empty() {
        return Ok(NamespaceState::Active);
    }
    match exchange.env.namespace(namespace).await? {
        NamespaceState::Missing => Err(ApiError::not_found("", "namespaces", namespace)),
        found => Ok(found),
    }
}
