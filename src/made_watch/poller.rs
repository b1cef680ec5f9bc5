//! One poll after the other, while somebody watches.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use kubridge_bridge::{
    caller::{CallError, Caller, Code, Ran, TransportError, TransportKind},
    ledger::{PollFault, Polled},
    transcode::WireError,
    verbs::read_all,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Polls, Progress, Shared, Source,
    pace::{Next, Outcome, Pace},
    status,
};
use crate::metrics::PollResult;

/// How long the poller goes on after the last watcher left: most come back.
const LINGER: Duration = Duration::from_secs(15);
/// The longest List.
const PATIENCE: Duration = Duration::from_secs(120);
/// Watches stay open while the backend is away for no longer than this.
const AWAY: Duration = Duration::from_secs(10);
/// How often a poll is repeated at once because versions began anew.
const AGAIN: usize = 3;
/// So many items are told to the ledger at a time: others want it too.
const AT_ONCE: usize = 256;

/// What a poll found.
pub(super) type Found = Polled;

/// Why a poll failed.
pub(super) enum Failed {
    Call(CallError),
    Fault(PollFault),
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<PollFault> for Failed {
    fn from(fault: PollFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<WireError> for Failed {
    fn from(error: WireError) -> Self {
        Self::Fault(PollFault::Wire(error))
    }
}

impl<P: Polls> Source for P {
    fn poll<'a>(&'a self, shared: &'a Shared) -> BoxFuture<'a, Result<Found, Failed>> {
        read(self.caller(), shared).boxed()
    }
}

/// Polls until nobody has watched for a while.
pub(super) async fn run(shared: Arc<Shared>) {
    let _running = Running::new(&shared);
    let mut pace = Pace::new();
    let mut failing: Option<Instant> = None;
    let mut left: Option<Instant> = None;
    loop {
        let asked = shared.asked.load(Ordering::Acquire);
        let begun = Instant::now();
        let result = once(&shared).await;
        let now = Instant::now();
        shared.take_notes();
        let (outcome, error) = match result {
            Ok(found) => {
                failing = None;
                let changed = found.changes > 0;
                let result = if changed { PollResult::Changed } else { PollResult::Unchanged };
                shared.counts.polled(result, now - begun, found.changes as u64);
                let outcome = match (found.settled, changed) {
                    (false, _) => Outcome::Unsettled,
                    (true, true) => Outcome::Changes,
                    (true, false) => Outcome::Nothing,
                };
                (outcome, None)
            }
            Err(error) => {
                failing.get_or_insert(begun);
                shared.counts.polled(PollResult::Failed, now - begun, 0);
                (Outcome::Failed, Some(error))
            }
        };
        let away = failing.is_some_and(|since| now - since >= AWAY);
        let gives_up = error.as_ref().is_some_and(|error| away || !is_passing(error));
        if let Some(error) = &error {
            let resource = shared.resource.load();
            tracing::debug!(group = resource.group, resource = resource.plural, %error, gives_up, "a poll failed");
        }
        shared.progress.send_modify(|progress| {
            *progress = Progress { answered: progress.answered.max(asked), error, gives_up };
        });
        let next = pace.next(now, now - begun, outcome);
        if rest(&shared, next, &mut left).await {
            break;
        }
    }
    shared.ledger().drop_states();
}

/// Waits for the next poll; true: nobody watches any more.
async fn rest(shared: &Shared, next: Next, left: &mut Option<Instant>) -> bool {
    let mut until = next.regular;
    loop {
        if shared.watchers.load(Ordering::Acquire) > 0 {
            *left = None;
        } else {
            let since = *left.get_or_insert_with(Instant::now);
            if Instant::now() >= since + LINGER && shared.may_stop() {
                return true;
            }
            // Who comes back finds it running; until then nobody needs another poll.
            until = since + LINGER;
        }
        tokio::select! {
            () = sleep_until(until) => {
                if left.is_none() {
                    return false;
                }
            }
            () = shared.wake.notified() => {
                if left.is_some() && shared.watchers.load(Ordering::Acquire) == 0 {
                    continue;
                }
                *left = None;
                until = if shared.watchers.load(Ordering::Acquire) > 0 { next.earliest } else { until };
                if Instant::now() >= until {
                    return false;
                }
            }
        }
    }
}

/// One poll, repeated where versions begin anew.
async fn once(shared: &Shared) -> Result<Found, CallError> {
    let Some(source) = shared.source.load_full() else {
        return Err(status(Code::Unavailable, "nobody said how to list"));
    };
    for _ in 0..AGAIN {
        let result = match timeout(PATIENCE, source.poll(shared)).await {
            Ok(result) => result,
            Err(_) => Err(Failed::Call(late())),
        };
        return match result {
            Ok(found) => Ok(found),
            Err(Failed::Fault(PollFault::Again)) => continue,
            Err(Failed::Call(error)) => Err(error),
            Err(Failed::Fault(fault @ PollFault::TooMany(_))) => {
                let mend = "no watch is made of so many: the backend needs a Watch of its own";
                Err(status(Code::ResourceExhausted, &format!("{fault}: {mend}")))
            }
            Err(Failed::Fault(fault @ PollFault::Wire(_))) => Err(malformed(&fault.to_string())),
        };
    }
    Err(status(Code::Unavailable, "the versions began anew several times"))
}

async fn read<C: Caller>(caller: C, shared: &Shared) -> Result<Found, Failed> {
    let resource = shared.resource.load_full();
    let Some(method) = &resource.methods.list else {
        return Err(Failed::Call(status(Code::Unimplemented, "")));
    };
    let mut poll = shared.ledger().poll_begins();
    let version = read_all(&caller, method, |items| {
        items
            .chunks(AT_ONCE)
            .try_for_each(|items| shared.ledger().poll_reads(&mut poll, items).map_err(Failed::from))
    });
    let version = version.await?;
    Ok(shared.ledger().poll_ends(&poll, &version)?)
}

/// The backend, or the way to it, is away: it may come back.
fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::Transport(failure) => failure.kind != TransportKind::Protocol,
        CallError::Status(status) => matches!(
            status.code,
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::Unknown
        ),
    }
}

fn late() -> CallError {
    let message = format!("a List for the watch took longer than {PATIENCE:?}");
    CallError::Transport(Box::new(TransportError {
        ran: Ran::Unknown,
        kind: TransportKind::Deadline,
        message,
    }))
}

fn malformed(what: &str) -> CallError {
    CallError::Transport(Box::new(TransportError {
        ran: Ran::Unknown,
        kind: TransportKind::Protocol,
        message: format!("the List of a poll: {what}"),
    }))
}

/// Counts the poller.
struct Running<'a>(&'a Shared);

impl<'a> Running<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.counts.set_running(true);
        Self(shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.counts.set_running(false);
    }
}
