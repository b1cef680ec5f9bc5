//! What in a document breaks those who read it, although it is JSON.
//!
//! kubectl and client-go read all definitions of a server before they use one: a single bad one spoils the lot.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

use super::json::escaped;

/// More than these are not told.
pub(super) const MAX_FAULTS: usize = 50;

/// What is wrong with a document, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// A JSON pointer (RFC 6901) into the document; empty: all of it.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub mend: String,
}

impl Fault {
    pub(super) fn new(pointer: &str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), message: message.into(), mend: mend.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the document" } else { &self.pointer };
        write!(f, "{place}: {}; {}", self.message, self.mend)
    }
}

/// How a version of OpenAPI spells what is looked at here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Dialect {
    /// What a reference to a schema begins with.
    pub(super) fn schemas(self) -> &'static str {
        match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        }
    }

    /// The pointer of the schemas, and they.
    fn schemas_of(self, document: &Value) -> (&'static str, Option<&Value>) {
        match self {
            Self::V2 => ("/definitions", document.get("definitions")),
            Self::V3 => ("/components/schemas", document.pointer("/components/schemas")),
        }
    }
}

/// The faults of a document that holds one group and version (or a part of the API that is none: `None`).
pub(super) fn faults(document: &Value, dialect: Dialect, claim: Option<(&str, &str)>) -> Vec<Fault> {
    let mut lint = Lint { document, dialect, pointer: String::new(), faults: Vec::new() };
    lint.version();
    lint.nulls(document, false);
    let (place, schemas) = dialect.schemas_of(document);
    lint.pointer = place.to_owned();
    match schemas {
        Some(Value::Object(schemas)) => {
            lint.each(schemas, |lint, _, schema| lint.schema(schema, true));
            if let Some(claim) = claim {
                lint.kinds_once(schemas, claim);
            }
        }
        None | Some(Value::Null) => {}
        Some(_) => lint.fault("is no object", "write a name for each schema"),
    }
    lint.pointer = "/paths".to_owned();
    match document.get("paths") {
        Some(Value::Object(paths)) => lint.each(paths, Lint::path_item),
        None | Some(Value::Null) => {}
        Some(_) => lint.fault("is no object", "write a path for each resource"),
    }
    lint.pointer.clear();
    lint.references(document, false);
    lint.faults.sort();
    lint.faults.dedup();
    lint.faults
}

struct Lint<'a> {
    document: &'a Value,
    dialect: Dialect,
    pointer: String,
    faults: Vec<Fault>,
}

