//! Delete, and what is deleted and kept.

use kubridge_bridge::caller::Code;
use serde_json::json;

use crate::{
    service::text,
    support::{API, BOOKS, client},
};

#[tokio::test(start_paused = true)]
async fn delete_is_a_delete_of_what_was_read() {
    let client = client();
    client.service.put("Book", "name: 'publishers/acme/books/moby' title: 'Moby-Dick'");
    let path = format!("{BOOKS}/moby");
    let book = client.get(&path).await.expect(200);
    client.service.before("DeleteBook", |state| {
        let mut other = state.objects["publishers/acme/books/moby"].clone();
        other.set_field_by_name("etag", prost_reflect::Value::String("other".into()));
        state.objects.insert("publishers/acme/books/moby".into(), other);
    });
    let deleted = client.delete(&path).await.expect(200);
    assert_eq!(deleted["details"]["uid"], book["metadata"]["uid"]);
    assert_eq!(client.service.count("DeleteBook"), 2, "read again after a conflict");
    assert_eq!(text(&client.service.last("DeleteBook"), "etag"), "other");
    client.delete(&path).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn what_has_children_stays() {
    let client = client();
    client.service.put("Book", "name: 'publishers/acme/books/moby' title: 'Moby-Dick'");
    let answer = client.delete(&format!("{API}/publishers/acme")).await;
    answer.expect(422);
    assert!(answer.message().contains("it has children"), "{}", answer.message());
    client.delete(&format!("{API}/publishers/lulu")).await.expect(200);
    let preconditions = json!({"preconditions": {"resourceVersion": "other"}});
    let headers = [("content-type", "application/json")];
    let path = format!("{API}/publishers/acme");
    let answer = client.send(http::Method::DELETE, &path, &headers, preconditions.to_string()).await;
    answer.expect(409);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_an_undelete_is_not_shown() {
    let client = client();
    client.service.put("Note", "name: 'publishers/acme/notes/n' text: 'one'");
    let notes = format!("{API}/namespaces/publishers---acme/notes");
    let path = format!("{notes}/n");
    client.delete(&path).await.expect(200);
    assert!(client.service.object("publishers/acme/notes/n").is_some());
    client.get(&path).await.expect(404);
    assert_eq!(client.names(&notes).await.0, [""; 0]);
    client.delete(&path).await.expect(404);
    let note = json!({"metadata": {"name": "n"}, "spec": {"text": "t"}});
    assert_eq!(client.post(&notes, &note).await.expect(409)["reason"], "AlreadyExists");
}

#[tokio::test(start_paused = true)]
async fn a_whole_collection_goes() {
    let client = client();
    for i in 0..3 {
        client.service.put("Book", &format!("name: 'publishers/acme/books/b{i}' title: 'B'"));
    }
    client.delete(BOOKS).await.expect(200);
    assert_eq!(client.service.count("DeleteBook"), 3);
    client.service.fail("ListBooks", Code::PermissionDenied, "not you");
    client.delete(BOOKS).await.expect(403);
}
