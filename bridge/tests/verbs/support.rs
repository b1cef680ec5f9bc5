//! A client of `verbs::serve`, and the world around it.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use kubridge_bridge::{
    env::{Env, NamespaceState},
    model::{Resource, Rules, Schema},
    status::{ApiError, Status},
    verbs::{self, Body, Reply},
};
use serde_json::Value;

use crate::{fake::Fake, request::request};

pub static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verbs");
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let mut compiler = protox::Compiler::new([here, proto]).unwrap();
    compiler.include_imports(true).open_file("fleet.proto").unwrap();
    Schema::from_descriptor_set(&compiler.encode_file_descriptor_set(), Rules::default())
        .expect("a schema without faults")
});

pub fn resource(plural: &str) -> Arc<Resource> {
    let all = SCHEMA.apis.iter().flat_map(|api| &api.resources);
    Arc::clone(all.into_iter().find(|resource| resource.plural == plural).unwrap())
}

/// A still world: time is tokio's (paused in tests), randomness counts.
#[derive(Clone, Debug)]
pub struct World {
    start: tokio::time::Instant,
    random: Arc<AtomicU64>,
    /// What was reported of streams under way.
    pub reports: Arc<Mutex<Vec<String>>>,
    /// How often a stream made the schema suspect.
    pub suspects: Arc<AtomicU64>,
    /// Those that are not simply there.
    namespaces: Arc<Mutex<HashMap<String, NamespaceState>>>,
}

impl World {
    pub fn set_namespace(&self, name: &str, state: NamespaceState) {
        self.namespaces.lock().unwrap().insert(name.to_owned(), state);
    }
}

/// 2026-11-23T05:04:57Z.
pub const NOW: u64 = 1_795_410_297;

impl Env for World {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW) + self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }

    async fn namespace(&self, name: &str) -> Result<NamespaceState, ApiError> {
        Ok(self.namespaces.lock().unwrap().get(name).copied().unwrap_or(NamespaceState::Active))
    }

    fn report(&self, error: &ApiError) {
        self.reports.lock().unwrap().push(error.log.clone().unwrap_or_default());
    }

    fn schema_suspect(&self) {
        self.suspects.fetch_add(1, Ordering::Relaxed);
    }

    fn random(&self) -> u128 {
        let n = self.random.fetch_add(1, Ordering::Relaxed);
        u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 32 | u128::from(n)
    }
}

/// A client of one resource.
#[derive(Clone)]
pub struct Client {
    pub fake: Fake,
    pub world: World,
    pub resource: Arc<Resource>,
}

/// A complete answer, or the error instead.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub content_type: String,
    pub warnings: Vec<String>,
    pub body: Bytes,
    pub schema_suspect: bool,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap().trim_end_matches('\n')
    }
}

pub fn robots() -> Client {
    client("robots")
}

pub fn client(plural: &str) -> Client {
    Client {
        fake: Fake::default(),
        world: World {
            start: tokio::time::Instant::now(),
            random: Arc::default(),
            reports: Arc::default(),
            suspects: Arc::default(),
            namespaces: Arc::default(),
        },
        resource: resource(plural),
    }
}

pub const ROBOTS: &str = "/apis/fleet.example.com/v1/namespaces/ns/robots";
pub const JSON: &str = "application/json";

impl Client {
    /// Sends a request and returns the answer as the server gets it.
    pub async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, ApiError> {
        let request = request(method, target, headers, body);
        verbs::serve(&self.resource, &self.fake, &self.world, request).await
    }

    /// Sends a request and reads the whole answer. A broken stream is a panic.
    pub async fn request(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        match self.send(method, target, headers, body).await {
            Ok(reply) => whole(reply).await.expect("the stream broke"),
            Err(error) => refused(&error),
        }
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.request(Method::GET, target, &[("accept", JSON)], "").await
    }

    pub async fn get_as(&self, target: &str, accept: &str) -> Answer {
        self.request(Method::GET, target, &[("accept", accept)], "").await
    }

    pub async fn post(&self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.request(Method::POST, target, &[("content-type", JSON)], body).await
    }

    pub async fn put(&self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.request(Method::PUT, target, &[("content-type", JSON)], body).await
    }

    pub async fn delete(&self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.request(Method::DELETE, target, &[("content-type", JSON)], body).await
    }

    pub async fn merge(&self, target: &str, body: &str) -> Answer {
        let headers = [("content-type", "application/merge-patch+json")];
        self.request(Method::PATCH, target, &headers, body.to_owned()).await
    }

    /// Makes a robot: the stored object.
    pub async fn robot(&self, name: &str, rest: &str) -> Value {
        let comma = if rest.is_empty() { "" } else { "," };
        let meta = if rest.contains("\"metadata\"") {
            String::new()
        } else {
            format!("\"metadata\":{{\"name\":\"{name}\"}}{comma}")
        };
        let answer = self.post(ROBOTS, format!("{{{meta}{rest}}}")).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
        answer.json()
    }
}

pub async fn whole(reply: Reply) -> Result<Answer, ApiError> {
    let mut body = Vec::new();
    match reply.body {
        Body::Whole(bytes) => body.extend_from_slice(&bytes),
        Body::Stream(mut stream) => {
            while let Some(piece) = stream.next().await {
                body.extend_from_slice(&piece?);
            }
        }
    }
    Ok(Answer {
        code: reply.status.as_u16(),
        content_type: reply.content_type,
        warnings: reply.warnings,
        body: body.into(),
        schema_suspect: reply.schema_suspect,
    })
}

/// An error as the server answers it.
pub fn refused(error: &ApiError) -> Answer {
    Answer {
        code: error.status.code,
        content_type: JSON.into(),
        warnings: error.warnings.clone(),
        body: error.status.to_json().into(),
        schema_suspect: error.schema_suspect,
    }
}

pub fn message(answer: &Answer) -> String {
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    status.message
}
