//! A watch is made of List where the backend has no Watch; and versions, where it gives none.
//!
//! One ledger ([`kubridge_bridge::ledger`]) for each resource of a backend remembers what clients are told. While somebody
//! watches, one poller lists the whole collection for all of them, as itself (see [`POLLER`]), and the ledger says what is
//! news. Nothing is queued for a watcher: each reads the ledger from where it is, at its own pace, and who is too slow
//! for what the ledger keeps gets 410 and lists again.
//!
//! | module | what it does |
//! |---|---|
//! | `caller` | between the verbs and the backend: what is told is noted, versions become tokens and back |
//! | `list` | a List on its way to a client |
//! | `watch` | one client's watch |
//! | `poller` | one poll after the other, while somebody watches |
//! | `pace` | when the next one is |

mod caller;
mod list;
mod pace;
mod poller;
mod watch;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use futures::future::BoxFuture;
use kubridge_bridge::{
    caller::{BackendStatus, CallError, Caller, Code},
    ledger::{Ledger, Limits, Numbering},
    model::Resource,
};
use tokio::{
    sync::{Notify, mpsc, watch as channel},
    task::JoinSet,
};

use crate::metrics::{self, Metrics};

pub use caller::Watched;

/// Who polls: the name of the user that backends see.
pub const POLLER: &str = "system:kubridge";

/// How many pollers may be about to start.
const STARTING: usize = 1024;

/// Calls for a poll.
pub trait Polls: Clone + Send + Sync + 'static {
    /// What calls.
    type Caller: Caller;
    /// Calls the backend as the aggregator itself, without a deadline.
    fn caller(&self) -> Self::Caller;
}

/// What is remembered of the resources of one backend. Clones are one.
#[derive(Clone)]
pub struct MadeWatch {
    inner: Arc<Inner>,
}

struct Inner {
    /// By group, version and plural.
    resources: Mutex<HashMap<[Box<str>; 3], Arc<Shared>>>,
    start: mpsc::Sender<BoxFuture<'static, ()>>,
    metrics: Arc<Metrics>,
    limits: Limits,
}

impl MadeWatch {
    /// Remembers nothing yet. The future runs the pollers; without it nobody is told anything.
    pub fn new(metrics: Arc<Metrics>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::with_limits(metrics, Limits::default())
    }

    fn with_limits(
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (start, mut started) = mpsc::channel(STARTING);
        let inner = Inner { resources: Mutex::default(), start, metrics, limits };
        let run = async move {
            let mut pollers = JoinSet::new();
            while let Some(poller) = started.recv().await {
                pollers.spawn(poller);
                while pollers.try_join_next().is_some() {}
            }
        };
        (Self { inner: Arc::new(inner) }, run)
    }

    /// The caller of one request for a resource that is to be remembered, over `inner`. `polls`: how the collection is
    /// listed from now on.
    pub fn caller<C: Caller, P: Polls>(&self, resource: &Arc<Resource>, inner: C, polls: P) -> Watched<C, P> {
        Watched::new(self.shared(resource), inner, polls)
    }

    fn shared(&self, resource: &Arc<Resource>) -> Arc<Shared> {
        let key = [&resource.group, &resource.version, &resource.plural].map(|part| part.as_str().into());
        let mut resources = self.inner.resources.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = resources.entry(key).or_insert_with(|| Arc::new(Shared::new(&self.inner, resource)));
        shared.renew(resource);
        Arc::clone(shared)
    }
}

impl fmt::Debug for MadeWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MadeWatch")
    }
}

/// What all requests for one resource share.
struct Shared {
    owner: Weak<Inner>,
    /// As the schema says it now.
    resource: ArcSwap<Resource>,
    ledger: Mutex<Ledger>,
    /// How the collection is listed; none before the first watch.
    source: ArcSwapOption<Box<dyn Source>>,
    /// Polls that were asked for. One that begins later answers all of them.
    asked: AtomicU64,
    /// Somebody asked, wrote, or left.
    wake: Notify,
    progress: channel::Sender<Progress>,
    watchers: AtomicUsize,
    /// Whether the poller runs; locked while that changes.
    running: Mutex<bool>,
    counts: Arc<metrics::Polls>,
}

