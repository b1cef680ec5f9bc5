//! get, and what a resource does not have.

use http::Method;
use kubridge_bridge::{
    caller::{Code, Ran},
    proto::GetRequest,
    wire,
};
use prost::Message as _;

use crate::{
    fake::{Fault, gone},
    support::{JSON, ROBOTS, client, message, robots},
};

#[tokio::test(start_paused = true)]
async fn get_gives_the_object_with_kind_and_api_version_first() {
    let client = robots();
    client.robot("a", r#""spec":{"model":"m1","arms":2}"#).await;
    let answer = client.get(&format!("{ROBOTS}/a?resourceVersion=0")).await;
    assert_eq!((answer.code, answer.content_type.as_str()), (200, JSON));
    assert!(
        answer
            .text()
            .starts_with(r#"{"kind":"Robot","apiVersion":"fleet.example.com/v1","metadata":{"name":"a""#)
    );
    assert_eq!(answer.json()["spec"]["arms"], 2);
    let request = GetRequest::decode(client.fake.last("GetRobot")).unwrap();
    assert_eq!((request.namespace.as_str(), request.name.as_str()), ("ns", "a"));
    assert_eq!(request.options.unwrap().resource_version, "0");
}

#[tokio::test(start_paused = true)]
async fn get_of_nothing_is_404_in_kubernetes_words() {
    let answer = robots().get(&format!("{ROBOTS}/nope")).await;
    assert_eq!(
        answer.text(),
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"robots.fleet.example.com \"nope\" not found","reason":"NotFound","details":{"name":"nope","group":"fleet.example.com","kind":"robots"},"code":404}"#
    );
}

#[tokio::test(start_paused = true)]
async fn get_is_made_from_list_where_the_backend_has_no_get() {
    let client = client("docks");
    let mut dock = Vec::new();
    wire::put_bytes(&mut dock, 1, b"\x0a\x02d1");
    client.fake.put(&dock);
    let answer = client.get("/apis/fleet.example.com/v1/docks/d1").await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    assert_eq!(answer.warnings, ["fleet.example.com/v1 Dock is deprecated"]);
    let born = answer.json();
    assert_eq!(born["metadata"]["generation"], 1, "generation 0 reads as 1");
    assert_eq!(born["metadata"]["uid"].as_str().unwrap().len(), 36, "a uid is made");
    assert_eq!(client.get("/apis/fleet.example.com/v1/docks/d2").await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn get_is_made_from_list_where_the_backend_has_not_implemented_it() {
    let client = robots();
    client.robot("a", "").await;
    client.fake.fail("GetRobot", Code::Unimplemented, "");
    let answer = client.get(&format!("{ROBOTS}/a")).await;
    assert_eq!((answer.code, answer.json()["metadata"]["name"].as_str()), (200, Some("a")));
    client.fake.fail("GetRobot", Code::Unimplemented, "");
    assert_eq!(client.get(&format!("{ROBOTS}/b")).await.code, 404);
    client.fake.fail("CreateRobot", Code::Unimplemented, "");
    let body = r#"{"metadata":{"name":"c"},"spec":{}}"#;
    assert_eq!(client.post(ROBOTS, body).await.code, 405, "what cannot be made is 405");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_is_405() {
    let docks = client("docks");
    let base = "/apis/fleet.example.com/v1/docks";
    for (method, path) in [
        (Method::POST, base.to_owned()),
        (Method::PUT, format!("{base}/d")),
        (Method::PATCH, format!("{base}/d")),
        (Method::DELETE, format!("{base}/d")),
        (Method::DELETE, base.to_owned()),
        (Method::GET, format!("{base}?watch=1")),
        (Method::HEAD, format!("{base}/d")),
        (Method::PATCH, base.to_owned()),
    ] {
        let answer = docks.request(method.clone(), &path, &[], "{}").await;
        assert_eq!(
            answer.text(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server does not allow this method on the requested resource","reason":"MethodNotAllowed","details":{},"code":405}"#,
            "{method} {path}"
        );
    }
    let robots = robots();
    assert_eq!(robots.post(&format!("{ROBOTS}/a"), "{}").await.code, 405);
    assert_eq!(robots.post("/apis/fleet.example.com/v1/robots", "{}").await.code, 405);
    assert_eq!(robots.get("/apis/fleet.example.com/v1/robots/a").await.code, 404);
    assert_eq!(robots.get(&format!("{ROBOTS}/a/nope")).await.code, 404);
    assert_eq!(docks.get("/apis/fleet.example.com/v1/namespaces/ns/docks").await.code, 404);
    assert_eq!(docks.get(&format!("{base}/d/status")).await.code, 404, "no status, no subresource");
}

#[tokio::test(start_paused = true)]
async fn what_the_backend_says_is_told_and_what_it_leaks_is_not() {
    let client = robots();
    client.robot("a", "").await;
    let get = format!("{ROBOTS}/a");
    client.fake.fail("GetRobot", Code::Internal, "panic at db.go:17");
    let answer = client.get(&get).await;
    assert_eq!(answer.code, 500);
    assert!(!answer.text().contains("db.go"), "{}", answer.text());
    client.fake.fail("GetRobot", Code::PermissionDenied, "not yours");
    let answer = client.get(&get).await;
    assert_eq!((answer.code, message(&answer).ends_with("not yours")), (403, true));
    client.fake.fault("GetRobot", Fault::Fail(gone(Ran::Unknown)));
    let answer = client.get(&get).await;
    assert_eq!(answer.code, 503);
    assert!(!answer.text().contains("10.0.0.7"));
}

#[tokio::test(start_paused = true)]
async fn hostile_protobuf_is_500_and_the_schema_is_suspect() {
    let client = robots();
    client.robot("a", "").await;
    let key = ("ns".to_owned(), "a".to_owned());
    for bad in [&b"\x0a\x7f"[..], b"\xff\xff\xff", b"\x12\x02\x0a\x7f"] {
        client.fake.state().objects.insert(key.clone(), bytes::Bytes::copy_from_slice(bad));
        let answer = client.get(&format!("{ROBOTS}/a")).await;
        assert_eq!((answer.code, answer.schema_suspect), (500, true), "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_wire_fields_make_the_schema_suspect() {
    let client = robots();
    client.robot("a", r#""spec":{"model":"m"}"#).await;
    let key = ("ns".to_owned(), "a".to_owned());
    let mut object = client.fake.state().objects[&key].to_vec();
    assert!(!client.get(&format!("{ROBOTS}/a")).await.schema_suspect);
    wire::put_varint(&mut object, 99, 1);
    client.fake.state().objects.insert(key, object.into());
    let answer = client.get(&format!("{ROBOTS}/a")).await;
    assert_eq!((answer.code, answer.schema_suspect), (200, true));
}

#[tokio::test(start_paused = true)]
async fn other_shapes_and_formats() {
    let client = robots();
    client.robot("a", r#""spec":{"model":"m1"}"#).await;
    let get = format!("{ROBOTS}/a");
    let partial = client.get_as(&get, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await;
    let partial = partial.json();
    assert_eq!(
        (&partial["kind"], &partial["apiVersion"]),
        (&"PartialObjectMetadata".into(), &"meta.k8s.io/v1".into())
    );
    assert_eq!((&partial["metadata"]["name"], partial.get("spec")), (&"a".into(), None));

    let table = client.get_as(&get, "application/json;as=Table;g=meta.k8s.io;v=v1").await.json();
    assert_eq!((&table["kind"], &table["metadata"]["resourceVersion"]), (&"Table".into(), &"1".into()));
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Model", "Age"]);
    assert_eq!(table["rows"][0]["cells"][1], "m1");

    let yaml = client.get_as(&get, "application/yaml").await;
    assert_eq!(yaml.content_type, "application/yaml");
    assert!(yaml.text().contains("kind: Robot\n"), "{}", yaml.text());
    let pretty = client.get(&format!("{get}?pretty=true")).await;
    assert!(pretty.text().starts_with("{\n  \"kind\": \"Robot\","), "{}", pretty.text());
    assert_eq!(client.get_as(&get, "image/png").await.code, 406);
}
