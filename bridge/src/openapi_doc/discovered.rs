//! A document of what discovery says: the kinds of a server that has no OpenAPI, with any fields.

use serde_json::{Map, Value, json};

use super::accept;
use crate::discovery_doc::{ResourceDocument, ResponseKind, Scope, VersionDocument};

/// Verb -> HTTP method, `x-kubernetes-action`, whether it is of the collection.
const VERBS: [(&str, &str, &str, bool); 7] = [
    ("list", "get", "list", true),
    ("create", "post", "post", true),
    ("deletecollection", "delete", "deletecollection", true),
    ("get", "get", "get", false),
    ("update", "put", "put", false),
    ("patch", "patch", "patch", false),
    ("delete", "delete", "delete", false),
];

/// The v3 document. Without media types for PATCH: kubectl then sends merge patches, which every server takes.
pub(super) fn document(key: &str, document: &VersionDocument) -> Value {
    let (group, version) = accept::claim(key).unwrap_or_default();
    let mut writer = Writer { group, version, schemas: Map::new(), paths: Map::new() };
    for resource in &document.resources {
        writer.resource(key, resource);
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": if group.is_empty() { "core" } else { group }, "version": version },
        "paths": writer.paths,
        "components": { "schemas": writer.schemas },
    })
}

struct Writer<'a> {
    group: &'a str,
    version: &'a str,
    schemas: Map<String, Value>,
    paths: Map<String, Value>,
}

impl Writer<'_> {
    fn resource(&mut self, key: &str, resource: &ResourceDocument) {
        let namespaced = resource.scope == Scope::Namespaced;
        let collection = if namespaced {
            format!("/{key}/namespaces/{{namespace}}/{}", resource.resource)
        } else {
            format!("/{key}/{}", resource.resource)
        };
        let item = format!("{collection}/{{name}}");
        self.path(&collection, &resource.verbs, true, &resource.response_kind, namespaced);
        self.path(&item, &resource.verbs, false, &resource.response_kind, namespaced);
        if namespaced && resource.verbs.iter().any(|verb| verb == "list") {
            let everywhere = format!("/{key}/{}", resource.resource);
            self.path(&everywhere, &["list".to_owned()], true, &resource.response_kind, false);
        }
        for subresource in &resource.subresources {
            let path = format!("{item}/{}", subresource.subresource);
            // What is created in a subresource is posted to it, not to a collection.
            self.path(&path, &subresource.verbs, false, &subresource.response_kind, namespaced);
            self.path(&path, &subresource.verbs, true, &subresource.response_kind, namespaced);
        }
    }

    fn path(
        &mut self,
        path: &str,
        verbs: &[String],
        of_collection: bool,
        kind: &ResponseKind,
        namespaced: bool,
    ) {
        if kind.kind.is_empty() {
            return;
        }
        let mut operations = Map::new();
        for (verb, method, action, collection) in VERBS {
            if collection == of_collection && verbs.iter().any(|name| name == verb) {
                operations.insert(method.to_owned(), self.operation(action, kind));
            }
        }
        if operations.is_empty() {
            return;
        }
        let item = self.paths.entry(path.to_owned()).or_insert_with(|| {
            let names = [(path.contains("/{name}"), "name"), (namespaced, "namespace")];
            let parameters: Vec<Value> = names
                .iter()
                .filter(|(there, _)| *there)
                .map(|(_, name)| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
                .collect();
            if parameters.is_empty() { json!({}) } else { json!({ "parameters": parameters }) }
        });
        if let Some(item) = item.as_object_mut() {
            item.extend(operations);
        }
    }

    fn operation(&mut self, action: &str, kind: &ResponseKind) -> Value {
        let (group, version) = if kind.version.is_empty() {
            (self.group, self.version)
        } else {
            (kind.group.as_str(), kind.version.as_str())
        };
        let gvk = json!({ "group": group, "version": version, "kind": kind.kind });
        let mut prefix: Vec<&str> = group.rsplit('.').filter(|part| !part.is_empty()).collect();
        if prefix.is_empty() {
            prefix.push("core");
        }
        let name = format!("{}.{version}.{}", prefix.join("."), kind.kind);
        let schema = self.schemas.entry(name.clone());
        schema.or_insert_with(|| {
            json!({
                "description": format!("{}. The server that serves it does not describe its fields.", kind.kind),
                "type": "object",
                "properties": {
                    "apiVersion": { "description": "The group and version of the kind.", "type": "string" },
                    "kind": { "description": "What the object is.", "type": "string" },
                    "metadata": {
                        "description": "Standard object's metadata.",
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": true,
                    },
                },
                "x-kubernetes-preserve-unknown-fields": true,
                "x-kubernetes-group-version-kind": [gvk],
            })
        });
        let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        let answer = match action {
            "get" | "put" | "post" | "patch" => json!({ "$ref": format!("#/components/schemas/{name}") }),
            _ => any,
        };
        let code = if action == "post" { "201" } else { "200" };
        json!({
            "responses": { code: { "description": "OK", "content": { "application/json": { "schema": answer } } } },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
        })
    }
}