/// What polls have come to.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Whoever asked up to here has the answer.
    answered: u64,
    /// Why the last poll failed.
    error: Option<CallError>,
    /// It has failed for so long, or in such a way, that watches end with it.
    gives_up: bool,
}

/// Lists a collection and tells the ledger.
trait Source: Send + Sync {
    fn poll<'a>(&'a self, shared: &'a Shared) -> BoxFuture<'a, Result<poller::Found, poller::Failed>>;
}

/// Counts as somebody who watches.
struct Watcher(Arc<Shared>);

impl Shared {
    fn new(owner: &Arc<Inner>, resource: &Arc<Resource>) -> Self {
        let numbering =
            if resource.versioned { Numbering::Backend } else { Numbering::Ledger { opaque: true } };
        let ledger = Ledger::new(resource.message.clone(), numbering, owner.limits, start(SystemTime::now()));
        Self {
            owner: Arc::downgrade(owner),
            resource: ArcSwap::new(Arc::clone(resource)),
            ledger: Mutex::new(ledger),
            source: ArcSwapOption::empty(),
            asked: AtomicU64::new(0),
            wake: Notify::new(),
            progress: channel::Sender::new(Progress::default()),
            watchers: AtomicUsize::new(0),
            running: Mutex::new(false),
            counts: owner.metrics.polls(&resource.group, &resource.version, &resource.plural),
        }
    }

    /// The schema may have been read again.
    fn renew(&self, resource: &Arc<Resource>) {
        if !Arc::ptr_eq(&self.resource.load(), resource) {
            self.ledger().set_message(resource.message.clone());
            self.resource.store(Arc::clone(resource));
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A half-told change is found by the next poll.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the log is to be told of the ledger.
    fn take_notes(&self) {
        if let Some(note) = self.ledger().take_note() {
            let resource = self.resource.load();
            tracing::warn!(group = resource.group, resource = resource.plural, "{note}");
        }
    }

    /// Somebody watches; the poller runs as long as that is so.
    fn join(self: &Arc<Self>, source: Box<dyn Source>) -> Result<Watcher, CallError> {
        self.source.store(Some(Arc::new(source)));
        self.watchers.fetch_add(1, Ordering::AcqRel);
        let watcher = Watcher(Arc::clone(self));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !*running {
            let poller = Box::pin(poller::run(Arc::clone(self)));
            let started = self.owner.upgrade().is_some_and(|owner| owner.start.try_send(poller).is_ok());
            if !started {
                return Err(status(Code::Unavailable, "the poller cannot be started"));
            }
            *running = true;
        }
        Ok(watcher)
    }

    /// Whether the poller may stop: nobody watches. From then on it is started anew.
    fn may_stop(&self) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running = self.watchers.load(Ordering::Acquire) > 0;
        !*running
    }

    /// Asks for a poll that begins after this, and says which answer is it.
    fn ask(&self) -> u64 {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake.notify_one();
        ticket
    }

    /// Waits for a poll that begins after this.
    async fn polled(&self) -> Result<(), CallError> {
        let mut progress = self.progress.subscribe();
        let ticket = self.ask();
        let answered = progress.wait_for(|progress| progress.answered >= ticket).await;
        match answered.map(|progress| progress.error.clone()) {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(status(Code::Unavailable, "the poller has stopped")),
        }
    }

    /// Something was written, perhaps: a poll would be well timed.
    fn changed(&self) {
        if self.watchers.load(Ordering::Acquire) > 0 {
            self.wake.notify_one();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.0.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.wake.notify_one();
        }
    }
}

/// A moment in units of 2^-24 s since 1970: `(second << 24) + n`, so that a process that starts anew in the same second
/// begins elsewhere.
fn start(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (since.as_secs() << 24) + ((u64::from(since.subsec_nanos()) << 24) / 1_000_000_000)
}

fn status(code: Code, message: &str) -> CallError {
    CallError::Status(Box::new(BackendStatus { code, message: message.into(), details: Vec::new() }))
}

#[cfg(test)]
mod tests;
