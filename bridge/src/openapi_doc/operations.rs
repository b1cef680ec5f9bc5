//! Paths and operations: exactly the verbs that are served.

use serde_json::{Map, Value, json};

use super::components::Components;
use crate::model::{Action, ActionVerb, Api, Resource};

/// The media types that PATCH takes. kubectl decides by them how it patches and applies.
pub(super) const PATCH_TYPES: [&str; 2] = ["application/json-patch+json", "application/merge-patch+json"];

/// All paths of a group and version.
pub(super) fn paths(api: &Api, components: &mut Components) -> Map<String, Value> {
    let base = format!("/{}", super::path(&api.group, &api.version));
    let mut paths = Map::new();
    let names = Names::new(api);
    let resources = components.fixed_ref("APIResourceList");
    paths.insert(
        format!("{base}/"),
        json!({ "get": {
            "tags": [names.tag],
            "description": "get available resources",
            "operationId": format!("get{}APIResources", names.id),
            "responses": answers(&[("200", "OK")], &resources, &[]),
        }}),
    );
    for resource in &api.resources {
        let mut writer = Writer { api, resource, components, names: &names, paths: &mut paths };
        let collection = if resource.namespaced {
            writer.all_namespaces(&format!("{base}/{}", resource.plural));
            format!("{base}/namespaces/{{namespace}}/{}", resource.plural)
        } else {
            format!("{base}/{}", resource.plural)
        };
        writer.collection(&collection);
        let item = format!("{collection}/{{name}}");
        writer.item(&item);
        writer.status(&format!("{item}/status"));
        for action in &resource.actions {
            writer.action(&format!("{item}/{}", action.name), action);
        }
    }
    paths
}

/// How a group and version are called in tags and operation ids.
struct Names {
    /// "inventoryExampleCom_v1".
    tag: String,
    /// "InventoryExampleComV1".
    id: String,
}

impl Names {
    fn new(api: &Api) -> Self {
        let group = if api.group.is_empty() { "core" } else { &api.group };
        let camel: String = group.split(['.', '-']).map(capitalised).collect();
        let mut tag = camel.clone();
        if let Some(first) = tag.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        Self { tag: format!("{tag}_{}", api.version), id: format!("{camel}{}", capitalised(&api.version)) }
    }
}

fn capitalised(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(first) = word.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    word
}

struct Writer<'a> {
    api: &'a Api,
    resource: &'a Resource,
    components: &'a mut Components,
    names: &'a Names,
    paths: &'a mut Map<String, Value>,
}

/// One operation, as Kubernetes describes it.
struct Operation<'a> {
    /// The HTTP method, in lower case.
    method: &'a str,
    /// `x-kubernetes-action`.
    action: &'a str,
    description: String,
    /// Between verb and kind, and after the kind: "Collection", "Status".
    id: (&'a str, &'a str),
    query: &'a [&'a str],
    body: Option<Value>,
    responses: Value,
    kind: &'a str,
}

