//! Calls to a gRPC backend: on behalf of a request, or of the aggregator itself.

use std::{
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
    model::Resource,
    proto::UserInfo,
};
use tokio::time::Instant;

use crate::{
    made_watch::{self, MadeWatch, Watched},
    proxy::World,
    telemetry::Journey,
    upstream::{self, Answer, BackendCaller},
};

/// Of a request's time: what is left for the answer when an operation is given up waiting for.
const FOR_THE_ANSWER: Duration = Duration::from_secs(1);

/// Messages of a stream, whoever makes it.
pub(super) type Boxed = BoxStream<'static, Result<Bytes, CallError>>;

/// How a resource of a gRPC backend is called.
#[derive(Debug, Clone)]
pub enum Direct<C: Caller> {
    /// As the backend has it.
    Plain(Called<C>),
    /// It has no Watch or versions.
    Watched(Watched<Called<C>, Polls>),
}

impl<C: Caller> Direct<C> {
    pub(super) fn new(called: Called<C>, resource: &Arc<Resource>, made: &MadeWatch, polls: &Polls) -> Self {
        if resource.is_remembered() {
            Self::Watched(made.caller(resource, called, polls.clone()))
        } else {
            Self::Plain(called)
        }
    }
}

impl<C: Caller> Caller for Direct<C> {
    type Stream = Either<Either<C::Stream, Boxed>, Boxed>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        match self {
            Self::Plain(called) => called.unary(call).await,
            // Boxed: who calls a remote backend does not carry what the others take.
            Self::Watched(watched) => watched.unary(call).boxed().await,
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        match self {
            Self::Plain(called) => called.stream(call).await.map(Either::Left),
            Self::Watched(watched) => watched.stream(call).boxed().await.map(Either::Right),
        }
    }
}

/// How a gRPC backend is called.
#[derive(Debug, Clone)]
pub enum Called<C: Caller> {
    /// It keeps the contract.
    Contract(C),
    /// It does not keep the contract itself.
    Mapped(MappedCaller<C, World>),
}

impl<C: Caller> Called<C> {
    pub(super) fn new(
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
    pub(super) caller: BackendCaller,
    pub(super) journey: Arc<Journey>,
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

/// Lists for watches that are made, and to be remembered: as the aggregator itself, and never refused because clients keep the backend busy.
#[derive(Debug, Clone)]
pub struct Polls(Arc<Polled>);

/// One for each backend.
#[derive(Debug)]
struct Polled {
    backend: upstream::Backend,
    mapped: Option<Arc<Mapped>>,
    world: World,
}

impl Polls {
    pub(super) fn new(backend: &upstream::Backend, mapped: Option<&Arc<Mapped>>, world: World) -> Self {
        Self(Arc::new(Polled { backend: backend.clone(), mapped: mapped.cloned(), world }))
    }
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

/// When the client is told that what it asked for is not done: before its time is over, so that it hears it.
fn wall_clock(deadline: Instant) -> SystemTime {
    let left = deadline.saturating_duration_since(Instant::now());
    SystemTime::now() + left.saturating_sub(FOR_THE_ANSWER.min(left / 5))
}
