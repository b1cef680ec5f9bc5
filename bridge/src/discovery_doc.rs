//! The model -> discovery documents, as kube-apiserver writes them: `/api`, `/apis`, `/apis/G`,
//! `/apis/G/V`, and aggregated discovery (KEP-3352, `apidiscovery.k8s.io/v2`).
//!
//! Which groups and versions are served, and in which order, the caller decides; nothing is sorted here
//! but resources by name.

use std::{cmp::Ordering, fmt::Write as _, sync::Arc};

use serde::Serialize;
use sha2::{Digest, Sha512};

use crate::model::{Action, ActionVerb, Api, Resource, version_parts};

/// A group that is served, with its versions, the preferred one first.
#[derive(Debug, Clone)]
pub struct Group {
    /// "inventory.example.com"; empty: the core group.
    pub name: String,
    /// In the order of preference.
    pub versions: Vec<GroupVersion>,
}

/// A version of a group.
#[derive(Debug, Clone)]
pub struct GroupVersion {
    /// "v1".
    pub version: String,
    /// What it serves; `None`: nothing is known of it yet.
    pub resources: Option<Arc<Api>>,
    /// Whether what is known is good enough to act on.
    pub freshness: Freshness,
}

/// `apidiscovery.k8s.io/v2` DiscoveryFreshness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Freshness {
    /// True now, or young enough by policy.
    Current,
    /// Clients should not conclude that what is missing is gone.
    Stale,
}

/// The order of versions as Kubernetes prefers them, the best first: v10, v2, v1, v11beta2, v3beta1, v12alpha1;
/// whatever is no Kubernetes version comes last, by name.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (version_parts(a), version_parts(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// The ETag of a document, with its quotes: SHA-512 in upper-case hexadecimal.
pub fn etag(document: &[u8]) -> String {
    format!("\"{}\"", hash(document))
}

/// SHA-512 of a document, in upper-case hexadecimal: the `hash` of OpenAPI v3 addresses.
pub fn hash(document: &[u8]) -> String {
    Sha512::digest(document).iter().fold(String::with_capacity(128), |mut out, byte| {
        let _ = write!(out, "{byte:02X}");
        out
    })
}

/// `/api`: `APIVersions`. Empty unless the core group is claimed.
pub fn api_versions(versions: &[String]) -> Vec<u8> {
    json(&ApiVersions { kind: "APIVersions", versions, server_address_by_client_cidrs: [] })
}

/// `/apis`: `APIGroupList`. The core group and groups without a version are left out.
pub fn api_group_list(groups: &[Group]) -> Vec<u8> {
    let named = groups.iter().filter(|group| !group.name.is_empty());
    let groups = named.filter_map(|group| group_entry(group, None)).collect();
    json(&ApiGroupList { kind: "APIGroupList", api_version: "v1", groups })
}

/// `/apis/G`: `APIGroup`. `None`: the group has no version.
pub fn api_group(group: &Group) -> Option<Vec<u8>> {
    group_entry(group, Some("APIGroup")).map(|group| json(&group))
}

/// `/apis/G/V`: `APIResourceList`, with subresources (`machines/status`), sorted by name.
pub fn api_resource_list(api: &Api) -> Vec<u8> {
    let mut resources: Vec<_> =
        api.resources.iter().flat_map(|resource| resource_entries(resource)).collect();
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    json(&ApiResourceList {
        kind: "APIResourceList",
        api_version: "v1",
        group_version: group_version(&api.group, &api.version),
        resources,
    })
}

/// `/apis` (or, with only the core group, `/api`) as `APIGroupDiscoveryList` of `apidiscovery.k8s.io/v2`.
pub fn aggregated(groups: &[Group]) -> Vec<u8> {
    let items = groups.iter().filter(|group| !group.versions.is_empty());
    json(&DiscoveryList {
        kind: "APIGroupDiscoveryList",
        api_version: "apidiscovery.k8s.io/v2",
        metadata: Metadata { name: "" },
        items: items.map(discovery_group).collect(),
    })
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("structs of strings and lists always serialise")
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn group_entry<'a>(group: &'a Group, kind: Option<&'static str>) -> Option<ApiGroup<'a>> {
    let versions: Vec<Version<'_>> = group
        .versions
        .iter()
        .map(|v| Version { group_version: group_version(&group.name, &v.version), version: &v.version })
        .collect();
    let preferred_version = versions.first()?.clone();
    Some(ApiGroup { kind, api_version: kind.map(|_| "v1"), name: &group.name, versions, preferred_version })
}

fn resource_entries(resource: &Resource) -> Vec<ApiResource<'_>> {
    let main = ApiResource {
        name: resource.plural.clone(),
        singular_name: &resource.singular,
        namespaced: resource.namespaced,
        kind: &resource.kind,
        verbs: resource.verbs(),
        short_names: &resource.short_names,
        categories: &resource.categories,
    };
    let subresources = subresources(resource).into_iter().map(|sub| ApiResource {
        name: format!("{}/{}", resource.plural, sub.subresource),
        singular_name: "",
        namespaced: resource.namespaced,
        kind: sub.response_kind.kind,
        verbs: sub.verbs,
        short_names: &[],
        categories: &[],
    });
    std::iter::once(main).chain(subresources).collect()
}