impl Writer<'_> {
    fn all_namespaces(&mut self, path: &str) {
        let verbs = self.resource.verbs();
        let mut item = Map::new();
        if verbs.contains(&"list") {
            let list = self.list("ForAllNamespaces", false);
            item.insert(list.method.to_owned(), self.operation(&list, "list"));
        }
        self.insert(path, item, &[]);
    }

    fn collection(&mut self, path: &str) {
        let verbs = self.resource.verbs();
        let kind = self.resource.kind.as_str();
        let object = self.components.kind_ref(self.resource);
        let mut item = Map::new();
        if verbs.contains(&"list") {
            let list = self.list("", true);
            item.insert(list.method.to_owned(), self.operation(&list, "list"));
        }
        if verbs.contains(&"create") {
            let create = Operation {
                method: "post",
                action: "post",
                description: format!("create a {kind}"),
                id: (self.scope(), ""),
                query: &["dryRun", "fieldManager", "fieldValidation"],
                body: Some(body(&["application/json", "application/yaml"], &object, true)),
                responses: answers(&[("200", "OK"), ("201", "Created")], &object, &[]),
                kind,
            };
            item.insert(create.method.to_owned(), self.operation(&create, "create"));
        }
        if verbs.contains(&"deletecollection") {
            let options = self.components.fixed_ref("DeleteOptions");
            let status = self.components.fixed_ref("Status");
            let id = format!("Collection{}", self.scope());
            let delete = Operation {
                method: "delete",
                action: "deletecollection",
                description: format!("delete collection of {kind}"),
                id: (&id, ""),
                query: &[
                    "continue",
                    "dryRun",
                    "fieldSelector",
                    "gracePeriodSeconds",
                    "labelSelector",
                    "limit",
                    "orphanDependents",
                    "propagationPolicy",
                    "resourceVersion",
                    "resourceVersionMatch",
                    "timeoutSeconds",
                ],
                body: Some(body(&["application/json", "application/yaml"], &options, false)),
                responses: answers(&[("200", "OK")], &status, &[]),
                kind,
            };
            item.insert(delete.method.to_owned(), self.operation(&delete, "delete"));
        }
        self.insert(path, item, &self.path_parameters(false));
    }

    fn list(&mut self, suffix: &'static str, scoped: bool) -> Operation<'static> {
        let watch = self.resource.watch_method().is_some();
        let list = self.components.list_ref(self.resource);
        let query: &[&str] = if watch { &LIST_QUERY } else { &LIST_QUERY_NO_WATCH };
        let streams: &[&str] = if watch { &["application/json;stream=watch"] } else { &[] };
        Operation {
            method: "get",
            action: "list",
            description: if watch {
                format!("list or watch objects of kind {}", self.resource.kind)
            } else {
                format!("list objects of kind {}", self.resource.kind)
            },
            id: (if scoped { self.scope() } else { "" }, suffix),
            query,
            body: None,
            responses: answers(&[("200", "OK")], &list, streams),
            kind: "",
        }
    }

    fn item(&mut self, path: &str) {
        let verbs = self.resource.verbs();
        let kind = self.resource.kind.as_str();
        let mut item = Map::new();
        if verbs.contains(&"get") {
            item.insert("get".to_owned(), self.read("", kind));
        }
        if verbs.contains(&"update") {
            item.insert("put".to_owned(), self.replace("", kind));
        }
        if verbs.contains(&"patch") {
            item.insert("patch".to_owned(), self.patch("", kind));
        }
        if verbs.contains(&"delete") {
            let options = self.components.fixed_ref("DeleteOptions");
            let status = self.components.fixed_ref("Status");
            let delete = Operation {
                method: "delete",
                action: "delete",
                description: format!("delete a {kind}"),
                id: (self.scope(), ""),
                query: &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"],
                body: Some(body(&["application/json", "application/yaml"], &options, false)),
                responses: answers(&[("200", "OK"), ("202", "Accepted")], &status, &[]),
                kind,
            };
            item.insert(delete.method.to_owned(), self.operation(&delete, "delete"));
        }
        self.insert(path, item, &self.path_parameters(true));
    }

    fn status(&mut self, path: &str) {
        let kind = self.resource.kind.as_str();
        let mut item = Map::new();
        for verb in self.resource.status_verbs() {
            match verb {
                "get" => item.insert("get".to_owned(), self.read("Status", kind)),
                "update" => item.insert("put".to_owned(), self.replace("Status", kind)),
                _ => item.insert("patch".to_owned(), self.patch("Status", kind)),
            };
        }
        self.insert(path, item, &self.path_parameters(true));
    }

    fn action(&mut self, path: &str, action: &Action) {
        let mut item = Map::new();
        let suffix = action.name.split('-').map(capitalised).collect::<String>();
        for (verb, method) in &action.methods {
            let (http, name, verb_id) = match verb {
                ActionVerb::Create => ("post", "create", "create"),
                ActionVerb::Get => ("get", "get", "read"),
                ActionVerb::Update => ("put", "update", "replace"),
                ActionVerb::Delete => ("delete", "delete", "delete"),
            };
            let answer = self.components.action_answer(method);
            let request = (*verb != ActionVerb::Get).then(|| {
                let schema = self.components.action_body(self.resource, action, method);
                body(&["application/json", "application/yaml"], &schema, false)
            });
            let codes: &[(&str, &str)] = if *verb == ActionVerb::Create {
                &[("200", "OK"), ("201", "Created")]
            } else {
                &[("200", "OK")]
            };
            let dry_run = method.binds(&crate::model::Source::DryRun)
                || method.binds(&crate::model::Source::DryRunFlag);
            let operation = Operation {
                method: http,
                action: http,
                description: format!("{name} {} of a {}", action.name, self.resource.kind),
                id: (self.scope(), &suffix),
                query: if dry_run { &["dryRun"] } else { &[] },
                body: request,
                responses: answers(codes, &answer, &[]),
                kind: &action.kind,
            };
            item.insert(http.to_owned(), self.operation(&operation, verb_id));
        }
        self.insert(path, item, &self.path_parameters(true));
    }

    fn read(&mut self, suffix: &str, kind: &str) -> Value {
        let object = self.components.kind_ref(self.resource);
        let read = Operation {
            method: "get",
            action: "get",
            description: described("read", suffix, kind),
            id: (self.scope(), suffix),
            query: &["resourceVersion"],
            body: None,
            responses: answers(&[("200", "OK")], &object, &[]),
            kind,
        };
        self.operation(&read, "read")
    }

    fn replace(&mut self, suffix: &str, kind: &str) -> Value {
        let object = self.components.kind_ref(self.resource);
        let replace = Operation {
            method: "put",
            action: "put",
            description: described("replace", suffix, kind),
            id: (self.scope(), suffix),
            query: &["dryRun", "fieldManager", "fieldValidation"],
            body: Some(body(&["application/json", "application/yaml"], &object, true)),
            responses: answers(&[("200", "OK")], &object, &[]),
            kind,
        };
        self.operation(&replace, "replace")
    }

    fn patch(&mut self, suffix: &str, kind: &str) -> Value {
        let object = self.components.kind_ref(self.resource);
        let document = self.components.fixed_ref("Patch");
        let patch = Operation {
            method: "patch",
            action: "patch",
            description: described("partially update", suffix, kind),
            id: (self.scope(), suffix),
            query: &["dryRun", "fieldManager", "fieldValidation"],
            body: Some(body(&PATCH_TYPES, &document, true)),
            responses: answers(&[("200", "OK")], &object, &[]),
            kind,
        };
        self.operation(&patch, "patch")
    }

    fn scope(&self) -> &'static str {
        if self.resource.namespaced { "Namespaced" } else { "" }
    }

    fn operation(&self, operation: &Operation<'_>, verb: &str) -> Value {
        let kind = if operation.kind.is_empty() { &self.resource.kind } else { operation.kind };
        let (scope, suffix) = operation.id;
        let mut value = json!({
            "tags": [self.names.tag],
            "description": operation.description,
            // The resource's kind, also for a subresource of another kind: ids are unique then.
            "operationId": format!("{verb}{}{scope}{}{suffix}", self.names.id, self.resource.kind),
            "responses": operation.responses,
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind": {
                "group": self.api.group, "version": self.api.version, "kind": kind,
            },
        });
        if let Some(value) = value.as_object_mut() {
            if !operation.query.is_empty() {
                let parameters: Vec<Value> = operation.query.iter().map(|name| query(name)).collect();
                value.insert("parameters".to_owned(), parameters.into());
            }
            if let Some(body) = &operation.body {
                value.insert("requestBody".to_owned(), body.clone());
            }
        }
        value
    }

    fn path_parameters(&self, named: bool) -> Vec<Value> {
        let mut parameters = Vec::new();
        if named {
            parameters.push(path_parameter("name", &format!("name of the {}", self.resource.kind)));
        }
        if self.resource.namespaced {
            parameters.push(path_parameter("namespace", "the namespace that the object lives in"));
        }
        parameters
    }

    /// A path without operations is not served.
    fn insert(&mut self, path: &str, mut item: Map<String, Value>, parameters: &[Value]) {
        if item.is_empty() {
            return;
        }
        let mut parameters = parameters.to_vec();
        parameters.push(query("pretty"));
        item.insert("parameters".to_owned(), parameters.into());
        self.paths.insert(path.to_owned(), item.into());
    }
}

