//! All documents anew, after one of many has changed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, header};
use kubridge::discovery::{Claimed, Discovery, Freshness};
use kubridge_bridge::{
    discovery_doc::VersionDocument,
    model::{Rules, Schema},
};

const CLAIMS: usize = 1000;
const ROUNDS: usize = 50;

pub fn run() -> anyhow::Result<()> {
    let schema = Schema::from_descriptor_set(inventory::DESCRIPTORS, Rules::default())
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let document = || Arc::new(VersionDocument::of_schema(&schema.apis[0]));
    let mut claimed: Vec<Claimed> = (0..CLAIMS)
        .map(|n| Claimed {
            group: format!("g{n:04}.example.com"),
            version: "v1".to_owned(),
            api_service: format!("v1.g{n:04}.example.com"),
            document: Some(document()),
            freshness: Freshness::Current,
        })
        .collect();
    let discovery = Discovery::default();
    let begin = Instant::now();
    discovery.publish(&claimed);
    println!("publish: {CLAIMS} APIServices for the first time: {:.1?}", begin.elapsed());
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        claimed[round * 7 % CLAIMS].document = Some(document());
        claimed[round * 13 % CLAIMS].freshness =
            if round % 2 == 0 { Freshness::Stale } else { Freshness::Current };
        let begin = Instant::now();
        anyhow::ensure!(discovery.publish(&claimed), "nothing has changed");
        times.push(begin.elapsed());
    }
    let most = times.iter().max().copied().unwrap_or_default();
    let begin = Instant::now();
    anyhow::ensure!(!discovery.publish(&claimed), "something has changed");
    let unchanged = begin.elapsed();
    let headers = HeaderMap::from_iter([
        (header::ACCEPT, HeaderValue::from_static(crate::AGGREGATED)),
        (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
    ]);
    let serve = || {
        let begin = Instant::now();
        discovery.serve(&Method::GET, "/apis", "", &headers).map(|_| begin.elapsed())
    };
    let (first, second): (Duration, Duration) =
        (serve().map_err(|e| anyhow::anyhow!(e))?, serve().map_err(|e| anyhow::anyhow!(e))?);
    println!(
        "publish: all documents after one has changed: median {:.1?}, longest {most:.1?} of {ROUNDS}   (bar: 50 ms)",
        crate::median(times),
    );
    println!(
        "publish: nothing has changed: {unchanged:.1?}; first gzip answer {first:.1?}, any later {second:.1?}"
    );
    Ok(())
}
