//! What clients see of lists, watches and writes when a plug is pulled, and when a backend lies. The rest is in `matrix`.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use http::Method;
use serde_json::json;

use crate::support::{Hostile, Options, Stack, machine};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_ran_once() {
    let stack = Stack::start().await;
    stack.client.get(MACHINES).await.expect(200);
    stack.relay.mute();
    let mut body = machine("");
    body["metadata"] = json!({"generateName": "m-"});
    let answer = stack.client.post(MACHINES, &body).await.expect(504);
    assert!(!answer.headers.contains_key("retry-after"), "client-go would repeat the write");
    stack.relay.cut();
    stack.relay.thaw();
    let begin = Instant::now();
    let list = loop {
        let list = stack.client.get(MACHINES).await;
        if list.status == 200 {
            break list.json();
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "sent once, not twice: {list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_breaks_off_never_looks_whole() {
    let stack = Stack::start().await;
    let blob = "x".repeat(100_000);
    for n in 0..100 {
        let mut body = machine(&format!("m{n:03}"));
        body["spec"]["attributes"] = json!({"blob": blob});
        stack.client.post(MACHINES, &body).await.expect(201);
    }
    let response = stack.client.request(Method::GET, MACHINES).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.bytes_stream();
    let first = body.next().await.unwrap().unwrap();
    // The client reads no further until the backend is gone: flow control holds the rest back.
    tokio::time::sleep(Duration::from_millis(100)).await;
    stack.relay.kill().await;
    let mut seen = first.to_vec();
    let mut broke = false;
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => seen.extend_from_slice(&chunk),
            Err(_) => {
                broke = true;
                break;
            }
        }
    }
    assert!(broke, "the stream was reset, not ended ({} bytes)", seen.len());
    assert!(serde_json::from_slice::<serde_json::Value>(&seen).is_err(), "what came is no list");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_when_its_connection_breaks() {
    let stack = Stack::start().await;
    let list = stack.client.get(MACHINES).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1&resourceVersion={version}")).await;
    for n in 0..30 {
        if n % 7 == 3 {
            stack.relay.cut();
        }
        let name = format!("m{n}");
        let begin = Instant::now();
        // A write may hit the break: 503 or 504. Read before repeating, as the answer says.
        while stack.client.post(MACHINES, &machine(&name)).await.status != 201 {
            if stack.client.get(&format!("{MACHINES}/{name}")).await.status == 200 {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(5));
        }
    }
    for n in 0..30 {
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], "ADDED", "{event}");
        assert_eq!(event["object"]["metadata"]["name"], format!("m{n}"), "none lost, none twice, in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_on_a_backend_that_stays_away_ends_with_an_error() {
    let stack = Stack::start().await;
    let list = stack.client.get(MACHINES).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1&resourceVersion={version}")).await;
    stack.relay.kill().await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "ERROR", "{event}");
    assert!(watch.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_was_never_there_is_503_not_404() {
    let stack = Stack::with(Options { backend_down: true, ..Options::default() }).await;
    let manifest = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.inventory.example.com",
                     "annotations": {"kubridge.io/backend": format!("grpc://{}", stack.backend_addr())}},
        "spec": {"group": "inventory.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15},
    });
    stack.client.post("/apis/apiregistration.k8s.io/v1/apiservices", &manifest).await.expect(201);
    let begin = Instant::now();
    // Each is published by itself; both must come.
    for path in [MACHINES, "/apis/inventory.example.com/v1"] {
        loop {
            let answer = stack.client.get(path).await;
            if answer.status == 503 {
                assert!(answer.json()["message"].as_str().unwrap().contains("v1.inventory.example.com"));
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(5), "{}", answer.text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let discovery = stack.client.get("/apis/inventory.example.com/v1").await.expect(503);
    assert!(!discovery.headers.contains_key("retry-after"), "clients would stall on discovery");
    stack.relay.revive().await;
    while stack.client.get(MACHINES).await.status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(20), "it is not found when it comes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_protobuf_is_500_and_harms_nobody() {
    let hostile = Hostile::start().await;
    let stack = Stack::with(Options { backend: Some(hostile.addr()), ..Options::default() }).await;
    for bytes in Hostile::garbage() {
        hostile.answer_with(&bytes);
        let answer = stack.client.get(&format!("{MACHINES}/m1")).await.expect(500).json();
        assert_eq!(answer["reason"], "InternalError", "{answer}");
    }
    hostile.answer_with(b"");
    stack.client.get("/apis/apiregistration.k8s.io/v1/apiservices").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_event_ends_the_watch_and_has_the_schema_read_again() {
    let hostile = Hostile::start().await;
    let stack = Stack::with(Options { backend: Some(hostile.addr()), ..Options::default() }).await;
    let before = hostile.schema_reads();
    let object_of_numbers = [0x08, 0x01, 0x12, 0x02, 0x08, 0x07];
    for bytes in [[0x12, 0x02, 0x0a, 0xff].as_slice(), &[0xff; 8], &object_of_numbers] {
        hostile.answer_with(bytes);
        let mut watch = stack.watch(&format!("{MACHINES}?watch=1")).await;
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], "ERROR", "{event}");
        assert_eq!(
            (&event["object"]["code"], &event["object"]["reason"]),
            (&json!(500), &json!("InternalError"))
        );
        assert!(watch.next().await.is_none(), "it is over");
    }
    hostile.schema_read_after(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_the_schema_does_not_know_in_an_event_has_it_read_again() {
    let hostile = Hostile::start().await;
    let stack = Stack::with(Options { backend: Some(hostile.addr()), ..Options::default() }).await;
    // ADDED, metadata.name "m" in namespace "default", version 1, and field 99 of the Machine.
    let metadata = [b"\x0a\x01m".as_slice(), b"\x1a\x07default", b"\x32\x011"].concat();
    let object = [&[0x0a, metadata.len() as u8], metadata.as_slice(), &[0x98, 0x06, 0x01]].concat();
    let event = [&[0x08, 0x01, 0x12, object.len() as u8], object.as_slice(), b"\x22\x011"].concat();
    hostile.answer_with(&event);
    let before = hostile.schema_reads();
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1")).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["metadata"]["name"], "m", "{event}");
    hostile.schema_read_after(before).await;
}
