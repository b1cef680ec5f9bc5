//! `grpc.health.v1.Health/Watch`: what a backend says of itself, as it changes.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::HeaderMap;
use kubridge_bridge::caller::{Call, CallError, Caller as _, Class, Code};
use prost::Message as _;
use tokio::time::Instant;

use super::{
    backend::Backend,
    health::{HealthCheckRequest, HealthCheckResponse, Serving},
};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// How long an answer may take: as long as Kubernetes gives its probes.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a watch of a backend's health ended.
#[derive(Debug, Clone)]
pub enum HealthEnd {
    /// The backend does not report its health.
    Unimplemented,
    /// The stream ended: the connection did, or the backend stops. `None`: without an error.
    Lost(Option<CallError>),
}

/// Whether and how a backend answers.
#[derive(Debug, Clone)]
pub enum Life {
    /// It says how it is.
    Says(Serving),
    /// It answers, and has nothing to say about its health.
    Answers,
    /// It does not answer.
    Silent(CallError),
}

/// Tells what the backend says of the whole server (the service ""), as it changes, until the stream ends.
/// `None`: it does not know that service, so it says nothing of itself.
///
/// One replica answers. Where there are more, [`ask`] hears others.
pub async fn follow(backend: &Backend, mut tell: impl FnMut(Option<Serving>)) -> HealthEnd {
    // A watch has no deadline; a silent connection is found out and cut, like that of any watch.
    let stream = backend.caller(HeaderMap::new(), None).aside().stream(call(WATCH)).await;
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(error) => return end(error),
    };
    while let Some(message) = stream.next().await {
        match message {
            Ok(message) => tell(said(&message)),
            Err(error) => return end(error),
        }
    }
    HealthEnd::Lost(None)
}

/// Asks one replica once. Any answer, an error too, is a sign of life.
pub async fn ask(backend: &Backend) -> Life {
    let caller = backend.caller(HeaderMap::new(), Some(Instant::now() + PATIENCE)).aside();
    match caller.unary(call(CHECK)).await {
        Ok(message) => said(&message).map_or(Life::Answers, Life::Says),
        Err(CallError::Status(status)) if status.code != Code::Unavailable => Life::Answers,
        Err(error) => Life::Silent(error),
    }
}

fn call(path: &'static str) -> Call {
    let message = Bytes::from(HealthCheckRequest::default().encode_to_vec());
    Call { path: path.into(), message, class: Class::Read }
}

fn said(message: &[u8]) -> Option<Serving> {
    match HealthCheckResponse::decode(message).ok()?.status {
        1 => Some(Serving::Serving),
        2 => Some(Serving::NotServing),
        _ => None,
    }
}

fn end(error: CallError) -> HealthEnd {
    match &error {
        CallError::Status(status) if status.code == Code::Unimplemented => HealthEnd::Unimplemented,
        _ => HealthEnd::Lost(Some(error)),
    }
}
