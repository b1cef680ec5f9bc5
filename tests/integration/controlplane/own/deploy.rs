//! deploy/ and `kubridge manifests` at a real kube-apiserver: it has everything checked and, but for the namespace and the
//! rights, nothing kept.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, sync::OnceCell};

use crate::{
    cli::kubridge,
    support::{
        ControlPlane, Kubectl,
        cluster::{API_SERVICE, Cluster},
    },
};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
/// Kinds that a cluster has only where somebody has installed them.
const FOREIGN: [&str; 2] = ["Certificate", "ServiceMonitor"];
const EVERY_OPTION: &str = "
image: {repository: registry.example.com/kubridge, tag: dev, pullPolicy: Always}
imagePullSecrets: [{name: registry}]
service: {name: aggregator}
extraArgs: [--log-format=json, --request-timeout=30s]
servingCertificate: {certManager: {enabled: true, issuerRef: {name: ca}}}
podAnnotations: {example.com/team: platform}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: dedicated, operator: Exists}]
priorityClassName: system-cluster-critical
localRbac: {enabled: true}
autoscaling: {enabled: true}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
";

/// kubectl, at a cluster that has the namespace and the service account: a dry run does not see what another would make.
async fn prepared() -> Kubectl {
    let plane = ControlPlane::shared().await;
    let kubectl = Kubectl::direct(plane.is.kubeconfig.clone());
    // Two at once would both make the namespace.
    static PREPARED: OnceCell<()> = OnceCell::const_new();
    let prepare = async || {
        for file in ["namespace.yaml", "crd.yaml", "rbac.yaml"] {
            kubectl.run(&["apply", "-f", &format!("{DEPLOY}/manifests/{file}")]).await.ok();
        }
    };
    PREPARED.get_or_init(prepare).await;
    kubectl
}

/// Runs helm (`KUBRIDGE_TEST_HELM`, set by ./test, else PATH), with nothing of the machine's.
async fn helm(args: &[&str]) -> (bool, String) {
    let program = std::env::var_os("KUBRIDGE_TEST_HELM").unwrap_or_else(|| "helm".into());
    let home = TempDir::new().unwrap();
    let output = Command::new(&program)
        .env_clear()
        .env("HOME", home.path())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{}: {error}: install helm, or run ./test", program.display()));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// What the chart makes.
async fn template(more: &[&str]) -> Vec<Value> {
    let chart = format!("{DEPLOY}/chart/kubridge");
    let args = ["template", "kubridge", &chart, "--include-crds", "--namespace=kubridge-system"];
    let (done, text) = helm(&[&args[..], more].concat()).await;
    assert!(done, "{text}");
    objects(&text)
}

fn objects(text: &str) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

fn find<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("there is no {kind}"))
}

fn container(objects: &[Value]) -> &Value {
    &find(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
}

fn name(object: &Value) -> String {
    let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{} {}/{}", part(&object["kind"]), part(&metadata["namespace"]), part(&metadata["name"]))
}

/// Has the API server check all of them, but for the kinds that it does not have: their names are given back.
async fn dry_run(kubectl: &Kubectl, objects: Vec<Value>) -> Vec<String> {
    let (foreign, known): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|object| FOREIGN.iter().any(|kind| object["kind"] == *kind));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": known});
    let apply = ["apply", "--dry-run=server", "-f", "-"];
    let output = kubectl.run_with(&apply, &list.to_string(), &[]).await;
    assert_eq!(output.stderr, "");
    assert_each_is_checked(&output.ok(), known.len());
    foreign.iter().map(name).collect()
}

