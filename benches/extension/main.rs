//! A classic extension API server behind kube-apiserver and behind Kubridge, in one run.
//!
//! ```sh
//! (cd tests/controlplane && CGO_ENABLED=0 go build -o ../../target/controlplane .)      # ./test does it too
//! KUBRIDGE_TEST_CONTROLPLANE=$PWD/target/controlplane cargo bench --bench extension
//! ```
//!
//! sample-apiserver serves one Flunder, and a list of 500, from its watch cache. It is asked directly, through
//! kube-apiserver, which aggregates it, and through Kubridge; rounds alternate, so that whatever else the machine does
//! hits all three. The hop's CPU time is that of the process in the middle alone.

#![allow(clippy::print_stdout, missing_docs, unreachable_pub, reason = "it prints its figures")]

#[allow(dead_code, reason = "this load is made by certificates in files")]
#[path = "../hop/load.rs"]
mod load;
mod stage;

use std::time::Duration;

use load::{Client, Figures};
use stage::Stage;

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(3);
const ACCEPT: &str = "application/json";

/// Who is asked, and whose CPU time is taken.
struct Way {
    name: &'static str,
    client: Client,
    pid: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["role", "kubridge", args @ ..] => stage::kubridge(args).await,
        [] => compare().await,
        other => anyhow::bail!("there is no part {other:?}"),
    }
}

async fn compare() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let ways = stage.ways().await?;
    println!(
        "{:<10} {:>7}  {:<15} {:>9} {:>10} {:>10} {:>12}",
        "what", "streams", "through", "req/s", "p50", "p99", "CPU of hop"
    );
    for (what, path, streams) in
        [("one object", stage::ONE, 1), ("one object", stage::ONE, 32), ("500 in a list", stage::LIST, 4)]
    {
        let mut rounds: Vec<Vec<Figures>> = ways.iter().map(|_| Vec::new()).collect();
        for way in &ways {
            load::run(&way.client, path, ACCEPT, streams, TIME / 2, way.pid).await?;
        }
        for _ in 0..ROUNDS {
            for (way, rounds) in ways.iter().zip(&mut rounds) {
                rounds.push(load::run(&way.client, path, ACCEPT, streams, TIME, way.pid).await?);
            }
        }
        let figures: Vec<Figures> = rounds.into_iter().map(median).collect();
        for (way, figures) in ways.iter().zip(&figures) {
            print(what, streams, way.name, figures);
        }
        let [_, apiserver, kubridge] = figures.as_slice() else { anyhow::bail!("three ways are compared") };
        println!(
            "{what:<10} {streams:>7}  {:<15} {:>9.2} {:>10.2} {:>10.2} {:>12.3}   (CPU bar: 0.1)",
            "ratio of hops",
            kubridge.per_second / apiserver.per_second,
            kubridge.p50.as_secs_f64() / apiserver.p50.as_secs_f64(),
            kubridge.p99.as_secs_f64() / apiserver.p99.as_secs_f64(),
            kubridge.cpu.as_secs_f64() / apiserver.cpu.as_secs_f64(),
        );
    }
    Ok(())
}

fn print(what: &str, streams: usize, through: &str, figures: &Figures) {
    println!(
        "{what:<10} {streams:>7}  {through:<15} {:>9.0} {:>10.1?} {:>10.1?} {:>12.1?}",
        figures.per_second, figures.p50, figures.p99, figures.cpu
    );
}

/// The round whose throughput is in the middle.
fn median(mut rounds: Vec<Figures>) -> Figures {
    rounds.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    rounds[rounds.len() / 2]
}
