//! `kubridge register`: what it prints is a manifest, what it applies is served.

use serde_json::{Value, json};

use super::{as_administrator, kubridge};
use crate::support::{Options, Stack};

const NAME: &str = "apiservice.apiregistration.k8s.io/v1.inventory.example.com";
const PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.inventory.example.com";
const MACHINES: &str = "/apis/inventory.example.com/v1/machines";

/// A server that nobody has told of the backend, which is there.
async fn unclaimed() -> Stack {
    let stack = Stack::with(Options { backend_down: true, seed: true, ..Options::default() }).await;
    stack.relay.revive().await;
    stack
}

fn arguments<'a>(url: &'a str, server: &'a [String; 2], more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["register", "--backend", url, "--apply", &server[0], &server[1]];
    args.extend(more);
    args
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_served_to_kubectl() {
    let stack = unclaimed().await;
    let url = format!("grpc://{}", stack.relay.addr());
    let server = as_administrator(&stack);
    let apply = async |more: &[&str]| kubridge(&arguments(&url, &server, more)).await;

    assert_eq!(apply(&["--dry-run"]).await.ok(), format!("{NAME} created (server dry run)\n"));
    stack.client.get(PATH).await.expect(404);
    assert_eq!(apply(&[]).await.ok(), format!("{NAME} created\n"));
    assert_eq!(apply(&[]).await.ok(), format!("{NAME} unchanged\n"));
    let service = stack.client.get(PATH).await.expect(200).json();
    assert_eq!(service["metadata"]["annotations"], json!({"kubridge.io/backend": url}));
    assert_eq!(service["spec"]["versionPriority"], 100);

    let kubectl = stack.kubectl().await;
    let available =
        ["wait", "--for=condition=Available", "apiservice/v1.inventory.example.com", "--timeout=30s"];
    kubectl.run(&available).await.ok();
    let table = kubectl.run(&["get", "machines", "-A"]).await.ok();
    assert!(table.starts_with("NAMESPACE") && table.contains("SERIAL"), "{table}");

    let patch = r#"{"metadata":{"labels":{"team":"a"}},"spec":{"versionPriority":5}}"#;
    let patched = ["patch", "apiservice", "v1.inventory.example.com", "--type=merge", "-p", patch];
    kubectl.run(&patched).await.ok();
    assert_eq!(apply(&["--dry-run"]).await.ok(), format!("{NAME} configured (server dry run)\n"));
    assert_eq!(apply(&[]).await.ok(), format!("{NAME} configured\n"));
    let service = stack.client.get(PATH).await.expect(200).json();
    assert_eq!(service["spec"]["versionPriority"], 100);
    assert_eq!(service["metadata"]["labels"], json!({"team": "a"}), "what others wrote stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_can_be_applied_with_kubectl() {
    let stack = unclaimed().await;
    let url = format!("grpc://{}", stack.relay.addr());
    let manifest = kubridge(&["register", "--backend", &url]).await.ok();
    let kubectl = stack.kubectl().await;
    let said = kubectl.run_with(&["apply", "-f", "-"], &manifest, &[]).await.ok();
    assert_eq!(said, format!("{NAME} created\n"));
    stack.until(|stack| stack.serves(MACHINES)).await;
    let server = as_administrator(&stack);
    assert_eq!(kubridge(&arguments(&url, &server, &[])).await.ok(), format!("{NAME} unchanged\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_others_is_left_to_them() {
    let stack = unclaimed().await;
    let server = as_administrator(&stack);
    let theirs = format!("grpc://{}", stack.relay.addr());
    let ours = theirs.replace("127.0.0.1", "localhost");
    kubridge(&arguments(&theirs, &server, &[])).await.ok();
    let complaint = kubridge(&arguments(&ours, &server, &[])).await.fails(1);
    assert!(complaint.contains(&format!("it belongs to {theirs}: --force takes it over")), "{complaint}");
    assert_eq!(kubridge(&arguments(&ours, &server, &["--force"])).await.ok(), format!("{NAME} configured\n"));
    let service = stack.client.get(PATH).await.expect(200).json();
    assert_eq!(service["metadata"]["annotations"]["kubridge.io/backend"], ours);

    // What the server's own --backend keeps comes back anyway.
    let stack = Stack::start().await;
    let server = as_administrator(&stack);
    let kept = format!("grpc://{}", stack.relay.addr());
    assert_eq!(kubridge(&arguments(&kept, &server, &[])).await.ok(), format!("{NAME} unchanged\n"));
    let other = kept.replace("127.0.0.1", "localhost");
    let complaint = kubridge(&arguments(&other, &server, &["--force"])).await.fails(1);
    assert!(complaint.contains(&format!("--backend {kept} of the server keeps it")), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_write_in_between_is_no_obstacle() {
    let stack = unclaimed().await;
    let url = format!("grpc://{}", stack.relay.addr());
    let server = as_administrator(&stack);
    kubridge(&arguments(&url, &server, &[])).await.ok();
    // Four who want the same at once: each either changes it or finds it done.
    for round in 1..4 {
        let patch = json!({"spec": {"versionPriority": round}});
        stack.client.patch(PATH, "application/merge-patch+json", &patch).await.expect(200);
        let args = arguments(&url, &server, &[]);
        let all = futures::future::join_all((0..4).map(|_| kubridge(&args))).await;
        for output in all {
            let said = output.ok();
            assert!(
                said == format!("{NAME} configured\n") || said == format!("{NAME} unchanged\n"),
                "{said}"
            );
        }
        let service: Value = stack.client.get(PATH).await.expect(200).json();
        assert_eq!(service["spec"]["versionPriority"], 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do() {
    let tokens = "t,alice,1,\"devs\"\n".to_owned();
    let stack = Stack::with(Options { tokens, ..Options::default() }).await;
    let url = format!("grpc://{}", stack.relay.addr());
    let kubeconfig = std::fs::read_to_string(stack.kubeconfig()).unwrap();
    let (clusters, _) = kubeconfig.split_once("users:").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let alice = format!(
        "{clusters}users: [{{name: alice, user: {{token: t}}}}]\n\
         contexts: [{{name: alice, context: {{cluster: kubridge, user: alice}}}}]\n"
    );
    std::fs::write(&file, alice).unwrap();
    let file = file.display().to_string();
    let args = ["register", "--backend", &url, "--apply", "--kubeconfig", &file];
    let complaint = kubridge(&args).await.fails(2);
    assert!(complaint.contains("no current-context"), "{complaint}");
    let complaint = kubridge(&[&args[..], &["--context", "alice"]].concat()).await.fails(1);
    assert!(
        complaint.contains("403 Forbidden") && complaint.contains("\"alice\" cannot get resource"),
        "{complaint}"
    );

    let complaint = kubridge(&["register", "--backend", &url, "--dry-run"]).await.fails(2);
    assert!(complaint.contains("--apply"), "{complaint}");
    let complaint = kubridge(&["register", "--backend", "grpc://127.0.0.1:1"]).await.fails(1);
    assert!(complaint.contains("no schema from grpc://127.0.0.1:1"), "{complaint}");
    let absent = "/nonexistent/config";
    let complaint =
        kubridge(&["register", "--backend", &url, "--apply", "--kubeconfig", absent]).await.fails(2);
    assert!(complaint.contains(absent) && complaint.contains("name another"), "{complaint}");
}
