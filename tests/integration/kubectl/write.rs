//! What kubectl changes.

use super::Place;

const MACHINE: &str = r#"
apiVersion: inventory.example.com/v1
kind: Machine
metadata: {name: dione, namespace: default}
spec: {serial: D-4, rack: r1, cpus: 2}
"#;

pub async fn apply_creates_changes_and_leaves_alone(place: &Place) {
    let kubectl = &place.kubectl;
    let apply = |text: String| async move { kubectl.run_with(&["apply", "-f", "-"], &text, &[]).await.ok() };
    assert_eq!(apply(MACHINE.into()).await, "machine.inventory.example.com/dione created\n");
    assert_eq!(apply(MACHINE.into()).await, "machine.inventory.example.com/dione unchanged\n");
    let changed = MACHINE.replace("cpus: 2", "cpus: 6");
    assert_eq!(apply(changed).await, "machine.inventory.example.com/dione configured\n");
    let without = MACHINE.replace(", cpus: 2", "");
    assert_eq!(apply(without).await, "machine.inventory.example.com/dione configured\n");
    let spec =
        kubectl.run(&["get", "machine", "dione", "-o", "jsonpath={.spec.cpus}/{.metadata.generation}"]).await;
    assert_eq!(spec.ok(), "/3", "a field that is no longer applied goes; each change of the spec counts");
}

pub async fn create_refuses_what_is_wrong(place: &Place) {
    let kubectl = &place.kubectl;
    let create =
        |text: String| async move { kubectl.run_with(&["create", "-f", "-"], &text, &[]).await.fails() };
    let complaint = create(MACHINE.replace("dione", "atlas")).await;
    assert!(
        complaint.contains("Error from server (AlreadyExists)")
            && complaint.contains("machines.inventory.example.com \"atlas\" already exists"),
        "{complaint}"
    );
    let complaint = create(MACHINE.replace("cpus: 2", "cpu: 2")).await;
    assert!(complaint.contains("unknown field \"spec.cpu\""), "{complaint}");
    let complaint = create(MACHINE.replace("name: dione", "name: Dione_")).await;
    assert!(complaint.contains("metadata.name: Invalid value: \"Dione_\""), "{complaint}");
    let complaint = create(MACHINE.replace("serial: D-4, ", "")).await;
    assert!(complaint.contains("spec.serial"), "the backend's field violation: {complaint}");
    let complaint = create(MACHINE.replace("cpus: 2", "cpus: many")).await;
    assert!(complaint.contains("spec.cpus"), "{complaint}");
}

pub async fn diff_shows_the_change_and_writes_nothing(place: &Place) {
    let kubectl = &place.kubectl;
    kubectl.run_with(&["apply", "-f", "-"], MACHINE, &[]).await.ok();
    let same = kubectl.run_with(&["diff", "-f", "-"], MACHINE, &[]).await;
    assert_eq!((same.code, same.stdout.as_str()), (0, ""), "{}", same.stderr);
    let diff = kubectl.run_with(&["diff", "-f", "-"], &MACHINE.replace("cpus: 2", "cpus: 12"), &[]).await;
    assert_eq!(diff.code, 1, "{}", diff.stderr);
    assert!(diff.stdout.contains("-  cpus: 2\n+  cpus: 12\n"), "{}", diff.stdout);
    let cpus = kubectl.run(&["get", "machine", "dione", "-o", "jsonpath={.spec.cpus}"]).await.ok();
    assert_eq!(cpus, "2");
}

pub async fn edit_writes_what_the_editor_left(place: &Place) {
    let kubectl = &place.kubectl;
    let editor = [("KUBE_EDITOR", "sed -i s/A-1/A-100/")];
    let said = kubectl.run_with(&["edit", "machine", "atlas"], "", &editor).await.ok();
    assert_eq!(said, "machine.inventory.example.com/atlas edited\n");
    let serial = kubectl.run(&["get", "machine", "atlas", "-o", "jsonpath={.spec.serial}"]).await.ok();
    assert_eq!(serial, "A-100");
}

