//! A real kube-apiserver behind Kubridge, which gets what nobody claims.

use std::{fs, time::Instant};

use serde_json::{Value, json};

use crate::support::{ControlPlane, Options, Stack, machine};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";

async fn delegated(plane: &ControlPlane, args: &[&str], tokens: &str) -> Stack {
    let mut all = vec![format!("--delegate-kubeconfig={}", plane.is.kubeconfig.display())];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    let stack = Stack::with(Options { args: all, tokens: tokens.to_owned(), ..Options::default() }).await;
    stack.until(|stack| async { has_group(stack, "apps").await }).await;
    stack
}

async fn groups(stack: &Stack) -> Vec<String> {
    let list = stack.client.get("/apis").await.expect(200).json();
    let names = list["groups"].as_array().cloned().unwrap_or_default();
    names.iter().filter_map(|group| group["name"].as_str().map(str::to_owned)).collect()
}

async fn has_group(stack: &Stack, group: &str) -> bool {
    groups(stack).await.iter().any(|name| name == group)
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_one_api_of_both() {
    let plane = ControlPlane::shared().await;
    let stack = delegated(plane, &[], "").await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    let kubectl = stack.kubectl().await;
    let resources = kubectl.run(&["api-resources", "--no-headers"]).await.ok();
    for resource in ["pods", "deployments", "machines", "flunders", "apiservices"] {
        assert!(
            resources.lines().any(|line| line.starts_with(&format!("{resource} "))),
            "{resource}: {resources}"
        );
    }
    assert_eq!(
        kubectl.run(&["get", "machines", "-o", "name"]).await.ok(),
        "machine.inventory.example.com/m1\n"
    );
    let namespaces = kubectl.run(&["get", "namespaces", "-o", "name"]).await.ok();
    assert!(namespaces.contains("namespace/kube-system\n"), "{namespaces}");

    kubectl.run(&["create", "namespace", "delegated"]).await.ok();
    kubectl.run(&["create", "configmap", "-n", "delegated", "c1", "--from-literal=a=b"]).await.ok();
    let patch = ["patch", "configmap", "-n", "delegated", "c1", "-p", r#"{"data":{"a":"c"}}"#];
    kubectl.run(&patch).await.ok();
    let value = ["get", "configmap", "-n", "delegated", "c1", "-o", "jsonpath={.data.a}"];
    assert_eq!(kubectl.run(&value).await.ok(), "c");
    for (kind, part) in [("deployment.spec.replicas", "Number of desired pods"), ("machine.spec", "FIELDS")] {
        // A kube-apiserver that has just started is ready before all of its documents are.
        stack.until(async |_| kubectl.run(&["explain", kind]).await.stdout.contains(part)).await;
    }
    // Also by a client that reads OpenAPI v2.
    let document = stack.client.get("/openapi/v2").await.expect(200).json();
    for path in ["/api/v1/namespaces/{namespace}/pods", "/apis/inventory.example.com/v1/machines"] {
        assert!(document["paths"].get(path).is_some(), "{path} is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_is_that_of_priorities() {
    let plane = ControlPlane::shared().await;
    let stack = delegated(plane, &[], "").await;
    let groups = groups(&stack).await;
    let place = |name: &str| groups.iter().position(|group| group == name).unwrap_or(usize::MAX);
    assert_eq!(place("apiregistration.k8s.io"), 0, "{groups:?}");
    assert!(place("apps") < place("batch"), "{groups:?}");
    assert!(place("batch") < place("inventory.example.com"), "{groups:?}");
    assert!(place("inventory.example.com") < usize::MAX, "{groups:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delegate_decides_for_the_caller_and_not_for_us() {
    let plane = ControlPlane::shared().await;
    let stack = delegated(plane, &["--authorization-mode=AlwaysAllow"], "secret,alice,u1,\"devs\"\n").await;
    let kubectl = stack.kubectl_with_token("secret").await;
    let refused = kubectl.run(&["get", "secrets", "-n", "kube-system"]).await.fails();
    assert!(refused.contains(r#"User "alice" cannot list resource "secrets""#), "{refused}");
    kubectl.run(&["get", "machines"]).await.ok();
    // A client cannot say who it is.
    let request = stack.client.request(http::Method::GET, "/api/v1/namespaces/kube-system/secrets");
    let spoofed = request.header("X-Remote-User", "alice").send().await.unwrap();
    assert_eq!(spoofed.status(), 200, "the administrator stays the administrator");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_proxy_is_believed_too() {
    let plane = ControlPlane::shared().await;
    let certificate = format!("--proxy-client-cert-file={}", plane.is.front_proxy.cert_file.display());
    let key = format!("--proxy-client-key-file={}", plane.is.front_proxy.key_file.display());
    let args = ["--delegate-identity=front-proxy", &certificate, &key];
    let stack = delegated(plane, &args, "").await;
    let secrets = stack.client.get("/api/v1/namespaces/kube-system/secrets").await.expect(200).json();
    assert_eq!(secrets["kind"], "SecretList");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_kind_of_the_delegate_is_there_soon_and_goes_again() {
    let plane = ControlPlane::shared().await;
    let stack = delegated(plane, &[], "").await;
    let kubectl = stack.kubectl().await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gears.delegated.example.com"},
        "spec": {
            "group": "delegated.example.com", "scope": "Namespaced",
            "names": {"plural": "gears", "singular": "gear", "kind": "Gear"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    kubectl.run_with(&["create", "-f", "-"], &definition.to_string(), &[]).await.ok();
    stack.until(|stack| async { has_group(stack, "delegated.example.com").await }).await;
    let gear = json!({"apiVersion": "delegated.example.com/v1", "kind": "Gear", "metadata": {"name": "g1"}});
    kubectl.run_with(&["create", "-f", "-"], &gear.to_string(), &[]).await.ok();
    kubectl.run(&["delete", "customresourcedefinition", "gears.delegated.example.com"]).await.ok();
    stack.until(|stack| async { !has_group(stack, "delegated.example.com").await }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_apiservice_means_the_delegate() {
    let plane = ControlPlane::shared().await;
    let stack = delegated(plane, &[], "").await;
    let local = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.batch"},
        "spec": {"group": "batch", "version": "v1", "groupPriorityMinimum": 1500, "versionPriority": 15},
    });
    stack.client.post("/apis/apiregistration.k8s.io/v1/apiservices", &local).await.expect(201);
    stack.until(|stack| stack.serves("/apis/batch/v1/namespaces/default/jobs")).await;
    let resources = stack.client.get("/apis/batch/v1").await.expect(200).json();
    assert!(resources["resources"].as_array().is_some_and(|all| all.iter().any(|r| r["name"] == "cronjobs")));
    let service = stack.client.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.batch").await.json();
    assert_eq!(service["status"]["conditions"][0]["reason"], "Local");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegate_that_stops_takes_nothing_with_it() {
    let plane = ControlPlane::start(&["--sample-apiservers=0"]).await;
    let mut stack = delegated(&plane, &[], "").await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    let before = groups(&stack).await;
    let discovered = |stack: &Stack| {
        let client = stack.client.clone();
        async move { client.get("/apis/apps/v1").await.expect(200).json() }
    };
    let deployments: Value = discovered(&stack).await;
    plane.is.kube_apiserver.signal("STOP");
    let begin = Instant::now();
    let answer = stack.client.get("/api/v1/namespaces").await;
    assert!(matches!(answer.status.as_u16(), 503 | 504), "{}", answer.text());
    assert_eq!(answer.json()["kind"], "Status");
    assert!(begin.elapsed().as_secs_f64() < 4.0, "{:?}", begin.elapsed());
    stack.client.get(MACHINES).await.expect(200);
    assert_eq!(groups(&stack).await, before);
    assert_eq!(discovered(&stack).await, deployments);
    // A restart knows what it knew.
    stack.restart(&[]).await;
    assert_eq!(groups(&stack).await, before);
    assert_eq!(discovered(&stack).await, deployments);
    plane.is.kube_apiserver.signal("CONT");
    stack.until(|stack| stack.serves("/api/v1/namespaces")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_cannot_be_used_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    fs::write(&file, "clusters: []\n").unwrap();
    let args = [
        "kubridge".to_owned(),
        "serve".into(),
        "--listen=127.0.0.1:0".into(),
        format!("--data-dir={}", dir.path().join("data").display()),
        format!("--delegate-kubeconfig={}", file.display()),
    ];
    let error = kubridge::cli::start(&args).await.map(drop).unwrap_err();
    assert!(format!("{error:#}").contains("use-context"), "{error:#}");
}
