//! Objects in the contract form.

use serde_json::json;

use crate::support::{API, BOOKS, client};

#[tokio::test(start_paused = true)]
async fn an_object_is_taken_apart() {
    let client = client();
    client.service.put(
        "Book",
        "name: 'publishers/acme/books/moby' title: 'Moby-Dick' authors: 'Melville' page_count: 0 \
         shelf { room: 'A' row: 3 scanned_by: 'robot' } labels { key: 'tier' value: 'gold' } \
         annotations { key: 'a' value: 'b' } copy_count: 0 pin: '1234' chapters { title: 'Loomings' } leather: 'red'",
    );
    let book = client.get(&format!("{BOOKS}/moby")).await.expect(200);
    let version = book["metadata"]["resourceVersion"].clone();
    assert!(version.is_string(), "{book}");
    assert_eq!(
        book,
        json!({
            "apiVersion": "library.example.com/v1", "kind": "Book",
            "metadata": {
                "name": "moby", "namespace": "acme", "uid": "u1700000003", "resourceVersion": version,
                "generation": 1, "creationTimestamp": "2023-11-14T22:13:23Z",
                "labels": {"tier": "gold"},
                "annotations": {"a": "b", "kubridge.io/update-time": "2023-11-14T22:13:23.500Z"},
            },
            "spec": {
                "title": "Moby-Dick", "authors": ["Melville"], "pageCount": 0,
                "shelf": {"room": "A", "row": 3, "scannedBy": "robot"},
                "chapters": [{"title": "Loomings"}], "leather": "red",
            },
            "status": {
                "state": "Available", "copyCount": 0,
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "Settled", "message": "no operation is running",
                }],
            },
        })
    );
    assert_eq!(client.service.last("GetBook").get_field_by_name("view").unwrap().as_enum_number(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found() {
    let client = client();
    client.get(&format!("{BOOKS}/moby")).await.expect(404);
    for namespace in ["nobody", "x0-4", "acme--lulu", "authors---acme", "x0-2d"] {
        let answer = client.get(&format!("{API}/namespaces/{namespace}/books/moby")).await;
        answer.expect(404);
    }
    // What has no resource name is not asked for.
    assert_eq!(client.service.count("GetBook"), 2);
}

#[tokio::test(start_paused = true)]
async fn names_that_kubernetes_forbids_are_escaped() {
    let client = client();
    client.service.put("Publisher", "name: 'publishers/Acme_2' display_name: 'Acme'");
    client.service.put("Book", "name: 'publishers/Acme_2/books/Moby_Dick' title: 'Moby-Dick'");
    let (names, _) = client.names(&format!("{API}/books")).await;
    assert_eq!(names, ["x0-41cme-5f2/x0-4doby-5f-44ick"]);
    let path = format!("{API}/namespaces/x0-41cme-5f2/books/x0-4doby-5f-44ick");
    let book = client.get(&path).await.expect(200);
    assert_eq!(book["spec"]["title"], "Moby-Dick");
    let publisher = client.get(&format!("{API}/publishers/x0-41cme-5f2")).await.expect(200);
    assert_eq!(publisher["metadata"].get("namespace"), None);
}

#[tokio::test(start_paused = true)]
async fn a_name_outside_of_the_pattern_is_the_backends_fault() {
    let client = client();
    client.service.put("Book", "name: 'publishers/acme/books/moby' title: 'Moby-Dick'");
    client.service.before("GetBook", |state| {
        let mut book = state.objects["publishers/acme/books/moby"].clone();
        book.set_field_by_name("name", prost_reflect::Value::String("shelves/1/books/moby".into()));
        state.objects.insert("publishers/acme/books/moby".into(), book);
    });
    let answer = client.get(&format!("{BOOKS}/moby")).await;
    answer.expect(500);
    assert!(
        answer.log.contains("fits no pattern") && answer.log.contains("patterns: [...]"),
        "{}",
        answer.log
    );
    assert!(!answer.message().contains("shelves"), "{}", answer.message());
}

#[tokio::test(start_paused = true)]
async fn a_singleton_is_one_object_in_each_namespace() {
    let client = client();
    client.service.put("Settings", "name: 'publishers/acme/settings' lends: true");
    let path = format!("{API}/namespaces/acme/settings/settings");
    let settings = client.get(&path).await.expect(200);
    assert_eq!(settings["spec"]["lends"], true);
    client.get(&format!("{API}/namespaces/acme/settings/other")).await.expect(404);
    client.get(&format!("{API}/namespaces/lulu/settings/settings")).await.expect(404);
    assert_eq!(client.names(&format!("{API}/namespaces/acme/settings")).await.0, ["acme/settings"]);
    assert_eq!(
        client.names(&format!("{API}/settings")).await.0,
        ["acme/settings"],
        "of all parents, each by a Get"
    );
    let changed = client.merge(&path, &json!({"spec": {"lends": false}})).await.expect(200);
    assert_eq!(changed["spec"].get("lends"), None);
    client.post(&format!("{API}/namespaces/lulu/settings"), &json!({})).await.expect(405);
}

#[tokio::test(start_paused = true)]
async fn more_than_a_namespace_can_hold_is_shown_and_not_made() {
    let client = client();
    let long = "l".repeat(70);
    client.service.put("Publisher", &format!("name: 'publishers/{long}' display_name: 'L'"));
    client.service.put("Book", &format!("name: 'publishers/{long}/books/moby' title: 'Moby-Dick'"));
    let path = format!("{API}/namespaces/x0{long}/books");
    assert_eq!(client.names(&format!("{API}/books")).await.0, [format!("x0{long}/moby")]);
    client.get(&format!("{path}/moby")).await.expect(200);
    let answer = client.post(&path, &json!({"metadata": {"name": "b"}, "spec": {"title": "B"}})).await;
    answer.expect(422);
    assert_eq!(answer.causes()[0].0, "metadata.namespace");
    assert!(answer.causes()[0].1.contains("63"), "{:?}", answer.causes());
    client.delete(&format!("{path}/moby")).await.expect(200);
}
