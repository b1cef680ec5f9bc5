//! Schemas of Backends, kept in the cluster: large ones, changed ones, and what replicas serve while the backend is down.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, SourceCodeInfo, source_code_info::Location,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use crate::support::{
    Client, Kubectl,
    cluster::{API_SERVICE, Cluster, MANIFESTS},
    replicas::Replicas,
};

/// How long the slow things may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
const GROUP_VERSION: &str = "/apis/inventory.example.com/v1";
const INDEX: &str = "kubridge-schema-inventory";

/// The inventory's descriptors, its Machine described by `word` (eight letters), and a file of several MiB beside them that
/// hardly compresses.
fn descriptors(word: &str) -> Vec<u8> {
    let hexadecimal =
        |text: String| -> String { Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect() };
    let messages = 400;
    let comment =
        |number: i32| (0..160).map(|line| hexadecimal(format!("{number} {line}"))).collect::<String>();
    let file = FileDescriptorProto {
        name: Some("ballast.proto".to_owned()),
        package: Some("ballast".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: (0..messages)
            .map(|number| DescriptorProto { name: Some(format!("M{number}")), ..DescriptorProto::default() })
            .collect(),
        source_code_info: Some(SourceCodeInfo {
            location: (0..messages)
                .map(|number| Location {
                    // message_type is field 4 of a file.
                    path: vec![4, number],
                    span: vec![number, 0, 1],
                    leading_comments: Some(comment(number)),
                    ..Location::default()
                })
                .collect(),
        }),
        ..FileDescriptorProto::default()
    };
    let ballast = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    let own = replaced(inventory::DESCRIPTORS, b"computer", word.as_bytes());
    // Two messages of one type, one after the other, are one.
    [own, ballast].concat()
}

/// Replaces a word of comments by one of the same length.
fn replaced(bytes: &[u8], word: &[u8], by: &[u8]) -> Vec<u8> {
    assert_eq!(word.len(), by.len());
    let before = [b" A ", word].concat();
    let mut replaced = bytes.to_vec();
    let found: Vec<usize> =
        (0..bytes.len() - before.len()).filter(|at| bytes[*at..].starts_with(&before)).collect();
    assert!(!found.is_empty(), "the inventory's comments have no such word");
    for at in found {
        replaced[at + 3..at + 3 + word.len()].copy_from_slice(by);
    }
    replaced
}

async fn inventory(listen: SocketAddr, descriptors: Vec<u8>) -> inventory::Running {
    let options =
        inventory::Options { listen, descriptors: Some(descriptors), ..inventory::Options::default() };
    inventory::Server::start(options).await.unwrap()
}

fn backend(endpoint: SocketAddr) -> Value {
    json!({
        "apiVersion": "kubridge.io/v1alpha1", "kind": "Backend", "metadata": {"name": "inventory"},
        "spec": {
            "endpoint": format!("grpc://{endpoint}"),
            "claims": [{"group": "inventory.example.com", "version": "v1"}],
        },
    })
}

async fn get(kubectl: &Kubectl, args: &[&str]) -> Value {
    let text = kubectl.run(&[&["get", "-o", "json"], args].concat()).await.ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The ConfigMaps of the Backend, by name.
async fn config_maps(kubectl: &Kubectl) -> BTreeMap<String, Value> {
    let labelled = ["configmaps", "-n", "kubridge-system", "-l", "kubridge.io/backend=inventory"];
    let list = get(kubectl, &labelled).await;
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item.clone())).collect()
}

