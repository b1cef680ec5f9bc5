//! What clients see of a backend that is away: what it last said of itself, also after a restart.

use std::{fs, time::Duration};

use http::header;
use serde_json::Value;

use crate::support::{Options, Stack, machine};

const GROUP_VERSION: &str = "/apis/inventory.example.com/v1";
const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
const NAME: &str = "v1.inventory.example.com";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// All that clients learn of what there is: bodies and ETags.
async fn documents(stack: &Stack) -> Vec<(String, String)> {
    let mut documents = Vec::new();
    let paths = [GROUP_VERSION, "/apis/inventory.example.com", "/openapi/v3", "/openapi/v2"];
    let hashed = stack.client.get("/openapi/v3").await.json();
    let hashed = hashed["paths"][GROUP_VERSION.trim_start_matches('/')]["serverRelativeURL"].clone();
    for path in paths.into_iter().chain(hashed.as_str()) {
        let answer = stack.client.get(path).await.expect(200);
        documents.push((path.to_owned(), answer.text()));
    }
    let aggregated = aggregated(stack).await;
    documents.push(("aggregated".to_owned(), aggregated.to_string()));
    documents
}

async fn aggregated(stack: &Stack) -> Value {
    let request = stack.client.request(http::Method::GET, "/apis").header(header::ACCEPT, AGGREGATED);
    serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
}

async fn freshness(stack: &Stack) -> String {
    let document = aggregated(stack).await;
    let items = document["items"].as_array().unwrap();
    let group = items.iter().find(|group| group["metadata"]["name"] == "inventory.example.com").unwrap();
    assert!(!group["versions"][0]["resources"].as_array().unwrap().is_empty(), "what is known stays listed");
    group["versions"][0]["freshness"].as_str().unwrap().to_owned()
}

/// The condition of a type: status, reason, message.
async fn condition(stack: &Stack, kind: &str) -> [String; 3] {
    let service =
        stack.client.get(&format!("/apis/apiregistration.k8s.io/v1/apiservices/{NAME}")).await.json();
    let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default();
    ["status", "reason", "message"].map(|field| found[field].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_while_the_backend_is_down_changes_no_document() {
    let mut stack = Stack::start().await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    stack.until(async |stack| stack.available(NAME).await[0] == "True").await;
    let before = documents(&stack).await;
    stack.relay.kill().await;
    stack.restart(&[]).await;
    // At once: nothing of this waits for the backend.
    assert_eq!(documents(&stack).await, before);
    assert_eq!(freshness(&stack).await, "Current");
    let down = stack.client.get(MACHINES).await.expect(503);
    assert_eq!(down.json()["reason"], "ServiceUnavailable");

    stack.until(|stack| async { condition(stack, "DiscoveryCurrent").await[1] == "LastKnownGood" }).await;
    stack.until(|stack| async { condition(stack, "Available").await[0] == "False" }).await;
    let [status, _, message] = condition(&stack, "DiscoveryCurrent").await;
    assert_eq!(status, "True");
    assert!(message.contains("Current"), "it says until when: {message}");

    stack.relay.revive().await;
    stack.until(|stack| stack.serves(MACHINES)).await;
    stack.until(|stack| async { condition(stack, "DiscoveryCurrent").await[1] == "Live" }).await;
    assert_eq!(documents(&stack).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_maximum_age_is_stale_and_stays_listed() {
    let args = vec!["--discovery-max-age=2s".to_owned()];
    let stack = Stack::with(Options { args, ..Options::default() }).await;
    assert_eq!(freshness(&stack).await, "Current");
    stack.relay.kill().await;
    stack.until(|stack| async { condition(stack, "DiscoveryCurrent").await[1] == "LastKnownGood" }).await;
    assert_eq!(freshness(&stack).await, "Current", "it is young");
    // Nothing but time makes it so.
    stack.until(|stack| async { freshness(stack).await == "Stale" }).await;
    stack.client.get(GROUP_VERSION).await.expect(200);
    stack.until(|stack| async { condition(stack, "DiscoveryCurrent").await[1] == "Expired" }).await;
    assert_eq!(condition(&stack, "DiscoveryCurrent").await[0], "False");
    stack.relay.revive().await;
    stack.until(|stack| async { freshness(stack).await == "Current" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_as_good_as_none() {
    let mut stack = Stack::start().await;
    stack.relay.kill().await;
    stack.stop().await;
    for file in fs::read_dir(stack.data("last-known-good")).unwrap() {
        fs::write(file.unwrap().path(), "kubridge last known good 1\nnonsense").unwrap();
    }
    stack.start_again(&[]).await;
    // Claimed and never known: 503, and no Retry-After on a discovery path.
    let unknown = stack.client.get(GROUP_VERSION).await.expect(503);
    assert_eq!(unknown.header("retry-after"), "");
    stack.relay.revive().await;
    stack.until(|stack| stack.serves(GROUP_VERSION)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_claimed_leaves_the_disk() {
    let mut stack = Stack::start().await;
    let files = |stack: &Stack| fs::read_dir(stack.data("last-known-good")).unwrap().count();
    assert_eq!(files(&stack), 1);
    stack.stop().await;
    stack.start_again(&["--backend=grpc://127.0.0.1:1"]).await;
    stack.until(|stack| stack.serves(GROUP_VERSION)).await;
    assert_eq!(files(&stack), 1, "another backend that was never reached has none");
    let conditions = tokio::time::timeout(Duration::from_secs(5), condition(&stack, "Available")).await;
    assert_eq!(conditions.unwrap()[0], "True");
}
