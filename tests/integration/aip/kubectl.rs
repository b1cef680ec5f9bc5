//! The real kubectl on a service that knows nothing of Kubernetes.

use super::rest::library;

const MOBY: &str = r#"
apiVersion: library.example.com/v1
kind: Book
metadata: {name: moby, namespace: acme, labels: {tier: gold}}
spec: {title: Moby-Dick, isbn: "1", shelf: {room: A, row: 1}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_and_writes_it() {
    let (library, stack) = library().await;
    let kubectl = stack.kubectl().await;
    kubectl.run_with(&["apply", "-f", "-"], MOBY, &[]).await.ok();
    let table = kubectl.run(&["get", "books", "-n", "acme"]).await.ok();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "TITLE", "STATE", "AGE"]);
    assert_eq!(lines[1][..3], ["moby", "Moby-Dick", "Available"]);
    let changed = MOBY.replace("row: 1", "row: 2");
    let applied = kubectl.run_with(&["apply", "-f", "-"], &changed, &[]).await.ok();
    assert!(applied.contains("configured"), "{applied}");
    assert_eq!(super::service::mask(&library.service.last("UpdateBook"))[0], "shelf.row");
    let again = kubectl.run_with(&["apply", "-f", "-"], &changed, &[]).await.ok();
    assert!(again.contains("unchanged"), "{again}");
    kubectl.run(&["label", "book/moby", "-n", "acme", "color=red"]).await.ok();
    let selected = kubectl.run(&["get", "books", "-A", "-l", "color=red", "-o", "name"]).await.ok();
    assert_eq!(selected.trim(), "book.library.example.com/moby");
    let explained = kubectl.run(&["explain", "book.spec.shelf.room"]).await.ok();
    assert!(explained.contains("FIELD: room <string>"), "{explained}");
    let refused =
        kubectl.run(&["patch", "book/moby", "-n", "acme", "--type=merge", "-p", r#"{"spec":{"isbn":"2"}}"#]);
    assert!(refused.await.fails().contains("spec.isbn: Invalid value: field is immutable"));
    kubectl.run(&["get", "publishers", "acme", "-o", "yaml"]).await.ok();
    kubectl.run(&["delete", "book/moby", "-n", "acme", "--wait=false"]).await.ok();
    assert!(library.service.object("publishers/acme/books/moby").is_none());
}