const LIST_QUERY: [&str; 10] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];

const LIST_QUERY_NO_WATCH: [&str; 7] = [
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
];

fn described(verb: &str, suffix: &str, kind: &str) -> String {
    if suffix.is_empty() {
        format!("{verb} the specified {kind}")
    } else {
        format!("{verb} {} of the specified {kind}", suffix.to_lowercase())
    }
}

fn body(media_types: &[&str], schema: &Value, required: bool) -> Value {
    let mut body = json!({ "content": content(media_types, schema) });
    if let Some(body) = body.as_object_mut().filter(|_| required) {
        body.insert("required".to_owned(), true.into());
    }
    body
}

fn answers(codes: &[(&str, &str)], schema: &Value, streams: &[&str]) -> Value {
    let media_types = [&["application/json", "application/yaml"], streams].concat();
    let content = content(&media_types, schema);
    codes
        .iter()
        .map(|(code, text)| ((*code).to_owned(), json!({ "description": text, "content": content })))
        .collect::<Map<_, _>>()
        .into()
}

fn content(media_types: &[&str], schema: &Value) -> Value {
    media_types
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "schema": schema })))
        .collect::<Map<_, _>>()
        .into()
}

fn path_parameter(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "in": "path",
        "description": description,
        "required": true,
        "schema": { "type": "string", "uniqueItems": true },
    })
}

