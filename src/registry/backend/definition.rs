//! Backend as a custom resource: what a cluster is told of it.

use kubridge_bridge::openapi_doc::structural;
use serde_json::{Value, json};

use super::BACKENDS;
use crate::registry::own_kinds;

/// The CustomResourceDefinition of Backend (`apiextensions.k8s.io/v1`), made of its proto: `deploy/manifests/crd.yaml`.
///
/// # Panics
/// By our own faults, which the tests find.
pub fn definition() -> Value {
    let kinds = own_kinds().expect("the built-in APIs have no faults");
    let api = kinds.apis.iter().find(|api| api.group == BACKENDS.group).expect("it is one of our own");
    let resource = api.resources.iter().find(|resource| resource.kind == BACKENDS.kind);
    let resource = resource.expect("it is one of our own");
    let mut schema = structural(api, BACKENDS.kind).expect("it does not contain itself");
    schema["required"] = json!(["spec"]);
    // What kube-apiserver can say at once need not be said in a condition.
    schema["properties"]["spec"]["x-kubernetes-validations"] = json!([
        {
            "rule": "(has(self.endpoint) && self.endpoint != '') != has(self.service)",
            "message": "exactly one of endpoint and service says where the backend is",
        },
        {
            "rule": "!has(self.endpoint) || self.endpoint == '' || self.endpoint.matches('^grpcs?://[^/@?#]+:[0-9]+/?$')",
            "message": "endpoint must be grpc://HOST:PORT or grpcs://HOST:PORT",
        },
        {
            "rule": "!has(self.tls) || !has(self.endpoint) || !self.endpoint.startsWith('grpc://')",
            "message": "tls may not be there where endpoint is grpc://, which is without TLS: write grpcs://",
        },
    ]);
    let column = |column: &kubridge_bridge::model::Column| {
        json!({
            "name": column.name,
            "type": "string",
            "jsonPath": column.path,
            "description": column.description,
            "priority": column.priority,
        })
    };
    let mut columns: Vec<Value> = resource.columns.iter().map(column).collect();
    columns.push(json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" }));
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": *BACKENDS.resource() },
        "spec": {
            "group": api.group,
            "scope": "Cluster",
            "names": {
                "kind": resource.kind,
                "listKind": resource.list_kind,
                "plural": resource.plural,
                "singular": resource.singular,
                "categories": resource.categories,
            },
            "versions": [{
                "name": api.version,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns,
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    })
}
