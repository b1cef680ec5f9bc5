//! A classic extension API server: HTTP/1.1 and HTTP/2 over TLS, with answers of the test's choice. It records what
//! reaches it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::{RootCertStore, ServerConfig, pki_types::CertificateDer, pki_types::pem::PemObject as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::Ca;

/// The group and version that the tests' servers serve.
pub const ECHO: &str = "/apis/echo.example.com/v1";

/// What they say of it.
pub const RESOURCES: &str = r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"echo.example.com/v1","resources":[{"name":"echoes","singularName":"echo","namespaced":false,"kind":"Echo","verbs":["get","list","watch","create"]}]}"#;

pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
type Handler = dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync;

/// What it speaks, and to whom.
#[derive(Debug, Clone)]
pub struct Speaks {
    /// The names in its certificate.
    pub names: Vec<&'static str>,
    pub alpn: Vec<&'static [u8]>,
    /// PEM: only these CAs' clients.
    pub client_ca: Option<String>,
}

impl Speaks {
    pub fn http2() -> Self {
        Self { names: vec!["echo.wardle.svc"], alpn: vec![b"h2", b"http/1.1"], client_ca: None }
    }

    pub fn http1() -> Self {
        Self { alpn: vec![b"http/1.1"], ..Self::http2() }
    }
}

/// One request's head, as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub version: Version,
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// `:authority`, else `Host`.
    pub host: String,
    pub headers: HeaderMap,
    /// What the client showed, DER.
    pub certificate: Option<Vec<u8>>,
    pub sni: Option<String>,
}

impl Seen {
    /// The values of a header.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect()
    }

    /// Name and value of all headers, sorted.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        lines.sort();
        lines
    }
}

/// See the module. It ends with its runtime.
#[derive(Debug, Clone)]
pub struct Extension {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    cut: broadcast::Sender<()>,
}

impl Extension {
    /// Answers everything with an object.
    pub async fn echo(ca: &Ca, speaks: Speaks) -> Self {
        Self::start(ca, speaks, |request| {
            Box::pin(async move {
                let whole = request.into_body().collect().await.map(|body| body.to_bytes());
                json(&format!(r#"{{"kind":"Echo","read":{}}}"#, whole.map_or(-1, |body| body.len() as i64)))
            })
        })
        .await
    }

    /// Answers with `handler`, but for what an aggregator asks of itself.
    pub async fn start(
        ca: &Ca,
        speaks: Speaks,
        handler: impl Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync + 'static,
    ) -> Self {
        let handler: Arc<Handler> = Arc::new(handler);
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let shared = Arc::clone(&seen);
        let cut = broadcast::Sender::new(1);
        let ends = cut.clone();
        let (addr, connections) = listen(ca, &speaks, move |stream, _number| {
            let (seen, handler, mut end) = (Arc::clone(&shared), Arc::clone(&handler), ends.subscribe());
            Box::pin(async move {
                tokio::select! {
                    _ = end.recv() => {}
                    () = serve(stream, seen, handler) => {}
                }
            })
        })
        .await;
        Self { addr, seen, connections, cut }
    }

    /// What has come so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request that has come since the last time.
    #[track_caller]
    pub fn take(&self) -> Seen {
        let mut seen = self.seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// Forgets what has come.
    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// Ends all connections.
    pub fn cut(&self) {
        let _ = self.cut.send(());
    }

    /// How many TLS connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A TLS server whose connections are the test's to serve, byte by byte.
pub async fn listen(
    ca: &Ca,
    speaks: &Speaks,
    serve: impl Fn(TlsStream<TcpStream>, usize) -> BoxFuture<'static, ()> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let acceptor = TlsAcceptor::from(Arc::new(config(ca, speaks)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, serve, counter) = (acceptor.clone(), Arc::clone(&serve), Arc::clone(&counter));
            tokio::spawn(async move {
                let _ = tcp.set_nodelay(true);
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let number = counter.fetch_add(1, Ordering::SeqCst);
                serve(stream, number).await;
            });
        }
    });
    (addr, connections)
}

fn config(ca: &Ca, speaks: &Speaks) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match &speaks.client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let (chain, key) = ca.server(&speaks.names);
    let mut config = builder.with_single_cert(vec![chain], key).unwrap();
    config.alpn_protocols = speaks.alpn.iter().map(|name| name.to_vec()).collect();
    config
}

async fn serve(stream: TlsStream<TcpStream>, seen: Arc<Mutex<Vec<Seen>>>, handler: Arc<Handler>) {
    let session = stream.get_ref().1;
    let certificate =
        session.peer_certificates().and_then(|chain| chain.first()).map(|first| first.as_ref().to_vec());
    let sni = session.server_name().map(str::to_owned);
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, seen, certificate, sni) =
            (Arc::clone(&handler), Arc::clone(&seen), certificate.clone(), sni.clone());
        async move {
            let uri = request.uri();
            let answer = match uri.path() {
                ECHO => json(RESOURCES),
                path if path == "/apis" || path == "/api" || path.starts_with("/openapi") => {
                    Response::builder().status(404).body(empty()).unwrap()
                }
                path if path.ends_with("/ready") => json("{}"),
                _ => {
                    let host = request.headers().get("host").map(|h| h.to_str().unwrap().to_owned());
                    seen.lock().unwrap().push(Seen {
                        version: request.version(),
                        method: request.method().clone(),
                        target: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                        host: uri.authority().map(ToString::to_string).or(host).unwrap_or_default(),
                        headers: request.headers().clone(),
                        certificate,
                        sni,
                    });
                    handler(request).await
                }
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let _ends_as_it_may = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// 200 with a JSON body.
pub fn json(text: &str) -> Response<Body> {
    Response::builder()
        .header("content-type", "application/json")
        .body(full(Bytes::copy_from_slice(text.as_bytes())))
        .unwrap()
}

pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub fn empty() -> Body {
    full(Bytes::new())
}

/// Fails when it takes longer than any of these tests should wait.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("it comes in time")
}
