//! What others say that they serve: aggregated discovery, a legacy APIResourceList, our own copy on disk. All of it
//! may be anything: it is limited in size, is UTF-8, and never a panic (what is skipped needs no stack, however deep it
//! is nested; what is read has a type).

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::{ResourceDocument, ResponseKind, Scope, SubresourceDocument, VersionDocument, group_version};

/// The longest document that is read, in bytes: ten thousand resources and more.
pub const MAX_DOCUMENT: usize = 8 * 1024 * 1024;

/// Why a document is not taken. The text is for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentFault {
    /// Longer than [`MAX_DOCUMENT`].
    #[error("the discovery document has {0} bytes; at most {MAX_DOCUMENT} are read")]
    TooLarge(usize),
    /// The bytes are no text.
    #[error("the discovery document is not UTF-8")]
    NotUtf8,
    /// No JSON, a field of a wrong type, or one missing.
    #[error("the discovery document cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Something else than was asked for.
    #[error("the discovery document is {found}, not {expected}")]
    Other {
        /// What it says that it is.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// A resource, subresource or version has a name that no path can have.
    #[error("the discovery document names a resource or version {0:?}, which no path can have")]
    Name(String),
    /// A namespaced subresource of a cluster-wide resource, or the reverse.
    #[error(
        "the discovery document has resource {resource} {parent:?} and its subresource {subresource} {found:?}: both need the same scope"
    )]
    ScopeMismatch {
        /// "machines".
        resource: String,
        /// "status".
        subresource: String,
        /// The resource's.
        parent: Scope,
        /// The subresource's.
        found: Scope,
    },
}

/// What an aggregated document lists.
#[derive(Debug, Clone, Default)]
pub struct AggregatedVersions {
    /// Group, version, and what it serves.
    pub known: Vec<(String, String, VersionDocument)>,
    /// Group and version of those that the server calls Stale: it has them, and does not know what they serve.
    pub stale: Vec<(String, String)>,
}

impl AggregatedVersions {
    /// Reads aggregated discovery, as [`VersionDocument::from_aggregated`] does.
    ///
    /// # Errors
    /// See [`DocumentFault`]. All or nothing.
    pub fn read(document: &[u8]) -> Result<Self, DocumentFault> {
        let list: DiscoveryList = parse(document)?;
        if list.kind != "APIGroupDiscoveryList"
            || !matches!(list.api_version.as_str(), "apidiscovery.k8s.io/v2" | "apidiscovery.k8s.io/v2beta1")
        {
            return Err(DocumentFault::Other {
                found: described(&list.api_version, &list.kind),
                expected: "an APIGroupDiscoveryList of apidiscovery.k8s.io/v2".into(),
            });
        }
        let mut seen = HashSet::new();
        let mut found = Self::default();
        for group in list.items {
            for version in group.versions {
                path_segment(&version.version)?;
                for resource in &version.resources {
                    path_segment(&resource.resource)?;
                    resource.subresources.iter().try_for_each(|sub| subpath(&sub.subresource))?;
                }
                let name = (group.metadata.name.clone(), version.version.clone());
                if !seen.insert(name.clone()) {
                    continue;
                }
                if version.freshness == "Stale" {
                    found.stale.push(name);
                    continue;
                }
                let resources = version.resources;
                let document = VersionDocument { resources, storage_version_hashes: BTreeMap::new() };
                found.known.push((name.0, name.1, document));
            }
        }
        Ok(found)
    }
}

impl VersionDocument {
    /// Reads aggregated discovery (`APIGroupDiscoveryList` in JSON, v2 or the same fields as v2beta1): group, version
    /// and what it serves, in the document's order, each once (the first counts).
    ///
    /// Versions that the server itself calls Stale are left out: what it says of them it does not know. They are in
    /// [`AggregatedVersions::read`].
    ///
    /// # Errors
    /// See [`DocumentFault`]. All or nothing.
    pub fn from_aggregated(document: &[u8]) -> Result<Vec<(String, String, Self)>, DocumentFault> {
        AggregatedVersions::read(document).map(|versions| versions.known)
    }

    /// Reads what servers without aggregated discovery answer to `/apis/G/V`: an APIResourceList in JSON. Its
    /// subresources are folded under their parents, as kube-apiserver does it; a parent that is not listed is made,
    /// without a kind and verbs.
    ///
    /// # Errors
    /// See [`DocumentFault`]: also where it is that of another group and version.
    pub fn from_resource_list(document: &[u8], group: &str, version: &str) -> Result<Self, DocumentFault> {
        let list: ResourceList = parse(document)?;
        let wanted = group_version(group, version);
        if list.kind != "APIResourceList" || !matches!(list.api_version.as_str(), "" | "v1") {
            return Err(DocumentFault::Other {
                found: described(&list.api_version, &list.kind),
                expected: "an APIResourceList".into(),
            });
        }
        if list.group_version != wanted {
            return Err(DocumentFault::Other {
                found: format!("of {:?}", list.group_version),
                expected: format!("of {wanted:?}"),
            });
        }
        fold(list.resources)
    }