impl<'a> Lint<'a> {
    fn fault(&mut self, message: impl Into<String>, mend: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault::new(&self.pointer, message, mend));
        }
    }

    /// Looks at something below here.
    fn below(&mut self, name: &str, look: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escaped(name));
        look(self);
        self.pointer.truncate(length);
    }

    fn each(&mut self, map: &'a Map<String, Value>, mut look: impl FnMut(&mut Self, &'a str, &'a Value)) {
        for (name, value) in map {
            self.below(name, |lint| look(lint, name, value));
        }
    }

    fn version(&mut self) {
        let (key, expected) = match self.dialect {
            Dialect::V2 => ("swagger", "2.0"),
            Dialect::V3 => ("openapi", "3.0"),
        };
        let version = self.document.get(key).and_then(Value::as_str).unwrap_or_default();
        if version != expected && !version.starts_with(&format!("{expected}.")) {
            let mend = format!("serve version {expected}, with `\"{key}\": \"{expected}...\"`");
            self.below(key, |lint| lint.fault("is of another version of OpenAPI", mend));
        }
    }

    /// Go's readers take null for a value that is there and empty; others fail.
    fn nulls(&mut self, value: &'a Value, data: bool) {
        match value {
            Value::Null if !data => self.fault("is null", "leave it out"),
            Value::Object(map) => self.each(map, |lint, name, value| {
                let data = data || matches!(name, "default" | "example" | "examples" | "enum");
                lint.nulls(value, data);
            }),
            Value::Array(list) => {
                for (at, value) in list.iter().enumerate() {
                    self.below(&at.to_string(), |lint| lint.nulls(value, data));
                }
            }
            _ => {}
        }
    }

    fn references(&mut self, value: &'a Value, named: bool) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    self.reference(reference);
                }
                for (name, value, named) in super::refs::children(map, named) {
                    self.below(name, |lint| lint.references(value, named));
                }
            }
            Value::Array(list) => {
                for (at, value) in list.iter().enumerate() {
                    self.below(&at.to_string(), |lint| lint.references(value, false));
                }
            }
            _ => {}
        }
    }

    fn reference(&mut self, reference: &str) {
        let target = reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer));
        if target.is_none() {
            let mend = format!("refer to a schema of this document: `{}NAME`", self.dialect.schemas());
            self.fault(format!("refers to {reference:?}, which is not in the document"), mend);
        }
    }

    /// `whole`: not a mere condition on something whose type is said elsewhere (`anyOf: [{required: [a]}]`).
    fn schema(&mut self, schema: &'a Value, whole: bool) {
        let Value::Object(schema) = schema else {
            return self.fault("is no schema", "write an object, `{}` for any value");
        };
        if whole {
            self.typed(schema);
        }
        for key in ["properties", "patternProperties"] {
            if let Some(Value::Object(properties)) = schema.get(key) {
                self.below(key, |lint| lint.each(properties, |lint, _, schema| lint.schema(schema, whole)));
            }
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(allowed)) => {
                let mend = if *allowed {
                    "write `\"x-kubernetes-preserve-unknown-fields\": true`, or the values' schema"
                } else {
                    "leave it out: unknown fields are never kept"
                };
                self.below("additionalProperties", |lint| {
                    lint.fault(format!("is {allowed}, which Kubernetes' readers refuse"), mend);
                });
            }
            Some(inner) => self.below("additionalProperties", |lint| lint.schema(inner, whole)),
            None => {}
        }
        match schema.get("items") {
            Some(Value::Array(_)) => self.below("items", |lint| {
                lint.fault("is a list, which Kubernetes' readers refuse", "write one schema for all items");
            }),
            Some(inner) => self.below("items", |lint| lint.schema(inner, whole)),
            None => {}
        }
        if let Some(inner) = schema.get("not") {
            self.below("not", |lint| lint.schema(inner, false));
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            if let Some(Value::Array(list)) = schema.get(key) {
                for (at, inner) in list.iter().enumerate() {
                    let one = |lint: &mut Self| lint.schema(inner, false);
                    self.below(key, |lint| lint.below(&at.to_string(), one));
                }
            }
        }
    }

    fn typed(&mut self, schema: &'a Map<String, Value>) {
        let has = |key: &str| schema.contains_key(key);
        match schema.get("type") {
            Some(Value::String(name)) => {
                if !["array", "boolean", "integer", "number", "object", "string"].contains(&name.as_str()) {
                    self.below("type", |lint| {
                        lint.fault(
                            format!("is {name:?}, which is no type"),
                            "write one of array, boolean, integer, number, object, string",
                        );
                    });
                }
                let any = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
                if name == "array" && !has("items") && !any {
                    self.fault("is an array of nobody knows what", "write `items`");
                }
            }
            Some(Value::Null) => {} // told as null
            Some(_) => self.below("type", |lint| {
                lint.fault("is not one name", "write one type; leave it out for any value");
            }),
            None => {
                let explained = ["$ref", "allOf", "oneOf", "anyOf"].into_iter().any(has)
                    || ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"]
                        .into_iter()
                        .any(|key| schema.get(key) == Some(&Value::Bool(true)));
                // With nothing but words about it, it is any value: apiextensions' `JSON`, for one. Version 2 of a
                // custom resource has conditions without a type where it is nullable: kube-apiserver leaves it out.
                let says = schema.keys().find(|key| match self.dialect {
                    Dialect::V2 => is_structure(key),
                    Dialect::V3 => !is_annotation(key),
                });
                if let (false, Some(says)) = (explained, says) {
                    let mend = match says.as_str() {
                        "items" => "write `\"type\": \"array\"`",
                        "properties" | "additionalProperties" | "required" => "write `\"type\": \"object\"`",
                        _ => "write its type",
                    };
                    self.fault(format!("has `{says}` and no type"), mend);
                }
            }
        }
    }

    /// Of two schemas of one kind nobody knows which is meant, and server-side apply refuses both.
    fn kinds_once(&mut self, schemas: &'a Map<String, Value>, claim: (&str, &str)) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, schema) in schemas {
            for (group, version, kind) in kinds(schema) {
                if (group, version) != claim {
                    continue;
                }
                if let Some(other) = seen.insert(kind, name).filter(|other| other != name) {
                    self.below(name, |lint| {
                        lint.fault(
                            format!("is of the kind {kind}, as is {other}"),
                            "leave x-kubernetes-group-version-kind out of one of them",
                        );
                    });
                }
            }
        }
    }

    fn path_item(&mut self, path: &'a str, item: &'a Value) {
        let Value::Object(item) = item else {
            return self.fault("is no path item", "write an object of methods");
        };
        if let Some(parameters) = item.get("parameters") {
            self.below("parameters", |lint| lint.parameters(parameters));
        }
        let main = is_main(path);
        for method in ["get", "put", "post", "delete", "options", "head", "patch"] {
            let Some(operation) = item.get(method) else { continue };
            self.below(method, |lint| match operation {
                Value::Object(operation) => lint.operation(operation, method, main),
                _ => lint.fault("is no operation", "write an object"),
            });
        }
    }

    fn parameters(&mut self, parameters: &'a Value) {
        let Value::Array(list) = parameters else {
            return self.fault("is no list", "write a list of parameters");
        };
        let mut seen = Vec::with_capacity(list.len());
        for (at, parameter) in list.iter().enumerate() {
            let name = (parameter.get("in"), parameter.get("name"));
            let named = name.0.is_some() && name.1.is_some();
            let twice = named && seen.contains(&name);
            seen.push(name);
            self.below(&at.to_string(), |lint| {
                if twice {
                    lint.fault("is there twice in this list", "leave one out");
                }
                if let Some(schema) = parameter.get("schema") {
                    lint.below("schema", |lint| lint.schema(schema, true));
                }
            });
        }
    }

    fn operation(&mut self, operation: &'a Map<String, Value>, method: &str, main: bool) {
        if let Some(parameters) = operation.get("parameters") {
            self.below("parameters", |lint| lint.parameters(parameters));
        }
        if let Some(body) = operation.get("requestBody") {
            self.below("requestBody", |lint| lint.content(body));
        }
        if let Some(Value::Object(responses)) = operation.get("responses") {
            self.below("responses", |lint| {
                lint.each(responses, |lint, _, response| {
                    if let Some(schema) = response.get("schema").filter(|_| lint.dialect == Dialect::V2) {
                        lint.below("schema", |lint| lint.schema(schema, true));
                    }
                    lint.content(response);
                });
            });
        }
        let action = operation.get("x-kubernetes-action").and_then(Value::as_str).unwrap_or_default();
        if !main || !["get", "list", "post", "put", "patch"].contains(&action) {
            return;
        }
        let Some(kind) = operation.get("x-kubernetes-group-version-kind").and_then(group_version_kind) else {
            return self.fault(
                format!("is the action {action} of no kind"),
                "write x-kubernetes-group-version-kind with group, version and kind",
            );
        };
        // A list's schema is of another kind, a patch's answer is the same as get's.
        if matches!(method, "get" | "put" | "post")
            && action != "list"
            && let Some(name) = self.answered(operation)
            && let Some(schema) = self.dialect.schemas_of(self.document).1.and_then(|all| all.get(name))
            && !kinds(schema).any(|of| of == kind)
        {
            let (group, version, kind) = kind;
            let place = format!("{}/{}", self.dialect.schemas_of(self.document).0, escaped(name));
            let mend = format!(
                "write x-kubernetes-group-version-kind: \
                 [{{\"group\": {group:?}, \"version\": {version:?}, \"kind\": {kind:?}}}]"
            );
            if self.faults.len() < MAX_FAULTS {
                self.faults.push(Fault::new(&place, format!("is not marked as the kind {kind}"), mend));
            }
        }
    }

    fn content(&mut self, holder: &'a Value) {
        if let Some(Value::Object(content)) = holder.get("content") {
            self.below("content", |lint| {
                lint.each(content, |lint, _, media| {
                    if let Some(schema) = media.get("schema") {
                        lint.below("schema", |lint| lint.schema(schema, true));
                    }
                });
            });
        }
    }

    /// The schema of the good answer, by name.
    fn answered(&self, operation: &'a Map<String, Value>) -> Option<&'a str> {
        let responses = operation.get("responses")?;
        let response = responses.get("200").or_else(|| responses.get("201"))?;
        let schema = match self.dialect {
            Dialect::V2 => response.get("schema")?,
            Dialect::V3 => response.get("content")?.as_object()?.values().next()?.get("schema")?,
        };
        schema.get("$ref")?.as_str()?.strip_prefix(self.dialect.schemas())
    }
}

