#![allow(clippy::unwrap_used, reason = "tests")]

use kubridge_bridge::{proto::ObjectMeta, wire};
use prost::Message as _;
use tempfile::TempDir;

use super::*;

const RESOURCE: &str = "things.example.com";

pub(super) fn key(namespace: &str, name: &str) -> Key {
    Key { resource: RESOURCE.into(), namespace: namespace.into(), name: name.into() }
}

/// An object with a name and a payload in field 2.
pub(super) fn object(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let metadata = ObjectMeta { name: name.into(), ..Default::default() };
    wire::put_bytes(&mut out, 1, &metadata.encode_to_vec());
    wire::put_bytes(&mut out, 2, payload);
    out
}

/// The resourceVersion that an object carries, and its payload.
pub(super) fn parts(object: &[u8]) -> (u64, Vec<u8>) {
    let metadata = ObjectMeta::decode(&*wire::message_field(object, 1).unwrap()).unwrap();
    (metadata.resource_version.parse().unwrap_or(0), wire::message_field(object, 2).unwrap().into_owned())
}

pub(super) async fn put(store: &Store, key: Key, payload: &[u8]) -> Result<Written, StoreError> {
    let object = object(&key.name, payload);
    store.write(key, false, move |_| Ok(Change::Put(object))).await
}

async fn remove(store: &Store, key: Key) -> Written {
    store.write(key, false, |_| Ok::<_, StoreError>(Change::Delete)).await.unwrap()
}

fn open(dir: &TempDir) -> Store {
    Store::open(dir.path(), Window::default()).unwrap()
}

async fn log(store: &Store, after: u64) -> Vec<(EventKind, u64)> {
    let (events, _) = store.events(RESOURCE.into(), String::new(), after, 1000).await.unwrap();
    events.iter().map(|event| (event.kind, event.version)).collect()
}

#[tokio::test]
async fn every_write_takes_the_next_version_and_leaves_an_event() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let empty = store.list(RESOURCE.into(), String::new()).await.unwrap();
    assert_eq!((empty.version, empty.objects.len()), (1, 0), "0 would mean any version to a client");

    let made = put(&store, key("", "a"), b"1").await.unwrap().object.unwrap();
    assert_eq!((made.version, parts(&made.object)), (2, (2, b"1".to_vec())));
    put(&store, key("", "b"), b"1").await.unwrap();
    put(&store, key("", "a"), b"2").await.unwrap();
    let gone = remove(&store, key("", "a")).await.object.unwrap();
    assert_eq!(parts(&gone.object), (5, b"2".to_vec()), "the last state, with the deletion's version");

    let (events, upto) = store.events(RESOURCE.into(), String::new(), 1, 100).await.unwrap();
    let seen: Vec<_> = events.iter().map(|e| (e.kind, e.version)).collect();
    use EventKind::{Added, Deleted, Modified};
    assert_eq!(seen, [(Added, 2), (Added, 3), (Modified, 4), (Deleted, 5)]);
    assert_eq!(upto, 5);
    assert_eq!(events[0].previous, None);
    assert_eq!(parts(events[2].previous.as_ref().unwrap()), (2, b"1".to_vec()));
    assert_eq!(parts(events[3].previous.as_ref().unwrap()), (4, b"2".to_vec()));
    assert_eq!(*store.head().borrow(), 5);
}

#[tokio::test]
async fn the_same_bytes_write_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let first = put(&store, key("", "a"), b"1").await.unwrap();
    let second = put(&store, key("", "a"), b"1").await.unwrap();
    assert!(first.changed && !second.changed);
    assert_eq!(first.object, second.object);
    assert_eq!(log(&store, 1).await.len(), 1);
}

#[tokio::test]
async fn a_dry_run_decides_and_writes_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let dry = |store: &Store, payload: &'static [u8]| {
        let store = store.clone();
        async move {
            store
                .write(key("", "a"), true, move |_| Ok::<_, StoreError>(Change::Put(object("a", payload))))
                .await
                .unwrap()
        }
    };
    let made = dry(&store, b"1").await;
    assert_eq!(parts(&made.object.unwrap().object), (0, b"1".to_vec()));
    assert_eq!(store.get(key("", "a")).await.unwrap(), None);

    put(&store, key("", "a"), b"1").await.unwrap();
    assert_eq!(parts(&dry(&store, b"2").await.object.unwrap().object), (2, b"2".to_vec()));
    assert_eq!(parts(&store.get(key("", "a")).await.unwrap().unwrap().object).1, b"1");
    assert_eq!(log(&store, 1).await.len(), 1);
}

#[tokio::test]
async fn lists_are_by_namespace_and_resource() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for (namespace, name) in [("b", "1"), ("a", "2"), ("a", "1")] {
        put(&store, key(namespace, name), b"").await.unwrap();
    }
    let other = Key { resource: "others.example.com".into(), ..key("a", "3") };
    put(&store, other, b"").await.unwrap();
    let names = |listing: &Listing| listing.objects.iter().map(|o| parts(o).0).collect::<Vec<_>>();
    let all = store.list(RESOURCE.into(), String::new()).await.unwrap();
    assert_eq!((names(&all), all.version), (vec![4, 3, 2], 5));
    let some = store.list(RESOURCE.into(), "a".into()).await.unwrap();
    assert_eq!(names(&some), [4, 3]);
    let (events, upto) = store.events(RESOURCE.into(), "b".into(), 1, 10).await.unwrap();
    assert_eq!((events.len(), upto), (1, 5), "read up to the end, though little was found");
}

