//! Several replicas under load: what clients of the kube-apiserver see while replicas come and go.
//!
//! `KUBRIDGE_TEST_REPLICAS`: how many there are (default 3, at least 2). `KUBRIDGE_TEST_REPLICAS_SECONDS`: how long the
//! kube-apiserver is away (default 10).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use http::Method;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::{Client, machine, replicas::Replicas};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
/// How many clients there are that ask one thing after the other.
const WORKERS: usize = 4;
const WATCHERS: usize = 2;

/// What clients have seen.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    /// What failed: "GET 503", and how often.
    failed: Mutex<BTreeMap<String, usize>>,
    /// Of those, what client-go does not repeat by itself.
    lost: Mutex<BTreeMap<String, usize>>,
    made: Mutex<BTreeSet<String>>,
    stop: AtomicBool,
    /// Watches that ended and were opened again.
    moved: AtomicUsize,
}

impl Seen {
    /// Takes note of an answer; whether it was one.
    async fn note(&self, method: &Method, answer: reqwest::Result<reqwest::Response>) -> Option<Value> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (what, repeated) = match answer {
            Ok(answer) if answer.status().is_success() => match answer.json().await {
                Ok(value) => return Some(value),
                Err(_) => (format!("{method} broken off"), *method == Method::GET),
            },
            // client-go repeats whatever has a Retry-After.
            Ok(answer) => (
                format!("{method} {}", answer.status().as_u16()),
                answer.headers().contains_key("retry-after"),
            ),
            Err(_) => (format!("{method} no answer"), *method == Method::GET),
        };
        *self.failed.lock().unwrap().entry(what.clone()).or_default() += 1;
        if !repeated {
            *self.lost.lock().unwrap().entry(what).or_default() += 1;
        }
        None
    }

    /// What was seen since the last time: requests, failures, and those of them that nobody repeats.
    fn take(&self) -> (usize, BTreeMap<String, usize>, BTreeMap<String, usize>) {
        (
            self.requests.swap(0, Ordering::Relaxed),
            std::mem::take(&mut self.failed.lock().unwrap()),
            std::mem::take(&mut self.lost.lock().unwrap()),
        )
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Makes, reads and lists, one after the other.
async fn work(client: Client, seen: Arc<Seen>, worker: usize) {
    let send = async |method: Method, path: &str, body: Option<&Value>| {
        let mut request = client.request(method.clone(), path);
        if let Some(body) = body {
            request = request.json(body);
        }
        seen.note(&method, request.send().await).await
    };
    for number in 0.. {
        if seen.stopped() {
            return;
        }
        let name = format!("m-{worker}-{number}");
        if send(Method::POST, MACHINES, Some(&machine(&name))).await.is_some() {
            seen.made.lock().unwrap().insert(name.clone());
            send(Method::GET, &format!("{MACHINES}/{name}"), None).await;
        }
        send(Method::GET, &format!("{MACHINES}?limit=5"), None).await;
        sleep(Duration::from_millis(20)).await;
    }
}

/// An informer in short: a list, then watches, each from where the last one ended. Gives the names that it was told of.
async fn watch(client: Client, seen: Arc<Seen>, told: Arc<Mutex<BTreeSet<String>>>) {
    let mut version = None;
    while !seen.stopped() {
        let Some(from) = version.clone() else {
            let listed = client.request(Method::GET, MACHINES).send().await;
            if let Some(list) = seen.note(&Method::GET, listed).await {
                let names = list["items"].as_array().unwrap().iter();
                let names = names.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
                told.lock().unwrap().extend(names);
                version = list["metadata"]["resourceVersion"].as_str().map(str::to_owned);
            }
            continue;
        };
        let path = format!("{MACHINES}?watch=1&allowWatchBookmarks=true&resourceVersion={from}");
        let Ok(answer) = client.request(Method::GET, &path).send().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        if !answer.status().is_success() {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        let (mut stream, mut buffer) = (answer.bytes_stream(), Vec::new());
        while let Ok(Some(Ok(chunk))) = timeout(Duration::from_secs(5), stream.next()).await {
            buffer.extend_from_slice(&chunk);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                assert_ne!(event["type"], "ERROR", "{event}");
                let metadata = &event["object"]["metadata"];
                if event["type"] == "ADDED" {
                    told.lock().unwrap().insert(metadata["name"].as_str().unwrap().to_owned());
                }
                version = metadata["resourceVersion"].as_str().map(str::to_owned);
            }
        }
        seen.moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the environment says, a number.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_come_and_go_under_load() {
    let count = usize::try_from(setting("KUBRIDGE_TEST_REPLICAS", 3)).unwrap();
    assert!(count >= 2, "KUBRIDGE_TEST_REPLICAS: while one of them is away, another serves");
    let away = Duration::from_secs(setting("KUBRIDGE_TEST_REPLICAS_SECONDS", 10));
    let mut replicas = Replicas::start(count, &["--aggregator-routing"]).await;
    let (seen, mut tasks) = (Arc::new(Seen::default()), JoinSet::new());
    for worker in 0..WORKERS {
        tasks.spawn(work(replicas.plane.client(), Arc::clone(&seen), worker));
    }
    let told: Vec<Arc<Mutex<BTreeSet<String>>>> = (0..WATCHERS).map(|_| Arc::default()).collect();
    for told in &told {
        tasks.spawn(watch(replicas.plane.client(), Arc::clone(&seen), Arc::clone(told)));
    }
    let report = |what: &str, seen: (usize, BTreeMap<String, usize>, BTreeMap<String, usize>)| {
        eprintln!(
            "{what}: {} requests, failed {:?}, of these not repeated by client-go {:?}",
            seen.0, seen.1, seen.2
        );
    };
    sleep(Duration::from_secs(2)).await;
    let quiet = seen.take();
    assert!(quiet.0 > 10 && quiet.1.is_empty(), "{quiet:?}");

    for number in 0..count {
        replicas.stop_replica(number).await;
        replicas.start_replica(number).await;
    }
    let rolled = seen.take();
    assert_eq!(rolled.2, BTreeMap::new(), "a rolling restart loses nothing");
    report(&format!("rolling restart of {count} replicas"), rolled);

    let leader = replicas.leader().await;
    let begun = Instant::now();
    replicas.kill_replica(leader).await;
    // So long a cluster may take to notice.
    sleep(Duration::from_secs(1)).await;
    replicas.set_ready(leader, false).await;
    let next = replicas.leader().await;
    assert_ne!(next, leader);
    report(
        &format!("leader killed, another leads after {:.1} s", begun.elapsed().as_secs_f64()),
        seen.take(),
    );
    replicas.start_replica(leader).await;
    seen.take();

    let apiserver = replicas.plane.is.kube_apiserver.clone();
    apiserver.signal("KILL");
    // Who is known to be an administrator is served all the while; nobody else is, silently.
    let until = Instant::now() + away;
    while Instant::now() < until {
        let nobody = replicas.direct(next).request(Method::GET, MACHINES).send().await.unwrap();
        assert!(matches!(nobody.status().as_u16(), 403 | 503), "{}", nobody.status());
        sleep(Duration::from_millis(500)).await;
    }
    let returned = Instant::now();
    let plane = &mut replicas.plane;
    tokio::task::block_in_place(|| plane.start_again("kube-apiserver"));
    let ready = returned.elapsed();
    loop {
        let listed = replicas.plane.client().request(Method::GET, MACHINES).send().await;
        if listed.is_ok_and(|answer| answer.status() == 200) {
            break;
        }
        assert!(returned.elapsed() < Duration::from_secs(60), "it does not come back");
        sleep(Duration::from_millis(100)).await;
    }
    let served = returned.elapsed() - ready;
    report(
        &format!("kube-apiserver away for {away:?}, served {:.1} s after it was ready", served.as_secs_f64()),
        seen.take(),
    );

    // Every informer has been told of everything that was made.
    let begun = Instant::now();
    loop {
        let made = seen.made.lock().unwrap().clone();
        if told.iter().all(|told| told.lock().unwrap().is_superset(&made)) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "an informer misses something");
        sleep(Duration::from_millis(100)).await;
    }
    eprintln!("watches moved {} times", seen.moved.load(Ordering::Relaxed));
    assert!(seen.moved.load(Ordering::Relaxed) > 0);
    seen.stop.store(true, Ordering::Relaxed);
    timeout(Duration::from_secs(20), tasks.join_all()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_and_controllers_beside_a_dead_backend() {
    let flags = &["--aggregator-routing", "--controller-manager"];
    let mut replicas = Replicas::start(1, flags).await;
    let kubectl = &replicas.kubectl;
    kubectl.run(&["create", "namespace", "leaving"]).await.ok();
    let falcon = machine("falcon").to_string();
    kubectl.run_with(&["create", "-n", "leaving", "-f", "-"], &falcon, &[]).await.ok();
    let address = replicas.stop_inventory().await;

    // A namespace whose objects cannot be listed stays, and says which.
    let kubectl = &replicas.kubectl;
    kubectl.run(&["delete", "namespace", "leaving", "--wait=false"]).await.ok();
    let failing = r#"jsonpath={.status.conditions[?(@.status=="True")].message}"#;
    let begun = Instant::now();
    loop {
        let said = kubectl.run(&["get", "namespace", "leaving", "-o", failing]).await.ok();
        if said.contains("machines.inventory.example.com") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody is told what is in the way: {said}");
        sleep(Duration::from_millis(250)).await;
    }

    // Controllers that start now do their work for everybody else.
    let plane = &mut replicas.plane;
    tokio::task::block_in_place(|| plane.start_again("kube-controller-manager"));
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": "default"},
        "spec": {"hard": {"configmaps": "100"}},
    });
    replicas.apply(&quota).await;
    let kubectl = &replicas.kubectl;
    kubectl.run(&["create", "configmap", "owner", "-n", "default"]).await.ok();
    let uid = kubectl
        .run(&["get", "configmap", "owner", "-n", "default", "-o", "jsonpath={.metadata.uid}"])
        .await
        .ok();
    let owned = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "owned", "namespace": "default", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]},
    });
    replicas.apply(&owned).await;
    kubectl.run(&["delete", "configmap", "owner", "-n", "default"]).await.ok();
    let begun = Instant::now();
    while kubectl.run(&["get", "configmap", "owned", "-n", "default"]).await.code == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "the garbage collector stands still");
        sleep(Duration::from_millis(500)).await;
    }
    eprintln!("with a dead backend: collected after {:.1} s", begun.elapsed().as_secs_f64());

    replicas.start_inventory(address).await;
    let begun = Instant::now();
    while replicas.kubectl.run(&["get", "namespace", "leaving"]).await.code == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the namespace stays");
        sleep(Duration::from_millis(250)).await;
    }
    eprintln!("the namespace was gone {:.1} s after the backend's return", begun.elapsed().as_secs_f64());
    // The quota controller begins when it has listed everything that discovery names.
    let used = "jsonpath={.status.used.configmaps}";
    while replicas
        .kubectl
        .run(&["get", "resourcequota", "few", "-n", "default", "-o", used])
        .await
        .ok()
        .is_empty()
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "quotas are not counted");
        sleep(Duration::from_millis(250)).await;
    }
    eprintln!("quotas were counted {:.1} s after it", begun.elapsed().as_secs_f64());
}
