//! Two replicas at one API server: the one that leads stores, the other one reads.

#![allow(clippy::unwrap_used)]

mod api_server;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    names::Names,
    parts::{PART, split},
    *,
};
use crate::body::gzip;
use api_server::{ApiServer, NAMESPACE};

const INDEX: &str = "kubridge-schema-fleet";

/// One replica's view of the Backend `fleet`.
struct Replica {
    sharing: Sharing,
    leads: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Replica {
    fn start(server: &ApiServer, leads: bool, uid: &str) -> Self {
        let (sender, leading) = watch::channel(leads);
        let (schemas, follow) = Schemas::new(server.client(), NAMESPACE, leading);
        let (sharing, keep) = schemas.share(Owner { name: "fleet".to_owned(), uid: uid.to_owned() });
        let mut tasks = JoinSet::new();
        tasks.spawn(follow);
        tasks.spawn(keep);
        Self { sharing, leads: sender, _tasks: tasks }
    }

    fn offer(&self, schema: &Accepted, confirmed_at: SystemTime) {
        self.sharing.offer(Some(Offer { schema: Arc::new(schema.clone()), confirmed_at }));
    }

    /// Waits for something to be so.
    async fn until(&self, so: impl Fn(&Shared) -> bool) -> Shared {
        let mut shared = self.sharing.shared.clone();
        let waiting = tokio::time::timeout(Duration::from_secs(10), shared.wait_for(|shared| so(shared)));
        waiting.await.unwrap_or_else(|_| panic!("{:?}", self.sharing.shared.borrow())).unwrap().clone()
    }

    async fn serves(&self, schema: &Accepted) -> Shared {
        self.until(|shared| shared.schema.as_deref() == Some(schema)).await
    }
}

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// Bytes that do not compress.
fn schema(seed: &str, length: usize) -> Accepted {
    let mut bytes = Vec::with_capacity(length + 32);
    for number in 0.. {
        use sha2::{Digest as _, Sha256};
        if bytes.len() >= length {
            break;
        }
        bytes.extend_from_slice(&Sha256::digest(format!("{seed}{number}")));
    }
    Accepted {
        bytes: bytes.into(),
        etag: format!("{seed}-{length}"),
        source: "kubridge.v1.Schema".to_owned(),
        accepted_at: start(),
    }
}

fn part(schema: &Accepted, number: usize) -> String {
    Names::new("fleet").part(&digest(&schema.bytes), number)
}

/// The names of all parts.
fn parts(objects: &BTreeMap<String, Value>) -> Vec<&String> {
    objects.keys().filter(|name| *name != INDEX).collect()
}

fn bytes_of(object: &Value) -> Vec<u8> {
    let data: BTreeMap<String, k8s_openapi::ByteString> =
        serde_json::from_value(object["binaryData"].clone()).unwrap();
    data["descriptors.gz"].0.clone()
}

fn put_bytes(object: Option<Value>, bytes: &[u8]) -> Option<Value> {
    let mut object = object.unwrap();
    object["binaryData"] = json!({"descriptors.gz": k8s_openapi::ByteString(bytes.to_vec())});
    Some(object)
}

#[tokio::test]
async fn what_the_leader_stores_in_parts_every_replica_serves() {
    let server = ApiServer::new();
    let (leader, other) = (Replica::start(&server, true, "u1"), Replica::start(&server, false, "u1"));
    let none = other.until(|shared| shared.is_known).await;
    assert!(none.schema.is_none() && none.unshared.is_none());
    let first = schema("one", 2 << 20);
    leader.offer(&first, start());
    let shared = other.serves(&first).await;
    assert_eq!(shared.confirmed_at, Some(start()));
    leader.serves(&first).await;

    let objects = server.objects();
    assert_eq!(parts(&objects), [&part(&first, 0), &part(&first, 1), &part(&first, 2)]);
    for (name, object) in &objects {
        assert_eq!(object["metadata"]["labels"][names::BACKEND], "fleet");
        assert_eq!(
            object["metadata"]["ownerReferences"],
            json!([{"apiVersion": "kubridge.io/v1alpha1", "kind": "Backend", "name": "fleet", "uid": "u1"}])
        );
        assert_eq!(object["immutable"] == true, name != INDEX, "the index alone changes");
        if name != INDEX {
            assert!(bytes_of(object).len() < 900 << 10);
        }
    }
    assert_eq!(objects[INDEX]["data"]["parts"], "3");
    assert_eq!(objects[INDEX]["data"]["etag"], "one-2097152");

    // A replica that starts needs nobody but the API server.
    let writes = server.writes();
    assert_eq!(
        writes.last().unwrap(),
        &format!("POST {INDEX}"),
        "last, when all parts are there: {writes:?}"
    );
    Replica::start(&server, false, "u1").serves(&first).await;
    assert_eq!(server.writes(), [""; 0]);
}

#[tokio::test]
async fn all_change_over_by_one_write_and_the_old_parts_go() {
    let server = ApiServer::new();
    let (leader, other) = (Replica::start(&server, true, "u1"), Replica::start(&server, false, "u1"));
    let (first, second) = (schema("one", 1 << 20), schema("two", 100));
    leader.offer(&first, start());
    other.serves(&first).await;
    server.writes();
    leader.offer(&second, start());
    other.serves(&second).await;
    server.until(|objects| objects.len() == 2).await;
    let expected = [
        format!("POST {}", part(&second, 0)),
        format!("PUT {INDEX}"),
        format!("DELETE {}", part(&first, 0)),
        format!("DELETE {}", part(&first, 1)),
    ];
    let mut writes = server.writes();
    // The watch may be late to say that one is gone.
    writes.dedup();
    assert_eq!(writes, expected);
    assert_eq!(parts(&server.objects()), [&part(&second, 0)]);
}

#[tokio::test]
async fn what_is_unchanged_is_written_now_and_then_to_say_when_it_was_confirmed() {
    let server = ApiServer::new();
    let leader = Replica::start(&server, true, "u1");
    let first = schema("one", 100);
    leader.offer(&first, start());
    let shared = leader.serves(&first).await;
    server.writes();
    let late = start() + Duration::from_secs(600);
    leader.offer(&first, late);
    let confirmed = leader.until(|shared| shared.confirmed_at == Some(late)).await;
    assert!(
        Arc::ptr_eq(shared.schema.as_ref().unwrap(), confirmed.schema.as_ref().unwrap()),
        "nothing to compile"
    );
    assert_eq!(server.writes(), [format!("PUT {INDEX}")]);

    // Another etag of the same descriptors.
    let other = Accepted { etag: "e2".to_owned(), ..first };
    leader.offer(&other, late);
    leader.serves(&other).await;
    assert_eq!(server.writes(), [format!("PUT {INDEX}")]);
}

#[tokio::test]
async fn whoever_does_not_lead_writes_nothing_until_it_does() {
    let server = ApiServer::new();
    let (one, two) = (Replica::start(&server, false, "u1"), Replica::start(&server, false, "u1"));
    let (first, second) = (schema("one", 100), schema("two", 100));
    one.until(|shared| shared.is_known).await;
    one.offer(&first, start());
    two.leads.send_replace(true);
    two.offer(&second, start());
    one.serves(&second).await;
    assert_eq!(parts(&server.objects()), [&part(&second, 0)]);

    two.sharing.offer(None);
    two.leads.send_replace(false);
    one.leads.send_replace(true);
    two.serves(&first).await;
}

#[tokio::test]
async fn damage_leaves_the_last_good_one_and_the_leader_mends_it() {
    let (first, second) = (schema("one", 100), schema("two", 1 << 20));
    let bomb = gzip::compress(&vec![0; MAX_SCHEMA + 1]);
    let twice = split(&second.bytes).parts[0].clone();
    for bad in [b"garbage".to_vec(), Vec::new(), bomb, twice] {
        let server = ApiServer::new();
        let (leader, other) = (Replica::start(&server, true, "u1"), Replica::start(&server, false, "u1"));
        leader.offer(&first, start());
        other.serves(&first).await;
        // What it points to is not there, then is wrong.
        leader.leads.send_replace(false);
        leader.until(|shared| shared.schema.is_some()).await;
        let packed = split(&second.bytes);
        server.meddle(INDEX, |index| {
            let mut index = index.unwrap();
            index["data"]["sha256"] = packed.digest.as_str().into();
            index["data"]["parts"] = "2".into();
            Some(index)
        });
        for (number, bytes) in [&packed.parts[0], &bad].into_iter().enumerate() {
            let like = server.objects()[&part(&first, 0)].clone();
            server.meddle(&part(&second, number), |_| put_bytes(Some(like), bytes));
        }
        let late = Replica::start(&server, false, "u1");
        assert!(late.until(|shared| shared.is_known).await.schema.is_none(), "nothing is better than that");
        assert_eq!(other.sharing.shared.borrow().schema.as_deref(), Some(&first));

        leader.offer(&second, start());
        leader.leads.send_replace(true);
        other.serves(&second).await;
        late.serves(&second).await;
        assert_eq!(bytes_of(&server.objects()[&part(&second, 1)]), packed.parts[1]);
    }
}

#[tokio::test]
async fn what_somebody_removes_or_changes_is_made_again() {
    let server = ApiServer::new();
    let (leader, other) = (Replica::start(&server, true, "u1"), Replica::start(&server, false, "u1"));
    let first = schema("one", PART + 100);
    leader.offer(&first, start());
    other.serves(&first).await;
    let good = |objects: &BTreeMap<String, Value>| {
        let all = split(&first.bytes).parts;
        all.iter().enumerate().all(|(number, bytes)| {
            objects.get(&part(&first, number)).is_some_and(|object| bytes_of(object) == *bytes)
        }) && objects.get(INDEX).is_some_and(|index| index["data"]["sha256"] == digest(&first.bytes))
    };
    server.until(good).await;
    server.meddle(&part(&first, 1), |_| None);
    server.until(good).await;
    server.meddle(&part(&first, 0), |object| put_bytes(object, b"garbage"));
    server.until(good).await;
    server.meddle(INDEX, |_| None);
    server.until(good).await;
    server.meddle(INDEX, |index| {
        let mut index = index.unwrap();
        index["data"] = json!({"sha256": "what"});
        Some(index)
    });
    server.until(good).await;
    assert_eq!(other.sharing.shared.borrow().schema.as_deref(), Some(&first), "all the while");
}

#[tokio::test]
async fn another_backend_of_the_same_name_is_another_ones() {
    let server = ApiServer::new();
    let (first, second) = (schema("one", 100), schema("two", 100));
    let before = Replica::start(&server, true, "u1");
    before.offer(&first, start());
    before.serves(&first).await;
    drop(before);

    let (leader, other) = (Replica::start(&server, true, "u2"), Replica::start(&server, false, "u2"));
    assert!(other.until(|shared| shared.is_known).await.schema.is_none());
    // The same descriptors, too: they would go with the other Backend.
    leader.offer(&first, start());
    other.serves(&first).await;
    leader.offer(&second, start());
    other.serves(&second).await;
    server.until(|objects| objects.len() == 2).await;
    let uids = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"].clone();
    assert!(server.objects().values().all(|object| uids(object) == "u2"));
}

#[tokio::test]
async fn who_may_not_is_told_which_role_is_missing() {
    let server = ApiServer::new();
    server.forbid(&["POST"]);
    let leader = Replica::start(&server, true, "u1");
    let first = schema("one", 100);
    leader.offer(&first, start());
    let shared = leader.until(|shared| shared.unshared.is_some()).await;
    let why = shared.unshared.unwrap();
    assert!(why.contains("cannot be written") && why.contains("the Role kubridge"), "{why}");
    assert!(why.contains(&part(&first, 0)) && why.contains("it may not"), "{why}");
    server.forbid(&[]);
    let shared = leader.serves(&first).await;
    assert!(shared.is_known);
    leader.until(|shared| shared.unshared.is_none()).await;

    server.forbid(&["LIST"]);
    let other = Replica::start(&server, true, "u1");
    let shared = other.until(|shared| shared.is_known && shared.unshared.is_some()).await;
    let why = shared.unshared.unwrap();
    assert!(why.contains("cannot be watched") && why.contains("get, list, update and watch"), "{why}");
    server.forbid(&[]);
    other.serves(&first).await;
}

#[tokio::test]
async fn a_doubt_reaches_the_leader_once() {
    let server = ApiServer::new();
    let (leader, other) = (Replica::start(&server, true, "u1"), Replica::start(&server, false, "u1"));
    let first = schema("one", 100);
    other.sharing.doubt(digest(b"too early: nothing is shared"));
    leader.offer(&first, start());
    other.serves(&first).await;
    assert_eq!(leader.sharing.shared.borrow().doubts, 0);
    other.sharing.doubt(digest(&first.bytes));
    other.sharing.doubt(digest(b"another"));
    leader.until(|shared| shared.doubts == 1).await;
    // The leader has taken note of it.
    server.until(|objects| objects[INDEX]["data"].get("seenElsewhere").is_none()).await;
    server.writes();
    other.sharing.doubt(digest(b"another"));
    other.sharing.doubt(digest(b"a third"));
    leader.until(|shared| shared.doubts == 2).await;
}