fn query(name: &str) -> Value {
    let (kind, description) = match name {
        "allowWatchBookmarks" => ("boolean", "Watch: whether BOOKMARK events may be sent."),
        "continue" => ("string", "List: the `continue` of the page before. Not in a watch."),
        "dryRun" => ("string", "`All`: check everything and write nothing."),
        "fieldManager" => ("string", "Who writes: at most 128 printable characters."),
        "fieldSelector" => ("string", "Which objects, by their fields. Default: all."),
        "fieldValidation" => (
            "string",
            "What unknown and duplicate fields do. `Ignore`: nothing. `Warn` (default): a Warning for each. \
             `Strict`: the request fails and names each.",
        ),
        "gracePeriodSeconds" => ("integer", "How long the object may take to go, in seconds. 0: at once."),
        "labelSelector" => ("string", "Which objects, by their labels. Default: all."),
        "limit" => ("integer", "At most so many objects; the answer's `continue` leads to the next page."),
        "orphanDependents" => ("boolean", "Deprecated by propagationPolicy."),
        "pretty" => ("string", "`true`: the answer is indented."),
        "propagationPolicy" => (
            "string",
            "What becomes of objects that depend on this one: `Orphan`, `Background` or `Foreground`.",
        ),
        "resourceVersion" => ("string", "List: see resourceVersionMatch. Watch: start after this version."),
        "resourceVersionMatch" => ("string", "`NotOlderThan` or `Exact`: what resourceVersion means."),
        "sendInitialEvents" => (
            "boolean",
            "Watch: send the present objects first, then a BOOKMARK annotated `k8s.io/initial-events-end`. \
             Needs resourceVersionMatch=NotOlderThan.",
        ),
        "timeoutSeconds" => ("integer", "How long a list or watch may last, in seconds."),
        _ => ("boolean", "Send changes, as they happen, from resourceVersion on."),
    };
    json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind, "uniqueItems": true } })
}
