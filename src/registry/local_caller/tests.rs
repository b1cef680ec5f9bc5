#![allow(clippy::unwrap_used, reason = "tests")]

use kubridge_bridge::{
    caller::{Class, Code, Detail},
    proto::{Event, EventType, ObjectMeta},
    wire,
};
use tempfile::TempDir;

use super::*;
use crate::registry::store::Window;

/// A kind that is nobody's: metadata, a payload in field 2, a status in field 3.
fn things() -> LocalKind {
    LocalKind {
        service: "test.v1.Things",
        kind: "Thing",
        kinds: "Things",
        plural: "things",
        group: "example.com",
        admit: |admission| {
            if admission.object.windows(3).any(|bytes| bytes == b"bad") {
                return Err(vec![FieldViolation {
                    field: "spec".into(),
                    description: "Invalid value: \"bad\"".into(),
                    reason: "FieldValueInvalid".into(),
                }]);
            }
            Ok(admission.object.to_vec())
        },
    }
}

struct Fixture {
    caller: LocalCaller,
    _dir: TempDir,
}

fn fixture() -> Fixture {
    windowed(Window::default())
}

fn windowed(window: Window) -> Fixture {
    let dir = TempDir::new().unwrap();
    let caller = LocalCaller::new(Store::open(dir.path(), window).unwrap(), [things()]);
    Fixture { caller, _dir: dir }
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Thing {
    metadata: ObjectMeta,
    spec: Vec<u8>,
    status: Vec<u8>,
}

impl Thing {
    fn new(name: &str, spec: &str) -> Self {
        let metadata = ObjectMeta { name: name.into(), ..Default::default() };
        Self { metadata, spec: spec.into(), status: Vec::new() }
    }

    fn read(bytes: &[u8]) -> Self {
        Self {
            metadata: ObjectMeta::decode(&*wire::message_field(bytes, 1).unwrap()).unwrap(),
            spec: wire::message_field(bytes, 2).unwrap().into_owned(),
            status: wire::message_field(bytes, 3).unwrap().into_owned(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_bytes(&mut out, 1, &self.metadata.encode_to_vec());
        for (number, value) in [(2, &self.spec), (3, &self.status)] {
            if !value.is_empty() {
                wire::put_bytes(&mut out, number, value);
            }
        }
        out
    }
}

fn call(method: &str, message: Vec<u8>) -> Call {
    Call { path: format!("/test.v1.Things/{method}").into(), message: message.into(), class: Class::Write }
}

impl Fixture {
    async fn put(&self, method: &str, thing: &Thing, dry_run: bool) -> Result<Thing, CallError> {
        let mut message = Vec::new();
        wire::put_bytes(&mut message, 1, &thing.bytes());
        let dry_run = if dry_run { vec!["All".to_owned()] } else { Vec::new() };
        wire::put_bytes(
            &mut message,
            2,
            &proto::UpdateOptions { dry_run, ..Default::default() }.encode_to_vec(),
        );
        self.caller.unary(call(method, message)).await.map(|answer| Thing::read(&answer))
    }

    async fn create(&self, name: &str, spec: &str) -> Thing {
        self.put("CreateThing", &Thing::new(name, spec), false).await.unwrap()
    }

    async fn get(&self, name: &str) -> Result<Thing, CallError> {
        let request = proto::GetRequest { name: name.into(), ..Default::default() };
        self.caller.unary(call("GetThing", request.encode_to_vec())).await.map(|answer| Thing::read(&answer))
    }

    async fn delete(
        &self,
        name: &str,
        preconditions: proto::Preconditions,
        dry_run: bool,
    ) -> Result<Bytes, CallError> {
        let options = proto::DeleteOptions {
            preconditions: Some(preconditions),
            dry_run: if dry_run { vec!["All".into()] } else { Vec::new() },
            ..Default::default()
        };
        let request =
            proto::DeleteRequest { name: name.into(), options: Some(options), ..Default::default() };
        self.caller.unary(call("DeleteThing", request.encode_to_vec())).await
    }

    async fn list(&self, options: proto::ListOptions) -> Result<(String, Vec<Thing>), CallError> {
        let request = proto::ListRequest { options: Some(options), ..Default::default() };
        let chunks = self.caller.stream(call("ListThings", request.encode_to_vec())).await?;
        let (mut version, mut things) = (String::new(), Vec::new());
        for (index, chunk) in chunks.collect::<Vec<_>>().await.into_iter().enumerate() {
            for field in wire::fields(&chunk?) {
                let field = field.unwrap();
                match field.number {
                    1 => {
                        assert_eq!(index, 0, "metadata is in the first chunk");
                        version = proto::ListMeta::decode(field.value).unwrap().resource_version;
                    }
                    _ => things.push(Thing::read(field.value)),
                }
            }
        }
        Ok((version, things))
    }

    async fn watch(&self, options: proto::ListOptions) -> Result<Watching, CallError> {
        let request = proto::WatchRequest { options: Some(options), ..Default::default() };
        self.caller.stream(call("WatchThings", request.encode_to_vec())).await.map(Watching)
    }
}

struct Watching(<LocalCaller as Caller>::Stream);

impl Watching {
    async fn event(&mut self) -> Event {
        Event::decode(self.0.next().await.unwrap().unwrap()).unwrap()
    }

    /// Type, name and version.
    async fn brief(&mut self) -> (EventType, String, String) {
        let event = self.event().await;
        let metadata = Thing::read(&event.object).metadata;
        let version = if event.resource_version.is_empty() {
            metadata.resource_version
        } else {
            event.resource_version
        };
        (EventType::try_from(event.r#type).unwrap(), metadata.name, version)
    }
}

fn code(error: &CallError) -> Code {
    match error {
        CallError::Status(status) => status.code,
        CallError::Transport(_) => panic!("{error}"),
    }
}

fn from(version: &str) -> proto::ListOptions {
    proto::ListOptions { resource_version: version.into(), ..Default::default() }
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let fixture = fixture();
    let made = fixture.create("a", "1").await;
    assert_eq!(made.metadata.resource_version, "2");
    assert_eq!(fixture.get("a").await.unwrap(), made);
    let again = fixture.put("CreateThing", &made, false).await.unwrap_err();
    assert_eq!(code(&again), Code::AlreadyExists);

    let changed =
        fixture.put("UpdateThing", &Thing { spec: b"2".into(), ..made.clone() }, false).await.unwrap();
    assert_eq!(changed.metadata.resource_version, "3");
    let stale =
        fixture.put("UpdateThing", &Thing { spec: b"3".into(), ..made.clone() }, false).await.unwrap_err();
    assert_eq!(code(&stale), Code::Aborted);
    let CallError::Status(status) = &stale else { panic!() };
    assert!(
        matches!(&status.details[..], [Detail::PreconditionViolations(v)] if v[0].kind == "RESOURCE_VERSION")
    );

    fixture.delete("a", proto::Preconditions::default(), false).await.unwrap();
    for missing in [
        fixture.get("a").await.unwrap_err(),
        fixture.put("UpdateThing", &changed, false).await.unwrap_err(),
        fixture.delete("a", proto::Preconditions::default(), false).await.unwrap_err(),
    ] {
        assert_eq!(code(&missing), Code::NotFound);
    }
}

#[tokio::test]
async fn writes_need_a_name_a_version_and_admission() {
    let fixture = fixture();
    let nameless = fixture.put("CreateThing", &Thing::new("", "1"), false).await.unwrap_err();
    assert!(nameless.to_string().contains("metadata.name: Required value"), "{nameless}");
    fixture.create("a", "1").await;
    let blind = fixture.put("UpdateThing", &Thing::new("a", "2"), false).await.unwrap_err();
    assert_eq!(code(&blind), Code::InvalidArgument);
    assert!(blind.to_string().contains("must be specified for an update"), "{blind}");
    let bad = fixture.put("CreateThing", &Thing::new("b", "bad"), false).await.unwrap_err();
    let CallError::Status(status) = &bad else { panic!() };
    assert!(matches!(&status.details[..], [Detail::FieldViolations(v)] if v[0].field == "spec"));
    assert_eq!(fixture.list(proto::ListOptions::default()).await.unwrap().1.len(), 1);
}

#[tokio::test]
async fn update_and_update_status_each_write_their_part() {
    let fixture = fixture();
    let made = fixture.create("a", "1").await;
    let both = Thing { spec: b"2".into(), status: b"s".into(), ..made };
    let status = fixture.put("UpdateThingStatus", &both, false).await.unwrap();
    assert_eq!((&status.spec[..], &status.status[..]), (&b"1"[..], &b"s"[..]));
    let metadata = ObjectMeta { labels: [("x".to_owned(), "y".to_owned())].into(), ..status.metadata };
    let both = Thing { metadata, spec: b"2".into(), status: b"t".into() };
    let spec = fixture.put("UpdateThing", &both, false).await.unwrap();
    assert_eq!((&spec.spec[..], &spec.status[..]), (&b"2"[..], &b"s"[..]));
    assert_eq!(spec.metadata.labels["x"], "y");
    let unlabelled = ObjectMeta { labels: Default::default(), ..spec.metadata.clone() };
    let status =
        fixture.put("UpdateThingStatus", &Thing { metadata: unlabelled, ..spec }, false).await.unwrap();
    assert_eq!(status.metadata.labels["x"], "y", "the status subresource leaves metadata alone");
}

#[tokio::test]
async fn preconditions_hold_or_nothing_happens() {
    let fixture = fixture();
    let mut thing = Thing::new("a", "1");
    thing.metadata.uid = "u1".into();
    let made = fixture.put("CreateThing", &thing, false).await.unwrap();
    let uid = |uid: &str| proto::Preconditions { uid: Some(uid.into()), ..Default::default() };
    let version =
        |version: &str| proto::Preconditions { resource_version: Some(version.into()), ..Default::default() };
    for wrong in [uid("u2"), version("1")] {
        assert_eq!(code(&fixture.delete("a", wrong, false).await.unwrap_err()), Code::Aborted);
    }
    let mut other = made.clone();
    other.metadata.uid = "u2".into();
    assert_eq!(code(&fixture.put("UpdateThing", &other, false).await.unwrap_err()), Code::Aborted);
    fixture
        .delete("a", proto::Preconditions { uid: Some("u1".into()), ..version("2") }, false)
        .await
        .unwrap();
}

#[tokio::test]
async fn dry_runs_check_everything_and_write_nothing() {
    let fixture = fixture();
    let made = fixture.put("CreateThing", &Thing::new("a", "1"), true).await.unwrap();
    assert_eq!((made.metadata.resource_version.as_str(), &made.spec[..]), ("", &b"1"[..]));
    assert_eq!(code(&fixture.get("a").await.unwrap_err()), Code::NotFound);
    let bad = fixture.put("CreateThing", &Thing::new("a", "bad"), true).await.unwrap_err();
    assert_eq!(code(&bad), Code::InvalidArgument);

    let made = fixture.create("a", "1").await;
    let dry = fixture.put("UpdateThing", &Thing { spec: b"2".into(), ..made.clone() }, true).await.unwrap();
    assert_eq!((dry.metadata.resource_version.as_str(), &dry.spec[..]), ("2", &b"2"[..]));
    fixture.delete("a", proto::Preconditions::default(), true).await.unwrap();
    assert_eq!(fixture.get("a").await.unwrap(), made);
}

#[tokio::test]
async fn lists_are_whole_in_chunks_and_never_older_than_asked() {
    let fixture = fixture();
    let (version, things) = fixture.list(proto::ListOptions::default()).await.unwrap();
    assert_eq!((version.as_str(), things.len()), ("1", 0));
    for n in 0..600 {
        fixture.create(&format!("t{n:03}"), "1").await;
    }
    let (version, things) = fixture.list(from("0")).await.unwrap();
    assert_eq!(version, "601");
    let names: Vec<String> = (0..600).map(|n| format!("t{n:03}")).collect();
    assert_eq!(things.iter().map(|thing| thing.metadata.name.clone()).collect::<Vec<_>>(), names);

    let exact =
        |version: &str| proto::ListOptions { resource_version_match: "Exact".into(), ..from(version) };
    assert_eq!(fixture.list(exact("601")).await.unwrap().1.len(), 600);
    assert_eq!(code(&fixture.list(exact("600")).await.unwrap_err()), Code::OutOfRange);
    assert_eq!(code(&fixture.list(from("602")).await.unwrap_err()), Code::DeadlineExceeded);
    assert_eq!(code(&fixture.list(from("abc")).await.unwrap_err()), Code::InvalidArgument);
}

#[tokio::test]
async fn a_watch_sends_each_later_change_once_with_what_was_before() {
    let fixture = fixture();
    fixture.create("a", "1").await;
    let made = fixture.create("b", "1").await;
    let mut watch = fixture.watch(from("2")).await.unwrap();
    assert_eq!(watch.brief().await, (EventType::Added, "b".into(), "3".into()));
    let changed =
        fixture.put("UpdateThing", &Thing { spec: b"2".into(), ..made.clone() }, false).await.unwrap();
    let event = watch.event().await;
    assert_eq!(event.r#type, EventType::Modified as i32);
    assert_eq!(Thing::read(&event.object), changed);
    assert_eq!(Thing::read(&event.previous), made);
    fixture.delete("b", proto::Preconditions::default(), false).await.unwrap();
    let event = watch.event().await;
    assert_eq!((event.r#type, event.resource_version.as_str()), (EventType::Deleted as i32, "5"));
    let last = Thing::read(&event.object);
    assert_eq!((last.spec, last.metadata.resource_version.as_str()), (b"2".to_vec(), "5"));
    assert!(futures::poll!(watch.0.next()).is_pending(), "nothing twice");
}

#[tokio::test]
async fn a_watch_starts_with_the_present_state_where_asked() {
    let fixture = fixture();
    fixture.create("a", "1").await;
    fixture.create("b", "1").await;
    let initial = proto::ListOptions { send_initial_events: Some(true), ..Default::default() };
    let mut watch = fixture.watch(initial).await.unwrap();
    assert_eq!(watch.brief().await, (EventType::Added, "a".into(), "2".into()));
    assert_eq!(watch.brief().await, (EventType::Added, "b".into(), "3".into()));
    assert_eq!(watch.brief().await, (EventType::Synced, String::new(), "3".into()));
    let mut legacy = fixture.watch(from("")).await.unwrap();
    assert_eq!(legacy.brief().await.1, "a");
    assert_eq!(legacy.brief().await.1, "b");
    fixture.create("c", "1").await;
    for watch in [&mut watch, &mut legacy] {
        assert_eq!(watch.brief().await, (EventType::Added, "c".into(), "4".into()));
    }
}

#[tokio::test]
async fn a_version_outside_the_log_is_out_of_range() {
    let fixture = windowed(Window { events: 2, bytes: 1 << 20 });
    for name in ["a", "b", "c"] {
        fixture.create(name, "1").await;
    }
    for version in ["1", "5"] {
        let error = fixture.watch(from(version)).await.err().unwrap();
        assert_eq!(code(&error), Code::OutOfRange, "{version}");
    }
    // One that falls behind is told, not skipped ahead.
    let mut slow = fixture.watch(from("4")).await.unwrap();
    for name in ["d", "e", "f"] {
        fixture.create(name, "1").await;
    }
    let error = slow.0.next().await.unwrap().unwrap_err();
    assert_eq!(code(&error), Code::OutOfRange);
    assert!(slow.0.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_where_they_are_allowed() {
    let fixture = fixture();
    fixture.create("a", "1").await;
    let options = proto::ListOptions { allow_watch_bookmarks: true, ..from("2") };
    let mut watch = fixture.watch(options).await.unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(watch.brief().await, (EventType::Bookmark, String::new(), "2".into()));
    assert_eq!(start.elapsed(), BOOKMARK_EVERY);
    let mut silent = fixture.watch(from("2")).await.unwrap();
    assert!(tokio::time::timeout(BOOKMARK_EVERY * 3, silent.0.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_watch_keeps_up_with_what_it_does_not_get() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), Window { events: 2, bytes: 1 << 20 }).unwrap();
    let others =
        LocalKind { service: "test.v1.Others", kind: "Other", kinds: "Others", plural: "others", ..things() };
    let caller = LocalCaller::new(store, [things(), others]);
    let fixture = Fixture { caller, _dir: dir };
    let mut watch = fixture.watch(from("0")).await.unwrap();
    for n in 0..6 {
        let mut message = Vec::new();
        wire::put_bytes(&mut message, 1, &Thing::new(&format!("o{n}"), "1").bytes());
        let call = Call { path: "/test.v1.Others/CreateOther".into(), ..call("", message) };
        fixture.caller.unary(call).await.unwrap();
        // Polled each time, as a client that reads: it does not fall behind for what it does not get.
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(1), watch.0.next()).await;
        assert!(waiting.is_err(), "an event of another kind");
    }
    fixture.create("a", "1").await;
    assert_eq!(watch.brief().await, (EventType::Added, "a".into(), "8".into()));
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let fixture = fixture();
    for method in ["PatchThing", "ListThing"] {
        let error = fixture.caller.unary(call(method, Vec::new())).await.unwrap_err();
        assert_eq!(code(&error), Code::Unimplemented);
    }
    let garbage = fixture.caller.unary(call("GetThing", vec![0xff])).await.unwrap_err();
    assert_eq!(code(&garbage), Code::Internal);
}
