//! What kubectl does with APIServices.

use super::{furnished, rows};
use crate::support::{Kubectl, Options, Stack};

const CLASSIC: &str = r#"
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.classic.example.com}
spec:
  group: classic.example.com
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 15
  service: {namespace: nowhere, name: api}
"#;
const NAME: &str = "apiservice/v1.classic.example.com";
const INVENTORY: &str = "apiservice/v1.inventory.example.com";

/// A stack whose backend is there, and which nobody has claimed; and the manifest that claims it.
async fn unclaimed() -> (Stack, Kubectl, String) {
    let stack = Stack::with(Options { backend_down: true, ..Options::default() }).await;
    stack.relay.revive().await;
    let kubectl = stack.kubectl().await;
    let manifest = format!(
        "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\n\
         metadata:\n  name: v1.inventory.example.com\n  annotations: {{kubridge.io/backend: \"grpc://{}\"}}\n\
         spec: {{group: inventory.example.com, version: v1, groupPriorityMinimum: 1000, versionPriority: 15}}\n",
        stack.relay.addr()
    );
    (stack, kubectl, manifest)
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_get_apiservices_prints_kubernetes_columns() {
    let (stack, kubectl) = furnished().await;
    kubectl.run_with(&["apply", "-f", "-"], CLASSIC, &[]).await.ok();
    kubectl.run(&["wait", "--for=condition=Available=False", NAME, "--timeout=30s"]).await.ok();
    let table = kubectl.run(&["get", "apiservices"]).await.ok();
    let lines = rows(&table);
    assert_eq!(lines[0], ["NAME", "SERVICE", "AVAILABLE", "AGE"]);
    let line = |name: &str| {
        lines
            .iter()
            .find(|line| line[0] == name)
            .unwrap_or_else(|| panic!("{name} is not in {table}"))
            .clone()
    };
    assert_eq!(line("v1.apiregistration.k8s.io")[1..3], ["Local", "True"]);
    let url = format!("grpc://{}", stack.relay.addr());
    assert_eq!(line("v1.inventory.example.com")[1..3], [url.as_str(), "True"]);
    assert_eq!(line("v1.classic.example.com")[1..3], ["nowhere/api", "False"]);
    assert!(line("v1.classic.example.com")[3].starts_with('('), "{table}");
    let wide = kubectl.run(&["get", "apiservices", "-o", "wide"]).await.ok();
    assert_eq!(rows(&wide)[0], lines[0], "there are no wide columns");

    let resources = ["api-resources", "--categories=api-extensions", "-o", "name"];
    assert_eq!(
        kubectl.run(&resources).await.ok(),
        "apiservices.apiregistration.k8s.io\nbackends.kubridge.io\n"
    );
    let all = kubectl.run(&["get", "api-extensions", "-o", "name"]).await.ok();
    assert!(all.contains("apiservice.apiregistration.k8s.io/v1.classic.example.com\n"), "{all}");
    let described = kubectl.run(&["describe", NAME]).await.ok();
    assert!(described.contains("Reason:") && described.contains("Available"), "{described}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_wait_sees_a_backend_come_and_go() {
    let (stack, kubectl, manifest) = unclaimed().await;
    kubectl.run_with(&["apply", "-f", "-"], &manifest, &[]).await.ok();
    let available = ["wait", "--for=condition=Available", INVENTORY, "--timeout=30s"];
    let met = kubectl.run(&available).await.ok();
    assert_eq!(met, "apiservice.apiregistration.k8s.io/v1.inventory.example.com condition met\n");

    let gone = ["wait", "--for=condition=Available=False", INVENTORY, "--timeout=30s"];
    let (waited, ()) = tokio::join!(kubectl.run(&gone), stack.relay.kill());
    waited.ok();
    let row = kubectl.run(&["get", INVENTORY, "--no-headers"]).await.ok();
    assert!(row.contains("False (FailedDiscoveryCheck)"), "{row}");
    let soon = ["wait", "--for=condition=Available", INVENTORY, "--timeout=1s"];
    let complaint = kubectl.run(&soon).await.fails();
    assert!(complaint.contains("timed out waiting for the condition"), "{complaint}");

    let (waited, ()) = tokio::join!(kubectl.run(&available), stack.relay.revive());
    waited.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_get_watch_prints_each_change() {
    let (stack, kubectl, manifest) = unclaimed().await;
    kubectl.run_with(&["apply", "-f", "-"], &manifest, &[]).await.ok();
    kubectl.run(&["wait", "--for=condition=Available", INVENTORY, "--timeout=30s"]).await.ok();
    let mut watch = kubectl.start(&["get", INVENTORY, "-w", "--no-headers"]);
    let first = watch.line().await;
    assert!(first.contains(" True "), "{first}");
    stack.relay.kill().await;
    loop {
        let line = watch.line().await;
        if line.contains("False (FailedDiscoveryCheck)") {
            break;
        }
    }
    stack.relay.revive().await;
    while !watch.line().await.contains(" True ") {}
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_changes_an_apiservice_like_any_object() {
    let (_stack, kubectl) = furnished().await;
    let said = async |args: &[&str]| kubectl.run(args).await.ok();
    let applied = async |text: &str| kubectl.run_with(&["apply", "-f", "-"], text, &[]).await.ok();
    let full = "apiservice.apiregistration.k8s.io/v1.classic.example.com";
    assert_eq!(applied(CLASSIC).await, format!("{full} created\n"));
    assert_eq!(applied(CLASSIC).await, format!("{full} unchanged\n"));
    let changed = CLASSIC.replace("versionPriority: 15", "versionPriority: 16");
    assert_eq!(applied(&changed).await, format!("{full} configured\n"));
    let editor = [("KUBE_EDITOR", "sed -i s/versionPriority:.16/versionPriority:\\ 18/")];
    let edited = kubectl.run_with(&["edit", NAME], "", &editor).await.ok();
    assert_eq!(edited, format!("{full} edited\n"));
    let patch = r#"{"spec":{"groupPriorityMinimum":1100}}"#;
    assert_eq!(said(&["patch", NAME, "--type=merge", "-p", patch]).await, format!("{full} patched\n"));
    assert_eq!(said(&["label", NAME, "team=a"]).await, format!("{full} labeled\n"));
    assert_eq!(said(&["annotate", NAME, "note=b"]).await, format!("{full} annotated\n"));
    let path = "jsonpath={.spec.versionPriority}/{.spec.groupPriorityMinimum}/{.metadata.labels.team}/\
                {.metadata.annotations.note}/{.spec.service.port}";
    assert_eq!(said(&["get", NAME, "-o", path]).await, "18/1100/a/b/443");

    let bad = CLASSIC.replace("name: v1.classic", "name: v2.classic");
    let complaint = kubectl.run_with(&["apply", "-f", "-"], &bad, &[]).await.fails();
    assert!(
        complaint.contains(
            "metadata.name: Invalid value: \"v2.classic.example.com\": must be `spec.version+\".\"+spec.group`: \
             \"v1.classic.example.com\""
        ),
        "{complaint}"
    );
    let status =
        ["patch", NAME, "--subresource=status", "--type=merge", "-p", r#"{"spec":{"versionPriority":1}}"#];
    said(&status).await;
    assert_eq!(said(&["get", NAME, "-o", "jsonpath={.spec.versionPriority}"]).await, "18");
    assert_eq!(
        said(&["delete", NAME]).await,
        "apiservice.apiregistration.k8s.io \"v1.classic.example.com\" deleted\n"
    );
    assert!(kubectl.run(&["get", NAME]).await.fails().contains("NotFound"));
    assert_eq!(applied(CLASSIC).await, format!("{full} created\n"), "the name is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_registers_an_apiservice_like_any_object() {
    let (stack, kubectl) = furnished().await;
    let text = format!(
        r#"
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata:
  name: v1.unserved.example.com
  annotations: {{kubridge.io/backend: "grpc://{}"}}
spec: {{group: unserved.example.com, version: v1, groupPriorityMinimum: 1000, versionPriority: 15}}
"#,
        stack.backend_addr()
    );
    kubectl.run_with(&["apply", "-f", "-"], &text, &[]).await.ok();
    let wait =
        ["wait", "--for=condition=Available=False", "apiservice/v1.unserved.example.com", "--timeout=20s"];
    kubectl.run(&wait).await.ok();
    let message = kubectl
        .run(&[
            "get",
            "apiservice",
            "v1.unserved.example.com",
            "-o",
            "jsonpath={.status.conditions[0].message}",
        ])
        .await
        .ok();
    assert!(message.contains("unserved.example.com/v1"), "names what is missing: {message}");
    let wrong = text.replace("name: v1.unserved", "name: v2.unserved");
    let complaint = kubectl.run_with(&["apply", "-f", "-"], &wrong, &[]).await.fails();
    assert!(complaint.contains("metadata.name"), "{complaint}");
    kubectl.run(&["delete", "apiservice", "v1.unserved.example.com"]).await.ok();
}
