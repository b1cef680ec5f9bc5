//! Mutual TLS with backends: who is let in, and what is said when a certificate does not fit.

use std::{
    fs,
    process::Output,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Ca, Options, Stack, machine};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
const APISERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// An inventory that speaks mutual TLS.
async fn inventory(tls: inventory::Tls) -> inventory::Running {
    inventory::Server::start(inventory::Options {
        listen: ([127, 0, 0, 1], 0).into(),
        tls: Some(tls),
        ..inventory::Options::default()
    })
    .await
    .unwrap()
}

fn api_service(group: &str, url: &str, ca_bundle: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1.{group}"), "annotations": {"kubridge.io/backend": url}},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
                 "caBundle": BASE64_STANDARD.encode(ca_bundle)},
    })
}

/// The condition `Available`, once it has this reason.
///
/// `part`: of its message. A backend may close the connection before its alert is read; the next attempt reads it.
async fn available(stack: &Stack, group: &str, reason: &str, part: &str) -> Value {
    let mut watch =
        stack.watch(&format!("{APISERVICES}?watch=1&fieldSelector=metadata.name=v1.{group}")).await;
    loop {
        let event = watch.next().await.unwrap();
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|c| {
            c["type"] == "Available"
                && c["reason"] == reason
                && c["message"].as_str().is_some_and(|message| message.contains(part))
        });
        if let Some(found) = found {
            return found;
        }
    }
}

/// A claimed path is 503, whatever is wrong behind it, and nothing else is touched.
async fn is_contained(stack: &Stack, group: &str, why: &str) {
    stack.client.get(&format!("/apis/{group}/v1")).await.expect(503);
    let resource = format!("/apis/{group}/v1/namespaces/default/machines");
    stack
        .until(async |stack| {
            let answer = stack.client.get(&resource).await.expect(503).json();
            answer["message"].as_str().unwrap().contains(why)
        })
        .await;
    stack.client.get(MACHINES).await.expect(200);
    stack.client.get("/apis").await.expect(200);
}

