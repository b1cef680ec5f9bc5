//! Create, update, patch.

use kubridge_bridge::caller::Code;
use serde_json::{Value, json};

use crate::{
    service::{entry, mask, text},
    support::{API, BOOKS, Client, changed, client, client_of},
};

fn book(name: &str) -> Value {
    json!({
        "apiVersion": "library.example.com/v1", "kind": "Book", "metadata": {"name": name},
        "spec": {"title": "Moby-Dick", "isbn": "123", "shelf": {"room": "A", "row": 1}, "authors": ["Melville"]},
    })
}

async fn moby(client: &Client) -> Value {
    client.post(BOOKS, &book("moby")).await.expect(201)
}

const MOBY: &str = "/apis/library.example.com/v1/namespaces/acme/books/moby";

#[tokio::test(start_paused = true)]
async fn create_is_a_create() {
    let client = client();
    let mut new = book("moby");
    new["metadata"]["labels"] = json!({"tier": "gold"});
    new["metadata"]["annotations"] = json!({"who": "me", "kubridge.io/update-time": "never"});
    new["status"] = json!({"copyCount": 7});
    new["spec"]["pin"] = json!("1234");
    let made = client.post(BOOKS, &new).await.expect(201);
    assert_eq!(made["status"]["state"], "Available");
    assert_eq!(made["status"]["copyCount"], 0, "the status is the backend's: {made}");
    assert_eq!(made["metadata"]["labels"]["tier"], "gold");
    let request = client.service.last("CreateBook");
    assert_eq!(
        (text(&request, "parent"), text(&request, "book_id")),
        ("publishers/acme".into(), "moby".into())
    );
    assert_eq!(text(&request, "request_id").len(), 36, "a uuid");
    let stored = client.service.object("publishers/acme/books/moby").unwrap();
    assert_eq!(text(&stored, "pin"), "1234");
    assert_eq!(entry(&stored, "annotations", "who").as_deref(), Some("me"));
    assert_eq!(entry(&stored, "annotations", "kubridge.io/update-time"), None, "no client writes it");
    assert_eq!(client.post(BOOKS, &new).await.expect(409)["reason"], "AlreadyExists");
    let nowhere = client.post(&format!("{API}/namespaces/nobody/books"), &new).await;
    assert!(nowhere.message().contains("publishers/nobody"), "{}", nowhere.message());
    nowhere.expect(404);
    let unnamed = client.post(&format!("{API}/namespaces/a--b/books"), &new).await;
    unnamed.expect(422);
    assert_eq!(unnamed.causes()[0].0, "metadata.namespace");
}

#[tokio::test(start_paused = true)]
async fn required_fields_are_causes() {
    let client = client();
    let mut new = book("moby");
    new["spec"] = json!({"shelf": {"row": 1}, "chapters": [{"title": "one"}, {}]});
    let answer = client.post(BOOKS, &new).await;
    answer.expect(422);
    let fields: Vec<String> = answer.causes().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["spec.chapters[1].title", "spec.shelf.room", "spec.title"]);
    assert!(answer.causes()[2].1.starts_with("Required value"), "{:?}", answer.causes());
    assert_eq!(client.service.count("CreateBook"), 0);
    // What the service says of its own fields is told in ours.
    let mut forbidden = book("moby");
    forbidden["spec"]["title"] = json!("forbidden");
    let answer = client.post(BOOKS, &forbidden).await;
    answer.expect(422);
    assert_eq!(answer.causes(), [("spec.title".into(), "Invalid value: no book is called so".into())]);
}

