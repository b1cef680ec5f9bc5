//! Discovery and OpenAPI: from memory, in the forms that clients ask for.

use http::Method;
use serde_json::json;

use crate::support::Stack;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::test(flavor = "multi_thread")]
async fn legacy_documents() {
    let stack = Stack::start().await;
    let api = stack.client.get("/api").await.expect(200).json();
    assert_eq!((&api["kind"], &api["versions"]), (&json!("APIVersions"), &json!([])));
    let groups = stack.client.get("/apis").await.expect(200).json();
    let names: Vec<_> =
        groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert!(
        names.contains(&"inventory.example.com") && names.contains(&"apiregistration.k8s.io"),
        "{names:?}"
    );
    let list = stack.client.get("/apis/inventory.example.com/v1").await.expect(200).json();
    assert_eq!(list["kind"], "APIResourceList");
    let resources: Vec<_> =
        list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    for name in ["machines", "machines/status", "machines/powercycle", "racks", "racks/status"] {
        assert!(resources.contains(&name), "{resources:?}");
    }
    stack.client.get("/apis/nobody.example.com").await.expect(404);
    stack.client.get("/apis/inventory.example.com/v9").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aggregated_document_has_an_etag() {
    let stack = Stack::start().await;
    let first = stack.client.get_as("/apis", &format!("{AGGREGATED},application/json")).await.expect(200);
    assert_eq!(first.header("content-type"), AGGREGATED);
    assert_eq!(first.header("vary"), "Accept");
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.len() > 64, "{etag}");
    let items = first.json()["items"].clone();
    let group =
        items.as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "inventory.example.com").unwrap();
    assert_eq!(group["versions"][0]["freshness"], "Current");
    let machines = &group["versions"][0]["resources"][0];
    assert_eq!(machines["resource"], "machines");
    assert_eq!(machines["subresources"].as_array().unwrap().len(), 2);

    let request = stack.client.request(Method::GET, "/apis").header("accept", AGGREGATED);
    let second = stack.client.send(request.header("if-none-match", &etag)).await.expect(304);
    assert!(second.body.is_empty());
    stack.client.get_as("/apis", "application/vnd.nothing").await.expect(406);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_in_the_form_that_is_asked_for() {
    let stack = Stack::start().await;
    for path in ["/api", "/apis", "/apis/inventory.example.com", "/apis/inventory.example.com/v1"] {
        let json = stack.client.get(path).await.expect(200);
        assert_eq!((json.header("content-type"), json.text().ends_with("}\n")), ("application/json", true));
        let yaml = stack.client.get_as(path, "application/yaml").await.expect(200);
        assert_eq!(yaml.header("content-type"), "application/yaml");
        assert!(yaml.text().contains(&format!("kind: {}\n", json.json()["kind"].as_str().unwrap())));
        let protobuf = "application/vnd.kubernetes.protobuf";
        let answer = stack.client.get_as(path, &format!("{protobuf},application/json")).await.expect(200);
        assert_eq!((answer.header("content-type"), &answer.body[..4]), (protobuf, b"k8s\0".as_slice()));
        let pretty = stack.client.get(&format!("{path}?pretty=1")).await.expect(200);
        assert!(pretty.text().starts_with("{\n  \"kind\""), "{}", pretty.text());
        assert_eq!(pretty.json(), json.json());
    }
    let etag = stack.client.get_as("/apis", AGGREGATED).await.expect(200).header("etag").to_owned();
    for media in ["yaml", "vnd.kubernetes.protobuf"] {
        let media = AGGREGATED.replace("json", media);
        let answer = stack.client.get_as("/apis", &media).await.expect(200);
        assert_eq!((answer.header("content-type"), answer.header("etag")), (media.as_str(), etag.as_str()));
    }
    for refused in [
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
    ] {
        stack.client.get_as("/apis", refused).await.expect(406);
    }
    stack.client.get_as("/apis/inventory.example.com/v1", AGGREGATED).await.expect(406);
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_answers_other_methods_as_kube_apiserver_does() {
    let stack = Stack::start().await;
    let length = stack.client.get("/apis").await.expect(200).body.len();
    let head = stack.client.send(stack.client.request(Method::HEAD, "/apis")).await.expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), (length.to_string().as_str(), 0));
    stack.client.post("/apis", &json!({})).await.expect(200);
    stack.client.post("/apis/inventory.example.com", &json!({})).await.expect(200);
    for path in ["/api", "/apis/inventory.example.com/v1"] {
        stack.client.post(path, &json!({})).await.expect(405);
    }
    stack.client.post("/apis/nobody.example.com", &json!({})).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_names_exactly_the_patches_that_are_accepted() {
    let stack = Stack::start().await;
    let index = stack.client.get("/openapi/v3").await.expect(200).json();
    let url =
        index["paths"]["apis/inventory.example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    assert!(url.contains("hash="), "{url}");
    let document = stack.client.get(&url).await.expect(200).json();
    let item = &document["paths"]["/apis/inventory.example.com/v1/namespaces/{namespace}/machines/{name}"];
    let accepted: Vec<_> =
        item["patch"]["requestBody"]["content"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(accepted, ["application/json-patch+json", "application/merge-patch+json"]);
    assert_eq!(item["get"]["x-kubernetes-action"], "get");
    let v2 = stack.client.get("/openapi/v2").await.expect(200).json();
    assert_eq!(v2["swagger"], "2.0");
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let v2 = stack.client.get_as("/openapi/v2", protobuf).await.expect(200);
    assert_eq!(v2.body[..5], *b"\x0a\x032.0", "what client-go's OpenAPISchema() decodes");
    stack.client.get("/openapi/v3/apis/nobody.example.com/v1").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn version_and_health_need_no_name() {
    let stack = Stack::start().await;
    let anonymous = stack.anonymous();
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(anonymous.get(path).await.expect(200).text(), "ok");
    }
    let version = anonymous.get("/version").await.expect(200).json();
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.36.0+kubridge."), "{version}");
    for path in ["/apis", "/openapi/v3", super::MACHINES, "/nowhere"] {
        anonymous.get(path).await.expect(401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_does_not_wait_for_a_dead_backend() {
    let stack = Stack::start().await;
    stack.relay.freeze();
    let begin = std::time::Instant::now();
    for path in ["/api", "/apis", "/apis/inventory.example.com/v1", "/openapi/v3", "/openapi/v2"] {
        stack.client.get(path).await.expect(200);
    }
    assert!(begin.elapsed().as_secs() < 2, "{:?}", begin.elapsed());
}
