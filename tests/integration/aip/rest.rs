//! Over real sockets: the schema by reflection, objects by REST.

use kubridge_bridge::caller::Code;
use serde_json::{Value, json};

use crate::support::{Library, Options, Stack};

pub const BOOKS: &str = "/apis/library.example.com/v1/namespaces/acme/books";

/// A library with one publisher, served.
pub async fn library() -> (Library, Stack) {
    library_with(Vec::new()).await
}

/// The same with more arguments of `kubridge serve`.
pub async fn library_with(args: Vec<String>) -> (Library, Stack) {
    let library = Library::start().await;
    library.service.put("Publisher", "name: 'publishers/acme' display_name: 'Acme'");
    let options = Options {
        backend: Some(library.addr()),
        serves: Some("/apis/library.example.com/v1"),
        args,
        ..Options::default()
    };
    let stack = Stack::with(options).await;
    (library, stack)
}

pub fn book(name: &str) -> Value {
    json!({
        "apiVersion": "library.example.com/v1", "kind": "Book",
        "metadata": {"name": name}, "spec": {"title": name, "isbn": "1"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_knows_nothing_of_kubernetes_is_served() {
    let (library, stack) = library().await;
    let resources = stack.client.get("/apis/library.example.com/v1").await.expect(200).json();
    let names: Vec<&str> =
        resources["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"books") && names.contains(&"books/setaside"), "{names:?}");
    let made = stack.client.post(BOOKS, &book("moby")).await.expect(201).json();
    assert_eq!(made["status"]["state"], "Available");
    let path = format!("{BOOKS}/moby");
    let mut read = stack.client.get(&path).await.expect(200).json();
    read["spec"]["title"] = json!("The Whale");
    let written = stack.client.put(&path, &read).await.expect(200).json();
    assert_eq!(written["spec"]["title"], "The Whale");
    stack.client.put(&path, &read).await.expect(409);
    let bad = json!({"metadata": {"name": "bad"}, "spec": {"title": "forbidden"}});
    let refused = stack.client.post(BOOKS, &bad).await.expect(422).json();
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.title");
    let all = stack.client.get("/apis/library.example.com/v1/books").await.expect(200).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    let action = json!({"reader": "Ishmael"});
    let aside = stack.client.post(&format!("{path}/setaside"), &action).await.expect(201).json();
    assert_eq!(
        (&aside["status"]["state"], &aside["status"]["reader"]),
        (&json!("Reserved"), &json!("Ishmael"))
    );
    stack.client.delete(&path).await.expect(200);
    stack.client.get(&path).await.expect(404);
    library.service.fail("GetBook", Code::PermissionDenied, "not you");
    stack.client.get(&path).await.expect(403);
    let openapi = stack.client.get("/openapi/v3/apis/library.example.com/v1").await.expect(200).json();
    let schemas = openapi["components"]["schemas"].as_object().unwrap();
    let spec = schemas.iter().find(|(name, _)| name.ends_with(".BookSpec")).unwrap().1;
    assert_eq!(spec["properties"]["title"]["type"], "string", "{spec}");
    assert_eq!(spec["required"], json!(["title"]), "{spec}");
    library.stop().await;
}
