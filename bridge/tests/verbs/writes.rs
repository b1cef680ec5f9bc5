//! create and update: the MANAGED lifecycle, conflicts, what a body may not say.

use bytes::Bytes;
use http::Method;
use kubridge_bridge::{
    caller::{Code, Ran},
    proto::ObjectMeta,
    wire,
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::{
    fake::{Fault, gone, meta},
    support::{ROBOTS, client, message, robots},
};

fn body(value: &Value) -> Bytes {
    serde_json::to_vec(value).unwrap().into()
}

#[tokio::test(start_paused = true)]
async fn create_fills_in_what_every_object_has() {
    let client = robots();
    let answer = client
        .post(
            &format!("{ROBOTS}?fieldManager=me"),
            body(&json!({"apiVersion":"fleet.example.com/v1","kind":"Robot",
                "metadata":{"name":"a","uid":"mine","generation":9,"creationTimestamp":"2001-01-01T00:00:00Z",
                    "deletionTimestamp":"2001-01-01T00:00:00Z","deletionGracePeriodSeconds":3,
                    "managedFields":[{"manager":"x"}]},
                "spec":{"model":"m"},"status":{"phase":"Fine"}})),
        )
        .await;
    assert_eq!((answer.code, answer.warnings.len()), (201, 0), "{}", answer.text());
    let made = answer.json();
    let m = &made["metadata"];
    assert_eq!(
        (&m["namespace"], &m["resourceVersion"], &m["generation"]),
        (&"ns".into(), &"1".into(), &1.into())
    );
    assert_eq!(m["creationTimestamp"], "2026-11-23T05:04:57Z");
    assert_eq!(uuid_version(&m["uid"]), 4);
    for gone in ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"] {
        assert_eq!(m.get(gone), None, "{gone}");
    }
    assert!(
        made.get("status").is_none_or(|status| *status == json!({})),
        "the status is the subresource's: {made}"
    );
    assert_eq!(made["spec"]["model"], "m");
}

fn uuid_version(uid: &Value) -> usize {
    uuid::Uuid::parse_str(uid.as_str().unwrap()).unwrap().get_version_num()
}