/// The kinds that a schema is marked with.
fn kinds(schema: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    let list = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(group_version_kind)
}

fn group_version_kind(value: &Value) -> Option<(&str, &str, &str)> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    Some((text("group").unwrap_or_default(), text("version")?, text("kind").filter(|kind| !kind.is_empty())?))
}

fn is_structure(key: &str) -> bool {
    matches!(key, "additionalProperties" | "items" | "patternProperties" | "properties")
}

fn is_annotation(key: &str) -> bool {
    matches!(
        key,
        "title"
            | "description"
            | "default"
            | "example"
            | "nullable"
            | "readOnly"
            | "writeOnly"
            | "deprecated"
            | "externalDocs"
            | "xml"
    ) || key.starts_with("x-")
}

/// Whether a path is that of a resource or of an object, not of a subresource or of a deprecated watch.
fn is_main(path: &str) -> bool {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let prefix = if parts.first() == Some(&"api") { 2 } else { 3 };
    if parts.len() <= prefix {
        return false;
    }
    parts.drain(..prefix);
    if parts.len() > 2 && parts[0] == "namespaces" && parts[1].starts_with('{') && !parts[2].is_empty() {
        // "namespaces/{name}/status" is a subresource of namespaces themselves.
        if parts[1] != "{namespace}" {
            return false;
        }
        parts.drain(..2);
    }
    match parts.as_slice() {
        [resource] => !resource.starts_with('{'),
        [resource, name] => *resource != "watch" && !resource.starts_with('{') && *name == "{name}",
        _ => false,
    }
}
