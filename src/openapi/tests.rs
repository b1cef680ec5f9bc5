use std::io::Read as _;

use flate2::read::GzDecoder;
use http::{HeaderValue, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::*;

const A: &str = "/openapi/v3/apis/a.example.com/v1";

fn api(group: &str) -> Arc<Api> {
    Arc::new(Api { group: group.into(), version: "v1".into(), resources: Vec::new() })
}

fn schema(group: &str) -> Documented {
    Documented::new(group, "v1", Source::Schema(api(group)))
}

fn published(documented: &[Documented]) -> OpenApi {
    let openapi = OpenApi::default();
    assert!(openapi.publish(documented));
    openapi
}

fn accept(media: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(media))])
}

async fn body(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn get(openapi: &OpenApi, path: &str) -> Value {
    let response = openapi.serve(path, "", &HeaderMap::new()).await.unwrap();
    serde_json::from_slice(&body(response).await).unwrap()
}

/// What a server may say: one path, one kind.
fn v2(group: &str, path: &str, text: &str) -> Arc<V2Document> {
    let document = json!({
        "swagger": "2.0",
        "info": { "title": "x", "version": "1" },
        "paths": { path: { "get": { "responses": { "200": {
            "description": "OK", "schema": { "$ref": "#/definitions/Thing" },
        } } } } },
        "definitions": { "Thing": { "type": "object", "description": text } },
    });
    let document = serde_json::to_vec(&document).unwrap();
    Arc::new(if group.is_empty() {
        openapi_doc::accept_v2_whole(&document).unwrap()
    } else {
        openapi_doc::accept_v2(&document, group, "v1").unwrap()
    })
}

fn downloaded(v2: Arc<V2Document>) -> Source {
    Source::Downloaded { v3: None, v2: Some(v2) }
}

#[tokio::test]
async fn a_document_with_its_hash_is_immutable_and_with_another_redirected() {
    let openapi = published(&[schema("a.example.com")]);
    let plain = openapi.serve(A, "", &HeaderMap::new()).await.unwrap();
    assert_eq!(plain.headers()[header::CACHE_CONTROL], "no-cache, private");
    let etag = plain.headers()[header::ETAG].clone();
    let hash = etag.to_str().unwrap().trim_matches('"').to_owned();
    let index = get(&openapi, "/openapi/v3").await;
    assert_eq!(
        index["paths"]["apis/a.example.com/v1"]["serverRelativeURL"],
        format!("{A}?hash={hash}"),
        "{index}"
    );

    let right = openapi.serve(A, &format!("hash={hash}&timeout=32s"), &HeaderMap::new()).await.unwrap();
    assert_eq!(right.headers()[header::CACHE_CONTROL], "public, immutable");
    let year = |name: header::HeaderName| -> i32 {
        let date = right.headers()[name].to_str().unwrap();
        date.split(' ').nth(3).unwrap().parse().unwrap()
    };
    assert!(year(header::EXPIRES) > year(header::LAST_MODIFIED));

    let wrong = openapi.serve(A, "hash=00", &HeaderMap::new()).await.unwrap();
    assert_eq!(wrong.status(), 301);
    assert_eq!(wrong.headers()[header::LOCATION], format!("{A}?hash={hash}"));
    let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, etag)]);
    for path in [A, "/openapi/v3", "/openapi/v2"] {
        let fresh = openapi.serve(path, "", &HeaderMap::new()).await.unwrap();
        assert!(fresh.headers()[header::VARY].to_str().unwrap().starts_with("Accept"));
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, fresh.headers()[header::ETAG].clone())]);
        let response = openapi.serve(path, "", &known).await.unwrap();
        assert_eq!(response.status(), 304);
        assert!(body(response).await.is_empty());
    }
    assert_eq!(openapi.serve(A, &format!("hash={hash}"), &known).await.unwrap().status(), 304);
}

