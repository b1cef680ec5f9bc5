//! What was seen of one backend -> whether it is available. Pure: events and times in, a [`Verdict`] out.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::upstream::{FailureReason, Serving};

#[cfg(test)]
mod tests;

/// The thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// So many failures ...
    pub failures: usize,
    /// ... among so many last results, the last one too, make a backend unavailable.
    pub of: usize,
    /// Requests that fail within so long of one another, with none answered between, are one failure: all those of a
    /// connection that breaks fail with it.
    pub together: Duration,
    /// So long an available backend may be without a connection: a restart is no outage.
    pub reconnect: Duration,
    /// A backend without traffic is probed so long after the last result.
    pub idle: Duration,
    /// A backend that failed, and has a connection, is probed so long after the last result.
    pub recheck: Duration,
    /// A backend that was lost so many times ...
    pub flips: usize,
    /// ... within so long is flapping: it must settle before it is called available again.
    pub flap_window: Duration,
    /// So many successes without a failure ...
    pub settle_successes: u32,
    /// ... over so long, and it has settled.
    pub settle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 2,
            of: 3,
            together: Duration::from_millis(100),
            reconnect: Duration::from_secs(1),
            idle: Duration::from_secs(30),
            recheck: Duration::from_secs(1),
            flips: 3,
            flap_window: Duration::from_secs(60),
            settle_successes: 3,
            settle: Duration::from_secs(5),
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection stands. What it is good for, a result tells: one is asked for at once.
    Connected,
    /// None stands, and none can be made; it is tried all the time.
    ConnectFailed {
        /// Why.
        reason: FailureReason,
        /// For conditions: addresses and causes.
        message: Arc<str>,
    },
    /// None stands, and nobody knows whether one can be made.
    Unconnected,
    /// A client's request ended.
    Traffic(Outcome),
    /// Our own question ended.
    Probe(Outcome),
    /// What the backend says of itself.
    Health(Serving),
    /// It says nothing of itself (any more).
    NoHealth,
}

/// How a request or a probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered, be it with an error of its own.
    Ok,
    /// It did not, or not in time, or not as a backend in working order does. The text is for conditions.
    Failed(Arc<str>),
}

/// Whether a backend is available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is known yet.
    Unknown,
    /// It is.
    Available {
        /// Since when.
        since: Instant,
    },
    /// It is not.
    Unavailable {
        /// In what way.
        cause: Cause,
        /// What was seen.
        message: Arc<str>,
        /// Since when, whatever the cause was before.
        since: Instant,
    },
}

/// In what way a backend is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is no connection.
    Connect(FailureReason),
    /// Requests to it fail.
    Traffic,
    /// Our own questions to it fail.
    Probe,
    /// It says that it does not serve.
    NotServing,
    /// It answers, but was lost too often lately.
    Flapping,
}

/// The state of one backend.
///
/// Feed it with [`Self::feed`], and call [`Self::tick`] when [`Self::wake_at`] is reached: some verdicts change by
/// time alone. Times must not go back.
#[derive(Debug)]
pub struct Tracker {
    settings: Settings,
    started: Instant,
    link: Link,
    health: Option<Serving>,
    /// The last results, newest last; true: a failure.
    results: VecDeque<bool>,
    /// What the newest failure was.
    failure: Option<(Cause, Arc<str>)>,
    last_result: Option<Instant>,
    /// Successes since the last bad word, and when the first of them was.
    successes: u32,
    successes_since: Instant,
    last_success: Option<Instant>,
    /// The last times that it was lost, newest last.
    losses: VecDeque<Instant>,
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    /// Nothing is known.
    None,
    Up {
        since: Instant,
    },
    Down {
        since: Instant,
        reason: FailureReason,
        message: Arc<str>,
    },
}

impl Verdict {
    /// Whether it is known to be unavailable.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether requests to it are known to fail. Who says that it does not serve, or comes and goes, may well answer.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unavailable { cause, .. } => match cause {
                Cause::Connect(_) | Cause::Traffic | Cause::Probe => true,
                Cause::NotServing | Cause::Flapping => false,
            },
            Self::Unknown | Self::Available { .. } => false,
        }
    }
}

