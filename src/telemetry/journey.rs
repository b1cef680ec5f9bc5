//! What is observed of one request on its way through the program.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Trace;

/// Where the time of a request goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Who asks.
    pub authn: Duration,
    /// Whether they may.
    pub authz: Duration,
    /// From there until the first call to a backend is sent: the route, the request's body, its translation.
    pub resolve: Duration,
    /// Waiting for the backend: until it begins to answer, or until its whole answer is there where it is one message.
    pub upstream: Duration,
    /// The rest, until our answer begins.
    pub translate: Duration,
    /// From there to the last byte.
    pub body: Duration,
}

/// One request on its way. Steps, proxy and upstream write what they see; whoever ends it reads it.
#[derive(Debug)]
pub struct Journey {
    begun: Instant,
    authn: Mark,
    authz: Mark,
    called: Mark,
    answered: Mark,
    upstream: AtomicU64,
    calls: AtomicU32,
    retries: AtomicU32,
    backend: OnceLock<Box<str>>,
    returned: Mark,
    trace: OnceLock<Trace>,
}

/// A moment after the beginning, in nanoseconds; 0: not yet.
#[derive(Debug, Default)]
struct Mark(AtomicU64);

impl Mark {
    fn set(&self, since: Instant) {
        self.0.store(nanos(since.elapsed()).max(1), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        let nanos = self.0.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

impl Journey {
    /// It begins now.
    #[expect(clippy::new_without_default, reason = "it is about a moment")]
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            authn: Mark::default(),
            authz: Mark::default(),
            called: Mark::default(),
            answered: Mark::default(),
            upstream: AtomicU64::new(0),
            calls: AtomicU32::new(0),
            retries: AtomicU32::new(0),
            backend: OnceLock::new(),
            returned: Mark::default(),
            trace: OnceLock::new(),
        }
    }

    /// When it began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// It is known who asks.
    pub fn authenticated(&self) {
        self.authn.set(self.begun);
    }

    /// They may.
    pub fn authorized(&self) {
        self.authz.set(self.begun);
    }

    /// Whether whoever asks may.
    pub fn was_allowed(&self) -> bool {
        self.authz.get().is_some()
    }

    /// Our answer begins.
    pub fn answered(&self) {
        self.answered.set(self.begun);
    }

    /// Waits for a backend, and counts the wait.
    pub async fn upstream<T>(&self, call: impl Future<Output = T>) -> T {
        let sent = nanos(self.begun.elapsed()).max(1);
        if self.calls.fetch_add(1, Ordering::Relaxed) == 0 {
            self.called.0.store(sent, Ordering::Relaxed);
        }
        // Also when it is given up before it is answered.
        let _waited = Waiting { journey: self, since: sent };
        call.await
    }

    /// Which backend it was sent on to. The first counts: a request has one.
    pub fn set_backend(&self, backend: impl fmt::Display) {
        self.backend.get_or_init(|| backend.to_string().into());
    }

    /// A call was sent again.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls were sent again.
    pub fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Which backend it was sent on to.
    pub fn backend(&self) -> Option<&str> {
        self.backend.get().map(|backend| &**backend)
    }

    /// Whether a call to a backend was sent.
    pub fn was_sent_on(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }

    /// How many calls to the backend it took.
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// After how long the first call was sent, and the last one was answered or given up.
    pub fn sent_on(&self) -> Option<(Duration, Duration)> {
        let sent = self.called.get()?;
        Some((sent, self.returned.get().unwrap_or(sent)))
    }

    /// It is part of a trace. The first counts.
    pub fn set_trace(&self, trace: Trace) {
        self.trace.get_or_init(|| trace);
    }

    /// The trace that it is part of.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.get()
    }

    /// Where the time went until now. What is not reached yet is zero.
    pub fn phases(&self) -> Phases {
        let now = self.begun.elapsed();
        let authn = self.authn.get();
        let authz = self.authz.get();
        let allowed = authz.or(authn).unwrap_or_default();
        let answered = self.answered.get().unwrap_or(now);
        let called = self.called.get().unwrap_or(answered);
        let upstream = Duration::from_nanos(self.upstream.load(Ordering::Relaxed));
        Phases {
            authn: authn.unwrap_or_default(),
            authz: authz.map_or(Duration::ZERO, |authz| authz.saturating_sub(authn.unwrap_or_default())),
            resolve: called.saturating_sub(allowed),
            upstream,
            translate: answered.saturating_sub(called).saturating_sub(upstream),
            body: now.saturating_sub(answered),
        }
    }
}

struct Waiting<'a> {
    journey: &'a Journey,
    since: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = nanos(self.journey.begun.elapsed()).saturating_sub(self.since);
        self.journey.upstream.fetch_add(waited, Ordering::Relaxed);
        self.journey.returned.set(self.journey.begun);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_phases_add_up() {
        let journey = Journey::new();
        journey.authenticated();
        journey.authorized();
        assert!(!journey.was_sent_on());
        journey.upstream(tokio::time::sleep(Duration::from_millis(20))).await;
        // Given up: counted all the same.
        let waited =
            tokio::time::timeout(Duration::from_millis(10), journey.upstream(std::future::pending::<()>()));
        waited.await.unwrap_err();
        journey.answered();
        let phases = journey.phases();
        let total = journey.elapsed();
        assert!(phases.upstream >= Duration::from_millis(30), "{phases:?}");
        let Phases { authn, authz, resolve, upstream, translate, body } = phases;
        let sum = authn + authz + resolve + upstream + translate + body;
        assert!(sum <= total && total - sum < Duration::from_millis(10), "{phases:?} of {total:?}");
    }

    #[test]
    fn what_was_refused_has_no_later_phases() {
        let journey = Journey::new();
        journey.authenticated();
        let phases = journey.phases();
        assert_eq!([phases.authz, phases.upstream, phases.translate], [Duration::ZERO; 3]);
    }
}
