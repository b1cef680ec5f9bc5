//! list: streamed and unary, selectors, pages, and a backend that goes away.

use http::Method;
use kubridge_bridge::{
    caller::{Code, Ran},
    proto::ListRequest,
    verbs::Body,
    wire,
};
use prost::Message as _;
use serde_json::Value;

use crate::{
    fake::{Fault, gone, status},
    support::{Answer, Client, JSON, ROBOTS, client, robots, whole},
};

async fn fleet() -> Client {
    let client = robots();
    for (name, label, model) in [("a", "1", "x"), ("b", "2", "y"), ("c", "1", "y")] {
        let body = format!(
            r#""metadata":{{"name":"{name}","labels":{{"t":"{label}"}}}},"spec":{{"model":"{model}"}}"#
        );
        client.robot(name, &body).await;
    }
    client
}

fn names(answer: &Answer) -> Vec<String> {
    let list = answer.json();
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{}", answer.text()));
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_list_is_the_same_however_the_backend_cuts_it() {
    let client = fleet().await;
    let expected = client.get(ROBOTS).await.json();
    assert_eq!(
        (&expected["kind"], &expected["apiVersion"]),
        (&"RobotList".into(), &"fleet.example.com/v1".into())
    );
    assert_eq!(expected["metadata"], serde_json::json!({"resourceVersion": "3"}));
    assert_eq!(expected["items"].as_array().unwrap().len(), 3);
    assert_eq!(expected["items"][0].get("kind"), None, "items of a typed list carry no kind");
    for (chunk, metadata_last) in [(1, false), (1, true), (2, true), (0, true)] {
        client.fake.state().chunk = chunk;
        client.fake.state().metadata_last = metadata_last;
        assert_eq!(client.get(ROBOTS).await.json(), expected, "{chunk} {metadata_last}");
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_comes_first_where_the_backend_says_it_first() {
    let text = fleet().await.get(ROBOTS).await;
    let head = r#"{"kind":"RobotList","apiVersion":"fleet.example.com/v1","metadata":{"resourceVersion":"3"},"items":[{"metadata":{"name":"a""#;
    assert!(text.text().starts_with(head), "{}", text.text());
}

#[tokio::test(start_paused = true)]
async fn metadata_comes_first_also_where_the_backend_says_it_last() {
    let client = fleet().await;
    let expected = client.get(ROBOTS).await;
    client.fake.state().chunk = 1;
    client.fake.state().metadata_last = true;
    assert_eq!(client.get(ROBOTS).await.text(), expected.text());

    // Unless that is far behind: a list takes no more memory than a piece.
    let long = "x".repeat(40_000);
    for name in ["l1", "l2", "l3"] {
        client.robot(name, &format!(r#""spec":{{"model":"{long}"}}"#)).await;
    }
    let answer = client.get(ROBOTS).await;
    assert!(
        answer.text().starts_with(r#"{"kind":"RobotList","apiVersion":"fleet.example.com/v1","items":[{"#)
    );
    assert!(answer.text().ends_with(r#"],"metadata":{"resourceVersion":"6"}}"#));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_the_backend_has_not_reached_is_told_with_its_cause() {
    let client = fleet().await;
    for (method, target) in [
        ("ListRobots", format!("{ROBOTS}?resourceVersion=99")),
        ("GetRobot", format!("{ROBOTS}/a?resourceVersion=99")),
    ] {
        client.fake.fail(method, Code::DeadlineExceeded, "99 is later than the latest");
        let answer = client.get(&target).await;
        let told = answer.json();
        assert_eq!((answer.code, &told["reason"]), (504, &"Timeout".into()), "{told}");
        assert_eq!(told["details"]["causes"][0]["reason"], "ResourceVersionTooLarge", "{told}");
        assert_eq!(told["details"]["retryAfterSeconds"], 1);
        client.fake.fail(method, Code::DeadlineExceeded, "slow");
        let slow = client.get(target.split('?').next().unwrap()).await.json();
        assert_eq!(slow["details"].get("causes"), None, "{slow}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_has_an_array_also_when_the_backend_finds_nothing() {
    let client = robots();
    assert_eq!(client.get(ROBOTS).await.json()["items"], serde_json::json!([]));
    client.fake.fail("ListRobots", Code::NotFound, "no such parent");
    let answer = client.get(ROBOTS).await;
    assert_eq!((answer.code, &answer.json()["items"]), (200, &serde_json::json!([])));
    client.fake.fault("ListRobots", Fault::BreakAfter(0, status(Code::NotFound, "")));
    assert_eq!(client.get(ROBOTS).await.json()["items"], serde_json::json!([]));
}

#[tokio::test(start_paused = true)]
async fn selectors_are_exact_though_the_backend_ignores_them() {
    let client = fleet().await;
    client.fake.state().remaining = Some(7);
    for (query, expected) in [
        ("labelSelector=t%3D1", vec!["a", "c"]),
        ("labelSelector=t+in+(2,3)", vec!["b"]),
        ("labelSelector=!t", vec![]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=metadata.name!%3Db", vec!["a", "c"]),
        ("fieldSelector=spec.model%3Dy", vec!["b", "c"]),
        ("fieldSelector=spec.model%3Dy&labelSelector=t%3D1", vec!["c"]),
    ] {
        let answer = client.get(&format!("{ROBOTS}?{query}")).await;
        assert_eq!(names(&answer), expected, "{query}");
        assert_eq!(answer.json()["metadata"].get("remainingItemCount"), None, "{query}");
    }
    let sent = ListRequest::decode(client.fake.last("ListRobots")).unwrap().options.unwrap();
    assert_eq!((sent.label_selector.as_str(), sent.field_selector.as_str()), ("t=1", "spec.model=y"));
    assert_eq!(client.get(ROBOTS).await.json()["metadata"]["remainingItemCount"], 7);
    let answer = client.get(&format!("{ROBOTS}?fieldSelector=spec.arms%3D2")).await;
    assert_eq!(answer.code, 400);
    assert!(answer.text().contains("field label not supported: spec.arms"));
}

#[tokio::test(start_paused = true)]
async fn other_namespaces_do_not_show() {
    let client = fleet().await;
    let mut other = Vec::new();
    wire::put_bytes(&mut other, 1, b"\x0a\x01z\x1a\x05other");
    client.fake.put(&other);
    assert_eq!(names(&client.get(ROBOTS).await), ["a", "b", "c"]);
    let all = "/apis/fleet.example.com/v1/robots";
    assert_eq!(names(&client.get(all).await), ["a", "b", "c", "z"]);
    assert_eq!(names(&client.get(&format!("{all}?fieldSelector=metadata.name%3Dz")).await), ["z"]);
    assert_eq!(names(&client.get(&format!("{all}?fieldSelector=metadata.namespace%3Dother")).await), ["z"]);
}

#[tokio::test(start_paused = true)]
async fn pages_are_the_backends() {
    let client = fleet().await;
    let first = client.get(&format!("{ROBOTS}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    let token = first.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let second = client.get(&format!("{ROBOTS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c"]);
    assert_eq!(second.json()["metadata"].get("continue"), None);
    client.fake.fail("ListRobots", Code::OutOfRange, "");
    let expired = client.get(&format!("{ROBOTS}?limit=2&continue={token}")).await;
    assert_eq!((expired.code, &expired.json()["reason"]), (410, &"Expired".into()));

    let docks = super::support::client("docks");
    let base = "/apis/fleet.example.com/v1/docks";
    assert_eq!(docks.get(&format!("{base}?limit=1")).await.code, 200);
    assert_eq!(docks.get(&format!("{base}?limit=1&continue=x")).await.code, 400, "it never gave a token");
}

#[tokio::test(start_paused = true)]
async fn an_error_before_the_first_byte_is_an_answer_and_after_it_a_reset() {
    let client = fleet().await;
    client.fake.state().chunk = 1;
    client.fake.fault("ListRobots", Fault::Fail(gone(Ran::No)));
    assert_eq!(client.get(ROBOTS).await.code, 503);
    client.fake.fault("ListRobots", Fault::BreakAfter(0, gone(Ran::Unknown)));
    assert_eq!(client.get(ROBOTS).await.code, 503);
    client.fake.fault("ListRobots", Fault::BreakAfter(2, gone(Ran::Unknown)));
    assert_eq!(client.get(ROBOTS).await.code, 503, "of a short list nothing was sent yet");
    let long = "x".repeat(70_000);
    client.robot("0", &format!(r#""spec":{{"model":"{long}"}}"#)).await;
    for after in [1, 2] {
        client.fake.fault("ListRobots", Fault::BreakAfter(after, gone(Ran::Unknown)));
        let reply = client.send(Method::GET, ROBOTS, &[("accept", JSON)], "").await.unwrap();
        assert!(whole(reply).await.is_err(), "a list that looks whole");
    }
    client.fake.fault("ListRobots", Fault::BreakAfter(1, status(Code::NotFound, "gone meanwhile")));
    let reply = client.send(Method::GET, ROBOTS, &[("accept", JSON)], "").await.unwrap();
    assert!(whole(reply).await.is_err(), "NOT_FOUND is an empty list only where nothing came before");
    let mut broken = Vec::new();
    wire::put_bytes(&mut broken, 1, b"\x0a\x01c\x1a\x02ns");
    wire::put_bytes(&mut broken, 2, b"\x0a\x7f");
    client.fake.put(&broken);
    let reply = client.send(Method::GET, ROBOTS, &[("accept", JSON)], "").await.unwrap();
    let error = whole(reply).await.unwrap_err();
    assert!(error.schema_suspect);
}

#[tokio::test(start_paused = true)]
async fn a_long_chunk_is_sent_in_pieces() {
    let client = robots();
    let filler = "x".repeat(1000);
    for i in 0..300 {
        let mut object = Vec::new();
        wire::put_bytes(&mut object, 1, format!("\n\x04{i:04}\x1a\x02ns").as_bytes());
        let mut spec = Vec::new();
        wire::put_bytes(&mut spec, 1, filler.as_bytes());
        wire::put_bytes(&mut object, 2, &spec);
        client.fake.put(&object);
    }
    let reply = client.send(Method::GET, ROBOTS, &[], "").await.unwrap();
    let Body::Stream(stream) = reply.body else { panic!("not streamed") };
    let pieces: Vec<_> = futures::StreamExt::collect(stream).await;
    assert!(pieces.len() > 3, "{}", pieces.len());
    let all: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.unwrap().to_vec()).collect();
    let list: Value = serde_json::from_slice(&all).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 300);
}

#[tokio::test(start_paused = true)]
async fn other_shapes_and_formats() {
    let client = fleet().await;
    client.fake.state().chunk = 1;
    let table =
        client.get_as(ROBOTS, "application/json;as=Table;g=meta.k8s.io;v=v1,application/json").await.json();
    assert_eq!((&table["kind"], &table["metadata"]["resourceVersion"]), (&"Table".into(), &"3".into()));
    assert_eq!(table["rows"].as_array().unwrap().len(), 3);
    assert_eq!(table["rows"][2]["object"]["metadata"]["name"], "c");
    let none = client
        .get_as(&format!("{ROBOTS}?includeObject=None"), "application/json;as=Table;g=meta.k8s.io;v=v1")
        .await;
    assert!(none.json()["rows"][0]["object"].is_null(), "{}", none.text());
    let partial = client
        .get_as(ROBOTS, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
        .await
        .json();
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(
        (&partial["items"][0]["kind"], partial["items"][0].get("spec")),
        (&"PartialObjectMetadata".into(), None)
    );
    let yaml = client.get_as(ROBOTS, "application/yaml").await;
    assert!(yaml.text().contains("kind: RobotList\n"), "{}", yaml.text());
    let pretty = client.get(&format!("{ROBOTS}?pretty=1")).await;
    assert!(pretty.text().starts_with("{\n  \"kind\": \"RobotList\","), "{}", pretty.text());
    assert_eq!(
        client.get_as(ROBOTS, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await.code,
        406
    );
}

#[tokio::test(start_paused = true)]
async fn a_unary_list_serves_too() {
    let client = client("docks");
    let mut dock = Vec::new();
    wire::put_bytes(&mut dock, 1, b"\x0a\x02d1");
    client.fake.put(&dock);
    let answer = client.get("/apis/fleet.example.com/v1/docks").await;
    assert_eq!(names(&answer), ["d1"]);
    assert_eq!(answer.json()["kind"], "DockList");
}
