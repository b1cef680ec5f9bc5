//! A document against the JSON schema that is made of our types: what serde would say of the first fault, said of all.

use serde_json::{Map, Value};

use crate::model::catalogue::Problem;

/// A value that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// "spec.resources[0].kind".
    pub(super) path: String,
    pub(super) problem: Problem,
}

/// Every fault of a document.
pub(super) fn check(schema: &Value, document: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    Checker { root: schema }.value(schema, document, "", &mut found);
    found
}

struct Checker<'a> {
    root: &'a Value,
}

impl<'a> Checker<'a> {
    /// What a reference leads to.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#')) {
            Some(pointer) => self.root.pointer(pointer).unwrap_or(&Value::Bool(true)),
            None => schema,
        }
    }

    fn value(&self, schema: &'a Value, value: &Value, path: &str, found: &mut Vec<Found>) {
        let schema = self.resolve(schema);
        let Some(rules) = schema.as_object() else { return };
        let mut fault = |problem| found.push(Found { path: path.to_owned(), problem });
        if let Some(forms) = rules.get("oneOf").or(rules.get("anyOf")).and_then(Value::as_array) {
            let fits = |form: &'a Value| {
                let mut faults = Vec::new();
                self.value(form, value, path, &mut faults);
                faults.is_empty()
            };
            if !forms.iter().any(fits) {
                let written: Vec<String> = forms.iter().flat_map(|form| self.forms(form)).collect();
                fault(Problem::mapping_form(short(value), list(&written)));
            }
            return;
        }
        if let Some(only) = rules.get("const") {
            if only != value {
                fault(Problem::mapping_value(short(value), short(only)));
            }
            return;
        }
        if let Some(known) = rules.get("enum").and_then(Value::as_array) {
            if !known.contains(value) {
                let known: Vec<String> = known.iter().map(short).collect();
                fault(Problem::mapping_value(short(value), list(&known)));
            }
            return;
        }
        let Some(name) = rules.get("type").and_then(Value::as_str) else { return };
        if !is_of(name, value) {
            fault(Problem::mapping_value(short(value), a(name)));
            return;
        }
        match value {
            Value::Object(fields) => self.object(rules, fields, path, found),
            Value::Array(elements) => {
                let Some(items) = rules.get("items") else { return };
                for (index, element) in elements.iter().enumerate() {
                    self.value(items, element, &format!("{path}[{index}]"), found);
                }
            }
            _ => {}
        }
    }

    fn object(
        &self,
        rules: &'a Map<String, Value>,
        fields: &Map<String, Value>,
        path: &str,
        found: &mut Vec<Found>,
    ) {
        let known = rules.get("properties").and_then(Value::as_object);
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for (name, value) in fields {
            if let Some(schema) = known.and_then(|known| known.get(name)) {
                self.value(schema, value, &below(name), found);
                continue;
            }
            match rules.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    let names: Vec<String> =
                        known.into_iter().flat_map(|known| known.keys().cloned()).collect();
                    let problem = Problem::mapping_unknown(names.join(", "));
                    found.push(Found { path: below(name), problem });
                }
                Some(schema @ Value::Object(_)) => self.value(schema, value, &below(name), found),
                _ => {}
            }
        }
        for name in
            rules.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !fields.contains_key(name) {
                let form = self.example(known.and_then(|known| known.get(name)), name);
                found.push(Found { path: below(name), problem: Problem::mapping_missing(form) });
            }
        }
    }

    fn example(&self, schema: Option<&'a Value>, name: &str) -> String {
        let forms = schema.map(|schema| self.forms(self.resolve(schema))).unwrap_or_default();
        match forms.as_slice() {
            [] => format!("`{name}`"),
            forms => format!("`{name}`: {}", list(forms)),
        }
    }

    /// How a value may be written.
    fn forms(&self, schema: &'a Value) -> Vec<String> {
        let schema = self.resolve(schema);
        if let Some(only) = schema.get("const") {
            return vec![short(only)];
        }
        if let Some(known) = schema.get("enum").and_then(Value::as_array) {
            return known.iter().map(short).collect();
        }
        if let Some(forms) = schema.get("oneOf").or(schema.get("anyOf")).and_then(Value::as_array) {
            return forms.iter().flat_map(|form| self.forms(form)).collect();
        }
        if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
            return match fields.len() {
                1 => fields.keys().map(|name| format!("{{{name}: ...}}")).collect(),
                _ => Vec::new(),
            };
        }
        Vec::new()
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

fn a(name: &str) -> &'static str {
    match name {
        "object" => "fields",
        "array" => "a list",
        "string" => "a string",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

fn list(words: &[String]) -> String {
    match words {
        [] => "something else".to_owned(),
        [one] => one.clone(),
        words => format!("one of {}", words.join(", ")),
    }
}

/// A value in a message: not all of a long one.
fn short(value: &Value) -> String {
    match value {
        Value::Object(_) => "a set of fields".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
        Value::Null => "empty".to_owned(),
        other => other.to_string(),
    }
}
