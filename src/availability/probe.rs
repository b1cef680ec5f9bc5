//! The thin loop around a [`Tracker`]: hears the connection, the traffic and the backend itself, probes when nothing
//! else tells, and publishes the verdict.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
};

use futures::{StreamExt as _, future::OptionFuture, stream::BoxStream};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::tracker::{Event, Outcome, Settings, Tracker, Verdict};
use crate::upstream::{ConnectionState, Traffic};

#[cfg(test)]
mod tests;

/// Whether one backend is available, as it changes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Availability {
    verdict: watch::Receiver<Verdict>,
}

/// What the loop hears of a backend.
pub(super) struct Senses {
    /// Its connections.
    pub(super) state: watch::Receiver<ConnectionState>,
    /// What requests to it tell.
    pub(super) traffic: Arc<Traffic>,
    /// [`Event::Health`] and [`Event::NoHealth`]; may end, or never say anything.
    pub(super) health: BoxStream<'static, Event>,
    /// Asks it once.
    pub(super) probe: Probe,
}

/// One question to a backend, and how it ended.
pub(super) type Probe = Box<dyn Fn() -> Answer + Send + Sync>;
type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Availability {
    /// What is known, and the loop that keeps it so: to be spawned, and to be dropped when the backend is not wanted.
    pub(super) fn new(senses: Senses, settings: Settings) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (publish, verdict) = watch::channel(Verdict::Unknown);
        (Self { verdict }, run(senses, settings, publish))
    }

    /// The verdict, as it changes. It stays as it is when the loop was dropped.
    pub fn verdict(&self) -> watch::Receiver<Verdict> {
        self.verdict.clone()
    }
}

async fn run(senses: Senses, settings: Settings, publish: watch::Sender<Verdict>) {
    let Senses { mut state, traffic, mut health, probe } = senses;
    let mut tracker = Tracker::new(settings, Instant::now());
    let mut probing: OptionFuture<Answer> = None.into();
    let mut asking = false;
    let mut connected = true;
    state.mark_changed();
    loop {
        let wake_at = if asking { tracker.verdict_at() } else { tracker.wake_at() };
        tokio::select! {
            // The connection first: it explains what failed on it.
            biased;
            changed = state.changed(), if connected => match changed {
                Ok(()) => {
                    let event = link(&state.borrow_and_update());
                    if let Some(event) = event {
                        // What failed before belongs to what was before.
                        feed_traffic(&mut tracker, &traffic);
                        tracker.feed(Instant::now(), event);
                    }
                }
                Err(_) => connected = false,
            },
            () = traffic.news() => feed_traffic(&mut tracker, &traffic),
            Some(event) = health.next() => tracker.feed(Instant::now(), event),
            Some(outcome) = &mut probing, if asking => {
                asking = false;
                probing = None.into();
                tracker.feed(Instant::now(), Event::Probe(outcome));
            }
            () = sleep_until_some(wake_at) => {
                // Successes wake nobody: they are looked for before a probe is sent.
                feed_traffic(&mut tracker, &traffic);
                if tracker.tick(Instant::now()) && !asking {
                    asking = true;
                    probing = Some(probe()).into();
                }
            }
        }
        publish.send_if_modified(|present| {
            let changed = present != tracker.verdict();
            if changed {
                present.clone_from(tracker.verdict());
            }
            changed
        });
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn link(state: &ConnectionState) -> Option<Event> {
    match state {
        ConnectionState::Idle => Some(Event::Unconnected),
        // What it becomes is told soon.
        ConnectionState::Connecting => None,
        ConnectionState::Ready => Some(Event::Connected),
        ConnectionState::Failed { reason, message, .. } => {
            Some(Event::ConnectFailed { reason: *reason, message: Arc::clone(message) })
        }
    }
}

fn feed_traffic(tracker: &mut Tracker, traffic: &Traffic) {
    let results = traffic.take();
    let now = Instant::now();
    // More than the tracker remembers change nothing.
    let remembered = tracker.settings().of;
    if let Some(error) = results.error {
        for _ in 0..usize::try_from(results.before).map_or(remembered, |before| before.min(remembered)) {
            tracker.feed(now, Event::Traffic(Outcome::Ok));
        }
        for _ in 0..results.failures.min(remembered) {
            tracker.feed(now, Event::Traffic(Outcome::Failed(Arc::clone(&error))));
        }
    }
    if results.answered {
        tracker.feed(now, Event::Traffic(Outcome::Ok));
    }
}
