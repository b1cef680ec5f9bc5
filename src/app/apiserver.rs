//! A client of a Kubernetes API server, ours or any other: what the command line needs of one.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kubridge_bridge::status::Status;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::aggregation::certificate;
use crate::{
    config::{Kubeconfig, Token},
    registry::Protocol,
    upstream::{Backend, Endpoint, Options, TlsOptions},
};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read: an OpenAPI document of thousands of kinds.
const MAX_ANSWER: usize = 64 << 20;

/// A server, and who we are to it.
#[derive(Debug)]
pub(super) struct ApiServer {
    backend: Backend,
    token: Option<Token>,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl ApiServer {
    /// Connects to nothing yet.
    pub(super) fn new(kubeconfig: &Kubeconfig) -> anyhow::Result<Self> {
        let endpoint = Endpoint::new(Protocol::Https, &kubeconfig.host, kubeconfig.port)?;
        let own = kubeconfig.client_certificate.as_ref();
        let tls = TlsOptions {
            ca: kubeconfig.ca.clone(),
            server_name: kubeconfig.tls_server_name.clone(),
            identity: own.map(|(chain, key)| certificate(chain, key)).transpose()?,
            insecure_skip_tls_verify: kubeconfig.insecure_skip_tls_verify,
        };
        let backend = Backend::new(endpoint, &tls, Options::default())?;
        Ok(Self { backend, token: kubeconfig.token.clone() })
    }

    /// `GET path`, in JSON.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Sends an object.
    pub(super) async fn send(&self, method: Method, path: &str, object: &Value) -> anyhow::Result<Answer> {
        self.ask(method, path, serde_json::to_vec(object)?.into()).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("kubridge/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            let bearer = token.bearer().await.map_err(anyhow::Error::msg)?;
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let answer = self.backend.ask(request.body(body)?, Instant::now() + PATIENCE).await;
        let answer = answer.with_context(|| {
            format!(
                "{} cannot be asked; see that it runs, or name another --kubeconfig",
                self.backend.endpoint()
            )
        })?;
        let (head, mut incoming) = answer.into_parts();
        let mut read = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| anyhow::anyhow!("the answer to {path} broke off: {error}"))?;
            let Ok(data) = frame.into_data() else { continue };
            anyhow::ensure!(
                read.len() + data.len() <= MAX_ANSWER,
                "the answer to {path} has more than {MAX_ANSWER} bytes"
            );
            read.extend_from_slice(&data);
        }
        Ok(Answer { status: head.status, body: read.freeze() })
    }
}

impl Answer {
    /// The document of an answer that is one; the error is what the server says instead.
    pub(super) fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        if !self.status.is_success() {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body)
            .context("the server answers with something that is no such document")
    }

    /// The same; `None` where there is no such thing.
    pub(super) fn found<T: DeserializeOwned>(&self) -> anyhow::Result<Option<T>> {
        if self.status == StatusCode::NOT_FOUND { Ok(None) } else { self.json().map(Some) }
    }

    /// What the server says: the message of its Status.
    pub(super) fn refusal(&self) -> anyhow::Error {
        let code = self.status.as_u16();
        match serde_json::from_slice::<Status>(&self.body) {
            Ok(status) => anyhow::anyhow!("the server answers {code} {}: {}", status.reason, status.message),
            Err(_) => anyhow::anyhow!("the server answers {}, and no Status", self.status),
        }
    }
}
