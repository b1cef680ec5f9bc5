//! Versions for a backend that has tokens only, as a client sees them.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, HeaderValue, Method};
use kubridge_bridge::{
    env::Env,
    proto::UserInfo,
    request_info::RequestInfo,
    status::ApiError,
    verbs::{self, Body, Request},
};
use serde_json::{Value, json};

use super::*;

#[derive(Debug, Clone)]
struct World;

impl Env for World {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        sleep(duration)
    }

    fn random(&self) -> u128 {
        7
    }
}

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";

impl Stack {
    async fn send(&self, method: Method, target: &str, body: Value) -> Result<Value, ApiError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request {
            info: RequestInfo::new(&method, path, query),
            method,
            query: query.into(),
            headers,
            body: body.into(),
            user: Arc::new(UserInfo::default()),
        };
        let reply = verbs::serve(&self.resource, &self.caller(), &World, request).await?;
        let mut whole = Vec::new();
        match reply.body {
            Body::Whole(bytes) => whole.extend_from_slice(&bytes),
            Body::Stream(mut pieces) => {
                while let Some(piece) = pieces.next().await {
                    whole.extend_from_slice(&piece?);
                }
            }
        }
        Ok(serde_json::from_slice(&whole).unwrap())
    }

    async fn get(&self, target: &str) -> Value {
        self.send(Method::GET, target, Value::Null).await.unwrap()
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn object(name: &str, state: u64, version: Option<u64>) -> Value {
    json!({
        "apiVersion": "inventory.example.com/v1", "kind": "Machine",
        "metadata": {
            "name": name, "labels": {"state": state.to_string()}, "resourceVersion": version.map(|v| v.to_string()),
        },
    })
}

fn code(answer: Result<Value, ApiError>) -> u16 {
    answer.map_or_else(|error| error.status.code, |_| 200)
}

#[tokio::test(start_paused = true)]
async fn tokens_are_numbers_to_clients_and_come_back_as_tokens() {
    let stack = Stack::new(false);
    let path = format!("{MACHINES}/a");
    let created = stack.send(Method::POST, MACHINES, object("a", 1, None)).await.unwrap();
    assert!(version(&created) > 1 << 54, "a number of this process: {created}");
    assert_eq!(version(&stack.get(&path).await), version(&created));
    let put = stack.send(Method::PUT, &path, object("a", 2, Some(version(&created)))).await.unwrap();
    assert!(version(&put) > version(&created));
    assert_eq!(stack.backend.state("a"), Some(2));

    // Twice the same, or after somebody else: a conflict.
    let stale = stack.send(Method::PUT, &path, object("a", 3, Some(version(&created)))).await;
    assert_eq!(code(stale), 409);
    stack.backend.put("a", 4);
    assert_eq!(code(stack.send(Method::PUT, &path, object("a", 5, Some(version(&put)))).await), 409);
    assert_eq!(code(stack.send(Method::PUT, &path, object("a", 5, Some(17))).await), 409);
    assert_eq!(stack.backend.state("a"), Some(4));

    let precondition = |version: u64| json!({"preconditions": {"resourceVersion": version.to_string()}});
    let stale = stack.send(Method::DELETE, &path, precondition(version(&put))).await;
    assert_eq!(code(stale), 409);
    let now = version(&stack.get(&path).await);
    assert_eq!(code(stack.send(Method::DELETE, &path, precondition(now)).await), 200);
    assert_eq!(stack.backend.state("a"), None);
}

#[tokio::test(start_paused = true)]
async fn a_list_has_a_version_that_a_watch_continues() {
    let stack = Stack::new(false);
    for name in ["a", "b"] {
        stack.backend.put(name, 1);
    }
    let list = stack.get(MACHINES).await;
    let items: Vec<u64> = list["items"].as_array().unwrap().iter().map(version).collect();
    assert_eq!(items.iter().max(), Some(&version(&list)));
    assert_eq!(stack.get(MACHINES).await, list, "nothing happened");
    let mut watch = stack.watch(version(&list)).await;
    // A poll knows what it was before.
    sleep(Duration::from_secs(1)).await;
    stack.backend.put("b", 2);
    let event = loop {
        let event = watch.event().await.unwrap();
        if !event.object.is_empty() {
            break event;
        }
    };
    assert_eq!(line(&event), "MODIFIED b");
    assert_eq!(MetaView::of(&event.previous).unwrap().label("state"), Some("1"));
    let told: u64 = event.resource_version.parse().unwrap();
    assert_eq!(version(&stack.get(&format!("{MACHINES}/b")).await), told, "whoever asks");
    // Not older than what was told; and the version of another process.
    stack.get(&format!("{MACHINES}?resourceVersion={told}&resourceVersionMatch=NotOlderThan")).await;
    stack.get(&format!("{MACHINES}/b?resourceVersion={told}")).await;
    let ask = async |target: String| code(stack.send(Method::GET, &target, Value::Null).await);
    assert_eq!(ask(format!("{MACHINES}?resourceVersion=5&resourceVersionMatch=NotOlderThan")).await, 410);
    assert_eq!(ask(format!("{MACHINES}?resourceVersion={told}&resourceVersionMatch=Exact")).await, 410);
    assert_eq!(ask(format!("{MACHINES}?continue=abc&limit=1")).await, 410);
    assert_eq!(ask(format!("{MACHINES}/b?resourceVersion={}", told + 1000)).await, 504);
    let foreign = ListOptions { resource_version: (told + 1000).to_string(), ..ListOptions::default() };
    let Err(CallError::Status(status)) = stack.try_watch(foreign).await.map(drop) else {
        panic!("it is watched")
    };
    assert_eq!(status.code, Code::OutOfRange);
}
