//! What is claimed at one moment, in the order in which Kubernetes lists it.

use std::{collections::HashMap, sync::Arc};

use kubridge_bridge::{discovery_doc::compare_versions, wire};
use prost::Message as _;

use super::{
    proto::apiregistration::{ApiService, ApiServiceCondition},
    store::Listing,
    target::{Target, ca_bundle, target},
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

impl Snapshot {
    /// The claim of a group and version.
    pub fn claim(&self, group: &str, version: &str) -> Option<&Arc<Claim>> {
        self.claims.iter().find(|claim| claim.group == group && claim.version == version)
    }

    pub(super) fn from_listing(listing: &Listing) -> Self {
        let mut claims: Vec<Arc<Claim>> = listing.objects.iter().filter_map(|object| claim(object)).collect();
        sort(&mut claims);
        Self { version: listing.version, claims }
    }
}

fn sort(claims: &mut [Arc<Claim>]) {
    let mut ranks: HashMap<String, i32> = HashMap::new();
    for claim in claims.iter() {
        let rank = if claim.group == FIRST_GROUP { i32::MAX } else { claim.group_priority };
        ranks.entry(claim.group.clone()).and_modify(|most| *most = rank.max(*most)).or_insert(rank);
    }
    let rank = |claim: &Claim| ranks.get(&claim.group).copied().unwrap_or_default();
    claims.sort_by(|a, b| {
        rank(b)
            .cmp(&rank(a))
            .then_with(|| a.group.cmp(&b.group))
            .then_with(|| b.version_priority.cmp(&a.version_priority))
            .then_with(|| compare_versions(&a.version, &b.version))
    });
}

fn claim(object: &[u8]) -> Option<Arc<Claim>> {
    let service = match ApiService::decode(object) {
        Ok(service) => service,
        Err(error) => {
            // Admission decoded it before it was stored.
            let bytes = wire::message_field(object, 1).map(|metadata| metadata.len()).unwrap_or_default();
            tracing::error!(%error, bytes, "an APIService in the registry cannot be read; it claims nothing");
            return None;
        }
    };
    let (target, ca_bundle) = (target(&service), ca_bundle(&service));
    let metadata = service.metadata.unwrap_or_default();
    let spec = service.spec.unwrap_or_default();
    Some(Arc::new(Claim {
        name: metadata.name,
        group: spec.group,
        version: spec.version,
        target,
        group_priority: spec.group_priority_minimum,
        version_priority: spec.version_priority,
        ca_bundle,
        insecure_skip_tls_verify: spec.insecure_skip_tls_verify,
        uid: metadata.uid,
        resource_version: metadata.resource_version.parse().unwrap_or_default(),
        conditions: service.status.map(|status| status.conditions).unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests;
