//! Whether a silent connection is alive (by `grpc.health.v1`, or in HTTP/1.1 by a second handshake), and whether a
//! gRPC backend says that it serves. HTTPS over HTTP/2 is pinged by hyper.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use kubridge_bridge::caller::{Call, CallError, Caller as _, Class};
use prost::Message as _;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    backend::BackendCaller,
    call,
    connection::{Connection, prove_life},
    endpoint::Endpoint,
    options::Options,
    pulse::Pulse,
    tls::Tls,
};

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
/// up to every eighth `silence`; the first byte of anything else starts anew, and so does the next call.
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
    let mut calls = 0;
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
        // Something else than a check was heard, or another call waits.
        let known = std::mem::replace(&mut calls, pulse.calls());
        if known != calls || heard_check.is_some_and(|at| quiet_since > at + grace / 4) {
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
        let probe = call::probe(&strong, endpoint, CHECK);
        drop(strong);
        tokio::select! {
            () = probe => {}
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

/// How long an HTTP/1.1 connection is kept without a request.
const IDLE: Duration = Duration::from_secs(90);

/// Watches one HTTP/1.1 connection: when its request has waited `silence` without a byte, whoever listens at the
/// same address must shake hands anew within the grace, or the connection is cut. Asked less and less often while
/// the answer is yes. A connection that nobody used for a while is closed.
pub(super) async fn watch_http1(
    connection: Weak<Connection>,
    pulse: Arc<Pulse>,
    (address, tls, options): (SocketAddr, Tls, Options),
) {
    let gone = pulse.gone().clone();
    let watched = watch_http1_until_cut(&connection, &pulse, address, &tls, &options);
    let _ = gone.run_until_cancelled(watched).await;
}

async fn watch_http1_until_cut(
    connection: &Weak<Connection>,
    pulse: &Pulse,
    address: SocketAddr,
    tls: &Tls,
    options: &Options,
) {
    const SLOWEST: u32 = 8;
    let mut patience = 1;
    let mut proved = None;
    loop {
        let Some(strong) = connection.upgrade() else { return };
        if strong.in_flight() == 0 {
            (patience, proved) = (1, None);
            drop(strong);
            if timeout(IDLE, pulse.begun()).await.is_err() {
                let Some(strong) = connection.upgrade() else { return };
                // Nothing begins on a closed one; what has begun goes on.
                strong.close();
                if strong.in_flight() == 0 {
                    pulse.abandon();
                    return;
                }
            }
            continue;
        }
        drop(strong);
        let quiet_since = pulse.quiet_since();
        let since = proved.map_or(quiet_since, |at: Instant| at.max(quiet_since));
        if quiet_since >= since {
            patience = 1;
        }
        let due = since + options.silence * patience;
        if Instant::now() < due {
            sleep_until(due.min(Instant::now() + options.silence)).await;
            continue;
        }
        let asked = Instant::now();
        let alive = timeout(options.silence_grace, prove_life(address, tls)).await.unwrap_or(false);
        if !alive && !pulse.heard_since(asked) {
            // Refused at once: the connection may be ending by itself.
            sleep_until(asked + options.silence_grace).await;
            if !pulse.heard_since(asked) {
                tracing::warn!(%address, "a backend's connection is silent: cut");
                pulse.cut();
                return;
            }
        }
        proved = Some(Instant::now());
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