#[tokio::test(start_paused = true)]
async fn an_update_names_what_changed() {
    let client = client();
    let mut stored = moby(&client).await;
    stored["spec"]["title"] = json!("The Whale");
    stored["spec"]["shelf"]["row"] = json!(2);
    stored["spec"]["authors"] = json!(["Herman Melville", "Melville"]);
    stored["spec"]["copies"] = json!({"one": {"room": "B"}});
    stored["metadata"]["labels"] = json!({"tier": "gold"});
    let updated = client.put(MOBY, &stored).await.expect(200);
    assert_eq!(updated["spec"]["shelf"], json!({"room": "A", "row": 2}));
    assert_ne!(updated["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"]);
    let request = client.service.last("UpdateBook");
    assert_eq!(mask(&request), ["title", "authors", "shelf.row", "labels", "copies"]);
    assert_eq!(client.service.count("GetBook"), 1, "what was read is what is compared with");

    let mut removed = updated.clone();
    removed["spec"].as_object_mut().unwrap().remove("shelf");
    removed["spec"].as_object_mut().unwrap().remove("authors");
    let updated = client.put(MOBY, &removed).await.expect(200);
    assert_eq!(mask(&client.service.last("UpdateBook")), ["authors", "shelf"]);
    assert_eq!((updated["spec"].get("shelf"), updated["spec"].get("authors")), (None, None));

    let before = client.service.count("UpdateBook");
    let same = client.put(MOBY, &updated).await.expect(200);
    assert_eq!(same, updated);
    let mut status = updated.clone();
    status["status"]["copyCount"] = json!(1000);
    status["metadata"]["annotations"] = json!({});
    assert_eq!(client.put(MOBY, &status).await.expect(200), updated, "the status is the backend's");
    assert_eq!(client.service.count("UpdateBook"), before, "nothing changed");
    client.put(&format!("{MOBY}/status"), &status).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn a_patch_is_an_update() {
    let client = client();
    moby(&client).await;
    let patched =
        client.merge(MOBY, &json!({"spec": {"title": "The Whale", "paper": "thin"}})).await.expect(200);
    assert_eq!(patched["spec"]["title"], "The Whale");
    assert_eq!(mask(&client.service.last("UpdateBook")), ["title", "paper"]);
    // Somebody else was faster: read again, and again.
    client.service.before("UpdateBook", |state| {
        let stored = state.objects["publishers/acme/books/moby"].clone();
        let mut other = stored;
        other.set_field_by_name("etag", prost_reflect::Value::String("other".into()));
        state.objects.insert("publishers/acme/books/moby".into(), other);
    });
    let patched = client.merge(MOBY, &json!({"spec": {"leather": "red", "paper": null}})).await.expect(200);
    assert_eq!(
        (&patched["spec"]["leather"], patched["spec"].get("paper")),
        (&json!("red"), None),
        "{patched}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_version_is_a_conflict() {
    for code in [Code::Aborted, Code::FailedPrecondition] {
        let client = client();
        client.service.state().wrong_etag = code;
        let stale = moby(&client).await;
        client.merge(MOBY, &json!({"spec": {"title": "The Whale"}})).await.expect(200);
        let mut new = stale.clone();
        new["spec"]["title"] = json!("Third");
        assert_eq!(client.put(MOBY, &new).await.expect(409)["reason"], "Conflict", "read here");
        // Between our read and the write: the service sees it by the etag.
        let mut fresh = client.get(MOBY).await.expect(200);
        fresh["spec"]["title"] = json!("Fourth");
        client.service.before("UpdateBook", |state| {
            let mut other = state.objects["publishers/acme/books/moby"].clone();
            other.set_field_by_name("etag", prost_reflect::Value::String("other".into()));
            state.objects.insert("publishers/acme/books/moby".into(), other);
        });
        assert_eq!(client.put(MOBY, &fresh).await.expect(409)["reason"], "Conflict", "{code:?}");
    }
    // The same code for another reason is what it says.
    let client = client();
    moby(&client).await;
    client.service.fail("UpdateBook", Code::FailedPrecondition, "it is lent out");
    let answer = client.merge(MOBY, &json!({"spec": {"title": "T"}})).await;
    answer.expect(422);
    assert!(answer.message().contains("it is lent out"), "{}", answer.message());
}

#[tokio::test(start_paused = true)]
async fn immutable_fields_are_causes() {
    let client = client();
    moby(&client).await;
    let answer = client.merge(MOBY, &json!({"spec": {"isbn": "456", "title": null}})).await;
    answer.expect(422);
    assert_eq!(answer.causes(), [("spec.isbn".into(), "Invalid value: field is immutable".into())]);
    let answer = client.merge(MOBY, &json!({"spec": {"title": null}})).await;
    assert_eq!(answer.causes()[0].0, "spec.title");
    assert_eq!(client.service.count("UpdateBook"), 0);
}

#[tokio::test(start_paused = true)]
async fn dry_runs_write_nothing() {
    let client = client();
    let made = client.post(&format!("{BOOKS}?dryRun=All"), &book("moby")).await.expect(201);
    assert_eq!(made["status"]["state"], "Available", "the service checked it: {made}");
    assert!(client.service.object("publishers/acme/books/moby").is_none());
    moby(&client).await;
    let patched =
        client.merge(&format!("{MOBY}?dryRun=All"), &json!({"spec": {"title": "T"}})).await.expect(200);
    assert_eq!(patched["spec"]["title"], "T");
    assert_eq!(client.get(MOBY).await.expect(200)["spec"]["title"], "Moby-Dick");
    let patched = client.merge(&format!("{MOBY}?dryRun=All"), &json!({"spec": {"isbn": "4"}})).await;
    patched.expect(422);
    client.delete(&format!("{MOBY}?dryRun=All")).await.expect(200);
    assert!(client.service.object("publishers/acme/books/moby").is_some());
    // Of a service that cannot only check.
    let lax = client_of(&changed("  bool validate_only = 4;\n", ""));
    let made = lax.post(&format!("{BOOKS}?dryRun=All"), &book("moby")).await.expect(201);
    assert_eq!(made["spec"]["title"], "Moby-Dick");
    assert_eq!(lax.service.count("CreateBook"), 0);
    let mut bad = book("moby");
    bad["spec"] = json!({});
    lax.post(&format!("{BOOKS}?dryRun=All"), &bad).await.expect(422);
    moby(&lax).await;
    lax.post(&format!("{BOOKS}?dryRun=All"), &book("moby")).await.expect(409);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_home_is_refused_and_what_kubectl_keeps_is_dropped() {
    let client = client();
    let notes = format!("{API}/namespaces/publishers---acme/notes");
    let note = |meta: Value| {
        let mut metadata = json!({"name": "n"});
        metadata.as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
        json!({"metadata": metadata, "spec": {"text": "t"}})
    };
    for (meta, field) in [
        (json!({"labels": {"a": "b"}}), "metadata.labels"),
        (json!({"annotations": {"a": "b"}}), "metadata.annotations"),
        (json!({"finalizers": ["a.example.com/b"]}), "metadata.finalizers"),
        (
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}),
            "metadata.ownerReferences",
        ),
    ] {
        let answer = client.post(&notes, &note(meta)).await;
        answer.expect(422);
        assert_eq!(answer.causes()[0].0, field, "{:?}", answer.causes());
        assert!(answer.causes()[0].1.contains("has no place for"), "{:?}", answer.causes());
    }
    let applied = json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}});
    let answer = client.post(&notes, &note(applied.clone())).await;
    assert_eq!(answer.expect(201)["metadata"].get("annotations"), None);
    assert!(answer.warnings[0].contains("last-applied-configuration is not kept"), "{:?}", answer.warnings);
    let answer = client.merge(&format!("{notes}/n"), &json!({"metadata": applied})).await;
    answer.expect(200);
    assert_eq!(answer.warnings.len(), 1);
    let answer = client.merge(&format!("{notes}/n"), &json!({"metadata": {"labels": {"a": "b"}}})).await;
    answer.expect(422);
    assert_eq!(client.service.count("UpdateNote"), 0);
    let finalizers = json!({"metadata": {"finalizers": ["a.example.com/b"]}});
    client.merge(MOBY, &finalizers).await.expect(404);
    moby(&client).await;
    client.merge(MOBY, &finalizers).await.expect(422);
}

