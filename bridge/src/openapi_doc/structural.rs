//! The schema of one kind, in itself: what a CustomResourceDefinition of it has (a structural schema, KEP-95).

use serde_json::{Map, Value};

use super::{document_value, json};
use crate::model::Api;

/// The schema of a kind without references to others; `None`: the API has no such kind, or it contains itself, which such a
/// schema cannot say.
pub fn structural(api: &Api, kind: &str) -> Option<Value> {
    let resource = api.resources.iter().find(|resource| resource.kind == kind)?;
    let document = document_value(api);
    let schemas = document["components"]["schemas"].as_object()?;
    let is_of_kind = |schema: &&Value| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|of| of["kind"] == resource.kind.as_str()))
    };
    let schema = schemas.values().find(is_of_kind)?;
    let mut schema = inlined(schema, schemas, &mut Vec::new())?;
    let object = schema.as_object_mut()?;
    object.remove("x-kubernetes-group-version-kind");
    // That of every custom resource: kube-apiserver refuses to be told more of it.
    object["properties"]["metadata"] = serde_json::json!({ "type": "object" });
    Some(schema)
}

/// `within`: the references that led here.
fn inlined<'a>(
    schema: &'a Value,
    schemas: &'a Map<String, Value>,
    within: &mut Vec<&'a str>,
) -> Option<Value> {
    let Some(object) = schema.as_object() else { return Some(schema.clone()) };
    let reference = match (object.get("$ref"), object.get("allOf").and_then(Value::as_array)) {
        (Some(Value::String(reference)), _) => Some(reference.as_str()),
        (None, Some(all)) => all.first().and_then(|one| one["$ref"].as_str()),
        _ => None,
    };
    if let Some(reference) = reference {
        if within.contains(&reference) {
            return None;
        }
        within.push(reference);
        let name = json::unescaped(reference.strip_prefix("#/components/schemas/")?);
        let mut target = inlined(schemas.get(&name)?, schemas, within)?;
        within.pop();
        // What the field says of itself goes before what its type says.
        if let (Some(description), Some(target)) = (object.get("description"), target.as_object_mut()) {
            target.insert("description".to_owned(), description.clone());
        }
        return Some(target);
    }
    let mut made = Map::new();
    for (keyword, value) in object {
        let value = match keyword.as_str() {
            "properties" => {
                let properties = value.as_object()?.iter().map(|(name, schema)| {
                    inlined(schema, schemas, within).map(|schema| (name.clone(), schema))
                });
                Value::Object(properties.collect::<Option<_>>()?)
            }
            "items" | "additionalProperties" => inlined(value, schemas, within)?,
            _ => value.clone(),
        };
        made.insert(keyword.clone(), value);
    }
    Some(Value::Object(made))
}
