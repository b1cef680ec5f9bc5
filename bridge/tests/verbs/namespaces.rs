//! What may be written in a namespace that is missing, or that is being deleted.

use kubridge_bridge::env::NamespaceState;
use serde_json::json;

use crate::support::{ROBOTS, message, robots};

#[tokio::test(start_paused = true)]
async fn nothing_new_in_a_namespace_that_is_being_deleted() {
    let client = robots();
    client.robot("a", "").await;
    client.world.set_namespace("ns", NamespaceState::Terminating);
    for (path, body, name) in [
        (ROBOTS.to_owned(), json!({"metadata": {"name": "b"}}), "b"),
        (format!("{ROBOTS}?dryRun=All"), json!({"metadata": {"name": "b"}}), "b"),
        (ROBOTS.to_owned(), json!({"metadata": {"generateName": "b-"}}), "b-"),
        (format!("{ROBOTS}/a/wave"), json!({}), "a"),
    ] {
        let refused = client.post(&path, serde_json::to_vec(&body).unwrap()).await;
        let status = refused.json();
        assert_eq!((refused.code, &status["reason"]), (403, &json!("Forbidden")), "{path}: {status}");
        assert_eq!(
            message(&refused),
            format!(
                "robots.fleet.example.com \"{name}\" is forbidden: unable to create new content in namespace ns because \
                 it is being terminated"
            )
        );
        assert_eq!(
            status["details"]["causes"],
            json!([{"reason": "NamespaceTerminating", "message": "namespace ns is being terminated",
                    "field": "metadata.namespace"}])
        );
    }
    assert_eq!((client.fake.count("CreateRobot"), client.fake.count("WaveRobot")), (1, 0));
    // What is there is changed and removed as ever: that is how the namespace gets empty.
    let patched = client.merge(&format!("{ROBOTS}/a"), r#"{"spec":{"model":"m"}}"#).await;
    assert_eq!(patched.code, 200, "{}", patched.text());
    assert_eq!(client.delete(&format!("{ROBOTS}/a"), "").await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn in_a_namespace_that_is_missing_things_are_only_read_and_deleted() {
    let client = robots();
    let robot = client.robot("a", "").await;
    client.world.set_namespace("ns", NamespaceState::Missing);
    let body = serde_json::to_vec(&robot).unwrap();
    for answer in [
        client.post(ROBOTS, r#"{"metadata":{"name":"b"}}"#).await,
        client.post(&format!("{ROBOTS}/a/wave"), "").await,
        client.put(&format!("{ROBOTS}/a"), body).await,
        client.merge(&format!("{ROBOTS}/a"), r#"{"spec":{"model":"m"}}"#).await,
    ] {
        let status = answer.json();
        assert_eq!((answer.code, &status["reason"]), (404, &json!("NotFound")), "{status}");
        assert_eq!(message(&answer), "namespaces \"ns\" not found");
        assert_eq!(status["details"], json!({"name": "ns", "kind": "namespaces"}));
    }
    assert_eq!(client.get(ROBOTS).await.code, 200);
    assert_eq!(client.delete(&format!("{ROBOTS}/a"), "").await.code, 200);
}