pub async fn patch_takes_merge_and_json(place: &Place) {
    let kubectl = &place.kubectl;
    let merge = r#"{"spec":{"attributes":{"owner":"ann"},"rack":null}}"#;
    kubectl.run(&["patch", "machine", "atlas", "--type=merge", "-p", merge]).await.ok();
    let json =
        r#"[{"op":"test","path":"/spec/disks/0/name","value":"sda"},{"op":"remove","path":"/spec/disks/0"}]"#;
    kubectl.run(&["patch", "machine", "atlas", "--type=json", "-p", json]).await.ok();
    let path = "jsonpath={.spec.attributes.owner}/{.spec.rack}/{.spec.disks[*].name}";
    assert_eq!(kubectl.run(&["get", "machine", "atlas", "-o", path]).await.ok(), "ann//sdb");

    let strategic = kubectl.run(&["patch", "machine", "atlas", "-p", merge]).await.fails();
    assert!(strategic.contains("application/merge-patch+json"), "names what is accepted: {strategic}");
    let status = r#"{"status":{"powerCycles":7}}"#;
    kubectl
        .run(&["patch", "machine", "atlas", "--subresource=status", "--type=merge", "-p", status])
        .await
        .ok();
    let cycles = kubectl.run(&["get", "machine", "atlas", "-o", "jsonpath={.status.powerCycles}"]).await.ok();
    assert_eq!(cycles, "7");
}

pub async fn replace_label_and_annotate(place: &Place) {
    let kubectl = &place.kubectl;
    let machine = kubectl.run(&["get", "machine", "atlas", "-o", "yaml"]).await.ok();
    let replaced = kubectl.run_with(&["replace", "-f", "-"], &machine.replace("A-1", "A-7"), &[]).await.ok();
    assert_eq!(replaced, "machine.inventory.example.com/atlas replaced\n");
    let stale = kubectl.run_with(&["replace", "-f", "-"], &machine.replace("A-1", "A-8"), &[]).await.fails();
    assert!(stale.contains("Error from server (Conflict)"), "{stale}");
    assert!(
        stale.contains("the object has been modified; please apply your changes to the latest version"),
        "{stale}"
    );

    kubectl.run(&["label", "machine", "atlas", "tier=cache", "--overwrite"]).await.ok();
    kubectl.run(&["annotate", "machine", "atlas", "example.com/note=hello"]).await.ok();
    let path =
        "jsonpath={.metadata.labels.tier}/{.metadata.annotations.example\\.com/note}/{.metadata.generation}";
    let found = kubectl.run(&["get", "machine", "atlas", "-o", path]).await.ok();
    assert_eq!(found, "cache/hello/2", "metadata does not count as a change of the spec");
}

pub async fn delete_removes(place: &Place) {
    let kubectl = &place.kubectl;
    let said = kubectl.run(&["delete", "machine", "atlas"]).await.ok();
    assert!(said.starts_with("machine.inventory.example.com \"atlas\" deleted"), "{said}");
    kubectl.run(&["delete", "machines", "--all", "-n", "lab"]).await.ok();
    let left = kubectl.run(&["get", "machines", "-A", "-o", "jsonpath={.items[*].metadata.name}"]).await.ok();
    assert_eq!(left, "boreas");
    let complaint = kubectl.run(&["delete", "machine", "atlas"]).await.fails();
    assert!(complaint.contains("NotFound"), "{complaint}");
    kubectl.run(&["delete", "machine", "atlas", "--ignore-not-found"]).await.ok();
}

pub async fn dry_run_writes_nothing(place: &Place) {
    let kubectl = &place.kubectl;
    let said = kubectl.run_with(&["create", "--dry-run=server", "-f", "-"], MACHINE, &[]).await.ok();
    assert_eq!(said, "machine.inventory.example.com/dione created (server dry run)\n");
    kubectl.run(&["get", "machine", "dione"]).await.fails();
    kubectl.run(&["label", "machine", "atlas", "a=b", "--dry-run=server"]).await.ok();
    kubectl.run(&["delete", "machine", "atlas", "--dry-run=server"]).await.ok();
    let labels = kubectl.run(&["get", "machine", "atlas", "-o", "jsonpath={.metadata.labels}"]).await.ok();
    assert_eq!(labels, r#"{"tier":"db"}"#);
}
