//! The caller of one request that has a plan: it calls the backend, and answers where that cannot be reached.

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use kubridge_bridge::caller::{BackendStatus, Call, CallError, Caller, Code};

use super::{
    Plan, Told, Way, is_unreachable,
    reading::{Expired, Reading, Wanted},
};

/// See the module.
#[derive(Debug, Clone)]
pub struct StandIn<C> {
    inner: C,
    plan: Arc<Plan>,
}

/// What a call that may be answered here is for.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Read(&'a Reading, Wanted),
    Sweep(&'a super::Sweep),
}

impl<C: Caller> StandIn<C> {
    /// Calls `inner`, and goes by the plan where that fails.
    pub fn new(inner: C, plan: Arc<Plan>) -> Self {
        Self { inner, plan }
    }

    /// What became of the request, if its backend could not be reached.
    pub fn told(&self) -> Option<&Told> {
        self.plan.told.get()
    }

    fn place(&self, call: &Call) -> Option<Place<'_>> {
        match &self.plan.way {
            Way::Read(reading) => reading.wants(&call.path).map(|wanted| Place::Read(reading, wanted)),
            Way::Sweep(sweep) => sweep.wants(&call.path).then_some(Place::Sweep(sweep)),
        }
    }

    /// The messages that are answered without a call; `None`: it is called.
    async fn in_advance(&self, place: Place<'_>) -> Result<Option<Vec<Bytes>>, CallError> {
        if let Place::Read(reading, Wanted::List) = place
            && let Some(page) = reading.goes_on()
        {
            let (messages, told) = page.map_err(|Expired| expired())?;
            self.tell(told);
            return Ok(Some(messages));
        }
        let is_away = match place {
            Place::Read(reading, _) => reading.is_away(),
            Place::Sweep(sweep) => sweep.is_away(),
        };
        Ok(if is_away { self.answer(place).await.ok() } else { None })
    }

    /// The messages that are answered in the place of a call that failed so.
    async fn after(&self, place: Place<'_>, error: CallError) -> Result<Vec<Bytes>, CallError> {
        if !is_unreachable(&error) {
            return Err(error);
        }
        self.answer(place).await.map_err(|why| {
            self.tell(Told::Unanswered(why));
            error
        })
    }

    async fn answer(&self, place: Place<'_>) -> Result<Vec<Bytes>, String> {
        let (messages, told) = match place {
            Place::Read(reading, wanted) => reading.answer(wanted)?,
            Place::Sweep(sweep) => sweep.answer().await?,
        };
        self.tell(told);
        Ok(messages)
    }

    fn tell(&self, told: Told) {
        if let Some(counts) = &self.plan.counts {
            counts.asked(matches!(told, Told::Answered { .. }));
        }
        // The first one stands: a request makes one call that is answered here, or fails with it.
        let _same = self.plan.told.set(told);
    }
}

impl<C: Caller> Caller for StandIn<C> {
    type Stream = BoxStream<'static, Result<Bytes, CallError>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        let Some(place) = self.place(&call) else { return self.inner.unary(call).await };
        if let Some(messages) = self.in_advance(place).await? {
            return Ok(whole(&messages));
        }
        match self.inner.unary(call).await {
            Ok(answer) => Ok(answer),
            Err(error) => Ok(whole(&self.after(place, error).await?)),
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        let Some(place) = self.place(&call) else { return Ok(self.inner.stream(call).await?.boxed()) };
        if let Some(messages) = self.in_advance(place).await? {
            return Ok(told(messages));
        }
        // Its first message decides: before it the backend may go away as well as before the headers.
        let failed = match self.inner.stream(call).await {
            Ok(mut answers) => match answers.next().await {
                Some(Err(error)) => error,
                first => return Ok(stream::iter(first).chain(answers).boxed()),
            },
            Err(error) => error,
        };
        Ok(told(self.after(place, failed).await?))
    }
}

/// Messages that follow one another are one.
fn whole(messages: &[Bytes]) -> Bytes {
    match messages {
        [one] => one.clone(),
        several => several.concat().into(),
    }
}

fn told(messages: Vec<Bytes>) -> BoxStream<'static, Result<Bytes, CallError>> {
    stream::iter(messages.into_iter().map(Ok)).boxed()
}

fn expired() -> CallError {
    let message = "the earlier list that this one continues is gone: list again without continue";
    let status = BackendStatus { code: Code::OutOfRange, message: message.into(), details: Vec::new() };
    CallError::Status(Box::new(status))
}
