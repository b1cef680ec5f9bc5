//! Who has the objects of a route: a remote backend, or the aggregator itself.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::Either, stream::BoxStream};
use http::HeaderMap;
use kubridge_bridge::{
    caller::{Call, CallError, Caller},
    identity,
    mapping::{Mapped, MappedCaller},
    model::{Resource, Schema},
    proto::UserInfo,
};
use tokio::time::Instant;

use super::{Caller as User, world::World};
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
    /// A gRPC backend: see [`Backend::remote`].
    Remote(Arc<RemoteBackend>),
}

/// A gRPC backend, as its schema is now.
#[derive(Debug)]
pub struct RemoteBackend {
    /// Its connections.
    backend: upstream::Backend,
    /// Its schema, to have it read again.
    schema: SchemaHandle<Schema>,
    /// How it is called, where it does not keep the contract itself.
    mapped: Option<Arc<Mapped>>,
    /// What clients were told of resources without a Watch or versions.
    made: MadeWatch,
    /// How those are listed again.
    polls: Polls,
}

/// Of a request's time: what is left for the answer when an operation is given up waiting for.
const FOR_THE_ANSWER: Duration = Duration::from_secs(1);

impl Backend {
    /// A gRPC backend. `schema`: to have it read again. `mapped`: how it is called, where it does not keep the contract
    /// itself. `made`: what clients were told of resources without a Watch or versions.
    pub fn remote(
        backend: upstream::Backend,
        schema: SchemaHandle<Schema>,
        mapped: Option<Arc<Mapped>>,
        made: MadeWatch,
    ) -> Self {
        let world = World::of_remote("poll".into(), &backend, &schema);
        let polls = Polls(Arc::new(Polled { backend: backend.clone(), mapped: mapped.clone(), world }));
        Self::Remote(Arc::new(RemoteBackend { backend, schema, mapped, made, polls }))
    }

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
            Self::Review(review) => {
                Connector::Review(ReviewCaller::new(Arc::clone(&user.user), review.clone()))
            }
            Self::Remote(remote) => {
                let RemoteBackend { backend, schema, mapped, made, polls } = &**remote;
                user.journey.set_backend(backend.endpoint());
                let caller = backend.caller(metadata, deadline);
                let remote = Remote { caller, journey: Arc::clone(&user.journey) };
                let world = || World::of_remote(Arc::clone(&user.audit_id), backend, schema);
                let called = Called::new(remote, mapped.as_ref(), world, deadline);
                if resource.is_remembered() {
                    Connector::Watched(made.caller(resource, called, polls.clone()))
                } else {
                    Connector::Remote(called)
                }
            }
        }
    }

    /// Whether it is the same backend, and not just one with the same address.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Store(_), Self::Store(_)) | (Self::Review(_), Self::Review(_)) => true,
            (Self::Remote(one), Self::Remote(other)) => one.backend.is_same(&other.backend),
            _ => false,
        }
    }

    /// Its schema may be out of date.
    pub(super) fn suspect(&self) {
        if let Self::Remote(remote) = self {
            remote.schema.suspect();
        }
    }
}

impl RemoteBackend {
    pub(super) fn backend(&self) -> &upstream::Backend {
        &self.backend
    }

    pub(super) fn schema(&self) -> &SchemaHandle<Schema> {
        &self.schema
    }
}

/// When the client is told that what it asked for is not done: before its time is over, so that it hears it.
fn wall_clock(deadline: Instant) -> SystemTime {
    let left = deadline.saturating_duration_since(Instant::now());
    SystemTime::now() + left.saturating_sub(FOR_THE_ANSWER.min(left / 5))
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(_) => f.write_str("Store"),
            Self::Review(_) => f.write_str("Review"),
            Self::Remote(remote) => f.debug_tuple("Remote").field(&remote.backend).finish(),
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
    Remote(Called<Remote>),
    /// See [`Backend::Remote`]: of a resource without a Watch or versions.
    Watched(Watched<Called<Remote>, Polls>),
}

impl Caller for Connector {
    type Stream = Either<Either<Answer, Boxed>, Boxed>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        match self {
            // Boxed: who calls a remote backend does not carry what the others take.
            Self::Store(store) => store.unary(call).boxed().await,
            Self::Review(review) => review.unary(call).boxed().await,
            Self::Remote(remote) => remote.unary(call).await,
            Self::Watched(watched) => watched.unary(call).boxed().await,
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        match self {
            Self::Store(store) => store.stream(call).boxed().await.map(Either::Right),
            Self::Review(review) => review.stream(call).boxed().await.map(Either::Right),
            Self::Remote(remote) => remote.stream(call).await.map(Either::Left),
            Self::Watched(watched) => watched.stream(call).boxed().await.map(Either::Right),
        }
    }
}

/// Messages of a stream, whoever makes it.
type Boxed = BoxStream<'static, Result<Bytes, CallError>>;

/// How a gRPC backend is called.
#[derive(Debug, Clone)]
pub enum Called<C: Caller> {
    /// It keeps the contract.
    Contract(C),
    /// It does not keep the contract itself.
    Mapped(MappedCaller<C, World>),
}

impl<C: Caller> Called<C> {
    fn new(
        caller: C,
        mapped: Option<&Arc<Mapped>>,
        world: impl FnOnce() -> World,
        deadline: Option<Instant>,
    ) -> Self {
        match mapped {
            None => Self::Contract(caller),
            Some(mapped) => {
                Self::Mapped(MappedCaller::new(caller, Arc::clone(mapped), world(), deadline.map(wall_clock)))
            }
        }
    }
}

impl<C: Caller> Caller for Called<C> {
    type Stream = Either<C::Stream, Boxed>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        match self {
            Self::Contract(caller) => caller.unary(call).await,
            // Boxed: who calls a backend that keeps the contract does not carry what the others take.
            Self::Mapped(mapped) => mapped.unary(call).boxed().await,
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        match self {
            Self::Contract(caller) => caller.stream(call).await.map(Either::Left),
            Self::Mapped(mapped) => mapped.stream(call).boxed().await,
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
pub struct Polls(Arc<Polled>);

/// One for each backend.
#[derive(Debug)]
struct Polled {
    backend: upstream::Backend,
    mapped: Option<Arc<Mapped>>,
    world: World,
}

impl made_watch::Polls for Polls {
    type Caller = Called<BackendCaller>;

    fn caller(&self) -> Self::Caller {
        let user = UserInfo { username: made_watch::POLLER.into(), ..UserInfo::default() };
        let mut metadata = HeaderMap::new();
        identity::write(&user, &mut metadata).expect("a name alone is not too large");
        let Polled { backend, mapped, world } = &*self.0;
        let caller = backend.caller(metadata, None).unlimited();
        Called::new(caller, mapped.as_ref(), || world.clone(), None)
    }
}
