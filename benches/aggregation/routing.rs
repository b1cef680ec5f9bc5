//! Which route a request takes, among few and among many claims.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use kubridge::{
    authz::Authorizer,
    config::AuthorizationMode,
    proxy::{Backend, Route, Routes},
};
use kubridge_bridge::{
    model::{Api, Rules, Schema},
    request_info::RequestInfo,
};

const FEW: usize = 10;
const MANY: usize = 10_000;
const REQUESTS: usize = 20_000;
const ROUNDS: usize = 40;

pub fn run() -> anyhow::Result<()> {
    let schema = Schema::from_descriptor_set(inventory::DESCRIPTORS, Rules::default())
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let (few, many) = (routes(FEW, &schema.apis[0]), routes(MANY, &schema.apis[0]));
    // The same requests for both, and then one for each of the many.
    let (same, spread) = (paths(FEW), paths(MANY));
    let mut times = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        for (time, (routes, paths)) in times.iter_mut().zip([(&few, &same), (&many, &same), (&many, &spread)])
        {
            *time = (*time).min(round(routes, paths)?);
        }
    }
    let [few, many, spread] = times.map(|time| time.as_secs_f64() * 1e9 / REQUESTS as f64);
    println!("routing: among {FEW} claims {few:.0} ns a request, among {MANY} {many:.0} ns");
    println!("routing: ratio {:.3}   (bar: 1.05)", many / few);
    println!(
        "routing: each request for another of {MANY} claims, none in the processor's caches: {spread:.0} ns, ratio {:.2}",
        spread / few
    );
    Ok(())
}

fn routes(claims: usize, api: &Arc<Api>) -> Routes {
    let mut routes = Routes::default();
    for n in 0..claims {
        let backend = Backend::Review(Authorizer::new(AuthorizationMode::SystemMasters));
        routes.insert(&group(n), "v1", Route::Served { api: Arc::clone(api), backend });
    }
    routes
}

fn group(n: usize) -> String {
    format!("g{n:05}.example.com")
}

/// As many in any case, so that reading them costs the same; in no order that a cache would like.
fn paths(claims: usize) -> Vec<String> {
    let path = |n| format!("/apis/{}/v1/namespaces/default/machines/atlas", group(n));
    (0..MANY).map(|n| path(n * 7919 % claims)).collect()
}

/// The time for all requests: the path is read, and its route found.
fn round(routes: &Routes, paths: &[String]) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    for path in paths.iter().cycle().take(REQUESTS) {
        let info = RequestInfo::new(&Method::GET, black_box(path), "");
        let found = routes.resolve(&info).map_err(|error| anyhow::anyhow!("{path}: {error:?}"))?;
        black_box(found);
    }
    Ok(begin.elapsed())
}
