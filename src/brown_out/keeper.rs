//! Lists each resource when it is first served, whenever the backend has come back, and now and then in between.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep_until, timeout};

use super::{
    is_unreachable,
    slot::{Inner, Kept, Lack, Slot, Unlisted},
    snapshot::Taking,
};
use crate::backoff;

/// The longest list.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// The first pause after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// One part in so many of the time is spent listing a resource.
const SHARE: u32 = 10;

/// How often a resource is listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The pause when all is well; up to a tenth is added, so that not all are listed at once.
    pub(super) every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { every: Duration::from_secs(30) }
    }
}

/// When a resource is listed next.
struct Due {
    slot: Arc<Slot>,
    at: Instant,
    failures: u32,
}

/// Lists for as long as it is polled, one resource after the other. Nothing is asked of a backend that answers nothing.
pub(super) async fn run(inner: Arc<Inner>) {
    let (mut slots, mut away) = (inner.slots.subscribe(), inner.away.is_so.clone());
    let mut all: Vec<Due> = Vec::new();
    slots.mark_changed();
    loop {
        let is_away = *away.borrow_and_update();
        let next = all.iter_mut().filter(|_| !is_away).min_by_key(|due| due.at);
        let at = next.as_ref().map(|due| due.at);
        let work = async {
            match (next, at) {
                (Some(due), Some(at)) => {
                    sleep_until(at).await;
                    list(&inner, due).await;
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = slots.changed() => match changed {
                Ok(()) => all = dues(&slots.borrow_and_update(), all),
                Err(_) => return,
            },
            changed = away.changed() => match changed {
                // Whatever it was before may have changed while it was away.
                Ok(()) if is_away => all.iter_mut().for_each(|due| due.at = Instant::now()),
                Ok(()) => {}
                Err(_) => return,
            },
            () = work => {}
        }
    }
}

fn dues(slots: &[Arc<Slot>], known: Vec<Due>) -> Vec<Due> {
    let mut known = known;
    let due = |slot: &Arc<Slot>| {
        let at = known.iter().position(|due| Arc::ptr_eq(&due.slot, slot));
        let new = || Due { slot: Arc::clone(slot), at: Instant::now(), failures: 0 };
        at.map_or_else(new, |at| known.swap_remove(at))
    };
    slots.iter().map(due).collect()
}

/// Lists a resource, and says when it is due again.
async fn list(inner: &Inner, due: &mut Due) {
    let begun = Instant::now();
    let taken = take(inner, &due.slot).await;
    let cost = begun.elapsed();
    let every = inner.pace.every.max(cost * (SHARE - 1)).mul_f64(1.0 + 0.1 * backoff::fraction());
    let resource = &due.slot.resource;
    let (backend, group, plural) = (&*inner.backend, &*resource.group, &*resource.plural);
    let before = due.slot.kept.load_full();
    let pause = match taken {
        Ok(kept) => {
            due.failures = 0;
            due.slot.keep(kept);
            every
        }
        Err(Unlisted::TooLarge) => {
            if !matches!(*before, Kept::Nothing(Lack::TooLarge)) {
                tracing::warn!(
                    backend,
                    group,
                    resource = plural,
                    limit_bytes = inner.limit,
                    "there is more of it than is kept: while the backend is away, reads of it are answered with 503"
                );
                due.slot.keep(Kept::Nothing(Lack::TooLarge));
            }
            due.failures = 0;
            every
        }
        Err(error) => {
            due.failures += 1;
            match &error {
                Unlisted::Call(call) if is_unreachable(call) => {
                    tracing::debug!(backend, group, resource = plural, %error, "it could not be listed");
                }
                _ if due.failures == 1 => tracing::warn!(
                    backend, group, resource = plural, %error,
                    "it could not be listed: while the backend is away, reads are answered from an earlier list, if there \
                     is one"
                ),
                _ => {}
            }
            if matches!(*before, Kept::Nothing(_)) {
                due.slot.keep(Kept::Nothing(Lack::Failed));
            }
            backoff::after(due.failures, AGAIN, inner.pace.every).max(cost * (SHARE - 1))
        }
    };
    due.at = Instant::now() + pause;
}

async fn take(inner: &Inner, slot: &Slot) -> Result<Kept, Unlisted> {
    let begun = SystemTime::now();
    let mut taking = Taking::new(inner.limit);
    let version = timeout(PATIENCE, slot.lists.list(&slot.resource, &mut taking));
    let version = version.await.map_err(|_| Unlisted::Late)??;
    Ok(Kept::Snapshot(taking.end(version, begun)))
}
