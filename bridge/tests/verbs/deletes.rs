//! delete and deletecollection: preconditions, finalizers, conflicts.

use http::Method;
use kubridge_bridge::{
    caller::{Code, Ran},
    proto::{DeleteOptions, DeleteRequest, Preconditions},
    wire,
};
use prost::Message as _;
use serde_json::json;

use crate::{
    fake::{Fault, gone, meta, status},
    support::{Client, ROBOTS, client, message, robots},
};

async fn with_finalizer() -> (Client, serde_json::Value) {
    let client = robots();
    let object = client
        .robot("fin", r#""metadata":{"name":"fin","finalizers":["example.com/f"]},"spec":{"model":"m"}"#)
        .await;
    (client, object)
}

#[tokio::test(start_paused = true)]
async fn delete_answers_success_and_deletes_what_was_read() {
    let client = robots();
    let uid = client.robot("b", "").await["metadata"]["uid"].as_str().unwrap().to_owned();
    let answer = client.delete(&format!("{ROBOTS}/b?gracePeriodSeconds=7"), "").await;
    assert_eq!(
        (answer.code, answer.text()),
        (200, format!(r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Success","details":{{"name":"b","group":"fleet.example.com","kind":"robots","uid":"{uid}"}}}}"#).as_str())
    );
    let sent = DeleteRequest::decode(client.fake.last("DeleteRobot")).unwrap().options.unwrap();
    assert_eq!(sent.preconditions.unwrap().resource_version.as_deref(), Some("1"));
    assert_eq!(sent.grace_period_seconds, Some(7));
    let again = client.delete(&format!("{ROBOTS}/b"), "").await;
    assert_eq!((again.code, message(&again).as_str()), (404, r#"robots.fleet.example.com "b" not found"#));
}

#[tokio::test(start_paused = true)]
async fn preconditions() {
    let client = robots();
    let object = client.robot("a", "").await;
    let uid = object["metadata"]["uid"].as_str().unwrap();
    let body = |preconditions: serde_json::Value| {
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}).to_string()
    };
    let target = format!("{ROBOTS}/a");
    let answer = client.delete(&target, body(json!({"uid": "00000000-0000-0000-0000-000000000000"}))).await;
    assert_eq!(answer.code, 409);
    assert_eq!(
        answer.json(),
        json!({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":format!("Operation cannot be fulfilled on Robot.fleet.example.com \"a\": the UID in the precondition (00000000-0000-0000-0000-000000000000) does not match the UID in record ({uid}). The object might have been deleted and then recreated"),"reason":"Conflict","details":{"name":"a","group":"fleet.example.com","kind":"Robot"},"code":409})
    );
    assert_eq!(client.fake.count("GetRobot"), 1, "not tried again");
    let answer = client.delete(&target, body(json!({"resourceVersion": "9"}))).await;
    assert_eq!(
        message(&answer),
        "Operation cannot be fulfilled on Robot.fleet.example.com \"a\": the ResourceVersion in the precondition (9) does not match the ResourceVersion in record (1). The object might have been modified"
    );
    assert_eq!(client.fake.count("DeleteRobot"), 0);
    let answer = client.delete(&target, body(json!({"resourceVersion": "1", "uid": uid}))).await;
    assert_eq!(answer.code, 200);
    let answer = client.delete(&target, r#"{"kind":"Pod","apiVersion":"v1"}"#).await;
    assert_eq!(answer.code, 400);
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_the_object_and_the_last_one_lets_it_go() {
    let (client, object) = with_finalizer().await;
    let target = format!("{ROBOTS}/fin");
    let answer = client.delete(&target, "").await;
    assert_eq!(answer.code, 200);
    let marked = answer.json();
    let m = &marked["metadata"];
    assert_eq!(
        (&marked["kind"], &m["deletionTimestamp"], &m["deletionGracePeriodSeconds"]),
        (&"Robot".into(), &"2026-11-23T05:04:57Z".into(), &0.into())
    );
    assert_eq!((&m["generation"], &m["resourceVersion"]), (&2.into(), &"2".into()));
    let writes = client.fake.writes();
    let again = client.delete(&target, "").await;
    assert_eq!((again.code, again.json()), (200, marked.clone()));
    assert_eq!(client.fake.writes(), writes, "it is terminating already");

    let more =
        client.merge(&target, r#"{"metadata":{"finalizers":["example.com/f","example.com/g"]}}"#).await;
    assert_eq!(more.code, 422);
    assert!(message(&more).contains(r#"no new finalizers can be added if the object is being deleted, found new finalizers ["example.com/g"]"#), "{}", more.text());

    let last = client.merge(&target, r#"{"metadata":{"finalizers":null}}"#).await;
    assert_eq!(last.code, 200);
    let last = last.json();
    assert_eq!(
        (last["metadata"].get("finalizers"), &last["metadata"]["uid"]),
        (None, &object["metadata"]["uid"])
    );
    assert_eq!(
        (client.fake.count("DeleteRobot"), client.fake.count("UpdateRobot")),
        (1, 1),
        "one Delete, no Update"
    );
    let sent = DeleteRequest::decode(client.fake.last("DeleteRobot")).unwrap().options.unwrap();
    assert_eq!(sent.preconditions.unwrap().resource_version.as_deref(), Some("2"));
    assert_eq!(client.get(&target).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn a_client_cannot_undo_or_forge_a_deletion() {
    let (client, mut object) = with_finalizer().await;
    let target = format!("{ROBOTS}/fin");
    object["metadata"]["deletionTimestamp"] = "2001-01-01T00:00:00Z".into();
    let put = client.put(&target, object.to_string()).await.json();
    assert_eq!(put["metadata"].get("deletionTimestamp"), None);
    client.delete(&target, "").await;
    let patched =
        client.merge(&target, r#"{"metadata":{"deletionTimestamp":null,"labels":{"a":"b"}}}"#).await.json();
    assert_eq!(patched["metadata"]["deletionTimestamp"], "2026-11-23T05:04:57Z");
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_tried_again_when_somebody_else_wrote() {
    let client = robots();
    client.robot("a", "").await;
    let stored = client.fake.state().objects.values().next().unwrap().clone();
    for _ in 0..2 {
        let stored = stored.clone();
        client.fake.fault("DeleteRobot", Fault::Before(Box::new(move |state| state.store(&stored))));
    }
    assert_eq!(client.delete(&format!("{ROBOTS}/a"), "").await.code, 200);
    assert_eq!((client.fake.count("DeleteRobot"), client.fake.count("GetRobot")), (3, 3));

    client.robot("a", "").await;
    let version = meta(client.fake.state().objects.values().next().unwrap()).resource_version;
    client.fake.fault("DeleteRobot", Fault::Before(Box::new(move |state| state.store(&stored))));
    let body = json!({"preconditions": {"resourceVersion": version}}).to_string();
    assert_eq!(client.delete(&format!("{ROBOTS}/a"), body).await.code, 409);
    assert_eq!(client.fake.count("DeleteRobot"), 4, "the client meant that version");
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_comes_between_is_seen() {
    let client = robots();
    client.robot("a", "").await;
    let stored = client.fake.state().objects.values().next().unwrap().clone();
    let mut held = kubridge_bridge::object::Object::parse(&stored).unwrap();
    held.meta.finalizers.push("example.com/f".into());
    client.fake.fault("DeleteRobot", Fault::Before(Box::new(move |state| state.store(&held.encode()))));
    let answer = client.delete(&format!("{ROBOTS}/a"), "").await;
    assert_eq!((answer.code, &answer.json()["kind"]), (200, &"Robot".into()));
    assert_eq!(client.get(&format!("{ROBOTS}/a")).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn foreground_and_orphan_act_as_background_and_say_so() {
    for policy in ["Foreground", "Orphan"] {
        let client = robots();
        client.robot("a", "").await;
        let answer = client.delete(&format!("{ROBOTS}/a?propagationPolicy={policy}"), "").await;
        assert_eq!((answer.code, answer.warnings.len()), (200, 1));
        assert!(answer.warnings[0].contains(policy));
        let sent = DeleteRequest::decode(client.fake.last("DeleteRobot")).unwrap().options.unwrap();
        assert_eq!(sent.propagation_policy.as_deref(), Some("Background"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_in_flight_that_fails_is_not_sent_again() {
    let client = robots();
    client.robot("a", "").await;
    client.fake.fault("DeleteRobot", Fault::Fail(gone(Ran::Unknown)));
    let answer = client.delete(&format!("{ROBOTS}/a"), "").await;
    assert_eq!((answer.code, client.fake.count("DeleteRobot")), (504, 1));
}

#[tokio::test(start_paused = true)]
async fn deletecollection_deletes_what_is_selected_and_lists_it() {
    let client = robots();
    for (name, label) in [("a", "1"), ("b", "2"), ("c", "2")] {
        client.robot(name, &format!(r#""metadata":{{"name":"{name}","labels":{{"t":"{label}"}}}}"#)).await;
    }
    client.robot("d", r#""metadata":{"name":"d","labels":{"t":"2"},"finalizers":["example.com/f"]}"#).await;
    client.fake.fault("DeleteRobot", Fault::Fail(status(Code::NotFound, "gone already")));
    let answer = client.delete(&format!("{ROBOTS}?labelSelector=t%3D2"), "").await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    let list = answer.json();
    assert_eq!((&list["kind"], &list["metadata"]["resourceVersion"]), (&"RobotList".into(), &"4".into()));
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["b", "c", "d"]);
    let left: Vec<_> = client.fake.state().objects.keys().map(|(_, name)| name.clone()).collect();
    assert!(left.contains(&"a".to_owned()) && left.contains(&"d".to_owned()) && left.len() == 3, "{left:?}");
    let held = client.get(&format!("{ROBOTS}/d")).await.json();
    assert!(held["metadata"].get("deletionTimestamp").is_some());
}

#[tokio::test(start_paused = true)]
async fn deletecollection_is_native_only_under_lifecycle_backend() {
    let client = client("drones");
    let drones = "/apis/fleet.example.com/v1/namespaces/ns/drones";
    client.post(drones, r#"{"metadata":{"name":"a"}}"#).await;
    let answer = client.delete(drones, "").await;
    assert_eq!((answer.code, &answer.json()["status"]), (200, &"Success".into()), "{}", answer.text());
    assert_eq!((client.fake.count("DeleteCollectionDrones"), client.fake.count("DeleteDrone")), (1, 0));
    client.post(drones, r#"{"metadata":{"name":"a","finalizers":["x/y"]}}"#).await;
    let answer = client.delete(&format!("{drones}/a"), "").await;
    assert_eq!((answer.code, &answer.json()["status"]), (200, &"Success".into()));
    assert_eq!(client.fake.count("UpdateDrone"), 0, "finalizers are the backend's business");
}

#[tokio::test(start_paused = true)]
async fn only_an_object_is_delete_options() {
    let client = robots();
    client.robot("a", "").await;
    let target = format!("{ROBOTS}/a");
    for body in ["[]", "null", "[7]", r#""x""#, r#"{"preconditions":["x"]}"#, r#"{"dryRun":"All"}"#] {
        let answer = client.delete(&target, body).await;
        assert_eq!(answer.code, 400, "{body}: {}", answer.text());
        let all = client.delete(ROBOTS, body).await;
        assert_eq!(all.code, 400, "{body}: {}", all.text());
    }
    assert_eq!(client.fake.count("DeleteRobot"), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_body_its_type_is_nobodys_business() {
    let client = robots();
    client.robot("a", "").await;
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let target = format!("{ROBOTS}/a");
    assert_eq!(client.request(Method::DELETE, &target, &headers, "x").await.code, 415);
    assert_eq!(client.request(Method::DELETE, &target, &headers, "").await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn delete_options_in_kubernetes_protobuf() {
    let client = robots();
    client.robot("a", "").await;
    let body = |api_version: &str, options: &DeleteOptions| {
        let (mut kind, mut unknown) = (Vec::new(), Vec::new());
        wire::put_bytes(&mut kind, 1, api_version.as_bytes());
        wire::put_bytes(&mut kind, 2, b"DeleteOptions");
        wire::put_bytes(&mut unknown, 1, &kind);
        wire::put_bytes(&mut unknown, 2, &options.encode_to_vec());
        [b"k8s\0", &unknown[..]].concat()
    };
    let headers = [("content-type", "application/vnd.kubernetes.protobuf")];
    let target = format!("{ROBOTS}/a");
    let stale = Preconditions { uid: None, resource_version: Some("9".into()) };
    let options = DeleteOptions { preconditions: Some(stale), ..DeleteOptions::default() };
    let send = |body| client.request(Method::DELETE, &target, &headers, body);
    assert_eq!(send(body("v1", &options)).await.code, 409);
    assert_eq!(send(body("policy/v1", &options)).await.code, 400);
    assert_eq!(send(b"k8s\0\xff".to_vec()).await.code, 400);
    assert_eq!(client.fake.count("DeleteRobot"), 0);
    assert_eq!(send(body("v1", &DeleteOptions::default())).await.code, 200);
}
