//! What can be seen of the process from outside: the listener of metrics, what is counted of APIServices, and the way
//! to a collector of traces.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::{
    config::{self, Config},
    data_dir::read_text,
    metrics::Metrics,
    registry::{AVAILABLE, Registry},
    telemetry::Traces,
};

/// The socket of `--metrics-listen`.
pub(super) async fn bind(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.metrics_listen else { return Ok(None) };
    let bound = match TcpListener::bind(address).await {
        // ":9090" on a machine without IPv6.
        Err(_) if address.ip().is_unspecified() && address.is_ipv6() => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))).await
        }
        bound => bound,
    };
    let bound = bound.with_context(|| {
        format!("cannot listen on {address} (--metrics-listen names another address, port 0 any free one)")
    })?;
    Ok(Some(bound))
}

/// Counts what the `Available` conditions say, and forgets what is no longer claimed. Until it is dropped.
pub(super) async fn follow(registry: Registry, metrics: Arc<Metrics>) {
    let mut snapshots = registry.snapshots();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let names: HashSet<&str> = snapshot.claims.iter().map(|claim| claim.name.as_str()).collect();
        metrics.keep(|name| names.contains(name));
        for claim in &snapshot.claims {
            // None yet: nobody has looked.
            if let Some(said) = claim.conditions.iter().find(|condition| condition.r#type == AVAILABLE) {
                metrics.set_available(&claim.name, said.status == "True", &said.reason);
            }
        }
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// The way to the collector of `--otlp-endpoint`.
pub(super) fn traces(config: &Config) -> anyhow::Result<Option<Arc<Traces>>> {
    let Some(config::Traces { settings, ca_file }) = &config.traces else { return Ok(None) };
    let ca = match ca_file {
        Some(file) => {
            let given = read_text(file).context("--otlp-ca-file")?;
            Some(given.with_context(|| format!("--otlp-ca-file: {} is not there", file.display()))?)
        }
        None => None,
    };
    let traces = Traces::new(settings, ca.as_deref().map(str::as_bytes));
    traces.map(Some).with_context(|| format!("--otlp-endpoint {}", settings.endpoint))
}
