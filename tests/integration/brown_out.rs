//! What clients get while a backend is away, as its Backend object says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    aip::rest::{BOOKS, book},
    support::{Kubectl, Library, Options, Stack, Watch, machine},
};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
const EVERYWHERE: &str = "/apis/inventory.example.com/v1/machines";

/// A stack whose backend is claimed by a Backend object with this policy.
async fn with_policy(options: Options, group: &str, policy: &str) -> Stack {
    let metrics = "--metrics-listen=127.0.0.1:0".to_owned();
    let stack = Stack::with(Options { unclaimed: true, args: vec![metrics], ..options }).await;
    let backend = json!({
        "apiVersion": "kubridge.io/v1alpha1", "kind": "Backend", "metadata": {"name": "fleet"},
        "spec": {
            "endpoint": format!("grpc://{}", stack.backend_addr()),
            "claims": [{"group": group, "version": "v1"}],
            "brownOut": {"policy": policy},
        },
    });
    stack.client.post("/apis/kubridge.io/v1alpha1/backends", &backend).await.expect(201);
    let served = format!("/apis/{group}/v1");
    let begun = Instant::now();
    while stack.client.get(&served).await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "it is not served");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stack
}

/// Waits until so many objects of a resource are kept.
async fn kept(stack: &Stack, resource: &str, objects: usize) {
    let line = format!("resource=\"{resource}\"}} {objects}");
    stack
        .until(async |stack| {
            let url = format!("http://{}/metrics", stack.metrics_address());
            let page = reqwest::get(url).await.unwrap().text().await.unwrap();
            page.lines().any(|found| found.starts_with("kubridge_snapshot_objects") && found.ends_with(&line))
        })
        .await;
}

/// Has everything listed anew: that is done when the backend has come back.
async fn away_and_back(stack: &Stack, name: &str) {
    stack.relay.kill().await;
    stack.until(async |stack| stack.available(name).await[0] == "False").await;
    stack.relay.revive().await;
    stack.until(async |stack| stack.available(name).await[0] == "True").await;
}

