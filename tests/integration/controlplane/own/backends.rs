//! Backends in a cluster: what is made of them there, what they may refer to, and what is left alone.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::{
    Ca, Kubectl,
    cluster::{API_SERVICE, Cluster, MANIFESTS},
};

const MACHINE: &str = r#"{"apiVersion":"inventory.example.com/v1","kind":"Machine","metadata":{"name":"osprey"},
    "spec":{"serial":"SN-1"}}"#;

fn backend(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "kubridge.io/v1alpha1", "kind": "Backend", "metadata": {"name": "inventory"}, "spec": spec,
    });
    if object["spec"]["claims"].is_null() {
        object["spec"]["claims"] = json!([{"group": "inventory.example.com", "version": "v1"}]);
    }
    object
}

async fn json(kubectl: &Kubectl, args: &[&str]) -> Value {
    let text = kubectl.run(&[args, &["-o", "json"]].concat()).await.ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

async fn wait(kubectl: &Kubectl, what: &str, condition: &str) {
    let condition = format!("--for=condition={condition}");
    let waited = kubectl.run(&["wait", &condition, what, "--timeout=50s"]).await;
    if waited.code != 0 {
        panic!("{}\n{}", waited.stderr, kubectl.run(&["get", what, "-o", "yaml"]).await.stdout);
    }
}

/// A condition of the Backend: status, reason, message.
async fn condition(kubectl: &Kubectl, of: &str) -> [String; 3] {
    let backend = json(kubectl, &["get", "backend", "inventory"]).await;
    let conditions = backend["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == of).unwrap_or_default();
    ["status", "reason", "message"].map(|field| found[field].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_all_that_a_team_writes() {
    let mut cluster = Cluster::without_kubridge().await;
    cluster.start_registrar(&[]).await;
    let port = cluster.inventory_address().port();
    let spec = json!({"service": {"namespace": "default", "name": "inventory", "port": port}});
    cluster.apply(&backend(&spec)).await;
    let kubectl = &cluster.kubectl;
    wait(kubectl, "backend/inventory", "Available").await;
    cluster.available().await;
    kubectl.run_with(&["create", "-n", "default", "-f", "-"], MACHINE, &[]).await.ok();
    kubectl.run(&["get", "machine", "osprey", "-n", "default"]).await.ok();
    let table = kubectl.run(&["get", "backends", "--no-headers"]).await.ok();
    let cells: Vec<&str> = table.split_whitespace().collect();
    let endpoint = format!("grpc://inventory.default.svc:{port}");
    assert_eq!(cells[..4], ["inventory", endpoint.as_str(), "True", "AllAvailable"]);

    let service = json(kubectl, &["get", "apiservice", API_SERVICE]).await;
    let secret = json(kubectl, &["get", "secret", "kubridge-ca", "-n", "kubridge-system"]).await;
    assert_eq!(service["spec"]["caBundle"], secret["data"]["ca.crt"]);
    let object = json(kubectl, &["get", "backend", "inventory"]).await;
    assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], object["metadata"]["uid"]);
    assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
    let [status, reason, message] = condition(kubectl, "AdmissionWebhooks").await;
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NotRun"), "{message}");

    // Whoever changes what was made finds it put right.
    let patch = r#"{"spec":{"groupPriorityMinimum":3}}"#;
    kubectl.run(&["patch", "apiservice", API_SERVICE, "--type=merge", "-p", patch]).await.ok();
    let back = "--for=jsonpath={.spec.groupPriorityMinimum}=1000";
    kubectl.run(&["wait", back, "apiservice", API_SERVICE, "--timeout=20s"]).await.ok();
    kubectl.run(&["delete", "apiservice", API_SERVICE]).await.ok();
    kubectl.run(&["wait", "--for=create", "apiservice", API_SERVICE, "--timeout=20s"]).await.ok();
    cluster.available().await;

    // The backend goes away: that is said, and what it serves stays known.
    let address = cluster.inventory_address();
    cluster.stop_inventory().await;
    wait(&cluster.kubectl, "backend/inventory", "Available=False").await;
    assert_eq!(condition(&cluster.kubectl, "Connected").await[0], "False");
    assert_eq!(condition(&cluster.kubectl, "SchemaAccepted").await[0], "True");
    cluster.start_inventory(address).await;
    wait(&cluster.kubectl, "backend/inventory", "Available").await;

    let kubectl = &cluster.kubectl;
    kubectl.run(&["delete", "machine", "osprey", "-n", "default"]).await.ok();
    kubectl.run(&["delete", "backend", "inventory", "--timeout=20s"]).await.ok();
    let gone = kubectl.run(&["get", "apiservice", API_SERVICE]).await.fails();
    assert!(gone.contains("NotFound"), "{gone}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_config_maps_are_read_one_by_one() {
    let mut cluster = Cluster::without_kubridge().await;
    let (servers, clients) = (Ca::new("servers"), Ca::new("clients"));
    let inventory = inventory::Server::start(inventory::Options {
        listen: ([127, 0, 0, 1], 0).into(),
        // It lets in who has a certificate of its own CA, which Kubridge's own is not.
        tls: Some(servers.backend(&clients.pem())),
        ..inventory::Options::default()
    })
    .await
    .unwrap();
    cluster.start_registrar(&[]).await;
    let spec = json!({
        "endpoint": format!("grpcs://{}", inventory.addr),
        "tls": {
            "caBundleFrom": {"configMap": {"namespace": "default", "name": "inventory-ca"}},
            "clientCertificate": {"namespace": "default", "name": "inventory-client"},
        },
    });
    cluster.apply(&backend(&spec)).await;
    let kubectl = &cluster.kubectl;
    wait(kubectl, "backend/inventory", "Available=False").await;
    let [_, reason, message] = condition(kubectl, "Available").await;
    assert_eq!(reason, "ReferenceNotUsable");
    assert!(message.contains("list and watch configmaps with the resourceName inventory-ca"), "{message}");

    // The mends that the condition names, one after the other.
    let config_map = |pem: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "inventory-ca"},
            "data": {"ca.crt": pem},
        })
    };
    let (certificate, key) = clients.client();
    let rule = |resource: &str, name: &str| json!({"apiGroups": [""], "resources": [resource], "resourceNames": [name], "verbs": ["list", "watch"]});
    for object in [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"namespace": "default", "name": "kubridge-inventory"},
            "rules": [rule("configmaps", "inventory-ca"), rule("secrets", "inventory-client")],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"namespace": "default", "name": "kubridge-inventory"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "kubridge-inventory"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "kubridge-system", "name": "kubridge"}],
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"namespace": "default", "name": "inventory-client"},
            "data": {"tls.crt": BASE64_STANDARD.encode(certificate), "tls.key": BASE64_STANDARD.encode(key)},
        }),
        config_map(&servers.pem()),
    ] {
        cluster.apply(&object).await;
    }
    wait(kubectl, "backend/inventory", "Available").await;
    cluster.available().await;
    kubectl.run(&["get", "machines", "-n", "default"]).await.ok();

    // What they hold is followed, and one that is gone is missed.
    cluster.apply(&config_map(&Ca::new("others").pem())).await;
    wait(kubectl, "backend/inventory", "Connected=False").await;
    cluster.apply(&config_map(&servers.pem())).await;
    wait(kubectl, "backend/inventory", "Available").await;
    kubectl.run(&["delete", "secret", "inventory-client", "-n", "default"]).await.ok();
    wait(kubectl, "backend/inventory", "Available=False").await;
    let [_, _, message] = condition(kubectl, "Available").await;
    assert_eq!(message, "the Secret default/inventory-client does not exist: create it, or name another");
    for object in ["configmap/inventory-ca", "role/kubridge-inventory", "rolebinding/kubridge-inventory"] {
        kubectl.run(&["delete", object, "-n", "default"]).await.ok();
    }
    inventory.stop().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_serves_is_left_alone() {
    let mut cluster = Cluster::without_kubridge().await;
    let kubectl = &cluster.kubectl;
    // A custom resource's group has an APIService that kube-apiserver made.
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "parcels.freight.example.com"},
        "spec": {
            "group": "freight.example.com", "scope": "Namespaced",
            "names": {"kind": "Parcel", "plural": "parcels"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                          "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    cluster.apply(&definition).await;
    kubectl.run(&["wait", "--for=create", "apiservice/v1.freight.example.com", "--timeout=30s"]).await.ok();
    cluster.start_registrar(&[]).await;
    let endpoint = format!("grpc://{}", cluster.inventory_address());
    let claims = ["freight.example.com", "batch", "metrics.k8s.io"]
        .map(|group| json!({"group": group, "version": "v1"}));
    cluster.apply(&backend(&json!({"endpoint": endpoint, "claims": claims[..1]}))).await;
    let kubectl = &cluster.kubectl;
    wait(kubectl, "backend/inventory", "ClaimsAccepted=False").await;
    let [_, _, message] = condition(kubectl, "ClaimsAccepted").await;
    assert!(message.starts_with("v1.freight.example.com: there is an APIService of this name"), "{message}");
    let theirs = json(kubectl, &["get", "apiservice", "v1.freight.example.com"]).await;
    assert!(theirs["spec"]["service"].is_null(), "{theirs}");

    cluster.apply(&backend(&json!({"endpoint": endpoint, "claims": claims[2..]}))).await;
    let metrics = "--for=jsonpath={.status.conditions[?(@.type==\"ClaimsAccepted\")].observedGeneration}=2";
    kubectl.run(&["wait", metrics, "backend/inventory", "--timeout=20s"]).await.ok();
    let [_, _, message] = condition(kubectl, "ClaimsAccepted").await;
    assert!(message.contains("--allow-k8s-io-claims"), "{message}");

    // What the definition cannot say of a spec, a condition does.
    cluster.apply(&backend(&json!({"endpoint": endpoint, "claims": claims[1..2]}))).await;
    let invalid = "--for=jsonpath={.status.conditions[?(@.type==\"Available\")].reason}=InvalidSpec";
    kubectl.run(&["wait", invalid, "backend/inventory", "--timeout=20s"]).await.ok();
    let nowhere = backend(&json!({"claims": claims[..1]})).to_string();
    let refused = kubectl.run_with(&["apply", "-f", "-"], &nowhere, &[]).await.fails();
    assert!(refused.contains("exactly one of endpoint and service says where the backend is"), "{refused}");
    kubectl.run(&["delete", "backend", "inventory", "--timeout=20s"]).await.ok();
    kubectl.run(&["get", "apiservice", "v1.freight.example.com"]).await.ok();
    kubectl.run(&["delete", "crd", "parcels.freight.example.com"]).await.ok();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_goes_only_when_it_is_certain_that_its_backend_has_gone() {
    let mut cluster = Cluster::without_kubridge().await;
    let address = cluster.start_registrar(&[]).await;
    let spec = json!({"endpoint": format!("grpc://{}", cluster.inventory_address())});
    cluster.apply(&backend(&spec)).await;
    wait(&cluster.kubectl, "backend/inventory", "Available").await;
    cluster.available().await;

    // Nobody looks, and the Backend goes without what was made for it; then so does the definition of Backends.
    cluster.stop_kubridge(0).await;
    let kubectl = &cluster.kubectl;
    let freed = r#"{"metadata":{"finalizers":null}}"#;
    kubectl.run(&["patch", "backend", "inventory", "--type=merge", "-p", freed]).await.ok();
    kubectl.run(&["delete", "backend", "inventory", "--timeout=20s"]).await.ok();
    let definition = "customresourcedefinition/backends.kubridge.io";
    kubectl.run(&["delete", definition, "--timeout=20s"]).await.ok();

    // Kubridge serves what there is. Which Backends there are it cannot know: what was made for one stays.
    cluster.start_registrar_at(address, &[]).await;
    let kubectl = &cluster.kubectl;
    let unresolved = ["get", "--raw", "/apis/inventory.example.com/v1/machines"];
    let begun = tokio::time::Instant::now();
    loop {
        let refused = kubectl.run(&unresolved).await.fails();
        if refused.contains("is a Backend that is not there") {
            break;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(50), "{refused}");
    }
    kubectl.run(&["get", "apiservice", API_SERVICE]).await.ok();

    // Now it can.
    kubectl.run(&["apply", "-f", &format!("{MANIFESTS}/crd.yaml")]).await.ok();
    kubectl.run(&["wait", "--for=delete", "apiservice", API_SERVICE, "--timeout=50s"]).await.ok();
    cluster.end().await;
}
