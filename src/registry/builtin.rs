//! The APIServices of the groups that this process serves itself.

use std::collections::HashMap;

use kubridge_bridge::proto::ObjectMeta;
use prost::Message as _;

use super::{
    Registry, decode,
    local_caller::now,
    owned::born,
    proto::apiregistration::{ApiService, ApiServiceSpec},
    store::{Change, StoreError},
    validation::complete,
};

/// Kubernetes' label of what its API server registers itself; "onstart": seen to once, when it starts.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const ON_START: &str = "onstart";

/// Group and version, and the priority that Kubernetes gives the group; ours comes after its.
const GROUPS: [(&str, &str, i32); 4] = [
    ("apiregistration.k8s.io", "v1", 20_000),
    ("authentication.k8s.io", "v1", 17_700),
    ("authorization.k8s.io", "v1", 17_600),
    ("kubridge.io", "v1alpha1", 15_000),
];

/// Makes what is missing and mends what carries the label. Without the label it is the user's.
pub(super) async fn ensure(registry: &Registry) -> Result<(), StoreError> {
    for (group, version, priority) in GROUPS {
        write(registry, group, version, priority).await?;
    }
    Ok(())
}

/// Makes what is missing in the present snapshot.
pub(super) async fn restore(registry: &Registry) -> Result<(), StoreError> {
    let snapshot = registry.snapshots().borrow().clone();
    for (group, version, priority) in GROUPS {
        if snapshot.claim(group, version).is_none() {
            tracing::warn!(group, "a built-in APIService was deleted; it is made again");
            write(registry, group, version, priority).await?;
        }
    }
    Ok(())
}

async fn write(registry: &Registry, group: &str, version: &str, priority: i32) -> Result<(), StoreError> {
    let name = format!("{version}.{group}");
    let spec = ApiServiceSpec {
        group: group.into(),
        version: version.into(),
        group_priority_minimum: priority,
        version_priority: 15,
        ..Default::default()
    };
    let key = registry.key(&name);
    let decide = move |old: Option<&super::store::Stored>| {
        let mut service = match old {
            None => ApiService {
                metadata: Some(ObjectMeta {
                    name,
                    labels: HashMap::from([(AUTOMANAGED.into(), ON_START.into())]),
                    ..born(now())
                }),
                spec: Some(spec),
                status: None,
            },
            Some(old) => {
                let mut service = decode(&old.object)?;
                let labels = service.metadata.as_ref().map(|metadata| &metadata.labels);
                let ours = labels.and_then(|labels| labels.get(AUTOMANAGED)).is_some_and(|v| v == ON_START);
                if !ours || service.spec.as_ref() == Some(&spec) {
                    return Ok(Change::Keep);
                }
                service.spec = Some(spec);
                service.metadata.get_or_insert_default().generation += 1;
                service
            }
        };
        complete(&mut service, now());
        Ok::<_, StoreError>(Change::Put(service.encode_to_vec()))
    };
    registry.store.write(key, false, decide).await?;
    Ok(())
}
