//! How a client conducts itself on one connection, and for what it loses it.
//!
//! - It makes no request at all.
//! - It begins requests and takes them back at once ("rapid reset", CVE-2023-44487): over HTTP/2 each costs a call to a
//!   backend, and the client next to nothing. (The HTTP/2 implementation itself ends connections whose streams are reset
//!   before it has even looked at them.)

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// So many are nothing to talk about: a client that stops may cancel all that it has begun.
const ALLOWED: u32 = 200;
/// When so many have begun, half of what was counted is forgotten.
const REMEMBERED: u32 = 1024;
/// Who waits longer than this for an answer before going away has a reason.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What is counted of one connection.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    counts: Mutex<Counts>,
    first: Notify,
    too_many: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    begun: u32,
    withdrawn: u32,
}

/// A request that has begun. Dropped without [`Begun::answered`] it was withdrawn.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    of: &'a Conduct,
    at: Instant,
    answered: bool,
}

impl Conduct {
    /// A request begins.
    pub(super) fn begin(&self) -> Begun<'_> {
        let mut counts = self.counts();
        counts.begun += 1;
        self.first.notify_one();
        if counts.begun >= REMEMBERED {
            counts.begun /= 2;
            counts.withdrawn /= 2;
        }
        Begun { of: self, at: Instant::now(), answered: false }
    }

    /// Completes when there is no request for so long from now on.
    pub(super) async fn no_request(&self, patience: Duration) {
        if timeout(patience, self.first.notified()).await.is_ok() {
            std::future::pending().await
        }
    }

    /// Completes when more than [`ALLOWED`] were withdrawn, and they are most of what was begun.
    pub(super) async fn too_many(&self) {
        self.too_many.notified().await;
    }

    fn withdraw(&self) {
        let mut counts = self.counts();
        counts.withdrawn += 1;
        if counts.withdrawn > ALLOWED && counts.withdrawn > counts.begun / 2 {
            self.too_many.notify_one();
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Two numbers have no half-changed state that a panic could leave behind.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Begun<'_> {
    /// It has its answer, whatever becomes of the answer's body.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.answered && self.at.elapsed() < AT_ONCE {
            self.of.withdraw();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn is_too_much(conduct: &Conduct) -> bool {
        conduct.too_many().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_are_withdrawn_at_once_are_too_many() {
        let conduct = Conduct::default();
        for _ in 0..ALLOWED {
            drop(conduct.begin());
        }
        assert!(!is_too_much(&conduct));
        drop(conduct.begin());
        assert!(is_too_much(&conduct));
    }

    #[tokio::test(start_paused = true)]
    async fn not_among_as_many_that_are_answered() {
        let conduct = Conduct::default();
        for _ in 0..10 * REMEMBERED {
            conduct.begin().answered();
            drop(conduct.begin());
            assert!(!is_too_much(&conduct));
        }
        // A good past does not last.
        let mut more = 0;
        while !is_too_much(&conduct) {
            drop(conduct.begin());
            more += 1;
        }
        assert!(more <= REMEMBERED, "{more}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_makes_no_request_has_no_business_here() {
        let begun = Instant::now();
        Conduct::default().no_request(AT_ONCE).await;
        assert_eq!(begun.elapsed(), AT_ONCE);
        let conduct = Conduct::default();
        conduct.begin().answered();
        assert!(timeout(AT_ONCE * 1000, conduct.no_request(AT_ONCE)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn not_by_those_who_have_waited() {
        let conduct = Conduct::default();
        let begun: Vec<_> = (0..3 * ALLOWED).map(|_| conduct.begin()).collect();
        tokio::time::advance(AT_ONCE).await;
        drop(begun);
        assert!(!is_too_much(&conduct));
    }
}
