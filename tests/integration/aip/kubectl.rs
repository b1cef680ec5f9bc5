//! The real kubectl on a service that knows nothing of Kubernetes.

use std::time::Instant;

use kubridge_bridge::caller::Code;
use serde_json::json;

use super::rest::{BOOKS, book, library};

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

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_waits_for_the_end_of_an_operation() {
    let (library, stack) = library().await;
    let kubectl = stack.kubectl().await;
    stack.client.post(BOOKS, &book("moby")).await.expect(201);
    library.service.state().slow = true;
    let count = |method: &str| library.service.count(method);
    for (condition, operation, error) in [
        ("Ready", "operations/1", None),
        ("Stalled", "operations/2", Some((Code::Internal, "the press broke"))),
        ("Ready=False", "operations/3", Some((Code::Internal, "it is broken"))),
    ] {
        // It outlasts the request that began it.
        let reprint = format!("{BOOKS}/moby/reprint?timeout=1s");
        let late = stack.client.post(&reprint, &json!({"copyCount": 5})).await.expect(504).json();
        assert!(late["message"].as_str().unwrap().contains(operation), "{late}");
        if condition == "Ready=False" {
            // It is so at once: nothing is waited for.
            kubectl
                .run(&["wait", "book/moby", "-n", "acme", "--for=condition=Ready=False", "--timeout=30s"])
                .await
                .ok();
            library.service.finish(operation, error);
            continue;
        }
        let reads = count("GetBook");
        let end = async {
            // kubectl has seen that it is not over, and what it watches is polled.
            stack.until(async |_| count("GetBook") > reads).await;
            let polls = count("ListBooks");
            stack.until(async |_| count("ListBooks") > polls + 1).await;
            let at = Instant::now();
            library.service.finish(operation, error);
            at
        };
        let wait = async {
            let wait = format!("--for=condition={condition}");
            let said = kubectl.run(&["wait", "book/moby", "-n", "acme", &wait, "--timeout=30s"]).await.ok();
            (said, Instant::now())
        };
        let ((said, waited), ended) = tokio::join!(wait, end);
        assert!(said.contains("condition met"), "{said}");
        assert!(waited > ended, "it was over before the operation");
    }
    library.stop().await;
}
