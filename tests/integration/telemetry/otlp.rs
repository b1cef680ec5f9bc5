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
use tokio::{net::TcpListener, task::JoinHandle};

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;

/// See the module.
pub struct Collector {
    addr: SocketAddr,
    taken: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    server: JoinHandle<()>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let taken = Arc::default();
        let server = tokio::spawn(serve(listener, Arc::clone(&taken)));
        Self { addr, taken, server }
    }

    /// What `--otlp-endpoint` takes.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
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

async fn serve(listener: TcpListener, taken: Arc<Mutex<Vec<ExportTraceServiceRequest>>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let taken = Arc::clone(&taken);
        let service = service_fn(move |request| take(request, Arc::clone(&taken)));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

async fn take(
    request: Request<Incoming>,
    taken: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
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
