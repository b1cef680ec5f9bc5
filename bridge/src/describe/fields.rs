//! The fields of a kind, as an OpenAPI v3 document describes them: ours, or any other server's.

use serde_json::{Map, Value};

use super::FieldFacts;

/// More are not told of one kind.
const MAX_FIELDS: usize = 200;
/// Deeper ones are not told.
const MAX_DEPTH: usize = 8;
/// Types that everybody knows: their fields are not told again with each kind.
const WELL_KNOWN: [&str; 3] = ["io.kubridge.v1.", "io.k8s.apimachinery.", "io.k8s.api.core.v1."];
const SCHEMAS: &str = "#/components/schemas/";

/// What a document says of a kind.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) description: String,
    pub(super) fields: Vec<FieldFacts>,
}

/// The schema of a kind; nothing where the document has none.
pub(super) fn of_kind(openapi: &Value, group: &str, version: &str, kind: &str) -> Described {
    let Some(schemas) = openapi.pointer("/components/schemas").and_then(Value::as_object) else {
        return Described::default();
    };
    let is_meant = |schema: &&Value| {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.into_iter().flatten().any(|gvk| {
            ["group", "version", "kind"].map(|key| gvk.get(key).and_then(Value::as_str))
                == [Some(group), Some(version), Some(kind)]
        })
    };
    let Some(schema) = schemas.values().find(is_meant) else { return Described::default() };
    let mut walk = Walk { schemas, within: Vec::new(), fields: Vec::new() };
    walk.object(schema, "");
    Described { description: text(schema, "description"), fields: walk.fields }
}

struct Walk<'a> {
    schemas: &'a Map<String, Value>,
    /// The names of the schemas around: one that holds itself is told once.
    within: Vec<&'a str>,
    fields: Vec<FieldFacts>,
}

impl<'a> Walk<'a> {
    fn object(&mut self, schema: &'a Value, path: &str) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let required: Vec<&str> = list(schema, "required").filter_map(Value::as_str).collect();
        for (name, property) in properties {
            if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            if self.fields.len() >= MAX_FIELDS {
                return;
            }
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.field(property, &path, required.contains(&name.as_str()));
        }
    }

    fn field(&mut self, property: &'a Value, path: &str, is_required: bool) {
        let (name, schema) = self.resolve(property);
        let description = [property, schema].map(|of| without_values(&text(of, "description")));
        let mut rules: Vec<String> = is_required.then(|| "required".to_owned()).into_iter().collect();
        rules.extend(self.rules(schema));
        let (element, r#type) = self.typed(name, schema);
        self.fields.push(FieldFacts {
            path: path.to_owned(),
            r#type,
            rules,
            description: description.into_iter().find(|text| !text.is_empty()).unwrap_or_default(),
        });
        let (name, schema) = element;
        let is_known = name.is_some_and(|name| WELL_KNOWN.iter().any(|known| name.starts_with(known)));
        let is_around = name.is_some_and(|name| self.within.contains(&name));
        if is_known || is_around || path.split('.').count() >= MAX_DEPTH {
            return;
        }
        self.within.extend(name);
        self.object(schema, path);
        if name.is_some() {
            self.within.pop();
        }
    }

    /// What a reference leads to, and the name that it has there.
    fn resolve(&self, schema: &'a Value) -> (Option<&'a str>, &'a Value) {
        let alone = list(schema, "allOf").next();
        let reference = schema.get("$ref").or_else(|| alone.and_then(|alone| alone.get("$ref")));
        let name = reference.and_then(Value::as_str).and_then(|reference| reference.strip_prefix(SCHEMAS));
        match name.and_then(|name| self.schemas.get_key_value(name)) {
            Some((name, schema)) => (Some(name), schema),
            None => (None, schema),
        }
    }

    /// The type as kubectl explain writes it, and the schema whose fields are the field's own.
    fn typed(&self, name: Option<&'a str>, schema: &'a Value) -> ((Option<&'a str>, &'a Value), String) {
        let of = |inner: &'a Value| {
            let (name, inner) = self.resolve(inner);
            let inner_type = self.typed(name, inner).1;
            ((name, inner), inner_type)
        };
        if flag(schema, "x-kubernetes-int-or-string") {
            return ((name, schema), "integer or string".to_owned());
        }
        if let Some(items) = schema.get("items") {
            let (element, inner) = of(items);
            return (element, format!("[]{inner}"));
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            let (element, inner) = of(values);
            return (element, format!("map[string]{inner}"));
        }
        let r#type = match (text(schema, "type").as_str(), text(schema, "format").as_str()) {
            ("", _) => "any".to_owned(),
            ("object", _) if schema.get("properties").is_none() => "any object".to_owned(),
            ("object", _) => {
                let known =
                    name.and_then(|name| WELL_KNOWN.iter().find_map(|known| name.strip_prefix(known)));
                known.map_or_else(|| "object".to_owned(), |known| last(known).to_owned())
            }
            ("string", format @ ("date-time" | "byte")) => format!("string ({format})"),
            (name, _) => name.to_owned(),
        };
        ((name, schema), r#type)
    }

    fn rules(&self, schema: &'a Value) -> Vec<String> {
        let mut rules = Vec::new();
        let target = match schema.get("items") {
            Some(items) => self.resolve(items).1,
            None => schema,
        };
        let values: Vec<String> = list(target, "enum").map(plain).collect();
        if !values.is_empty() {
            rules.push(format!("one of {}", values.join(", ")));
        }
        for (key, words) in [
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
            ("minLength", "characters at least"),
            ("maxLength", "characters at most"),
            ("minItems", "items at least"),
            ("maxItems", "items at most"),
            ("pattern", "matches"),
            ("default", "default"),
        ] {
            // Version 3.0 has flags for exclusive bounds; they say nothing by themselves.
            let value = schema.get(key).filter(|value| !value.is_boolean() || key == "default");
            rules.extend(value.map(|value| format!("{words} {}", plain(value))));
        }
        match text(schema, "x-kubernetes-list-type").as_str() {
            "map" => {
                let keys: Vec<String> = list(schema, "x-kubernetes-list-map-keys").map(plain).collect();
                rules.push(format!("map by {}", keys.join(", ")));
            }
            "set" => rules.push("set".to_owned()),
            _ => {}
        }
        for validation in list(schema, "x-kubernetes-validations") {
            rules.push(text(validation, "rule"));
        }
        rules
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A description without the list of values at its end: they are told as a rule.
fn without_values(description: &str) -> String {
    let end = description.find("Possible values:").unwrap_or(description.len());
    description.get(..end).unwrap_or_default().trim_end().to_owned()
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// "meta.v1.ObjectMeta" -> "ObjectMeta".
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
