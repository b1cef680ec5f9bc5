//! OpenAPI v3 -> v2 and back: one model, two spellings. What the other version cannot say is left out.

use serde_json::{Map, Value, json};

use super::refs;

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
/// What both versions have in an operation.
const OPERATION: [&str; 7] =
    ["tags", "summary", "description", "externalDocs", "operationId", "deprecated", "security"];
/// What says of a value how it looks: in v2 beside a parameter's name, in v3 in its schema.
const FORM: [&str; 18] = [
    "type",
    "format",
    "items",
    "default",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "enum",
    "multipleOf",
    "example",
    "allowEmptyValue",
];
const V3_SCHEMAS: &str = "#/components/schemas/";
const V2_SCHEMAS: &str = "#/definitions/";

/// A v3 document as v2.
pub(super) fn v2_from_v3(document: &Value) -> Value {
    let empty = Map::new();
    let section = |pointer: &str| document.pointer(pointer).and_then(Value::as_object).unwrap_or(&empty);
    let paths = mapped(section("/paths"), |item| {
        path_item(item, |operation| v2_operation(operation, document), v2_parameter)
    });
    let mut out = json!({
        "swagger": "2.0",
        "info": document.get("info").cloned().unwrap_or_else(|| json!({})),
        "paths": paths,
        "definitions": mapped(section("/components/schemas"), v2_schema),
        "parameters": mapped(section("/components/parameters"), v2_parameter),
        "responses": mapped(section("/components/responses"), v2_response),
    });
    refs::rewrite(&mut out, &mut |reference| {
        for (old, new) in [
            (V3_SCHEMAS, V2_SCHEMAS),
            ("#/components/parameters/", "#/parameters/"),
            ("#/components/responses/", "#/responses/"),
        ] {
            if let Some(name) = reference.strip_prefix(old) {
                *reference = format!("{new}{name}");
                return;
            }
        }
    });
    out
}

/// A v2 document as v3.
pub(super) fn v3_from_v2(document: &Value) -> Value {
    let empty = Map::new();
    let section = |name: &str| document.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let paths = mapped(section("paths"), |item| {
        let shared = item.get("parameters");
        let resolved = |parameter: &Value| resolved(parameter, document).clone();
        let mut out = path_item(item, |operation| v3_operation(operation, shared, &resolved), v3_parameter);
        // A body is no parameter in v3: each operation has it.
        if let Some(Value::Array(parameters)) = out.get_mut("parameters") {
            parameters.retain(|parameter| !is_body(&resolved(parameter)));
        }
        out
    });
    let parameters: Map<String, Value> = section("parameters")
        .iter()
        .filter(|(_, parameter)| !is_body(parameter))
        .map(|(name, parameter)| (name.clone(), v3_parameter(parameter)))
        .collect();
    let mut components = json!({ "schemas": mapped(section("definitions"), v3_schema) });
    for (name, section) in [
        ("parameters", Value::from(parameters)),
        ("responses", mapped(section("responses"), |response| v3_response(response, &[json!("*/*")])).into()),
    ] {
        if section.as_object().is_some_and(|section| !section.is_empty()) {
            insert(&mut components, name, section);
        }
    }
    let mut out = json!({
        "openapi": "3.0.0",
        "info": document.get("info").cloned().unwrap_or_else(|| json!({})),
        "paths": paths,
        "components": components,
    });
    refs::rewrite(&mut out, &mut |reference| {
        for (old, new) in [
            (V2_SCHEMAS, V3_SCHEMAS),
            ("#/parameters/", "#/components/parameters/"),
            ("#/responses/", "#/components/responses/"),
        ] {
            if let Some(name) = reference.strip_prefix(old) {
                *reference = format!("{new}{name}");
                return;
            }
        }
    });
    out
}