fn says(condition: &Value, parts: &[&str]) {
    assert_eq!(condition["status"], "False", "{condition}");
    let message = condition["message"].as_str().unwrap();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

async fn lint(url: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubridge"))
        .args(["lint", "--backend", url])
        .args(args)
        .output()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_lets_in_nobody_else_is_served_and_linted() {
    let files = TempDir::new().unwrap();
    let (ca, ca_file) = (Ca::new("backends"), files.path().join("ca.pem"));
    fs::write(&ca_file, ca.pem()).unwrap();
    let stack = Stack::with(Options { tls: Some(ca), ..Options::default() }).await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    assert_eq!(
        stack.client.get(&format!("{MACHINES}/m1")).await.expect(200).json()["metadata"]["name"],
        "m1"
    );
    let condition = available(&stack, "inventory.example.com", "Passed", "").await;
    assert_eq!(condition["status"], "True", "{condition}");
    // The next connection is let in too.
    stack.relay.cut();
    let begin = Instant::now();
    while stack.client.get(MACHINES).await.status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(5), "it does not recover");
    }

    let url = format!("grpcs://{}", stack.backend_addr());
    let ca_file = format!("--backend-ca-file={}", ca_file.display());
    let stranger = lint(&url, &[&ca_file]).await;
    let said = String::from_utf8_lossy(&stranger.stderr);
    assert_eq!(stranger.status.code(), Some(1), "{said}");
    assert!(said.contains("refuses our client certificate") && said.contains("pki/ca.crt"), "{said}");
    let ours = stack.data("pki/backend-client.pem").display().to_string();
    let identity = ["cert", "key"].map(|what| format!("--backend-client-{what}-file={ours}"));
    let known = lint(&url, &[&ca_file, &identity[0], &identity[1]]).await;
    let said = String::from_utf8_lossy(&known.stdout);
    assert_eq!(known.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&known.stderr));
    assert!(said.contains("machines"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ca_is_named_and_harms_nobody_and_the_right_one_mends_it() {
    let stack = Stack::start().await;
    let (right, wrong) = (Ca::new("right"), Ca::new("wrong"));
    let backend = inventory(right.backend(&fs::read_to_string(stack.data("pki/ca.crt")).unwrap())).await;
    let (group, url) = ("other.example.com", format!("grpcs://{}", backend.addr));
    let service = api_service(group, &url, &wrong.pem());
    stack.client.post(APISERVICES, &service).await.expect(201);
    let condition = available(&stack, group, "FailedDiscoveryCheck", "").await;
    says(
        &condition,
        &["its certificate is not signed by the CA", "PEM bundle", "spec.caBundle", "kubridge.io/backend-ca"],
    );
    is_contained(&stack, group, "a certificate is not accepted").await;

    let path = format!("{APISERVICES}/v1.{group}");
    let ca = json!({"spec": {"caBundle": BASE64_STANDARD.encode(right.pem())}});
    stack.client.patch(&path, "application/merge-patch+json", &ca).await.expect(200);
    // Its schema is read now. (It declares the usual group, which another APIService has.)
    let condition = available(&stack, group, "GroupVersionNotDeclared", "").await;
    says(&condition, &["it declares inventory.example.com/v1"]);
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_none_is_named_with_its_mend() {
    let stack = Stack::start().await;
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (group, bundle, why) in [
        ("text.example.com", "garbage", "it has no BEGIN CERTIFICATE block"),
        ("half.example.com", "-----BEGIN CERTIFICATE-----\nAAAA", "its certificate 1"),
        ("empty.example.com", broken, "its certificate 1"),
        ("none.example.com", "", "there is no CA to check its certificate with"),
    ] {
        stack.client.post(APISERVICES, &api_service(group, "grpcs://localhost:1", bundle)).await.expect(201);
        let condition = available(&stack, group, "InvalidCABundle", "").await;
        says(&condition, &[why, "PEM", "kubridge.io/backend-ca", "spec.caBundle"]);
        is_contained(&stack, group, "an address or a CA that cannot be used").await;
    }
    let plain = api_service("plain.example.com", "grpc://localhost:1", &Ca::new("any").pem());
    stack.client.post(APISERVICES, &plain).await.expect(201);
    says(
        &available(&stack, "plain.example.com", "InvalidBackend", "").await,
        &["plain text", "write grpcs://"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_refuses_us_is_named_and_a_given_certificate_is_shown() {
    let files = TempDir::new().unwrap();
    let (ca, clients) = (Ca::new("backends"), Ca::new("clients"));
    let backend = inventory(ca.backend(&clients.pem())).await;
    let (group, url) = ("other.example.com", format!("grpcs://{}", backend.addr));
    let service = api_service(group, &url, &ca.pem());

    let stack = Stack::start().await;
    stack.client.post(APISERVICES, &service).await.expect(201);
    let condition = available(&stack, group, "FailedDiscoveryCheck", "refuses our client certificate").await;
    says(&condition, &["refuses our client certificate", "pki/ca.crt", "--backend-client-cert-file"]);
    is_contained(&stack, group, "a certificate is not accepted").await;

    let (certificate, key) = clients.client();
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        format!("--backend-client-{name}-file={}", path.display())
    };
    let args = vec![file("cert", &certificate), file("key", &key)];
    let stack = Stack::with(Options { args, ..Options::default() }).await;
    assert!(!stack.data("pki/backend-client.pem").exists());
    stack.client.post(APISERVICES, &service).await.expect(201);
    available(&stack, group, "GroupVersionNotDeclared", "").await;
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_that_holds_none_ends_the_start() {
    let files = TempDir::new().unwrap();
    let file = files.path().join("ca.pem");
    fs::write(&file, "garbage").unwrap();
    let args = [
        "kubridge".to_owned(),
        "serve".into(),
        "--listen=127.0.0.1:0".into(),
        "--backend=grpcs://localhost:1".into(),
        format!("--data-dir={}", files.path().join("data").display()),
        format!("--backend-ca-file={}", file.display()),
    ];
    let error = format!("{:#}", kubridge::cli::start(&args).await.unwrap_err());
    assert!(error.contains("--backend-ca-file") && error.contains("ca.pem"), "{error}");
    assert!(error.contains("no BEGIN CERTIFICATE") && error.contains("PEM"), "{error}");
}
