//! Long-running operations: waited for, given up waiting for, found again.

use kubridge_bridge::caller::Code;
use serde_json::{Value, json};

use crate::support::{API, BOOKS, Client, client};

const EDITIONS: &str = "/apis/library.example.com/v1/namespaces/acme/editions";

fn edition() -> Value {
    json!({"metadata": {"generateName": "e-"}, "spec": {"year": 1851}})
}

/// What a create answers, with something happening after a while.
async fn create(client: &Client, after: u64, then: impl FnOnce(&Client)) -> crate::support::Answer {
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(after)).await;
        then(client);
    };
    let body = edition();
    tokio::join!(client.post(EDITIONS, &body), later).0
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_waited_for() {
    for waits in [true, false] {
        let client = client();
        client.service.state().slow = true;
        client.service.state().waits = waits;
        let finish = |client: &Client| client.service.finish("operations/1", None);
        let made = create(&client, 3, finish).await.expect(201);
        assert_eq!(
            (&made["spec"]["year"], &made["status"]["conditions"][0]["status"]),
            (&json!(1851), &json!("True"))
        );
        let polled = if waits { "WaitOperation" } else { "GetOperation" };
        assert!(client.service.count(polled) > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_fails_is_the_error_of_the_write() {
    let client = client();
    client.service.state().slow = true;
    let fail = |client: &Client| {
        client.service.finish("operations/1", Some((Code::ResourceExhausted, "no paper")));
    };
    let failed = create(&client, 3, fail).await;
    failed.expect(429);
    assert!(failed.message().contains("no paper"), "{}", failed.message());
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_longer_than_the_request_is_504_with_its_name() {
    let client = client();
    client.service.state().slow = true;
    let late = client.post(EDITIONS, &edition()).await;
    late.expect(504);
    assert!(late.message().contains("operations/1"), "{}", late.message());
    assert_eq!(late.json()["details"].get("retryAfterSeconds"), None, "it must not be sent again");
    client.service.finish("operations/1", None);
    assert_eq!(client.names(EDITIONS).await.0.len(), 1, "it went on");
    // The way to the backend breaks while it is waited for: the write may be done.
    client.service.fail("WaitOperation", Code::Unavailable, "");
    let broken = client.post(EDITIONS, &edition()).await;
    broken.expect(504);
    assert!(broken.message().contains("operations/2"), "{}", broken.message());
}

#[tokio::test(start_paused = true)]
async fn a_slow_delete_is_waited_for() {
    let client = client();
    let made = client.post(EDITIONS, &edition()).await.expect(201);
    let path = format!("{EDITIONS}/{}", made["metadata"]["name"].as_str().unwrap());
    client.delete(&path).await.expect(200);
    client.get(&path).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn what_is_going_on_is_a_condition() {
    let client = client();
    client.service.put("Book", "name: 'publishers/acme/books/moby' title: 'Moby-Dick'");
    client.service.put("Book", "name: 'publishers/acme/books/other' title: 'Other'");
    client.service.state().slow = true;
    let path = format!("{BOOKS}/moby");
    let conditions = |book: &Value| -> Vec<String> {
        let all = book["status"]["conditions"].as_array().unwrap().clone();
        all.iter()
            .map(|c| format!("{} {} {}", c["type"], c["status"], c["reason"]).replace('"', ""))
            .collect()
    };
    let idle = client.get(&path).await.expect(200);
    assert_eq!(conditions(&idle), ["Ready True Settled"]);

    client.post(&format!("{path}/reprint"), &json!({"copyCount": 5})).await.expect(504);
    let running = client.get(&path).await.expect(200);
    let expected = ["Ready False OperationRunning", "Reconciling True OperationRunning"];
    assert_eq!(conditions(&running), expected);
    let version = |book: &Value| book["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    assert_ne!(version(&running), version(&idle), "who watches sees it");
    let list = client.get(&format!("{API}/books")).await.expect(200);
    assert_eq!(conditions(&list["items"][0]), expected);
    assert_eq!(conditions(&list["items"][1]), ["Ready True Settled"]);
    // What was read while it ran is written all the same.
    client.service.finish("operations/1", Some((Code::Internal, "the press broke")));
    let failed = client.get(&path).await.expect(200);
    assert_eq!(conditions(&failed), ["Ready False OperationFailed", "Stalled True OperationFailed"]);
    assert_eq!(failed["status"]["conditions"][0]["message"], "operations/1 failed: the press broke");

    let written = client.merge(&path, &json!({"spec": {"title": "The Whale"}})).await.expect(200);
    assert_eq!(conditions(&written)[0], "Ready False OperationFailed");

    client.service.state().slow = false;
    let reprinted = client.post(&format!("{path}/reprint"), &json!({"copyCount": 5})).await.expect(201);
    assert_eq!((&reprinted["kind"], &reprinted["status"]["copyCount"]), (&json!("Book"), &json!(5)));
    assert_eq!(conditions(&client.get(&path).await.expect(200)), ["Ready True Settled"]);
}

#[tokio::test(start_paused = true)]
async fn without_list_operations_there_are_no_conditions() {
    let client = client();
    client.service.put("Book", "name: 'publishers/acme/books/moby' title: 'Moby-Dick'");
    let path = format!("{BOOKS}/moby");
    client.service.fail("ListOperations", Code::Unavailable, "");
    let book = client.get(&path).await.expect(200);
    assert_eq!(book["status"]["conditions"][0]["status"], "Unknown");
    client.service.fail("ListOperations", Code::Unimplemented, "");
    for _ in 0..2 {
        assert_eq!(client.get(&path).await.expect(200)["status"].get("conditions"), None);
    }
    assert_eq!(client.service.count("ListOperations"), 2, "it is not asked for again");
}
