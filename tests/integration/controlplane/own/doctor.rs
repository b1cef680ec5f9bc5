//! kubridge doctor, in a cluster where all is well and in clusters where one thing is not.

use std::{path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::{process::Command, time::Instant};

use crate::support::{
    Ca,
    cluster::{API_SERVICE, Cluster},
};

/// What the doctor says, of the first APIService.
struct Report {
    code: Option<i32>,
    said: Value,
}

impl Report {
    fn hop(&self, name: &str) -> &Value {
        let hops = self.said["apiServices"][0]["hops"].as_array().unwrap();
        hops.iter().find(|hop| hop["hop"] == name).unwrap_or_else(|| panic!("{name}: {}", self.said))
    }

    fn state(&self, name: &str) -> &str {
        self.hop(name)["state"].as_str().unwrap()
    }

    /// Fails unless this hop is the first broken one, is described so and has this mend.
    #[track_caller]
    fn first_broken(&self, name: &str, says: &str, mend: &str) {
        assert_eq!(self.said["apiServices"][0]["firstBroken"], name, "{:#}", self.said);
        self.broken(name, says, mend);
    }

    #[track_caller]
    fn broken(&self, name: &str, says: &str, mend: &str) {
        assert_eq!((self.code, self.state(name)), (Some(1), "broken"), "{:#}", self.said);
        let hop = self.hop(name);
        assert!(hop["summary"].as_str().unwrap().contains(says), "{hop:#}");
        assert!(hop["mend"].as_str().unwrap().contains(mend), "{hop:#}");
    }
}

async fn run(kubeconfig: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kubridge"))
        .env_clear()
        .arg("doctor")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(args)
        .output()
        .await
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.is_empty(), "{stderr}");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

async fn examine(kubeconfig: &Path, args: &[&str]) -> Report {
    let (code, text) = run(kubeconfig, &[args, &["-o", "json"]].concat()).await;
    Report { code, said: serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")) }
}

/// The administrator asks.
async fn doctor(cluster: &Cluster) -> Report {
    examine(&cluster.plane.is.kubeconfig, &[]).await
}

/// Asks until it is so: kube-apiserver's caches follow what is written.
async fn until(cluster: &Cluster, so: impl Fn(&Report) -> bool) -> Report {
    let begun = Instant::now();
    loop {
        let report = doctor(cluster).await;
        if so(&report) {
            return report;
        }
        assert!(begun.elapsed() < Duration::from_secs(100), "{:#}", report.said);
    }
}

const HOPS: [&str; 9] =
    ["apiService", "service", "tls", "frontProxy", "available", "discovery", "openApi", "grants", "backend"];

#[tokio::test(flavor = "multi_thread")]
async fn every_hop_is_good_and_what_may_not_be_asked_is_nobodys_fault() {
    let cluster = Cluster::start().await;
    // kube-apiserver asks for documents in its own time.
    let report = until(&cluster, |report| report.state("openApi") == "ok").await;
    assert_eq!(report.code, Some(0));
    let all: Vec<_> = HOPS.iter().map(|hop| (*hop, report.state(hop))).collect();
    assert!(all.iter().all(|(_, state)| *state == "ok"), "{:#}", report.said);
    assert_eq!(report.said["passed"], true);
    let names = report.hop("tls")["details"].to_string();
    assert!(names.contains("kubridge.kubridge-system.svc"), "{names}");
    let (code, text) = run(&cluster.plane.is.kubeconfig, &[API_SERVICE]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("v1.inventory.example.com\n  ok         APIService   "), "{text}");
    assert!(text.ends_with("\nNo hop is broken.\n"), "{text}");

    // Kubridge's own service account may not read what it serves.
    let token = cluster.kubectl.run(&["create", "token", "kubridge", "-n", "kubridge-system"]).await.ok();
    let report = examine(&cluster.kubeconfig("pod", token.trim()), &[]).await;
    assert_eq!(report.code, Some(0), "{:#}", report.said);
    let others: Vec<_> = HOPS.iter().filter(|hop| report.state(hop) != "ok").collect();
    assert_eq!(others, [&"backend"], "{:#}", report.said);
    assert_eq!(report.state("backend"), "notTried");
    let backend = report.hop("backend")["summary"].as_str().unwrap();
    assert!(backend.contains("you may not list it"), "{backend}");

    // Who may ask nothing gets an error, and no report.
    let nobody = Command::new(env!("CARGO_BIN_EXE_kubridge"))
        .env_clear()
        .args(["doctor", "--kubeconfig"])
        .arg(cluster.kubeconfig("nobody", "nonsense"))
        .output()
        .await
        .unwrap();
    let stderr = String::from_utf8_lossy(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        stderr.contains("cannot be asked for APIServices") && stderr.contains("Unauthorized"),
        "{stderr}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_apiservice_or_its_trust() {
    let cluster = Cluster::start().await;
    let admin = &cluster.plane.is.kubeconfig;
    let missing = examine(admin, &["v1.nobody.example.com"]).await;
    missing.first_broken("apiService", "there is no such APIService", "kubridge register");
    let none = examine(admin, &["--service=default/nobody"]).await;
    none.first_broken("apiService", "no APIService names the Service default/nobody", "kubridge register");
    let other = examine(admin, &[API_SERVICE, "--service=default/nobody"]).await;
    other.first_broken("apiService", "Kubridge's is default/nobody", "--service kubridge-system/kubridge");

    // Kubridge leaves the bundle to others where it is told to.
    let stranger = BASE64_STANDARD.encode(Ca::new("stranger").pem());
    let patch = json!({
        "metadata": {"annotations": {"cert-manager.io/inject-ca-from": "kubridge-system/kubridge"}},
        "spec": {"caBundle": stranger},
    });
    let patch = patch.to_string();
    cluster.kubectl.run(&["patch", "apiservice", API_SERVICE, "--type=merge", "-p", &patch]).await.ok();
    let wrong = until(&cluster, |report| report.state("tls") == "broken").await;
    wrong.first_broken(
        "tls",
        "is signed by no CA of spec.caBundle",
        "put the CA that signed it into spec.caBundle",
    );

    cluster.kubectl.run(&["annotate", "apiservice", API_SERVICE, "kubridge.io/backend-"]).await.ok();
    let unnamed = doctor(&cluster).await;
    unnamed.first_broken(
        "apiService",
        "the annotation kubridge.io/backend is missing",
        "kubectl annotate apiservice v1.inventory.example.com kubridge.io/backend=grpc://HOST:PORT",
    );
    assert_eq!(unnamed.state("backend"), "notTried", "{:#}", unnamed.said);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_missing_or_leads_nowhere() {
    let cluster = Cluster::start().await;
    let delete = ["delete", "service", "kubridge", "-n", "kubridge-system"];
    cluster.kubectl.run(&delete).await.ok();
    let gone = until(&cluster, |report| report.state("service") == "broken").await;
    gone.first_broken("service", "there is no such Service", "create the Service kubridge");
    assert_eq!(gone.state("tls"), "notTried", "{:#}", gone.said);
    let claimed = cluster.kubectl.run(&["get", "apiservice", API_SERVICE, "-o", "json"]).await.ok();
    let claimed: Value = serde_json::from_str(&claimed).unwrap();
    cluster
        .apply(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "kubridge-system", "name": "kubridge"},
            "spec": {
                "selector": {"app": "kubridge"},
                "ports": [{"port": claimed["spec"]["service"]["port"], "targetPort": 6443}],
            },
        }))
        .await;
    let empty = doctor(&cluster).await;
    empty.first_broken(
        "service",
        "it has no endpoint that is ready",
        "kubectl get pods,endpointslices -n kubridge-system",
    );
    cluster.kubectl.run(&delete).await.ok();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_backend_and_a_dead_kubridge_are_told_apart() {
    let mut cluster = Cluster::start().await;
    cluster.stop_inventory().await;
    let dead = doctor(&cluster).await;
    dead.first_broken(
        "backend",
        "/apis/inventory.example.com/v1/machines?limit=1 answers 503: Kubridge gets nothing from grpc://inventory.default.svc",
        "see that the backend runs and listens there",
    );
    assert_eq!(dead.state("discovery"), "ok", "what was known of it stays: {:#}", dead.said);

    cluster.stop_kubridge(0).await;
    let dead = doctor(&cluster).await;
    assert_eq!(
        dead.state("tls"),
        "notTried",
        "it may be a pod that is not reached from here: {:#}",
        dead.said
    );
    let mend = dead.hop("tls")["mend"].as_str().unwrap();
    assert!(mend.contains("kubectl exec -n kubridge-system deploy/kubridge -- kubridge doctor"), "{mend}");
    // kube-apiserver may have found out by itself already.
    let first = &dead.said["apiServices"][0]["firstBroken"];
    assert!(first == "available" || first == "discovery", "{:#}", dead.said);
    let found_out = until(&cluster, |report| report.state("available") == "broken").await;
    found_out.first_broken("available", "nobody serves where the Service leads", "see that Kubridge runs");
    found_out.broken("discovery", "calls the APIService unavailable", "see the hop Available");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_with_what_grants_it() {
    let cluster = Cluster::start().await;
    cluster.kubectl.run(&["delete", "clusterrolebinding", "kubridge"]).await.ok();
    let report = until(&cluster, |report| report.state("grants") == "broken").await;
    report.first_broken(
        "grants",
        "system:serviceaccount:kubridge-system:kubridge may not",
        "the ClusterRole kubridge, by a ClusterRoleBinding",
    );
    let rights = report.hop("grants").to_string();
    assert!(rights.contains("get, list, watch endpointslices.discovery.k8s.io"), "{rights}");
    assert!(!rights.contains("secrets"), "{rights}");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/manifests/rbac.yaml");
    cluster.kubectl.run(&["apply", "-f", manifest]).await.ok();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_an_object_is_asked_for_its_conditions() {
    let mut cluster = Cluster::without_kubridge().await;
    cluster.start_registrar(&[]).await;
    let spec = |name: &str| {
        let port = cluster.inventory_address().port();
        json!({
            "apiVersion": "kubridge.io/v1alpha1", "kind": "Backend", "metadata": {"name": "inventory"},
            "spec": {
                "service": {"namespace": "default", "name": name, "port": port},
                "claims": [{"group": "inventory.example.com", "version": "v1"}],
            },
        })
    };
    cluster.apply(&spec("inventory")).await;
    cluster
        .kubectl
        .run(&["wait", "--for=condition=Available", "backend/inventory", "--timeout=50s"])
        .await
        .ok();
    cluster.available().await;
    let report = until(&cluster, |report| report.state("backend") == "ok").await;
    let details = report.hop("backend").to_string();
    assert!(details.contains("the Backend inventory is connected"), "{details}");

    cluster.apply(&spec("elsewhere")).await;
    let report = until(&cluster, |report| report.state("backend") == "broken").await;
    let hop = report.hop("backend").to_string();
    assert!(hop.contains("default/elsewhere"), "{hop}");
    cluster.end().await;
}
