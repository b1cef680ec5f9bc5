//! Who has the objects of a route: a remote backend, or the aggregator itself.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::{future::Either, stream::BoxStream};
use http::HeaderMap;
use kubridge_bridge::{
    caller::{Call, CallError, Caller},
    model::Schema,
};
use tokio::time::Instant;

use super::Caller as User;
use crate::{
    authz::{Authorizer, review::ReviewCaller},
    registry::LocalCaller,
    telemetry::Journey,
    upstream::{self, Answer, BackendCaller, SchemaHandle},
};

/// Who has the objects of a route. Cheap to clone.
#[derive(Clone)]
pub enum Backend {
    /// The embedded store.
    Store(LocalCaller),
    /// The reviews of the caller's own identity and rights.
    Review(Authorizer),
    /// A gRPC backend.
    Remote {
        /// Its connections.
        backend: upstream::Backend,
        /// Its schema, to have it read again.
        schema: SchemaHandle<Schema>,
    },
}

impl Backend {
    /// A caller for one request.
    pub(super) fn connect(&self, user: &User, metadata: HeaderMap, deadline: Option<Instant>) -> Connector {
        match self {
            Self::Store(store) => Connector::Store(store.clone()),
            Self::Review(review) => Connector::Review(ReviewCaller::new(Arc::clone(&user.user), *review)),
            Self::Remote { backend, .. } => {
                user.journey.set_backend(backend.endpoint());
                Connector::Remote(backend.caller(metadata, deadline), Arc::clone(&user.journey))
            }
        }
    }

    /// Whether it is the same backend, and not just one with the same address.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Store(_), Self::Store(_)) | (Self::Review(_), Self::Review(_)) => true,
            (Self::Remote { backend: one, .. }, Self::Remote { backend: other, .. }) => one.is_same(other),
            _ => false,
        }
    }

    /// Its schema may be out of date.
    pub(super) fn suspect(&self) {
        if let Self::Remote { schema, .. } = self {
            schema.suspect();
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(_) => f.write_str("Store"),
            Self::Review(_) => f.write_str("Review"),
            Self::Remote { backend, .. } => f.debug_tuple("Remote").field(backend).finish(),
        }
    }
}

/// The bridge's caller for one request.
#[derive(Debug, Clone)]
pub enum Connector {
    /// See [`Backend::Store`].
    Store(LocalCaller),
    /// See [`Backend::Review`].
    Review(ReviewCaller),
    /// See [`Backend::Remote`]. What is waited for it is observed.
    Remote(BackendCaller, Arc<Journey>),
}

impl Caller for Connector {
    type Stream = Either<Answer, BoxStream<'static, Result<Bytes, CallError>>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        match self {
            Self::Store(store) => store.unary(call).await,
            Self::Review(review) => review.unary(call).await,
            Self::Remote(remote, journey) => journey.upstream(remote.unary(call)).await,
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        match self {
            Self::Store(store) => store.stream(call).await.map(Either::Right),
            Self::Review(review) => review.stream(call).await.map(Either::Right),
            Self::Remote(remote, journey) => journey.upstream(remote.stream(call)).await.map(Either::Left),
        }
    }
}
