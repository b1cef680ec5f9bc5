//! Backends that come, go and change, and what APIServices say about them.

use std::{fs, time::Duration};

use kubridge_bridge::wire::put_bytes;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Hostile, Options, Stack, machine};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
const NAME: &str = "v1.inventory.example.com";
const APISERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.inventory.example.com";

fn manifest(group: &str, backend: &str) -> String {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1.{group}"), "annotations": {"kubridge.io/backend": backend}},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15},
    })
    .to_string()
}

/// A Machine on the wire; `spec.cpu_model` is field 5.
fn wire(spec: &[(u32, &str)]) -> Vec<u8> {
    let message = |fields: &[(u32, &[u8])]| {
        let mut out = Vec::new();
        for (number, value) in fields {
            put_bytes(&mut out, *number, value);
        }
        out
    };
    let spec: Vec<(u32, &[u8])> = spec.iter().map(|(number, value)| (*number, value.as_bytes())).collect();
    let metadata = message(&[(1, b"m1"), (3, b"default")]);
    message(&[(1, &metadata), (2, &message(&spec))])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_directory_is_what_is_claimed() {
    let dir = TempDir::new().unwrap();
    let backend = Hostile::start().await;
    let url = format!("grpc://{}", backend.addr());
    let file = |name: &str| dir.path().join(name);
    fs::write(file("good.yaml"), manifest("inventory.example.com", &url)).unwrap();
    fs::write(file("bad.yaml"), "kind: APIService\nspec: [").unwrap();
    fs::write(file("README.md"), "no manifest").unwrap();
    let options = Options {
        backend_down: true,
        args: vec![format!("--manifests={}", dir.path().display())],
        ..Options::default()
    };
    let stack = Stack::with(options).await;
    let service = stack.client.get(APISERVICE).await.expect(200).json();
    assert_eq!(service["metadata"]["labels"]["kubridge.io/automanaged"], "true", "{service}");
    stack.until(|stack| stack.serves("/apis/inventory.example.com/v1")).await;

    fs::write(file("bad.yaml"), manifest("other.example.com", &url)).unwrap();
    fs::remove_file(file("good.yaml")).unwrap();
    stack.until(async |stack| stack.client.get(APISERVICE).await.status == 404).await;
    stack.until(async |stack| stack.client.get(MACHINES).await.status == 404).await;
    stack.client.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.other.example.com").await.expect(200);
    let undeclared =
        async |stack: &Stack| stack.available("v1.other.example.com").await[1] == "GroupVersionNotDeclared";
    stack.until(undeclared).await;

    // A file that has become bad takes nothing away.
    fs::write(file("bad.yaml"), "spec: [").unwrap();
    fs::write(file("new.yaml"), manifest("inventory.example.com", &url)).unwrap();
    stack.until(|stack| stack.serves("/apis/inventory.example.com/v1")).await;
    stack.client.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.other.example.com").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_declares_comes_back_when_it_is_deleted() {
    let stack = Stack::start().await;
    let first = stack.client.get(APISERVICE).await.expect(200).json();
    stack.client.delete(APISERVICE).await.expect(200);
    stack
        .until(async |stack| {
            let now = stack.client.get(APISERVICE).await;
            now.status == 200 && now.json()["metadata"]["uid"] != first["metadata"]["uid"]
        })
        .await;
    stack.until(|stack| stack.serves(MACHINES)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_schema_is_served_when_the_backend_is_back_and_a_bad_one_is_not() {
    let backend = Hostile::start().await;
    let stack = Stack::with(Options { backend: Some(backend.addr()), ..Options::default() }).await;
    backend.answer_with(&wire(&[(5, "Z80")]));
    let path = format!("{MACHINES}/m1");
    let answer = stack.client.get(&path).await.expect(200).json();
    assert_eq!(answer["spec"]["cpuModel"], "Z80", "{answer}");

    backend.declare(&Hostile::renamed(["cpu_model", "cpuModel"], ["cpu_maker", "cpuMaker"]));
    stack.relay.kill().await;
    stack.until(async |stack| stack.available(NAME).await[0] == "False").await;
    stack.relay.revive().await;
    let spec = async |stack: &Stack| stack.client.get(&path).await.json()["spec"].clone();
    stack.until(async |stack| spec(stack).await["cpuMaker"] == "Z80").await;

    backend.declare(b"no descriptors");
    stack.relay.kill().await;
    stack.until(async |stack| stack.available(NAME).await[0] == "False").await;
    stack.relay.revive().await;
    stack.until(async |stack| stack.available(NAME).await[1] == "PassedWithOldSchema").await;
    assert_eq!(spec(&stack).await["cpuMaker"], "Z80", "the last good schema stays");
    let [status, _, message] = stack.available(NAME).await;
    assert_eq!(status, "True");
    assert!(message.contains("the last good one stays in use"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_the_schema_has_and_the_backend_lacks_are_named() {
    let backend = Hostile::start().await;
    let stack = Stack::with(Options { backend: Some(backend.addr()), ..Options::default() }).await;
    backend.answer_with(&wire(&[(5, "Z80")]));
    let said = async |stack: &Stack| {
        let service = stack.client.get(APISERVICE).await.json();
        let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == "MethodsUnimplemented");
        found.map(|condition| {
            ["status", "reason", "message"].map(|key| condition[key].as_str().unwrap().to_owned())
        })
    };
    let path = format!("{MACHINES}/m1");
    stack.client.get(&path).await.expect(200);
    assert_eq!(said(&stack).await, None, "nothing is said where nothing is lacking");
    let before = stack.client.get("/apis/inventory.example.com/v1").await.text();

    backend.lack(&["DeleteMachine", "ListMachines"]);
    let refused = stack.client.get(MACHINES).await.expect(405).json();
    assert_eq!(refused["reason"], "MethodNotAllowed");
    stack.until(async |stack| said(stack).await.is_some()).await;
    stack.client.delete(&path).await.expect(405);
    stack.until(async |stack| said(stack).await.unwrap()[2].contains("DeleteMachine")).await;
    let [status, reason, message] = said(&stack).await.unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "MethodsUnimplemented"));
    let named = "the backend answers /inventory.v1.Machines/DeleteMachine, /inventory.v1.Machines/ListMachines with UNIMPLEMENTED";
    assert!(message.starts_with(named), "{message}");
    assert_eq!(stack.client.get("/apis/inventory.example.com/v1").await.text(), before, "discovery stays");
    assert_eq!(stack.available(NAME).await[0], "True");

    // It comes back, and has them.
    backend.lack(&[]);
    stack.relay.kill().await;
    stack.until(async |stack| stack.available(NAME).await[0] == "False").await;
    stack.relay.revive().await;
    stack.until(async |stack| said(stack).await.unwrap()[1] == "AllImplemented").await;
    assert_eq!(said(&stack).await.unwrap()[0], "False");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_field_has_the_schema_read_again() {
    let backend = Hostile::start().await;
    let stack = Stack::with(Options { backend: Some(backend.addr()), ..Options::default() }).await;
    backend.answer_with(&wire(&[(5, "Z80"), (99, "news")]));
    backend.declare(&Hostile::renamed(["cpu_model", "cpuModel"], ["cpu_maker", "cpuMaker"]));
    let path = format!("{MACHINES}/m1");
    stack
        .until(async |stack| stack.client.get(&path).await.expect(200).json()["spec"]["cpuMaker"] == "Z80")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_a_restart_of_its_backend() {
    let mut stack = Stack::start().await;
    stack.client.post(MACHINES, &machine("before")).await.expect(201);
    let list = stack.client.get(MACHINES).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1&resourceVersion={version}")).await;
    stack.restart_backend().await;
    stack.until(|stack| stack.serves(MACHINES)).await;
    stack.client.post(MACHINES, &machine("after")).await.expect(201);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("after")));
    let list = stack.client.get(MACHINES).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2, "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_ends_watches_cleanly() {
    let mut stack = Stack::start().await;
    let mut machines = stack.watch(&format!("{MACHINES}?watch=1&resourceVersion=0")).await;
    let mut services = stack.watch("/apis/apiregistration.k8s.io/v1/apiservices?watch=1").await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    assert_eq!(machines.next().await.unwrap()["object"]["metadata"]["name"], "m1");
    let rest = async |watch: &mut crate::support::Watch| {
        let mut types = Vec::new();
        // A reset stream would panic here.
        while let Some(event) = watch.next().await {
            types.push(event["type"].as_str().unwrap().to_owned());
        }
        types
    };
    let stopped = tokio::time::timeout(Duration::from_secs(10), stack.stop());
    let (stopped, machines, services) = tokio::join!(stopped, rest(&mut machines), rest(&mut services));
    stopped.expect("watches do not hold a stop up");
    for types in [machines, services] {
        assert!(types.iter().all(|kind| kind != "ERROR"), "{types:?}");
    }
}
