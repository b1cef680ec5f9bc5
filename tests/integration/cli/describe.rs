//! `kubridge describe`: the same page of a backend and of the server that serves it.

use serde_json::{Value, json};

use super::{as_administrator, golden, kubridge};
use crate::support::{
    Ca, Options, Stack,
    extension::{Extension, Speaks},
    https,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_and_the_server_before_it_are_described_alike() {
    let stack = Stack::start().await;
    stack.until(|stack| async { stack.available("v1.inventory.example.com").await[1] == "Passed" }).await;
    let url = format!("grpc://{}", stack.relay.addr());
    let of_backend = kubridge(&["describe", "--backend", &url]).await.ok();
    golden("describe-inventory.txt", &of_backend);
    let (page, _) = of_backend.split_once("\nThe schema was read from ").unwrap();

    let server = as_administrator(&stack);
    let describe =
        async |more: &[&str]| kubridge(&[&["describe", &server[0], &server[1]], more].concat()).await;
    let of_server = describe(&["inventory.example.com/v1"]).await.ok();
    let said = format!(
        "\nAPIService v1.inventory.example.com: served by {url}.\nAvailable True (Passed): all checks passed\n\
         DiscoveryCurrent True (Live): what is served of it is what the backend says\n"
    );
    assert_eq!(of_server, format!("{page}{said}"));
    assert_eq!(describe(&["inventory.example.com"]).await.ok(), of_server, "all versions are this one");

    let facts: Value =
        serde_json::from_str(&describe(&["inventory.example.com", "-o", "json"]).await.ok()).unwrap();
    let of_backend = kubridge(&["describe", "--backend", &url, "--output=json"]).await.ok();
    assert_eq!(facts, serde_json::from_str::<Value>(&of_backend).unwrap());
    let resources = facts[0]["resources"].as_array().unwrap();
    let machines = resources.iter().find(|resource| resource["resource"] == "machines").unwrap();
    assert_eq!(machines["verbs"][0]["by"]["method"], "/inventory.v1.Machines/GetMachine");

    let own = describe(&["apiregistration.k8s.io/v1"]).await.ok();
    assert!(own.contains("apiservices: kind APIService; cluster-scoped"), "{own}");
    let complaint = describe(&["nobody.example.com"]).await.fails(1);
    assert!(complaint.contains("does not serve nobody.example.com; see kubectl api-versions"), "{complaint}");
    let complaint = describe(&["inventory.example.com/v2"]).await.fails(1);
    assert!(complaint.contains("does not serve inventory.example.com/v2"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_known_and_what_may_not_be_known_is_said() {
    let tokens = "t,alice,1,\"devs\"\n".to_owned();
    let stack = Stack::with(Options { tokens, ..Options::default() }).await;
    let server = as_administrator(&stack);
    let away = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.away.example.com", "annotations": {"kubridge.io/backend": "grpc://127.0.0.1:1"}},
        "spec": {"group": "away.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1},
    });
    stack.client.post("/apis/apiregistration.k8s.io/v1/apiservices", &away).await.expect(201);
    stack.until(|stack| async { stack.available("v1.away.example.com").await[0] == "False" }).await;
    let said = kubridge(&["describe", &server[0], &server[1], "away.example.com"]).await.ok();
    assert!(said.starts_with("away.example.com/v1\n\nWhat it serves is not known.\n"), "{said}");
    assert!(said.contains("Available False (FailedDiscoveryCheck): "), "{said}");

    let kubeconfig = std::fs::read_to_string(stack.kubeconfig()).unwrap();
    let (clusters, _) = kubeconfig.split_once("users:").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let alice = format!(
        "{clusters}users: [{{name: alice, user: {{token: t}}}}]\n\
         contexts: [{{name: alice, context: {{cluster: kubridge, user: alice}}}}]\ncurrent-context: alice\n"
    );
    std::fs::write(&file, alice).unwrap();
    let said =
        kubridge(&["describe", "--kubeconfig", file.to_str().unwrap(), "inventory.example.com"]).await.ok();
    assert!(said.contains("    create            served\n") && said.contains("  Fields\n"), "{said}");
    assert!(said.ends_with("is told to those who may get /kubridge/describe.\n"), "{said}");
    assert!(!said.contains("/inventory.v1.Machines/"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_extension_server_is_described_by_its_documents() {
    let ca = Ca::new("backends");
    let backend = Extension::echo(&ca, Speaks::http2()).await;
    let stack = https::stack(backend.addr, &ca).await;
    stack.until(|stack| async { stack.available("v1.echo.example.com").await[1] == "Passed" }).await;
    let server = as_administrator(&stack);
    let said = kubridge(&["describe", &server[0], &server[1], "echo.example.com"]).await.ok();
    golden("describe-echo.txt", &said);
}
