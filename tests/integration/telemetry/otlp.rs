//! A collector: takes what comes over OTLP/HTTP in protobuf.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::support::Ca;

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;

/// See the module.
pub struct Collector {
    addr: SocketAddr,
    taken: Taken,
    server: JoinHandle<()>,
    scheme: &'static str,
}

impl Collector {
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// One that speaks TLS, with a certificate of this CA.
    pub async fn start_tls(ca: &Ca) -> Self {
        let own = ca.backend("");
        let chain = CertificateDer::pem_slice_iter(&own.certificate).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&own.key).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Self::with(Some(TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap())))).await
    }

    async fn with(tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let taken = Arc::default();
        let server = tokio::spawn(serve(listener, tls, Arc::clone(&taken)));
        Self { addr, taken, server, scheme }
    }

    /// What `--otlp-endpoint` takes.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// Its URL, where nobody listens any more.
    pub fn stopped(self) -> String {
        self.server.abort();
        self.url()
    }

    /// The resource's attributes, and all spans that came.
    pub fn spans(&self) -> (Vec<KeyValue>, Vec<Span>) {
        let taken = self.taken.lock().unwrap();
        let all: Vec<_> = taken.iter().flat_map(|request| &request.resource_spans).collect();
        let resource = all.first().and_then(|spans| spans.resource.clone()).unwrap_or_default();
        let spans = all.iter().flat_map(|spans| &spans.scope_spans).flat_map(|scope| scope.spans.clone());
        (resource.attributes, spans.collect())
    }
}

type Taken = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, taken: Taken) {
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, taken) = (tls.clone(), Arc::clone(&taken));
        tokio::spawn(async move {
            match tls {
                None => connection(socket, taken).await,
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        connection(socket, taken).await;
                    }
                }
            }
        });
    }
}

async fn connection(socket: impl AsyncRead + AsyncWrite + Unpin, taken: Taken) {
    let service = service_fn(move |request| take(request, Arc::clone(&taken)));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn take(request: Request<Incoming>, taken: Taken) -> Result<Response<Empty<Bytes>>, Infallible> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    taken.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
    let mut response = Response::new(Empty::new());
    response.headers_mut().insert("content-type", "application/x-protobuf".parse().unwrap());
    Ok(response)
}

/// The value of an attribute, as text; empty: there is none.
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
