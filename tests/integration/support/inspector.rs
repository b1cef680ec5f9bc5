//! A TLS endpoint between kubectl and the aggregator that holds every exchange against the general rules.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::client::{Client, Exchange, faults};

/// What kubectl sends where it has no token of its own; the inspector then speaks as its client does.
pub const NO_TOKEN: &str = "none";

type Body = UnsyncBoxBody<Bytes, reqwest::Error>;

/// See the module. It ends with its runtime.
#[derive(Debug, Clone)]
pub struct Inspector {
    addr: SocketAddr,
    certificate: String,
    found: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<usize>>,
}

impl Inspector {
    /// Passes everything on to where `client` speaks to.
    pub async fn start(client: Client) -> Self {
        let own =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let chain = vec![CertificateDer::from(own.cert.der().to_vec())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let mut tls =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inspector = Self {
            addr: listener.local_addr().unwrap(),
            certificate: own.cert.pem(),
            found: Arc::default(),
            seen: Arc::default(),
        };
        tokio::spawn(inspector.clone().accept(listener, TlsAcceptor::from(Arc::new(tls)), client));
        inspector
    }

    /// Where kubectl is to look for the aggregator.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.addr.port())
    }

    /// What kubectl is to verify it by, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Fails if a rule was broken since the last time.
    #[track_caller]
    pub fn check(&self) {
        let found = std::mem::take(&mut *self.found.lock().unwrap());
        assert!(found.is_empty(), "broken rules:\n{}", found.join("\n"));
    }

    /// How many exchanges passed through.
    pub fn seen(&self) -> usize {
        *self.seen.lock().unwrap()
    }

    async fn accept(self, listener: TcpListener, tls: TlsAcceptor, client: Client) {
        while let Ok((socket, _)) = listener.accept().await {
            let (inspector, tls, client) = (self.clone(), tls.clone(), client.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(socket).await else { return };
                let service = service_fn(move |request| {
                    let (inspector, client) = (inspector.clone(), client.clone());
                    async move { Ok::<_, Infallible>(inspector.pass(request, &client).await) }
                });
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    async fn pass(&self, request: Request<Incoming>, client: &Client) -> Response<Body> {
        *self.seen.lock().unwrap() += 1;
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let what = format!("{} {path}", head.method);
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let answer =
            client.request(head.method.clone(), path).headers(passed_on(&head.headers)).body(body).send();
        match answer.await {
            Ok(answer) => self.inspected(what, &head.method, answer).await,
            Err(error) => {
                self.found.lock().unwrap().push(format!("{what}: {error:?}"));
                let mut response = Response::new(whole(Bytes::new()));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }

    async fn inspected(&self, what: String, method: &Method, answer: reqwest::Response) -> Response<Body> {
        let (status, headers) = (answer.status(), answer.headers().clone());
        // An error is whole, a list or a watch comes as it comes: of those the head is looked at.
        let (body, exchange) = if status.is_client_error() || status.is_server_error() {
            let bytes = answer.bytes().await.unwrap_or_default();
            (whole(bytes.clone()), Exchange { status, headers: headers.clone(), body: bytes })
        } else {
            let exchange = Exchange { status, headers: headers.clone(), body: Bytes::from_static(b"-") };
            let frames = answer.bytes_stream().map_ok(Frame::data);
            (BodyExt::boxed_unsync(StreamBody::new(frames)), exchange)
        };
        if *method != Method::HEAD && status != StatusCode::NOT_MODIFIED {
            self.found.lock().unwrap().extend(faults(&what, &exchange));
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        response
    }
}

/// Everything but what belongs to the connection, and the token that stands for none.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION] {
        headers.remove(name);
    }
    if headers.get(header::AUTHORIZATION).is_some_and(|v| v == &format!("Bearer {NO_TOKEN}")) {
        headers.remove(header::AUTHORIZATION);
    }
    headers
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
