//! Watches over plain REST.

use serde_json::json;

use super::MACHINES;
use crate::support::{Stack, machine};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_continues_its_list() {
    let stack = Stack::start().await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    let list = stack.client.get(MACHINES).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    stack.client.post(MACHINES, &machine("m2")).await.expect(201);
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1&resourceVersion={version}")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("m2")));
    stack.client.delete(&format!("{MACHINES}/m1")).await.expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("m1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_events_end_with_a_bookmark() {
    let stack = Stack::start().await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = stack.watch(&format!("{MACHINES}?{query}")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["metadata"]["name"], "m1");
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "Machine");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    stack.client.post(MACHINES, &machine("m2")).await.expect(201);
    assert_eq!(watch.next().await.unwrap()["object"]["metadata"]["name"], "m2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_forgotten_version_is_expired() {
    let stack = Stack::with(crate::support::Options { log_limit: Some(5), ..Default::default() }).await;
    for n in 0..30 {
        stack.client.post(MACHINES, &machine(&format!("m{n}"))).await.expect(201);
    }
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1&resourceVersion=2")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert!(watch.next().await.is_none(), "and the watch ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn timeout_seconds_ends_a_watch_cleanly() {
    let stack = Stack::start().await;
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1&timeoutSeconds=1")).await;
    assert!(watch.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn apiservices_can_be_watched() {
    let stack = Stack::start().await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let mut watch =
        stack.watch(&format!("{path}?watch=1&fieldSelector=metadata.name=v1.inventory.example.com")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("APIService")));
}
