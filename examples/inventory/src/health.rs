//! Asking an inventory how it is: for the health check of a container, which has nothing else to ask with.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// Asks grpc.health.v1 for the whole server. An error unless it says SERVING within `limit`.
pub async fn check_health(addr: SocketAddr, limit: Duration) -> anyhow::Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))?.connect_timeout(limit).timeout(limit);
    let channel = endpoint.connect().await.with_context(|| format!("nobody serves at {addr}"))?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    match answer.with_context(|| format!("{addr} does not say how it is"))?.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => bail!("{addr} is {}", other.as_str_name()),
    }
}
