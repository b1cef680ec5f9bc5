#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::registry::{
    BACKEND,
    owned::{AUTOMANAGED, MANIFEST},
    tests::{create, get, registry, service},
};

const TWO: &str = "\
# what the fleet serves
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata:
  name: v1.fleet.example.com
  annotations:
    kubridge.io/backend: grpc://127.0.0.1:50051
spec:
  group: fleet.example.com
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 15
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata:
  name: v1beta1.wardle.example.com
spec:
  service: {namespace: wardle, name: api}
  group: wardle.example.com
  version: v1beta1
  caBundle: UEVN
  groupPriorityMinimum: 1000
  versionPriority: 15
";

const MAPPING: &str = "\
apiVersion: kubridge.io/v1alpha1
kind: Mapping
metadata: {name: library}
spec:
  resources: [{kind: Book, plural: volumes}]
";

struct Fixture {
    manifests: Manifests,
    registry: Registry,
    mappings: watch::Receiver<Arc<[MappingFile]>>,
    files: TempDir,
    _data: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let (registry, data) = registry().await;
        let files = TempDir::new().unwrap();
        let given = MappingFile::read("given.yaml", MAPPING).unwrap();
        let (tell, mappings) = watch::channel(given.into());
        let manifests = Manifests::new(registry.clone(), files.path(), tell);
        Self { manifests, registry, mappings, files, _data: data }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.files.path().join(file), text).unwrap();
    }

    /// Which Mappings are told: name, file, and the plural of the first resource.
    fn told(&self) -> Vec<String> {
        let mappings = Arc::clone(&self.mappings.borrow());
        let said = |mapping: &MappingFile| {
            let plural = mapping.spec.resources[0].plural.as_ref().map(|plural| plural.value.clone());
            format!("{} {} {}", mapping.metadata.name, mapping.file, plural.unwrap_or_default())
        };
        mappings.iter().map(said).collect()
    }

    /// The names of the APIServices that are not built in.
    async fn poll(&mut self) -> Vec<String> {
        self.manifests.poll().await.unwrap();
        let services = self.registry.objects::<ApiService>().await.unwrap();
        let names = services.into_iter().map(|service| service.metadata.unwrap().name);
        names.filter(|name| !name.ends_with("k8s.io") && !name.ends_with("kubridge.io")).collect()
    }
}

#[tokio::test]
async fn files_become_apiservices_and_go_with_them() {
    let mut fixture = Fixture::new().await;
    fixture.write("a.yaml", TWO);
    fixture.write("notes.txt", "not a manifest");
    let both = ["v1.fleet.example.com", "v1beta1.wardle.example.com"];
    assert_eq!(fixture.poll().await, both);
    let fleet = get(&fixture.registry, both[0]).await.unwrap().metadata.unwrap();
    assert_eq!(
        (fleet.labels[AUTOMANAGED].as_str(), fleet.annotations[MANIFEST].as_str()),
        ("true", "a.yaml")
    );
    let wardle = get(&fixture.registry, both[1]).await.unwrap();
    assert_eq!(wardle.spec.as_ref().unwrap().service.as_ref().unwrap().port, Some(443));
    assert_eq!(wardle.spec.unwrap().ca_bundle, b"PEM");
    assert_eq!(fixture.poll().await, both);
    assert_eq!(
        get(&fixture.registry, both[0]).await.unwrap().metadata.unwrap(),
        fleet,
        "nothing new, nothing written"
    );

    fixture.write("a.yaml", TWO.split("---").next().unwrap());
    assert_eq!(fixture.poll().await, both[..1]);
    fs::remove_file(fixture.files.path().join("a.yaml")).unwrap();
    assert_eq!(fixture.poll().await, [""; 0]);
}

#[tokio::test]
async fn json_is_read_too() {
    let mut fixture = Fixture::new().await;
    let text = r#"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService",
        "metadata":{"name":"v1.j.example.com","uid":"from-a-get","resourceVersion":"5"},
        "spec":{"group":"j.example.com","version":"v1","service":{"namespace":"n","name":"s","port":8443},
        "insecureSkipTLSVerify":true,"groupPriorityMinimum":1,"versionPriority":1},"status":{"conditions":[]}}"#;
    fixture.write("j.json", text);
    assert_eq!(fixture.poll().await, ["v1.j.example.com"]);
    assert_ne!(get(&fixture.registry, "v1.j.example.com").await.unwrap().metadata.unwrap().uid, "from-a-get");
}

