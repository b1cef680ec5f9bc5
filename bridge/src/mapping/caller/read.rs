//! Get, and what every other verb reads.

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use prost::Message as _;

use super::{
    MappedCaller,
    conditions::Known,
    errors::{self, malformed, status, unfit},
    fill::{Values, request},
};
use crate::{
    caller::{Call, CallError, Caller, Class, Code},
    env::Env,
    mapping::{
        facts::Verb,
        identity::Subject,
        names::Ids,
        object::{self, Operated},
        plan::{Answer, MethodPlan, Plan},
    },
    proto::GetRequest,
    wire,
};

impl<C: Caller, E: Env> MappedCaller<C, E> {
    /// One object, in the contract form.
    pub(super) async fn get(&self, index: usize, message: &Bytes) -> Result<Bytes, CallError> {
        let plan = self.plan(index);
        let asked = GetRequest::decode(message.clone()).map_err(bad_request)?;
        let ids = plan.identity.ids(&asked.namespace, &asked.name).ok_or_else(|| not_found(plan))?;
        let found = self.read(index, &ids).await?;
        self.shown(plan, &found).await
    }

    /// The service's message of an object that is there. A deleted one that waits for an undelete is not.
    pub(super) async fn read(&self, index: usize, ids: &Ids) -> Result<Bytes, CallError> {
        let plan = self.plan(index);
        let found = match plan.methods.get(&Verb::Get) {
            Some(method) => {
                let values = Values::of(Subject {
                    identity: &plan.identity,
                    ids: Some(ids),
                    parent: "",
                    namespace: "",
                });
                let answer = self.call(plan, method, &values, Class::Read).await?;
                self.object_in(plan, method, answer)?
            }
            None => self.find(index, ids).await?,
        };
        if object::is_deleted(plan, &found).map_err(malformed(plan))? {
            return Err(not_found(plan));
        }
        self.remember(index, ids, &found);
        Ok(found)
    }

    /// What this request read of the object before, else what it reads now.
    pub(super) async fn stored(&self, index: usize, ids: &Ids) -> Result<Bytes, CallError> {
        match self.remembered(index, ids) {
            Some(message) => Ok(message),
            None => self.read(index, ids).await,
        }
    }

    /// An object of a service without Get. (Pages read singletons: one of the two must be boxed.)
    fn find<'a>(&'a self, index: usize, ids: &'a Ids) -> BoxFuture<'a, Result<Bytes, CallError>> {
        async move {
            let plan = self.plan(index);
            let mut pages = self.pages_of_parent(index, ids);
            while let Some(page) = pages.next_page(0).await? {
                for item in page {
                    if let Ok((found, _)) = plan.identity.of(&item).map_err(malformed(plan))?
                        && found == *ids
                    {
                        return Ok(item);
                    }
                }
            }
            Err(not_found(plan))
        }
        .boxed()
    }

    pub(super) async fn call(
        &self,
        plan: &Plan,
        method: &MethodPlan,
        values: &Values<'_>,
        class: Class,
    ) -> Result<Bytes, CallError> {
        let message = request(&method.fills, values).map_err(malformed(plan))?;
        let call = Call { path: method.path.clone(), message, class };
        self.inner.unary(call).await.map_err(|error| errors::translated(plan, method, error))
    }

    /// The object in an answer that holds it.
    pub(super) fn object_in(
        &self,
        plan: &Plan,
        method: &MethodPlan,
        answer: Bytes,
    ) -> Result<Bytes, CallError> {
        match method.answer {
            Answer::Within(number) => {
                let found = wire::message_field(&answer, number).map_err(malformed(plan))?;
                Ok(Bytes::copy_from_slice(&found))
            }
            Answer::Object | Answer::Nothing | Answer::Operation | Answer::List { .. } => Ok(answer),
        }
    }

    /// The contract form of the service's message, with what operations say of it.
    pub(super) async fn shown(&self, plan: &Plan, message: &[u8]) -> Result<Bytes, CallError> {
        let known = self.operations(plan).await;
        self.shown_with(plan, message, &known)
    }

    /// See [`Self::shown`].
    pub(super) fn shown_with(&self, plan: &Plan, message: &[u8], known: &Known) -> Result<Bytes, CallError> {
        let operated = match plan.identity.of(message).map_err(malformed(plan))? {
            Ok((ids, _)) => known.of(&plan.identity.full(&ids)),
            Err(_) => Operated::default(),
        };
        object::to_contract(plan, message, &operated).map(Bytes::from).map_err(unfit(plan))
    }
}

pub(super) fn not_found(plan: &Plan) -> CallError {
    status(Code::NotFound, format!("there is no such {}", plan.kind))
}

/// Our own request could not be read.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn bad_request(error: prost::DecodeError) -> CallError {
    status(Code::Internal, format!("a request of the mapped service: {error}"))
}
