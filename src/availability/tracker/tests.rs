#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;

/// A tracker and its clock.
struct Seen {
    tracker: Tracker,
    now: Instant,
}

impl Seen {
    fn new() -> Self {
        let now = Instant::now();
        Self { tracker: Tracker::new(Settings::default(), now), now }
    }

    fn after(&mut self, seconds: f64) -> &mut Self {
        self.now += Duration::from_secs_f64(seconds);
        self
    }

    fn feed(&mut self, event: Event) -> &Verdict {
        self.tracker.feed(self.now, event);
        self.tracker.verdict()
    }

    fn tick(&mut self) -> bool {
        self.tracker.tick(self.now)
    }

    fn cause(&self) -> Option<Cause> {
        match self.tracker.verdict() {
            Verdict::Unavailable { cause, .. } => Some(*cause),
            Verdict::Unknown | Verdict::Available { .. } => None,
        }
    }

    fn is_available(&self) -> bool {
        matches!(self.tracker.verdict(), Verdict::Available { .. })
    }

    /// Seconds from now.
    fn probe_in(&self) -> Option<f64> {
        self.tracker.probe_at().map(|at| at.saturating_duration_since(self.now).as_secs_f64())
    }
}

fn failed() -> Outcome {
    Outcome::Failed("no answer".into())
}

fn refused() -> Event {
    Event::ConnectFailed { reason: FailureReason::Refused, message: "refused".into() }
}

const REFUSED: Cause = Cause::Connect(FailureReason::Refused);

#[test]
fn a_backend_is_asked_at_once_and_available_when_it_answers() {
    let mut seen = Seen::new();
    assert_eq!(seen.tracker.verdict(), &Verdict::Unknown);
    assert!(seen.tick(), "nothing is known: it is asked");
    seen.after(0.1).feed(Event::Connected);
    assert_eq!(seen.tracker.verdict(), &Verdict::Unknown, "who accepts need not answer");
    assert!(seen.tick());
    let now = seen.now;
    assert_eq!(seen.feed(Event::Probe(Outcome::Ok)), &Verdict::Available { since: now });
    assert!(!seen.tick());
    assert_eq!(seen.probe_in(), Some(30.0));
}

#[test]
fn traffic_makes_probes_needless() {
    let mut seen = Seen::new();
    seen.feed(Event::Connected);
    for _ in 0..100 {
        seen.after(20.0).feed(Event::Traffic(Outcome::Ok));
        assert!(!seen.tick());
        assert_eq!(seen.probe_in(), Some(30.0));
    }
    assert!(seen.after(30.0).tick());
}

#[test]
fn who_says_that_it_serves_is_not_probed() {
    let mut seen = Seen::new();
    seen.feed(Event::Connected);
    seen.feed(Event::Health(Serving::Serving));
    assert!(seen.is_available());
    assert_eq!(seen.tracker.wake_at(), None, "the stream tells");
    seen.after(100.0).feed(Event::NoHealth);
    assert!(seen.tick(), "nothing tells any more");
}

#[test]
fn two_failures_of_three_make_it_unavailable_and_one_success_brings_it_back() {
    for event in [Event::Traffic, Event::Probe] {
        let mut seen = Seen::new();
        seen.feed(Event::Connected);
        seen.feed(event(Outcome::Ok));
        seen.after(5.0).feed(event(failed()));
        assert!(seen.is_available(), "one is none");
        assert_eq!(seen.probe_in(), Some(1.0), "but it is looked at soon");
        seen.feed(event(Outcome::Ok));
        seen.after(1.0).feed(event(failed()));
        assert!(seen.cause().is_some(), "two of three");
        let since = seen.now;
        assert_eq!(seen.probe_in(), Some(1.0));
        seen.after(1.0).feed(event(failed()));
        let Verdict::Unavailable { since: is, message, .. } = seen.tracker.verdict() else { panic!() };
        assert_eq!((*is, &**message), (since, "no answer"));
        seen.after(1.0).feed(event(Outcome::Ok));
        assert!(seen.is_available());
    }
}

#[test]
fn a_lost_connection_counts_when_it_stays_lost_and_at_once_where_there_was_none() {
    let mut seen = Seen::new();
    seen.feed(refused());
    assert_eq!(seen.cause(), Some(REFUSED), "never known to be available");
    seen.after(1.0).feed(Event::Connected);
    assert_eq!(seen.cause(), Some(REFUSED));
    assert!(seen.tick(), "it is asked at once");
    seen.feed(Event::Probe(Outcome::Ok));
    assert!(seen.is_available());

    seen.after(10.0).feed(refused());
    assert!(seen.is_available(), "a restart is no outage");
    assert_eq!(seen.tracker.wake_at(), Some(seen.now + S(1)));
    seen.after(0.5).feed(Event::Connected);
    seen.after(0.6).tick();
    assert!(seen.is_available());

    seen.feed(refused());
    seen.after(1.0).tick();
    assert_eq!(seen.cause(), Some(REFUSED));
    assert_eq!(seen.probe_in(), Some(29.0), "the pool dials by itself");
}