/// Status and actions, sorted by name.
fn subresources(resource: &Resource) -> Vec<DiscoverySubresource<'_>> {
    let mut all: Vec<_> = resource
        .actions
        .iter()
        .map(|action| DiscoverySubresource {
            subresource: &action.name,
            response_kind: ResponseKind::of(&action.kind),
            verbs: action_verbs(action),
        })
        .collect();
    if resource.status_subresource {
        all.push(DiscoverySubresource {
            subresource: "status",
            response_kind: ResponseKind::of(&resource.kind),
            verbs: resource.status_verbs(),
        });
    }
    all.sort_by_key(|sub| sub.subresource);
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

fn discovery_group(group: &Group) -> DiscoveryGroup<'_> {
    let versions = group
        .versions
        .iter()
        .map(|version| {
            let resources = version.resources.iter().flat_map(|api| &api.resources);
            let mut resources: Vec<_> = resources.map(|resource| discovery_resource(resource)).collect();
            resources.sort_by_key(|resource| resource.resource);
            DiscoveryVersion { version: &version.version, resources, freshness: version.freshness }
        })
        .collect();
    DiscoveryGroup { metadata: Metadata { name: &group.name }, versions }
}

fn discovery_resource(resource: &Resource) -> DiscoveryResource<'_> {
    DiscoveryResource {
        resource: &resource.plural,
        response_kind: ResponseKind::of(&resource.kind),
        scope: if resource.namespaced { "Namespaced" } else { "Cluster" },
        singular_resource: &resource.singular,
        verbs: resource.verbs(),
        short_names: &resource.short_names,
        categories: &resource.categories,
        subresources: subresources(resource),
    }
}

// The documents, field by field in the order of Kubernetes' own types (meta/v1, apidiscovery/v2).

#[derive(Serialize)]
struct ApiVersions<'a> {
    kind: &'static str,
    versions: &'a [String],
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
    group_version: String,
    resources: Vec<ApiResource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource<'a> {
    name: String,
    singular_name: &'a str,
    namespaced: bool,
    kind: &'a str,
    verbs: Vec<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiscoveryList<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata<'a>,
    items: Vec<DiscoveryGroup<'a>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

#[derive(Serialize)]
struct DiscoveryGroup<'a> {
    metadata: Metadata<'a>,
    versions: Vec<DiscoveryVersion<'a>>,
}

#[derive(Serialize)]
struct DiscoveryVersion<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<DiscoveryResource<'a>>,
    freshness: Freshness,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiscoveryResource<'a> {
    resource: &'a str,
    response_kind: ResponseKind<'a>,
    scope: &'static str,
    singular_resource: &'a str,
    verbs: Vec<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subresources: Vec<DiscoverySubresource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiscoverySubresource<'a> {
    subresource: &'a str,
    response_kind: ResponseKind<'a>,
    verbs: Vec<&'static str>,
}

/// Empty group and version: those of the list.
#[derive(Serialize)]
struct ResponseKind<'a> {
    group: &'static str,
    version: &'static str,
    kind: &'a str,
}

impl<'a> ResponseKind<'a> {
    fn of(kind: &'a str) -> Self {
        Self { group: "", version: "", kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_kubernetes_prefers_them() {
        let expected =
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"];
        let mut versions = expected;
        versions.reverse();
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(versions, expected);
        for odd in ["v", "v1beta", "vbeta1", "v1beta1x", "v99999999999999999999999", "v+1", "v1alpha+1"] {
            assert_eq!(compare_versions("v1alpha1", odd), Ordering::Less, "{odd}");
        }
    }

    #[test]
    fn the_core_group_is_empty_unless_it_is_claimed() {
        assert_eq!(
            String::from_utf8_lossy(&api_versions(&[])),
            r#"{"kind":"APIVersions","versions":[],"serverAddressByClientCIDRs":[]}"#
        );
    }

    #[test]
    fn an_etag_is_a_quoted_sha_512() {
        let etag = etag(b"");
        assert!(
            etag.starts_with("\"CF83E1357EEFB8BD") && etag.ends_with("\"") && etag.len() == 130,
            "{etag}"
        );
    }

    #[test]
    fn an_unknown_version_is_served_without_resources() {
        let version = GroupVersion { version: "v1".to_owned(), resources: None, freshness: Freshness::Stale };
        let group = Group { name: "a.example.com".to_owned(), versions: vec![version] };
        assert_eq!(
            String::from_utf8_lossy(&aggregated(&[group])),
            r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[{"metadata":{"name":"a.example.com"},"versions":[{"version":"v1","freshness":"Stale"}]}]}"#
        );
        let empty = Group { name: "b.example.com".to_owned(), versions: vec![] };
        assert!(api_group(&empty).is_none());
    }
}
