//! The documents in Kubernetes' own protobuf. The field numbers are those of its API definitions: meta/v1
//! (APIVersions, APIGroup, APIResource, ListMeta, ObjectMeta) and apidiscovery/v2. As Kubernetes writes it, strings
//! that are not optional are there when they are empty too.

use super::{
    Entry, Freshness, Group, ResourceDocument, ResponseKind, Scope, SubresourceDocument, group_version,
};
use crate::{
    envelope,
    wire::{put_bytes, put_varint},
};

pub(super) fn api_versions(versions: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    versions.iter().for_each(|version| put(&mut out, 1, version));
    envelope::seal("", "APIVersions", &out)
}

pub(super) fn api_group_list(groups: &[Group<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for group in groups.iter().filter(|group| !group.name.is_empty()) {
        if let Some(entry) = entry(group) {
            put_bytes(&mut out, 1, &entry);
        }
    }
    envelope::seal("v1", "APIGroupList", &out)
}

pub(super) fn api_group(group: &Group<'_>) -> Option<Vec<u8>> {
    Some(envelope::seal("v1", "APIGroup", &entry(group)?))
}

pub(super) fn api_resource_list(group_version: &str, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, 1, group_version);
    for entry in entries {
        put_bytes(&mut out, 2, &resource_entry(entry));
    }
    envelope::seal("v1", "APIResourceList", &out)
}

pub(super) fn fragment(version: &str, resources: &[ResourceDocument], freshness: Freshness) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, 1, version);
    for resource in resources {
        put_bytes(&mut out, 2, &self::resource(resource));
    }
    let freshness = match freshness {
        Freshness::Current => "Current",
        Freshness::Stale => "Stale",
    };
    put(&mut out, 3, freshness);
    out
}

/// The fragments are copied as they are.
pub(super) fn aggregated(groups: &[Group<'_>]) -> Vec<u8> {
    let length: usize = groups
        .iter()
        .flat_map(|group| &group.versions)
        .map(|(_, fragment)| fragment.protobuf.len() + 128)
        .sum();
    let mut out = Vec::with_capacity(length + 256);
    put_bytes(&mut out, 1, &list_meta());
    let mut entry = Vec::new();
    for group in groups.iter().filter(|group| !group.versions.is_empty()) {
        entry.clear();
        put_bytes(&mut entry, 1, &object_meta(group.name));
        for (_, fragment) in &group.versions {
            put_bytes(&mut entry, 2, &fragment.protobuf);
        }
        put_bytes(&mut out, 2, &entry);
    }
    envelope::seal("apidiscovery.k8s.io/v2", "APIGroupDiscoveryList", &out)
}

fn put(out: &mut Vec<u8>, number: u32, text: &str) {
    put_bytes(out, number, text.as_bytes());
}

fn put_all(out: &mut Vec<u8>, number: u32, texts: &[String]) {
    texts.iter().for_each(|text| put(out, number, text));
}

/// selfLink, resourceVersion, continue.
fn list_meta() -> Vec<u8> {
    let mut out = Vec::new();
    (1..=3).for_each(|number| put(&mut out, number, ""));
    out
}

/// name, generateName, namespace, selfLink, uid, resourceVersion, generation, creationTimestamp.
fn object_meta(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, 1, name);
    (2..=6).for_each(|number| put(&mut out, number, ""));
    put_varint(&mut out, 7, 0);
    put(&mut out, 8, "");
    out
}

fn entry(group: &Group<'_>) -> Option<Vec<u8>> {
    let version = |version: &str| {
        let mut out = Vec::new();
        put(&mut out, 1, &group_version(group.name, version));
        put(&mut out, 2, version);
        out
    };
    let (preferred, _) = group.versions.first()?;
    let mut out = Vec::new();
    put(&mut out, 1, group.name);
    group.versions.iter().for_each(|(name, _)| put_bytes(&mut out, 2, &version(name)));
    put_bytes(&mut out, 3, &version(preferred));
    Some(out)
}

fn resource_entry(entry: &Entry<'_>) -> Vec<u8> {
    let mut verbs = Vec::new();
    put_all(&mut verbs, 1, entry.verbs);
    let mut out = Vec::new();
    put(&mut out, 1, &entry.name);
    put_varint(&mut out, 2, entry.namespaced.into());
    put(&mut out, 3, &entry.kind.kind);
    put_bytes(&mut out, 4, &verbs);
    put_all(&mut out, 5, entry.short_names);
    put(&mut out, 6, entry.singular_name);
    put_all(&mut out, 7, entry.categories);
    put(&mut out, 8, &entry.kind.group);
    put(&mut out, 9, &entry.kind.version);
    put(&mut out, 10, entry.storage_version_hash);
    out
}

fn resource(resource: &ResourceDocument) -> Vec<u8> {
    let scope = match resource.scope {
        Scope::Cluster => "Cluster",
        Scope::Namespaced => "Namespaced",
    };
    let mut out = Vec::new();
    put(&mut out, 1, &resource.resource);
    put_bytes(&mut out, 2, &kind(&resource.response_kind));
    put(&mut out, 3, scope);
    put(&mut out, 4, &resource.singular_resource);
    put_all(&mut out, 5, &resource.verbs);
    put_all(&mut out, 6, &resource.short_names);
    put_all(&mut out, 7, &resource.categories);
    resource.subresources.iter().for_each(|sub| put_bytes(&mut out, 8, &subresource(sub)));
    out
}

fn subresource(subresource: &SubresourceDocument) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, 1, &subresource.subresource);
    put_bytes(&mut out, 2, &kind(&subresource.response_kind));
    subresource.accepted_types.iter().for_each(|accepted| put_bytes(&mut out, 3, &kind(accepted)));
    put_all(&mut out, 4, &subresource.verbs);
    out
}

fn kind(kind: &ResponseKind) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, 1, &kind.group);
    put(&mut out, 2, &kind.version);
    put(&mut out, 3, &kind.kind);
    out
}
