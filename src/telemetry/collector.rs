//! The way to an OTLP collector: one HTTP/1.1 request for each batch of spans, over a connection of its own.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::error_chain;

/// For one batch, from the connection to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A collector answers with a few words, if any.
const MAX_ANSWER: usize = 1 << 20;

/// Why a collector cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The CA is none.
    #[error("no certificate can be read in it")]
    Ca,
    /// TLS cannot be set up.
    #[error("TLS to the collector")]
    Tls(#[from] rustls::Error),
}

/// See the module. It says in the log when a collector stops to answer and when it answers again, and nothing else.
#[derive(Clone)]
pub(super) struct Collector {
    tls: Option<TlsConnector>,
    /// Batches are made on a thread that is no part of the runtime.
    runtime: Handle,
    failing: Arc<AtomicBool>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl Collector {
    /// `ca`: what an `https` collector is verified against, PEM. Within a runtime.
    pub(super) fn new(ca: Option<&[u8]>) -> Result<Self, CollectorError> {
        let tls = ca.map(client_config).transpose()?;
        Ok(Self { tls, runtime: Handle::current(), failing: Arc::default() })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or("the collector's URL has no host")?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((name.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        match (&self.tls, is_tls) {
            (Some(tls), true) => {
                let stream = tls.connect(ServerName::try_from(name)?, stream).await?;
                exchange(stream, request, &uri).await
            }
            (None, true) => Err("an https collector needs a CA".into()),
            (_, false) => exchange(stream, request, &uri).await,
        }
    }

    fn told(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let problem = match outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(error_chain(error.as_ref())),
        };
        match problem {
            Some(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(error, "traces are lost: the collector of --otlp-endpoint does not take them");
            }
            None if self.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!("the collector of --otlp-endpoint takes traces again");
            }
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let this = self.clone();
        let sent = self.runtime.spawn(async move {
            let outcome = match timeout(TIMEOUT, this.send(request)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            };
            this.told(&outcome);
            outcome
        });
        sent.await?
    }
}

async fn exchange<S>(stream: S, request: Request<Bytes>, uri: &Uri) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = request.map(Full::new);
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // Whatever stands before an @ is a secret.
    let host = authority.rsplit('@').next().unwrap_or_default();
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(host)?);
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok::<_, HttpError>(Response::from_parts(head, body))
    };
    // The connection is done when it has been answered; until then it must be driven.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => {
            ended?;
            answer.await
        }
    }
}

fn client_config(ca: &[u8]) -> Result<TlsConnector, CollectorError> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(ca).filter_map(Result::ok);
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(CollectorError::Ca);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
