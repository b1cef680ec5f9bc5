//! A container is killed or paused, and clients look on.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::{JoinSet, block_in_place},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    api::{Answer, Api},
    engine::Container,
};

/// How often a client asks.
const PACE: Duration = Duration::from_millis(50);

/// A backend, and what it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub service: &'static str,
    pub discovery: &'static str,
    pub read: &'static str,
    /// What such a read is called in a table.
    pub read_as: &'static str,
    /// Killed and started, it has nothing to say until it has measured for a while.
    pub slow_start: bool,
}

pub const TARGETS: [Target; 3] = [
    Target {
        service: "inventory",
        discovery: "/apis/inventory.example.com/v1",
        read: "/apis/inventory.example.com/v1/namespaces/default/machines/atlas",
        read_as: "get a machine",
        slow_start: false,
    },
    Target {
        service: "library",
        discovery: "/apis/library.example.com/v1",
        read: "/apis/library.example.com/v1/namespaces/insel/books/faust",
        read_as: "get a book",
        slow_start: false,
    },
    Target {
        service: "metrics",
        discovery: "/apis/metrics.k8s.io/v1beta1",
        read: "/apis/metrics.k8s.io/v1beta1/nodes",
        read_as: "list of metrics of nodes",
        slow_start: true,
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    Killed,
    Paused,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "killed",
            Self::Paused => "paused",
        })
    }
}

impl Outage {
    pub fn begin(self, container: &Container) {
        block_in_place(|| match self {
            Self::Killed => container.kill(),
            Self::Paused => container.pause(),
        });
    }

    /// The moment from which the container can answer again.
    pub fn end(self, container: &Container) -> Instant {
        block_in_place(|| match self {
            Self::Killed => container.start(),
            Self::Paused => {
                container.unpause();
                Instant::now()
            }
        })
    }
}

/// What clients saw.
#[derive(Debug)]
pub struct Seen {
    pub discovery: Vec<Answer>,
    /// Reads that began while the container was away.
    pub reads: Vec<Answer>,
    /// Reads of the other backends, all the time.
    pub others: Vec<Answer>,
    /// From the moment that it could answer until a client had an answer.
    pub recovery: Duration,
}

impl Seen {
    pub fn slowest(answers: &[Answer]) -> Duration {
        answers.iter().map(|answer| answer.took).max().unwrap_or_default()
    }
}

/// Takes the first target's container away for `length`, and waits at most `patience` for its return. The others stay.
pub async fn watch_outage(
    api: &Api,
    (target, others): (&Target, &[&Target]),
    container: &Container,
    outage: Outage,
    (length, patience): (Duration, Duration),
) -> Seen {
    let (stop, stopped) = watch::channel(());
    let discovery = tokio::spawn(ask(api.clone(), target.discovery, stopped.clone()));
    let reads = tokio::spawn(ask(api.clone(), target.read, stopped.clone()));
    let mut untouched = JoinSet::new();
    for other in others {
        untouched.spawn(ask(api.clone(), other.read, stopped.clone()));
    }
    drop(stopped);
    let begun = Instant::now();
    outage.begin(container);
    sleep(length).await;
    let back = outage.end(container);
    api.until_ok(target.read, patience).await;
    // One that was under way at the return may be the first to be answered.
    sleep(PACE * 4).await;
    drop(stop);
    let (discovery, mut reads) = (discovery.await.unwrap(), reads.await.unwrap());
    let answered = |answer: &Answer| (answer.begun + answer.took).saturating_duration_since(back);
    let recovery =
        reads.iter().filter(|answer| answer.is_ok()).map(answered).filter(|after| !after.is_zero()).min();
    reads.retain(|answer| answer.begun > begun && answer.begun < back);
    let others = untouched.join_all().await.into_iter().flatten().collect();
    Seen { discovery, reads, others, recovery: recovery.expect("a read was answered after the return") }
}

/// Asks at the pace, whether or not the last one is answered, until it is to stop.
async fn ask(api: Api, path: &'static str, mut stopped: watch::Receiver<()>) -> Vec<Answer> {
    let mut answers = JoinSet::new();
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return answers.join_all().await,
        }
        let api = api.clone();
        answers.spawn(async move { api.get(path).await });
    }
}