#[tokio::test]
async fn a_bad_file_says_where_and_changes_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.write("a.yaml", TWO);
    let both = fixture.poll().await;
    for (bad, line, part) in [
        (TWO.replace("  versionPriority: 15\n---", "  versionPriority: [\n---"), None, ""),
        (TWO.replace("  group: fleet", "  gruop: fleet"), Some(9), "gruop"),
        (
            TWO.replace(
                "Minimum: 1000\n  versionPriority: 15\n---",
                "Minimum: many\n  versionPriority: 15\n---",
            ),
            Some(11),
            "",
        ),
        (
            TWO.replace("kind: APIService\nmetadata:\n  name: v1.", "kind: Service\nmetadata:\n  name: v1."),
            None,
            "only APIService",
        ),
        (TWO.replace("grpc://", "http://"), None, "kubridge.io/backend"),
        (TWO.replace("UEVN", "'?'"), None, "spec.caBundle"),
        (format!("{TWO}---\n{TWO}"), None, "twice"),
    ] {
        assert_ne!(bad, TWO);
        let fault = parse(bad.as_bytes()).unwrap_err();
        if line.is_some() {
            assert_eq!(fault.line, line, "{fault}");
        }
        assert!(fault.to_string().contains(part), "{fault}");
        fixture.write("a.yaml", &bad);
        assert_eq!(fixture.poll().await, both, "{fault}");
    }
    assert!(parse(b"\xff\xfe").unwrap_err().to_string().contains("UTF-8"));
    fs::write(fixture.files.path().join("a.yaml"), vec![b' '; (LARGEST + 1) as usize]).unwrap();
    assert_eq!(fixture.poll().await, both);
    fs::remove_dir_all(fixture.files.path()).unwrap();
    assert_eq!(fixture.poll().await, both, "a directory that cannot be read says nothing");
}

#[tokio::test]
async fn what_a_manifest_owns_is_put_right_and_what_a_user_owns_is_not() {
    let mut fixture = Fixture::new().await;
    let mine = create(&fixture.registry, &service("v1", "fleet.example.com")).await.unwrap();
    fixture.write("a.yaml", TWO);
    assert_eq!(fixture.poll().await.len(), 2);
    assert_eq!(get(&fixture.registry, "v1.fleet.example.com").await.unwrap(), mine);
    // The user gives the name up: the manifest has it at the next look, though the file did not change.
    let key = fixture.registry.key("v1.fleet.example.com");
    let delete =
        |_: Option<&crate::registry::store::Stored>| Ok::<_, StoreError>(crate::registry::Change::Delete);
    fixture.registry.store.write(key, false, delete).await.unwrap();
    fixture.poll().await;
    let theirs = get(&fixture.registry, "v1.fleet.example.com").await.unwrap().metadata.unwrap();
    assert_eq!(
        (theirs.annotations[MANIFEST].as_str(), theirs.annotations.contains_key(BACKEND)),
        ("a.yaml", true)
    );
}

#[tokio::test]
async fn files_that_went_while_nobody_looked_are_noticed() {
    let mut fixture = Fixture::new().await;
    fixture.write("a.yaml", TWO);
    assert_eq!(fixture.poll().await.len(), 2);
    fs::remove_file(fixture.files.path().join("a.yaml")).unwrap();
    let (tell, _) = watch::channel(Arc::from([]));
    fixture.manifests = Manifests::new(fixture.registry.clone(), fixture.files.path(), tell);
    assert_eq!(fixture.poll().await, [""; 0]);
}

