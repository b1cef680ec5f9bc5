use std::io::Read as _;

use http::{HeaderValue, header};
use http_body_util::BodyExt as _;
use kubridge_bridge::discovery_doc::{ResourceDocument, ResponseKind, Scope};
use serde_json::{Value, json};

use super::*;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn document(resources: usize) -> Arc<VersionDocument> {
    let resource = |n| ResourceDocument {
        resource: format!("things{n}"),
        response_kind: ResponseKind { kind: format!("Thing{n}"), ..ResponseKind::default() },
        scope: Scope::Namespaced,
        singular_resource: format!("thing{n}"),
        verbs: vec!["get".into(), "list".into()],
        short_names: Vec::new(),
        categories: Vec::new(),
        subresources: Vec::new(),
    };
    Arc::new(VersionDocument {
        resources: (0..resources).map(resource).collect(),
        ..VersionDocument::default()
    })
}

fn claim(group: &str, version: &str, document: Option<Arc<VersionDocument>>) -> Claimed {
    Claimed {
        group: group.into(),
        version: version.into(),
        api_service: format!("{version}.{group}"),
        document,
        freshness: Freshness::Current,
    }
}

fn known(group: &str, version: &str) -> Claimed {
    claim(group, version, Some(document(1)))
}

fn published(claimed: &[Claimed]) -> Discovery {
    let discovery = Discovery::default();
    discovery.publish(claimed);
    discovery
}

fn headers<const N: usize>(pairs: [(header::HeaderName, &str); N]) -> HeaderMap {
    pairs.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect()
}

fn accept(value: &str) -> HeaderMap {
    headers([(header::ACCEPT, value)])
}

fn get(discovery: &Discovery, path: &str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    discovery.serve(&Method::GET, path, "", headers)
}