    /// What [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// See [`DocumentFault`].
    pub fn from_json(document: &[u8]) -> Result<Self, DocumentFault> {
        parse(document)
    }

    /// All of it, to be kept. The form is ours.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("structs of strings and lists always serialise")
    }
}

/// `null` is what is not there.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn parse<T: DeserializeOwned>(document: &[u8]) -> Result<T, DocumentFault> {
    if document.len() > MAX_DOCUMENT {
        return Err(DocumentFault::TooLarge(document.len()));
    }
    // Before, because what is skipped is not looked at.
    let text = simdutf8::basic::from_utf8(document).map_err(|_| DocumentFault::NotUtf8)?;
    Ok(serde_json::from_str(text)?)
}

fn described(api_version: &str, kind: &str) -> String {
    let kind = if kind.is_empty() { "without a kind" } else { kind };
    let text = if api_version.is_empty() { kind.to_owned() } else { format!("{kind} of {api_version}") };
    text.chars().take(200).collect()
}

fn fold(listed: Vec<ApiResource>) -> Result<VersionDocument, DocumentFault> {
    let mut document = VersionDocument::default();
    let mut parents: HashMap<String, usize> = HashMap::new();
    let (subresources, resources): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|entry| entry.name.contains('/'));
    for entry in resources {
        path_segment(&entry.name)?;
        parents.insert(entry.name.clone(), document.resources.len());
        if !entry.storage_version_hash.is_empty() {
            document.storage_version_hashes.insert(entry.name.clone(), entry.storage_version_hash);
        }
        document.resources.push(ResourceDocument {
            resource: entry.name,
            response_kind: ResponseKind { group: entry.group, version: entry.version, kind: entry.kind },
            scope: scope(entry.namespaced),
            singular_resource: entry.singular_name,
            verbs: entry.verbs,
            short_names: entry.short_names,
            categories: entry.categories,
            subresources: Vec::new(),
        });
    }
    for entry in subresources {
        let Some((name, subresource)) = entry.name.split_once('/') else { continue };
        path_segment(name)?;
        subpath(subresource)?;
        let scope = scope(entry.namespaced);
        let at = *parents.entry(name.to_owned()).or_insert_with(|| {
            document.resources.push(parent(name, scope));
            document.resources.len() - 1
        });
        let Some(parent) = document.resources.get_mut(at) else { continue };
        if parent.scope != scope {
            return Err(DocumentFault::ScopeMismatch {
                resource: name.to_owned(),
                subresource: subresource.to_owned(),
                parent: parent.scope,
                found: scope,
            });
        }
        // Without a kind it has no group and version either, as kube-apiserver has it.
        let response_kind = match entry.kind.as_str() {
            "" => ResponseKind::default(),
            _ => ResponseKind { group: entry.group, version: entry.version, kind: entry.kind },
        };
        parent.subresources.push(SubresourceDocument {
            subresource: subresource.to_owned(),
            response_kind,
            accepted_types: Vec::new(),
            verbs: entry.verbs,
        });
    }
    Ok(document)
}

/// Of a subresource whose parent is not listed.
fn parent(name: &str, scope: Scope) -> ResourceDocument {
    ResourceDocument {
        resource: name.to_owned(),
        response_kind: ResponseKind::default(),
        scope,
        singular_resource: String::new(),
        verbs: Vec::new(),
        short_names: Vec::new(),
        categories: Vec::new(),
        subresources: Vec::new(),
    }
}

fn scope(namespaced: bool) -> Scope {
    if namespaced { Scope::Namespaced } else { Scope::Cluster }
}

fn path_segment(name: &str) -> Result<(), DocumentFault> {
    let bad = |c: char| matches!(c, '/' | '%' | '?' | '#') || c.is_control() || c.is_whitespace();
    let named = !name.is_empty() && name.len() <= 253 && !name.contains(bad) && name != "." && name != "..";
    named.then_some(()).ok_or_else(|| DocumentFault::Name(name.chars().take(253).collect()))
}

/// A subresource may have one of its own: "proxy/metrics".
fn subpath(name: &str) -> Result<(), DocumentFault> {
    name.split('/').try_for_each(path_segment)
}

// As Kubernetes' own types have it. Fields that are not needed are skipped.

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiscoveryList {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    #[serde(default, deserialize_with = "or_default")]
    items: Vec<DiscoveryGroup>,
}

#[derive(Deserialize)]
struct DiscoveryGroup {
    #[serde(default, deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    versions: Vec<DiscoveryVersion>,
}

#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
}

#[derive(Deserialize)]
struct DiscoveryVersion {
    version: String,
    #[serde(default, deserialize_with = "or_default")]
    resources: Vec<ResourceDocument>,
    #[serde(default, deserialize_with = "or_default")]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceList {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    group_version: String,
    #[serde(default, deserialize_with = "or_default")]
    resources: Vec<ApiResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    singular_name: String,
    #[serde(default, deserialize_with = "or_default")]
    namespaced: bool,
    #[serde(default, deserialize_with = "or_default")]
    group: String,
    #[serde(default, deserialize_with = "or_default")]
    version: String,
    #[serde(default, deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    verbs: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    short_names: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    categories: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    storage_version_hash: String,
}
