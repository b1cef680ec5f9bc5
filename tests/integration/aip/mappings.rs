//! Mappings in `--manifests`: chosen by what they name, or by an annotation, and read again when they change.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::rest::book;
use crate::support::{Library, Options, Stack};

const NAME: &str = "v1.library.example.com";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const IN_ACME: &str = "/apis/library.example.com/v1/namespaces/acme";

fn mapping(name: &str, plural: &str) -> String {
    format!(
        "apiVersion: kubridge.io/v1alpha1\nkind: Mapping\nmetadata: {{name: {name}}}\n\
         spec:\n  resources:\n  - {{kind: Book, plural: {plural}}}\n"
    )
}

fn api_service(backend: &str, mapping: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {
            "name": NAME, "annotations": {"kubridge.io/backend": backend, "kubridge.io/mapping": mapping},
        },
        "spec": {"group": "library.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15},
    })
}

/// A library, and a stack that knows the Mappings of a directory and no backend yet.
async fn stack(dir: &Path) -> (Library, Stack) {
    let library = Library::start().await;
    library.service.put("Publisher", "name: 'publishers/acme' display_name: 'Acme'");
    let args = vec![format!("--manifests={}", dir.display())];
    (library, Stack::with(Options { backend_down: true, args, ..Options::default() }).await)
}

/// Waits until `Available` has this reason and says these words.
async fn becomes(stack: &Stack, reason: &str, words: &str) {
    let begin = Instant::now();
    loop {
        let said = stack.available(NAME).await;
        if said[1] == reason && said[2].contains(words) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "it does not become {reason}, {words}: {said:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Has the APIService choose another Mapping, or none.
async fn choose(stack: &Stack, mapping: Option<&str>) {
    let patch = json!({"metadata": {"annotations": {"kubridge.io/mapping": mapping}}});
    stack
        .client
        .patch(&format!("{SERVICES}/{NAME}"), "application/merge-patch+json", &patch)
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_chooses_a_mapping_which_may_change() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("mappings.yaml");
    fs::write(&file, mapping("volumes", "volumes")).unwrap();
    let (library, stack) = stack(dir.path()).await;
    let service = api_service(&format!("grpc://{}", library.addr()), "tomes");
    stack.client.post(SERVICES, &service).await.expect(201);
    becomes(&stack, "MappingNotFound", "no Mapping \"tomes\" (there is \"volumes\")").await;
    becomes(&stack, "MappingNotFound", "or add that Mapping to --manifests").await;
    assert_eq!(stack.available(NAME).await[0], "False");
    stack.client.get(&format!("{IN_ACME}/volumes")).await.expect(503);

    fs::write(&file, format!("{}---\n{}", mapping("volumes", "volumes"), mapping("tomes", "tomes"))).unwrap();
    stack.until(|stack| stack.serves("/apis/library.example.com/v1/tomes")).await;
    becomes(&stack, "Passed", "").await;
    stack.client.post(&format!("{IN_ACME}/tomes"), &book("moby")).await.expect(201);
    stack.client.get(&format!("{IN_ACME}/volumes/moby")).await.expect(404);

    fs::write(&file, format!("{}---\n{}", mapping("volumes", "volumes"), mapping("tomes", "scrolls")))
        .unwrap();
    stack.until(|stack| stack.serves("/apis/library.example.com/v1/scrolls")).await;
    stack.client.get(&format!("{IN_ACME}/scrolls/moby")).await.expect(200);
    stack.client.get(&format!("{IN_ACME}/tomes/moby")).await.expect(404);

    // It is gone: what was good stays, and the condition says so.
    fs::write(&file, mapping("volumes", "volumes")).unwrap();
    becomes(&stack, "PassedWithOldSchema", "no Mapping \"tomes\"").await;
    stack.client.get(&format!("{IN_ACME}/scrolls/moby")).await.expect(200);
    library.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_annotation_the_one_that_names_the_backend_counts() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("volumes.yaml"), mapping("volumes", "volumes")).unwrap();
    fs::write(dir.path().join("tomes.yaml"), mapping("tomes", "tomes")).unwrap();
    let other = mapping("other", "leaves").replace("kind: Book", "message: example.other.v1.Leaf");
    fs::write(dir.path().join("other.yaml"), other).unwrap();
    let (library, stack) = stack(dir.path()).await;
    let mut service = api_service(&format!("grpc://{}", library.addr()), "");
    service["metadata"]["annotations"].as_object_mut().unwrap().remove("kubridge.io/mapping");
    stack.client.post(SERVICES, &service).await.expect(201);
    let twice =
        "example.library.v1.Book is in two mappings: tomes (in tomes.yaml) and volumes (in volumes.yaml)";
    becomes(&stack, "SchemaRejected", twice).await;
    becomes(&stack, "SchemaRejected", "kubridge.io/mapping: NAME").await;

    // The annotation says which.
    choose(&stack, Some("volumes")).await;
    becomes(&stack, "Passed", "").await;
    stack.client.get(&format!("{IN_ACME}/volumes")).await.expect(200);

    // Of another backend's nothing can be taken.
    choose(&stack, Some("other")).await;
    becomes(&stack, "SchemaRejected", "no message and no kind that the Mapping \"other\" names").await;

    // Or there is one.
    fs::remove_file(dir.path().join("tomes.yaml")).unwrap();
    choose(&stack, None).await;
    becomes(&stack, "Passed", "").await;
    stack.client.get(&format!("{IN_ACME}/volumes")).await.expect(200);

    // Nobody but a gRPC backend is mapped.
    let mut local = api_service("", "volumes");
    local["metadata"] =
        json!({"name": "v1.local.example.com", "annotations": {"kubridge.io/mapping": "volumes"}});
    local["spec"]["group"] = json!("local.example.com");
    let refused = stack.client.post(SERVICES, &local).await.expect(422).json();
    assert_eq!(
        refused["details"]["causes"][0]["field"], "metadata.annotations[kubridge.io/mapping]",
        "{refused}"
    );
    library.stop().await;
}
