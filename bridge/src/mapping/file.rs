//! Mapping files: YAML of `kind: Mapping`. Read strictly: every fault at once, each with its place.

mod check;

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::check::Found;
use super::facts::Mapping;
use crate::model::{
    Fault,
    catalogue::Problem,
    fault::{Faults, Place},
};

/// A mapping file's document.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Mapping")]
pub struct MappingFile {
    /// Always "kubridge.io/v1alpha1".
    pub api_version: ApiVersion,
    /// Always "Mapping".
    pub kind: Kind,
    /// What it is called.
    pub metadata: Metadata,
    /// How messages are resources, and methods verbs.
    pub spec: Mapping,
    /// The file that it stands in.
    #[serde(skip)]
    pub file: String,
}

/// The version of mapping files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// This one.
    #[serde(rename = "kubridge.io/v1alpha1")]
    V1Alpha1,
}

/// The kind of mapping files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Kind {
    /// This one.
    Mapping,
}

/// What a mapping file is called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The name: faults are told with it.
    pub name: String,
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schemars::schema_for!(MappingFile).to_value();
    without_null(&mut schema);
    schema
});

/// What is not said is not written: nothing may be `null`.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(rules) => {
            if rules.get("default").is_some_and(Value::is_null) {
                rules.remove("default");
            }
            if let Some(Value::Array(types)) = rules.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    rules.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(forms)) = rules.get_mut("anyOf") {
                forms.retain(|form| form.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = forms.as_slice() {
                    let only = only.clone();
                    rules.remove("anyOf");
                    rules.extend(only);
                }
            }
            rules.values_mut().for_each(without_null);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl MappingFile {
    /// The JSON schema of mapping files, made of the types that read them.
    pub fn json_schema() -> &'static Value {
        &SCHEMA
    }

    /// The one that an APIService chooses by its name.
    ///
    /// # Errors
    /// There is none of that name, or more than one.
    pub fn named<'a>(files: &'a [Self], name: &str) -> Result<&'a Self, Box<Fault>> {
        let problem =
            match files.iter().filter(|file| file.metadata.name == name).collect::<Vec<_>>().as_slice() {
                [only] => return Ok(only),
                [] => Problem::no_such_mapping(name, known(files)),
                [first, second, ..] => Problem::mapping_named_twice(name, &first.file, &second.file),
            };
        let mut faults = Faults::default();
        faults.report_set(problem);
        Err(Box::new(faults.into_sorted().remove(0)))
    }

    /// Which one it is, in a message: "library (in library.yaml)".
    pub(super) fn said(&self) -> String {
        format!("{} (in {})", self.metadata.name, self.file)
    }

    /// Where it is, in faults.
    pub(super) fn place(&self) -> Place {
        Place::element(&self.file, &self.metadata.name)
    }

    /// Reads the documents of a file. `file`: what it is called in faults.
    ///
    /// # Errors
    /// Every fault, with the path of the value in its document.
    pub fn read(file: &str, text: &str) -> Result<Vec<Self>, Vec<Fault>> {
        let mut faults = Faults::default();
        let documents: Vec<Value> = match serde_saphyr::from_multiple(text) {
            Ok(documents) => documents,
            Err(error) => {
                let line = error.location().map(|at| format!("line {}", at.line())).unwrap_or_default();
                faults.report(Place::element(file, &line), Problem::not_yaml(error));
                return Err(faults.into_sorted());
            }
        };
        let mut read = Vec::new();
        for (index, document) in documents.into_iter().enumerate() {
            let element = if index == 0 { String::new() } else { format!("document {}", index + 1) };
            let place = Place::element(file, &element);
            let found = check::check(&SCHEMA, &document);
            if found.is_empty() {
                // The schema is made of the types: what fits it can be read, but for numbers that are too large.
                match serde_json::from_value::<Self>(document) {
                    Ok(mapping) => read.push(Self { file: file.to_owned(), ..mapping }),
                    Err(error) => faults.report(place.clone(), Problem::mapping_unreadable(error)),
                }
            }
            for Found { path, problem } in found {
                faults.report_field(place.clone(), &path, problem);
            }
        }
        if read.is_empty() && faults.is_empty() {
            faults.report(Place::file(file), Problem::empty_mapping_file());
        }
        if faults.is_empty() { Ok(read) } else { Err(faults.into_sorted()) }
    }
}

/// The names that there are, for people.
fn known(files: &[MappingFile]) -> String {
    let names: Vec<String> = files.iter().map(|file| format!("{:?}", file.metadata.name)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
