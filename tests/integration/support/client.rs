//! An HTTP client that holds every exchange against the rules that all answers keep.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

/// One answer, already checked.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Exchange {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first value of a header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// All `Warning` headers.
    pub fn warnings(&self) -> Vec<String> {
        self.headers.get_all("warning").iter().map(|v| v.to_str().unwrap().to_owned()).collect()
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }
}

/// Speaks to the aggregator as one user.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    headers: HeaderMap,
}

impl Client {
    /// `identity`: certificate and key in PEM; none: anonymous.
    pub fn new(base: &str, ca_pem: &[u8], identity: Option<&[u8]>) -> Self {
        Self::build(base, ca_pem, identity, |builder| builder)
    }

    /// Speaks to the server at an address by a name that DNS does not know.
    pub fn by_name(name: &str, at: SocketAddr, ca_pem: &[u8], identity: Option<&[u8]>) -> Self {
        let base = format!("https://{name}:{}", at.port());
        Self::build(&base, ca_pem, identity, |builder| builder.resolve(name, at))
    }

    fn build(
        base: &str,
        ca_pem: &[u8],
        identity: Option<&[u8]>,
        with: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(ca_pem).unwrap())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(identity) = identity {
            builder = builder.identity(reqwest::Identity::from_pem(identity).unwrap());
        }
        Self { http: with(builder).build().unwrap(), base: base.to_owned(), headers: HeaderMap::new() }
    }

    /// The same, with a header on every request.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    /// A request to send by hand, for streams.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).headers(self.headers.clone())
    }

    pub async fn get(&self, path: &str) -> Exchange {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Exchange {
        self.send(self.request(Method::GET, path).header("accept", accept)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Exchange {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Exchange {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Exchange {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn patch(&self, path: &str, content_type: &str, body: &Value) -> Exchange {
        let request = self.request(Method::PATCH, path).header("content-type", content_type);
        self.send(request.body(body.to_string())).await
    }

    /// Sends, reads the whole answer, and checks the rules.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Exchange {
        let request = request.build().unwrap();
        let what = format!("{} {}", request.method(), request.url().path());
        let response = self.http.execute(request).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let exchange = Exchange { status, headers, body };
        check(&what, &exchange);
        exchange
    }
}

/// Fails where [`faults`] finds one.
#[track_caller]
fn check(what: &str, exchange: &Exchange) {
    let faults = faults(what, exchange);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What of the rules that every answer keeps this one breaks.
pub fn faults(what: &str, exchange: &Exchange) -> Vec<String> {
    let Exchange { status, headers, body } = exchange;
    let count = |name: &str| headers.get_all(name).iter().count();
    let mut faults = Vec::new();
    let mut rule = |holds: bool, rule: &str| {
        if !holds {
            faults.push(format!("{what}: {status}: {rule}: {headers:?} {}", exchange.text()));
        }
    };
    rule(count("audit-id") == 1, "exactly one Audit-Id");
    rule(count("content-type") <= 1, "at most one Content-Type");
    rule(count("cache-control") <= 1, "at most one Cache-Control");
    rule(body.is_empty() || count("content-type") == 1, "a body has a Content-Type");
    rule(
        !headers.contains_key("retry-after") || status.as_u16() >= 429,
        "Retry-After only where it is to be repeated",
    );
    let probe = ["/livez", "/readyz", "/healthz"].iter().any(|path| what.contains(path));
    if status.as_u16() >= 400 && !probe {
        rule(exchange.header("content-type") == "application/json", "an error is JSON");
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        rule(error["kind"] == "Status" && error["apiVersion"] == "v1", "an error is a v1 Status");
        rule(error["status"] == "Failure", "an error is a Failure");
        rule(error["code"] == status.as_u16(), "the Status has the answer's code");
        rule(error["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "an error has a reason");
        let message = error["message"].as_str().unwrap_or_default();
        rule(!message.is_empty(), "an error has a message");
        for leak in ["127.0.0.1", "panicked", "src/"] {
            rule(!message.contains(leak), "an error tells nothing of our insides");
        }
    }
    faults
}
