//! Real sockets: rustls clients with certificates of a real data directory, HTTP/1.1 and HTTP/2.

#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::FutureExt as _;
use http::StatusCode;
use http_body_util::BodyExt as _;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::*;
use crate::{
    body,
    config::{AuthorizationMode, San, Tls},
    data_dir::DataDir,
    discovery::Discovery,
    metrics::Metrics,
    openapi::OpenApi,
    pki::{Names, Pki},
    proxy::Proxy,
};

mod in_cluster;

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
const TOKENS: &str = "alice-token,alice,1,dev\nroot-token,root,2,system:masters\n";
const ID: &str = "0a1b2c3d-0000-4000-8000-000000000000";

struct Running {
    temp: tempfile::TempDir,
    pki: Pki,
    address: SocketAddr,
    lifecycle: Lifecycle,
    task: JoinHandle<()>,
}

/// A server with the real steps; `last` stands in for the router.
async fn start(mode: AuthorizationMode, timeout: Duration, last: Option<Handler>) -> Running {
    let tokens = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tokens.path(), TOKENS).unwrap();
    let authenticator = Authenticator::new(Some(tokens.path().into())).unwrap();
    serve((authenticator, Authorizer::new(mode)), timeout, last).await
}

async fn serve(
    (authenticator, authorizer): (Authenticator, Authorizer),
    timeout: Duration,
    last: Option<Handler>,
) -> Running {
    let temp = tempfile::tempdir().unwrap();
    let data = DataDir::open(&temp.path().join("data")).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let names = Names {
        sans: vec![San::Dns("api.example.com".into())],
        server_url: Some(format!("https://{address}")),
    };
    let pki = Pki::open(&data, &Tls::default(), names, SystemTime::now()).unwrap();
    let lifecycle = Lifecycle::new();
    let metrics = Metrics::new();
    let router = Router {
        lifecycle: lifecycle.clone(),
        discovery: Arc::new(Discovery::default()),
        openapi: Arc::new(OpenApi::default()),
        proxy: Arc::new(Proxy::new(Lifecycle::new().drain(), None)),
        metrics: metrics.clone(),
    };
    let server = Server::new(Parts {
        authenticator: Arc::new(authenticator),
        authorizer,
        handler: last.unwrap_or_else(|| router.handler()),
        lifecycle: lifecycle.clone(),
        metrics,
        traces: None,
        request_timeout: timeout,
        serving: pki.serving(),
        client_roots: pki.client_roots().to_vec(),
    })
    .unwrap();
    let task = tokio::spawn(server.serve(socket));
    Running { temp, pki, address, lifecycle, task }
}

async fn real() -> Running {
    start(AuthorizationMode::SystemMasters, Duration::from_secs(60), None).await
}

