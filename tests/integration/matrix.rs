//! The failure matrix: what becomes of discovery, of requests, of other backends and of the condition `Available` when a
//! backend fails in one way or another, and how soon it is good again.
//!
//! Each row is one aggregator with the broken backend (`victim`) and two healthy ones, over real sockets, under requests
//! (`load`) that go on all the time; `runner` breaks and mends it and compares with what the row says; `report` makes the
//! table of docs/reliability.md of it.

mod load;
mod pace;
mod report;
mod row;
mod runner;
mod victim;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use pace::Pace;
use row::{
    Answer::{Broken, Good, Internal, Unavailable, Unknown},
    Expected, Fault, Row, always, row,
};
use runner::Neighbours;
use victim::Kind::{self, Grpc, Https1, Https2};

const EACH: &[Kind] = &Kind::ALL;
const HTTP2: &[Kind] = &[Grpc, Https2];
const HTTPS: &[Kind] = &[Https2, Https1];

const GOOD: Expected = always(&[Good]);
const AWAY: Expected = always(&[Unavailable]);
/// A write that was under way when the fault began may have been done.
const LOST: Expected = Expected { first: &[Unavailable, Unknown], then: &[Unavailable] };
/// The same where others do the work from then on.
const HALF: Expected = Expected { first: &[Good, Unknown], then: &[Good] };
/// Nobody can say whether it was done.
const UNKNOWN: Expected = always(&[Unknown]);
/// It depends on how much of the answer has come.
const CUT: Expected = always(&[Broken, Unavailable]);
const CUT_WRITE: Expected = always(&[Broken, Unknown]);
const MAYBE: Expected = always(&[Good, Unavailable]);
const MAYBE_WRITE: Expected = always(&[Good, Unavailable, Unknown]);

const PASSED: [&str; 3] = ["True", "Passed", ""];
const FLAPPING: [&str; 3] = ["False", "Flapping", "comes and goes"];

/// `Available` is False with kube-aggregator's reason; its message says this.
const fn failed(part: &str) -> [&str; 3] {
    ["False", "FailedDiscoveryCheck", part]
}

/// What is done to which backends; what GET and POST are answered; what `Available` says.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(Fault::Refused, "connections are refused", EACH, [AWAY, LOST], failed("connection refused")),
    row(Fault::BlackHoled, "a black hole (full backlog)", EACH, [AWAY, LOST], failed("the TCP connection")),
    row(Fault::Silent, "accepts, says nothing", EACH, [AWAY, LOST], failed("no answer within 2.5s")),
    row(Fault::Stopped, "stopped (SIGSTOP)", EACH, [AWAY, LOST], failed("no answer within 2.5s")),
    row(Fault::BothStopped, "both of two processes stopped", EACH, [AWAY, LOST], failed("no answer within 2.5s")),
    row(Fault::WrongCertificate, "a certificate of another CA", EACH, [AWAY, LOST], failed("not signed by the CA")),
    row(Fault::Slow, "slow (6 s)", EACH, [GOOD, GOOD], PASSED).within(Duration::from_millis(8500)).lasting(9),
    row(Fault::DiesMidAnswer, "dies in the middle of answers", &[Grpc], [AWAY, UNKNOWN], failed("")),
    row(Fault::DiesMidAnswer, "dies in the middle of answers", HTTPS, [CUT, CUT_WRITE], failed("")),
    row(Fault::Goodbye, "GOAWAY after each answer", EACH, [GOOD, GOOD], PASSED),
    row(Fault::TurnedAway, "GOAWAY instead of answers", HTTP2, [AWAY, LOST], failed("")),
    row(Fault::Reset, "RST_STREAM when it is done", EACH, [AWAY, UNKNOWN], failed("")),
    row(Fault::StreamRefused, "RST_STREAM: REFUSED_STREAM", HTTP2, [AWAY, AWAY], failed("")),
    row(Fault::HalfRefused, "one of two addresses refused", EACH, [GOOD, HALF], PASSED),
    row(Fault::HalfStopped, "one of two processes stopped", EACH, [GOOD, HALF], PASSED),
    row(Fault::Flapping, "goes and comes each second", EACH, [MAYBE, MAYBE_WRITE], FLAPPING).settling(15),
    row(Fault::Babbles, "says what is no HTTP", HTTP2, [AWAY, LOST], failed("")),
    row(Fault::Babbles, "says what is no HTTP", &[Https1], [AWAY, always(&[Unavailable, Unknown])], failed("")),
    row(Fault::Scrambles, "answers what is no message", &[Grpc], [always(&[Internal]); 2], PASSED),
];

