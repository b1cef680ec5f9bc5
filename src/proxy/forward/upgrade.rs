//! Requests that ask for another protocol: WebSocket or SPDY, as kubectl exec, attach and port-forward do.
//!
//! The client gets its 101 only after the backend's; until then nothing that it sends is passed on. Any other answer
//! ends the client's connection (the server's steps see to it): what it sent in hope reaches nobody.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use kubridge_bridge::status::ApiError;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, copy, split},
    time::{Instant, timeout},
};

use super::{Forward, headers, no_upgrade};
use crate::{
    body::{self, Body},
    lifecycle::Drain,
    proxy::Caller,
    upstream::{Switched, Upgrade},
};

/// What is passed on.
const PROTOCOLS: [&str; 2] = ["websocket", "SPDY/3.1"];
/// How long one direction may go on when the other has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long the client's connection may take to change hands.
const HANDOVER: Duration = Duration::from_secs(10);

impl Forward {
    pub(super) async fn upgrade(
        &self,
        mut request: Request<Incoming>,
        caller: &Caller,
        drain: &Drain,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>, ApiError> {
        let protocol = asked_for(request.headers())?;
        if !request.body().is_end_stream() {
            return Err(ApiError::bad_request("a request that asks for another protocol has no body"));
        }
        let client = hyper::upgrade::on(&mut request);
        self.head(&mut request, caller).await?;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
        strip_bearer(headers);
        let method = request.method().clone();
        caller.journey.set_backend(self.backend.endpoint());
        let asked = self.backend.upgrade(request.map(drop), deadline);
        let outcome = caller.journey.upstream(asked).await;
        match outcome.map_err(|error| self.failed(&error, &method))? {
            Upgrade::Switched(response) => self.switched(*response, protocol, client, drain.clone()),
            Upgrade::Refused(response) if response.status().as_u16() < 400 => {
                let message = format!("invalid upgrade response: status code {}", response.status().as_u16());
                let log = format!("{}: it did not switch protocols", self.who);
                Err(ApiError::service_unavailable(message).with_log(log))
            }
            Upgrade::Refused(response) => self.answer(*response, &method, None, None),
        }
    }

    /// The client's 101; behind it bytes are copied until one side ends.
    fn switched(
        &self,
        response: Response<Switched>,
        protocol: &'static str,
        client: OnUpgrade,
        drain: Drain,
    ) -> Result<Response<Body>, ApiError> {
        let (mut head, backend) = response.into_parts();
        let switched_to: Vec<&str> = headers::tokens(&head.headers, &header::UPGRADE).collect();
        if !matches!(switched_to[..], [only] if only.eq_ignore_ascii_case(protocol)) {
            let log = format!("{}: it switched to {switched_to:?}, not to {protocol}", self.who);
            return Err(ApiError::bad_gateway("the backend switched to a protocol that was not asked for")
                .with_log(log));
        }
        headers::response(&mut head.headers, headers::Length::Unknown);
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
        tokio::spawn(async move {
            let Switched { io, held } = backend;
            if let Ok(Ok(client)) = timeout(HANDOVER, client).await {
                tokio::select! {
                    () = drain.draining() => {}
                    () = pipe(TokioIo::new(client), TokioIo::new(io)) => {}
                }
            }
            drop(held);
        });
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = head.headers;
        Ok(response)
    }
}

/// Copies both ways until both have ended, or one has and the other had its time.
async fn pipe(client: impl AsyncRead + AsyncWrite, backend: impl AsyncRead + AsyncWrite) {
    let (from_client, to_client) = split(client);
    let (from_backend, to_backend) = split(backend);
    let mut there = std::pin::pin!(copy_all(from_client, to_backend));
    let mut back = std::pin::pin!(copy_all(from_backend, to_client));
    let last_words = tokio::select! {
        () = there.as_mut() => timeout(LAST_WORDS, back).await,
        () = back.as_mut() => timeout(LAST_WORDS, there).await,
    };
    if last_words.is_err() {
        tracing::debug!("one side of an upgraded connection has ended, the other was cut");
    }
}

/// Up to the end, which is passed on; or up to an error.
async fn copy_all<R: AsyncRead, W: AsyncWrite>(mut from: ReadHalf<R>, mut to: WriteHalf<W>) {
    // Both ends are streams whose failures the other side sees as their end.
    let _ = copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

/// The one protocol that is asked for.
fn asked_for(headers: &HeaderMap) -> Result<&'static str, ApiError> {
    let mut asked = headers::tokens(headers, &header::UPGRADE);
    let (first, second) = (asked.next().unwrap_or_default(), asked.next());
    let known = PROTOCOLS.into_iter().find(|known| known.eq_ignore_ascii_case(first));
    known.filter(|_| second.is_none()).ok_or_else(|| no_upgrade(first))
}

/// Takes a browser's bearer token out of the protocols that a WebSocket is asked for.
fn strip_bearer(headers: &mut HeaderMap) {
    const BEARER: &str = "base64url.bearer.authorization.k8s.io.";
    let name = header::SEC_WEBSOCKET_PROTOCOL;
    if !headers::tokens(headers, &name).any(|token| token.starts_with(BEARER)) {
        return;
    }
    let kept: Vec<&str> =
        headers::tokens(headers, &name).filter(|token| !token.starts_with(BEARER)).collect();
    let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|kept| !kept.is_empty());
    headers.remove(&name);
    if let Some(kept) = kept {
        headers.insert(name, kept);
    }
}
