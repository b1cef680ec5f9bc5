//! A client of a mapped service, and the world around it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use kubridge_bridge::{
    caller::Caller,
    env::Env,
    mapping::{MappedCaller, MappingFile, read_schema},
    model::{Fault, Resource, Rules, Schema},
    status::ApiError,
    verbs::{self, Body},
};
use serde_json::Value;

pub use crate::descriptors::{LIBRARY, PROTO, compile};
use crate::{request::request, service::Service};

/// The library's proto with something else in the place of `from`.
pub fn changed(from: &str, to: &str) -> Vec<u8> {
    assert!(PROTO.contains(from), "{from}");
    compile("example/library/v1/library.proto", &PROTO.replace(from, to))
}

pub fn read(descriptors: &[u8]) -> Result<Schema, Vec<Fault>> {
    read_schema(descriptors, Rules::default(), &[])
}

/// The faults, as people read them.
pub fn faults(descriptors: &[u8]) -> Vec<String> {
    read(descriptors).expect_err("it has faults").iter().map(ToString::to_string).collect()
}

/// A still world: time is tokio's (paused in tests), randomness counts.
#[derive(Clone, Debug)]
pub struct World {
    start: tokio::time::Instant,
    random: Arc<AtomicU64>,
}

impl Env for World {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_410_297) + self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }

    fn random(&self) -> u128 {
        u128::from(self.random.fetch_add(1, Ordering::Relaxed)) << 64 | 0x9e37_79b9
    }
}

/// A client of the library.
#[derive(Clone)]
pub struct Client {
    pub service: Service,
    pub schema: Arc<Schema>,
    world: World,
}

/// A complete answer, or the error instead.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub warnings: Vec<String>,
    pub body: Bytes,
    pub log: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{} ({})", String::from_utf8_lossy(&self.body), self.log);
        self.json()
    }

    /// Of a Status: what people read.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Of a Status: field and message of each cause.
    pub fn causes(&self) -> Vec<(String, String)> {
        let json = self.json();
        let causes = json["details"]["causes"].as_array().cloned().unwrap_or_default();
        let text = |cause: &Value, part: &str| cause[part].as_str().unwrap_or_default().to_owned();
        causes.iter().map(|cause| (text(cause, "field"), text(cause, "message"))).collect()
    }
}

/// A client of the library, which has the publishers `acme` and `lulu`.
pub fn client() -> Client {
    client_of(&LIBRARY)
}

pub fn client_of(descriptors: &[u8]) -> Client {
    let client = client_with(descriptors, &[]);
    for publisher in ["acme", "lulu"] {
        let text = format!("name: 'publishers/{publisher}' display_name: '{publisher}'");
        client.service.put("Publisher", &text);
    }
    client
}

/// A client of any service, mapped by files.
pub fn client_with(descriptors: &[u8], files: &[MappingFile]) -> Client {
    let schema =
        read_schema(descriptors, Rules::default(), files).unwrap_or_else(|faults| panic!("{faults:#?}"));
    Client {
        service: Service::new(descriptors),
        schema: Arc::new(schema),
        world: World { start: tokio::time::Instant::now(), random: Arc::default() },
    }
}

pub const API: &str = "/apis/library.example.com/v1";
pub const BOOKS: &str = "/apis/library.example.com/v1/namespaces/acme/books";

impl Client {
    pub fn resource(&self, plural: &str) -> Arc<Resource> {
        let all = self.schema.apis.iter().flat_map(|api| &api.resources);
        Arc::clone(all.into_iter().find(|resource| resource.plural == plural).unwrap())
    }

    pub async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.send_by(&self.service, method, target, headers, body).await
    }

    /// The same with something else in the place of the service.
    pub async fn send_by<C: Caller>(
        &self,
        service: &C,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let request = request(method, target, headers, body);
        let resource = self.resource(&request.info.resource.clone());
        let deadline = Some(self.world.now() + Duration::from_secs(30));
        let mapped = Arc::clone(self.schema.mapped.as_ref().unwrap());
        let caller = MappedCaller::new(service.clone(), mapped, self.world.clone(), deadline);
        match verbs::serve(&resource, &caller, &self.world, request).await {
            Ok(reply) => {
                let mut body = Vec::new();
                match reply.body {
                    Body::Whole(bytes) => body.extend_from_slice(&bytes),
                    Body::Stream(mut stream) => {
                        while let Some(piece) = stream.next().await {
                            match piece {
                                Ok(piece) => body.extend_from_slice(&piece),
                                Err(error) => return refused(&error),
                            }
                        }
                    }
                }
                let (code, warnings) = (reply.status.as_u16(), reply.warnings);
                Answer { code, warnings, body: body.into(), log: String::new() }
            }
            Err(error) => refused(&error),
        }
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send(Method::GET, target, &[("accept", "application/json")], "").await
    }

    pub async fn post(&self, target: &str, body: &Value) -> Answer {
        self.send(Method::POST, target, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn put(&self, target: &str, body: &Value) -> Answer {
        self.send(Method::PUT, target, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn delete(&self, target: &str) -> Answer {
        self.send(Method::DELETE, target, &[("content-type", "application/json")], "").await
    }

    pub async fn merge(&self, target: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/merge-patch+json")];
        self.send(Method::PATCH, target, &headers, body.to_string()).await
    }

    /// The names in a list, with their namespaces, and the `continue` of it.
    pub async fn names(&self, target: &str) -> (Vec<String>, String) {
        let list = self.get(target).await.expect(200);
        let name = |item: &Value| {
            let text = |part: &str| item["metadata"][part].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("namespace"), text("name"))
        };
        let names = list["items"].as_array().unwrap().iter().map(name).collect();
        (names, list["metadata"]["continue"].as_str().unwrap_or_default().to_owned())
    }
}

fn refused(error: &ApiError) -> Answer {
    Answer {
        code: error.status.code,
        warnings: error.warnings.clone(),
        body: error.status.to_json().into(),
        log: error.log.clone().unwrap_or_default(),
    }
}
