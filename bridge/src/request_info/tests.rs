#![allow(clippy::unwrap_used)]

use http::Method;
use proptest::prelude::*;

use super::RequestInfo;

/// verb, prefix, group, version, namespace, resource, subresource, name, rest
type Row = (&'static str, &'static str, [&'static str; 9]);

const RESOURCES: &[Row] = &[
    ("GET", "/api/v1/namespaces", ["list", "api", "", "v1", "", "namespaces", "", "", ""]),
    ("GET", "/api/v1/namespaces/other", ["get", "api", "", "v1", "other", "namespaces", "", "other", ""]),
    (
        "PUT",
        "/api/v1/namespaces/other/finalize",
        ["update", "api", "", "v1", "other", "namespaces", "finalize", "other", ""],
    ),
    (
        "PUT",
        "/api/v1/namespaces/other/status",
        ["update", "api", "", "v1", "other", "namespaces", "status", "other", ""],
    ),
    ("GET", "/api/v1/namespaces/other/pods", ["list", "api", "", "v1", "other", "pods", "", "", ""]),
    ("GET", "/api/v1/namespaces/other/pods/foo", ["get", "api", "", "v1", "other", "pods", "", "foo", ""]),
    ("HEAD", "/api/v1/namespaces/other/pods/foo", ["get", "api", "", "v1", "other", "pods", "", "foo", ""]),
    ("GET", "/api/v1/pods", ["list", "api", "", "v1", "", "pods", "", "", ""]),
    ("POST", "/apis/g.io/v1/namespaces/a/pods", ["create", "apis", "g.io", "v1", "a", "pods", "", "", ""]),
    ("PATCH", "/apis/g.io/v1/pods/x", ["patch", "apis", "g.io", "v1", "", "pods", "", "x", ""]),
    ("DELETE", "/apis/g.io/v1/pods/x", ["delete", "apis", "g.io", "v1", "", "pods", "", "x", ""]),
    (
        "DELETE",
        "/apis/g.io/v1/namespaces/a/pods",
        ["deletecollection", "apis", "g.io", "v1", "a", "pods", "", "", ""],
    ),
    (
        "POST",
        "/apis/g.io/v1/namespaces/a/pods/x/powercycle",
        ["create", "apis", "g.io", "v1", "a", "pods", "powercycle", "x", ""],
    ),
    (
        "GET",
        "/apis/g.io/v1/namespaces/a/pods/x/log/b/c",
        ["get", "apis", "g.io", "v1", "a", "pods", "log", "x", "b/c"],
    ),
    ("OPTIONS", "/apis/g.io/v1/pods", ["", "apis", "g.io", "v1", "", "pods", "", "", ""]),
    // watches
    ("GET", "/apis/g.io/v1/pods?watch=true", ["watch", "apis", "g.io", "v1", "", "pods", "", "", ""]),
    ("GET", "/apis/g.io/v1/pods?watch=1", ["watch", "apis", "g.io", "v1", "", "pods", "", "", ""]),
    ("GET", "/apis/g.io/v1/pods?watch", ["watch", "apis", "g.io", "v1", "", "pods", "", "", ""]),
    ("GET", "/apis/g.io/v1/pods?watch=0", ["list", "apis", "g.io", "v1", "", "pods", "", "", ""]),
    ("GET", "/apis/g.io/v1/pods?watch=False", ["list", "apis", "g.io", "v1", "", "pods", "", "", ""]),
    ("GET", "/apis/g.io/v1/pods?limit=abc&watch=1", ["watch", "apis", "g.io", "v1", "", "pods", "", "", ""]),
    (
        "GET",
        "/apis/g.io/v1/namespaces/a/pods/x?watch=true",
        ["get", "apis", "g.io", "v1", "a", "pods", "", "x", ""],
    ),
    ("GET", "/apis/g.io/v1/watch/pods", ["watch", "apis", "g.io", "v1", "", "pods", "", "", ""]),
    (
        "GET",
        "/apis/g.io/v1/watch/namespaces/a/pods/x",
        ["watch", "apis", "g.io", "v1", "a", "pods", "", "x", ""],
    ),
    (
        "GET",
        "/apis/g.io/v1/pods?fieldSelector=metadata.name%3Dx&watch=1",
        ["watch", "apis", "g.io", "v1", "", "pods", "", "x", ""],
    ),
    (
        "GET",
        "/apis/g.io/v1/pods?fieldSelector=metadata.name%3Dx,spec.y%3D1",
        ["list", "apis", "g.io", "v1", "", "pods", "", "x", ""],
    ),
    (
        "GET",
        "/apis/g.io/v1/pods?fieldSelector=metadata.name!%3Dx",
        ["list", "apis", "g.io", "v1", "", "pods", "", "", ""],
    ),
    (
        "GET",
        "/apis/g.io/v1/pods?fieldSelector=metadata.name%3D..",
        ["list", "apis", "g.io", "v1", "", "pods", "", "", ""],
    ),
    (
        "GET",
        "/apis/g.io/v1/pods?fieldSelector=metadata.name%3D%5Cx",
        ["list", "apis", "g.io", "v1", "", "pods", "", "", ""],
    ),
    // spelling
    ("GET", "/apis/g.io/v1/namespaces/a/pods/", ["list", "apis", "g.io", "v1", "a", "pods", "", "", ""]),
    (
        "GET",
        "/apis/g.io/v1/namespaces/a/pods/x%3Ay",
        ["get", "apis", "g.io", "v1", "a", "pods", "", "x:y", ""],
    ),
    (
        "GET",
        "/apis/g.io/v1/namespaces/a/pods/x%2Flog",
        ["get", "apis", "g.io", "v1", "a", "pods", "log", "x", ""],
    ),
    ("GET", "//apis/g.io/v1/pods//", ["list", "apis", "g.io", "v1", "", "pods", "", "", ""]),
    ("GET", "/apis/g.io/v1/namespaces//pods", ["list", "apis", "g.io", "v1", "", "pods", "", "", ""]),
];

const OTHERS: &[(&str, &str, &str)] = &[
    ("GET", "/", "get"),
    ("GET", "/api", "get"),
    ("GET", "/api/v1", "get"),
    ("GET", "/apis", "get"),
    ("GET", "/apis/g.io", "get"),
    ("GET", "/apis/g.io/v1", "get"),
    ("GET", "/apis/g.io/v1/", "get"),
    ("GET", "/apis/g.io/v1/watch", "get"),
    ("POST", "/openapi/v3/apis/g.io/v1", "post"),
    ("PROPFIND", "/livez", "propfind"),
    ("GET", "", "get"),
];

fn info(method: &str, uri: &str) -> RequestInfo {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    RequestInfo::new(&Method::from_bytes(method.as_bytes()).unwrap(), path, query)
}

#[test]
fn resource_paths() {
    for (method, uri, want) in RESOURCES {
        let i = info(method, uri);
        assert!(i.is_resource_request, "{method} {uri}");
        let got = [
            &i.verb,
            &i.api_prefix,
            &i.api_group,
            &i.api_version,
            &i.namespace,
            &i.resource,
            &i.subresource,
            &i.name,
            &i.rest,
        ]
        .map(String::as_str);
        assert_eq!(got, *want, "{method} {uri}");
    }
}

#[test]
fn other_paths() {
    for (method, uri, verb) in OTHERS {
        let i = info(method, uri);
        assert!(!i.is_resource_request, "{method} {uri}");
        assert_eq!(i.verb, *verb, "{method} {uri}");
        assert_eq!(i.path, *uri);
    }
}

proptest! {
    #[test]
    fn never_panics(path in "[/a-z%.0-9\u{e9}]{0,40}|(/(api|apis|v1|watch|namespaces|proxy|status|x|%2f|))*", query in "\\PC{0,40}") {
        let i = RequestInfo::new(&Method::GET, &path, &query);
        prop_assert!(!i.is_resource_request || !i.api_prefix.is_empty());
    }
}
