//! Many APIServices, and backends that are away: what they cost discovery and routing.
//!
//! ```sh
//! cargo bench --bench aggregation                 # all of it
//! cargo bench --bench aggregation -- routing      # one part: publish, routing, visible, faults
//! ```
//!
//! * publish: 1,000 APIServices, all documents made anew after one has changed.
//! * routing: a request's group and version found among 10 and among 10,000 claims.
//! * visible: in a running aggregator with 1,000 APIServices, from the answer to the creation of one more until a
//!   client's discovery shows it.
//! * faults: discovery under load, ten healthy backends beside three dead and three stopped ones, in alternating rounds.

#![allow(clippy::print_stdout, missing_docs, unreachable_pub, reason = "it prints its figures")]

mod backend;
mod faults;
#[path = "../hop/load.rs"]
mod load;
mod publish;
mod routing;
mod visible;

use std::time::Duration;

/// The media type of aggregated discovery.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["role", "backend", number, port] => backend::play(number.parse()?, port.parse()?).await,
        ["role", "aggregator", dir, urls @ ..] => faults::aggregator(dir, urls).await,
        [] => {
            publish::run()?;
            routing::run()?;
            visible::run().await?;
            faults::run().await
        }
        ["publish"] => publish::run(),
        ["routing"] => routing::run(),
        ["visible"] => visible::run().await,
        ["faults"] => faults::run().await,
        other => anyhow::bail!("there is no part {other:?}"),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
