//! What `kubridge lint` says of a service that knows nothing of Kubernetes, and mapping files on the command line.

use tempfile::TempDir;
use tokio::process::Command;

use super::rest::{book, library, library_with};
use crate::support::Library;

async fn lint(args: &[&str]) -> (bool, String) {
    run("lint", args).await
}

async fn run(command: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kubridge")).arg(command).args(args).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

const VOLUMES: &str = "
apiVersion: kubridge.io/v1alpha1
kind: Mapping
metadata: {name: library}
spec:
  resources:
  - {kind: Book, plural: volumes}
";

#[tokio::test(flavor = "multi_thread")]
async fn lint_shows_what_follows_from_what() {
    let library = Library::start().await;
    let url = format!("grpc://{}", library.addr());
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("library.yaml");
    std::fs::write(&file, VOLUMES).unwrap();
    let mapping = format!("--mapping={}", file.display());
    let (passed, text) = lint(&["--backend", &url, &mapping]).await;
    assert!(passed, "{text}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = text.lines().map(words).collect();
    for line in [
        "library.example.com/v1 volumes (kind Book, namespaced)",
        "group library.example.com (google.api.resource of example.library.v1.Book: the service in type)",
        "version v1 (the package example.library.v1)",
        "plural volumes (the mapping file)",
        "field state status (field_behavior OUTPUT_ONLY)",
        "field etag metadata.resourceVersion (the field's name and type (AIP-154))",
        "create: book_id the id (AIP-133)",
        "list: view \"BOOK_VIEW_FULL\" (AIP-157)",
        "subresource setaside example.library.v1.LibraryService.ReserveBook (google.api.http)",
        "watch made: polled List (/example.library.v1.LibraryService/ListBooks)",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains("CountBooks: is not served"), "{text}");

    // The description says it in the same words.
    let (passed, text) = run("describe", &["--backend", &url]).await;
    assert!(passed, "{text}");
    let lines: Vec<String> = text.lines().map(words).collect();
    for line in [
        "list /example.library.v1.LibraryService/ListBooks",
        "watch made: polled List (/example.library.v1.LibraryService/ListBooks)",
        "create (POST) /example.library.v1.LibraryService/ReserveBook",
    ] {
        assert!(lines.iter().any(|found| found.ends_with(line)), "{line}: {text}");
    }

    std::fs::write(&file, VOLUMES.replace("plural", "plurals")).unwrap();
    let (passed, text) = lint(&["--backend", &url, &mapping]).await;
    assert!(!passed && text.contains("spec.resources[0].plurals: is not known; leave it out"), "{text}");
    library.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_file_is_served() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("library.yaml");
    std::fs::write(&file, VOLUMES).unwrap();
    let (library, stack) = library_with(vec![format!("--mapping={}", file.display())]).await;
    let volumes = "/apis/library.example.com/v1/namespaces/acme/volumes";
    stack.client.post(volumes, &book("moby")).await.expect(201);
    stack.client.get(&format!("{volumes}/moby")).await.expect(200);
    stack.client.get("/apis/library.example.com/v1/namespaces/acme/books/moby").await.expect(404);
    library.stop().await;
    drop(stack);
    let bad = Command::new(env!("CARGO_BIN_EXE_kubridge"))
        .args(["serve", "--listen=127.0.0.1:0", "--mapping=/nowhere.yaml"])
        .arg(format!("--data-dir={}", dir.path().join("d").display()))
        .output()
        .await
        .unwrap();
    let error = String::from_utf8(bad.stderr).unwrap();
    assert!(bad.status.code() == Some(2) && error.contains("--mapping"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_outlasts_the_request_is_named() {
    let (backend, stack) = library().await;
    backend.service.state().slow = true;
    let editions = "/apis/library.example.com/v1/namespaces/acme/editions?timeout=2s";
    let edition = serde_json::json!({"metadata": {"generateName": "e-"}, "spec": {"year": 1851}});
    let late = stack.client.post(editions, &edition).await.expect(504).json();
    assert!(late["message"].as_str().unwrap().contains("operations/1"), "{late}");
    backend.service.finish("operations/1", None);
    let list =
        stack.client.get("/apis/library.example.com/v1/namespaces/acme/editions").await.expect(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
}
