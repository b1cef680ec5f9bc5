//! APIServices as objects, by the rules of Kubernetes' own strategy.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::MACHINES;
use crate::support::{Options, Stack, machine};

const APISERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const INVENTORY: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.inventory.example.com";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// One whose backend is behind a Service that nobody finds.
fn classic(group: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1.{group}")},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
                 "service": {"namespace": "nowhere", "name": "api"}},
    })
}

/// One that claims the inventory's group and version for a gRPC backend.
fn inventory(url: &str) -> Value {
    let mut service = classic("inventory.example.com");
    service["metadata"]["annotations"] = json!({"kubridge.io/backend": url});
    service["spec"].as_object_mut().unwrap().remove("service");
    service
}

/// Field and message of each cause.
fn causes(answer: &Value) -> Vec<(String, String)> {
    let causes = answer["details"]["causes"].as_array().cloned().unwrap_or_default();
    let text = |cause: &Value, field: &str| cause[field].as_str().unwrap().to_owned();
    causes.iter().map(|cause| (text(cause, "field"), text(cause, "message"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_may_not_write_is_wiped_or_kept() {
    let stack = Stack::start().await;
    let mut service = classic("classic.example.com");
    let forged = json!([{"type": "Mine", "status": "True", "reason": "Forged"}]);
    service["status"] = json!({"conditions": forged});
    let made = stack.client.post(APISERVICES, &service).await.expect(201).json();
    assert!(made.get("status").is_none(), "a new object has no status: {made}");
    assert_eq!(made["spec"]["service"]["port"], 443, "the default");

    let path = format!("{APISERVICES}/v1.classic.example.com");
    // The condition that says what became of it; from then on nobody else writes.
    stack.until(async |stack| stack.available("v1.classic.example.com").await[0] == "False").await;
    let mut service = stack.client.get(&path).await.expect(200).json();
    service["status"]["conditions"].as_array_mut().unwrap().extend(forged.as_array().unwrap().clone());
    service["spec"]["versionPriority"] = json!(16);
    let updated = stack.client.put(&path, &service).await.expect(200).json();
    assert_eq!(updated["spec"]["versionPriority"], 16);
    let types = |service: &Value| {
        let conditions = service["status"]["conditions"].as_array().unwrap().clone();
        conditions.iter().map(|c| c["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!types(&updated).contains(&"Mine".to_owned()), "an update keeps the status: {updated}");

    let mut service = updated;
    service["status"]["conditions"].as_array_mut().unwrap().extend(forged.as_array().unwrap().clone());
    service["spec"]["versionPriority"] = json!(17);
    service["metadata"]["labels"] = json!({"new": "label"});
    service["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let updated = stack.client.put(&format!("{path}/status"), &service).await.expect(200).json();
    assert!(types(&updated).contains(&"Mine".to_owned()), "{updated}");
    assert_eq!(updated["spec"]["versionPriority"], 16, "an update of the status keeps the rest");
    assert!(updated["metadata"].get("labels").is_none(), "{updated}");
    assert!(updated["metadata"].get("finalizers").is_none(), "{updated}");

    let bad = json!([{"op": "replace", "path": "/status/conditions/0/status", "value": "Maybe"}]);
    let refused = stack.client.patch(&format!("{path}/status"), JSON_PATCH, &bad).await.expect(422).json();
    let [(field, message)] = &causes(&refused)[..] else { panic!("{refused}") };
    assert_eq!(field, "status.conditions[0].status");
    assert_eq!(message, "Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \"Unknown\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_names_the_version_and_creates_nothing() {
    let stack = Stack::start().await;
    let service = classic("classic.example.com");
    let path = format!("{APISERVICES}/v1.classic.example.com");
    stack.client.put(&path, &service).await.expect(404);
    stack.client.post(APISERVICES, &service).await.expect(201);
    let refused = stack.client.put(&path, &service).await.expect(422).json();
    assert_eq!(
        causes(&refused),
        [("metadata.resourceVersion".into(), "Invalid value: 0: must be specified for an update".into())]
    );
    assert_eq!(
        refused["message"],
        "apiservices.apiregistration.k8s.io \"v1.classic.example.com\" is invalid: metadata.resourceVersion: Invalid \
         value: 0: must be specified for an update"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_kubernetes_words_all_at_once() {
    let stack = Stack::start().await;
    let mut service = classic("classic.example.com");
    service["metadata"]["annotations"] = json!({"kubridge.io/protocol": "http"});
    service["spec"]["version"] = json!("V1");
    service["spec"]["versionPriority"] = json!(0);
    service["spec"]["groupPriorityMinimum"] = json!(20_001);
    service["spec"]["insecureSkipTLSVerify"] = json!(true);
    service["spec"]["caBundle"] = json!("QUJD");
    service["spec"]["service"] = json!({"port": 0});
    let refused = stack.client.post(APISERVICES, &service).await.expect(422).json();
    let causes = causes(&refused);
    let found = |field: &str| {
        causes.iter().find(|(at, _)| at == field).map(|(_, message)| message.as_str()).unwrap_or_default()
    };
    for (field, message) in [
        (
            "metadata.name",
            "Invalid value: \"v1.classic.example.com\": must be `spec.version+\".\"+spec.group`: \"V1.classic.example.com\"",
        ),
        ("spec.groupPriorityMinimum", "Invalid value: 20001: must be positive and less than 20000"),
        ("spec.versionPriority", "Invalid value: 0: must be positive and less than 1000"),
        ("spec.service.namespace", "Required value"),
        ("spec.service.name", "Required value"),
        ("spec.service.port", "Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive"),
        ("spec.insecureSkipTLSVerify", "Invalid value: true: may not be true if caBundle is present"),
        (
            "metadata.annotations[kubridge.io/protocol]",
            "Unsupported value: \"http\": supported values: \"grpc\", \"grpcs\", \"https\"",
        ),
    ] {
        assert_eq!(found(field), message, "{field}");
    }
    assert!(found("spec.version").starts_with("Invalid value: \"V1\": a DNS-1035 label must consist of"));
    assert_eq!(causes.len(), 9, "{causes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_kubernetes_columns() {
    let stack = Stack::start().await;
    stack.client.post(APISERVICES, &classic("classic.example.com")).await.expect(201);
    stack.until(async |stack| stack.available("v1.classic.example.com").await[0] == "False").await;
    let table = stack.client.get_as(APISERVICES, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let table = table.expect(200).json();
    let columns: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            let text = |field: &str| c[field].as_str().unwrap().to_owned();
            (text("name"), text("type"), text("format"), c["priority"].as_i64().unwrap())
        })
        .collect();
    let column =
        |name: &str, r#type: &str, format: &str| (name.to_owned(), r#type.to_owned(), format.to_owned(), 0);
    assert_eq!(
        columns,
        [
            column("Name", "string", "name"),
            column("Service", "string", ""),
            column("Available", "string", ""),
            // Clients tell the age from the time, which a stored answer does not falsify.
            column("Age", "date", ""),
        ]
    );
    let cells = |name: &str| {
        let rows = table["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["cells"][0] == name).unwrap_or_else(|| panic!("{table}"));
        [&row["cells"][1], &row["cells"][2]].map(|cell| cell.as_str().unwrap().to_owned())
    };
    assert_eq!(cells("v1.apiregistration.k8s.io"), ["Local", "True"]);
    let [service, available] = cells("v1.classic.example.com");
    assert_eq!(service, "nowhere/api");
    assert!(available.starts_with("False (") && available.ends_with(')'), "{available}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_becomes_of_an_apiservice() {
    let stack = Stack::start().await;
    let version = stack.client.get(APISERVICES).await.json()["metadata"]["resourceVersion"].clone();
    let query = format!(
        "watch=1&resourceVersion={}&fieldSelector=metadata.name=v1.classic.example.com",
        version.as_str().unwrap()
    );
    let mut watch = stack.watch(&format!("{APISERVICES}?{query}")).await;
    stack.client.post(APISERVICES, &classic("classic.example.com")).await.expect(201);
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "ADDED");
    assert!(event["object"].get("status").is_none(), "nothing is known yet: {event}");
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "MODIFIED");
    let condition = &event["object"]["status"]["conditions"][0];
    assert_eq!(condition["type"], "Available");
    assert!(condition["lastTransitionTime"].as_str().unwrap().ends_with('Z'), "{condition}");
    stack.client.delete(&format!("{APISERVICES}/v1.classic.example.com")).await.expect(200);
    loop {
        let event = watch.next().await.unwrap();
        if event["type"] == "DELETED" {
            break;
        }
        assert_eq!(event["type"], "MODIFIED", "the condition became more certain");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_the_routes_ends_watches_and_lets_requests_finish() {
    // Not given as --backend: nobody claims it again.
    let stack = Stack::with(Options { backend_down: true, ..Options::default() }).await;
    stack.relay.revive().await;
    let service = inventory(&format!("grpc://{}", stack.relay.addr()));
    stack.client.post(APISERVICES, &service).await.expect(201);
    stack.until(|stack| stack.serves(MACHINES)).await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1&resourceVersion=0")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["metadata"]["name"], "m1");

    // Under way when the APIService goes: it is at the backend, and the answer is held back.
    stack.relay.mute();
    let (client, path) = (stack.client.clone(), format!("{MACHINES}/m1"));
    let under_way = tokio::spawn(async move { client.get(&path).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    stack.client.delete(INVENTORY).await.expect(200);
    while watch.next().await.is_some() {}
    stack.client.get(MACHINES).await.expect(404);
    stack.until(async |stack| stack.client.get("/apis/inventory.example.com/v1").await.status == 404).await;
    stack.relay.thaw();
    assert_eq!(under_way.await.unwrap().expect(200).json()["metadata"]["name"], "m1");

    stack.client.post(APISERVICES, &service).await.expect(201);
    stack.until(|stack| stack.serves(MACHINES)).await;
    let mut watch = stack.watch(&format!("{MACHINES}?watch=1&resourceVersion=0")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["metadata"]["name"], "m1", "it is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_holds_an_apiservice_and_what_it_claims() {
    let stack = Stack::with(Options { backend_down: true, ..Options::default() }).await;
    stack.relay.revive().await;
    let mut service = inventory(&format!("grpc://{}", stack.relay.addr()));
    service["metadata"]["finalizers"] = json!(["example.com/hold"]);
    stack.client.post(APISERVICES, &service).await.expect(201);
    stack.until(|stack| stack.serves(MACHINES)).await;
    let going = stack.client.delete(INVENTORY).await.expect(200).json();
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    stack.client.get(MACHINES).await.expect(200);
    let free = json!({"metadata": {"finalizers": null}});
    stack.client.patch(INVENTORY, MERGE_PATCH, &free).await.expect(200);
    stack.client.get(INVENTORY).await.expect(404);
    stack.until(async |stack| stack.client.get(MACHINES).await.status == 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kube_apiserver_manages_is_taken_as_it_is() {
    let stack = Stack::start().await;
    // As `kubectl get apiservice -o yaml` of a cluster prints them: of a built-in group, and of a CustomResourceDefinition.
    for (name, managed) in [("v1.apps", "onstart"), ("v1.widgets.example.com", "true")] {
        let (version, group) = name.split_once('.').unwrap();
        let service = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": name, "labels": {"kube-aggregator.kubernetes.io/automanaged": managed}},
            "spec": {"group": group, "version": version, "groupPriorityMinimum": 1000, "versionPriority": 100},
        });
        let made = stack.client.post(APISERVICES, &service).await.expect(201).json();
        let condition = &made["status"]["conditions"][0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("True"), &json!("Local")),
            "at once"
        );
        let changed = json!({"spec": {"versionPriority": 7}});
        let path = format!("{APISERVICES}/{name}");
        let changed = stack.client.patch(&path, MERGE_PATCH, &changed).await.expect(200).json();
        assert_eq!(changed["spec"]["versionPriority"], 7, "nobody sets it back");
    }
    // A watch of one: deleting a collection of them leaves the others, and what is built in comes back.
    let selected = format!("{APISERVICES}?labelSelector=kube-aggregator.kubernetes.io/automanaged");
    let gone = stack.client.request(Method::DELETE, &selected);
    assert!(stack.client.send(gone).await.status.is_success());
    stack.client.get(&format!("{APISERVICES}/v1.apps")).await.expect(404);
    stack.client.get(INVENTORY).await.expect(200);
    stack
        .until(|stack| stack.serves("/apis/apiregistration.k8s.io/v1/apiservices/v1.apiregistration.k8s.io"))
        .await;
}
