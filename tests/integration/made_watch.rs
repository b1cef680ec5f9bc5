//! A watch where the backend has none: made of its List.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use kubridge_bridge::{
    proto::{ListMeta, ObjectMeta},
    wire,
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::{Client, Hostile, Kubectl, Options, Stack, Watch, machine};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
const EVERYWHERE: &str = "/apis/inventory.example.com/v1/machines";
const MERGE: &str = "application/merge-patch+json";

async fn watchless() -> Stack {
    Stack::with(Options { watchless: true, ..Options::default() }).await
}

/// Somebody else in front of the same backend: what is written there nobody tells the first one.
async fn elsewhere(stack: &Stack) -> Stack {
    Stack::with(Options { backend: Some(stack.inventory_addr()), ..Options::default() }).await
}

fn told(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&event["type"]), text(&event["object"]["metadata"]["name"]))
}

async fn next(watch: &mut Watch) -> String {
    told(&watch.next().await.expect("the watch goes on"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_continued_by_a_watch() {
    let stack = watchless().await;
    let served = stack.client.get("/apis/inventory.example.com/v1").await.json();
    let verbs = &served["resources"][0]["verbs"];
    assert!(verbs.as_array().unwrap().contains(&json!("watch")), "{verbs}");
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    let list = stack.client.get(MACHINES).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    // Before the watch is open.
    stack.client.post(MACHINES, &machine("m2")).await.expect(201);
    let query = format!("watch=1&resourceVersion={version}&allowWatchBookmarks=true");
    let mut watch = stack.watch(&format!("{MACHINES}?{query}")).await;
    assert_eq!(next(&mut watch).await, "ADDED m2");
    stack.client.patch(&format!("{MACHINES}/m1"), MERGE, &json!({"spec": {"cpus": 9}})).await.expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!((told(&event).as_str(), &event["object"]["spec"]["cpus"]), ("MODIFIED m1", &json!(9)));
    stack.client.delete(&format!("{MACHINES}/m1")).await.expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!((told(&event).as_str(), &event["object"]["spec"]["cpus"]), ("DELETED m1", &json!(9)));
    let gone = event["object"]["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    drop(watch);

    // Elsewhere nobody knows that we would like to hear of it.
    let other = elsewhere(&stack).await;
    other.client.post(MACHINES, &machine("m3")).await.expect(201);
    other.client.delete(&format!("{MACHINES}/m2")).await.expect(200);
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1&resourceVersion={gone}")).await;
    assert_eq!([next(&mut watch).await, next(&mut watch).await], ["ADDED m3", "DELETED m2"]);
    other.client.post(MACHINES, &machine("m4")).await.expect(201);
    assert_eq!(next(&mut watch).await, "ADDED m4");
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_events_selectors_and_the_end() {
    let stack = watchless().await;
    for (name, tier) in [("a", "db"), ("b", "web"), ("c", "db")] {
        let mut body = machine(name);
        body["metadata"]["labels"] = json!({"tier": tier});
        stack.client.post(MACHINES, &body).await.expect(201);
    }
    let initial = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = stack.watch(&format!("{EVERYWHERE}?{initial}&labelSelector=tier%3Ddb")).await;
    assert_eq!([next(&mut watch).await, next(&mut watch).await], ["ADDED a", "ADDED c"]);
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let label = async |name: &str, tier: &str| {
        let patch = json!({"metadata": {"labels": {"tier": tier}}});
        stack.client.patch(&format!("{MACHINES}/{name}"), MERGE, &patch).await.expect(200);
    };
    label("b", "db").await;
    assert_eq!(next(&mut watch).await, "ADDED b");
    label("a", "web").await;
    assert_eq!(next(&mut watch).await, "DELETED a");

    // The same of a client that lists and watches by a selector, as informers do.
    let list = stack.client.get(&format!("{MACHINES}?labelSelector=tier%3Ddb")).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let query = format!("watch=1&resourceVersion={version}&labelSelector=tier%3Ddb&timeoutSeconds=5");
    let mut informer = stack.watch(&format!("{MACHINES}?{query}")).await;
    label("c", "web").await;
    assert_eq!([next(&mut informer).await, next(&mut watch).await], ["DELETED c", "DELETED c"]);
    label("c", "db").await;
    assert_eq!(next(&mut informer).await, "ADDED c");
    assert_eq!(informer.next().await, None, "timeoutSeconds ends it");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_watches_waits_and_deletes() {
    let stack = watchless().await;
    let kubectl = stack.kubectl().await;
    for name in ["atlas", "boreas"] {
        stack.client.post(MACHINES, &machine(name)).await.expect(201);
    }
    let mut watch = kubectl.start(&["get", "machines", "-w", "--output-watch-events", "--no-headers"]);
    assert!(watch.line().await.starts_with("ADDED      atlas"));
    assert!(watch.line().await.starts_with("ADDED      boreas"));
    patch(&kubectl, "atlas", r#"{"spec":{"cpus":9}}"#).await;
    assert!(watch.line().await.starts_with("MODIFIED   atlas"));

    let off = r#"{"spec":{"power":"Off"}}"#;
    let wait = ["wait", "--for=jsonpath={.status.power}=Off", "machine/boreas", "--timeout=30s"];
    let (waited, ()) = tokio::join!(kubectl.run(&wait), patch(&kubectl, "boreas", off));
    assert_eq!(waited.ok(), "machine.inventory.example.com/boreas condition met\n");
    assert!(watch.line().await.starts_with("MODIFIED   boreas"));

    let gone = ["wait", "--for=delete", "machine/atlas", "--timeout=30s"];
    let (waited, deleted) =
        tokio::join!(kubectl.run(&gone), kubectl.run(&["delete", "machine", "atlas", "--wait=false"]));
    deleted.ok();
    assert!(waited.code == 0 || waited.stderr.contains("NotFound"), "{}", waited.stderr);
    assert!(watch.line().await.starts_with("DELETED    atlas"));

    // One that is held back by a finalizer for a while.
    patch(&kubectl, "boreas", r#"{"metadata":{"finalizers":["example.com/hold"]}}"#).await;
    let delete = ["delete", "machine", "boreas", "--timeout=30s"];
    let release = async {
        let held = async |stack: &Stack| {
            let object = stack.client.get(&format!("{MACHINES}/boreas")).await.json();
            object["metadata"]["deletionTimestamp"].is_string()
        };
        stack.until(held).await;
        patch(&kubectl, "boreas", r#"{"metadata":{"finalizers":null}}"#).await;
    };
    let (deleted, ()) = tokio::join!(kubectl.run(&delete), release);
    deleted.ok();
}

async fn patch(kubectl: &Kubectl, name: &str, patch: &str) {
    kubectl.run(&["patch", "machine", name, "--type=merge", "-p", patch]).await.ok();
}

/// By namespace and name.
type Known = BTreeMap<String, Value>;

/// What a client-go informer does: it lists, watches, resumes from the last version, and lists again on 410.
struct Informer {
    objects: Known,
    version: String,
    lists: usize,
}

fn key(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}

/// Without what an item of a list does not have.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    let members = object.as_object_mut().unwrap();
    members.remove("apiVersion");
    members.remove("kind");
    object
}

impl Informer {
    /// Until it is dropped; `shown` has what it knows.
    async fn run(mut self, client: Client, shown: Arc<Mutex<Known>>) {
        loop {
            if self.version.is_empty() {
                let list = client.get(EVERYWHERE).await;
                if list.status != 200 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                let list = list.json();
                self.lists += 1;
                let items = list["items"].as_array().unwrap().iter();
                self.objects = items.map(|object| (key(object), bare(object))).collect();
                self.version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
                shown.lock().unwrap().clone_from(&self.objects);
            }
            // Short watches: much is resumed.
            let query = format!("watch=1&resourceVersion={}&timeoutSeconds=1", self.version);
            let mut watch = Watch::open(&client, &format!("{EVERYWHERE}?{query}")).await;
            while let Some(event) = watch.next().await {
                self.take(&event);
                shown.lock().unwrap().clone_from(&self.objects);
            }
        }
    }

    fn take(&mut self, event: &Value) {
        let object = &event["object"];
        let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let number = |version: &str| version.parse::<u64>().unwrap();
        let known =
            self.objects.get(&key(object)).map(|object| object["metadata"]["resourceVersion"].clone());
        match event["type"].as_str().unwrap() {
            "ERROR" => return self.version.clear(),
            "ADDED" | "MODIFIED" => {
                assert_ne!(known, Some(json!(version)), "twice: {event}");
                self.objects.insert(key(object), bare(object));
            }
            "DELETED" => drop(self.objects.remove(&key(object))),
            other => panic!("{other}"),
        }
        assert!(number(&version) > number(&self.version), "after {}: {event}", self.version);
        self.version = version;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_informer_knows_what_the_backend_has() {
    let mut stack = watchless().await;
    let other = elsewhere(&stack).await;
    let writer = tokio::spawn(async move {
        for round in 0..160_usize {
            let name = format!("m{}", round * 7 % 13);
            let path = format!("{MACHINES}/{name}");
            // While the backend restarts a write may fail: whatever it did is what there is.
            match round % 4 {
                0 | 1 => drop(other.client.post(MACHINES, &machine(&name)).await),
                2 => drop(other.client.patch(&path, MERGE, &json!({"spec": {"cpus": round}})).await),
                _ => drop(other.client.delete(&path).await),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let shown: Arc<Mutex<Known>> = Arc::default();
    let informer = Informer { objects: BTreeMap::new(), version: String::new(), lists: 0 };
    let informer = tokio::spawn(informer.run(stack.client.clone(), Arc::clone(&shown)));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        stack.restart_backend().await;
    }
    writer.await.unwrap();
    let there = stack.client.get(EVERYWHERE).await.expect(200).json();
    let items = there["items"].as_array().unwrap();
    let there: Known = items.iter().map(|object| (key(object), bare(object))).collect();
    assert!(!there.is_empty());
    stack.until(async |_| *shown.lock().unwrap() == there || informer.is_finished()).await;
    assert_eq!(*shown.lock().unwrap(), there);
    informer.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_is_the_aggregators_own() {
    let hostile = Hostile::start().await;
    hostile.declare(&Hostile::watchless());
    let meta = ObjectMeta {
        name: "a".into(),
        namespace: "default".into(),
        resource_version: "5".into(),
        ..ObjectMeta::default()
    };
    let (mut item, mut list) = (Vec::new(), Vec::new());
    wire::put_bytes(&mut item, 1, &meta.encode_to_vec());
    let version = ListMeta { resource_version: "5".into(), ..ListMeta::default() };
    wire::put_bytes(&mut list, 1, &version.encode_to_vec());
    wire::put_bytes(&mut list, 2, &item);
    hostile.answer_with(&list);
    let args = vec!["--metrics-listen=127.0.0.1:0".to_owned()];
    let stack = Stack::with(Options { backend: Some(hostile.addr()), args, ..Options::default() }).await;
    let served = stack.client.get(EVERYWHERE).await.expect(200).json();
    assert_eq!(served["metadata"]["resourceVersion"], "5");
    assert_eq!(hostile.asked()["x-remote-user"], "kubridge-admin");
    let watch = stack.watch(&format!("{EVERYWHERE}?watch=1&resourceVersion=5")).await;
    stack.until(async |_| hostile.asked()["x-remote-user"] == "system:kubridge").await;

    let page = async |stack: &Stack| {
        let url = format!("http://{}/metrics", stack.metrics_address());
        reqwest::get(url).await.unwrap().text().await.unwrap()
    };
    let labels = r#"group="inventory.example.com",version="v1",resource="machines""#;
    let polling = format!("kubridge_made_watch_pollers{{{labels}}} 1");
    stack.until(async |stack| page(stack).await.contains(&polling)).await;
    let unchanged = format!("kubridge_made_watch_polls_total{{{labels},result=\"unchanged\"}}");
    stack.until(async |stack| !page(stack).await.contains(&format!("{unchanged} 0"))).await;
    drop(watch);

    // What a List of another kind says is told as an error, and the log has the reason.
    hostile.answer_with(&[0xff; 64]);
    let mut watch = stack.watch(&format!("{EVERYWHERE}?watch=1&resourceVersion=5")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(500)));
}
