//! The unchanged sample-apiserver behind Kubridge, used by the real kubectl.

use std::fs;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::support::{ControlPlane, Kubectl, Options, Stack};

/// A Kubridge with the APIServices of wardle.example.com, and a kubectl for its administrator.
async fn wardle() -> (Stack, Kubectl) {
    let plane = ControlPlane::shared().await;
    let sample = &plane.is.sample_apiservers[0];
    let stack = Stack::with(Options {
        args: vec![
            format!("--delegate-kubeconfig={}", plane.is.kubeconfig.display()),
            format!("--service-resolution=wardle/api={}", sample.address),
            format!("--proxy-client-cert-file={}", plane.is.front_proxy.cert_file.display()),
            format!("--proxy-client-key-file={}", plane.is.front_proxy.key_file.display()),
        ],
        ..Options::default()
    })
    .await;
    let kubectl = stack.kubectl().await;
    let ca_bundle = BASE64_STANDARD.encode(fs::read(&plane.is.sample_ca_file).unwrap());
    let services = ["v1alpha1", "v1beta1"].map(|version| {
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("{version}.wardle.example.com")},
            "spec": {
                "group": "wardle.example.com", "version": version, "caBundle": ca_bundle,
                "groupPriorityMinimum": 1000, "versionPriority": 15,
                "service": {"namespace": "wardle", "name": "api", "port": 443},
            },
        })
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": services}).to_string();
    kubectl.run_with(&["create", "-f", "-"], &list, &[]).await.ok();
    let wait = ["wait", "--for=condition=Available", "--timeout=30s", "apiservice"];
    let names = ["v1alpha1.wardle.example.com", "v1beta1.wardle.example.com"];
    kubectl.run(&[&wait[..], &names[..]].concat()).await.ok();
    (stack, kubectl)
}

