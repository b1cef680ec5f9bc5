//! The references of a document, and what is reached by them.
//!
//! A reference is a `$ref` with a text; a property that is called `$ref` has a schema and is none, and neither is one in
//! a default, an example, an enum or an extension.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::json;

/// Keywords whose value has names of the author's choice, not keywords.
const NAMED: [&str; 14] = [
    "callbacks",
    "content",
    "definitions",
    "encoding",
    "headers",
    "links",
    "parameters",
    "paths",
    "patternProperties",
    "properties",
    "requestBodies",
    "responses",
    "schemas",
    "securitySchemes",
];

/// Keywords whose value is data.
const DATA: [&str; 4] = ["default", "enum", "example", "examples"];

/// Every reference in a part of a document.
pub(super) fn of<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    walk(value, false, found);
}

/// Every reference in a part of a document, to be written anew.
pub(super) fn rewrite(value: &mut Value, write: &mut dyn FnMut(&mut String)) {
    walk_mut(value, false, write);
}

/// What of some sections (each with the prefix of a reference to it, such as "#/definitions/") is reached from `root`.
pub(super) fn reached(root: &Value, sections: &[(String, &Map<String, Value>)]) -> Vec<Map<String, Value>> {
    let mut reached: Vec<Map<String, Value>> = vec![Map::new(); sections.len()];
    let mut found = BTreeSet::new();
    of(root, &mut found);
    let mut todo: Vec<&str> = found.into_iter().collect();
    while let Some(reference) = todo.pop() {
        for ((prefix, section), reached) in sections.iter().zip(&mut reached) {
            let Some(name) = reference.strip_prefix(prefix.as_str()).map(json::unescaped) else { continue };
            if let Some(value) = section.get(&name)
                && !reached.contains_key(&name)
            {
                reached.insert(name, value.clone());
                let mut found = BTreeSet::new();
                of(value, &mut found);
                todo.extend(found);
            }
        }
    }
    reached
}

/// What of an object can hold references, and whether its keys are names. `named`: whether this object's are.
pub(super) fn children(
    map: &Map<String, Value>,
    named: bool,
) -> impl Iterator<Item = (&String, &Value, bool)> {
    map.iter()
        .filter(move |(key, _)| named || !is_data(key))
        .map(move |(key, value)| (key, value, !named && value.is_object() && NAMED.contains(&key.as_str())))
}

fn walk<'a>(value: &'a Value, named: bool, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference);
            }
            children(map, named).for_each(|(_, value, named)| walk(value, named, found));
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, false, found)),
        _ => {}
    }
}

fn walk_mut(value: &mut Value, named: bool, write: &mut dyn FnMut(&mut String)) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                write(reference);
            }
            for (key, value) in map.iter_mut().filter(|(key, _)| named || !is_data(key)) {
                let names = !named && value.is_object() && NAMED.contains(&key.as_str());
                walk_mut(value, names, write);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| walk_mut(value, false, write)),
        _ => {}
    }
}

fn is_data(key: &str) -> bool {
    DATA.contains(&key) || key.starts_with("x-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_references_are_references() {
        let schema = json!({
            "properties": {
                "$ref": { "type": "string" },
                "properties": { "$ref": "#/d/a" },
                "default": { "items": { "$ref": "#/d/b" }, "default": { "$ref": "#/no" } },
                "x-y": { "$ref": "#/d/c" },
            },
            "enum": [{ "$ref": "#/no" }],
            "example": { "$ref": "#/no" },
            "x-kubernetes-thing": { "$ref": "#/no" },
            "allOf": [{ "$ref": "#/d/d" }],
        });
        let mut found = BTreeSet::new();
        of(&schema, &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["#/d/a", "#/d/b", "#/d/c", "#/d/d"]);
        let mut renamed = schema.clone();
        rewrite(&mut renamed, &mut |reference| *reference = reference.replace("#/d/", "#/e/"));
        assert_eq!(renamed.to_string(), schema.to_string().replace("#/d/", "#/e/"));
    }

    #[test]
    fn what_is_not_reached_goes() {
        let section = json!({
            "a": { "items": { "$ref": "#/d/b~1c" } },
            "b/c": { "properties": { "a": { "$ref": "#/d/a" }, "x": { "$ref": "#/d/nowhere" } } },
            "c": { "$ref": "#/d/a" },
        });
        let sections = [("#/d/".to_owned(), section.as_object().unwrap())];
        let reached = reached(&json!({ "schema": { "$ref": "#/d/a" } }), &sections);
        assert_eq!(reached[0].keys().collect::<Vec<_>>(), ["a", "b/c"]);
    }
}
