//! A v2 document in parts, each as text: so documents are compared and put together without being read again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{json, refs};

const GVK: &str = "x-kubernetes-group-version-kind";

/// The parts of a v2 document, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) paths: BTreeMap<String, Part>,
    pub(super) definitions: BTreeMap<String, Part>,
    pub(super) parameters: BTreeMap<String, Part>,
    pub(super) responses: BTreeMap<String, Part>,
}

/// A path item, a definition, a parameter or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// JSON in one spelling, so that what is equal is equal as text. Of a definition without its kinds.
    pub(super) text: Box<str>,
    /// The kinds of a definition: group, version, kind.
    pub(super) kinds: BTreeSet<[String; 3]>,
    /// What it refers to: "#/definitions/NAME".
    pub(super) refs: BTreeSet<String>,
}

impl Part {
    fn new(mut value: Value, definition: bool) -> Self {
        let mut kinds = BTreeSet::new();
        if definition && let Some(map) = value.as_object_mut() {
            match map.get(GVK) {
                // Whatever is no list of kinds stays what it is.
                Some(Value::Array(list)) if list.iter().all(|kind| read_kind(kind).is_some()) => {
                    kinds = list.iter().filter_map(read_kind).collect();
                    map.remove(GVK);
                }
                _ => {}
            }
        }
        value.sort_all_objects();
        let mut found = BTreeSet::new();
        refs::of(&value, &mut found);
        let refs = found.into_iter().map(str::to_owned).collect();
        Self { text: value.to_string().into(), kinds, refs }
    }

    /// With other references.
    pub(super) fn renamed(&self, renames: &BTreeMap<String, String>) -> Self {
        if !self.refs.iter().any(|reference| renames.contains_key(reference)) {
            return self.clone();
        }
        let mut value: Value = serde_json::from_str(&self.text).unwrap_or_default();
        refs::rewrite(&mut value, &mut |reference| {
            if let Some(new) = renames.get(reference) {
                reference.clone_from(new);
            }
        });
        Self { kinds: self.kinds.clone(), ..Self::new(value, false) }
    }

    fn write(&self, out: &mut String) {
        if self.kinds.is_empty() {
            return out.push_str(&self.text);
        }
        let kinds: Vec<Value> = self
            .kinds
            .iter()
            .map(|[group, version, kind]| serde_json::json!({ "group": group, "version": version, "kind": kind }))
            .collect();
        let body = self.text.strip_suffix('}').unwrap_or(&self.text);
        out.push_str(body);
        if body.len() > 1 {
            out.push(',');
        }
        out.push_str(&format!("\"{GVK}\":{}}}", Value::from(kinds)));
    }
}

impl Parts {
    pub(super) fn new(mut document: Value) -> Self {
        let mut section = |name: &str| -> BTreeMap<String, Part> {
            match document.get_mut(name).map(Value::take) {
                Some(Value::Object(map)) => parts(map, name == "definitions"),
                _ => BTreeMap::new(),
            }
        };
        Self {
            paths: section("paths"),
            definitions: section("definitions"),
            parameters: section("parameters"),
            responses: section("responses"),
        }
    }

    /// The document.
    pub(super) fn to_json(&self, title: &str, version: &str) -> Vec<u8> {
        let info = serde_json::json!({ "title": title, "version": version });
        let mut out = format!("{{\"swagger\":\"2.0\",\"info\":{info}");
        for (name, section) in [
            ("paths", &self.paths),
            ("definitions", &self.definitions),
            ("parameters", &self.parameters),
            ("responses", &self.responses),
        ] {
            if section.is_empty() && matches!(name, "parameters" | "responses") {
                continue;
            }
            out.push_str(&format!(",\"{name}\":{{"));
            for (at, (name, part)) in section.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                part.write(&mut out);
            }
            out.push('}');
        }
        out.push('}');
        out.into_bytes()
    }

    /// Drops what no path reaches.
    pub(super) fn keep_reached(&mut self) {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut todo: Vec<&str> =
            self.paths.values().flat_map(|part| part.refs.iter().map(String::as_str)).collect();
        while let Some(reference) = todo.pop() {
            if reached.insert(reference)
                && let Some(part) = self.find(reference)
            {
                todo.extend(part.refs.iter().map(String::as_str));
            }
        }
        let reached: BTreeSet<String> = reached.into_iter().map(str::to_owned).collect();
        for (section, parts) in [
            ("definitions", &mut self.definitions),
            ("parameters", &mut self.parameters),
            ("responses", &mut self.responses),
        ] {
            parts.retain(|name, _| reached.contains(&reference(section, name)));
        }
    }

    /// What a reference leads to.
    pub(super) fn find(&self, reference: &str) -> Option<&Part> {
        let (section, name) = reference.strip_prefix("#/")?.split_once('/')?;
        match section {
            "definitions" => self.definitions.get(&json::unescaped(name)),
            "parameters" => self.parameters.get(&json::unescaped(name)),
            "responses" => self.responses.get(&json::unescaped(name)),
            _ => None,
        }
    }
}

/// "#/definitions/NAME".
pub(super) fn reference(section: &str, name: &str) -> String {
    format!("#/{section}/{}", json::escaped(name))
}

fn parts(map: Map<String, Value>, definitions: bool) -> BTreeMap<String, Part> {
    map.into_iter().map(|(name, value)| (name, Part::new(value, definitions))).collect()
}

fn read_kind(value: &Value) -> Option<[String; 3]> {
    let map = value.as_object().filter(|map| map.len() <= 3)?;
    let text = |key: &str| Some(map.get(key)?.as_str()?.to_owned());
    Some([text("group").unwrap_or_default(), text("version")?, text("kind")?])
}
