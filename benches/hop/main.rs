//! The hop: a bridged GET beside the pass-through limit, in one run.
//!
//! ```sh
//! cargo bench --bench hop
//! ```
//!
//! Four processes: the inventory; the aggregator; the pass-through (the same listener, TLS, layers and gRPC
//! client, but the answer's bytes go out as they came in); and this one, which makes the load. Rounds alternate,
//! so that whatever else the machine does hits both.

#![allow(clippy::print_stdout, missing_docs, unreachable_pub, reason = "it prints its figures")]

mod load;
mod roles;

use std::time::Duration;

use load::Figures;

const PATH: &str = "/apis/inventory.example.com/v1/namespaces/default/machines/atlas";
const ACCEPT: &str = "application/json";
const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("role") => roles::play(&args[2..]).await,
        _ => compare().await,
    }
}

async fn compare() -> anyhow::Result<()> {
    let stage = roles::Stage::set().await?;
    let limit = load::connect(&stage.passthrough.kubeconfig, stage.passthrough.port).await?;
    let bridged = load::connect(&stage.bridged.kubeconfig, stage.bridged.port).await?;
    println!(
        "{:>8} {:<13} {:>9} {:>10} {:>10} {:>12}",
        "streams", "server", "req/s", "p50", "p99", "CPU/request"
    );
    for streams in [1, 32] {
        let (mut limits, mut bridges) = (Vec::new(), Vec::new());
        load::run(&limit, PATH, ACCEPT, streams, TIME / 3, stage.passthrough.pid).await?;
        load::run(&bridged, PATH, ACCEPT, streams, TIME / 3, stage.bridged.pid).await?;
        for _ in 0..ROUNDS {
            limits.push(load::run(&limit, PATH, ACCEPT, streams, TIME, stage.passthrough.pid).await?);
            bridges.push(load::run(&bridged, PATH, ACCEPT, streams, TIME, stage.bridged.pid).await?);
        }
        let (limit, bridged) = (median(limits), median(bridges));
        print(streams, "pass-through", limit);
        print(streams, "bridged", bridged);
        println!(
            "{streams:>8} {:<13} {:>9.2} {:>10.2} {:>10.2} {:>12.2}   (CPU bar: 1.25)",
            "ratio",
            bridged.per_second / limit.per_second,
            bridged.p50.as_secs_f64() / limit.p50.as_secs_f64(),
            bridged.p99.as_secs_f64() / limit.p99.as_secs_f64(),
            bridged.cpu.as_secs_f64() / limit.cpu.as_secs_f64(),
        );
    }
    Ok(())
}

fn print(streams: usize, server: &str, figures: Figures) {
    println!(
        "{streams:>8} {server:<13} {:>9.0} {:>10.1?} {:>10.1?} {:>12.1?}",
        figures.per_second, figures.p50, figures.p99, figures.cpu
    );
}

/// The round whose CPU time is in the middle.
fn median(mut rounds: Vec<Figures>) -> Figures {
    rounds.sort_by_key(|figures| figures.cpu);
    rounds[rounds.len() / 2]
}