async fn bytes(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn body(response: Response<Body>) -> Value {
    serde_json::from_slice(&bytes(response).await).unwrap()
}

fn names(groups: &Value) -> Vec<String> {
    let name = |group: &Value| {
        let name = group.get("name").unwrap_or(&group["metadata"]["name"]);
        name.as_str().unwrap().to_owned()
    };
    groups.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn the_core_group_is_in_api_and_the_others_in_apis() {
    let discovery = published(&[known("", "v1"), known("a.example.com", "v1")]);
    let none = HeaderMap::new();
    let api = body(get(&discovery, "/api", &none).unwrap()).await;
    assert_eq!(api["versions"], json!(["v1"]));
    let api = body(get(&discovery, "/api", &accept(AGGREGATED)).unwrap()).await;
    assert_eq!(api["items"][0]["metadata"], json!({}));
    assert_eq!(api["items"].as_array().unwrap().len(), 1);
    let apis = body(get(&discovery, "/apis/", &none).unwrap()).await;
    assert_eq!(names(&apis["groups"]), ["a.example.com"]);
    let apis = body(get(&discovery, "/apis", &accept(AGGREGATED)).unwrap()).await;
    assert_eq!(names(&apis["items"]), ["a.example.com"]);
    assert_eq!(get(&discovery, "/api/v1", &none).unwrap().status(), 200);
    assert_eq!(get(&discovery, "/apis/a.example.com/v1", &none).unwrap().status(), 200);
}

#[tokio::test]
async fn the_order_is_the_callers_but_apiregistration_is_first() {
    let discovery = published(&[
        known("b.example.com", "v2"),
        known("a.example.com", "v1"),
        known("apiregistration.k8s.io", "v1"),
        known("b.example.com", "v1"),
    ]);
    let groups = body(get(&discovery, "/apis", &HeaderMap::new()).unwrap()).await["groups"].clone();
    let expected = ["apiregistration.k8s.io", "b.example.com", "a.example.com"];
    assert_eq!(names(&groups), expected);
    assert_eq!(groups[1]["preferredVersion"]["version"], "v2");
    assert_eq!(groups[1]["versions"][1]["groupVersion"], "b.example.com/v1");
    let items = body(get(&discovery, "/apis", &accept(AGGREGATED)).unwrap()).await["items"].clone();
    assert_eq!(names(&items), expected);
    assert_eq!(items[1]["versions"][1]["version"], "v1");
    let group = body(get(&discovery, "/apis/b.example.com", &HeaderMap::new()).unwrap()).await;
    assert_eq!((&group["kind"], &group["versions"]), (&json!("APIGroup"), &groups[1]["versions"]));
}

#[tokio::test]
async fn what_was_never_known_is_listed_stale_and_503_without_retry_after() {
    let discovery = published(&[claim("a.example.com", "v1", None)]);
    for headers in [HeaderMap::new(), accept(AGGREGATED), accept("text/html")] {
        let error = get(&discovery, "/apis/a.example.com/v1", &headers).unwrap_err();
        assert_eq!((error.status.code, error.retry_after), (503, None));
        assert!(error.status.message.contains("v1.a.example.com"), "{}", error.status.message);
    }
    let list = body(get(&discovery, "/apis", &HeaderMap::new()).unwrap()).await;
    assert_eq!(names(&list["groups"]), ["a.example.com"]);
    assert_eq!(get(&discovery, "/apis/a.example.com", &HeaderMap::new()).unwrap().status(), 200);
    let items = body(get(&discovery, "/apis", &accept(AGGREGATED)).unwrap()).await;
    assert_eq!(items["items"][0]["versions"], json!([{ "version": "v1", "freshness": "Stale" }]));
    let nobodys = get(&discovery, "/apis/b.example.com/v1", &HeaderMap::new()).unwrap_err();
    assert_eq!(nobodys.status.code, 404);
}

#[tokio::test]
async fn a_stale_version_keeps_its_resources() {
    let stale = Claimed { freshness: Freshness::Stale, ..known("a.example.com", "v1") };
    let discovery = published(&[stale]);
    let items = body(get(&discovery, "/apis", &accept(AGGREGATED)).unwrap()).await;
    let version = &items["items"][0]["versions"][0];
    assert_eq!(
        (&version["freshness"], &version["resources"][0]["resource"]),
        (&json!("Stale"), &json!("things0"))
    );
    assert_eq!(get(&discovery, "/apis/a.example.com/v1", &HeaderMap::new()).unwrap().status(), 200);
}

#[test]
fn an_etag_that_the_client_has_is_304_in_every_form() {
    let discovery = published(&[known("a.example.com", "v1")]);
    let response = get(&discovery, "/apis", &accept(AGGREGATED)).unwrap();
    let etag = response.headers()[header::ETAG].clone();
    assert_eq!(response.headers()[header::VARY], "Accept");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "public");
    for media in ["json", "yaml", "vnd.kubernetes.protobuf"] {
        let mut headers = accept(&AGGREGATED.replace("json", media));
        assert_eq!(get(&discovery, "/apis", &headers).unwrap().headers()[header::ETAG], etag, "{media}");
        headers.insert(header::IF_NONE_MATCH, etag.clone());
        let response = get(&discovery, "/apis", &headers).unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()[header::ETAG]), (304, &etag), "{media}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "public");
        assert!(!response.headers().contains_key(header::CONTENT_TYPE));
        // The legacy list has no ETag.
        let plain = headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        assert!(plain.is_some());
        assert_eq!(get(&discovery, "/apis", &headers).unwrap().status(), 200);
    }
    discovery.publish(&[known("a.example.com", "v2")]);
    let mut headers = accept(AGGREGATED);
    headers.insert(header::IF_NONE_MATCH, etag);
    assert_eq!(get(&discovery, "/apis", &headers).unwrap().status(), 200);
}

#[tokio::test]
async fn every_document_is_json_yaml_and_protobuf() {
    let discovery = published(&[known("", "v1"), known("a.example.com", "v1")]);
    for path in ["/api", "/apis", "/api/v1", "/apis/a.example.com", "/apis/a.example.com/v1"] {
        let json = body(get(&discovery, path, &accept("application/json")).unwrap()).await;
        let yaml = get(&discovery, path, &accept("application/yaml")).unwrap();
        assert_eq!(yaml.headers()[header::CONTENT_TYPE], "application/yaml");
        let same = kubridge_bridge::negotiate::yaml_to_json(&bytes(yaml).await).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&same).unwrap(), json, "{path}");
        let protobuf = get(&discovery, path, &accept("application/vnd.kubernetes.protobuf")).unwrap();
        assert_eq!(protobuf.headers()[header::CONTENT_TYPE], "application/vnd.kubernetes.protobuf");
        let protobuf = bytes(protobuf).await;
        let envelope = kubridge_bridge::envelope::open(&protobuf).unwrap();
        assert_eq!(envelope.kind, json["kind"]);
        assert_eq!(envelope.api_version, json["apiVersion"].as_str().unwrap_or_default());
    }
    for media in ["json", "yaml", "vnd.kubernetes.protobuf"] {
        let media = AGGREGATED.replace("json", media);
        let response = get(&discovery, "/apis", &accept(&media)).unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], media);
    }
}

