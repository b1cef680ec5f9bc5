//! One question to an HTTPS backend, as kube-aggregator asks it.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout};

use super::Asker;
use crate::upstream::Backend;

/// The largest document that is read: kube-apiserver's own OpenAPI v2 has less than a tenth of it.
const MAX_DOCUMENT: usize = 64 << 20;

/// Who asks for what (kube-aggregator's names; backends' RBAC knows them).
#[derive(Debug, Clone, Copy)]
pub(super) enum As {
    /// For discovery.
    Aggregator,
    /// For OpenAPI documents.
    OpenApi,
}

/// An answer with its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Its media type with parameters; empty: none.
    pub(super) media: String,
    /// Empty: none.
    pub(super) etag: String,
    pub(super) body: Bytes,
}

/// Asks one backend.
#[derive(Debug, Clone)]
pub(super) struct Client {
    backend: Backend,
    asker: Asker,
}

impl Client {
    pub(super) fn new(backend: Backend, asker: Asker) -> Self {
        Self { backend, asker }
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// `GET path`. The error is for conditions and the log.
    pub(super) async fn get(
        &self,
        who: As,
        path: &str,
        accept: &'static str,
        etag: &str,
    ) -> Result<Answer, String> {
        // kube-aggregator's: 5 s for discovery, 60 s for OpenAPI.
        let patience = match who {
            As::Aggregator => Duration::from_secs(5),
            As::OpenApi => Duration::from_secs(60),
        };
        let outcome = timeout(patience, self.exchange(who, path, accept, etag, patience)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")));
        outcome.map_err(|why| self.failing(path, &why))
    }

    async fn exchange(
        &self,
        who: As,
        path: &str,
        accept: &str,
        etag: &str,
        patience: Duration,
    ) -> Result<Answer, String> {
        let request = self.request(who, path, accept, etag).await?;
        let response = self.backend.ask(request, Instant::now() + patience).await;
        let (head, incoming) = response.map_err(|error| error.to_string())?.into_parts();
        let body = read(incoming).await?;
        let media = text(head.headers.get(header::CONTENT_TYPE));
        let etag = text(head.headers.get(header::ETAG));
        Ok(Answer { status: head.status, media, etag, body })
    }

    async fn request(&self, who: As, path: &str, accept: &str, etag: &str) -> Result<Request<Bytes>, String> {
        let mut request = Request::get(path)
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, concat!("kubridge/", env!("CARGO_PKG_VERSION")));
        match (&self.asker, who) {
            (Asker::FrontProxy, As::Aggregator) => {
                request = request.header("x-remote-user", "system:kube-aggregator");
                request = request.header("x-remote-group", "system:masters");
            }
            (Asker::FrontProxy, As::OpenApi) => {
                request = request.header("x-remote-user", "system:aggregator");
            }
            (Asker::Own(Some(token)), _) => {
                request = request.header(header::AUTHORIZATION, token.bearer().await?);
            }
            (Asker::Own(None), _) => {}
        }
        if !etag.is_empty() {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        request.body(Bytes::new()).map_err(|error| error.to_string())
    }

    /// kube-aggregator's words.
    pub(super) fn failing(&self, path: &str, why: &str) -> String {
        format!("failing or missing response from {}{path}: {why}", self.backend.endpoint())
    }
}

/// At most [`MAX_DOCUMENT`] bytes.
async fn read(
    mut body: impl http_body::Body<Data = Bytes, Error: fmt::Display> + Unpin,
) -> Result<Bytes, String> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| format!("the answer broke off: {error}"))?.into_data() {
            if read.len() + data.len() > MAX_DOCUMENT {
                return Err(format!("the answer has more than {MAX_DOCUMENT} bytes"));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read.freeze())
}

fn text(value: Option<&HeaderValue>) -> String {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
