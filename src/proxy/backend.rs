//! Who has the objects of a route: a remote backend, or the aggregator itself.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::{future::Either, stream::BoxStream};
use http::HeaderMap;
use kubridge_bridge::{
    caller::{Call, CallError, Caller},
    identity,
    model::{Resource, Schema},
    proto::UserInfo,
};
use tokio::time::Instant;

use super::Caller as User;
use crate::{
    authz::{Authorizer, review::ReviewCaller},
    made_watch::{self, MadeWatch, Watched},
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
        /// What clients were told of resources without a Watch or versions.
        made: MadeWatch,
    },
}

impl Backend {
    /// A caller for one request for `resource`.
    pub(super) fn connect(
        &self,
        user: &User,
        metadata: HeaderMap,
        deadline: Option<Instant>,
        resource: &Arc<Resource>,
    ) -> Connector {
        match self {
            Self::Store(store) => Connector::Store(store.clone()),
            Self::Review(review) => Connector::Review(ReviewCaller::new(Arc::clone(&user.user), *review)),
            Self::Remote { backend, made, .. } => {
                user.journey.set_backend(backend.endpoint());
                let caller = backend.caller(metadata, deadline);
                let remote = Remote { caller, journey: Arc::clone(&user.journey) };
                if resource.is_remembered() {
                    Connector::Watched(made.caller(resource, remote, Polls(backend.clone())))
                } else {
                    Connector::Remote(remote)
                }
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
    /// See [`Backend::Remote`].
    Remote(Remote),
    /// See [`Backend::Remote`]: of a resource without a Watch or versions.
    Watched(Watched<Remote, Polls>),
}

impl Caller for Connector {
    type Stream = Either<Answer, BoxStream<'static, Result<Bytes, CallError>>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        match self {
            Self::Store(store) => store.unary(call).await,
            Self::Review(review) => review.unary(call).await,
            Self::Remote(remote) => remote.unary(call).await,
            Self::Watched(watched) => watched.unary(call).await,
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        match self {
            Self::Store(store) => store.stream(call).await.map(Either::Right),
            Self::Review(review) => review.stream(call).await.map(Either::Right),
            Self::Remote(remote) => remote.stream(call).await.map(Either::Left),
            Self::Watched(watched) => watched.stream(call).await.map(Either::Right),
        }
    }
}

/// Calls to a gRPC backend. What is waited for it is observed.
#[derive(Debug, Clone)]
pub struct Remote {
    caller: BackendCaller,
    journey: Arc<Journey>,
}

impl Caller for Remote {
    type Stream = Answer;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        self.journey.upstream(self.caller.unary(call)).await
    }

    async fn stream(&self, call: Call) -> Result<Answer, CallError> {
        self.journey.upstream(self.caller.stream(call)).await
    }
}

/// Lists for watches that are made: as the aggregator itself, and never refused because clients keep the backend busy.
#[derive(Debug, Clone)]
pub struct Polls(upstream::Backend);

impl made_watch::Polls for Polls {
    type Caller = BackendCaller;

    fn caller(&self) -> BackendCaller {
        let user = UserInfo { username: made_watch::POLLER.into(), ..UserInfo::default() };
        let mut metadata = HeaderMap::new();
        identity::write(&user, &mut metadata).expect("a name alone is not too large");
        self.0.caller(metadata, None).unlimited()
    }
}
