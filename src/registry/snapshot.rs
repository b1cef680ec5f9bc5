//! What is claimed at one moment, in the order in which Kubernetes lists it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kubridge_bridge::{discovery_doc::compare_versions, wire};
use prost::Message;

use super::{
    backend::{self, Declared, Named, Source, resolve},
    proto::apiregistration::{ApiService, ApiServiceCondition},
    store::Listing,
    target::{Target, ca_bundle, insecure_skip_tls_verify, mapping, target},
};

/// The group of APIServices themselves: always first, as in Kubernetes.
const FIRST_GROUP: &str = "apiregistration.k8s.io";

/// All APIServices, read-only. Replaced whole when one changes.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Snapshot {
    /// The store's version that this is.
    pub version: u64,
    /// By group (highest priority first), then by version (preferred first).
    pub claims: Vec<Arc<Claim>>,
    /// The Backend objects, by name.
    pub backends: BTreeMap<String, Arc<Declared>>,
    /// These are all Backends that there are. Else it cannot be found out which there are.
    pub backends_are_listed: bool,
}

/// What one APIService claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The APIService's name: "v1.inventory.example.com".
    pub name: String,
    /// The API group; empty: the core group.
    pub group: String,
    /// "v1".
    pub version: String,
    /// Who serves it.
    pub target: Target,
    /// The Backend object that serves it, where the annotation names one.
    pub backend: Option<Arc<Named>>,
    /// The Mapping by which it is served, where the annotation says so.
    pub mapping: Option<String>,
    /// The rank of the group, at least.
    pub group_priority: i32,
    /// The rank of the version in its group.
    pub version_priority: i32,
    /// PEM: what the backend's certificate is verified against; empty: the system's authorities.
    pub ca_bundle: Vec<u8>,
    /// The backend's certificate is not verified.
    pub insecure_skip_tls_verify: bool,
    /// The object's uid: another one is another claim of the same name.
    pub uid: String,
    /// The object's resourceVersion.
    pub resource_version: u64,
    /// Its state, as last written.
    pub conditions: Vec<ApiServiceCondition>,
}

impl Claim {
    /// Its place in discovery documents.
    pub fn rank(&self) -> Rank<'_> {
        Rank {
            group: &self.group,
            version: &self.version,
            group_priority: self.group_priority,
            version_priority: self.version_priority,
        }
    }
}

impl Snapshot {
    /// The claim of a group and version.
    pub fn claim(&self, group: &str, version: &str) -> Option<&Arc<Claim>> {
        self.claims.iter().find(|claim| claim.group == group && claim.version == version)
    }

    /// What is claimed, with the Backends in place of their names.
    pub(super) fn new(
        version: u64,
        claims: impl IntoIterator<Item = Claim>,
        backends: impl IntoIterator<Item = Declared>,
    ) -> Self {
        let backends: BTreeMap<String, Arc<Declared>> =
            backends.into_iter().map(|backend| (backend.name.clone(), Arc::new(backend))).collect();
        let mut claims: Vec<Arc<Claim>> =
            claims.into_iter().map(|claim| Arc::new(resolve(claim, &backends))).collect();
        sort_by_rank(&mut claims, |claim| claim.rank());
        Self { version, claims, backends, backends_are_listed: true }
    }

    /// Of the APIServices and the Backends of our own store.
    pub(super) fn from_listings(services: &Listing, backends: &Listing) -> Self {
        let claims = services.objects.iter().filter_map(|object| read(object)).map(claimed);
        let none = |source: &Source, _: &str| Err(format!("{source} is not to be had outside of a cluster"));
        let backends = backends
            .objects
            .iter()
            .filter_map(|object| read(object))
            .map(|object| backend::read(object).resolved(&none));
        Self::new(services.version, claims, backends)
    }

    /// Whether a reader could act on the difference.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        (&self.claims, &self.backends, self.backends_are_listed)
            == (&other.claims, &other.backends, other.backends_are_listed)
    }
}

/// What decides the place of a group and version in discovery documents.
#[derive(Debug, Clone, Copy)]
pub struct Rank<'a> {
    /// The API group; empty: the core group.
    pub group: &'a str,
    /// "v1".
    pub version: &'a str,
    /// `groupPriorityMinimum`.
    pub group_priority: i32,
    /// `versionPriority`.
    pub version_priority: i32,
}

/// Kubernetes' order: groups by the highest priority that any of their versions asks for, then by name; within a group
/// by priority, then as versions are preferred.
pub fn sort_by_rank<T>(items: &mut [T], rank: impl Fn(&T) -> Rank<'_>) {
    let mut groups: HashMap<String, i32> = HashMap::new();
    for rank in items.iter().map(&rank) {
        let own = if rank.group == FIRST_GROUP { i32::MAX } else { rank.group_priority };
        groups.entry(rank.group.to_owned()).and_modify(|most| *most = own.max(*most)).or_insert(own);
    }
    let of_group = |rank: &Rank<'_>| groups.get(rank.group).copied().unwrap_or_default();
    items.sort_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        of_group(&b)
            .cmp(&of_group(&a))
            .then_with(|| a.group.cmp(b.group))
            .then_with(|| b.version_priority.cmp(&a.version_priority))
            .then_with(|| compare_versions(a.version, b.version))
    });
}

fn read<M: Message + Default>(object: &[u8]) -> Option<M> {
    match M::decode(object) {
        Ok(object) => Some(object),
        Err(error) => {
            // Admission decoded it before it was stored.
            let bytes = wire::message_field(object, 1).map(|metadata| metadata.len()).unwrap_or_default();
            tracing::error!(%error, bytes, "an object in the registry cannot be read; it counts for nothing");
            None
        }
    }
}

/// What an APIService claims.
pub(super) fn claimed(service: ApiService) -> Claim {
    let (target, ca_bundle, mapping) = (target(&service), ca_bundle(&service), mapping(&service));
    let insecure_skip_tls_verify = insecure_skip_tls_verify(&service);
    let metadata = service.metadata.unwrap_or_default();
    let spec = service.spec.unwrap_or_default();
    Claim {
        name: metadata.name,
        group: spec.group,
        version: spec.version,
        target,
        backend: None,
        mapping,
        group_priority: spec.group_priority_minimum,
        version_priority: spec.version_priority,
        ca_bundle,
        insecure_skip_tls_verify,
        uid: metadata.uid,
        resource_version: metadata.resource_version.parse().unwrap_or_default(),
        conditions: service.status.map(|status| status.conditions).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
