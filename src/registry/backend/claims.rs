//! The APIServices that are made of a Backend's claims, and what may not be claimed.

use std::collections::HashMap;

use kubridge_bridge::proto::ObjectMeta;

use super::Wish;
use crate::registry::{
    proto::apiregistration::{ApiService, ApiServiceSpec},
    target::BACKEND,
};

/// The groups of Kubernetes that do not end with [`K8S_IO`].
const BUILT_IN: [&str; 6] = ["apps", "autoscaling", "batch", "events", "extensions", "policy"];
/// Those that do, and are its own.
const BUILT_IN_K8S_IO: [&str; 18] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];
/// What Kubernetes keeps for itself.
const K8S_IO: &str = ".k8s.io";
/// The group of Backends themselves.
const OURS: &str = "kubridge.io";

/// Why a group may not be claimed by a Backend, if so. `allow_k8s_io`: the administrator allows groups such as
/// metrics.k8s.io, which Kubernetes defines and others serve.
pub fn refused(group: &str, allow_k8s_io: bool) -> Option<String> {
    if group.is_empty() || BUILT_IN.contains(&group) || BUILT_IN_K8S_IO.contains(&group) {
        let shown = if group.is_empty() { "the core group" } else { group };
        return Some(format!("{shown} is Kubernetes' own: claim a group of a domain that is yours"));
    }
    if group == OURS {
        return Some(format!("{group} is Kubridge's own: claim a group of a domain that is yours"));
    }
    if group.ends_with(K8S_IO) && !allow_k8s_io {
        return Some(format!(
            "{group} ends with {K8S_IO}, which Kubernetes keeps for itself: claim a group of a domain that is yours, or \
             start Kubridge with --allow-k8s-io-claims"
        ));
    }
    None
}

/// The APIService of a claim, as our own store has it: named by its annotation, and nothing else.
pub fn api_service(backend: &str, wish: &Wish) -> ApiService {
    ApiService {
        metadata: Some(ObjectMeta {
            name: wish.api_service(),
            annotations: HashMap::from([(BACKEND.into(), backend.into())]),
            ..ObjectMeta::default()
        }),
        spec: Some(ApiServiceSpec {
            group: wish.group.clone(),
            version: wish.version.clone(),
            group_priority_minimum: wish.group_priority,
            version_priority: wish.version_priority,
            ..ApiServiceSpec::default()
        }),
        status: None,
    }
}
