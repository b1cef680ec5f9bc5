//! What one of our own schemas serves.

use super::{ResourceDocument, ResponseKind, Scope, SubresourceDocument, VersionDocument};
use crate::model::{Action, ActionVerb, Api, Resource};

impl VersionDocument {
    /// Of a backend's schema: sorted by name.
    pub fn of_schema(api: &Api) -> Self {
        let mut resources: Vec<_> = api.resources.iter().map(|resource| document(resource)).collect();
        resources.sort_by(|a, b| a.resource.cmp(&b.resource));
        Self { resources, storage_version_hashes: Default::default() }
    }
}

fn document(resource: &Resource) -> ResourceDocument {
    ResourceDocument {
        resource: resource.plural.clone(),
        response_kind: ResponseKind::own(&resource.kind),
        scope: if resource.namespaced { Scope::Namespaced } else { Scope::Cluster },
        singular_resource: resource.singular.clone(),
        verbs: owned(resource.verbs()),
        short_names: resource.short_names.clone(),
        categories: resource.categories.clone(),
        subresources: subresources(resource),
    }
}

/// Status and actions, sorted by name.
fn subresources(resource: &Resource) -> Vec<SubresourceDocument> {
    let subresource = |name: &str, kind: &str, verbs| SubresourceDocument {
        subresource: name.to_owned(),
        response_kind: ResponseKind::own(kind),
        accepted_types: Vec::new(),
        verbs: owned(verbs),
    };
    let actions = resource.actions.iter();
    let mut all: Vec<_> =
        actions.map(|action| subresource(&action.name, &action.kind, action_verbs(action))).collect();
    if resource.status_subresource {
        all.push(subresource("status", &resource.kind, resource.status_verbs()));
    }
    all.sort_by(|a, b| a.subresource.cmp(&b.subresource));
    all
}

fn action_verbs(action: &Action) -> Vec<&'static str> {
    let mut verbs: Vec<_> = action
        .methods
        .iter()
        .map(|(verb, _)| match verb {
            ActionVerb::Create => "create",
            ActionVerb::Get => "get",
            ActionVerb::Update => "update",
            ActionVerb::Delete => "delete",
        })
        .collect();
    verbs.sort_unstable();
    verbs
}

fn owned(verbs: Vec<&'static str>) -> Vec<String> {
    verbs.into_iter().map(str::to_owned).collect()
}
