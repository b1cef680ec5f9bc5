//! What kubectl waits for.

use super::Place;

pub async fn get_watch_prints_what_happens(place: &Place) {
    let kubectl = &place.kubectl;
    let mut watch =
        kubectl.start(&["get", "machines", "-l", "tier=db", "-w", "--output-watch-events", "--no-headers"]);
    assert!(watch.line().await.starts_with("ADDED      atlas"));
    kubectl.run(&["label", "machine", "boreas", "tier=db", "--overwrite"]).await.ok();
    assert!(watch.line().await.starts_with("ADDED      boreas"), "it came into the selection");
    kubectl.run(&["patch", "machine", "atlas", "--type=merge", "-p", r#"{"spec":{"cpus":9}}"#]).await.ok();
    assert!(watch.line().await.starts_with("MODIFIED   atlas"));
    kubectl.run(&["label", "machine", "boreas", "tier-"]).await.ok();
    assert!(watch.line().await.starts_with("DELETED    boreas"), "it left the selection");
    kubectl.run(&["delete", "machine", "atlas"]).await.ok();
    assert!(watch.line().await.starts_with("DELETED    atlas"));
}

pub async fn wait_for_jsonpath_and_delete(place: &Place) {
    let kubectl = &place.kubectl;
    kubectl
        .run(&["wait", "--for=jsonpath={.status.powerCycles}=0", "machine/atlas", "--timeout=10s"])
        .await
        .ok();

    let switched_on = ["wait", "--for=jsonpath={.status.power}=On", "machine/boreas", "--timeout=30s"];
    let waiting = kubectl.run(&switched_on);
    let patch = ["patch", "machine", "boreas", "--type=merge", "-p", r#"{"spec":{"power":"On"}}"#];
    let (waited, patched) = tokio::join!(waiting, kubectl.run(&patch));
    patched.ok();
    assert_eq!(waited.ok(), "machine.inventory.example.com/boreas condition met\n");

    let gone = ["wait", "--for=delete", "machine/atlas", "--timeout=30s"];
    let (waited, deleted) =
        tokio::join!(kubectl.run(&gone), kubectl.run(&["delete", "machine", "atlas", "--wait=false"]));
    deleted.ok();
    // Either wait saw it go, or it was gone before wait looked.
    assert!(waited.code == 0 || waited.stderr.contains("NotFound"), "{}", waited.stderr);

    let timeout = ["wait", "--for=jsonpath={.status.powerCycles}=99", "machine/boreas", "--timeout=1s"];
    assert!(kubectl.run(&timeout).await.fails().contains("timed out"));
}

pub async fn delete_waits_for_the_finalizer(place: &Place) {
    let kubectl = &place.kubectl;
    let add = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    kubectl.run(&["patch", "machine", "atlas", "--type=merge", "-p", add]).await.ok();
    kubectl.run(&["delete", "machine", "atlas", "--wait=false"]).await.ok();
    let stamp =
        kubectl.run(&["get", "machine", "atlas", "-o", "jsonpath={.metadata.deletionTimestamp}"]).await.ok();
    assert!(stamp.ends_with('Z'), "it is still there, and on its way: {stamp}");
    let remove = r#"{"metadata":{"finalizers":null}}"#;
    let patch = ["patch", "machine", "atlas", "--type=merge", "-p", remove];
    let (waited, removed) =
        tokio::join!(kubectl.run(&["delete", "machine", "atlas", "--timeout=30s"]), kubectl.run(&patch));
    removed.ok();
    assert!(waited.code == 0 || waited.stderr.contains("NotFound"), "{}", waited.stderr);
    kubectl.run(&["get", "machine", "atlas"]).await.fails();
}
