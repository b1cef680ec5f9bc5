//! Who has the objects of a route: a remote backend, or the aggregator itself.

mod called;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt as _, future::Either};
use http::HeaderMap;
use kubridge_bridge::{
    caller::{Call, CallError, Caller},
    env::NamespaceState,
    mapping::Mapped,
    model::{Api, Resource, Schema},
};
use tokio::time::Instant;

use super::{Caller as User, world::World};
use crate::{
    authz::{Authorizer, review::ReviewCaller},
    brown_out::{self, Asked, StandIn, Terminating, Told},
    cluster::Namespaces,
    made_watch::{MadeWatch, Polls as _},
    registry::LocalCaller,
    upstream::{self, Answer, SchemaHandle},
};

use called::Boxed;
pub use called::{Called, Direct, Polls, Remote};

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
    /// What is answered while it cannot be reached; none: nothing.
    brown_out: Option<brown_out::Policy>,
}

/// What of a request the backend's caller is made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connect<'a> {
    /// Who asks.
    pub(super) user: &'a User,
    /// What is asked for.
    pub(super) asked: Asked<'a>,
    pub(super) resource: &'a Arc<Resource>,
    /// By when it is done.
    pub(super) deadline: Option<Instant>,
    /// Those of the cluster that is served, if any.
    pub(super) namespaces: Option<&'a Namespaces>,
}

impl Backend {
    /// A gRPC backend, of which this `api` is served. `schema`: to have it read again. `mapped`: how it is called, where it
    /// does not keep the contract itself. `made`: what clients were told of resources without a Watch or versions.
    /// `brown_out`: what is answered while it cannot be reached.
    pub fn remote(
        backend: upstream::Backend,
        schema: SchemaHandle<Schema>,
        api: &Api,
        mapped: Option<Arc<Mapped>>,
        made: MadeWatch,
        brown_out: Option<brown_out::Policy>,
    ) -> Self {
        let polls = Polls::new(&backend, mapped.as_ref(), World::of_remote("poll".into(), &backend, &schema));
        if let Some(brown_out::Policy::Snapshot(snapshots)) = &brown_out {
            let (made, polls) = (made.clone(), polls.clone());
            snapshots.serve(api, move |resource| Direct::new(polls.caller(), resource, &made, &polls));
        }
        Self::Remote(Arc::new(RemoteBackend { backend, schema, mapped, made, polls, brown_out }))
    }

    /// A caller for one request.
    pub(super) fn connect(&self, metadata: HeaderMap, request: Connect<'_>) -> Connector {
        let Connect { user, asked, resource, deadline, namespaces } = request;
        match self {
            Self::Store(store) => Connector::Store(store.clone()),
            Self::Review(review) => {
                Connector::Review(ReviewCaller::new(Arc::clone(&user.user), review.clone()))
            }
            Self::Remote(remote) => {
                let RemoteBackend { backend, schema, mapped, made, polls, brown_out } = &**remote;
                user.journey.set_backend(backend.endpoint());
                let caller = backend.caller(metadata, deadline);
                let remote = Remote { caller, journey: Arc::clone(&user.journey) };
                let world = || World::of_remote(Arc::clone(&user.audit_id), backend, schema);
                let called = Called::new(remote, mapped.as_ref(), world, deadline);
                let direct = Direct::new(called, resource, made, polls);
                let terminating = || namespaces.map(|namespaces| terminating(namespaces, asked.namespace));
                match brown_out.as_ref().and_then(|policy| policy.plan(asked, resource, terminating)) {
                    None => Connector::Remote(direct),
                    Some(plan) => Connector::StandIn(StandIn::new(direct, plan)),
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

/// Asks the cluster whether a namespace is being deleted. What cannot be found out is not so.
fn terminating(namespaces: &Namespaces, namespace: &str) -> Terminating {
    let (namespaces, namespace) = (namespaces.clone(), Arc::<str>::from(namespace));
    Box::new(move || {
        let (namespaces, namespace) = (namespaces.clone(), Arc::clone(&namespace));
        async move { matches!(namespaces.state(&namespace).await, Ok(NamespaceState::Terminating)) }.boxed()
    })
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
    Remote(Direct<Remote>),
    /// See [`Backend::Remote`]: it is answered somehow also while that cannot be reached.
    StandIn(StandIn<Direct<Remote>>),
}

impl Connector {
    /// What became of the request, if its backend could not be reached.
    pub(super) fn told(&self) -> Option<&Told> {
        match self {
            Self::StandIn(stand_in) => stand_in.told(),
            Self::Store(_) | Self::Review(_) | Self::Remote(_) => None,
        }
    }
}

impl Caller for Connector {
    type Stream = Either<Either<Either<Answer, Boxed>, Boxed>, Boxed>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        match self {
            // Boxed: who calls a remote backend does not carry what the others take.
            Self::Store(store) => store.unary(call).boxed().await,
            Self::Review(review) => review.unary(call).boxed().await,
            Self::Remote(remote) => remote.unary(call).await,
            Self::StandIn(stand_in) => stand_in.unary(call).boxed().await,
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        match self {
            Self::Store(store) => store.stream(call).boxed().await.map(Either::Right),
            Self::Review(review) => review.stream(call).boxed().await.map(Either::Right),
            Self::Remote(remote) => remote.stream(call).await.map(Either::Left),
            Self::StandIn(stand_in) => stand_in.stream(call).boxed().await.map(Either::Right),
        }
    }
}
