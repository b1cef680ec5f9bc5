//! watch: what the client sees, over any number of backend streams.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use http::Method;
use kubridge_bridge::{
    caller::{Code, Ran},
    proto::{Event, EventType, WatchRequest},
    status::ApiError,
    verbs::Body,
    wire,
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::{
    fake::{Fault, gone, status},
    support::{Client, ROBOTS, message, refused, robots},
};

/// The events of a watch as they come.
pub struct Events {
    stream: BoxStream<'static, Result<Bytes, ApiError>>,
    lines: std::vec::IntoIter<Value>,
}

impl Events {
    pub async fn open(client: &Client, query: &str) -> Self {
        Self::open_as(client, query, "application/json").await
    }

    pub async fn open_as(client: &Client, query: &str, accept: &str) -> Self {
        let target = format!("{ROBOTS}?watch=true&{query}");
        let reply = client.send(Method::GET, &target, &[("accept", accept)], "").await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.content_type.as_str()), (200, "application/json"));
        let Body::Stream(stream) = reply.body else { panic!("not a stream") };
        Self { stream, lines: Vec::new().into_iter() }
    }

    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(line) = self.lines.next() {
                return Some(line);
            }
            let piece = self.stream.next().await?.unwrap();
            assert!(piece.ends_with(b"\n"));
            let lines: Vec<Value> = piece
                .trim_ascii_end()
                .split(|b| *b == b'\n')
                .map(|l| serde_json::from_slice(l).unwrap())
                .collect();
            self.lines = lines.into_iter();
        }
    }

    /// "ADDED a 3", or "BOOKMARK  7".
    pub async fn told(&mut self) -> Option<String> {
        self.next().await.map(|event| told(&event))
    }

    async fn all(mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(event) = self.told().await {
            all.push(event);
        }
        all
    }
}

pub fn told(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &event["object"]["metadata"];
    let end = if metadata["annotations"]["k8s.io/initial-events-end"] == "true" { " end" } else { "" };
    let code = &event["object"]["code"];
    if code.is_number() {
        return format!("{} {code}", text(&event["type"]));
    }
    format!(
        "{} {} {}{end}",
        text(&event["type"]),
        text(&metadata["name"]),
        text(&metadata["resourceVersion"])
    )
}

