//! Answers the calls of the contract by calling the service that was mapped.

mod action;
mod conditions;
mod errors;
mod fill;
mod list;
mod operation;
mod read;
mod write;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use futures::{StreamExt as _, future::Either, stream::BoxStream};

use super::{
    facts::Verb,
    names::Ids,
    plan::{Mapped, Plan, Role},
};
use crate::{
    caller::{Call, CallError, Caller, Code},
    env::Env,
    proto::DeleteOptions,
};

/// A caller over the caller of a service that was mapped. For one request: what it reads it remembers, so that what
/// the client builds on is what a write is compared with.
pub struct MappedCaller<C, E> {
    inner: C,
    mapped: Arc<Mapped>,
    env: E,
    /// When the client is told that an operation is not done.
    deadline: Option<SystemTime>,
    last_read: Arc<Mutex<Option<LastRead>>>,
}

#[derive(Debug)]
struct LastRead {
    plan: usize,
    ids: Ids,
    message: Bytes,
}

impl<C: Clone, E: Clone> Clone for MappedCaller<C, E> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            mapped: Arc::clone(&self.mapped),
            env: self.env.clone(),
            deadline: self.deadline,
            last_read: Arc::clone(&self.last_read),
        }
    }
}

impl<C: fmt::Debug, E> fmt::Debug for MappedCaller<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedCaller").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A request of the made service: see [`super::synthetic::request`].
#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bytes = "bytes", tag = "3")]
    object: Bytes,
    #[prost(bool, tag = "4")]
    validate_only: bool,
    #[prost(message, optional, tag = "5")]
    options: Option<DeleteOptions>,
}

impl<C: Caller, E: Env> MappedCaller<C, E> {
    /// For one request. `deadline`: by then an operation that goes on is given up waiting for; none: never.
    pub fn new(inner: C, mapped: Arc<Mapped>, env: E, deadline: Option<SystemTime>) -> Self {
        Self { inner, mapped, env, deadline, last_read: Arc::default() }
    }

    fn role(&self, call: &Call) -> Result<(usize, Role), CallError> {
        let known = self.mapped.calls.get(&call.path).copied();
        known.ok_or_else(|| errors::status(Code::Unimplemented, format!("{} is not mapped", call.path)))
    }

    fn plan(&self, index: usize) -> &Plan {
        // Only indices of plans are handed out.
        &self.mapped.plans[index]
    }

    fn remember(&self, plan: usize, ids: &Ids, message: &Bytes) {
        let read = LastRead { plan, ids: ids.clone(), message: message.clone() };
        *self.last_read.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    /// What this request read of the object before.
    fn remembered(&self, plan: usize, ids: &Ids) -> Option<Bytes> {
        let last = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|last| last.plan == plan && last.ids == *ids).map(|last| last.message.clone())
    }
}

impl<C: Caller, E: Env> Caller for MappedCaller<C, E> {
    type Stream = Either<C::Stream, BoxStream<'static, Result<Bytes, CallError>>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        let (plan, role) = self.role(&call)?;
        match role {
            Role::Verb(Verb::Get) => self.get(plan, &call.message).await,
            Role::Verb(Verb::Create) => self.create(plan, &call.message).await,
            Role::Verb(Verb::Update) => self.update(plan, &call.message).await,
            Role::Verb(Verb::Delete) => self.delete(plan, &call.message).await,
            // It streams.
            Role::Verb(Verb::List) => Err(errors::status(Code::Unimplemented, "a list streams")),
            Role::Action(action) => self.action(plan, action, call).await,
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        let (plan, role) = self.role(&call)?;
        match role {
            Role::Verb(Verb::List) => Ok(Either::Right(self.list(plan, &call.message).await?.boxed())),
            Role::Action(action) => self.streaming_action(plan, action, call).await,
            Role::Verb(_) => Err(errors::status(Code::Unimplemented, "only a list streams")),
        }
    }
}
