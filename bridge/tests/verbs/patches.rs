//! patch: JSON and merge patches, conflicts, and what Kubernetes answers to bad ones.

use http::Method;
use serde_json::{Value, json};

use crate::{
    fake::Fault,
    support::{Answer, Client, ROBOTS, message, robots},
};

async fn patch(client: &Client, target: &str, kind: &str, body: &str) -> Answer {
    let content_type = format!("application/{kind}-patch+json");
    let target = format!("{ROBOTS}/{target}");
    client.request(Method::PATCH, &target, &[("content-type", &content_type)], body.to_owned()).await
}

async fn one() -> (Client, Value) {
    let client = robots();
    let object = client.robot("a", r#""spec":{"model":"m","tags":["x"],"settings":{"k":"v"}}"#).await;
    (client, object)
}

#[tokio::test(start_paused = true)]
async fn merge_and_json_patches() {
    let (client, _) = one().await;
    let answer = patch(
        &client,
        "a",
        "merge",
        r#"{"metadata":{"labels":{"m":"1"}},"spec":{"settings":{"k":null,"l":"w"}}}"#,
    )
    .await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    let object = answer.json();
    assert_eq!(
        (&object["metadata"]["labels"], &object["spec"]["settings"]),
        (&json!({"m":"1"}), &json!({"l":"w"}))
    );
    assert_eq!(
        (&object["metadata"]["generation"], &object["metadata"]["resourceVersion"]),
        (&2.into(), &"2".into())
    );
    let answer = patch(&client, "a", "json", r#"[{"op":"test","path":"/spec/model","value":"m"},{"op":"replace","path":"/spec/model","value":"jp"},{"op":"add","path":"/spec/tags/-","value":"y"}]"#).await;
    assert_eq!((answer.code, &answer.json()["spec"]["tags"]), (200, &json!(["x", "y"])));
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_changes_nothing_writes_nothing() {
    let (client, object) = one().await;
    let answer = patch(&client, "a", "merge", "{}").await;
    assert_eq!((answer.code, answer.json()), (200, object));
    assert_eq!(client.fake.count("UpdateRobot"), 0);
}

#[tokio::test(start_paused = true)]
async fn conflicts_are_tried_again_unless_the_patch_names_a_version() {
    let (client, object) = one().await;
    let stored = client.fake.state().objects.values().next().unwrap().clone();
    let interfere = |times: usize| {
        for _ in 0..times {
            let stored = stored.clone();
            client.fake.fault("UpdateRobot", Fault::Before(Box::new(move |state| state.store(&stored))));
        }
    };
    interfere(5);
    let answer = patch(&client, "a", "merge", r#"{"spec":{"arms":2},"bogus":1}"#).await;
    assert_eq!((answer.code, client.fake.count("UpdateRobot")), (200, 6), "{}", answer.text());
    assert_eq!(answer.warnings, [r#"unknown field "bogus""#], "once, however often it was tried");
    interfere(6);
    let answer = patch(&client, "a", "merge", r#"{"spec":{"arms":3}}"#).await;
    assert_eq!((answer.code, client.fake.count("UpdateRobot")), (409, 12));

    let version = client.fake.state().version.to_string();
    interfere(1);
    let named = json!({"metadata": {"resourceVersion": version}, "spec": {"arms": 4}}).to_string();
    let answer = patch(&client, "a", "merge", &named).await;
    assert_eq!((answer.code, client.fake.count("UpdateRobot")), (409, 13));
    let stale = json!({"metadata": {"resourceVersion": "1"}, "spec": {"arms": 4}}).to_string();
    let answer = patch(&client, "a", "merge", &stale).await;
    assert_eq!((answer.code, client.fake.count("UpdateRobot")), (409, 13));
    assert_eq!(
        message(&answer),
        r#"Operation cannot be fulfilled on robots.fleet.example.com "a": the object has been modified; please apply your changes to the latest version and try again"#
    );
    assert_eq!(object["kind"], "Robot");
}

#[tokio::test(start_paused = true)]
async fn bad_patches() {
    let (client, _) = one().await;
    let unprocessable = "the server rejected our request due to an error in our request";
    let cases: &[(&str, &str, u16, &str)] = &[
        ("json", r#"[{"op":"test","path":"/spec/model","value":"zzz"}]"#, 422, unprocessable),
        ("json", r#"[{"op":"remove","path":"/spec/nope"}]"#, 422, unprocessable),
        ("json", r#"[{"op":"frob","path":"/x"}]"#, 422, unprocessable),
        ("json", "not json", 400, "error decoding patch: "),
        ("merge", "not json", 400, "error decoding patch: "),
        ("merge", "[1]", 400, "error decoding patch: "),
        ("merge", r#"{"spec":{"model":{"x":1}}}"#, 422, r#" "" is invalid: patch: Invalid value: "{"#),
        (
            "merge",
            r#"{"metadata":{"name":"zz"}}"#,
            400,
            "the name of the object (zz) does not match the name on the URL (a)",
        ),
        (
            "merge",
            r#"{"metadata":{"namespace":"zz"}}"#,
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "merge",
            r#"{"metadata":{"uid":"zz"}}"#,
            422,
            r#"metadata.uid: Invalid value: "zz": field is immutable"#,
        ),
        ("merge", r#"{"kind":"Pod"}"#, 400, "no kind \"Pod\""),
        ("merge", r#"{"metadata":{"labels":{"bad key!":"1"}}}"#, 422, "metadata.labels: Invalid value"),
        (
            "merge",
            r#"{"metadata":{"resourceVersion":null}}"#,
            422,
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
        ),
    ];
    for (kind, body, code, text) in cases {
        let answer = patch(&client, "a", kind, body).await;
        assert_eq!(answer.code, *code, "{body}: {}", answer.text());
        assert!(message(&answer).contains(text), "{body}: {}", message(&answer));
    }
    assert_eq!(client.fake.count("UpdateRobot"), 0);
    let many = format!("[{}]", vec![r#"{"op":"test","path":"/kind","value":"Robot"}"#; 10_001].join(","));
    assert_eq!(patch(&client, "a", "json", &many).await.code, 413);
    let missing = patch(&client, "nope", "merge", r#"{"spec":{}}"#).await;
    assert_eq!(
        (missing.code, message(&missing).as_str()),
        (404, r#"robots.fleet.example.com "nope" not found"#)
    );
    for kind in ["strategic-merge", "apply"] {
        assert_eq!(patch(&client, "a", kind, "{}").await.code, 415, "{kind}");
    }
    let path = format!("{ROBOTS}/a?force=true&fieldManager=kubectl");
    let apply = [("content-type", "application/apply-patch+yaml")];
    let forced = client.request(Method::PATCH, &path, &apply, "{}").await;
    assert_eq!(forced.code, 415, "kubectl apply --server-side is told what there is, not that force is odd");
    let plain = client
        .request(Method::PATCH, &format!("{ROBOTS}/a"), &[("content-type", "application/json")], "{}")
        .await;
    assert_eq!(plain.code, 415);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_under_strict_are_422() {
    let (client, _) = one().await;
    let answer = patch(&client, "a?fieldValidation=Strict", "merge", r#"{"spec":{"bogus":1}}"#).await;
    assert_eq!(answer.code, 422);
    assert!(
        message(&answer).ends_with(r#"strict decoding error: unknown field "spec.bogus""#),
        "{}",
        message(&answer)
    );
    let answer = patch(&client, "a", "merge", r#"{"spec":{"bogus":1}}"#).await;
    assert_eq!((answer.code, answer.warnings), (200, vec![r#"unknown field "spec.bogus""#.to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn the_status_is_patched_apart() {
    let (client, _) = one().await;
    let both = r#"{"spec":{"model":"ignored"},"status":{"phase":"Up"}}"#;
    let answer = patch(&client, "a/status", "merge", both).await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    assert_eq!(
        (&answer.json()["spec"]["model"], &answer.json()["status"]["phase"]),
        (&"m".into(), &"Up".into())
    );
    let answer = patch(&client, "a", "merge", r#"{"status":{"phase":"Ignored"}}"#).await;
    assert_eq!((answer.code, &answer.json()["status"]["phase"]), (200, &"Up".into()));
}

#[tokio::test(start_paused = true)]
async fn another_type_is_415_whatever_the_options_say() {
    let (client, _) = one().await;
    let headers = [("content-type", "application/apply-patch+yaml")];
    let target = format!("{ROBOTS}/a?force=true&fieldManager=m");
    let answer = client.request(http::Method::PATCH, &target, &headers, "{}").await;
    assert_eq!(answer.code, 415, "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn keys_that_stand_twice_in_a_patch_are_found() {
    let (client, _) = one().await;
    let twice = r#"{"spec":{"arms":2,"arms":3,"settings":{"a":"1","a":"2"}}}"#;
    let answer = patch(&client, "a", "merge", twice).await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    assert_eq!(answer.warnings, [r#"duplicate field "spec.arms""#, r#"duplicate field "spec.settings.a""#]);
    assert_eq!(answer.json()["spec"]["arms"], 3, "the last counts");
    let twice = r#"[{"op":"add","path":"/spec/arms","value":1,"value":4}]"#;
    let answer = patch(&client, "a", "json", twice).await;
    assert_eq!(answer.warnings, [r#"json patch duplicate field "[0].value""#]);
    let headers = [("content-type", "application/json-patch+json")];
    let strict = |how: &str| format!("{ROBOTS}/a?fieldValidation={how}");
    let answer = client.request(http::Method::PATCH, &strict("Strict"), &headers, twice).await;
    assert_eq!(answer.code, 422, "{}", answer.text());
    assert!(message(&answer).ends_with(r#"strict decoding error: json patch duplicate field "[0].value""#));
    let answer = client.request(http::Method::PATCH, &strict("Ignore"), &headers, twice).await;
    assert_eq!((answer.code, answer.warnings.len()), (200, 0));
}