/// Tells what it was told.
fn echo() -> Handler {
    Handler::new(|request, info, caller| {
        let headers: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
        let user = &caller.user;
        let told = json!({
            "user": user.username, "groups": user.groups, "verb": info.verb, "headers": headers,
            "extra": user.extra.keys().collect::<Vec<_>>(),
        });
        async move {
            let mut response = respond::json(StatusCode::OK, &told, Style::default());
            // A proxied answer may bring its own.
            response.headers_mut().append("audit-id", "from-below".parse().unwrap());
            Ok(response)
        }
        .boxed()
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Http {
    One,
    Two,
}

impl Running {
    fn client(&self, http: Http, with_certificate: bool) -> reqwest::Client {
        let identity = with_certificate.then(|| {
            use rustls::pki_types::pem::PemObject as _;
            let pem = std::fs::read(self.temp.path().join("data/pki/admin.pem")).unwrap();
            let chain = vec![CertificateDer::from_pem_slice(&pem).unwrap()];
            (chain, PrivateKeyDer::from_pem_slice(&pem).unwrap())
        });
        self.client_of(http, identity)
    }

    fn client_of(
        &self,
        http: Http,
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> reqwest::Client {
        let mut roots = rustls::RootCertStore::empty();
        for root in self.pki.client_roots() {
            roots.add(root.clone()).unwrap();
        }
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
        let mut config = match identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = match http {
            Http::One => vec![b"http/1.1".to_vec()],
            Http::Two => vec![b"h2".to_vec()],
        };
        let builder = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy();
        if http == Http::One { builder.http1_only() } else { builder }.build().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

struct Answer {
    code: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        Self { code, headers, text: response.text().await.unwrap() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text))
    }

    /// The rules of every answer, and a Status where it is an error.
    fn check(&self, code: u16) {
        assert_eq!(self.code, code, "{}", self.text);
        assert_eq!(self.headers.get_all("audit-id").iter().count(), 1);
        assert_eq!(self.headers["cache-control"], "no-cache, private");
        if code >= 400 {
            assert_eq!(self.headers["content-type"], "application/json");
            let status = self.json();
            assert_eq!((&status["kind"], &status["apiVersion"]), (&json!("Status"), &json!("v1")));
            assert_eq!((&status["status"], &status["code"]), (&json!("Failure"), &json!(code)));
            assert!(!self.headers.contains_key("retry-after"));
        }
    }
}

#[tokio::test]
async fn who_may_what() {
    for http in [Http::One, Http::Two] {
        let server = start(AuthorizationMode::SystemMasters, Duration::from_secs(60), Some(echo())).await;
        let (nobody, admin) = (server.client(http, false), server.client(http, true));
        let get = |client: &reqwest::Client, path: &str| client.get(server.url(path));
        Answer::of(get(&admin, MACHINES)).await.check(200);
        Answer::of(get(&nobody, MACHINES).bearer_auth("root-token")).await.check(200);
        Answer::of(get(&nobody, MACHINES).bearer_auth("alice-token")).await.check(403);
        Answer::of(get(&nobody, MACHINES).bearer_auth("wrong")).await.check(401);
        Answer::of(get(&nobody, MACHINES).basic_auth("foo", Some("bar"))).await.check(401);
        Answer::of(get(&nobody, MACHINES)).await.check(401);
        Answer::of(get(&nobody, "/apis").bearer_auth("alice-token")).await.check(200);
        Answer::of(get(&nobody, "/apis")).await.check(401);
        for open in ["/livez", "/readyz", "/healthz", "/version"] {
            Answer::of(get(&nobody, open)).await.check(200);
            Answer::of(get(&nobody, open).bearer_auth("wrong")).await.check(401);
        }
    }
    let open = start(AuthorizationMode::AlwaysAllow, Duration::from_secs(60), Some(echo())).await;
    let client = open.client(Http::Two, false);
    Answer::of(client.delete(open.url(MACHINES)).bearer_auth("alice-token")).await.check(200);
    Answer::of(client.get(open.url(MACHINES))).await.check(401);
}

#[tokio::test]
async fn refusals_in_kubernetes_words() {
    let server = real().await;
    let client = server.client(Http::Two, false);
    let text = async |request: reqwest::RequestBuilder| Answer::of(request).await.text;
    assert_eq!(
        text(client.get(server.url(MACHINES)).bearer_auth("wrong")).await,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
         \"message\":\"Unauthorized\",\"reason\":\"Unauthorized\",\"code\":401}\n"
    );
    assert_eq!(
        text(client.get(server.url("/metrics")).bearer_auth("alice-token")).await,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
         \"message\":\"forbidden: User \\\"alice\\\" cannot get path \\\"/metrics\\\"\",\"reason\":\"Forbidden\",\
         \"details\":{},\"code\":403}\n"
    );
    let watch =
        Answer::of(client.get(server.url(&format!("{MACHINES}?watch=true"))).bearer_auth("alice-token"))
            .await;
    assert_eq!(watch.headers["x-content-type-options"], "nosniff");
    let status = watch.json();
    assert_eq!(
        status["message"],
        "machines.inventory.example.com is forbidden: User \"alice\" cannot watch resource \"machines\" in API \
         group \"inventory.example.com\" in the namespace \"default\""
    );
    assert_eq!(status["details"], json!({"group": "inventory.example.com", "kind": "machines"}));
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_never_believed() {
    let server = start(AuthorizationMode::SystemMasters, Duration::from_secs(60), Some(echo())).await;
    let said = |request: reqwest::RequestBuilder| {
        request
            .header("X-Remote-User", "root")
            .header("X-Remote-Group", "system:masters")
            .header("X-Remote-Extra-Scopes", "all")
    };
    let client = server.client(Http::One, false);
    Answer::of(said(client.get(server.url(MACHINES)))).await.check(401);
    Answer::of(said(client.get(server.url(MACHINES)).bearer_auth("alice-token"))).await.check(403);
    let admin = server.client(Http::One, true);
    let told =
        Answer::of(said(admin.get(server.url(MACHINES)).bearer_auth("x")).header("X-Kept", "1")).await.json();
    assert_eq!(told["user"], "kubridge-admin");
    assert_eq!(told["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(told["extra"], json!(["authentication.kubernetes.io/credential-id"]));
    let headers: Vec<String> = serde_json::from_value(told["headers"].clone()).unwrap();
    assert!(headers.contains(&"x-kept".to_owned()));
    assert!(
        !headers.iter().any(|name| name.starts_with("x-remote-") || name == "authorization"),
        "{headers:?}"
    );
}

#[tokio::test]
async fn nobody_acts_as_somebody_else() {
    let server = start(AuthorizationMode::AlwaysAllow, Duration::from_secs(60), Some(echo())).await;
    let client = server.client(Http::Two, false);
    for token in ["alice-token", "root-token"] {
        let request = client.get(server.url(MACHINES)).bearer_auth(token).header("Impersonate-User", "bob");
        let answer = Answer::of(request).await;
        answer.check(403);
        let status = answer.json();
        assert!(
            status["message"]
                .as_str()
                .unwrap()
                .starts_with("users.authentication.k8s.io \"bob\" is forbidden")
        );
        assert_eq!(status["details"]["name"], "bob");
    }
    let request =
        client.get(server.url(MACHINES)).bearer_auth("alice-token").header("Impersonate-Extra-X", "y");
    Answer::of(request).await.check(403);
}

#[tokio::test]
async fn exactly_one_audit_id_which_may_be_the_clients() {
    let server = start(AuthorizationMode::SystemMasters, Duration::from_secs(60), Some(echo())).await;
    let client = server.client(Http::Two, true);
    let id = async |given: &str| {
        let answer = Answer::of(client.get(server.url(MACHINES)).header("Audit-Id", given)).await;
        answer.check(200);
        answer.headers["audit-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id(ID).await, ID);
    for bad in ["", "a b", "a\"b", &"a".repeat(65)] {
        let made = id(bad).await;
        assert!(made != bad && made.len() == 36, "{bad:?} {made:?}");
    }
}

#[tokio::test]
async fn the_entrances() {
    let server = real().await;
    let latch = server.lifecycle.latch("store");
    let admin = server.client(Http::Two, true);
    let get = async |path: &str| Answer::of(admin.get(server.url(path))).await;
    for path in ["/livez", "/healthz", "/livez/ping", "/livez/"] {
        let answer = get(path).await;
        answer.check(200);
        assert_eq!(
            (answer.text.as_str(), &answer.headers["content-type"]),
            ("ok", &"text/plain; charset=utf-8".parse().unwrap())
        );
    }
    let head = Answer::of(admin.head(server.url("/livez"))).await;
    head.check(200);
    assert_eq!((head.text.as_str(), &head.headers["content-length"]), ("", &"2".parse().unwrap()));
    let answer = get("/readyz").await;
    assert_eq!(answer.code, 500);
    let expected = "[+]ping ok\n[-]store failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n";
    assert_eq!(answer.text, expected);
    assert_eq!(get("/readyz?exclude=store").await.code, 200);
    assert_eq!(get("/readyz/store").await.code, 500);
    latch.set();
    assert_eq!(get("/readyz").await.text, "ok");
    assert_eq!(
        get("/readyz?verbose").await.text,
        "[+]ping ok\n[+]store ok\n[+]shutdown ok\nreadyz check passed\n"
    );
    let version = get("/version").await;
    version.check(200);
    assert!(version.json()["gitVersion"].as_str().unwrap().starts_with("v1.36.0+kubridge."));
    assert!(version.text.contains("\n  \"major\": \"1\""));
    assert!(get("/").await.json()["paths"].as_array().unwrap().contains(&json!("/apis")));
    for missing in ["/nope", "/livez/nope", "/livezz", "/version/x", "/%2e%2e/etc/passwd"] {
        let answer = get(missing).await;
        answer.check(404);
        assert_eq!(answer.json()["message"], "the server could not find the requested resource");
    }
    for (method, path) in [
        ("DELETE", "/livez"),
        ("PUT", "/openapi/v3"),
        ("HEAD", "/openapi/v2"),
        ("FOO", MACHINES),
        ("OPTIONS", MACHINES),
    ] {
        let method: reqwest::Method = method.parse().unwrap();
        let answer = Answer::of(admin.request(method.clone(), server.url(path))).await;
        assert_eq!(answer.code, 405, "{method} {path}");
        if method != "HEAD" {
            answer.check(405);
        }
    }
}

#[tokio::test]
async fn a_status_for_a_panic_a_large_head_and_a_timeout() {
    let last = Handler::new(|request, _, _| {
        async move {
            match request.uri().path() {
                MACHINES => std::future::pending().await,
                _ => panic!("a bug"),
            }
        }
        .boxed()
    });
    for http in [Http::One, Http::Two] {
        let server =
            start(AuthorizationMode::SystemMasters, Duration::from_millis(50), Some(last.clone())).await;
        let admin = server.client(http, true);
        let panicked = Answer::of(admin.get(server.url("/apis")).header("Audit-Id", ID)).await;
        panicked.check(500);
        assert_eq!(panicked.headers["audit-id"], ID);
        assert!(!panicked.text.contains("a bug"), "that is for the log");
        Answer::of(admin.get(server.url("/apis")).header("X-Large", "x".repeat(70_000))).await.check(431);
        let read = Answer::of(admin.get(server.url(MACHINES))).await;
        read.check(504);
        assert_eq!(read.json()["reason"], "Timeout");
        let write = Answer::of(admin.post(server.url(MACHINES))).await;
        write.check(504);
        assert!(write.text.contains("outcome is unknown"));
        Answer::of(admin.get(server.url(&format!("{MACHINES}?timeout=1ms")))).await.check(504);
        Answer::of(admin.get(server.url(&format!("{MACHINES}?timeout=soon")))).await.check(400);
    }
}

#[tokio::test]
async fn an_http_request_without_tls_is_told_so() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = real().await;
    let mut plain = tokio::net::TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    // The request that was not read may make it a reset after the answer.
    let _ = plain.read_to_end(&mut text).await;
    assert!(String::from_utf8_lossy(&text).contains("HTTP request to an HTTPS server"));
}

#[tokio::test]
async fn who_makes_no_request_is_cut_and_who_speaks_otherwise_than_agreed_is_not_heard() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = real().await;
    let connect = async |alpn: &[u8]| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(server.pki.client_roots()[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let tcp = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect("127.0.0.1".try_into().unwrap(), tcp).await.unwrap()
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice();
    for (alpn, says) in [
        (b"h2".as_slice(), b"".as_slice()),
        (b"h2", &preface[..20]),
        (b"h2", preface),
        (b"http/1.1", b""),
        (b"http/1.1", b"GET /li"),
    ] {
        let mut silent = connect(alpn).await;
        silent.write_all(says).await.unwrap();
        silent.flush().await.unwrap();
        // The server has its first look at it.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(91)).await;
        tokio::time::resume();
        let mut heard = Vec::new();
        // Cut, not ended in order: TLS may say so with an error.
        let _ = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut heard))
            .await
            .unwrap_or_else(|_| panic!("{says:?} is still listened to"));
    }
    for (alpn, says) in
        [(b"http/1.1".as_slice(), preface), (b"h2", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")]
    {
        let mut other = connect(alpn).await;
        other.write_all(says).await.unwrap();
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), other.read_to_end(&mut heard)).await.unwrap();
        assert!(!heard.windows(15).any(|part| part == b"HTTP/1.1 200 OK"), "{heard:?}");
        let settings = heard.len() > 9 && heard[3] == 4;
        assert!(!settings || alpn == b"h2", "{heard:?}");
    }
}

/// A last step that tells when it has a request and waits for a word before it answers.
fn gated() -> (Handler, mpsc::Receiver<oneshot::Sender<()>>) {
    let (sender, receiver) = mpsc::channel(1);
    let last = Handler::new(move |_, _, _| {
        let sender = sender.clone();
        async move {
            let (go, gone) = oneshot::channel();
            sender.send(go).await.unwrap();
            gone.await.ok();
            Ok(http::Response::new(body::full("done")))
        }
        .boxed()
    });
    (last, receiver)
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_refuses_what_is_new() {
    for http in [Http::One, Http::Two] {
        let (last, mut waiting) = gated();
        let server = start(AuthorizationMode::SystemMasters, Duration::from_secs(60), Some(last)).await;
        let request = server.client(http, true).get(server.url(MACHINES));
        let in_flight = tokio::spawn(Answer::of(request));
        let go = waiting.recv().await.unwrap();
        server.lifecycle.start_drain();
        // The socket is closed as soon as the accepting task has seen the drain.
        while tokio::net::TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!server.task.is_finished());
        go.send(()).unwrap();
        assert_eq!(in_flight.await.unwrap().text, "done");
        server.task.await.unwrap();
    }
}

#[tokio::test]
async fn an_abort_cuts_what_is_left() {
    let (last, mut waiting) = gated();
    let server = start(AuthorizationMode::SystemMasters, Duration::from_secs(60), Some(last)).await;
    let request = server.client(Http::Two, true).get(server.url(MACHINES));
    let in_flight = tokio::spawn(request.send());
    let _go = waiting.recv().await.unwrap();
    server.lifecycle.abort();
    server.task.await.unwrap();
    assert!(in_flight.await.unwrap().is_err());
}

#[tokio::test]
async fn a_long_stream_ends_cleanly_when_the_drain_begins() {
    use futures::StreamExt as _;
    for http in [Http::One, Http::Two] {
        let slot: Arc<std::sync::OnceLock<Lifecycle>> = Arc::default();
        let known = slot.clone();
        let last = Handler::new(move |_, _, _| {
            let drain = known.get().unwrap().drain();
            async move {
                let event =
                    futures::stream::iter([Ok(http_body::Frame::data(bytes::Bytes::from("event\n")))]);
                let frames = event.chain(futures::stream::pending()).take_until(drain.draining_owned());
                Ok(http::Response::new(http_body_util::StreamBody::new(frames).boxed_unsync()))
            }
            .boxed()
        });
        let server = start(AuthorizationMode::SystemMasters, Duration::from_secs(60), Some(last)).await;
        slot.set(server.lifecycle.clone()).unwrap();
        let url = server.url(&format!("{MACHINES}?watch=1"));
        let mut response = server.client(http, true).get(url).send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "event\n");
        server.lifecycle.start_drain();
        assert_eq!(response.bytes().await.unwrap(), "", "a clean end");
        server.task.await.unwrap();
    }
}