#[tokio::test]
async fn the_log_keeps_a_window_and_says_so() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), Window { events: 3, bytes: 1 << 20 }).unwrap();
    for n in 0..10u8 {
        put(&store, key("", "a"), &[n]).await.unwrap();
    }
    // Versions 2 to 11; the last three are kept.
    assert_eq!(log(&store, 8).await.len(), 3);
    let old = store.events(RESOURCE.into(), String::new(), 7, 10).await.unwrap_err();
    assert_eq!(old, StoreError::TooOld { floor: 8 });
    drop(store);
    let store = Store::open(dir.path(), Window { events: 100, bytes: 30 }).unwrap();
    assert_eq!(log(&store, 8).await.len(), 3, "a larger window does not invent events");
    put(&store, key("", "a"), &[7; 100]).await.unwrap();
    assert_eq!(log(&store, 11).await.len(), 1, "the newest event stays, however large");
    assert_eq!(
        store.events(RESOURCE.into(), String::new(), 10, 10).await.unwrap_err(),
        StoreError::TooOld { floor: 11 }
    );
}

#[tokio::test]
async fn a_page_of_events_ends_where_it_was_cut() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for n in 0..5u8 {
        put(&store, key("", "a"), &[n]).await.unwrap();
    }
    let (events, upto) = store.events(RESOURCE.into(), String::new(), 1, 2).await.unwrap();
    assert_eq!((events.len(), upto), (2, 3));
}

#[tokio::test]
async fn a_refused_write_changes_nothing_and_a_panic_ends_only_itself() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let refused = store
        .write(key("", "a"), false, |_| Err::<Change, _>(StoreError::Io("no".into())))
        .await
        .unwrap_err();
    assert_eq!(refused, StoreError::Io("no".into()));
    let died = store.write::<StoreError, _>(key("", "a"), false, |_| panic!("a bug")).await.unwrap_err();
    assert_eq!(died, StoreError::Stopped);
    let broken = store.write(key("", "a"), false, |_| Ok(Change::Put(vec![0xff]))).await.unwrap_err();
    assert!(matches!(broken, StoreError::Malformed(_)));
    assert_eq!(put(&store, key("", "a"), b"1").await.unwrap().object.unwrap().version, 2);
}

#[tokio::test]
async fn reads_do_not_wait_for_a_write() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    put(&store, key("", "a"), b"1").await.unwrap();
    let (entered, inside) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .write(key("", "b"), false, move |_| {
                    entered.send(()).unwrap();
                    released.recv().unwrap();
                    Ok::<_, StoreError>(Change::Put(object("b", b"")))
                })
                .await
        }
    });
    tokio::task::spawn_blocking(move || inside.recv().unwrap()).await.unwrap();
    assert!(store.get(key("", "a")).await.unwrap().is_some());
    assert_eq!(store.list(RESOURCE.into(), String::new()).await.unwrap().objects.len(), 1);
    release.send(()).unwrap();
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_named_with_its_mend() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for n in 0..200u32 {
        put(&store, key("", &format!("n{n}")), &[7; 500]).await.unwrap();
    }
    drop(store);
    drop(Store::open(dir.path(), Window::default()).unwrap());
    let file = dir.path().join(FILE);
    // Fold the log into the file, or there is nothing to damage. The last connection to close removes it; two
    // that close at once may both leave it.
    while dir.path().join("registry.db-wal").exists() {
        let connection = Connection::open(&file).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }
    let whole = std::fs::read(&file).unwrap();

    let mut header = whole.clone();
    header[..100].fill(0x5a);
    let mut pages = whole.clone();
    let middle = pages.len() / 2;
    pages[4096..middle].fill(0x5a);
    let cut = whole[..whole.len() / 2].to_vec();
    for (name, bytes) in [("header", header), ("pages", pages), ("cut", cut)] {
        std::fs::write(&file, &bytes).unwrap();
        let error = Store::open(dir.path(), Window::default()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains("registry.db") && text.contains("backup"), "{name}: {text}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{name}: nothing was overwritten");
    }
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(open(&dir).list(RESOURCE.into(), String::new()).await.unwrap().objects.len(), 200);
}

#[test]
fn a_foreign_or_newer_file_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join(FILE);
    let other = Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    drop(other);
    assert!(matches!(Store::open(dir.path(), Window::default()).unwrap_err(), OpenError::Foreign(_)));
    std::fs::remove_file(&file).unwrap();

    drop(open(&dir));
    let newer = Connection::open(&file).unwrap();
    newer.pragma_update(None, "user_version", 2).unwrap();
    drop(newer);
    let error = Store::open(dir.path(), Window::default()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { format: 2, .. }), "{error}");
}

#[test]
fn stamping_replaces_only_the_version() {
    let plain = object("a", b"payload");
    let once = stamp(&plain, Some(7)).unwrap();
    let twice = stamp(&stamp(&once, Some(8)).unwrap(), Some(7)).unwrap();
    assert_eq!(once, twice);
    assert_eq!(parts(&once), (7, b"payload".to_vec()));
    assert_eq!(stamp(&once, None).unwrap(), plain);
}
