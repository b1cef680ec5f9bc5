//! Backends as objects, where Kubridge keeps its own: what is claimed by them, how they are, and that they take with them
//! what was made for them.

use serde_json::{Value, json};

use crate::support::{Ca, Kubectl, Options, Stack, machine};

const BACKENDS: &str = "/apis/kubridge.io/v1alpha1/backends";
const BACKEND: &str = "/apis/kubridge.io/v1alpha1/backends/inventory";
const APISERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.inventory.example.com";
const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";

fn backend(spec: &Value) -> Value {
    json!({
        "apiVersion": "kubridge.io/v1alpha1", "kind": "Backend", "metadata": {"name": "inventory"}, "spec": spec,
    })
}

/// An inventory that nobody claims, and the spec of a Backend that would.
async fn unclaimed(tls: Option<Ca>) -> (Stack, Value) {
    let scheme = if tls.is_some() { "grpcs" } else { "grpc" };
    let stack = Stack::with(Options { unclaimed: true, tls, ..Options::default() }).await;
    let endpoint = format!("{scheme}://{}", stack.backend_addr());
    let spec = json!({"endpoint": endpoint, "claims": [{"group": "inventory.example.com", "version": "v1"}]});
    (stack, spec)
}

async fn apply(kubectl: &Kubectl, object: &Value) -> String {
    kubectl.run_with(&["apply", "-f", "-"], &object.to_string(), &[]).await.ok()
}

/// `kubectl wait`: until a condition of the Backend is so.
async fn wait(kubectl: &Kubectl, condition: &str) {
    let condition = format!("--for=condition={condition}");
    kubectl.run(&["wait", &condition, "backend/inventory", "--timeout=30s"]).await.ok();
}