async fn label(client: &Client, name: &str, value: &str) {
    let patch = json!({"metadata": {"labels": {"t": value}}}).to_string();
    assert_eq!(client.merge(&format!("{ROBOTS}/{name}"), &patch).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn without_a_version_the_present_state_comes_first() {
    for query in ["", "resourceVersion=0"] {
        let client = robots();
        client.robot("b", "").await;
        client.robot("a", "").await;
        let mut events = Events::open(&client, &format!("{query}&timeoutSeconds=5")).await;
        assert_eq!(events.told().await.unwrap(), "ADDED a 2");
        assert_eq!(events.told().await.unwrap(), "ADDED b 1");
        client.robot("c", "").await;
        assert_eq!(events.told().await.unwrap(), "ADDED c 3");
        label(&client, "c", "1").await;
        client.delete(&format!("{ROBOTS}/a"), "").await;
        let modified = events.next().await.unwrap();
        assert_eq!(
            (told(&modified).as_str(), &modified["object"]["kind"]),
            ("MODIFIED c 4", &"Robot".into())
        );
        assert_eq!(events.told().await.unwrap(), "DELETED a 5");
        assert_eq!(events.next().await, None, "timeoutSeconds ends it");
        assert_eq!(client.fake.watchers(), 0, "the backend's stream is dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn from_a_version_only_what_is_later() {
    let client = robots();
    client.robot("a", "").await;
    client.robot("b", "").await;
    let events = Events::open(&client, "resourceVersion=1&timeoutSeconds=1").await;
    assert_eq!(events.all().await, ["ADDED b 2"]);
    let future = Events::open(&client, "resourceVersion=99999999&timeoutSeconds=1").await;
    client.robot("c", "").await;
    assert_eq!(future.all().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_whose_headers_wait_for_the_first_event_does_not_hold_the_client_up() {
    let client = robots();
    client.robot("a", "").await;
    client.fake.state().silent = true;
    let start = tokio::time::Instant::now();
    let mut events = Events::open(&client, "resourceVersion=1&timeoutSeconds=5").await;
    assert!(start.elapsed() < Duration::from_secs(1), "the 200 comes though nothing happens");
    client.robot("b", "").await;
    assert_eq!(events.told().await.unwrap(), "ADDED b 2");
    client.fake.cut(Some(&gone(Ran::Unknown)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.robot("c", "").await;
    assert_eq!(events.told().await.unwrap(), "ADDED c 3", "resumed without headers");
    let start = tokio::time::Instant::now();
    let quiet = Events::open(&client, "resourceVersion=3&timeoutSeconds=5").await;
    assert_eq!(quiet.all().await, [""; 0]);
    assert_eq!(start.elapsed().as_secs(), 5, "timeoutSeconds ends it without headers too");
    assert_eq!(events.next().await, None);
    client.fake.fail("WatchRobots", Code::PermissionDenied, "no");
    let refused = client.get(&format!("{ROBOTS}?watch=true&resourceVersion=3")).await;
    assert_eq!(refused.code, 403, "what is refused at once is an HTTP status");
}

#[tokio::test(start_paused = true)]
async fn initial_events_end_with_a_bookmark_for_who_reads_them() {
    let client = robots();
    client.robot("a", "").await;
    let wanted = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1";
    let events = Events::open(&client, &format!("{wanted}&allowWatchBookmarks=true")).await;
    let all = events.all().await;
    assert_eq!(all[..2], ["ADDED a 1", "BOOKMARK  1 end"]);
    assert_eq!(Events::open(&client, wanted).await.all().await, ["ADDED a 1"]);
    let legacy = Events::open(&client, "allowWatchBookmarks=true&timeoutSeconds=1").await;
    assert_eq!(legacy.all().await[..2], ["ADDED a 1", "BOOKMARK  1 end"]);
    let none = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&timeoutSeconds=1";
    assert_eq!(Events::open(&client, none).await.all().await, [""; 0]);
    let sent = WatchRequest::decode(client.fake.last("WatchRobots")).unwrap().options.unwrap();
    assert_eq!(sent.send_initial_events, Some(false));
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_have_no_more_than_a_version() {
    let client = robots();
    client.robot("a", "").await;
    let mut events =
        Events::open(&client, "resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=130").await;
    let start = tokio::time::Instant::now();
    let first = events.next().await.unwrap();
    assert_eq!(
        first,
        json!({"type":"BOOKMARK","object":{"kind":"Robot","apiVersion":"fleet.example.com/v1","metadata":{"resourceVersion":"1"}}})
    );
    assert!((55..=60).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    client.fake.send(&Event {
        r#type: EventType::Bookmark.into(),
        resource_version: "8".into(),
        ..Event::default()
    });
    assert_eq!(events.told().await.unwrap(), "BOOKMARK  8", "the backend's own");
    assert_eq!(events.all().await, ["BOOKMARK  8", "BOOKMARK  8"], "the second minute's, and the last");
    let quiet = Events::open(&client, "resourceVersion=1&timeoutSeconds=130").await;
    client.fake.send(&Event {
        r#type: EventType::Bookmark.into(),
        resource_version: "9".into(),
        ..Event::default()
    });
    assert_eq!(quiet.all().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn objects_come_and_go_as_they_match() {
    let client = robots();
    client.robot("a", r#""metadata":{"name":"a","labels":{"t":"1"}}"#).await;
    let mut events = Events::open(&client, "resourceVersion=1&labelSelector=t%3D2&timeoutSeconds=9").await;
    label(&client, "a", "2").await;
    label(&client, "a", "3").await;
    label(&client, "a", "2").await;
    client.robot("b", "").await;
    client.delete(&format!("{ROBOTS}/a"), "").await;
    assert_eq!(events.told().await.unwrap(), "ADDED a 2");
    let gone = events.next().await.unwrap();
    assert_eq!(
        (told(&gone).as_str(), &gone["object"]["metadata"]["labels"]["t"]),
        ("DELETED a 3", &"2".into())
    );
    assert_eq!(events.told().await.unwrap(), "ADDED a 4");
    assert_eq!(events.told().await.unwrap(), "DELETED a 6");
    let sent = WatchRequest::decode(client.fake.last("WatchRobots")).unwrap().options.unwrap();
    assert_eq!(sent.label_selector, "", "a backend that filters by the new state alone would hide what goes");
}

#[tokio::test(start_paused = true)]
async fn one_object_by_name_and_by_the_old_path() {
    let client = robots();
    client.fake.state().forgetful = true;
    client.robot("a", "").await;
    client.robot("b", "").await;
    let by_field =
        Events::open(&client, "resourceVersion=1&fieldSelector=metadata.name%3Db&timeoutSeconds=1").await;
    assert_eq!(by_field.all().await, ["ADDED b 2"]);
    let sent = WatchRequest::decode(client.fake.last("WatchRobots")).unwrap().options.unwrap();
    assert_eq!(sent.field_selector, "metadata.name=b", "names never change: the backend may filter");
    let path = "/apis/fleet.example.com/v1/watch/namespaces/ns/robots/b?timeoutSeconds=1";
    let answer = client.get(path).await;
    assert_eq!(told(&answer.json()), "ADDED b 2");
    let plain = client.get(&format!("{ROBOTS}/b?watch=true")).await;
    assert_eq!(plain.json()["kind"], "Robot", "watch is ignored on an object");
}

#[tokio::test(start_paused = true)]
async fn resuming_with_a_selector_where_previous_is_unknown_is_410() {
    let client = robots();
    client.fake.state().forgetful = true;
    client.robot("a", "").await;
    label(&client, "a", "1").await;
    let events = Events::open(&client, "resourceVersion=1&labelSelector=t&timeoutSeconds=1").await;
    assert_eq!(events.all().await, ["ERROR 410"]);
    let mut fresh = Events::open(&client, "labelSelector=t%3D1&timeoutSeconds=1").await;
    assert_eq!(fresh.told().await.unwrap(), "ADDED a 2");
    label(&client, "a", "2").await;
    assert_eq!(fresh.told().await.unwrap(), "DELETED a 3", "from the present state on it is known here");
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_goes_on_where_it_was() {
    let client = robots();
    client.robot("a", "").await;
    let mut events = Events::open(&client, "resourceVersion=1&timeoutSeconds=60").await;
    client.robot("b", "").await;
    assert_eq!(events.told().await.unwrap(), "ADDED b 2");
    client.fake.cut(Some(&gone(Ran::Unknown)));
    client.robot("c", "").await;
    client.fake.fault("WatchRobots", Fault::Fail(gone(Ran::No)));
    client.fake.fault("WatchRobots", Fault::Fail(status(Code::Unavailable, "")));
    assert_eq!(events.told().await.unwrap(), "ADDED c 3");
    client.fake.cut(None);
    label(&client, "c", "1").await;
    assert_eq!(events.told().await.unwrap(), "MODIFIED c 4", "also after a clean end");
    let first = client.fake.state().log[1].1.clone();
    client.fake.send(&first);
    client.robot("d", "").await;
    assert_eq!(events.told().await.unwrap(), "ADDED d 5", "what came already is not sent again");
    assert_eq!(client.fake.count("WatchRobots"), 5);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_cannot_go_on_ends_with_an_error_event() {
    let client = robots();
    client.robot("a", "").await;
    let events = Events::open(&client, "resourceVersion=1&timeoutSeconds=60").await;
    for _ in 0..20 {
        client.fake.fault("WatchRobots", Fault::Fail(gone(Ran::No)));
    }
    let start = tokio::time::Instant::now();
    client.fake.cut(Some(&gone(Ran::Unknown)));
    assert_eq!(events.all().await, ["ERROR 503"]);
    assert!((8..=12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());

    let client = robots();
    client.robot("a", "").await;
    client.fake.fault("WatchRobots", Fault::BreakAfter(1, gone(Ran::Unknown)));
    let events = Events::open(&client, "timeoutSeconds=60").await;
    assert_eq!(events.all().await, ["ADDED a 1", "ERROR 503"], "a part of the present state was sent");

    client.fake.fault("WatchRobots", Fault::BreakAfter(0, gone(Ran::Unknown)));
    let events = Events::open(&client, "timeoutSeconds=60").await;
    assert_eq!(events.all().await, ["ADDED a 1"], "nothing was sent: from the start");
}

#[tokio::test(start_paused = true)]
async fn too_old_is_200_and_an_error_event() {
    let client = robots();
    client.robot("a", "").await;
    client.fake.state().compacted = 5;
    let mut events = Events::open(&client, "resourceVersion=1&timeoutSeconds=60").await;
    assert_eq!(
        events.next().await.unwrap(),
        json!({"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1","reason":"Expired","code":410}})
    );
    assert_eq!(events.next().await, None);
    client.fake.state().compacted = 0;
    let events = Events::open(&client, "resourceVersion=1&timeoutSeconds=60").await;
    client.fake.state().compacted = 5;
    client.fake.cut(None);
    assert_eq!(events.all().await, ["ERROR 410"], "also when it resumes");
}

#[tokio::test(start_paused = true)]
async fn other_errors_at_open_are_answers_and_later_ones_are_events() {
    let client = robots();
    client.fake.fail("WatchRobots", Code::PermissionDenied, "no");
    let error = client.send(Method::GET, &format!("{ROBOTS}?watch=1"), &[], "").await.unwrap_err();
    assert_eq!(refused(&error).code, 403);
    client.fake.fault("WatchRobots", Fault::BreakAfter(0, status(Code::Internal, "secret")));
    let mut events = Events::open(&client, "timeoutSeconds=60").await;
    let event = events.next().await.unwrap();
    assert_eq!(told(&event), "ERROR 500");
    assert!(!event.to_string().contains("secret"));
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_event_ends_the_watch_with_500() {
    let client = robots();
    client.robot("a", "").await;
    let mut broken = Vec::new();
    wire::put_bytes(&mut broken, 1, b"\x0a\x01c\x1a\x02ns\x32\x019");
    wire::put_bytes(&mut broken, 2, b"\x0a\x7f");
    for event in [
        Event { r#type: 42, ..Event::default() },
        Event { r#type: EventType::Added.into(), ..Event::default() },
        Event { r#type: EventType::Modified.into(), object: broken, ..Event::default() },
    ] {
        let events = Events::open(&client, "resourceVersion=1&timeoutSeconds=60").await;
        client.fake.send(&event);
        assert_eq!(events.all().await, ["ERROR 500"]);
    }
    let reports = client.world.reports.lock().unwrap();
    assert_eq!(reports.len(), 3, "the reason is in the log");
    assert!(reports[0].contains("unknown type 42"), "{reports:?}");
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_in_a_stream_make_the_schema_suspect_once() {
    let client = robots();
    let mut newer = Vec::new();
    wire::put_bytes(&mut newer, 1, b"\x0a\x01a\x1a\x02ns");
    wire::put_varint(&mut newer, 777, 1);
    client.fake.put(&newer);
    let events = Events::open(&client, "timeoutSeconds=1").await;
    client.fake.put(&newer);
    assert_eq!(events.all().await, ["ADDED a 1", "MODIFIED a 2"]);
    assert_eq!(client.world.suspects.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn bad_options_are_answered() {
    let client = robots();
    for (query, code) in [
        ("resourceVersion=abc", 400),
        ("labelSelector=(((", 400),
        ("fieldSelector=spec.arms%3D1", 400),
        ("sendInitialEvents=true", 422),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=1", 422),
    ] {
        let answer = client.get(&format!("{ROBOTS}?watch=true&{query}")).await;
        assert_eq!(answer.code, code, "{query}: {}", message(&answer));
    }
    let yaml = client.get_as(&format!("{ROBOTS}?watch=true"), "application/yaml").await;
    assert_eq!(yaml.code, 406);
}

#[tokio::test(start_paused = true)]
async fn without_timeout_seconds_it_ends_by_itself() {
    let client = robots();
    let events = Events::open(&client, "").await;
    let start = tokio::time::Instant::now();
    assert_eq!(events.all().await, [""; 0]);
    let lasted = start.elapsed();
    assert!((Duration::from_secs(1800)..=Duration::from_secs(3600)).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn tables_tell_their_columns_once_and_partial_objects_are_metadata() {
    let client = robots();
    client.robot("a", r#""spec":{"model":"m"}"#).await;
    client.robot("b", "").await;
    let mut table =
        Events::open_as(&client, "timeoutSeconds=1", "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let first = table.next().await.unwrap();
    assert_eq!((&first["type"], &first["object"]["kind"]), (&"ADDED".into(), &"Table".into()));
    assert_eq!(first["object"]["metadata"], json!({"resourceVersion": "1"}));
    assert_eq!(first["object"]["columnDefinitions"][1]["name"], "Model");
    assert_eq!(first["object"]["rows"][0]["cells"][1], "m");
    let second = table.next().await.unwrap();
    assert_eq!(
        (&second["object"]["columnDefinitions"], &second["object"]["rows"][0]["cells"][0]),
        (&Value::Null, &"b".into())
    );

    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let mut partial = Events::open_as(&client, "timeoutSeconds=1&allowWatchBookmarks=true", partial).await;
    let first = partial.next().await.unwrap();
    assert_eq!(
        (&first["object"]["kind"], first["object"].get("spec")),
        (&"PartialObjectMetadata".into(), None)
    );
    partial.next().await.unwrap();
    assert_eq!(
        partial.next().await.unwrap(),
        json!({"type":"BOOKMARK","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"2","annotations":{"k8s.io/initial-events-end":"true"}}}})
    );
}