/// All that clients learn of what there is: bodies and ETags.
async fn documents(client: &Client) -> Vec<(String, String, String)> {
    let root = client.get("/openapi/v3").await.expect(200).json();
    let hashed = root["paths"][GROUP_VERSION.trim_start_matches('/')]["serverRelativeURL"].clone();
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut documents = Vec::new();
    for (path, accept) in [
        ("/apis", aggregated),
        (GROUP_VERSION, "application/json"),
        ("/openapi/v3", "application/json"),
        (hashed.as_str().unwrap_or("/none"), "application/json"),
        ("/openapi/v2", "application/json"),
    ] {
        let answer = client.get_as(path, accept).await.expect(200);
        documents.push((path.to_owned(), answer.header("etag").to_owned(), answer.text()));
    }
    assert!(documents.iter().filter(|(_, etag, _)| !etag.is_empty()).count() >= 3, "ETags are compared, too");
    documents
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < LIMIT, "{what}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Whether a replica says that the backend is away and what it serves is of before.
async fn is_last_known(client: &Client) -> bool {
    let metrics = client.get("/metrics").await.expect(200).text();
    let document = format!("api_service=\"{API_SERVICE}\",document=\"discovery\"");
    let line = metrics
        .lines()
        .find(|line| line.starts_with("kubridge_last_known_good_documents{") && line.contains(&document));
    match line.unwrap_or_else(|| panic!("{metrics}")).rsplit_once(' ') {
        Some((_, "1")) => true,
        Some((_, "0")) => false,
        other => panic!("{other:?}"),
    }
}

async fn ready(client: &Client) {
    until("it does not become ready", async || {
        let answer = client.request(Method::GET, "/readyz").send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_serve_what_is_stored_while_the_backend_is_down_and_change_over_together() {
    let mut cluster = Cluster::without_kubridge().await;
    let first = inventory(([127, 0, 0, 1], 0).into(), descriptors("notebook")).await;
    let address = first.addr;
    cluster.start_registrar(&[]).await;
    cluster.apply(&backend(address)).await;
    cluster.kubectl.run(&["wait", "--for=create", "apiservice", API_SERVICE, "--timeout=50s"]).await.ok();
    cluster.available().await;
    until("the schema is not stored", async || config_maps(&cluster.kubectl).await.contains_key(INDEX)).await;

    let stored = config_maps(&cluster.kubectl).await;
    let owner = get(&cluster.kubectl, &["backend", "inventory"]).await;
    for (name, object) in &stored {
        let owners = json!([{
            "apiVersion": "kubridge.io/v1alpha1", "kind": "Backend", "name": "inventory", "uid": owner["metadata"]["uid"],
        }]);
        assert_eq!(object["metadata"]["ownerReferences"], owners, "{name}");
        if name != INDEX {
            let part =
                BASE64_STANDARD.decode(object["binaryData"]["descriptors.gz"].as_str().unwrap()).unwrap();
            assert!(part.len() < 900 << 10, "{name}: {}", part.len());
            assert_eq!(object["immutable"], true);
        }
    }
    let parts = stored.len() - 1;
    assert!(parts >= 2, "{:?}", stored.keys());
    assert_eq!(stored[INDEX]["data"]["parts"], parts.to_string());
    let before = documents(&cluster.direct(0)).await;
    assert!(before.iter().any(|(_, _, body)| body.contains("notebook")));

    // Another replica, with an empty directory, while nobody can be asked.
    first.stop().await;
    cluster.start_kubridge(&[]).await;
    ready(&cluster.direct(1)).await;
    until("the schema is not taken up", async || {
        cluster.direct(1).request(Method::GET, GROUP_VERSION).send().await.unwrap().status() == 200
    })
    .await;
    assert_eq!(documents(&cluster.direct(1)).await, before);
    until("what is served is not known to be of before", async || is_last_known(&cluster.direct(1)).await)
        .await;

    // The backend comes back with another schema: the leader reads it, and both serve it.
    let second = inventory(address, descriptors("terminal")).await;
    until("not all have the new schema", async || {
        let now = [documents(&cluster.direct(0)).await, documents(&cluster.direct(1)).await];
        now[0] == now[1] && now[0].iter().any(|(_, _, body)| body.contains("terminal"))
    })
    .await;
    let live = async || !is_last_known(&cluster.direct(0)).await && !is_last_known(&cluster.direct(1)).await;
    until("a backend that is there is called away", live).await;
    until("the old parts stay", async || {
        let now = config_maps(&cluster.kubectl).await;
        now.len() == parts + 1
            && stored.keys().filter(|name| *name != INDEX).all(|name| !now.contains_key(name))
    })
    .await;

    // What somebody removes comes back.
    let now = config_maps(&cluster.kubectl).await;
    let part = now.keys().find(|name| *name != INDEX).unwrap();
    let uid =
        |objects: &BTreeMap<String, Value>| objects.get(part).map(|object| object["metadata"]["uid"].clone());
    cluster.kubectl.run(&["delete", "configmap", part, "-n", "kubridge-system"]).await.ok();
    until("the part is not made again", async || {
        let again = config_maps(&cluster.kubectl).await;
        uid(&again).is_some() && uid(&again) != uid(&now)
    })
    .await;
    second.stop().await;
    cluster.kubectl.run(&["delete", "backend", "inventory", "--timeout=20s"]).await.ok();
    let labelled = ["delete", "configmaps", "-n", "kubridge-system", "-l", "kubridge.io/backend=inventory"];
    cluster.kubectl.run(&labelled).await.ok();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_store_it_a_schema_is_served_all_the_same() {
    let mut cluster = Cluster::without_kubridge().await;
    let role = get(&cluster.kubectl, &["role", "kubridge", "-n", "kubridge-system"]).await;
    let rules: Vec<&Value> = role["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["resources"][0] != "configmaps")
        .collect();
    let patch = json!({"rules": rules}).to_string();
    cluster
        .kubectl
        .run(&["patch", "role", "kubridge", "-n", "kubridge-system", "--type=merge", "-p", &patch])
        .await
        .ok();
    let running = inventory(([127, 0, 0, 1], 0).into(), inventory::DESCRIPTORS.to_vec()).await;
    cluster.start_registrar(&[]).await;
    cluster.apply(&backend(running.addr)).await;
    cluster
        .kubectl
        .run(&["wait", "--for=condition=Available", "backend/inventory", "--timeout=50s"])
        .await
        .ok();
    cluster.kubectl.run(&["wait", "--for=condition=SchemaAccepted", "backend/inventory"]).await.ok();
    documents(&cluster.direct(0)).await;
    assert_eq!(config_maps(&cluster.kubectl).await, BTreeMap::new());

    cluster.kubectl.run(&["apply", "-f", &format!("{MANIFESTS}/rbac.yaml")]).await.ok();
    until("the schema is not stored", async || config_maps(&cluster.kubectl).await.contains_key(INDEX)).await;
    cluster.kubectl.run(&["delete", "backend", "inventory", "--timeout=20s"]).await.ok();
    let labelled = ["delete", "configmaps", "-n", "kubridge-system", "-l", "kubridge.io/backend=inventory"];
    cluster.kubectl.run(&labelled).await.ok();
    running.stop().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_go_with_their_backend() {
    let mut replicas = Replicas::start(1, &["--aggregator-routing", "--controller-manager"]).await;
    let kubectl = &replicas.kubectl;
    kubectl.run(&["apply", "-f", &format!("{MANIFESTS}/crd.yaml")]).await.ok();
    let established = ["wait", "--for=condition=Established", "crd/backends.kubridge.io", "--timeout=30s"];
    kubectl.run(&established).await.ok();
    // Else its garbage collector learns of Backends within half a minute.
    let plane = &mut replicas.plane;
    tokio::task::block_in_place(|| plane.start_again("kube-controller-manager"));
    let kubectl = &replicas.kubectl;
    kubectl.run(&["delete", "apiservice", API_SERVICE]).await.ok();
    let object = backend(replicas.inventory_address());
    replicas.apply(&object).await;
    until("the schema is not stored", async || config_maps(kubectl).await.contains_key(INDEX)).await;
    kubectl.run(&["delete", "backend", "inventory", "--timeout=30s"]).await.ok();
    until("the ConfigMaps stay", async || config_maps(kubectl).await.is_empty()).await;

    // Another one of its name has its own, and what was before is made by nobody again.
    replicas.apply(&object).await;
    until("the schema is not stored again", async || config_maps(kubectl).await.contains_key(INDEX)).await;
    let uid = get(kubectl, &["backend", "inventory"]).await["metadata"]["uid"].clone();
    let stored = config_maps(kubectl).await;
    assert!(
        stored.values().all(|object| object["metadata"]["ownerReferences"][0]["uid"] == uid),
        "{stored:?}"
    );
}