#[test]
fn what_the_backend_says_of_itself_counts_at_once() {
    let mut seen = Seen::new();
    seen.feed(Event::Connected);
    seen.feed(Event::Health(Serving::Serving));
    seen.feed(Event::Health(Serving::NotServing));
    assert_eq!(seen.cause(), Some(Cause::NotServing));
    seen.feed(Event::Traffic(Outcome::Ok));
    assert_eq!(seen.cause(), Some(Cause::NotServing), "the backend knows best");
    assert_eq!(seen.tracker.wake_at(), None);
    seen.feed(refused());
    assert_eq!(seen.cause(), Some(REFUSED), "what it said belongs to the connection");
    seen.feed(Event::NoHealth);
    seen.feed(Event::Connected);
    seen.feed(Event::Health(Serving::Serving));
    assert!(seen.is_available());
}

/// Up for a second, down for two: the connection and a probe that is answered.
fn flap(seen: &mut Seen) {
    seen.feed(Event::Connected);
    seen.feed(Event::Probe(Outcome::Ok));
    seen.after(1.0).feed(refused());
    seen.after(2.0).tick();
}

#[test]
fn a_flapping_backend_settles_before_it_is_called_available() {
    let mut seen = Seen::new();
    for cause in [REFUSED, REFUSED, Cause::Flapping] {
        flap(&mut seen);
        assert_eq!(seen.cause(), Some(cause));
    }
    let since = match seen.tracker.verdict() {
        Verdict::Unavailable { since, .. } => *since,
        other => panic!("{other:?}"),
    };
    for _ in 0..10 {
        seen.feed(Event::Connected);
        seen.feed(Event::Probe(Outcome::Ok));
        assert_eq!(seen.cause(), Some(Cause::Flapping));
        seen.after(0.5).feed(refused());
        assert_eq!(seen.cause(), Some(Cause::Flapping), "that it is away at the moment is no news");
        seen.after(0.5);
    }
    assert!(matches!(seen.tracker.verdict(), Verdict::Unavailable { since: is, .. } if *is == since));
    seen.feed(Event::Connected);
    for _ in 0..5 {
        assert!(seen.tick(), "it is asked each second");
        seen.feed(Event::Probe(Outcome::Ok));
        assert_eq!(seen.cause(), Some(Cause::Flapping));
        seen.after(1.0);
    }
    assert!(!seen.tick());
    assert!(seen.is_available(), "five seconds and three successes");
}

#[test]
fn a_success_that_lasts_ends_the_flapping_without_another_event() {
    let mut seen = Seen::new();
    for _ in 0..3 {
        flap(&mut seen);
    }
    seen.feed(Event::Connected);
    for _ in 0..3 {
        seen.feed(Event::Probe(Outcome::Ok));
    }
    seen.feed(Event::Health(Serving::Serving));
    let mut wakes = 0;
    while !seen.is_available() {
        let at = seen.tracker.wake_at().unwrap();
        assert!(at > seen.now || wakes == 0, "no busy loop");
        seen.now = at.max(seen.now + Duration::from_millis(1));
        seen.tick();
        if seen.tracker.probe_at().is_some_and(|at| at <= seen.now) {
            seen.feed(Event::Probe(Outcome::Ok));
        }
        wakes += 1;
        assert!(wakes < 10);
    }
    assert_eq!(seen.tracker.wake_at(), None);
}

#[test]
fn who_is_away_for_a_moment_again_and_again_is_flapping() {
    let mut seen = Seen::new();
    for round in 1..=3 {
        seen.feed(Event::Connected);
        seen.feed(Event::Probe(Outcome::Ok));
        assert!(seen.is_available());
        seen.after(0.5).feed(refused());
        assert_eq!(seen.cause(), (round == 3).then_some(Cause::Flapping), "twice it is a restart");
        seen.after(0.5).tick();
    }
}

#[test]
fn who_does_not_come_back_any_more_is_away() {
    let mut seen = Seen::new();
    for _ in 0..3 {
        flap(&mut seen);
    }
    assert_eq!(seen.cause(), Some(Cause::Flapping));
    // It was there three seconds ago.
    assert_eq!(seen.tracker.verdict_at(), Some(seen.now + S(2)));
    seen.after(2.0).tick();
    assert_eq!(seen.cause(), Some(REFUSED));
    seen.feed(Event::Connected);
    seen.feed(Event::Probe(Outcome::Ok));
    assert_eq!(seen.cause(), Some(Cause::Flapping), "and is to settle when it does");
}

#[test]
fn what_failed_before_a_connection_stood_says_nothing_of_it() {
    let mut seen = Seen::new();
    seen.feed(Event::Connected);
    seen.feed(Event::Probe(Outcome::Ok));
    seen.after(10.0).feed(refused());
    for _ in 0..3 {
        seen.feed(Event::Traffic(Outcome::Failed("refused".into())));
    }
    seen.after(1.0).tick();
    let away = seen.tracker.verdict().clone();
    assert_eq!(seen.feed(Event::Connected), &away, "it is as it was until something is known");
    seen.feed(Event::Traffic(failed()));
    assert_eq!(seen.tracker.verdict(), &away, "one is none");
    seen.after(0.1).feed(Event::Traffic(failed()));
    assert_eq!(seen.cause(), Some(Cause::Traffic));
}

