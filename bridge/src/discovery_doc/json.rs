//! The documents in JSON, field by field in the order of Kubernetes' own types (meta/v1, apidiscovery/v2).

use serde::Serialize;

use super::{Entry, Freshness, Group, ResourceDocument, group_version};

/// How the aggregated document begins.
pub(super) const AGGREGATED_HEAD: &str =
    r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","#;

pub(super) fn api_versions(versions: &[&str]) -> Vec<u8> {
    json(&ApiVersions { kind: "APIVersions", versions, server_address_by_client_cidrs: [] })
}

pub(super) fn api_group_list(groups: &[Group<'_>]) -> Vec<u8> {
    let named = groups.iter().filter(|group| !group.name.is_empty());
    let groups = named.filter_map(|group| entry(group, None)).collect();
    json(&ApiGroupList { kind: "APIGroupList", api_version: "v1", groups })
}

pub(super) fn api_group(group: &Group<'_>) -> Option<Vec<u8>> {
    entry(group, Some("APIGroup")).map(|group| json(&group))
}

pub(super) fn api_resource_list(group_version: &str, entries: &[Entry<'_>]) -> Vec<u8> {
    let resources = entries
        .iter()
        .map(|entry| ApiResource {
            name: &entry.name,
            singular_name: entry.singular_name,
            namespaced: entry.namespaced,
            group: &entry.kind.group,
            version: &entry.kind.version,
            kind: &entry.kind.kind,
            verbs: entry.verbs,
            short_names: entry.short_names,
            categories: entry.categories,
            storage_version_hash: entry.storage_version_hash,
        })
        .collect();
    json(&ApiResourceList { kind: "APIResourceList", api_version: "v1", group_version, resources })
}

pub(super) fn fragment(version: &str, resources: &[ResourceDocument], freshness: Freshness) -> Vec<u8> {
    json(&DiscoveryVersion { version, resources, freshness })
}

/// The fragments are copied as they are.
pub(super) fn aggregated(groups: &[Group<'_>]) -> Vec<u8> {
    let length: usize =
        groups.iter().flat_map(|group| &group.versions).map(|(_, fragment)| fragment.json.len() + 64).sum();
    let mut out = Vec::with_capacity(length + 256);
    out.extend_from_slice(AGGREGATED_HEAD.as_bytes());
    out.extend_from_slice(br#""metadata":{},"items":["#);
    let mut first = true;
    for group in groups.iter().filter(|group| !group.versions.is_empty()) {
        comma(&mut out, &mut first);
        out.extend_from_slice(br#"{"metadata":"#);
        out.extend_from_slice(&json(&Metadata { name: group.name }));
        out.extend_from_slice(br#","versions":["#);
        let mut first = true;
        for (_, fragment) in &group.versions {
            comma(&mut out, &mut first);
            out.extend_from_slice(&fragment.json);
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
    out
}

fn comma(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("structs of strings and lists always serialise")
}

fn entry<'a>(group: &'a Group<'a>, kind: Option<&'static str>) -> Option<ApiGroup<'a>> {
    let versions: Vec<Version<'_>> = group
        .versions
        .iter()
        .map(|(version, _)| Version { group_version: group_version(group.name, version), version })
        .collect();
    let preferred_version = versions.first()?.clone();
    Some(ApiGroup { kind, api_version: kind.map(|_| "v1"), name: group.name, versions, preferred_version })
}

#[derive(Serialize)]
struct ApiVersions<'a> {
    kind: &'static str,
    versions: &'a [&'a str],
    #[serde(rename = "serverAddressByClientCIDRs")]
    server_address_by_client_cidrs: [(); 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiGroupList<'a> {
    kind: &'static str,
    api_version: &'static str,
    groups: Vec<ApiGroup<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiGroup<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    name: &'a str,
    versions: Vec<Version<'a>>,
    preferred_version: Version<'a>,
}

#[derive(Serialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    group_version: String,
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiResourceList<'a> {
    kind: &'static str,
    api_version: &'static str,
    group_version: &'a str,
    resources: Vec<ApiResource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource<'a> {
    name: &'a str,
    singular_name: &'a str,
    namespaced: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    kind: &'a str,
    verbs: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    storage_version_hash: &'a str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

#[derive(Serialize)]
struct DiscoveryVersion<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    resources: &'a [ResourceDocument],
    freshness: Freshness,
}
