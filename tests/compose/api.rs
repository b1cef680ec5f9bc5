//! A client of the stack, with the kubeconfig that it left on the host.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use serde_json::Value;

/// Nothing of these tests may hang for longer.
pub const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub begun: Instant,
    pub took: Duration,
    /// The status, or how the transport failed.
    pub result: Result<u16, &'static str>,
    pub body: Value,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        self.result.is_ok_and(|status| status < 300)
    }

    /// One word or two for a table: `503 ServiceUnavailable`, `connection refused`.
    pub fn kind(&self) -> String {
        match self.result {
            Ok(status) => {
                format!("{status} {}", self.body["reason"].as_str().unwrap_or_default()).trim_end().into()
            }
            Err(kind) => kind.into(),
        }
    }
}

impl Api {
    pub fn new(kubeconfig: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let text = fs::read_to_string(kubeconfig).unwrap();
        let config: Value = serde_saphyr::from_str(&text).unwrap();
        let data = |part: &Value, name: &str| BASE64_STANDARD.decode(part[name].as_str().unwrap()).unwrap();
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let mut identity = data(user, "client-certificate-data");
        identity.extend(data(user, "client-key-data"));
        let http = reqwest::Client::builder()
            .tls_certs_only([
                reqwest::Certificate::from_pem(&data(cluster, "certificate-authority-data")).unwrap()
            ])
            .identity(reqwest::Identity::from_pem(&identity).unwrap())
            .timeout(LIMIT)
            .no_proxy()
            .build()
            .unwrap();
        Self { http, base: cluster["server"].as_str().unwrap().to_owned() }
    }

    /// Where it asks.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// A body is JSON; of a PATCH a merge patch.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let begun = Instant::now();
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if let Some(body) = body {
            let media_type = match method {
                Method::PATCH => "application/merge-patch+json",
                _ => "application/json",
            };
            request = request.header("content-type", media_type).body(body.to_string());
        }
        let (result, body) = match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                match response.bytes().await {
                    Ok(bytes) => (Ok(status), serde_json::from_slice(&bytes).unwrap_or_default()),
                    Err(error) => (Err(transport(&error)), Value::Null),
                }
            }
            Err(error) => (Err(transport(&error)), Value::Null),
        };
        Answer { begun, took: begun.elapsed(), result, body }
    }

    /// Asks until it is answered with 2xx; that answer.
    #[track_caller]
    pub fn until_ok<'a>(&'a self, path: &'a str, limit: Duration) -> impl Future<Output = Answer> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let begin = Instant::now();
            loop {
                let answer = self.get(path).await;
                if answer.is_ok() {
                    return answer;
                }
                assert!(begin.elapsed() < limit, "{caller}: {path} after {limit:?}: {answer:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn transport(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in 10 s"
    } else if error.is_connect() {
        "no connection"
    } else {
        "connection cut"
    }
}