/// So many rows at once, and so many whatever the machine has to do besides: each is an aggregator and its clients.
const AT_ONCE: [usize; 2] = [3, 12];
/// A row that is not as it should be is run again so often, where others had the processors meanwhile.
const AGAIN: usize = 3;

/// `KUBRIDGE_TEST_MATRIX` narrows it to the rows whose name and backend have this in them: `stopped (SIGSTOP) HTTPS`.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_fails_harms_nobody_and_is_used_again_when_it_is_back() {
    let only = std::env::var("KUBRIDGE_TEST_MATRIX").unwrap_or_default();
    let rows = ROWS.iter().flat_map(|row| row.kinds.iter().map(move |kind| (row, *kind)));
    let mut rows: Vec<_> = rows
        .filter(|(row, kind)| format!("{} {}", row.name, kind.name()).contains(&only))
        .enumerate()
        .collect();
    assert!(!rows.is_empty(), "KUBRIDGE_TEST_MATRIX={only} names no row");
    // The longest first.
    rows.sort_by_key(|(_, (row, _))| std::cmp::Reverse(row.lasts + row.settles));
    let (neighbours, pace) = (Arc::new(Neighbours::start().await), Arc::new(Pace::start()));
    let mut running = JoinSet::new();
    let mut outcomes = Vec::new();
    for (number, (row, kind)) in rows {
        tokio::time::sleep(Duration::from_millis(200)).await;
        while running.len() >= AT_ONCE[1] || running.len() >= AT_ONCE[0] && pace.is_busy() {
            let ended = tokio::time::timeout(Duration::from_millis(200), running.join_next()).await;
            outcomes.extend(ended.ok().flatten());
        }
        let (neighbours, pace) = (Arc::clone(&neighbours), Arc::clone(&pace));
        running.spawn(async move { (number, outcome(row, kind, neighbours, &pace).await) });
    }
    outcomes.extend(running.join_all().await.into_iter().map(Ok));
    let mut outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    outcomes.sort_by_key(|(number, _)| *number);
    let (lines, faults): (Vec<_>, Vec<_>) = outcomes.into_iter().map(|(_, outcome)| outcome).unzip();
    // The table of docs/reliability.md.
    for line in [report::HEAD.to_owned()].iter().chain(&lines) {
        println!("{line}");
    }
    let faults = faults.concat();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_row_is_in_the_documentation() {
    let table = include_str!("../../docs/reliability.md");
    for (row, kind) in ROWS.iter().flat_map(|row| row.kinds.iter().map(move |kind| (row, kind))) {
        let begins = format!("| {} | {} |", row.name, kind.name());
        assert_eq!(table.matches(&begins).count(), 1, "docs/reliability.md has a row for {begins}");
    }
}

/// Runs one row; the line of the table, and what was not as it should be.
async fn outcome(
    row: &'static Row,
    kind: Kind,
    neighbours: Arc<Neighbours>,
    pace: &Pace,
) -> (String, Vec<String>) {
    let name = format!("{} ({})", row.name, kind.name());
    for attempt in 1.. {
        let neighbours = Arc::clone(&neighbours);
        let begun = Instant::now();
        let seen = tokio::spawn(async move { runner::run(row, kind, &neighbours).await }).await;
        let busy = pace.was_busy(begun, Instant::now());
        let (line, faults) = match seen {
            Ok(seen) => (report::line(row, kind, &seen), runner::judge(row, &seen)),
            Err(error) => (format!("| {name} | could not be run |"), vec![error.to_string()]),
        };
        if faults.is_empty() || !busy || attempt == AGAIN {
            return (line, faults.into_iter().map(|fault| format!("{name}: {fault}")).collect());
        }
        eprintln!("{name}: the machine was busy with other work, so it is run again: {}", faults.join("\n"));
    }
    unreachable!("the last attempt returns")
}
