//! Informers on the library: what they hold after others have written to it, and after it has died again and again.
//!
//! `KUBRIDGE_TEST_INFORMER_SECONDS`: for how long before the library is away for long; ten by default.

mod clients;
mod writers;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::{
    clients::{Books, ClientGo, KubeRs, Seen, Wrong},
    writers::Written,
};
use super::{Library, command};
use crate::support::{Postgres, Program};

const RESTARTS: u32 = 10;

/// How long the library is away, but for the last time: one time in two it is started at once.
const SHORT: Duration = Duration::from_millis(300);

/// How long it may take until informers hold what is stored, and until they are told that the library is away.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn informers_hold_what_postgresql_holds() {
    let seconds = std::env::var("KUBRIDGE_TEST_INFORMER_SECONDS")
        .map_or(10, |text| text.parse().expect("KUBRIDGE_TEST_INFORMER_SECONDS is a number of seconds"));
    let Library { kubectl: _, stack, program, postgres } = Library::open().await;
    writers::furnish(&postgres).await;
    let mut informers =
        Informers { go: ClientGo::start(&stack.kubeconfig()), rs: KubeRs::start(&stack.kubeconfig()).await };
    informers.settle(&postgres).await;

    let (stop, addr) = (CancellationToken::new(), program.addr);
    let restarting = async {
        let again = restart(program, &postgres, &mut informers, Duration::from_secs(seconds)).await;
        stop.cancel();
        again
    };
    let (written, (_program, short)) = tokio::join!(writers::write(&postgres, addr, &stop), restarting);
    let after = informers.settle(&postgres).await;
    let seen = informers.seen().await;
    println!("{}", table(&written, &seen, after));
    assert!(written.created > 0 && written.updated > 0 && written.deleted > 0, "{written:?}");
    assert!(written.unanswered > 0, "the library was never away: {written:?}");
    for ((name, short), (_, seen)) in short.iter().zip(&seen) {
        assert!(!short.began_again(), "{name} noticed short restarts: {short:?}");
        // Once for being told, and once more where that was cut off, too.
        assert!(seen.relists() <= 2, "{name}: {seen:?}");
        assert_eq!(seen.wrong, Wrong::default(), "{name}: {seen:?}");
    }

    // Whatever errors they were told, they have got over them: they are watching.
    for statement in [writers::LAST, writers::NO_LAST] {
        postgres.query(statement).await;
        informers.settle(&postgres).await;
    }
    for ((name, before), (_, now)) in seen.iter().zip(&informers.seen().await) {
        assert_eq!((now.relists(), &now.errors), (before.relists(), &before.errors), "{name} began again");
    }
}

struct Informers {
    go: ClientGo,
    rs: KubeRs,
}

impl Informers {
    /// Waits until both hold exactly what PostgreSQL holds; how long that took.
    async fn settle(&mut self, postgres: &Postgres) -> Duration {
        let begin = Instant::now();
        loop {
            let stored = stored(postgres).await;
            let held = [("client-go", self.go.books().await), ("kube-rs", self.rs.books())];
            let differences: Vec<String> =
                held.iter().flat_map(|(name, held)| differences(name, held, &stored)).collect();
            if differences.is_empty() {
                return begin.elapsed();
            }
            let some = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
            assert!(begin.elapsed() < LIMIT, "{} differences, such as\n{some}", differences.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn seen(&mut self) -> [(&'static str, Seen); 2] {
        [("client-go", self.go.seen().await), ("kube-rs", self.rs.seen())]
    }

    /// Waits until both were told that something is wrong.
    async fn notice(&mut self) {
        let begin = Instant::now();
        loop {
            let seen = self.seen().await;
            if seen.iter().all(|(_, seen)| seen.began_again()) {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "they are not told: {seen:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The books in PostgreSQL, as [`clients::shown`] shows those of informers.
async fn stored(postgres: &Postgres) -> Books {
    let rows = postgres
        .query(
            "SELECT publisher_id || '/' || id, json_build_object('uid', uid, 'title', title, 'authors', authors, \
             'pageCount', page_count, 'labels', labels, 'copyCount', copy_count) FROM books",
        )
        .await;
    let book = |row: &str| {
        let (name, fields) = row.split_once('|').unwrap_or_else(|| panic!("{row}"));
        (name.to_owned(), serde_json::from_str(fields).unwrap())
    };
    rows.lines().map(book).collect()
}

fn differences(informer: &str, held: &Books, stored: &Books) -> Vec<String> {
    let mut pairs: BTreeMap<&str, [Option<&Value>; 2]> = BTreeMap::new();
    for (at, books) in [held, stored].into_iter().enumerate() {
        for (name, book) in books {
            pairs.entry(name).or_default()[at] = Some(book);
        }
    }
    let different = pairs.into_iter().filter(|(_, [held, stored])| held != stored);
    let told = |book: Option<&Value>| book.map_or("nothing".to_owned(), Value::to_string);
    different
        .map(|(name, [held, stored])| {
            format!("{name}: {informer} holds {}, PostgreSQL {}", told(held), told(stored))
        })
        .collect()
}

/// Kills the library and starts it again on its port, ten times: nine within `duration`, for moments, and then until
/// informers are told. With it, what they had seen before that.
async fn restart(
    mut program: Program,
    postgres: &Postgres,
    informers: &mut Informers,
    duration: Duration,
) -> (Program, [(&'static str, Seen); 2]) {
    let listen = program.addr.to_string();
    let between = duration / RESTARTS;
    for restart in 1..RESTARTS {
        tokio::time::sleep(between).await;
        program.kill().await;
        tokio::time::sleep(if restart % 2 == 0 { SHORT } else { Duration::ZERO }).await;
        program = Program::start(command(postgres, &listen)).await;
    }
    tokio::time::sleep(between).await;
    let before = informers.seen().await;
    program.kill().await;
    informers.notice().await;
    (Program::start(command(postgres, &listen)).await, before)
}

/// What docs/reliability.md shows.
fn table(written: &Written, informers: &[(&str, Seen)], after: Duration) -> String {
    let mut table = format!(
        "{written}; {RESTARTS} restarts; as PostgreSQL after {:.2} s\n\n\
         | informer | added, changed, deleted | listed again | errors |\n|---|---|---|---|",
        after.as_secs_f64()
    );
    for (name, seen) in informers {
        let told: Vec<String> = seen.errors.iter().map(|(why, times)| format!("{times} × `{why}`")).collect();
        table += &format!("\n| {name} | {} | {} | {} |", seen.events, seen.relists(), told.join("; "));
    }
    table
}
