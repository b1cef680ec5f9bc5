//! Schema or documents -> facts.

use serde_json::Value;

use super::{ApiFacts, By, ColumnFacts, Duty, ResourceFacts, SubresourceFacts, duties, fields};
use crate::{
    discovery_doc::{ResourceDocument, Scope, VersionDocument},
    model::{Api, Resource},
    openapi_doc,
};

impl ApiFacts {
    /// Everything that a schema says.
    pub fn of_api(api: &Api) -> Self {
        let openapi = openapi_doc::document_value(api);
        let mut facts =
            Self::of_documents(&api.group, &api.version, &VersionDocument::of_schema(api), &openapi);
        for facts in &mut facts.resources {
            if let Some(resource) = api.resources.iter().find(|resource| resource.plural == facts.resource) {
                add(resource, facts);
            }
        }
        facts
    }

    /// What another server's documents say: its discovery document, and its OpenAPI v3 document (`null` where it has
    /// none).
    pub fn of_documents(group: &str, version: &str, discovery: &VersionDocument, openapi: &Value) -> Self {
        let resources = discovery.resources.iter();
        let mut resources: Vec<ResourceFacts> =
            resources.map(|document| resource(group, version, document, openapi)).collect();
        resources.sort_by(|a, b| a.resource.cmp(&b.resource));
        Self { group: group.to_owned(), version: version.to_owned(), resources }
    }
}

fn resource(group: &str, version: &str, document: &ResourceDocument, openapi: &Value) -> ResourceFacts {
    let by_server = |verbs: &[String]| -> Vec<Duty> {
        let rank = |verb: &str| duties::VERBS.iter().position(|known| *known == verb);
        let mut verbs: Vec<&String> = verbs.iter().collect();
        verbs.sort_by_key(|verb| rank(verb).unwrap_or(usize::MAX));
        verbs.into_iter().map(|verb| Duty::new(verb, By::Server)).collect()
    };
    let kind = &document.response_kind.kind;
    let described = fields::of_kind(openapi, group, version, kind);
    let subresources = document.subresources.iter().map(|sub| SubresourceFacts {
        name: sub.subresource.clone(),
        kind: sub.response_kind.kind.clone(),
        verbs: by_server(&sub.verbs),
    });
    ResourceFacts {
        resource: document.resource.clone(),
        singular: document.singular_resource.clone(),
        kind: kind.clone(),
        namespaced: document.scope == Scope::Namespaced,
        short_names: document.short_names.clone(),
        categories: document.categories.clone(),
        description: described.description,
        verbs: by_server(&document.verbs),
        subresources: subresources.collect(),
        fields: described.fields,
        ..ResourceFacts::default()
    }
}

/// What only the schema knows.
fn add(resource: &Resource, facts: &mut ResourceFacts) {
    facts.description.clone_from(&resource.description);
    facts.deprecation = resource.deprecation_warning.clone().unwrap_or_default();
    facts.verbs = duties::verbs(resource);
    facts.also = duties::also(resource);
    facts.twin_obstacles = Some(resource.twin_obstacles());
    let columns = resource.columns.iter().map(|column| ColumnFacts {
        name: column.name.clone(),
        path: column.path.clone(),
        r#type: column.column_type.clone(),
        wide: column.priority > 0,
    });
    facts.columns = Some(columns.collect());
    for sub in &mut facts.subresources {
        match resource.actions.iter().find(|action| action.name == sub.name) {
            Some(action) => sub.verbs = duties::action(action),
            None => sub.verbs = duties::status(resource),
        }
    }
}
