//! kube-apiserver -> Kubridge -> inventory: what users of a cluster see.

use std::time::Duration;

use http::Method;
use kubridge::cluster::Election;
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    kubectl::{self, Place},
    support::{
        Ca, Kubectl, Watch,
        cluster::{API_SERVICE, Cluster},
        machine,
        replicas::host,
    },
};

const MACHINE: &str = r#"{"apiVersion":"inventory.example.com/v1","kind":"Machine","metadata":{"name":"falcon"},
    "spec":{"serial":"SN-1"}}"#;

async fn json(kubectl: &Kubectl, args: &[&str]) -> Value {
    let text = kubectl.run(&[args, &["-o", "json"]].concat()).await.ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubectl_suite_through_the_real_kube_apiserver() {
    let place = Place::cluster().await;
    kubectl::play(&place).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_the_clusters() {
    let cluster = Cluster::start().await;
    let kubectl = &cluster.kubectl;
    for args in [
        &["create", "serviceaccount", "reader", "-n", "default"][..],
        &[
            "create",
            "clusterrole",
            "machine-reader",
            "--verb=get,list,watch",
            "--resource=machines.inventory.example.com",
        ],
        &[
            "create",
            "rolebinding",
            "machine-reader",
            "-n",
            "default",
            "--clusterrole=machine-reader",
            "--serviceaccount=default:reader",
        ],
    ] {
        kubectl.run(args).await.ok();
    }
    let token = kubectl.run(&["create", "token", "reader", "-n", "default"]).await.ok();
    let reader = Kubectl::direct(cluster.kubeconfig("reader", token.trim()));
    reader.run(&["get", "machines", "-n", "default"]).await.ok();
    let elsewhere = reader.run(&["get", "machines", "-n", "kube-system"]).await.fails();
    let who = r#"User "system:serviceaccount:default:reader" cannot list resource "machines""#;
    assert!(elsewhere.contains("Forbidden") && elsewhere.contains(who), "{elsewhere}");
    let can = async |kubectl: &Kubectl, verb: &str, who: &[&str]| {
        let args = ["auth", "can-i", verb, "machines.inventory.example.com", "-n", "default"];
        let said = kubectl.run(&[&args[..], who].concat()).await;
        (said.code, said.stdout)
    };
    let (yes, no) = ((0, "yes\n".to_owned()), (1, "no\n".to_owned()));
    assert_eq!(can(&reader, "list", &[]).await, yes);
    assert_eq!(can(&reader, "create", &[]).await, no);
    // Whoever may act for others is them, also to Kubridge.
    let jane = ["--as=jane", "--as-group=fleet"];
    assert_eq!(can(kubectl, "create", &jane).await, no);
    let create = async |more: &[&str]| {
        let args = ["create", "-n", "default", "-f", "-"];
        kubectl.run_with(&[&args[..], &jane, more].concat(), MACHINE, &[]).await
    };
    for more in [&[][..], &["--dry-run=server"]] {
        let refused = create(more).await.fails();
        assert!(refused.contains(r#"User "jane" cannot create resource "machines""#), "{refused}");
    }
    let grant = [
        "create",
        "clusterrole",
        "machine-writer",
        "--verb=create",
        "--resource=machines.inventory.example.com",
    ];
    kubectl.run(&grant).await.ok();
    let bind = [
        "create",
        "rolebinding",
        "machine-writer",
        "-n",
        "default",
        "--clusterrole=machine-writer",
        "--group=fleet",
    ];
    kubectl.run(&bind).await.ok();
    // What was denied is remembered for a while.
    let begun = tokio::time::Instant::now();
    let made = loop {
        let made = create(&["--dry-run=server"]).await;
        if made.code == 0 || begun.elapsed() > Duration::from_secs(30) {
            break made.ok();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    assert_eq!(made, "machine.inventory.example.com/falcon created (server dry run)\n");
    assert!(kubectl.run(&["get", "machine", "falcon", "-n", "default"]).await.fails().contains("NotFound"));
    assert_eq!(create(&[]).await.ok(), "machine.inventory.example.com/falcon created\n");
    assert_eq!(can(kubectl, "create", &jane).await, yes);
    assert_eq!(can(kubectl, "delete", &jane).await, no);
    let refused =
        kubectl.run(&[&["delete", "machine", "falcon", "-n", "default"][..], &jane].concat()).await.fails();
    assert!(refused.contains(r#"User "jane" cannot delete resource "machines""#), "{refused}");
    kubectl.run(&["delete", "machine", "falcon", "-n", "default"]).await.ok();
    for args in [
        &["delete", "rolebinding", "machine-reader", "-n", "default"][..],
        &["delete", "rolebinding", "machine-writer", "-n", "default"],
        &["delete", "clusterrole", "machine-reader", "machine-writer"],
        &["delete", "serviceaccount", "reader", "-n", "default"],
    ] {
        kubectl.run(args).await.ok();
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_authority_is_kept_in_the_cluster_and_trusted_without_help() {
    let mut cluster = Cluster::start().await;
    let service = json(&cluster.kubectl, &["get", "apiservice", API_SERVICE]).await;
    assert!(service["spec"]["caBundle"].is_string(), "nobody but Kubridge writes it here: {service}");
    let secret = json(&cluster.kubectl, &["get", "secret", "kubridge-ca", "-n", "kubridge-system"]).await;
    assert_eq!(secret["data"]["ca.crt"], service["spec"]["caBundle"]);

    // Another replica, with an empty directory: kube-apiserver trusts it as it does the first, and it leads as soon as the
    // first has given the Lease back.
    let address = cluster.start_kubridge(&[]).await;
    cluster.point_at(address.port()).await;
    let lease =
        ["get", "lease", "kubridge", "-n", "kubridge-system", "-o", "jsonpath={.spec.holderIdentity}"];
    let first = cluster.kubectl.run(&lease).await.ok();
    cluster.stop_kubridge(0).await;
    let begun = tokio::time::Instant::now();
    while [first.as_str(), ""].contains(&cluster.kubectl.run(&lease).await.ok().as_str()) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the Lease is not given back, but runs out");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.claim(address.port()).await;
    cluster.available().await;
    cluster.kubectl.run(&["get", "machines", "-A"]).await.ok();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apiservice_without_a_backend_says_what_is_missing() {
    let cluster = Cluster::start().await;
    let annotate = ["annotate", "apiservice", API_SERVICE, "kubridge.io/backend-"];
    cluster.kubectl.run(&annotate).await.ok();
    let unavailable = ["wait", "--for=condition=Available=false", "--timeout=60s", "apiservice", API_SERVICE];
    cluster.kubectl.run(&unavailable).await.ok();
    let refused = cluster.direct(0).get("/apis/inventory.example.com/v1/machines").await.expect(503).json();
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("is not named by the annotation kubridge.io/backend"), "{message}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_away_is_described_and_back_at_once() {
    let mut cluster = Cluster::start().await;
    let address = cluster.inventory_address();
    cluster.stop_inventory().await;
    // Not inspected: kube-apiserver has each of its own headers twice when it forwards.
    let machines = "/apis/inventory.example.com/v1/machines?timeout=5s";
    let dead = cluster.plane.client().request(Method::GET, machines).send().await.unwrap();
    assert_eq!(dead.status(), 503);
    let resources =
        cluster.kubectl.run(&["api-resources", "--api-group=inventory.example.com", "-o", "name"]).await.ok();
    assert!(resources.contains("machines.inventory.example.com"), "{resources}");
    cluster.start_inventory(address).await;
    let begun = tokio::time::Instant::now();
    while cluster.kubectl.run(&["get", "machines", "-A"]).await.code != 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come back");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_is_made_in_a_namespace_that_is_missing_or_being_deleted() {
    let cluster = Cluster::start().await;
    let kubectl = &cluster.kubectl;
    let nowhere = kubectl.run_with(&["create", "-n", "nowhere", "-f", "-"], MACHINE, &[]).await.fails();
    assert!(nowhere.contains(r#"namespaces "nowhere" not found"#), "{nowhere}");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "leaving"}});
    cluster.apply(&namespace).await;
    // Nobody finishes the deletion: this control plane has no controllers.
    kubectl.run(&["delete", "namespace", "leaving", "--wait=false"]).await.ok();
    let begun = tokio::time::Instant::now();
    loop {
        let created = kubectl.run_with(&["create", "-n", "leaving", "-f", "-"], MACHINE, &[]).await;
        if created.code != 0 {
            let why = "unable to create new content in namespace leaving because it is being terminated";
            let refused = created.fails();
            assert!(refused.contains(why), "{refused}");
            break;
        }
        // The watch may be a moment late.
        kubectl.run(&["delete", "machine", "falcon", "-n", "leaving"]).await.ok();
        assert!(begun.elapsed() < Duration::from_secs(10), "it goes on being made");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_believed_but_the_front_proxy_and_the_cluster() {
    let cluster = Cluster::start().await;
    let machines = "/apis/inventory.example.com/v1/machines";
    let claims = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
    let as_masters = async |identity: Option<&[u8]>| {
        let mut request = cluster.direct_as(0, identity).request(Method::GET, machines);
        for (name, value) in claims {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let is = &cluster.plane.is;
    assert_eq!(as_masters(Some(&is.front_proxy.identity())).await, 200, "the front proxy speaks for others");
    assert_eq!(as_masters(None).await, 403, "nobody's word");
    let (certificate, key) = Ca::new("stranger").client();
    assert_eq!(
        as_masters(Some((key + &certificate).as_bytes())).await,
        401,
        "a certificate that another CA signed"
    );
    cluster.direct(0).get(machines).await.expect(200);
    let nobody = cluster.direct_as(0, None).get(machines).await.expect(403).json();
    let message = nobody["message"].as_str().unwrap();
    assert!(message.contains(r#"User "system:anonymous" cannot list resource "machines""#), "{message}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_leads_and_another_takes_over() {
    let cluster = Cluster::without_kubridge().await;
    let access = kubridge::cluster::Cluster::connect(Some(&cluster.plane.is.kubeconfig), None).await.unwrap();
    let candidate =
        |name: &str| Election::new(access.client(), "kubridge-system", "election-test", name.to_owned());
    let (first, second) = (candidate("first"), candidate("second"));
    let (mut leads, mut follows) = (first.leads(), second.leads());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(first.run(async { drop(stopped.await) }));
    leads.wait_for(|leads| *leads).await.unwrap();
    let other = tokio::spawn(second.run(std::future::pending()));
    // It looks, and finds the lease taken.
    assert!(timeout(Duration::from_secs(5), follows.wait_for(|leads| *leads)).await.is_err());
    drop(stop);
    running.await.unwrap();
    assert!(!*leads.borrow());
    let begun = tokio::time::Instant::now();
    timeout(Duration::from_secs(10), follows.wait_for(|leads| *leads)).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "given back, not waited for");

    // One that dies gives nothing back: the lease runs out.
    other.abort();
    let third = candidate("third");
    let mut takes_over = third.leads();
    let third = tokio::spawn(third.run(std::future::pending()));
    timeout(Duration::from_secs(40), takes_over.wait_for(|leads| *leads)).await.unwrap().unwrap();
    third.abort();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_where_its_ready_endpoints_are() {
    let mut cluster = Cluster::without_kubridge().await;
    let port = cluster.start_kubridge(&[]).await.port();
    let pod = async |name: &str| {
        let options = inventory::Options {
            listen: (host(), 0).into(),
            database: cluster.file(&format!("{name}.db"), ""),
            first_machine: false,
            ..inventory::Options::default()
        };
        inventory::Server::start(options).await.unwrap()
    };
    let (old, new) = (pod("old").await, pod("new").await);
    cluster
        .apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "fleet"},
            "spec": {"clusterIP": "None", "ports": [{"name": "grpc", "port": 50051}]},
        }))
        .await;
    let slice = async |name: &str, pod: &inventory::Running, ready: bool| {
        cluster
            .apply(&json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"namespace": "default", "name": name, "labels": {"kubernetes.io/service-name": "fleet"}},
                "ports": [{"name": "grpc", "port": pod.addr.port()}],
                "endpoints": [{"addresses": [pod.addr.ip().to_string()], "conditions": {"ready": ready}}],
            }))
            .await;
    };
    slice("old", &old, true).await;
    slice("new", &new, false).await;
    cluster.claim_for(port, "grpc://fleet.default.svc:50051").await;

    let kubridge = cluster.direct(0);
    let machines = "/apis/inventory.example.com/v1/namespaces/default/machines";
    let created = async |name: &str| {
        let begun = tokio::time::Instant::now();
        while kubridge.request(Method::POST, machines).json(&machine(name)).send().await.unwrap().status()
            != 201
        {
            assert!(begun.elapsed() < Duration::from_secs(20), "{name} is not made");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    created("of-old").await;
    // A rollout: the new pod is ready, the old one is not any more. Its watch goes on until it ends by itself.
    let mut watch = Watch::open(&kubridge, &format!("{machines}?watch=1")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["metadata"]["name"], "of-old");
    slice("new", &new, true).await;
    slice("old", &old, false).await;
    let begun = tokio::time::Instant::now();
    let falcon = format!("{machines}/of-old");
    while kubridge.request(Method::GET, &falcon).send().await.unwrap().status() != 404 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the old pod is asked still");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    created("of-new").await;
    assert!(
        timeout(Duration::from_millis(500), watch.next()).await.is_err(),
        "it is the old pod's, and was not cut"
    );
    old.stop().await;

    // Nothing is ready: said at once, with what to look at.
    slice("new", &new, false).await;
    let begun = tokio::time::Instant::now();
    while kubridge.request(Method::GET, machines).send().await.unwrap().status() != 503 {
        assert!(begun.elapsed() < Duration::from_secs(20), "a pod that is not ready is asked still");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.kubectl.run(&["delete", "service", "fleet", "-n", "default"]).await.ok();
    new.stop().await;
    cluster.end().await;
}
