//! What clients' requests tell about a backend: that it answered, or that it did not.
//!
//! Whoever sends a request reports how it ended. A success costs one addition; nobody wakes for it unless a failure
//! went before.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use kubridge_bridge::caller::{CallError, Code, TransportError, TransportKind};
use tokio::sync::Notify;

use super::forward::{ForwardError, is_unavailable};

/// The results of requests to one backend, counted until somebody takes them.
#[derive(Debug, Default)]
pub struct Traffic {
    answered: AtomicU64,
    /// The last result that was taken was a failure, or one waits to be taken: a success is news.
    troubled: AtomicBool,
    failures: Mutex<Failures>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Failures {
    count: usize,
    first: Option<Arc<str>>,
    /// [`Traffic::answered`] when the last one happened.
    at: u64,
    /// [`Traffic::answered`] when results were taken last.
    taken: u64,
}

/// What was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// How many failed.
    pub failures: usize,
    /// The error of the first of them.
    pub error: Option<Arc<str>>,
    /// How many were answered before the last failure.
    pub before: u64,
    /// Whether any was answered after the last failure.
    pub answered: bool,
}

impl Traffic {
    /// A request was answered, be it with an error.
    pub fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        // Pairs with the order in which `failed` and `take` write: at worst one success goes unnoticed until the next.
        if self.troubled.load(Ordering::Relaxed) {
            self.news.notify_one();
        }
    }

    /// A request was not answered, and that was not its own fault. The text is for conditions.
    pub fn failed(&self, error: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.count = failures.count.saturating_add(1);
        failures.first.get_or_insert_with(|| error.into());
        failures.at = self.answered.load(Ordering::Relaxed);
        drop(failures);
        self.troubled.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Takes in how a forwarded request went.
    pub(super) fn report_forwarded<T>(&self, outcome: &Result<http::Response<T>, ForwardError>) {
        match outcome {
            // May be the backend's own word or that of a proxy before it.
            Ok(response) if is_unavailable(response.status()) => {}
            Ok(_) => self.answered(),
            Err(ForwardError(error)) => self.report_transport(error),
        }
    }

    /// Takes in how a gRPC call went, where that tells anything of the backend.
    pub(super) fn report<T>(&self, outcome: &Result<T, CallError>) {
        match outcome {
            Ok(_) => self.answered(),
            // May be the backend's own word or that of a proxy before it.
            Err(CallError::Status(status)) if status.code == Code::Unavailable => {}
            Err(CallError::Status(_)) => self.answered(),
            Err(CallError::Transport(error)) => self.report_transport(error),
        }
    }

    fn report_transport(&self, error: &TransportError) {
        match error.kind {
            TransportKind::Unavailable | TransportKind::Broken | TransportKind::Protocol => {
                self.failed(&error.message);
            }
            // The client's choice, or ours. Whether the backend is alive, its connection finds out.
            TransportKind::Deadline | TransportKind::Cancelled | TransportKind::Overloaded => {}
        }
    }

    /// Completes when there is a failure to take, or a success after one. For one reader.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// What happened since the last time.
    pub fn take(&self) -> Results {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = self.answered.load(Ordering::Relaxed);
        let (count, error) = (std::mem::take(&mut failures.count), failures.first.take());
        let since = if count > 0 { failures.at } else { failures.taken };
        let before = since.saturating_sub(failures.taken);
        failures.taken = answered;
        let results = Results { failures: count, error, before, answered: answered > since };
        if results.answered {
            self.troubled.store(false, Ordering::Relaxed);
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn results(failures: usize, error: &str, answered: bool) -> Results {
        Results { failures, error: (!error.is_empty()).then(|| error.into()), before: 0, answered }
    }

    #[test]
    fn only_trouble_and_its_end_are_news() {
        let traffic = Traffic::default();
        traffic.answered();
        assert!(traffic.news().now_or_never().is_none(), "success is no news");
        assert_eq!(traffic.take(), results(0, "", true));
        assert_eq!(traffic.take(), results(0, "", false));
        traffic.failed("reset");
        traffic.failed("refused");
        assert!(traffic.news().now_or_never().is_some());
        assert_eq!(traffic.take(), results(2, "reset", false));
        traffic.answered();
        assert!(traffic.news().now_or_never().is_some(), "it answers again");
        assert_eq!(traffic.take(), results(0, "", true));
        traffic.answered();
        assert!(traffic.news().now_or_never().is_none());
    }

    #[test]
    fn what_came_last_counts() {
        let traffic = Traffic::default();
        traffic.answered();
        traffic.failed("reset");
        assert_eq!(traffic.take(), Results { before: 1, ..results(1, "reset", false) });
        traffic.failed("reset");
        traffic.answered();
        assert_eq!(traffic.take(), results(1, "reset", true));
    }
}
