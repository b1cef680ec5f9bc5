//! Kubernetes' own controllers beside a backend that is away, by what its Backend object says.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::support::{Kubectl, machine, replicas::Replicas};

const FLAGS: &[&str] = &["--aggregator-routing", "--controller-manager"];
const MACHINES: &str = "machines.inventory.example.com";

/// Waits until something is so; fails after so many seconds.
async fn until(what: &str, seconds: u64, mut so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        sleep(Duration::from_millis(250)).await;
    }
    begun.elapsed()
}

async fn exists(kubectl: &Kubectl, what: &[&str]) -> bool {
    kubectl.run(&[&["get"], what].concat()).await.code == 0
}

/// What a quota counts of something; empty: it was not counted yet.
async fn used(kubectl: &Kubectl, resource: &str) -> String {
    let path = format!("jsonpath={{.status.used.{}}}", resource.replace('.', "\\."));
    kubectl.run(&["get", "resourcequota", "few", "-n", "default", "-o", &path]).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_without_a_backend_that_is_assumed_empty() {
    let mut replicas = Replicas::start_with(1, FLAGS, Some("AssumeEmpty")).await;
    let kubectl = &replicas.kubectl;
    kubectl.run(&["create", "namespace", "leaving"]).await.ok();
    let falcon = machine("falcon").to_string();
    kubectl.run_with(&["create", "-n", "leaving", "-f", "-"], &falcon, &[]).await.ok();
    let address = replicas.stop_inventory().await;

    let kubectl = &replicas.kubectl;
    // For anybody else it is away.
    let refused = kubectl.run(&["get", "machines", "-n", "leaving"]).await.fails();
    assert!(refused.contains("is not available at the moment"), "{refused}");
    let begun = Instant::now();
    kubectl.run(&["delete", "namespace", "leaving", "--timeout=60s"]).await.ok();
    eprintln!("the namespace was gone {:.1} s after it was deleted", begun.elapsed().as_secs_f64());

    // What it had stays in the backend: that is the price, and the log says so.
    replicas.start_inventory(address).await;
    let kubectl = &replicas.kubectl;
    until("the backend's return", 30, async || exists(kubectl, &["machines", "-A"]).await).await;
    let left = kubectl.run(&["get", "machines", "-n", "leaving", "-o", "name"]).await.ok();
    assert_eq!(left, "machine.inventory.example.com/falcon\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_start_beside_a_snapshot_do_their_work() {
    let mut replicas = Replicas::start_with(1, FLAGS, Some("Snapshot")).await;
    let kubectl = &replicas.kubectl;
    for name in ["falcon", "kestrel"] {
        kubectl.run_with(&["create", "-n", "default", "-f", "-"], &machine(name).to_string(), &[]).await.ok();
    }
    let uid = ["get", "machine", "falcon", "-n", "default", "-o", "jsonpath={.metadata.uid}"];
    let falcon = kubectl.run(&uid).await.ok();
    let config_map = |name: &str, owner: Option<(&str, &str, &str, &str)>| {
        let owners = owner.map(|(api_version, kind, name, uid)| {
            json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid}])
        });
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "ownerReferences": owners.unwrap_or(json!([]))},
        })
    };
    let of_machine = ("inventory.example.com/v1", "Machine", "falcon", falcon.as_str());
    replicas.apply(&config_map("of-falcon", Some(of_machine))).await;
    // The inventory has made one of its own.
    let there = kubectl.run(&["get", "machines", "-n", "default", "-o", "name"]).await.ok().lines().count();
    assert!(there >= 2);
    // Whoever has come back is listed anew, with everything that is there by now.
    let address = replicas.stop_inventory().await;
    replicas.until_away().await;
    replicas.start_inventory(address).await;
    until("a snapshot", 30, async || replicas.snapshot(0, "machines").await == Some(there)).await;
    replicas.stop_inventory().await;

    // Made after the snapshot, of an owner that is not in it: nobody may conclude that the owner is gone.
    replicas
        .apply(&config_map("of-osprey", Some(("inventory.example.com/v1", "Machine", "osprey", "not-known"))))
        .await;
    let plane = &mut replicas.plane;
    tokio::task::block_in_place(|| plane.start_again("kube-controller-manager"));
    let started = Instant::now();
    let count = format!("count/{MACHINES}");
    replicas
        .apply(&json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": "default"},
            "spec": {"hard": {"configmaps": "100", count.as_str(): "100"}},
        }))
        .await;
    replicas.apply(&config_map("owner", None)).await;
    let kubectl = &replicas.kubectl;
    let uid = ["get", "configmap", "owner", "-n", "default", "-o", "jsonpath={.metadata.uid}"];
    let uid = kubectl.run(&uid).await.ok();
    replicas.apply(&config_map("owned", Some(("v1", "ConfigMap", "owner", &uid)))).await;
    kubectl.run(&["delete", "configmap", "owner", "-n", "default"]).await.ok();
    until("quotas", 120, async || !used(kubectl, "configmaps").await.is_empty()).await;
    eprintln!("quotas were counted {:.1} s after the start", started.elapsed().as_secs_f64());
    assert_eq!(used(kubectl, &count).await, there.to_string(), "machines too");
    until("garbage", 120, async || !exists(kubectl, &["configmap", "owned", "-n", "default"]).await).await;
    eprintln!("garbage was collected {:.1} s after the start", started.elapsed().as_secs_f64());
    for kept in ["of-falcon", "of-osprey"] {
        assert!(exists(kubectl, &["configmap", kept, "-n", "default"]).await, "{kept} is nobody's garbage");
    }

    // It is back: the owner that there never was is one that is gone, and the other one can be deleted.
    replicas.start_inventory(address).await;
    let kubectl = &replicas.kubectl;
    let returned = Instant::now();
    until("the dangling one", 120, async || {
        !exists(kubectl, &["configmap", "of-osprey", "-n", "default"]).await
    })
    .await;
    assert!(exists(kubectl, &["configmap", "of-falcon", "-n", "default"]).await);
    kubectl.run(&["delete", "machine", "falcon", "-n", "default"]).await.ok();
    until("the machine's", 120, async || {
        !exists(kubectl, &["configmap", "of-falcon", "-n", "default"]).await
    })
    .await;
    eprintln!(
        "what was a machine's was collected {:.1} s after the backend's return",
        returned.elapsed().as_secs_f64()
    );
}
