//! Custom methods: subresources of an object.

use bytes::Bytes;
use futures::{StreamExt as _, future::Either};

use super::{
    MappedCaller,
    errors::malformed,
    fill::{Values, fill},
    read::not_found,
};
use crate::{
    caller::{Call, CallError, Caller},
    env::Env,
    mapping::{
        identity::Subject,
        plan::{ActionPlan, Answer, Plan},
    },
    wire,
};

impl<C: Caller, E: Env> MappedCaller<C, E> {
    /// Calls a custom method. The answer is the object in the contract form, or the service's message.
    pub(super) async fn action(&self, index: usize, action: usize, call: Call) -> Result<Bytes, CallError> {
        let plan = self.plan(index);
        let action = &plan.actions[action];
        let message = request(plan, action, &call.message)?;
        let answer = self.inner.unary(Call { path: action.path.clone(), message, class: call.class }).await?;
        let answer = match action.answer {
            Answer::Operation => self.finished(plan, answer).await?.unwrap_or_default(),
            Answer::Object | Answer::Within(_) | Answer::Nothing | Answer::List { .. } => answer,
        };
        if action.output == plan.message && !answer.is_empty() {
            self.shown(plan, &answer).await
        } else {
            Ok(answer)
        }
    }

    /// The same of a server stream.
    pub(super) async fn streaming_action(
        &self,
        index: usize,
        action: usize,
        call: Call,
    ) -> Result<<Self as Caller>::Stream, CallError> {
        let plan = self.plan(index);
        let found = &plan.actions[action];
        let message = request(plan, found, &call.message)?;
        let answers =
            self.inner.stream(Call { path: found.path.clone(), message, class: call.class }).await?;
        if found.output != plan.message {
            return Ok(Either::Left(answers));
        }
        let caller = self.clone();
        let shown = answers.then(move |answer| {
            let caller = caller.clone();
            async move { caller.shown(caller.plan(index), &answer?).await }
        });
        Ok(Either::Right(shown.boxed()))
    }
}

/// The service's request: the body, and the name of the object.
fn request(plan: &Plan, action: &ActionPlan, message: &[u8]) -> Result<Bytes, CallError> {
    let fault = malformed(plan);
    let text = |number: u32| {
        let found = wire::message_field(message, number).map_err(&fault)?;
        Ok::<_, CallError>(String::from_utf8_lossy(&found).into_owned())
    };
    let name = text(action.name_number)?;
    let namespace = action.namespace.map(text).transpose()?.unwrap_or_default();
    let ids = plan.identity.ids(&namespace, &name).ok_or_else(|| not_found(plan))?;
    let from_url = |number: u32| number == action.name_number || Some(number) == action.namespace;
    let mut out = wire::without(message, from_url).map_err(&fault)?;
    let subject = Subject { identity: &plan.identity, ids: Some(&ids), parent: "", namespace: "" };
    fill(&mut out, &action.fills, &Values::of(subject)).map_err(&fault)?;
    Ok(out.into())
}