#[test]
fn what_has_not_changed_is_not_made_again() {
    let a = schema("a.example.com");
    let openapi = published(std::slice::from_ref(&a));
    assert!(!openapi.publish(std::slice::from_ref(&a)), "nothing is different");
    let entry = |openapi: &OpenApi| Arc::clone(&openapi.documents.load().entries["apis/a.example.com/v1"]);
    let before = entry(&openapi);
    assert!(openapi.publish(&[a, schema("b.example.com")]));
    assert!(Arc::ptr_eq(&before, &entry(&openapi)));
    assert_eq!(openapi.documents.load().entries.len(), 2);
    assert!(openapi.publish(&[schema("a.example.com")]));
    assert!(!Arc::ptr_eq(&before, &entry(&openapi)), "another schema, even if it says the same");
}

#[tokio::test]
async fn version_2_is_put_together_once() {
    let a = schema("a.example.com");
    let openapi = published(std::slice::from_ref(&a));
    let made = |openapi: &OpenApi| {
        let openapi = openapi.documents.load_full();
        async move { openapi.v2.json().await.unwrap() }
    };
    let first = made(&openapi).await;
    openapi.publish(std::slice::from_ref(&a));
    assert!(Arc::ptr_eq(&first, &made(&openapi).await));
    openapi.publish(&[a, schema("b.example.com")]);
    assert!(!Arc::ptr_eq(&first, &made(&openapi).await));
}

#[tokio::test]
async fn version_2_is_protobuf_for_those_who_ask_for_it() {
    let openapi = published(&[]);
    let media = async |accept: &'static str| {
        let headers = self::accept(accept);
        openapi.serve("/openapi/v2", "", &headers).await.unwrap().headers()[header::CONTENT_TYPE].clone()
    };
    assert_eq!(media("application/com.github.proto-openapi.spec.v2@v1.0+protobuf").await, PROTOBUF);
    assert_eq!(media("application/com.github.proto-openapi.spec.v2.v1.0+protobuf").await, PROTOBUF);
    assert_eq!(
        media("application/json;q=0.1, application/com.github.proto-openapi.spec.v2@v1.0+protobuf").await,
        PROTOBUF
    );
    assert_eq!(media("application/json, */*").await, JSON);
    assert_eq!(media("*/*").await, JSON);
    let refused = openapi.serve("/openapi/v2", "", &accept("text/html")).await.unwrap_err();
    assert_eq!(refused.status.code, 406);
}

#[tokio::test]
async fn version_3_is_json() {
    let openapi = published(&[schema("a.example.com")]);
    let other = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
    assert_eq!(openapi.serve(A, "", &accept(other)).await.unwrap_err().status.code, 406);
    assert!(openapi.serve(A, "", &accept("application/*")).await.is_ok());
}

#[tokio::test]
async fn what_nobody_serves_is_not_there() {
    let openapi = OpenApi::default();
    let early = openapi.serve("/openapi/v3", "", &HeaderMap::new()).await.unwrap_err();
    assert_eq!((early.status.code, early.retry_after), (503, None));
    openapi.publish(&[]);
    assert!(openapi.serve("/openapi/v3", "", &HeaderMap::new()).await.is_ok());
    for path in ["/openapi/v3/apis/x/v1", "/openapi/v1", "/openapi"] {
        assert_eq!(openapi.serve(path, "", &HeaderMap::new()).await.unwrap_err().status.code, 404, "{path}");
    }
}

#[tokio::test]
async fn a_document_is_compressed_for_who_accepts_it() {
    let openapi = published(&[Documented::new(
        "a.example.com",
        "v1",
        downloaded(v2("a.example.com", "/apis/a.example.com/v1/things", &"so it is. ".repeat(500))),
    )]);
    let plain = body(openapi.serve(A, "", &HeaderMap::new()).await.unwrap()).await;
    let zipped = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
    for path in [A, "/openapi/v2"] {
        let response = openapi.serve(path, "", &zipped).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(response.headers()[header::VARY], "Accept, Accept-Encoding");
        let mut read = Vec::new();
        GzDecoder::new(&body(response).await[..]).read_to_end(&mut read).unwrap();
        assert!(path != A || read == plain);
    }
}

