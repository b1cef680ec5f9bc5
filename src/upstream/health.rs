//! `grpc.health.v1`: whether a silent connection is alive, and whether a backend says that it serves.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use kubridge_bridge::caller::{Call, CallError, Caller as _, Class};
use prost::Message as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::{backend::BackendCaller, call, connection::Connection, endpoint::Endpoint, pulse::Pulse};

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// What a backend says of a service: `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// It serves.
    Serving,
    /// It does not, or does not know the service.
    NotServing,
}

/// Asks `grpc.health.v1.Health/Check`; `service` empty asks for the whole server.
pub async fn check(caller: &BackendCaller, service: &str) -> Result<Serving, CallError> {
    let message = Bytes::from(HealthCheckRequest { service: service.to_owned() }.encode_to_vec());
    let answer = caller.unary(Call { path: CHECK.into(), message, class: Class::Read }).await?;
    match HealthCheckResponse::decode(answer) {
        Ok(HealthCheckResponse { status: 1 }) => Ok(Serving::Serving),
        Ok(_) | Err(_) => Ok(Serving::NotServing),
    }
}

/// Watches one connection: when its calls have waited `silence` without a byte, a health check is sent on it.
/// Any byte proves life, be it UNIMPLEMENTED; `grace` more without one, and the connection is cut.
///
/// A check is an ordinary call: servers count pings, not calls. An idle watch is asked less and less often,
/// up to every eighth `silence`; the first byte of anything else starts anew.
pub(super) async fn watch(
    connection: Weak<Connection>,
    pulse: Arc<Pulse>,
    endpoint: Endpoint,
    silence: Duration,
    grace: Duration,
) {
    let gone = pulse.gone().clone();
    let _ = gone.run_until_cancelled(watch_until_cut(&connection, &pulse, &endpoint, silence, grace)).await;
}

async fn watch_until_cut(
    connection: &Weak<Connection>,
    pulse: &Pulse,
    endpoint: &Endpoint,
    silence: Duration,
    grace: Duration,
) {
    const SLOWEST: u32 = 8;
    let mut patience = 1;
    let mut heard_check = None;
    loop {
        let Some(strong) = connection.upgrade() else { return };
        if strong.in_flight() == 0 {
            patience = 1;
            // Waiting must not keep the connection: the pool's handle decides its life.
            drop(strong);
            pulse.begun().await;
            continue;
        }
        let quiet_since = pulse.quiet_since();
        if heard_check.is_some_and(|at| quiet_since > at + grace / 4) {
            patience = 1;
        }
        let due = quiet_since + silence * patience;
        if Instant::now() < due {
            drop(strong);
            sleep_until(due.min(Instant::now() + silence)).await;
            continue;
        }
        if strong.in_flight() >= strong.peer_max() {
            // No stream is left for a check; TCP_USER_TIMEOUT watches the rest.
            drop(strong);
            sleep(silence).await;
            continue;
        }
        let asked = Instant::now();
        let sender = strong.sender();
        drop(strong);
        tokio::select! {
            () = call::probe(sender, endpoint, CHECK) => {}
            () = sleep(grace) => {}
        }
        if !pulse.heard_since(asked) {
            // A check that failed without a byte: the connection is ending by itself, or it is dead.
            sleep_until(asked + grace).await;
            if !pulse.heard_since(asked) {
                tracing::warn!(silence = ?(silence + grace), "a backend's connection is silent: cut");
                pulse.cut();
                return;
            }
        }
        heard_check = Some(pulse.quiet_since());
        patience = (patience * 2).min(SLOWEST);
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}