impl Tracker {
    /// A backend of which nothing is known at `now`.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            started: now,
            link: Link::None,
            health: None,
            results: VecDeque::with_capacity(settings.of + 1),
            failure: None,
            last_result: None,
            successes: 0,
            successes_since: now,
            last_success: None,
            losses: VecDeque::with_capacity(settings.flips + 1),
            verdict: Verdict::Unknown,
        }
    }

    /// The verdict as of the last event or tick.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Takes in what was seen at `now`.
    pub fn feed(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => {
                if !matches!(self.link, Link::Up { .. }) {
                    self.link = Link::Up { since: now };
                    // What failed for want of a connection tells nothing of this one.
                    self.results.clear();
                    self.last_result = None;
                }
            }
            Event::Unconnected => self.link = Link::None,
            Event::ConnectFailed { reason, message } => {
                let since = match self.link {
                    Link::Down { since, .. } => since,
                    Link::None | Link::Up { .. } => {
                        // However soon it is back: who does so again and again is flapping.
                        self.lose(now);
                        now
                    }
                };
                self.link = Link::Down { since, reason, message };
                self.successes = 0;
            }
            Event::Traffic(Outcome::Ok) | Event::Probe(Outcome::Ok) => self.succeeded(now),
            Event::Traffic(Outcome::Failed(message)) => self.failed(now, Cause::Traffic, message),
            Event::Probe(Outcome::Failed(message)) => self.failed(now, Cause::Probe, message),
            Event::Health(serving) => {
                self.health = Some(serving);
                match serving {
                    Serving::Serving => self.succeeded(now),
                    Serving::NotServing => self.successes = 0,
                }
            }
            Event::NoHealth => self.health = None,
        }
        self.judge(now);
    }

    /// Lets time pass. True: the backend is to be probed now.
    pub fn tick(&mut self, now: Instant) -> bool {
        self.judge(now);
        self.probe_at().is_some_and(|at| at <= now)
    }

    /// The thresholds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// When [`Self::tick`] is to be called if nothing is seen before; `None`: only an event changes anything.
    pub fn wake_at(&self) -> Option<Instant> {
        [self.probe_at(), self.verdict_at()].into_iter().flatten().min()
    }

    /// When the verdict changes by time alone.
    pub fn verdict_at(&self) -> Option<Instant> {
        [self.confirm_at(), self.settle_at(), self.absent_at()].into_iter().flatten().min()
    }

    /// When the backend is to be probed: only where neither traffic nor the backend itself tells how it is.
    pub fn probe_at(&self) -> Option<Instant> {
        let wanted_since = match &self.link {
            // It is dialled all the time; this is for a backend to which nobody wants a connection.
            Link::Down { since, .. } => {
                return Some(self.last_result.map_or(*since, |last| last.max(*since)) + self.settings.idle);
            }
            Link::Up { since } => *since,
            Link::None => self.started,
        };
        if self.health == Some(Serving::NotServing) {
            return None;
        }
        let Some(last) = self.last_result.filter(|last| *last >= wanted_since) else {
            return Some(wanted_since);
        };
        if self.verdict.is_unavailable() || self.last_failed() {
            return Some(last + self.settings.recheck);
        }
        self.health.is_none().then(|| last + self.settings.idle)
    }

    fn succeeded(&mut self, now: Instant) {
        if self.successes == 0 {
            self.successes_since = now;
        }
        self.successes = self.successes.saturating_add(1);
        self.last_success = Some(now);
        self.result(now, false);
    }

    fn failed(&mut self, now: Instant, cause: Cause, message: Arc<str>) {
        // Every request fails in its own words: the first ones stay, or the condition would change with each.
        if !self.last_failed()
            || self.failure.as_ref().is_none_or(|(was, _)| *was != cause || cause != Cause::Traffic)
        {
            self.failure = Some((cause, message));
        }
        self.successes = 0;
        let together =
            self.last_result.is_some_and(|last| now.saturating_duration_since(last) < self.settings.together);
        if cause == Cause::Probe || !self.last_failed() || !together {
            self.result(now, true);
        }
    }

    fn result(&mut self, now: Instant, failed: bool) {
        self.last_result = Some(now);
        self.results.push_back(failed);
        if self.results.len() > self.settings.of {
            self.results.pop_front();
        }
    }

    fn last_failed(&self) -> bool {
        self.results.back() == Some(&true)
    }

    fn judge(&mut self, now: Instant) {
        let fault = self.fault(now);
        let down = matches!(self.link, Link::Down { .. });
        if fault.is_some() && !down {
            self.lose(now);
        }
        self.verdict = match fault {
            // It comes and goes: what is the matter at the moment is not news each time.
            Some(_) if self.is_flapping(now) && self.was_there_since(now) => self.flapping(now),
            Some((cause, message)) => self.unavailable(now, cause, message),
            None => match &self.verdict {
                Verdict::Unavailable { .. } if self.is_flapping(now) => self.flapping(now),
                Verdict::Available { .. } if down && self.is_flapping(now) => self.flapping(now),
                // Success is not what the lack of a fault is: something must have answered.
                Verdict::Unavailable { .. } | Verdict::Unknown if self.successes > 0 => {
                    Verdict::Available { since: now }
                }
                same => same.clone(),
            },
        };
    }

    /// What speaks against it at `now`, beyond the thresholds.
    fn fault(&self, now: Instant) -> Option<(Cause, Arc<str>)> {
        if let Link::Down { reason, message, .. } = &self.link {
            return self
                .confirm_at()
                .is_none_or(|at| at <= now)
                .then(|| (Cause::Connect(*reason), message.clone()));
        }
        if self.health == Some(Serving::NotServing) {
            return Some((Cause::NotServing, "grpc.health.v1.Health says NOT_SERVING".into()));
        }
        let failures = self.results.iter().filter(|failed| **failed).count();
        (self.last_failed() && failures >= self.settings.failures).then(|| self.failure.clone()).flatten()
    }

    /// It was there, and is not.
    fn lose(&mut self, now: Instant) {
        if matches!(self.verdict, Verdict::Available { .. }) {
            self.losses.push_back(now);
            if self.losses.len() > self.settings.flips {
                self.losses.pop_front();
            }
        }
    }

    fn flapping(&self, now: Instant) -> Verdict {
        let Settings { flips, flap_window, settle_successes, settle, .. } = self.settings;
        let message = format!(
            "it was lost {flips} times within {flap_window:?}; it is called available again when it has answered \
             {settle_successes} times over {settle:?} without a failure"
        );
        self.unavailable(now, Cause::Flapping, message.into())
    }

    /// Whether it has answered lately, as who comes and goes does.
    fn was_there_since(&self, now: Instant) -> bool {
        self.last_success.is_some_and(|at| now.saturating_duration_since(at) < self.settings.settle)
    }

    fn unavailable(&self, now: Instant, cause: Cause, message: Arc<str>) -> Verdict {
        let since = match &self.verdict {
            Verdict::Unavailable { since, .. } => *since,
            Verdict::Unknown | Verdict::Available { .. } => now,
        };
        Verdict::Unavailable { cause, message, since }
    }

    /// When a lost connection is taken seriously, if it still is lost then; `None`: it is already, or there is none.
    fn confirm_at(&self) -> Option<Instant> {
        match (&self.link, &self.verdict) {
            (Link::Down { since, .. }, Verdict::Available { .. }) => Some(*since + self.settings.reconnect),
            _ => None,
        }
    }

    fn is_flapping(&self, now: Instant) -> bool {
        let Settings { flips, flap_window, settle_successes, settle, .. } = self.settings;
        let lost = |at: &Instant| now.saturating_duration_since(*at) < flap_window;
        let settled = self.successes >= settle_successes
            && now.saturating_duration_since(self.successes_since) >= settle;
        flips > 0 && self.losses.len() >= flips && self.losses.front().is_some_and(lost) && !settled
    }

    /// When a flapping backend that does not come back any more is simply away.
    fn absent_at(&self) -> Option<Instant> {
        let flapping = matches!(self.verdict, Verdict::Unavailable { cause: Cause::Flapping, .. });
        let at = self.last_success.filter(|_| flapping)? + self.settings.settle;
        self.fault(at).is_some().then_some(at)
    }

    /// When a flapping backend has settled, if nothing bad is seen before.
    fn settle_at(&self) -> Option<Instant> {
        let flapping = matches!(self.verdict, Verdict::Unavailable { cause: Cause::Flapping, .. });
        if !flapping || self.successes == 0 {
            return None;
        }
        let settled = (self.successes >= self.settings.settle_successes)
            .then(|| self.successes_since + self.settings.settle);
        let forgotten = self.losses.front().map(|at| *at + self.settings.flap_window);
        [settled, forgotten].into_iter().flatten().min()
    }
}