#[tokio::test(start_paused = true)]
async fn without_etag_and_mask_it_is_get_compare_write() {
    let client = client();
    let notes = format!("{API}/namespaces/publishers---acme/notes");
    client.service.put(
        "Note",
        "name: 'publishers/acme/notes/n' text: 'one' tags { key: 'b' value: '2' } tags { key: 'a' value: '1' }",
    );
    let path = format!("{notes}/n");
    let note = client.get(&path).await.expect(200);
    for _ in 0..4 {
        // A map comes in another order each time: it is the same object.
        let again = client.get(&path).await.expect(200);
        assert_eq!(again["metadata"]["resourceVersion"], note["metadata"]["resourceVersion"]);
    }
    let mut new = note.clone();
    new["spec"]["text"] = json!("two");
    let updated = client.put(&path, &new).await.expect(200);
    assert_eq!((&updated["spec"]["text"], &updated["status"]["revision"]), (&json!("two"), &json!(2)));
    assert_eq!(client.put(&path, &new).await.expect(409)["reason"], "Conflict");
    let request = client.service.last("UpdateNote");
    let sent = request.get_field_by_name("note").unwrap().as_message().unwrap().clone();
    assert_eq!(sent.get_field_by_name("revision").unwrap().as_i32(), Some(1), "all of it is sent");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_names_its_objects_takes_a_prefix() {
    let client = client();
    let editions = format!("{API}/namespaces/acme/editions");
    let named = client.post(&editions, &json!({"metadata": {"name": "mine"}, "spec": {"year": 1}})).await;
    named.expect(422);
    assert!(named.causes()[0].1.contains("metadata.generateName"), "{:?}", named.causes());
    let made =
        client.post(&editions, &json!({"metadata": {"generateName": "e-"}, "spec": {"year": 1}})).await;
    let name = made.expect(201)["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("made"), "{name}");
    client.get(&format!("{editions}/{name}")).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn what_was_missing_before_does_not_stand_in_the_way() {
    let client = client();
    client
        .service
        .put("Book", "name: 'publishers/acme/books/moby' title: 'Moby-Dick' shelf { row: 1 } chapters { }");
    let patched = client.merge(MOBY, &json!({"spec": {"leather": "red"}})).await.expect(200);
    assert_eq!(patched["spec"]["leather"], "red");
    let answer = client.merge(MOBY, &json!({"spec": {"title": null}})).await;
    answer.expect(422);
    assert_eq!(answer.causes().len(), 1, "{:?}", answer.causes());
}

#[tokio::test(start_paused = true)]
async fn what_is_required_and_output_only_is_the_services_own() {
    let twice = changed(
        "int32 copy_count = 11 [(google.api.field_behavior) = OUTPUT_ONLY]",
        "optional int32 copy_count = 11 [(google.api.field_behavior) = OUTPUT_ONLY, (google.api.field_behavior) = REQUIRED]",
    );
    let client = client_of(&twice);
    // Nobody is asked for it, and what clients say of it is not taken.
    let mut moby = book("moby");
    moby["status"] = json!({"copyCount": 7});
    let made = client.post(BOOKS, &moby).await.expect(201);
    assert_eq!(made["status"].get("copyCount"), None, "{made}");
    client.service.put("Book", "name: 'publishers/acme/books/dick' title: 'Dick' copy_count: 3");
    let read = client.get(&format!("{BOOKS}/dick")).await.expect(200);
    assert_eq!((&read["status"]["copyCount"], read["spec"].get("copyCount")), (&json!(3), None));
}

#[tokio::test(start_paused = true)]
async fn resources_of_one_service_do_not_mix() {
    let client = client();
    client.post(BOOKS, &book("moby")).await.expect(201);
    let notes = "/apis/library.example.com/v1/namespaces/acme--moby/notes";
    client.post(notes, &json!({"metadata": {"name": "moby"}, "spec": {"text": "good"}})).await.expect(201);
    assert_eq!(client.names(BOOKS).await.0, ["acme/moby"]);
    assert_eq!(client.names(notes).await.0, ["acme--moby/moby"]);
    assert_eq!(client.get(&format!("{notes}/moby")).await.expect(200)["kind"], "Note");
    client.delete(&format!("{notes}/moby")).await.expect(200);
    client.get(&format!("{notes}/moby")).await.expect(404);
    assert_eq!(client.get(&format!("{BOOKS}/moby")).await.expect(200)["kind"], "Book");
}
