//! All documents of one moment, made from those of the moment before as far as nothing has changed.

use std::{collections::HashMap, sync::Arc};

use kubridge_bridge::discovery_doc::{self, Encoded, Freshness, Group, VersionDocument};

use super::{Claimed, document::Document};

/// Always the first group, as in Kubernetes.
const FIRST_GROUP: &str = "apiregistration.k8s.io";

/// By path.
#[derive(Debug, Default)]
pub(super) struct Documents {
    by_path: HashMap<String, Entry>,
    /// What they were made of; `None`: nothing was published yet.
    claimed: Option<Vec<Claimed>>,
}

/// What stands at a path.
#[derive(Debug)]
pub(super) enum Entry {
    /// `/api`, `/apis`.
    Root { plain: Arc<Document>, aggregated: Arc<Document> },
    /// `/apis/G`.
    Group(Arc<Document>),
    /// `/api/V`, `/apis/G/V`.
    Version(Arc<Version>),
}

/// One version of a group.
#[derive(Debug)]
pub(super) struct Version {
    /// The APIService that claims it.
    pub(super) api_service: String,
    /// The APIResourceList; `None`: never known.
    pub(super) list: Option<Arc<Document>>,
    /// What the aggregated document says of it.
    fragment: Encoded,
    source: Option<Arc<VersionDocument>>,
    freshness: Freshness,
}

impl Documents {
    pub(super) fn new(claimed: &[Claimed], before: &Self) -> Self {
        let mut by_path = HashMap::with_capacity(2 * claimed.len() + 2);
        let mut versions: Vec<(&Claimed, Arc<Version>)> = Vec::with_capacity(claimed.len());
        for claim in claimed {
            let path = match claim.group.as_str() {
                "" => format!("/api/{}", claim.version),
                group => format!("/apis/{group}/{}", claim.version),
            };
            if by_path.contains_key(&path) {
                continue;
            }
            let version = match before.by_path.get(&path) {
                Some(Entry::Version(version)) if version.is_of(claim) => Arc::clone(version),
                _ => Arc::new(Version::new(claim)),
            };
            by_path.insert(path, Entry::Version(Arc::clone(&version)));
            versions.push((claim, version));
        }
        let (core, named) = groups(&versions);
        for group in &named {
            if let Some(document) = discovery_doc::api_group(group) {
                let path = format!("/apis/{}", group.name);
                let known = match before.by_path.get(&path) {
                    Some(Entry::Group(document)) => Some(document),
                    _ => None,
                };
                by_path.insert(path, Entry::Group(Document::kept(known, document, None)));
            }
        }
        let core_versions: Vec<&str> =
            core.iter().flat_map(|group| &group.versions).map(|(version, _)| *version).collect();
        by_path
            .insert("/api".into(), before.root("/api", discovery_doc::api_versions(&core_versions), &core));
        by_path.insert("/apis".into(), before.root("/apis", discovery_doc::api_group_list(&named), &named));
        Self { by_path, claimed: Some(claimed.to_vec()) }
    }

    pub(super) fn get(&self, path: &str) -> Option<&Entry> {
        self.by_path.get(path)
    }

    /// Whether they are what would be made of `claimed`.
    pub(super) fn are_of(&self, claimed: &[Claimed]) -> bool {
        self.claimed.as_ref().is_some_and(|present| {
            present.len() == claimed.len() && present.iter().zip(claimed).all(|(a, b)| same(a, b))
        })
    }

    fn root(&self, path: &str, plain: Encoded, groups: &[Group<'_>]) -> Entry {
        let (known_plain, known_aggregated) = match self.by_path.get(path) {
            Some(Entry::Root { plain, aggregated }) => (Some(plain), Some(aggregated)),
            _ => (None, None),
        };
        let aggregated = discovery_doc::aggregated(groups);
        Entry::Root {
            plain: Document::kept(known_plain, plain, None),
            aggregated: Document::kept(known_aggregated, aggregated.document, Some(&aggregated.etag)),
        }
    }
}

impl Version {
    fn new(claim: &Claimed) -> Self {
        let source = claim.document.clone();
        let freshness = if source.is_some() { claim.freshness } else { Freshness::Stale };
        let list = source.as_ref().map(|document| {
            Document::kept(
                None,
                discovery_doc::api_resource_list(&claim.group, &claim.version, document),
                None,
            )
        });
        Self {
            api_service: claim.api_service.clone(),
            list,
            fragment: discovery_doc::fragment(&claim.version, source.as_deref(), freshness),
            source,
            freshness,
        }
    }

    /// Whether it is what would be made of the claim; of the same path it is already.
    fn is_of(&self, claim: &Claimed) -> bool {
        self.api_service == claim.api_service
            && same_source(self.source.as_ref(), claim.document.as_ref())
            && (self.source.is_none() || self.freshness == claim.freshness)
    }
}

fn same(a: &Claimed, b: &Claimed) -> bool {
    a.group == b.group
        && a.version == b.version
        && a.api_service == b.api_service
        && a.freshness == b.freshness
        && same_source(a.document.as_ref(), b.document.as_ref())
}

fn same_source(a: Option<&Arc<VersionDocument>>, b: Option<&Arc<VersionDocument>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// The core group, and the others in the order of their first versions.
fn groups<'a>(versions: &'a [(&'a Claimed, Arc<Version>)]) -> (Vec<Group<'a>>, Vec<Group<'a>>) {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (claim, version) in versions {
        let place = *places.entry(&claim.group).or_insert_with(|| {
            groups.push(Group { name: &claim.group, versions: Vec::new() });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.versions.push((&claim.version, &version.fragment));
        }
    }
    let (core, mut named): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.name.is_empty());
    named.sort_by_key(|group| group.name != FIRST_GROUP);
    (core, named)
}