fn assert_each_is_checked(said: &str, count: usize) {
    assert_eq!(said.lines().count(), count, "{said}");
    assert!(said.lines().all(|line| line.ends_with("(server dry run)")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_the_plain_manifests() {
    let kubectl = prepared().await;
    let manifests = format!("{DEPLOY}/manifests");
    let output = kubectl.run(&["apply", "-k", &manifests, "--dry-run=server"]).await;
    assert_eq!(output.stderr, "");
    let made = objects(&kubectl.run(&["kustomize", &manifests]).await.ok());
    assert_each_is_checked(&output.ok(), made.len());
    // Every file is in the kustomization.
    let files =
        fs::read_dir(&manifests).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let written: usize = files.map(|text| objects(&text).len()).sum();
    assert_eq!(made.len(), written - 1, "all but the kustomization itself");
}

/// What kubectl makes of the plain manifests with these components, in a kustomization that is somewhere else.
async fn with_components(kubectl: &Kubectl, components: &[&str]) -> Vec<Value> {
    let dir = TempDir::new().unwrap();
    // kustomize takes no absolute paths.
    let here = dir.path().canonicalize().unwrap();
    let root: PathBuf = here.components().skip(1).map(|_| Path::new("..")).collect();
    let deploy = root.join(Path::new(DEPLOY).canonicalize().unwrap().strip_prefix("/").unwrap());
    let part = |name: &str| deploy.join(name).display().to_string();
    let components: Vec<String> = components.iter().map(|name| part(&format!("components/{name}"))).collect();
    let kustomization = json!({
        "resources": [part("manifests")],
        "components": components,
        "images": [{"name": "kubridge", "newName": "registry.example.com/kubridge", "newTag": "dev"}],
    });
    fs::write(here.join("kustomization.yaml"), kustomization.to_string()).unwrap();
    objects(&kubectl.run(&["kustomize", &here.display().to_string()]).await.ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_the_components_of_a_kustomization_elsewhere() {
    let kubectl = prepared().await;
    let made = with_components(&kubectl, &["hpa", "servicemonitor", "local-rbac"]).await;
    assert_eq!(container(&made)["image"], "registry.example.com/kubridge:dev");
    assert_eq!(find(&made, "Deployment")["spec"].get("replicas"), None, "the autoscaler's");
    assert_eq!(find(&made, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"], "kubridge");
    assert_eq!(container(&made)["args"].as_array().unwrap().last().unwrap(), "--local-rbac");
    assert_eq!(dry_run(&kubectl, made).await, ["ServiceMonitor kubridge-system/kubridge"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_gives_the_rights_and_the_argument_of_local_rbac_as_its_component_does() {
    let kubectl = Kubectl::direct(PathBuf::new());
    let mut plain = comparable(with_components(&kubectl, &["local-rbac"]).await);
    plain.remove("Namespace /kubridge-system").expect("helm has --create-namespace for it");
    let image = "--set=image.repository=registry.example.com/kubridge,image.tag=dev";
    let chart = comparable(template(&["--set=localRbac.enabled=true", image]).await);
    assert_eq!(chart.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
    for (name, object) in &plain {
        assert_eq!(&chart[name], object, "{name}");
    }
    assert!(plain.contains_key("ClusterRole /kubridge:local-rbac"));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_the_pods_admitted_by_the_restricted_policy() {
    let kubectl = prepared().await;
    let manifest = fs::read_to_string(format!("{DEPLOY}/manifests/deployment.yaml")).unwrap();
    let template = objects(&manifest).remove(0)["spec"]["template"].take();
    let admit = async |pod: &Value| {
        let args = ["create", "--dry-run=server", "-f", "-"];
        kubectl.run_with(&args, &pod.to_string(), &[]).await
    };
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "kubridge-0", "namespace": "kubridge-system"},
        "spec": template["spec"],
    });
    admit(&pod).await.ok();
    pod["spec"]["containers"][0]["securityContext"]["capabilities"].take();
    let refused = admit(&pod).await.fails();
    assert!(refused.contains(r#"violates PodSecurity "restricted"#), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_finds_nothing_wrong_with_the_chart() {
    let dir = TempDir::new().unwrap();
    let values = dir.path().join("values.yaml");
    fs::write(&values, EVERY_OPTION).unwrap();
    let (chart, values) = (format!("{DEPLOY}/chart/kubridge"), format!("--values={}", values.display()));
    for more in [&[][..], &[values.as_str()]] {
        let (good, text) = helm(&[&["lint", "--strict", &chart], more].concat()).await;
        assert!(good && text.contains("0 chart(s) failed"), "{text}");
    }
    for (wrong, complaint) in [
        ("replica=3", "replica"),
        ("servingCertificate.certManager.enabled=true", "name an issuer that knows its CA"),
    ] {
        let (good, text) = helm(&["template", "kubridge", &chart, "--set", wrong]).await;
        assert!(!good && text.contains(complaint), "{text}");
    }
}

/// By name, without the labels that say who made it.
fn comparable(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let without_labels = |mut object: Value| {
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("labels");
        (name(&object), object)
    };
    objects.into_iter().map(without_labels).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_makes_what_kubectl_makes_of_the_plain_manifests() {
    let kubectl = Kubectl::direct(PathBuf::new());
    let plain = kubectl.run(&["kustomize", &format!("{DEPLOY}/manifests")]).await.ok();
    let mut plain = comparable(objects(&plain));
    plain.remove("Namespace /kubridge-system").expect("helm has --create-namespace for it");
    let chart = comparable(template(&[]).await);
    assert_eq!(chart.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
    for (name, object) in &plain {
        assert_eq!(&chart[name], object, "{name}");
    }
    assert!(plain.contains_key("ClusterRole /kubridge"), "the rights are compared, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_what_helm_makes() {
    let kubectl = prepared().await;
    assert_eq!(dry_run(&kubectl, template(&[]).await).await, [""; 0], "nothing that must be installed first");

    let dir = TempDir::new().unwrap();
    let values = dir.path().join("values.yaml");
    fs::write(&values, EVERY_OPTION).unwrap();
    let made = template(&[&format!("--values={}", values.display())]).await;
    assert_eq!(container(&made)["image"], "registry.example.com/kubridge:dev");
    let args = container(&made)["args"].as_array().unwrap();
    for arg in [
        "--service=$(POD_NAMESPACE)/aggregator",
        "--tls-cert-file=/certificate/tls.crt",
        "--tls-ca-file=/certificate/ca.crt",
        "--request-timeout=30s",
    ] {
        assert!(args.contains(&json!(arg)), "{arg}: {args:?}");
    }
    let certificate = find(&made, "Certificate");
    assert_eq!(certificate["spec"]["dnsNames"], json!(["aggregator.kubridge-system.svc"]));
    let mounted = &find(&made, "Deployment")["spec"]["template"]["spec"]["volumes"][1]["secret"];
    assert_eq!(mounted["secretName"], certificate["spec"]["secretName"]);
    // The Secret and the Lease are named after the Service.
    let named: Vec<&str> = find(&made, "Role")["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|rule| rule["resourceNames"][0].as_str())
        .collect();
    assert_eq!(named, ["aggregator-ca", "aggregator"]);
    let mut foreign = dry_run(&kubectl, made).await;
    foreign.sort();
    assert_eq!(foreign, ["Certificate kubridge-system/kubridge", "ServiceMonitor kubridge-system/kubridge"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_what_kubridge_manifests_prints() {
    let kubectl = prepared().await;
    let dir = TempDir::new().unwrap();
    let options = inventory::Options {
        listen: ([127, 0, 0, 1], 0).into(),
        database: dir.path().join("inventory.db"),
        ..inventory::Options::default()
    };
    let inventory = inventory::Server::start(options).await.unwrap();
    let backend = format!("--backend=grpc://{}", inventory.addr);
    let text = kubridge(&["manifests", &backend, "--image=registry.example.com/kubridge:dev"]).await.ok();
    let made = objects(&text);
    assert_eq!(container(&made)["image"], "registry.example.com/kubridge:dev");
    let service = find(&made, "APIService");
    assert_eq!(service["metadata"]["name"], API_SERVICE);
    let address = format!("grpc://{}", inventory.addr);
    assert_eq!(service["metadata"]["annotations"], json!({"kubridge.io/backend": address}));
    let ours = json!({"namespace": "kubridge-system", "name": "kubridge", "port": 443});
    assert_eq!((&service["spec"]["service"], service["spec"].get("caBundle")), (&ours, None));
    let applied = kubectl.run_with(&["apply", "--dry-run=server", "-f", "-"], &text, &[]).await;
    assert_eq!(applied.stderr, "");
    assert_each_is_checked(&applied.ok(), made.len());

    // Without a backend, elsewhere: what the kustomization has, but for the namespace, which is somebody else's.
    let elsewhere = kubridge(&["manifests", "--namespace=default"]).await.ok();
    assert_eq!(objects(&elsewhere).len(), made.len() - 2);
    let applied = kubectl.run_with(&["apply", "--dry-run=server", "-f", "-"], &elsewhere, &[]).await;
    assert_each_is_checked(&applied.ok(), made.len() - 2);

    let again = format!("--backend=grpc://localhost:{}", inventory.addr.port());
    let complaint = kubridge(&["manifests", &backend, &again]).await.fails(1);
    assert!(complaint.contains("both have v1.inventory.example.com"), "{complaint}");
    inventory.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reaches_a_backend_that_register_has_claimed_for_our_service() {
    let mut cluster = Cluster::without_kubridge().await;
    let port = cluster.start_kubridge(&[]).await.port();
    cluster.point_at(port).await;
    // The name is good in the cluster and nowhere else.
    let descriptors = cluster.file("inventory.bin", "");
    fs::write(&descriptors, inventory::DESCRIPTORS).unwrap();
    let backend = format!("--backend=grpc://inventory.default.svc:{}", cluster.inventory_address().port());
    let set = format!("--descriptor-set={}", descriptors.display());
    let service = format!("--service=kubridge-system/kubridge:{port}");
    let manifest = kubridge(&["register", &backend, &set, &service]).await.ok();
    cluster.kubectl.run_with(&["apply", "-f", "-"], &manifest, &[]).await.ok();
    cluster.available().await;
    let names = ["api-resources", "--api-group=inventory.example.com", "-o", "name"];
    let resources = cluster.kubectl.run(&names).await.ok();
    assert!(resources.contains("machines.inventory.example.com"), "{resources}");
    cluster.kubectl.run(&["get", "machines", "-A"]).await.ok();
    let services = cluster.kubectl.run(&["get", "apiservices", API_SERVICE]).await.ok();
    assert!(services.contains("kubridge-system/kubridge") && services.contains("True"), "{services}");
    cluster.end().await;
}