#[tokio::test(start_paused = true)]
async fn generated_names_are_tried_again_when_taken() {
    let client = robots();
    for _ in 0..3 {
        client.fake.fail("CreateRobot", Code::AlreadyExists, "");
    }
    let made = client.post(ROBOTS, r#"{"metadata":{"generateName":"web-"}}"#).await;
    assert_eq!((made.code, client.fake.count("CreateRobot")), (201, 4));
    let name = made.json()["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!((name.len(), &name[..4]), (9, "web-"));
    assert!(name[4..].chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)), "{name}");
    for _ in 0..8 {
        client.fake.fail("CreateRobot", Code::AlreadyExists, "");
    }
    let full = client.post(ROBOTS, r#"{"metadata":{"generateName":"web-"}}"#).await;
    assert_eq!(full.code, 409);
    assert!(message(&full).contains("not able to generate a unique name"), "{}", full.text());
    client.fake.fail("CreateRobot", Code::AlreadyExists, "");
    let named = client.post(ROBOTS, r#"{"metadata":{"name":"a"}}"#).await;
    assert_eq!(message(&named), r#"robots.fleet.example.com "a" already exists"#);
}

#[tokio::test(start_paused = true)]
async fn what_a_new_object_may_not_say() {
    let client = robots();
    let cases: &[(&str, u16, &str)] = &[
        (
            "",
            400,
            "the object provided is unrecognized (must be of type Robot): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        ),
        (
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}"#,
            400,
            r#"Pod in version "v1" cannot be handled as a Robot: no kind "Pod" is registered for version "v1""#,
        ),
        (
            r#"{"apiVersion":"fleet.example.com/v2","kind":"Robot","metadata":{"name":"p"}}"#,
            400,
            "the API version in the data (fleet.example.com/v2) does not match the expected API version (fleet.example.com/v1)",
        ),
        (r#"{"apiVersion":"v1","kind":"Pod","spec":{"arms":[1]}}"#, 400, "no kind \"Pod\""),
        (
            r#"{"metadata":{"name":"x","namespace":"other"}}"#,
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            r#"{"metadata":{"name":"x","resourceVersion":"5"}}"#,
            400,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            r#"{"metadata":{"name":"p"},"spec":{"model":5}}"#,
            400,
            r#"Robot in version "v1" cannot be handled as a Robot: "#,
        ),
        (
            r#"{"metadata":{}}"#,
            422,
            "Robot.fleet.example.com \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (r#"{"metadata":{"name":"Bad_Name!"}}"#, 422, "a lowercase RFC 1123 subdomain must consist of"),
        (
            r#"{"metadata":{"name":"l","labels":{"bad key!":"x y"}}}"#,
            422,
            "Robot.fleet.example.com \"l\" is invalid: [metadata.labels: Invalid value: \"bad key!\": name part must consist of",
        ),
        (r#"{"metadata":{"name":"f","finalizers":["no way"]}}"#, 422, "metadata.finalizers"),
    ];
    for (body, code, text) in cases {
        let answer = client.post(ROBOTS, *body).await;
        assert_eq!(answer.code, *code, "{body}: {}", answer.text());
        assert!(message(&answer).contains(text), "{body}: {}", message(&answer));
    }
    let malformed = client.post(ROBOTS, "{\"apiVersion\":").await;
    assert_eq!(malformed.code, 400);
    assert!(
        message(&malformed).contains("couldn't get version/kind; json parse error: "),
        "{}",
        malformed.text()
    );
    assert_eq!(client.fake.writes(), 0);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = client.request(http::Method::POST, ROBOTS, &form, "x").await;
    assert_eq!(answer.code, 415);
}

#[tokio::test(start_paused = true)]
async fn yaml_is_read_too() {
    let client = robots();
    let headers = [("content-type", "application/yaml")];
    let yaml = "metadata:\n  name: a\nspec:\n  model: m\n  arms: 2\n";
    let answer = client.request(http::Method::POST, ROBOTS, &headers, yaml).await;
    assert_eq!((answer.code, &answer.json()["spec"]["arms"]), (201, &2.into()), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn unknown_and_duplicate_fields() {
    let client = robots();
    let unknown = r#"{"metadata":{"name":"NAME"},"spec":{"bogus":1},"extra":true}"#;
    let post = |query: &str, body: &str, name: &str| {
        let (client, target) = (client.clone(), format!("{ROBOTS}?{query}"));
        let body = body.replace("NAME", name);
        async move { client.post(&target, body).await }
    };
    let strict = post("fieldValidation=Strict", unknown, "s").await;
    assert_eq!(strict.code, 400);
    assert_eq!(
        message(&strict),
        r#"Robot in version "v1" cannot be handled as a Robot: strict decoding error: unknown field "spec.bogus", unknown field "extra""#
    );
    let warn = post("", unknown, "w").await;
    assert_eq!(
        (warn.code, warn.warnings),
        (201, vec![r#"unknown field "spec.bogus""#.into(), r#"unknown field "extra""#.into()])
    );
    let ignore = post("fieldValidation=Ignore", unknown, "i").await;
    assert_eq!((ignore.code, ignore.warnings.len()), (201, 0));
    let twice = r#"{"metadata":{"name":"NAME"},"spec":{"model":"a","model":"b"}}"#;
    let answer = post("fieldValidation=Warn", twice, "d").await;
    assert_eq!(
        (answer.warnings.as_slice(), &answer.json()["spec"]["model"]),
        (&[r#"duplicate field "spec.model""#.to_owned()][..], &"b".into())
    );
    let answer = post("fieldValidation=Foo", twice, "f").await;
    assert_eq!(answer.code, 422);
}

#[tokio::test(start_paused = true)]
async fn a_write_in_flight_that_fails_has_an_unknown_outcome_and_is_sent_once() {
    let client = robots();
    client.fake.fault("CreateRobot", Fault::Fail(gone(Ran::Unknown)));
    let reply = client.send(http::Method::POST, ROBOTS, &[], r#"{"metadata":{"name":"a"}}"#).await;
    let error = reply.unwrap_err();
    assert_eq!((error.status.code, error.retry_after), (504, None));
    assert_eq!(client.fake.count("CreateRobot"), 1);
}

#[tokio::test(start_paused = true)]
async fn update_replaces_and_counts_generations() {
    let client = robots();
    let mut object = client.robot("a", r#""spec":{"model":"m"}"#).await;
    object["spec"]["model"] = "n".into();
    object["metadata"]["creationTimestamp"] = Value::Null;
    let spec = client.put(&format!("{ROBOTS}/a"), body(&object)).await;
    assert_eq!(spec.code, 200, "{}", spec.text());
    let spec = spec.json();
    assert_eq!(
        (&spec["metadata"]["generation"], &spec["metadata"]["resourceVersion"]),
        (&2.into(), &"2".into())
    );
    assert_eq!(spec["metadata"]["creationTimestamp"], "2026-11-23T05:04:57Z");
    let mut labelled = spec.clone();
    labelled["metadata"]["labels"] = json!({"x": "1"});
    let labelled = client.put(&format!("{ROBOTS}/a"), body(&labelled)).await.json();
    assert_eq!(
        (&labelled["metadata"]["generation"], &labelled["metadata"]["resourceVersion"]),
        (&2.into(), &"3".into())
    );
}

#[tokio::test(start_paused = true)]
async fn an_update_that_changes_nothing_writes_nothing() {
    let client = robots();
    let object = client.robot("a", r#""spec":{"model":"m","settings":{"b":"2","a":"1"}}"#).await;
    let writes = client.fake.writes();
    let answer = client.put(&format!("{ROBOTS}/a"), body(&object)).await;
    assert_eq!((answer.code, answer.json()), (200, object));
    assert_eq!((client.fake.writes(), client.fake.count("UpdateRobot")), (writes, 0));
}

#[tokio::test(start_paused = true)]
async fn what_an_update_may_not_say() {
    let client = robots();
    let object = client.robot("a", "").await;
    let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
    let put = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut object = object.clone();
        change(&mut object);
        let (client, target, body) = (client.clone(), format!("{ROBOTS}/{name}"), body(&object));
        async move { client.put(&target, body).await }
    };
    let answer = put("b", &|_| ()).await;
    assert_eq!(
        (answer.code, message(&answer).as_str()),
        (400, "the name of the object (a) does not match the name on the URL (b)")
    );
    let answer = put("a", &|o| o["metadata"]["namespace"] = "x".into()).await;
    assert_eq!(
        (answer.code, message(&answer).as_str()),
        (400, "the namespace of the provided object does not match the namespace sent on the request")
    );
    let answer = put("a", &|o| {
        o["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    })
    .await;
    assert_eq!(
        answer.text(),
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"robots.fleet.example.com \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update","reason":"Invalid","details":{"name":"a","group":"fleet.example.com","kind":"robots","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: 0: must be specified for an update","field":"metadata.resourceVersion"}]},"code":422}"#
    );
    let answer = put("a", &|o| o["metadata"]["resourceVersion"] = "99".into()).await;
    assert_eq!(
        (answer.code, message(&answer).as_str()),
        (
            409,
            r#"Operation cannot be fulfilled on robots.fleet.example.com "a": the object has been modified; please apply your changes to the latest version and try again"#
        )
    );
    let answer = put("a", &|o| o["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000".into()).await;
    assert_eq!(answer.code, 409);
    assert!(message(&answer).ends_with(&format!("Precondition failed: UID in precondition: 00000000-0000-0000-0000-000000000000, UID in object meta: {uid}")));
    let answer = client.put(&format!("{ROBOTS}/nope"), r#"{"metadata":{"name":"nope"}}"#).await;
    assert_eq!(
        (answer.code, message(&answer).as_str()),
        (404, r#"robots.fleet.example.com "nope" not found"#)
    );
    assert_eq!(client.fake.count("UpdateRobot"), 0);
}

#[tokio::test(start_paused = true)]
async fn somebody_else_between_read_and_write_is_a_conflict() {
    let client = robots();
    let mut object = client.robot("a", "").await;
    object["spec"] = json!({"model": "n"});
    let stored = client.fake.state().objects.values().next().unwrap().clone();
    client.fake.fault("UpdateRobot", Fault::Before(Box::new(move |state| state.store(&stored))));
    let answer = client.put(&format!("{ROBOTS}/a"), body(&object)).await;
    assert_eq!(answer.code, 409);
    assert!(message(&answer).contains("the object has been modified"));
}

#[tokio::test(start_paused = true)]
async fn status_and_the_rest_are_written_apart() {
    let client = robots();
    let mut object = client.robot("a", r#""spec":{"model":"m"}"#).await;
    object["status"] = json!({"phase": "Up"});
    object["spec"]["model"] = "ignored".into();
    object["metadata"]["labels"] = json!({"ignored": "1"});
    let status = client.put(&format!("{ROBOTS}/a/status"), body(&object)).await;
    assert_eq!(status.code, 200, "{}", status.text());
    let mut now = status.json();
    assert_eq!((&now["status"]["phase"], &now["spec"]["model"]), (&"Up".into(), &"m".into()));
    assert_eq!((now["metadata"].get("labels"), &now["metadata"]["generation"]), (None, &1.into()));
    now["status"]["phase"] = "Ignored".into();
    now["spec"]["model"] = "n".into();
    let main = client.put(&format!("{ROBOTS}/a"), body(&now)).await.json();
    assert_eq!((&main["status"]["phase"], &main["spec"]["model"]), (&"Up".into(), &"n".into()));
    let get = client.get(&format!("{ROBOTS}/a/status")).await.json();
    assert_eq!(get, main);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_of_a_newer_backend_survive_writes() {
    let client = robots();
    let mut object = client.robot("a", r#""spec":{"model":"m","gripper":{"fingers":5}},"status":{}"#).await;
    let key = ("ns".to_owned(), "a".to_owned());
    let unknown = |out: &mut Vec<u8>| wire::put_varint(out, 777, 42);
    let mut gripper = vec![0x08, 5];
    unknown(&mut gripper);
    let mut spec = b"\x0a\x01m".to_vec();
    wire::put_bytes(&mut spec, 4, &gripper);
    unknown(&mut spec);
    let mut status = Vec::new();
    unknown(&mut status);
    let stored = client.fake.state().objects[&key].clone();
    let mut newer = Vec::new();
    let mut metadata = wire::message_field(&stored, 1).unwrap().into_owned();
    unknown(&mut metadata);
    wire::put_bytes(&mut newer, 1, &metadata);
    wire::put_bytes(&mut newer, 2, &spec);
    wire::put_bytes(&mut newer, 3, &status);
    unknown(&mut newer);
    client.fake.state().objects.insert(key.clone(), newer.into());

    object["spec"]["model"] = "n".into();
    let check = |what: &str| {
        let stored = client.fake.state().objects[&key].clone();
        let has = |message: &[u8]| wire::has_field(message, 777).unwrap();
        let spec = wire::message_field(&stored, 2).unwrap();
        assert!(has(&stored), "{what}: top level");
        assert!(has(&wire::message_field(&stored, 1).unwrap()), "{what}: metadata");
        assert!(has(&spec) && has(&wire::message_field(&spec, 4).unwrap()), "{what}: spec");
        assert!(has(&wire::message_field(&stored, 3).unwrap()), "{what}: status");
        let count = wire::fields(&stored).filter(|f| f.as_ref().unwrap().number == 777).count();
        assert_eq!(count, 1, "{what}: once");
    };
    let answer = client.put(&format!("{ROBOTS}/a"), body(&object)).await;
    assert_eq!((answer.code, answer.schema_suspect), (200, true), "{}", answer.text());
    check("update");
    assert_eq!(client.merge(&format!("{ROBOTS}/a"), r#"{"spec":{"arms":3}}"#).await.code, 200);
    check("patch");
    assert_eq!(client.merge(&format!("{ROBOTS}/a/status"), r#"{"status":{"phase":"Up"}}"#).await.code, 200);
    check("status");
    assert_eq!(
        client.merge(&format!("{ROBOTS}/a"), r#"{"metadata":{"finalizers":["x/y"]}}"#).await.code,
        200
    );
    assert_eq!(client.delete(&format!("{ROBOTS}/a"), "").await.code, 200);
    check("delete");
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_that_cannot_be_carried_over_stop_the_write() {
    let client = robots();
    client.robot("a", "").await;
    let key = ("ns".to_owned(), "a".to_owned());
    let mut owner = Vec::new();
    wire::put_varint(&mut owner, 777, 1);
    let stored = client.fake.state().objects[&key].clone();
    let mut metadata = wire::message_field(&stored, 1).unwrap().into_owned();
    wire::put_bytes(&mut metadata, 13, &owner);
    let mut newer = Vec::new();
    wire::put_bytes(&mut newer, 1, &metadata);
    client.fake.state().objects.insert(key, newer.into());
    let answer = client.merge(&format!("{ROBOTS}/a"), r#"{"spec":{"arms":3}}"#).await;
    assert_eq!((answer.code, answer.schema_suspect), (503, true), "{}", answer.text());
    assert_eq!(client.fake.count("UpdateRobot"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_object_born_elsewhere_keeps_its_made_uid() {
    let client = robots();
    let mut born = Vec::new();
    wire::put_bytes(
        &mut born,
        1,
        &ObjectMeta { name: "a".into(), namespace: "ns".into(), ..Default::default() }.encode_to_vec(),
    );
    client.fake.put(&born);
    let mut object = client.get(&format!("{ROBOTS}/a")).await.json();
    let uid = object["metadata"]["uid"].clone();
    assert_eq!(uuid_version(&uid), 5);
    let writes = client.fake.writes();
    assert_eq!(client.put(&format!("{ROBOTS}/a"), body(&object)).await.code, 200);
    assert_eq!(client.fake.writes(), writes, "nothing changed");
    object["spec"] = json!({"model": "m"});
    let written = client.put(&format!("{ROBOTS}/a"), body(&object)).await.json();
    assert_eq!((&written["metadata"]["uid"], &written["metadata"]["generation"]), (&uid, &2.into()));
}

#[tokio::test(start_paused = true)]
async fn under_lifecycle_backend_the_backend_gets_what_the_client_wrote() {
    let client = client("drones");
    let drones = "/apis/fleet.example.com/v1/namespaces/ns/drones";
    let sent = r#"{"metadata":{"name":"Any_Name","uid":"mine","generation":9},"spec":{"rotors":4}}"#;
    let made = client.post(drones, sent).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let key = ("ns".to_owned(), "Any_Name".to_owned());
    let m = meta(&client.fake.state().objects[&key]);
    assert_eq!((m.uid.as_str(), m.generation, m.creation_timestamp), ("mine", 9, None));
    let put = client
        .put(&format!("{drones}/Any_Name"), r#"{"metadata":{"name":"Any_Name"},"spec":{"rotors":6}}"#)
        .await;
    assert_eq!(put.code, 200, "unconditional, if the backend takes it: {}", put.text());
    assert_eq!(client.fake.count("GetDrone"), 0);
    let patched = client.merge(&format!("{drones}/Any_Name"), r#"{"spec":{"rotors":8}}"#).await;
    assert_eq!((patched.code, &patched.json()["spec"]["rotors"]), (200, &8.into()));
    assert_eq!((client.fake.count("GetDrone"), client.fake.count("UpdateDrone")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_error_keeps_the_warnings_that_explain_it() {
    let client = robots();
    let answer = client.post(ROBOTS, r#"{"Metadata":{"name":"a"}}"#).await;
    assert_eq!(answer.code, 422, "{}", answer.text());
    assert_eq!(answer.warnings, [r#"unknown field "Metadata""#]);
    let docks = crate::support::client("docks");
    let answer = docks.get("/apis/fleet.example.com/v1/docks/nope").await;
    assert_eq!((answer.code, answer.warnings), (404, vec!["fleet.example.com/v1 Dock is deprecated".into()]));
}

#[tokio::test(start_paused = true)]
async fn the_old_watch_paths_only_read() {
    let client = robots();
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD] {
        let target = "/apis/fleet.example.com/v1/watch/namespaces/ns/robots";
        let answer = client.request(method, target, &[], "{}").await;
        assert_eq!(answer.code, 405, "{}", answer.text());
    }
    assert_eq!(client.fake.count("WatchRobots"), 0);
}
