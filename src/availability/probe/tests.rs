#![allow(clippy::unwrap_used, reason = "tests")]

use futures::stream;
use std::time::Duration;

use tokio::{sync::mpsc, time::sleep};

use super::*;
use crate::{
    availability::Cause,
    upstream::{FailureReason, Serving},
};

/// A loop whose senses the test plays. Time stands still but where the test lets it pass.
struct Stage {
    availability: Availability,
    state: watch::Sender<ConnectionState>,
    traffic: Arc<Traffic>,
    health: mpsc::Sender<Event>,
    /// One entry for each probe that was sent; the test answers it.
    probes: mpsc::Receiver<tokio::sync::oneshot::Sender<Outcome>>,
    start: Instant,
}

impl Stage {
    fn new() -> Self {
        let (state, states) = watch::channel(ConnectionState::Idle);
        let traffic = Arc::new(Traffic::default());
        let (health, told) = mpsc::channel(16);
        let (ask, probes) = mpsc::channel(16);
        let senses = Senses {
            state: states,
            traffic: Arc::clone(&traffic),
            health: stream::unfold(told, |mut told: mpsc::Receiver<Event>| async move {
                Some((told.recv().await?, told))
            })
            .boxed(),
            probe: Box::new(move || {
                let (answer, answered) = tokio::sync::oneshot::channel();
                ask.try_send(answer).unwrap();
                Box::pin(async { answered.await.unwrap() })
            }),
        };
        let (availability, run) = Availability::new(senses, Settings::default());
        tokio::spawn(run);
        Self { availability, state, traffic, health, probes, start: Instant::now() }
    }

    /// The next probe, when it comes: seconds since the start.
    async fn probe(&mut self) -> (u64, tokio::sync::oneshot::Sender<Outcome>) {
        let answer = self.probes.recv().await.unwrap();
        (self.start.elapsed().as_secs(), answer)
    }

    async fn becomes(&self, wanted: impl Fn(&Verdict) -> bool) {
        self.availability.verdict().wait_for(wanted).await.unwrap();
    }

    fn refused(&self) {
        let reason = FailureReason::Refused;
        let since = std::time::SystemTime::UNIX_EPOCH;
        self.state.send_replace(ConnectionState::Failed { reason, message: "refused".into(), since });
    }
}

fn is_available(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Available { .. })
}

fn failed() -> Outcome {
    Outcome::Failed("bad status".into())
}

#[tokio::test(start_paused = true)]
async fn an_idle_backend_is_probed_each_half_minute_and_a_failing_one_each_second() {
    let mut stage = Stage::new();
    let (at, answer) = stage.probe().await;
    assert_eq!(at, 0, "nothing is known of it");
    answer.send(Outcome::Ok).unwrap();
    stage.becomes(is_available).await;
    for (wanted, outcome) in [
        (30, Outcome::Ok),
        (60, failed()),
        (61, failed()),
        (62, failed()),
        (63, Outcome::Ok),
        (93, Outcome::Ok),
    ] {
        let (at, answer) = stage.probe().await;
        assert_eq!(at, wanted);
        answer.send(outcome).unwrap();
        if wanted == 61 {
            stage.becomes(Verdict::is_unavailable).await;
        }
        if wanted == 63 {
            stage.becomes(is_available).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_however_long_it_takes() {
    let mut stage = Stage::new();
    let (_, answer) = stage.probe().await;
    sleep(Duration::from_secs(300)).await;
    assert!(stage.probes.try_recv().is_err());
    answer.send(failed()).unwrap();
    let (at, _answer) = stage.probe().await;
    assert_eq!(at, 301);
}

#[tokio::test(start_paused = true)]
async fn traffic_is_heard_without_waking_anybody_and_spares_the_probe() {
    let mut stage = Stage::new();
    stage.probe().await.1.send(Outcome::Ok).unwrap();
    stage.becomes(is_available).await;
    for _ in 0..10 {
        sleep(Duration::from_secs(20)).await;
        stage.traffic.answered();
        sleep(Duration::from_secs(9)).await;
        assert!(stage.probes.try_recv().is_err());
    }
    for _ in 0..20 {
        stage.traffic.answered();
    }
    for _ in 0..3 {
        stage.traffic.failed("reset");
    }
    sleep(Duration::from_millis(200)).await;
    assert!(is_available(&stage.availability.verdict().borrow()), "those that fail together are one failure");
    stage.traffic.failed("reset");
    stage.becomes(|verdict| matches!(verdict, Verdict::Unavailable { cause: Cause::Traffic, .. })).await;
    stage.traffic.answered();
    stage.becomes(is_available).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_becomes_a_verdict_by_time_alone() {
    let mut stage = Stage::new();
    stage.state.send_replace(ConnectionState::Ready);
    stage.health.try_send(Event::Health(Serving::Serving)).unwrap();
    stage.becomes(is_available).await;
    let _asked_before_it_told = stage.probes.try_recv();
    stage.refused();
    let begun = Instant::now();
    stage.becomes(Verdict::is_unavailable).await;
    assert_eq!(begun.elapsed().as_secs(), 1);
    stage.state.send_replace(ConnectionState::Ready);
    stage.health.try_send(Event::Health(Serving::Serving)).unwrap();
    stage.becomes(is_available).await;
    drop(stage.state);
    stage.health.try_send(Event::Health(Serving::NotServing)).unwrap();
    let mut verdict = stage.availability.verdict();
    verdict
        .wait_for(|verdict| matches!(verdict, Verdict::Unavailable { cause: Cause::NotServing, .. }))
        .await
        .unwrap();
}