fn mapped(map: &Map<String, Value>, one: impl Fn(&Value) -> Value) -> Map<String, Value> {
    map.iter().map(|(name, value)| (name.clone(), one(value))).collect()
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The keys that stand for the same in both versions, and extensions.
fn common(value: &Value, keys: &[&str]) -> Map<String, Value> {
    let map = value.as_object().into_iter().flatten();
    map.filter(|(key, _)| keys.contains(&key.as_str()) || key.starts_with("x-"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// What a reference to another part of the document leads to.
fn resolved<'a>(value: &'a Value, document: &'a Value) -> &'a Value {
    let reference =
        value.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    reference.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn path_item(
    item: &Value,
    operation: impl Fn(&Value) -> Value,
    parameter: impl Fn(&Value) -> Value,
) -> Value {
    let mut out = common(item, &["$ref"]);
    for method in METHODS {
        if let Some(value) = item.get(method).filter(|value| value.is_object()) {
            out.insert(method.to_owned(), operation(value));
        }
    }
    let parameters: Vec<Value> = list(item.get("parameters")).map(parameter).collect();
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    out.into()
}

fn v2_operation(operation: &Value, document: &Value) -> Value {
    let mut out = common(operation, &OPERATION);
    let mut parameters: Vec<Value> = list(operation.get("parameters")).map(v2_parameter).collect();
    let mut consumes = vec![json!("*/*")];
    if let Some(body) = operation.get("requestBody").map(|body| resolved(body, document)) {
        let content = body.get("content").and_then(Value::as_object);
        let schema = content.and_then(|content| content.values().find_map(|media| media.get("schema")));
        let mut parameter = common(body, &["description", "required"]);
        parameter.insert("name".to_owned(), "body".into());
        parameter.insert("in".to_owned(), "body".into());
        parameter.insert("schema".to_owned(), schema.map_or_else(|| json!({}), v2_schema));
        parameters.insert(0, parameter.into());
        consumes = content.into_iter().flat_map(Map::keys).map(|name| name.as_str().into()).collect();
    }
    out.insert("consumes".to_owned(), consumes.into());
    let mut produces: Vec<Value> = Vec::new();
    let responses = operation.get("responses").and_then(Value::as_object);
    for response in responses.into_iter().flat_map(Map::values) {
        let content = resolved(response, document).get("content").and_then(Value::as_object);
        for name in content.into_iter().flat_map(Map::keys) {
            if !produces.iter().any(|known| known == name) {
                produces.push(name.as_str().into());
            }
        }
    }
    if !produces.is_empty() {
        out.insert("produces".to_owned(), produces.into());
    }
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    out.insert(
        "responses".to_owned(),
        responses.map(|all| mapped(all, v2_response)).unwrap_or_default().into(),
    );
    out.into()
}

fn v3_operation(operation: &Value, shared: Option<&Value>, resolved: &dyn Fn(&Value) -> Value) -> Value {
    let mut out = common(operation, &OPERATION);
    let own = operation.get("parameters");
    let parameters: Vec<Value> =
        list(own).filter(|parameter| !is_body(&resolved(parameter))).map(v3_parameter).collect();
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    let everywhere = [json!("*/*")];
    let types = |key: &str| -> Vec<Value> {
        let types: Vec<Value> = list(operation.get(key)).filter(|name| name.is_string()).cloned().collect();
        if types.is_empty() { everywhere.to_vec() } else { types }
    };
    let bodies: Vec<Value> = list(own).chain(list(shared)).map(resolved).filter(is_body).collect();
    if let Some(body) = bodies.iter().find(|body| body.get("in") == Some(&json!("body"))) {
        let schema = body.get("schema").map_or_else(|| json!({}), v3_schema);
        let mut request = common(body, &["description", "required"]);
        request.insert("content".to_owned(), content(&types("consumes"), &schema));
        out.insert("requestBody".to_owned(), request.into());
    } else if !bodies.is_empty() {
        let properties: Map<String, Value> = bodies
            .iter()
            .filter_map(|field| {
                Some((field.get("name")?.as_str()?.to_owned(), v3_schema(&common(field, &FORM).into())))
            })
            .collect();
        let schema = json!({ "type": "object", "properties": properties });
        let form = [json!("application/x-www-form-urlencoded")];
        out.insert("requestBody".to_owned(), json!({ "content": content(&form, &schema) }));
    }
    let produces = types("produces");
    let responses = operation.get("responses").and_then(Value::as_object);
    let responses = responses.map(|all| mapped(all, |response| v3_response(response, &produces)));
    out.insert("responses".to_owned(), responses.unwrap_or_default().into());
    out.into()
}

fn is_body(parameter: &Value) -> bool {
    matches!(parameter.get("in").and_then(Value::as_str), Some("body" | "formData"))
}

fn content(types: &[Value], schema: &Value) -> Value {
    let types = types.iter().filter_map(Value::as_str);
    types.map(|name| (name.to_owned(), json!({ "schema": schema }))).collect::<Map<_, _>>().into()
}

fn v2_parameter(parameter: &Value) -> Value {
    let mut out = common(parameter, &["$ref", "name", "in", "description", "required"]);
    if out.contains_key("$ref") {
        return out.into();
    }
    let schema = parameter.get("schema").map_or_else(|| json!({}), v2_schema);
    for (key, value) in schema.as_object().into_iter().flatten() {
        if FORM.contains(&key.as_str()) && key != "example" {
            out.insert(key.clone(), value.clone());
        }
    }
    out.entry("type").or_insert_with(|| "string".into());
    out.into()
}

fn v3_parameter(parameter: &Value) -> Value {
    let mut out = common(parameter, &["$ref", "name", "in", "description", "required", "allowEmptyValue"]);
    if out.contains_key("$ref") {
        return out.into();
    }
    let mut form: Map<String, Value> = common(parameter, &FORM);
    form.retain(|key, _| !key.starts_with("x-") && key != "allowEmptyValue");
    out.insert("schema".to_owned(), v3_schema(&form.into()));
    out.into()
}

fn v2_response(response: &Value) -> Value {
    let mut out = common(response, &["$ref", "description"]);
    if out.contains_key("$ref") {
        return out.into();
    }
    let content = response.get("content").and_then(Value::as_object);
    if let Some(schema) = content.and_then(|content| content.values().find_map(|media| media.get("schema"))) {
        out.insert("schema".to_owned(), v2_schema(schema));
    }
    if let Some(Value::Object(headers)) = response.get("headers") {
        let headers = mapped(headers, |header| {
            let mut header = v2_parameter(header);
            if let Some(header) = header.as_object_mut() {
                header.remove("required");
            }
            header
        });
        out.insert("headers".to_owned(), headers.into());
    }
    out.into()
}

fn v3_response(response: &Value, produces: &[Value]) -> Value {
    let mut out = common(response, &["$ref", "description"]);
    if out.contains_key("$ref") {
        return out.into();
    }
    if let Some(schema) = response.get("schema") {
        out.insert("content".to_owned(), content(produces, &v3_schema(schema)));
    }
    if let Some(Value::Object(headers)) = response.get("headers") {
        out.insert("headers".to_owned(), mapped(headers, v3_parameter).into());
    }
    out.into()
}

/// The schemas within a schema, each as `one` makes it.
fn each_inner(schema: &mut Map<String, Value>, one: fn(&Value) -> Value) {
    for key in ["items", "additionalProperties", "not"] {
        if let Some(inner) = schema.get_mut(key).filter(|inner| inner.is_object()) {
            *inner = one(inner);
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for inner in schema.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            *inner = one(inner);
        }
    }
    for key in ["properties", "patternProperties"] {
        for inner in schema.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
        {
            *inner = one(inner);
        }
    }
}

/// v2 has no alternatives, no null and no schema for what is kept unknown: such a value is any value, as kube-apiserver
/// publishes custom resources.
fn v2_schema(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return json!({}) };
    let mut out = schema.clone();
    // A reference with words about it: in v2 they are siblings.
    if let Some([reference]) = out.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
        && let Some(target) = reference.get("$ref").cloned()
        && !out.contains_key("type")
    {
        out.remove("allOf");
        out.insert("$ref".to_owned(), target);
    }
    let alternatives: Vec<Value> =
        ["oneOf", "anyOf"].iter().filter_map(|key| out.remove(*key)).flat_map(into_list).collect();
    if !out.contains_key("type") && !out.contains_key("$ref") && !alternatives.is_empty() {
        let types: Vec<&str> =
            alternatives.iter().filter_map(|one| one.get("type").and_then(Value::as_str)).collect();
        // `Quantity` and `IntOrString` are strings in v2.
        if let Some(first) = types.first() {
            let string = types.contains(&"string");
            let same = types.len() == alternatives.len() && types.iter().all(|other| other == first);
            if string || same {
                out.insert("type".to_owned(), if string { "string" } else { *first }.into());
            }
        }
    }
    out.remove("not");
    out.remove("writeOnly");
    out.remove("deprecated");
    if let Some(name) = out.get("discriminator").map(|of| of.get("propertyName").cloned()) {
        out.remove("discriminator");
        out.extend(name.map(|name| ("discriminator".to_owned(), name)));
    }
    let set = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let structured = ["properties", "items", "additionalProperties"].iter().any(|key| out.contains_key(*key));
    if out.remove("nullable") == Some(Value::Bool(true))
        || (set("x-kubernetes-preserve-unknown-fields") && structured)
    {
        out.retain(|key, _| {
            matches!(key.as_str(), "description" | "title" | "example") || key.starts_with("x-")
        });
    }
    if !out.contains_key("type") {
        // Conditions on what has no type: nobody can check them.
        out.retain(|key, _| {
            !matches!(key.as_str(), "properties" | "items" | "additionalProperties" | "required")
        });
    }
    each_inner(&mut out, v2_schema);
    out.into()
}

/// v3.0 takes no siblings of a reference.
fn v3_schema(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return json!({}) };
    let mut out = schema.clone();
    if out.len() > 1
        && let Some(target) = out.remove("$ref")
        && target.is_string()
    {
        out.insert("allOf".to_owned(), json!([{ "$ref": target }]));
    }
    if let Some(name) = out.get("discriminator").filter(|name| name.is_string()).cloned() {
        out.insert("discriminator".to_owned(), json!({ "propertyName": name }));
    }
    if out.get("type") == Some(&json!("file")) {
        out.insert("type".to_owned(), "string".into());
        out.insert("format".to_owned(), "binary".into());
    }
    each_inner(&mut out, v3_schema);
    out.into()
}

fn into_list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}
