//! Starting and stopping: what must be ready before `/readyz` says so, and the stop in its phases.
//!
//! A stop has three phases, each a token that only ever goes one way:
//!
//! 1. *stopping*: `/readyz` fails, so that load balancers look elsewhere; requests are still served.
//! 2. *draining*: no new connections, long streams end, requests in flight finish.
//! 3. *aborted*: the deadline passed or a second signal came; what is left is cut.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When a request must be answered. The server puts it into the extensions of every request that is not
/// long-running; calls to backends take their own deadline from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Instant);

/// What the process as a whole is up to. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    latches: Mutex<Vec<(Box<str>, bool)>>,
    stopping: CancellationToken,
    draining: CancellationToken,
    aborted: CancellationToken,
}

/// One condition of readiness. Dropped unset it stays unset: who gave up is not ready.
#[derive(Debug)]
pub struct Latch {
    lifecycle: Lifecycle,
    index: usize,
}

/// What a long stream needs to know: whether it has to end.
#[derive(Debug, Clone)]
pub struct Drain(CancellationToken);

impl Lifecycle {
    /// Nothing to wait for, and not stopping.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition of readiness, not yet fulfilled. `/readyz?verbose` shows it by this name.
    pub fn latch(&self, name: &str) -> Latch {
        let mut latches = self.latches();
        latches.push((name.into(), false));
        Latch { lifecycle: self.clone(), index: latches.len() - 1 }
    }

    /// The conditions of readiness in the order they were made, `shutdown` last.
    pub fn readiness(&self) -> Vec<(Box<str>, bool)> {
        let mut all = self.latches().clone();
        all.push(("shutdown".into(), !self.is_stopping()));
        all
    }

    /// Whether every condition is fulfilled and no stop has begun.
    pub fn is_ready(&self) -> bool {
        !self.is_stopping() && self.latches().iter().all(|(_, set)| *set)
    }

    /// The first phase of a stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.is_cancelled()
    }

    /// First phase: `/readyz` fails from now on.
    pub fn stop(&self) {
        self.inner.stopping.cancel();
    }

    /// Second phase: no new connections, long streams end.
    pub fn start_drain(&self) {
        self.stop();
        self.inner.draining.cancel();
    }

    /// Third phase: what is left is cut.
    pub fn abort(&self) {
        self.start_drain();
        self.inner.aborted.cancel();
    }

    /// For whoever has to end something when the drain begins.
    pub fn drain(&self) -> Drain {
        Drain(self.inner.draining.clone())
    }

    /// Completes when everything left is to be cut.
    pub async fn aborted(&self) {
        self.inner.aborted.cancelled().await;
    }

    fn latches(&self) -> std::sync::MutexGuard<'_, Vec<(Box<str>, bool)>> {
        // A Vec of flags has no half-changed state that a panic could leave behind.
        self.inner.latches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    /// The condition is fulfilled, for good.
    pub fn set(&self) {
        if let Some(entry) = self.lifecycle.latches().get_mut(self.index) {
            entry.1 = true;
        }
    }
}

impl Drain {
    /// A drain that never begins, for callers without a server around them.
    pub fn never() -> Self {
        Self(CancellationToken::new())
    }

    /// One that begins when this one does, or earlier: see [`Self::begin`].
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Begins the drain of this one and its children.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether the stream has to end now.
    pub fn is_draining(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes when the stream has to end.
    pub async fn draining(&self) {
        self.0.cancelled().await;
    }

    /// The same as a future of its own, to be kept in a stream.
    pub fn draining_owned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().cancelled_owned()
    }
}

/// On every Unix that has it (Linux, the BSDs, macOS).
#[cfg(unix)]
const SIGXFSZ: i32 = 25;

/// Where requests to stop come from.
#[derive(Debug)]
pub enum Signals {
    /// SIGINT and SIGTERM of this process.
    Os(OsSignals),
    /// One message, one signal. A closed channel never signals.
    Channel(tokio::sync::mpsc::Receiver<()>),
}

/// The signals of the operating system that ask a process to end.
#[derive(Debug)]
pub struct OsSignals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    _file_size: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches SIGINT and SIGTERM from now on. Call it before the first file is written: it also sees to it that a
    /// file that hits its size limit (RLIMIT_FSIZE) is an error and not the end of the process.
    #[cfg(unix)]
    pub fn os() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self::Os(OsSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
        }))
    }

    /// Catches Ctrl-C.
    #[cfg(not(unix))]
    pub fn os() -> std::io::Result<Self> {
        Ok(Self::Os(OsSignals {}))
    }

    /// The next signal.
    pub async fn recv(&mut self) {
        match self {
            #[cfg(unix)]
            Self::Os(os) => {
                tokio::select! {
                    _ = os.interrupt.recv() => {}
                    _ = os.terminate.recv() => {}
                }
            }
            #[cfg(not(unix))]
            Self::Os(_) => {
                if tokio::signal::ctrl_c().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Self::Channel(receiver) => {
                if receiver.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_latch_is_set() {
        let lifecycle = Lifecycle::new();
        let store = lifecycle.latch("store");
        let listener = lifecycle.latch("listener");
        assert!(!lifecycle.is_ready());
        store.set();
        assert!(!lifecycle.is_ready());
        assert_eq!(
            lifecycle.readiness(),
            [("store".into(), true), ("listener".into(), false), ("shutdown".into(), true)]
        );
        drop(store);
        listener.set();
        assert!(lifecycle.is_ready());
    }

    #[test]
    fn a_latch_that_is_dropped_unset_stays_unset() {
        let lifecycle = Lifecycle::new();
        drop(lifecycle.latch("store"));
        assert!(!lifecycle.is_ready());
    }

    #[test]
    fn the_phases_of_a_stop_include_each_other() {
        let lifecycle = Lifecycle::new();
        let drain = lifecycle.drain();
        lifecycle.stop();
        assert!(!lifecycle.is_ready());
        assert!(!drain.is_draining());
        lifecycle.start_drain();
        assert!(drain.is_draining());
        assert!(!lifecycle.inner.aborted.is_cancelled());
        lifecycle.abort();
        assert!(lifecycle.inner.aborted.is_cancelled());
    }

    #[test]
    fn a_child_drains_by_itself_and_with_its_parent() {
        let lifecycle = Lifecycle::new();
        let (one, other) = (lifecycle.drain().child(), lifecycle.drain().child());
        one.begin();
        assert!(one.is_draining() && !other.is_draining() && !lifecycle.drain().is_draining());
        lifecycle.start_drain();
        assert!(other.is_draining());
    }

    #[tokio::test]
    async fn a_closed_channel_never_signals() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let mut signals = Signals::Channel(receiver);
        sender.send(()).await.ok();
        signals.recv().await;
        drop(sender);
        let waited = std::pin::pin!(signals.recv());
        assert!(futures::poll!(waited).is_pending());
    }
}