#[tokio::test]
async fn mappings_are_told_and_a_bad_one_leaves_the_last_good_one() {
    let mut fixture = Fixture::new().await;
    fixture.write("a.yaml", &format!("{TWO}---\n# its mapping\n{}", MAPPING.replace("library", "other")));
    assert_eq!(fixture.poll().await.len(), 2);
    let both = ["library given.yaml volumes", "other a.yaml volumes"];
    assert_eq!(fixture.told(), both);
    fixture.mappings.mark_unchanged();
    fixture.poll().await;
    assert!(!fixture.mappings.has_changed().unwrap(), "nothing new is no news");

    let json = r#"{"apiVersion": "kubridge.io/v1alpha1", "kind": "Mapping", "metadata": {"name": "j"},
        "spec": {"resources": [{"kind": "Page", "plural": "leaves"}]}}"#;
    fixture.write("b.json", json);
    fixture.write("a.yaml", &MAPPING.replace("library", "other").replace("volumes", "tomes"));
    assert_eq!(fixture.poll().await, [""; 0]);
    let now = ["library given.yaml volumes", "other a.yaml tomes", "j b.json leaves"];
    assert_eq!(fixture.told(), now);

    for (bad, line, words) in [
        (MAPPING.replace("plural:", "plurals:"), Some(1), "resources[0].plurals: is not known; leave it out"),
        (
            MAPPING.replace("v1alpha1", "v2"),
            Some(1),
            "apiVersion: \"kubridge.io/v2\" is none of its forms; write",
        ),
        (format!("{TWO}---\n{}", MAPPING.replace("metadata", "meta")), Some(26), "metadata: is missing"),
        (format!("{MAPPING}---\n{MAPPING}"), Some(7), "\"library\": it is there twice"),
        (format!("{MAPPING}---\n{}", TWO.replace("  group: fleet", "  gruop: fleet")), Some(15), "gruop"),
        (format!("{MAPPING}---\nkind: ["), None, ""),
    ] {
        let fault = parse(bad.as_bytes()).unwrap_err();
        assert!(fault.to_string().contains(words), "{fault}");
        if line.is_some() {
            assert_eq!(fault.line, line, "{fault}");
        }
        fixture.write("a.yaml", &bad);
        fixture.poll().await;
        assert_eq!(fixture.told(), now, "{fault}");
    }

    fs::remove_file(fixture.files.path().join("a.yaml")).unwrap();
    fs::remove_file(fixture.files.path().join("b.json")).unwrap();
    fixture.poll().await;
    assert_eq!(fixture.told(), both[..1]);
}

const BACKEND_OBJECT: &str = "\
apiVersion: kubridge.io/v1alpha1
kind: Backend
metadata: {name: fleet, labels: {team: fleet}}
spec:
  endpoint: grpc://127.0.0.1:50051
  claims: [{group: fleet.example.com, version: v1}]
  timeouts: {request: 5s}
";

#[tokio::test]
async fn backends_are_made_from_files_and_go_with_them() {
    let mut fixture = Fixture::new().await;
    fixture
        .write("a.yaml", &format!("{TWO}---\n{BACKEND_OBJECT}---\n{}", MAPPING.replace("library", "fleet")));
    assert_eq!(fixture.poll().await.len(), 2);
    assert_eq!(fixture.told().len(), 2);
    let backends = async |fixture: &Fixture| fixture.registry.objects::<Backend>().await.unwrap();
    let made = backends(&fixture).await.remove(0);
    let metadata = made.metadata.unwrap();
    assert_eq!(
        (metadata.labels["team"].as_str(), metadata.annotations[MANIFEST].as_str()),
        ("fleet", "a.yaml")
    );
    assert_eq!(made.spec.unwrap().claims[0].group, "fleet.example.com");

    // A file with a fault changes nothing.
    for bad in [
        BACKEND_OBJECT.replace("timeouts", "timeout"),
        BACKEND_OBJECT.replace("grpc://127.0.0.1:50051", "127.0.0.1:50051"),
        BACKEND_OBJECT.replace("name: fleet", "name: Fleet_"),
        BACKEND_OBJECT.replace("v1alpha1", "v7"),
        BACKEND_OBJECT
            .replace("timeouts: {request: 5s}", "tls: {clientCertificate: {namespace: a, name: b}}"),
        format!("{BACKEND_OBJECT}---\n{BACKEND_OBJECT}"),
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        fixture.write("a.yaml", &bad);
        fixture.poll().await;
        assert_eq!(backends(&fixture).await.len(), 1, "{bad}");
    }
    fixture.write("a.yaml", "");
    fixture.poll().await;
    assert_eq!(backends(&fixture).await.len(), 0);
}