#[tokio::test]
async fn people_get_indented_json() {
    let discovery = published(&[known("a.example.com", "v1")]);
    let curl = headers([(header::USER_AGENT, "curl/8.5.0")]);
    let pretty = bytes(get(&discovery, "/apis", &curl).unwrap()).await;
    assert!(
        pretty.starts_with(b"{\n  \"kind\": \"APIGroupList\",\n"),
        "{}",
        String::from_utf8_lossy(&pretty)
    );
    let asked = discovery.serve(&Method::GET, "/apis", "pretty=true", &HeaderMap::new()).unwrap();
    assert_eq!(bytes(asked).await, pretty);
    let refused = discovery.serve(&Method::GET, "/apis", "pretty=false", &curl).unwrap();
    assert!(bytes(refused).await.starts_with(b"{\"kind\""));
}

#[test]
fn methods_are_as_kube_apiserver_answers_them() {
    let discovery = published(&[known("a.example.com", "v1")]);
    let none = HeaderMap::new();
    for path in ["/apis", "/apis/a.example.com"] {
        for method in [Method::HEAD, Method::POST] {
            assert_eq!(discovery.serve(&method, path, "", &none).unwrap().status(), 200, "{method} {path}");
        }
    }
    for path in ["/api", "/apis/a.example.com/v1"] {
        for method in [Method::HEAD, Method::POST, Method::DELETE] {
            let error = discovery.serve(&method, path, "", &none).unwrap_err();
            assert_eq!(error.status.code, 405, "{method} {path}");
        }
    }
    assert_eq!(
        discovery.serve(&Method::POST, "/apis/b.example.com", "", &none).unwrap_err().status.code,
        404
    );
}

#[tokio::test]
async fn a_long_document_is_compressed_once_for_those_who_accept_it() {
    let discovery = published(&[claim("a.example.com", "v1", Some(document(1000)))]);
    let mut request = accept(AGGREGATED);
    let plain = get(&discovery, "/apis", &request).unwrap();
    assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    let plain = bytes(plain).await;
    request.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let first = get(&discovery, "/apis", &request).unwrap();
    assert_eq!(first.headers()[header::CONTENT_ENCODING], "gzip");
    let vary: Vec<_> = first.headers().get_all(header::VARY).iter().collect();
    assert_eq!(vary, ["Accept", "Accept-Encoding"]);
    let first = first.into_body().collect().await.unwrap().to_bytes();
    let second = get(&discovery, "/apis", &request).unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(first.as_ptr(), second.as_ptr(), "kept");
    let mut read = Vec::new();
    flate2::read::GzDecoder::new(&first[..]).read_to_end(&mut read).unwrap();
    assert!(read == plain);
    request.remove(header::ACCEPT);
    let short = get(&discovery, "/apis/a.example.com", &request).unwrap();
    assert!(!short.headers().contains_key(header::CONTENT_ENCODING));
}

#[tokio::test]
async fn what_has_not_changed_is_not_made_again() {
    let discovery = Discovery::default();
    let (a, b) = (known("a.example.com", "v1"), known("b.example.com", "v1"));
    assert!(discovery.publish(&[a.clone(), b.clone()]));
    let list = |path: &'static str| {
        let response = get(&discovery, path, &HeaderMap::new()).unwrap();
        async move { response.into_body().collect().await.unwrap().to_bytes().as_ptr() }
    };
    let paths = ["/apis/a.example.com/v1", "/apis/a.example.com", "/apis"];
    let mut before = Vec::new();
    for path in paths {
        before.push(list(path).await);
    }
    assert!(!discovery.publish(&[a.clone(), b]), "nothing is different");
    let b = known("b.example.com", "v1");
    assert!(discovery.publish(&[a, b]), "another document");
    for (path, before) in paths.into_iter().zip(before) {
        assert_eq!(list(path).await, before, "{path}");
    }
}

#[test]
fn nothing_acceptable_is_406_and_says_what_is() {
    let discovery = published(&[known("a.example.com", "v1")]);
    for (path, value) in [
        ("/apis", "text/html"),
        ("/apis", "application/json;as=Table;v=v1;g=meta.k8s.io"),
        ("/apis/a.example.com", AGGREGATED),
    ] {
        let error = get(&discovery, path, &accept(value)).unwrap_err();
        assert_eq!(error.status.code, 406, "{path} {value}");
        assert_eq!(
            error.status.message,
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
    }
}
