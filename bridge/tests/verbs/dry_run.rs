//! dryRun=All: every verb answers as if, and nothing is ever written.

use http::Method;
use serde_json::json;

use crate::support::{Client, ROBOTS, client, message, robots};

/// Sends a request and checks that nothing was written.
async fn dry(
    client: &Client,
    method: Method,
    target: &str,
    kind: &str,
    body: &str,
) -> crate::support::Answer {
    let writes = client.fake.writes();
    let target = format!("{target}{}dryRun=All", if target.contains('?') { '&' } else { '?' });
    let answer = client.request(method.clone(), &target, &[("content-type", kind)], body.to_owned()).await;
    assert_eq!(client.fake.writes(), writes, "{method} {target} wrote");
    answer
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

#[tokio::test(start_paused = true)]
async fn no_verb_writes() {
    let client = robots();
    let mut object = client.robot("a", r#""spec":{"model":"m"}"#).await;
    client.robot("fin", r#""metadata":{"name":"fin","finalizers":["x/y"]}"#).await;
    let a = format!("{ROBOTS}/a");

    let made = dry(&client, Method::POST, ROBOTS, JSON, r#"{"metadata":{"name":"new"}}"#).await;
    assert_eq!((made.code, made.json()["metadata"].get("resourceVersion")), (201, None), "{}", made.text());
    let exists = dry(&client, Method::POST, ROBOTS, JSON, r#"{"metadata":{"name":"a"}}"#).await;
    assert_eq!(exists.code, 409);
    object["spec"]["model"] = "n".into();
    let put = dry(&client, Method::PUT, &a, JSON, &object.to_string()).await;
    assert_eq!((put.code, &put.json()["spec"]["model"]), (200, &"n".into()));
    object["metadata"]["resourceVersion"] = "99".into();
    assert_eq!(dry(&client, Method::PUT, &a, JSON, &object.to_string()).await.code, 409);
    let patched = dry(&client, Method::PATCH, &a, MERGE, r#"{"spec":{"arms":3}}"#).await;
    assert_eq!((patched.code, &patched.json()["spec"]["arms"]), (200, &3.into()));
    let status =
        dry(&client, Method::PATCH, &format!("{a}/status"), MERGE, r#"{"status":{"phase":"Up"}}"#).await;
    assert_eq!((status.code, &status.json()["status"]["phase"]), (200, &"Up".into()));
    let deleted = dry(&client, Method::DELETE, &a, JSON, "").await;
    assert_eq!((deleted.code, &deleted.json()["status"]), (200, &"Success".into()));
    let in_body = client.delete(&a, r#"{"dryRun":["All"]}"#).await;
    assert_eq!(in_body.code, 200);
    let held = dry(&client, Method::DELETE, &format!("{ROBOTS}/fin"), JSON, "").await;
    assert!(held.json()["metadata"].get("deletionTimestamp").is_some(), "{}", held.text());
    let stale = json!({"preconditions": {"resourceVersion": "99"}}).to_string();
    assert_eq!(dry(&client, Method::DELETE, &a, JSON, &stale).await.code, 409);
    let all = dry(&client, Method::DELETE, ROBOTS, JSON, "").await;
    assert_eq!((all.code, all.json()["items"].as_array().unwrap().len()), (200, 2));
    assert_eq!(client.fake.count("DeleteRobot"), 0);
    assert_eq!(client.fake.state().objects.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_finalizer_stays() {
    let client = robots();
    client.robot("fin", r#""metadata":{"name":"fin","finalizers":["x/y"]}"#).await;
    let target = format!("{ROBOTS}/fin");
    client.delete(&target, "").await;
    let answer = dry(&client, Method::PATCH, &target, MERGE, r#"{"metadata":{"finalizers":null}}"#).await;
    assert_eq!((answer.code, answer.json()["metadata"].get("finalizers")), (200, None));
    assert_eq!(client.get(&target).await.json()["metadata"]["finalizers"], json!(["x/y"]));
}

#[tokio::test(start_paused = true)]
async fn under_lifecycle_backend_too() {
    let client = client("drones");
    let drones = "/apis/fleet.example.com/v1/namespaces/ns/drones";
    client.post(drones, r#"{"metadata":{"name":"a"}}"#).await;
    let a = format!("{drones}/a");
    let made = dry(&client, Method::POST, drones, JSON, r#"{"metadata":{"name":"b"}}"#).await;
    assert_eq!((made.code, client.fake.count("CreateDrone")), (201, 2), "the backend can check by itself");
    let put = dry(&client, Method::PUT, &a, JSON, r#"{"metadata":{"name":"a"},"spec":{"rotors":2}}"#).await;
    assert_eq!((put.code, client.fake.count("UpdateDrone")), (200, 0), "the backend cannot");
    assert_eq!(dry(&client, Method::PATCH, &a, MERGE, r#"{"spec":{"rotors":2}}"#).await.code, 200);
    assert_eq!(dry(&client, Method::DELETE, drones, JSON, "").await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn an_action_without_a_place_for_it_is_refused() {
    let client = robots();
    client.robot("a", "").await;
    let answer = dry(&client, Method::POST, &format!("{ROBOTS}/a/wave"), JSON, "").await;
    assert_eq!((answer.code, client.fake.count("WaveRobot")), (400, 0));
    assert!(message(&answer).contains("dryRun"), "{}", answer.text());
}