#[tokio::test]
async fn only_the_owner_of_a_claim_speaks_for_it() {
    let theirs = v2("a.example.com", "/apis/a.example.com/v1/things", "theirs");
    let delegates = v2("a.example.com", "/apis/a.example.com/v1/things", "the delegate's");
    let openapi = published(&[
        Documented::delegate("apis/a.example.com/v1", downloaded(Arc::clone(&delegates))),
        Documented::new("a.example.com", "v1", downloaded(theirs)),
        Documented::new("a.example.com", "v1", downloaded(delegates)),
    ]);
    let document = get(&openapi, A).await;
    assert_eq!(document["components"]["schemas"]["Thing"]["description"], "theirs");
    let document = get(&openapi, "/openapi/v2").await;
    assert_eq!(document["definitions"]["Thing"]["description"], "theirs");
}

#[tokio::test]
async fn the_delegates_whole_document_has_what_nobody_claims() {
    let whole = json!({
        "swagger": "2.0",
        "info": { "title": "x", "version": "1" },
        "paths": {
            "/version/": { "get": { "responses": { "200": {
                "description": "OK", "schema": { "$ref": "#/definitions/Info" },
            } } } },
            "/apis/a.example.com/v1/things": { "get": { "responses": { "200": {
                "description": "OK", "schema": { "$ref": "#/definitions/Thing" },
            } } } },
        },
        "definitions": { "Info": { "type": "object" }, "Thing": { "type": "object" } },
    });
    let whole = openapi_doc::accept_v2_whole(&serde_json::to_vec(&whole).unwrap()).unwrap();
    let v3 =
        json!({ "openapi": "3.0.0", "info": {}, "paths": { "/version/": { "get": { "responses": {} } } } });
    let v3 = openapi_doc::accept_v3_at(&serde_json::to_vec(&v3).unwrap(), "version").unwrap();
    let delegates = [
        Documented::delegate_v2(Arc::new(whole)),
        Documented::delegate("version", Source::Downloaded { v3: Some(Arc::new(v3)), v2: None }),
    ];
    let openapi = published(&delegates);
    let document = get(&openapi, "/openapi/v2").await;
    assert_eq!(document["paths"].as_object().unwrap().len(), 2);
    let index = get(&openapi, "/openapi/v3").await;
    assert_eq!(index["paths"].as_object().unwrap().keys().collect::<Vec<_>>(), ["version"]);
    get(&openapi, "/openapi/v3/version").await;

    let [whole, version] = delegates;
    let ours = Documented::new(
        "a.example.com",
        "v1",
        downloaded(v2("a.example.com", "/apis/a.example.com/v1/x", "x")),
    );
    let openapi = published(&[ours, whole, version]);
    let document = get(&openapi, "/openapi/v2").await;
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/apis/a.example.com/v1/x", "/version/"]);
    assert_eq!(document["definitions"]["Thing"]["description"], "x");
    assert_eq!(document["definitions"].as_object().unwrap().len(), 2, "what only cut paths use is gone");
}

#[tokio::test]
async fn a_server_without_openapi_is_described_by_its_discovery() {
    let list = br#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"a.example.com/v1","resources":[
        {"name":"things","singularName":"thing","namespaced":true,"kind":"Thing","verbs":["get","list","patch"]}]}"#;
    let document = VersionDocument::from_resource_list(list, "a.example.com", "v1").unwrap();
    let openapi =
        published(&[Documented::new("a.example.com", "v1", Source::Discovered(Arc::new(document)))]);
    let document = get(&openapi, A).await;
    let item = &document["paths"]["/apis/a.example.com/v1/namespaces/{namespace}/things/{name}"];
    assert_eq!(item["patch"]["x-kubernetes-action"], "patch");
    let document = get(&openapi, "/openapi/v2").await;
    assert!(document["definitions"]["com.example.a.v1.Thing"].is_object(), "{document}");
}
