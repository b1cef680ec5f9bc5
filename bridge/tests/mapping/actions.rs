//! Custom methods: subresources.

use serde_json::json;

use crate::{
    service::text,
    support::{API, BOOKS, client},
};

#[tokio::test(start_paused = true)]
async fn a_custom_method_is_a_subresource() {
    let client = client();
    client.service.put("Book", "name: 'publishers/acme/books/Moby_Dick' title: 'Moby-Dick'");
    let path = format!("{BOOKS}/x0-4doby-5f-44ick");
    let body = json!({"reader": "Ishmael", "namespace": "of the service's own"});
    let aside = client.post(&format!("{path}/setaside"), &body).await.expect(201);
    assert_eq!((&aside["kind"], &aside["status"]["state"]), (&json!("Book"), &json!("Reserved")));
    let request = client.service.last("ReserveBook");
    assert_eq!(text(&request, "name"), "publishers/acme/books/Moby_Dick");
    assert_eq!(text(&request, "namespace"), "of the service's own");
    client.post(&format!("{API}/namespaces/a--b/books/moby/setaside"), &json!({})).await.expect(404);
    client.post(&format!("{BOOKS}/none/setaside"), &json!({})).await.expect(404);
    client.post(&format!("{path}/setaside?dryRun=All"), &body).await.expect(400);
    client.get(&format!("{path}/setaside")).await.expect(405);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_lines() {
    let client = client();
    client.service.put("Book", "name: 'publishers/acme/books/moby' title: 'Moby-Dick'");
    let answer = client.post(&format!("{BOOKS}/moby/recite"), &json!({})).await;
    assert_eq!(answer.code, 201);
    let lines: Vec<&str> = std::str::from_utf8(&answer.body).unwrap().lines().collect();
    assert!(lines[0].contains("Call me") && lines[1].contains("Ishmael."), "{lines:?}");
}