#[test]
fn requests_that_fail_together_are_one_failure() {
    let mut seen = Seen::new();
    seen.feed(Event::Connected);
    seen.feed(Event::Traffic(Outcome::Ok));
    for _ in 0..10 {
        seen.after(0.009).feed(Event::Traffic(failed()));
        assert!(seen.is_available(), "a connection broke");
    }
    seen.feed(Event::Traffic(Outcome::Ok));
    seen.feed(Event::Traffic(failed()));
    assert!(!seen.is_available(), "one after a success is another");
    seen.after(1.0).feed(Event::Traffic(Outcome::Ok));
    for _ in 0..2 {
        seen.after(0.1).feed(Event::Traffic(failed()));
    }
    assert!(!seen.is_available());
}

#[test]
fn words_of_failing_traffic_do_not_change_with_each_request() {
    let mut seen = Seen::new();
    for word in ["a", "b", "c"] {
        seen.after(0.1).feed(Event::Traffic(Outcome::Failed(word.into())));
    }
    assert!(matches!(seen.tracker.verdict(), Verdict::Unavailable { message, .. } if &**message == "a"));
    seen.feed(Event::Probe(Outcome::Failed("d".into())));
    assert!(matches!(seen.tracker.verdict(), Verdict::Unavailable { message, .. } if &**message == "d"));
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        3 => Just(Event::Connected),
        2 => Just(refused()),
        1 => Just(Event::Unconnected),
        4 => Just(Event::Traffic(Outcome::Ok)),
        3 => Just(Event::Traffic(failed())),
        3 => Just(Event::Probe(Outcome::Ok)),
        3 => Just(Event::Probe(failed())),
        1 => Just(Event::Health(Serving::Serving)),
        1 => Just(Event::Health(Serving::NotServing)),
        1 => Just(Event::NoHealth),
    ];
    proptest::collection::vec((0_u64..3_000, event), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever came before: a backend that answers for as long as it takes to settle is available, and probing
    /// when the tracker asks for it is enough to find that out.
    #[test]
    fn a_backend_that_answers_is_available_in_the_end(history in events()) {
        let mut seen = Seen::new();
        for (millis, event) in history {
            seen.now += Duration::from_millis(millis);
            seen.feed(event);
        }
        seen.feed(Event::NoHealth);
        seen.feed(Event::Connected);
        let until = seen.now + S(10);
        for _ in 0..100 {
            if seen.is_available() && seen.tracker.probe_at().is_none_or(|at| at > seen.now) {
                break;
            }
            if seen.tick() {
                seen.feed(Event::Probe(Outcome::Ok));
            }
            if !seen.is_available() {
                seen.now = seen.tracker.wake_at().unwrap().max(seen.now);
            }
        }
        prop_assert!(seen.is_available());
        prop_assert!(seen.now <= until, "within the time to settle");
    }

    /// Whatever came before: one that never answers is unavailable after as many failures as it takes.
    #[test]
    fn a_backend_that_fails_is_unavailable_in_the_end(history in events()) {
        let mut seen = Seen::new();
        for (millis, event) in history {
            seen.now += Duration::from_millis(millis);
            seen.feed(event);
        }
        for _ in 0..2 {
            seen.feed(Event::Probe(failed()));
        }
        let waits_for_a_connection = matches!(seen.tracker.link, Link::Down { .. });
        prop_assert!(seen.cause().is_some() || waits_for_a_connection);
        seen.after(1.0).tick();
        prop_assert!(seen.cause().is_some());
    }

    /// The condition changes at most so often, whatever happens: a loss within a minute of three others waits.
    #[test]
    fn availability_is_lost_four_times_a_minute_at_most(history in proptest::collection::vec(
        (0_u64..500, prop_oneof![Just(Event::Traffic(Outcome::Ok)), Just(Event::Traffic(failed()))]), 0..400,
    )) {
        let mut seen = Seen::new();
        let mut losses: Vec<Instant> = Vec::new();
        for (millis, event) in history {
            seen.now += Duration::from_millis(millis);
            let before = seen.is_available();
            seen.feed(event);
            if before && !seen.is_available() {
                losses.push(seen.now);
            }
        }
        for four in losses.windows(4) {
            // Between the third and the fourth it has settled.
            let settled = four[3] - four[2] >= S(5);
            prop_assert!(four[3] - four[0] >= S(60) || settled, "{losses:?}");
        }
    }

    /// Time never has to be waited for in a circle: once the wake-up was served, the next one is later.
    #[test]
    fn a_wake_up_that_was_served_is_over(history in events()) {
        let mut seen = Seen::new();
        for (millis, event) in history {
            seen.now += Duration::from_millis(millis);
            seen.feed(event);
            if seen.tick() {
                seen.feed(Event::Probe(failed()));
            }
            prop_assert!(seen.tracker.wake_at().is_none_or(|at| at > seen.now));
        }
    }
}
