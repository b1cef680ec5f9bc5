//! The resources of a backend that are listed now and then, and what is kept of each.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use kubridge_bridge::{
    caller::{CallError, Caller},
    model::{Api, Resource},
    transcode::WireError,
    verbs::read_all,
};
use tokio::sync::watch;

use super::{
    Asked, Away,
    keeper::{self, Pace},
    reading::Reading,
    snapshot::{Snapshot, Taking, TooLarge},
};
use crate::metrics::{BrownOuts, Metrics};

/// The most that is kept of one resource, in bytes.
const LIMIT: usize = 64 << 20;

/// What was last listed of the resources of one backend. In memory alone. Clones are one.
#[derive(Clone)]
pub struct Snapshots {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    /// The backend's name.
    pub(super) backend: Box<str>,
    /// Whether it answers nothing.
    pub(super) away: Away,
    pub(super) slots: watch::Sender<Vec<Arc<Slot>>>,
    pub(super) limit: usize,
    pub(super) pace: Pace,
    metrics: Arc<Metrics>,
}

/// One resource.
pub(super) struct Slot {
    pub(super) resource: Arc<Resource>,
    pub(super) lists: Box<dyn Lists>,
    /// The last snapshot, or why there is none.
    pub(super) kept: ArcSwap<Kept>,
    pub(super) counts: Arc<BrownOuts>,
    /// The log was told that clients are answered from it, since it was taken.
    used: AtomicBool,
}

/// What is there of one resource.
#[derive(Debug)]
pub(super) enum Kept {
    Snapshot(Snapshot),
    Nothing(Lack),
}

/// Why there is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    NotListed,
    Failed,
    TooLarge,
}

/// Lists a collection as the aggregator itself.
pub(super) trait Lists: Send + Sync {
    /// Gives the version of the list.
    fn list<'a>(
        &'a self,
        resource: &'a Arc<Resource>,
        taking: &'a mut Taking,
    ) -> BoxFuture<'a, Result<String, Unlisted>>;
}

/// Why a collection was not listed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unlisted {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the backend's message: {0}")]
    Wire(#[from] WireError),
    #[error("it is too large to be kept")]
    TooLarge,
    #[error("it was not listed within {:?}", keeper::PATIENCE)]
    Late,
}

struct By<F>(F);

impl<C: Caller, F: Fn(&Arc<Resource>) -> C + Send + Sync> Lists for By<F> {
    fn list<'a>(
        &'a self,
        resource: &'a Arc<Resource>,
        taking: &'a mut Taking,
    ) -> BoxFuture<'a, Result<String, Unlisted>> {
        Box::pin(async move {
            let Some(method) = &resource.methods.list else { return Ok(String::new()) };
            let take = |objects: &[_]| taking.add(objects)?.map_err(|TooLarge| Unlisted::TooLarge);
            read_all(&self.0(resource), method, take).await
        })
    }
}

impl Snapshots {
    /// Of the backend of this name; nothing is listed yet. `away`: whether it answers nothing. The future lists: without it
    /// there is nothing to answer from.
    pub fn new(
        backend: &str,
        away: Away,
        metrics: &Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        Self::with(backend, away, metrics, LIMIT, Pace::default())
    }

    pub(super) fn with(
        backend: &str,
        away: Away,
        metrics: &Arc<Metrics>,
        limit: usize,
        pace: Pace,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (slots, metrics) = (watch::Sender::default(), Arc::clone(metrics));
        let inner = Arc::new(Inner { backend: backend.into(), away, slots, limit, pace, metrics });
        (Self { inner: Arc::clone(&inner) }, keeper::run(inner))
    }

    /// This is served now; `caller` lists its resources as the aggregator itself. What is kept of a group and version that is
    /// served by another schema is gone.
    pub fn serve<C: Caller>(
        &self,
        api: &Api,
        caller: impl Fn(&Arc<Resource>) -> C + Clone + Send + Sync + 'static,
    ) {
        let resources: Vec<&Arc<Resource>> = api.resources.iter().filter(|one| can_be_kept(one)).collect();
        self.inner.slots.send_if_modified(|slots| {
            let (present, mut others): (Vec<_>, Vec<_>) = std::mem::take(slots)
                .into_iter()
                .partition(|slot| slot.resource.group == api.group && slot.resource.version == api.version);
            let same = present.len() == resources.len()
                && present.iter().zip(&resources).all(|(slot, one)| Arc::ptr_eq(&slot.resource, one));
            if same {
                others.extend(present);
            } else {
                let new = |one: &&Arc<Resource>| {
                    let counts = self.inner.metrics.brown_outs(&one.group, &one.version, &one.plural);
                    Arc::new(Slot::new(one, Box::new(By(caller.clone())), counts))
                };
                others.extend(resources.iter().map(new));
            }
            *slots = others;
            !same
        });
    }

    /// Forgets what is no longer claimed.
    pub fn retain(&self, claimed: impl Fn(&str, &str) -> bool) {
        self.inner.slots.send_if_modified(|slots| {
            let before = slots.len();
            slots.retain(|slot| claimed(&slot.resource.group, &slot.resource.version));
            slots.len() < before
        });
    }

    pub(super) fn reading(&self, asked: Asked<'_>, resource: &Arc<Resource>) -> Reading {
        let slots = self.inner.slots.borrow();
        let slot = slots.iter().find(|slot| Arc::ptr_eq(&slot.resource, resource)).cloned();
        Reading::new(Arc::clone(&self.inner), Arc::clone(resource), slot, asked)
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("backend", &self.inner.backend).finish_non_exhaustive()
    }
}

impl Slot {
    fn new(resource: &Arc<Resource>, lists: Box<dyn Lists>, counts: Arc<BrownOuts>) -> Self {
        // Those of the schema before are the same.
        counts.set_kept(None);
        let kept = ArcSwap::from_pointee(Kept::Nothing(Lack::NotListed));
        Self { resource: Arc::clone(resource), lists, kept, counts, used: AtomicBool::new(false) }
    }

    /// Keeps a snapshot, or forgets the one before.
    pub(super) fn keep(&self, kept: Kept) {
        self.counts.set_kept(match &kept {
            Kept::Snapshot(snapshot) => Some((snapshot.taken, snapshot.len())),
            Kept::Nothing(_) => None,
        });
        self.kept.store(Arc::new(kept));
        self.used.store(false, Ordering::Relaxed);
    }

    /// Whether it is the first time that clients are answered from what is kept.
    pub(super) fn is_first_use(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }
}

/// What is listed as the aggregator itself must be what anybody is told.
fn can_be_kept(resource: &Resource) -> bool {
    resource.methods.list.is_some() && !resource.per_user
}