/// A condition of an object: status, reason, message.
fn condition(object: &Value, of: &str) -> [String; 3] {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let condition = conditions.into_iter().find(|condition| condition["type"] == of).unwrap_or_default();
    ["status", "reason", "message"].map(|field| condition[field].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_claims_and_takes_its_apiservices_with_it() {
    let (stack, spec) = unclaimed(None).await;
    let kubectl = stack.kubectl().await;
    let said = apply(&kubectl, &backend(&spec)).await;
    assert_eq!(said, "backend.kubridge.io/inventory created\n");
    wait(&kubectl, "Available").await;
    let endpoint = spec["endpoint"].as_str().unwrap();

    let service = stack.client.get(APISERVICE).await.expect(200).json();
    assert_eq!(service["metadata"]["annotations"]["kubridge.io/backend"], "inventory");
    assert_eq!(service["metadata"]["labels"]["kubridge.io/automanaged"], "true");
    assert_eq!(service["spec"]["groupPriorityMinimum"], 1000);
    let table = kubectl.run(&["get", "apiservice", "v1.inventory.example.com", "--no-headers"]).await.ok();
    assert_eq!(table.split_whitespace().nth(1), Some("inventory"), "{table}");
    let table = kubectl.run(&["get", "backends", "-o", "wide"]).await.ok();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "ENDPOINT", "CONNECTED", "AVAILABLE", "REASON", "AGE"]);
    assert_eq!(rows[1][..5], ["inventory", endpoint, "True", "True", "AllAvailable"]);
    let explained = kubectl.run(&["explain", "backend.spec.brownOut"]).await.ok();
    assert!(explained.contains("discoveryMaxAge") && explained.contains("AssumeEmpty"), "{explained}");

    stack.client.post(MACHINES, &machine("falcon")).await.expect(201);
    let read = stack.client.get(BACKEND).await.expect(200).json();
    assert_eq!(read["status"]["endpoint"], endpoint);
    assert_eq!(read["status"]["observedGeneration"], 1);
    for (of, expected) in [
        ("Connected", "True Connected"),
        ("SchemaAccepted", "True Accepted"),
        ("ClaimsAccepted", "True Claimed"),
        ("AdmissionWebhooks", " "),
    ] {
        let [status, reason, _] = condition(&read, of);
        assert_eq!(format!("{status} {reason}"), expected, "{of}: {read}");
    }

    // It waits until the APIServices are gone.
    kubectl.run(&["delete", "backend", "inventory", "--timeout=20s"]).await.ok();
    stack.client.get(APISERVICE).await.expect(404);
    stack.client.get(BACKEND).await.expect(404);
    stack.until(async |stack| stack.client.get(MACHINES).await.status == 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_backend_claims_otherwise_and_is_there_after_a_restart() {
    let (mut stack, mut spec) = unclaimed(None).await;
    let kubectl = stack.kubectl().await;
    spec["claims"].as_array_mut().unwrap().push(json!({"group": "other.example.com", "version": "v1"}));
    apply(&kubectl, &backend(&spec)).await;
    wait(&kubectl, "Available=False").await;
    let [_, reason, message] = condition(&stack.client.get(BACKEND).await.json(), "Available");
    assert_eq!(reason, "GroupVersionNotDeclared");
    assert!(message.starts_with("v1.other.example.com: "), "{message}");

    spec["claims"].as_array_mut().unwrap().pop();
    apply(&kubectl, &backend(&spec)).await;
    wait(&kubectl, "Available").await;
    let other = APISERVICE.replace("inventory.example.com", "other.example.com");
    stack.until(async |stack| stack.client.get(&other).await.status == 404).await;
    let before = stack.client.get(BACKEND).await.expect(200).json();
    drop(kubectl);

    // What it had said before is there at once, whether or not the backend is.
    stack.relay.kill().await;
    stack.restart(&[]).await;
    assert!(stack.serves("/apis/inventory.example.com/v1").await);
    stack
        .until(async |stack| condition(&stack.client.get(BACKEND).await.json(), "Available")[0] == "False")
        .await;
    let [status, _, message] = condition(&stack.client.get(BACKEND).await.json(), "Connected");
    assert_eq!((status.as_str(), message.starts_with("grpc://")), ("False", true), "{message}");
    stack.relay.revive().await;
    stack
        .until(async |stack| condition(&stack.client.get(BACKEND).await.json(), "Available")[0] == "True")
        .await;
    let after = stack.client.get(BACKEND).await.json();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    stack.client.get(MACHINES).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_may_not_claim() {
    let (stack, mut spec) = unclaimed(None).await;
    let kubectl = stack.kubectl().await;
    let mut refused = spec.clone();
    refused["claims"] = json!([{"group": "apps", "version": "v1"}]);
    let refused = stack.client.post(BACKENDS, &backend(&refused)).await.expect(422).json();
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.claims[0].group", "{refused}");

    // Made by a client: it stays as it is.
    let theirs = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.inventory.example.com"},
        "spec": {"group": "inventory.example.com", "version": "v1", "groupPriorityMinimum": 7, "versionPriority": 7},
    });
    apply(&kubectl, &theirs).await;
    spec["claims"].as_array_mut().unwrap().push(json!({"group": "metrics.k8s.io", "version": "v1"}));
    apply(&kubectl, &backend(&spec)).await;
    wait(&kubectl, "ClaimsAccepted=False").await;
    let read = stack.client.get(BACKEND).await.json();
    let [_, _, message] = condition(&read, "ClaimsAccepted");
    assert!(message.contains("v1.metrics.k8s.io: metrics.k8s.io ends with .k8s.io"), "{message}");
    assert!(message.contains("v1.inventory.example.com: there is an APIService of this name"), "{message}");
    assert_eq!(condition(&read, "Available")[1], "NotClaimed");
    // It is looked at all the same.
    wait(&kubectl, "SchemaAccepted").await;
    let service = stack.client.get(APISERVICE).await.json();
    assert_eq!(service["spec"]["groupPriorityMinimum"], 7);

    // The mend that the condition names.
    kubectl.run(&["delete", "apiservice", "v1.inventory.example.com"]).await.ok();
    stack.until(|stack| stack.serves("/apis/inventory.example.com/v1")).await;
    // What was not made for it does not go with it.
    kubectl.run(&["delete", "backend", "inventory", "--timeout=20s"]).await.ok();
    stack.client.get(APISERVICE).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_groups_may_be_claimed_where_the_administrator_says_so() {
    let args = vec!["--allow-k8s-io-claims".to_owned()];
    let stack = Stack::with(Options { unclaimed: true, args, ..Options::default() }).await;
    let spec = json!({
        "endpoint": format!("grpc://{}", stack.backend_addr()),
        "claims": [{"group": "metrics.k8s.io", "version": "v1"}],
    });
    stack.client.post(BACKENDS, &backend(&spec)).await.expect(201);
    let service = APISERVICE.replace("inventory.example.com", "metrics.k8s.io");
    stack.until(async |stack| stack.client.get(&service).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_with_faults_is_refused_with_every_one_of_them() {
    let (stack, _) = unclaimed(None).await;
    let bad = backend(&json!({
        "endpoint": "inventory:50051",
        "claims": [{"group": "Inventory", "version": "v1"}],
        "tls": {"clientCertificate": {"namespace": "default", "name": "inventory"}},
        "timeouts": {"connect": "0s"},
    }));
    let refused = stack.client.post(BACKENDS, &bad).await.expect(422).json();
    let causes = refused["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(
        fields,
        ["spec.endpoint", "spec.claims[0].group", "spec.timeouts.connect", "spec.tls.clientCertificate"]
    );
    assert!(refused["message"].as_str().unwrap().contains("grpc://HOST:PORT"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_limits_and_timeouts_are_those_of_the_backend() {
    let ca = Ca::new("backends");
    let pem = ca.pem();
    let (stack, mut spec) = unclaimed(Some(ca)).await;
    let kubectl = stack.kubectl().await;
    spec["tls"] = json!({"caBundle": base64(Ca::new("another").pem().as_bytes())});
    apply(&kubectl, &backend(&spec)).await;
    wait(&kubectl, "Connected=False").await;
    spec["tls"]["caBundle"] = base64(pem.as_bytes()).into();
    spec["limits"] = json!({"maxRequestsInFlight": 1});
    spec["timeouts"] = json!({"request": "1s", "silence": "30s"});
    apply(&kubectl, &backend(&spec)).await;
    wait(&kubectl, "Available").await;
    stack.client.get(MACHINES).await.expect(200);

    // One request is in flight and gets no answer: the next is one too many, and the first ends when the Backend says.
    stack.relay.freeze();
    let begun = std::time::Instant::now();
    let (first, second) = tokio::join!(stack.client.get(MACHINES), stack.client.get(MACHINES));
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [429, 504]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "not after a minute");
    stack.relay.thaw();
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apiservice_may_name_a_backend_that_comes_later() {
    let (stack, spec) = unclaimed(None).await;
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.inventory.example.com", "annotations": {"kubridge.io/backend": "inventory"}},
        "spec": {"group": "inventory.example.com", "version": "v1", "groupPriorityMinimum": 7, "versionPriority": 7},
    });
    stack.client.post("/apis/apiregistration.k8s.io/v1/apiservices", &service).await.expect(201);
    stack
        .until(async |stack| stack.available("v1.inventory.example.com").await[1] == "BackendNotResolved")
        .await;
    let refused = stack.client.get(MACHINES).await.expect(503).json();
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("is a Backend that is not there or cannot be used"), "{message}");
    let mut spec = spec;
    spec["claims"] = json!([{"group": "mine.example.com", "version": "v1"}]);
    stack.client.post(BACKENDS, &backend(&spec)).await.expect(201);
    stack.until(|stack| stack.serves("/apis/inventory.example.com/v1")).await;
    stack.until(async |stack| stack.available("v1.inventory.example.com").await[0] == "True").await;
}