fn flunder(namespace: &str, name: &str) -> String {
    json!({
        "apiVersion": "wardle.example.com/v1beta1", "kind": "Flunder",
        "metadata": {"name": name, "namespace": namespace, "labels": {"tier": "db"}},
        "spec": {"flunderReference": "other", "referenceType": "Flunder"},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_lists_wardle_among_the_resources() {
    let (_stack, kubectl) = wardle().await;
    let table = kubectl.run(&["api-resources", "--api-group=wardle.example.com", "--no-headers"]).await.ok();
    for resource in ["fischers", "flunders"] {
        assert!(table.lines().any(|line| line.starts_with(resource)), "{table}");
    }
    let versions = kubectl.run(&["api-versions"]).await.ok();
    for version in ["wardle.example.com/v1alpha1", "wardle.example.com/v1beta1"] {
        assert!(versions.lines().any(|line| line == version), "{versions}");
    }
}

// The data is shared: each test has a namespace of its own.

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_reads_changes_and_deletes_flunders() {
    let (_stack, kubectl) = wardle().await;
    kubectl.run(&["create", "namespace", "crud"]).await.ok();
    let created = kubectl.run_with(&["create", "-f", "-"], &flunder("crud", "one"), &[]).await.ok();
    assert_eq!(created, "flunder.wardle.example.com/one created\n");
    let again = kubectl.run_with(&["create", "-f", "-"], &flunder("crud", "one"), &[]).await.fails();
    assert!(again.contains(r#"flunders.wardle.example.com "one" already exists"#), "{again}");
    kubectl.run_with(&["create", "-f", "-"], &flunder("crud", "two"), &[]).await.ok();

    let listed = kubectl.run(&["get", "flunders", "-n", "crud", "-o", "name"]).await.ok();
    assert_eq!(listed, "flunder.wardle.example.com/one\nflunder.wardle.example.com/two\n");
    let labelled = kubectl.run(&["get", "flunders", "-n", "crud", "-l", "tier=web", "-o", "name"]).await.ok();
    assert_eq!(labelled, "");
    let table = kubectl.run(&["get", "flunders", "-n", "crud"]).await.ok();
    assert!(table.starts_with("NAME"), "{table}");

    let patch = r#"{"metadata": {"labels": {"tier": "web"}}, "spec": {"flunderReference": "third"}}"#;
    kubectl.run(&["patch", "flunder", "one", "-n", "crud", "--type=merge", "-p", patch]).await.ok();
    let read = [
        "get",
        "flunder",
        "one",
        "-n",
        "crud",
        "-o",
        "jsonpath={.spec.flunderReference} {.metadata.labels.tier}",
    ];
    assert_eq!(kubectl.run(&read).await.ok(), "third web");
    let old = [
        "get",
        "flunders.v1alpha1.wardle.example.com",
        "one",
        "-n",
        "crud",
        "-o",
        "jsonpath={.spec.reference}",
    ];
    assert_eq!(kubectl.run(&old).await.ok(), "third");

    let applied = kubectl
        .run_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &flunder("crud", "one"), &[])
        .await
        .ok();
    assert!(applied.contains("serverside-applied"), "{applied}");
    assert_eq!(kubectl.run(&read).await.ok(), "other db");

    kubectl.run(&["delete", "flunder", "one", "-n", "crud"]).await.ok();
    let gone = kubectl.run(&["get", "flunder", "one", "-n", "crud"]).await.fails();
    assert!(gone.contains(r#"flunders.wardle.example.com "one" not found"#), "{gone}");
    kubectl.run(&["delete", "flunders", "--all", "-n", "crud"]).await.ok();
    assert_eq!(kubectl.run(&["get", "flunders", "-n", "crud", "-o", "name"]).await.ok(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_watches_flunders() {
    let (_stack, kubectl) = wardle().await;
    kubectl.run(&["create", "namespace", "watched"]).await.ok();
    kubectl.run_with(&["create", "-f", "-"], &flunder("watched", "first"), &[]).await.ok();
    let mut watch =
        kubectl.start(&["get", "flunders", "-n", "watched", "-w", "--no-headers", "--output-watch-events"]);
    let mut event = async || watch.line().await.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    assert_eq!(event().await, "ADDED first");
    kubectl.run_with(&["create", "-f", "-"], &flunder("watched", "second"), &[]).await.ok();
    assert_eq!(event().await, "ADDED second");
    kubectl.run(&["label", "flunder", "first", "-n", "watched", "seen=yes"]).await.ok();
    assert_eq!(event().await, "MODIFIED first");
    kubectl.run(&["delete", "flunder", "second", "-n", "watched"]).await.ok();
    assert_eq!(event().await, "DELETED second");
    kubectl.run(&["delete", "flunder", "first", "-n", "watched"]).await.ok();
    assert_eq!(event().await, "DELETED first");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_flunders() {
    let (_stack, kubectl) = wardle().await;
    let explained =
        kubectl.run(&["explain", "flunders.spec", "--api-version=wardle.example.com/v1beta1"]).await.ok();
    for part in
        ["KIND:       Flunder", "GROUP:      wardle.example.com", "fischerReference", "mutually exclusive"]
    {
        assert!(explained.contains(part), "{part} is not in {explained}");
    }
    // And validates against the same documents.
    let wrong = flunder("explained", "wrong").replace("flunderReference", "flunderReverence");
    let refused = kubectl.run_with(&["create", "-f", "-"], &wrong, &[]).await.fails();
    assert!(refused.contains(r#"unknown field "spec.flunderReverence""#), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_what_the_backend_refuses_in_its_words() {
    let (_stack, kubectl) = wardle().await;
    let ban = json!({
        "apiVersion": "wardle.example.com/v1alpha1", "kind": "Fischer",
        "metadata": {"name": "strict"}, "disallowedFlunders": ["banned"],
    });
    kubectl.run_with(&["create", "-f", "-"], &ban.to_string(), &[]).await.ok();
    kubectl.run(&["create", "namespace", "refused"]).await.ok();
    let refused = kubectl.run_with(&["create", "-f", "-"], &flunder("refused", "banned"), &[]).await.fails();
    assert!(refused.contains("this name may not be used, please change the resource name"), "{refused}");
    kubectl.run(&["delete", "fischer", "strict"]).await.ok();
}