const NAME: &str = "v1.inventory.example.com";
const WARNING: &str = r#"299 - "the backend \"fleet\" cannot be reached: this is what it listed of "#;

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_what_was_last_listed_with_a_warning() {
    let stack = with_policy(Options::default(), "inventory.example.com", "Snapshot").await;
    let kubectl = stack.kubectl().await;
    for name in ["atlas", "boreas", "castor"] {
        stack.client.post(MACHINES, &machine(name)).await.expect(201);
    }
    kubectl.run(&["label", "machine", "boreas", "tier=db"]).await.ok();
    away_and_back(&stack, NAME).await;
    kept(&stack, "machines", 3).await;
    kept(&stack, "racks", 0).await;
    let live = stack.client.get(EVERYWHERE).await.expect(200);
    assert_eq!((live.warnings(), live.header("age")), (Vec::<String>::new(), ""));
    let table = kubectl.run(&["get", "machines"]).await;

    stack.relay.kill().await;
    let past = stack.client.get(EVERYWHERE).await.expect(200);
    assert_eq!(past.json(), live.json(), "the same list, its version too");
    let [warning] = &past.warnings()[..] else { panic!("{:?}", past.headers) };
    assert!(warning.starts_with(&format!("{WARNING}machines.inventory.example.com at 20")), "{warning}");
    assert!(past.header("age").parse::<u64>().unwrap() < 60, "{}", past.header("age"));
    for (args, expected) in [
        (&["get", "machines"][..], table.stdout.as_str()),
        (&["get", "machines", "-A", "-l", "tier=db", "-o", "name"], "machine.inventory.example.com/boreas\n"),
        (&["get", "machine", "atlas", "-o", "jsonpath={.spec.serial}"], "S-atlas"),
        (&["get", "machines", "--chunk-size=1", "-o", "name"], NAMES),
        (&["get", "machines", "-n", "elsewhere"], ""),
    ] {
        let read = kubectl.run(args).await;
        assert!(read.stderr.contains(r#"Warning: the backend "fleet" cannot be reached"#), "{}", read.stderr);
        // Ages go on.
        let head = |text: &str| {
            text.lines()
                .map(|line| line.rsplit_once(' ').map_or(line, |(head, _)| head).trim_end().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(head(&read.ok()), head(expected), "{args:?}");
    }

    // Whatever is not read fails as ever.
    let absent = stack.client.get(&format!("{MACHINES}/dione")).await.expect(503).json();
    let message = absent["message"].as_str().unwrap();
    let why = "and nothing is answered in its place: \"dione\" is not in what it last listed";
    assert!(message.contains(why), "{message}");
    stack.client.post(MACHINES, &machine("dione")).await.expect(503);
    stack.client.delete(&format!("{MACHINES}/atlas")).await.expect(503);
    let version = live.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    for query in [format!("resourceVersion={version}"), initial.to_owned()] {
        stack.client.get(&format!("{EVERYWHERE}?watch=1&{query}")).await.expect(503);
    }

    // It is back: nothing of it is left, and a watch goes on where the snapshot was.
    stack.relay.revive().await;
    stack.until(async |stack| stack.client.get(EVERYWHERE).await.warnings().is_empty()).await;
    stack.client.post(MACHINES, &machine("dione")).await.expect(201);
    let mut watch =
        Watch::open(&stack.client, &format!("{EVERYWHERE}?watch=1&resourceVersion={version}")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("dione")));
}

const NAMES: &str = "machine.inventory.example.com/atlas\nmachine.inventory.example.com/boreas\nmachine.inventory.example.com/castor\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_backend_is_waited_for_until_it_is_known_to_be() {
    let stack = with_policy(Options::default(), "inventory.example.com", "Snapshot").await;
    kept(&stack, "machines", 0).await;
    stack.relay.freeze();
    let begun = Instant::now();
    let list = stack.client.get(EVERYWHERE).await.expect(200);
    assert_eq!(list.warnings().len(), 1);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "as long as it takes to find out: {:?}",
        begun.elapsed()
    );
    stack.until(async |stack| stack.available(NAME).await[0] == "False").await;
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(stack.client.get(EVERYWHERE).await.expect(200).warnings().len(), 1);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "nobody waits: {:?}", begun.elapsed());
    stack.relay.thaw();
    stack.until(async |stack| stack.client.get(EVERYWHERE).await.warnings().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_made_goes_on_where_the_snapshot_was() {
    let options = Options { watchless: true, ..Options::default() };
    let stack = with_policy(options, "inventory.example.com", "Snapshot").await;
    stack.client.post(MACHINES, &machine("atlas")).await.expect(201);
    away_and_back(&stack, NAME).await;
    kept(&stack, "machines", 1).await;
    stack.relay.kill().await;
    let past = stack.client.get(EVERYWHERE).await.expect(200);
    assert_eq!((names(&past.json()), past.warnings().len()), (vec!["atlas"], 1));
    let version = past.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    stack.relay.revive().await;
    let machines = async |stack: &Stack| stack.client.post(MACHINES, &machine("boreas")).await.status == 201;
    stack.until(machines).await;
    let mut watch = stack.watch(&format!("{EVERYWHERE}?watch=1&resourceVersion={version}")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["metadata"]["name"], "boreas");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_knows_nothing_of_kubernetes_is_stood_in_for() {
    let library = Library::start().await;
    library.service.put("Publisher", "name: 'publishers/acme' display_name: 'Acme'");
    let options = Options { backend: Some(library.addr()), ..Options::default() };
    let stack = with_policy(options, "library.example.com", "Snapshot").await;
    stack.client.post(BOOKS, &book("moby")).await.expect(201);
    away_and_back(&stack, "v1.library.example.com").await;
    kept(&stack, "books", 1).await;
    let live = stack.client.get(&format!("{BOOKS}/moby")).await.expect(200);
    stack.relay.kill().await;
    let past = stack.client.get(&format!("{BOOKS}/moby")).await.expect(200);
    assert_eq!(past.json(), live.json());
    assert!(
        past.warnings()[0].starts_with(&format!("{WARNING}books.library.example.com at 20")),
        "{:?}",
        past.headers
    );
    let list = stack.client.get("/apis/library.example.com/v1/books").await.expect(200);
    assert_eq!((names(&list.json()), list.warnings().len()), (vec!["moby"], 1));
    // Its numbers are ours, and the same ones: a write that builds on the snapshot is good when it is back.
    stack.relay.revive().await;
    let mut changed = past.json();
    changed["spec"]["title"] = json!("The Whale");
    let path = format!("{BOOKS}/moby");
    stack.until(async |stack| stack.client.put(&path, &changed).await.status == 200).await;
    library.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_nothing_is_answered_in_its_place() {
    for policy in ["Fail", "AssumeEmpty"] {
        let stack = with_policy(Options::default(), "inventory.example.com", policy).await;
        stack.client.post(MACHINES, &machine("atlas")).await.expect(201);
        stack.relay.kill().await;
        for path in [EVERYWHERE, MACHINES] {
            let refused = stack.client.get(path).await.expect(503);
            assert_eq!(refused.warnings(), [""; 0]);
            let message = refused.json()["message"].as_str().unwrap().to_owned();
            assert_eq!(
                message,
                "the backend of machines.inventory.example.com is not available at the moment"
            );
        }
        let kubectl: Kubectl = stack.kubectl().await;
        kubectl.run(&["get", "machine", "atlas"]).await.fails();
    }
}
