//! The APIServices of a cluster that name this process's Service, and the Backends that those name. The kube-apiserver
//! sends it their requests, and alone writes the APIServices' status.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use kubridge_bridge::proto::ObjectMeta;
use tokio::sync::watch;

mod backends;

pub use backends::resource;
use backends::{Backends, reference};

use super::{
    backend::{API_VERSION, Source},
    owned::AUTOMANAGED,
    proto::apiregistration::{ApiService, ApiServiceSpec, ServiceReference},
    snapshot::{Claim, Snapshot, claimed},
    target::{BACKEND, BACKEND_CA, MAPPING, Target},
};
use crate::{
    cluster::{Pauses, References},
    config::ServiceName,
};

/// What is watched of the APIServices that name this process's Service, as it changes.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What they claim. `None`: the API server has not told of all of them yet.
    pub claims: watch::Receiver<Option<Arc<Snapshot>>>,
    /// What the kube-apiserver verifies this process by for each of them, PEM. Where it verifies nothing, or by the
    /// authorities of its own system, there is none.
    pub ca_bundles: watch::Receiver<Arc<[Vec<u8>]>>,
}

/// Watches the APIServices that name `service`, and the Backends, and publishes them as they change. The future must be
/// run; nothing is published before the API server has told of all of them.
pub fn watch_cluster(
    client: Client,
    service: ServiceName,
) -> (Watched, impl Future<Output = ()> + Send + use<>) {
    let (publish, snapshots) = watch::channel(None);
    let (publish_ca_bundles, ca_bundles) = watch::channel(Arc::default());
    let run = async move {
        let services = watcher(Api::<APIService>::all(client.clone()), watcher::Config::default());
        let mut services = std::pin::pin!(services.backoff(Pauses::default()).inspect_err(|error| {
            tracing::warn!(
                %error,
                "APIServices are not watched for now: is the API server there, and may this user list and watch \
                 apiservices.apiregistration.k8s.io?"
            );
        }));
        let mut backends = Backends::new(client.clone());
        let mut references = References::new(client);
        let mut claims = Claims { service, known: None, listed: BTreeMap::new() };
        loop {
            tokio::select! {
                event = services.next() => match event {
                    Some(Ok(event)) => claims.take(event),
                    Some(Err(_)) => continue,
                    None => return,
                },
                () = backends.changed() => references.want(backends.sources()),
                () = references.changed() => {}
            }
            let Some(snapshot) = snapshot(&claims, &backends, &references) else { continue };
            publish.send_if_modified(|present: &mut Option<Arc<Snapshot>>| {
                let changed = present.as_ref().is_none_or(|present| !present.says_the_same(&snapshot));
                if changed {
                    *present = Some(Arc::new(snapshot));
                }
                changed
            });
            let present = claims.ca_bundles();
            publish_ca_bundles.send_if_modified(|bundles: &mut Arc<[Vec<u8>]>| {
                let changed = *bundles != present;
                *bundles = present;
                changed
            });
        }
    };
    (Watched { claims: snapshots, ca_bundles }, run)
}

/// What is known now; `None`: not everything has been told yet.
fn snapshot(claims: &Claims, backends: &Backends, references: &References) -> Option<Snapshot> {
    let backends_are_listed = backends.are_listed();
    let (claims, backends) = (claims.known.as_ref()?, backends.known()?);
    if !references.are_known() {
        return None;
    }
    let look_up = |source: &Source, key: &str| references.key(&reference(source), key);
    let backends = backends.map(|backend| backend.clone().resolved(&look_up));
    let claims = claims.values().map(|known| known.claim.clone());
    Some(Snapshot { backends_are_listed, ..Snapshot::new(0, claims, backends) })
}

struct Claims {
    service: ServiceName,
    /// Nothing before the first list is there.
    known: Option<BTreeMap<String, Known>>,
    /// A list that is under way.
    listed: BTreeMap<String, Known>,
}

/// What is known of an APIService.
struct Known {
    claim: Claim,
    ca_bundle: Vec<u8>,
}

impl Claims {
    fn take(&mut self, event: Event<APIService>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                let name = object.name_any();
                self.listed.extend(self.known(object).map(|known| (name, known)));
            }
            Event::InitDone => self.known = Some(std::mem::take(&mut self.listed)),
            Event::Apply(object) => {
                let name = object.name_any();
                let new = self.known(object);
                let known = self.known.get_or_insert_default();
                match new {
                    Some(new) => known.insert(name, new),
                    // It names another Service now.
                    None => known.remove(&name),
                };
            }
            Event::Delete(object) => {
                self.known.get_or_insert_default().remove(&object.name_any());
            }
        }
    }

    fn ca_bundles(&self) -> Arc<[Vec<u8>]> {
        let mut bundles: Vec<_> =
            self.known.iter().flat_map(BTreeMap::values).map(|known| &known.ca_bundle).collect();
        bundles.retain(|bundle| !bundle.is_empty());
        bundles.sort_unstable();
        bundles.dedup();
        bundles.into_iter().cloned().collect()
    }

    fn known(&self, object: APIService) -> Option<Known> {
        names(&object, &self.service).then(|| {
            let ca_bundle = object.spec.as_ref().and_then(|spec| spec.ca_bundle.clone());
            let ca_bundle = ca_bundle.map(|bundle| bundle.0).unwrap_or_default();
            let claim = claimed(from_cluster(object));
            // spec.service is this process: who else serves it, only the annotation says.
            let target = match claim.target {
                Target::Grpc { .. } | Target::Named { .. } => claim.target,
                _ => Target::Unnamed,
            };
            Known { claim: Claim { target, ..claim }, ca_bundle }
        })
    }
}

/// Whether an APIService has its requests sent to this Service.
pub fn names(object: &APIService, service: &ServiceName) -> bool {
    let named = object.spec.as_ref().and_then(|spec| spec.service.as_ref());
    named.is_some_and(|named| {
        named.namespace.as_deref() == Some(&service.namespace) && named.name.as_deref() == Some(&service.name)
    })
}

/// The Backend that an APIService was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made<'a> {
    /// Its name.
    pub backend: &'a str,
    /// Its uid: that of a Backend that is there now, or of one before it.
    pub uid: &'a str,
}

/// Which Backend an APIService was made for; `None`: somebody else made it.
pub fn made_for(object: &APIService) -> Option<Made<'_>> {
    let is_ours = object.labels().get(AUTOMANAGED).is_some_and(|value| value == "true");
    let backend = object.annotations().get(BACKEND).filter(|_| is_ours)?;
    let owner = object.owner_references().iter().find(|owner| {
        owner.kind == "Backend" && owner.api_version == API_VERSION && owner.name == *backend
    })?;
    Some(Made { backend, uid: &owner.uid })
}

/// A cluster's APIService as our own store has it: as much of it as says what is claimed, and by whom.
pub fn from_cluster(object: APIService) -> ApiService {
    let (metadata, spec) = (object.metadata, object.spec.unwrap_or_default());
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| [BACKEND, BACKEND_CA, MAPPING].contains(&name.as_str()));
    let APIServiceSpec {
        ca_bundle, group, group_priority_minimum, service, version, version_priority, ..
    } = spec;
    ApiService {
        metadata: Some(ObjectMeta {
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            annotations: annotations.into_iter().collect(),
            ..ObjectMeta::default()
        }),
        spec: Some(ApiServiceSpec {
            service: service.map(|service| ServiceReference {
                namespace: service.namespace.unwrap_or_default(),
                name: service.name.unwrap_or_default(),
                port: service.port,
            }),
            group: group.unwrap_or_default(),
            version: version.unwrap_or_default(),
            ca_bundle: ca_bundle.map(|bundle| bundle.0).unwrap_or_default(),
            group_priority_minimum,
            version_priority,
            ..ApiServiceSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    use super::*;

    fn object(version: &str, service: &Value, annotations: &Value) -> APIService {
        serde_json::from_value(json!({
            "metadata": {"name": format!("{version}.example.com"), "annotations": annotations},
            "spec": {
                "group": "example.com", "version": version, "service": service, "insecureSkipTLSVerify": true,
                "groupPriorityMinimum": 1000, "versionPriority": 15,
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_names_another_service_is_another_servers() {
        let service =
            ServiceName { namespace: "kubridge".to_owned(), name: "aggregator".to_owned(), port: 443 };
        let mut claims = Claims { service, known: None, listed: BTreeMap::new() };
        let here = json!({"namespace": "kubridge", "name": "aggregator"});
        let elsewhere = json!({"namespace": "kube-system", "name": "metrics-server"});
        let backend = json!({"kubridge.io/backend": "grpc://fleet.default.svc:50051"});
        claims.take(Event::Init);
        claims.take(Event::InitApply(object("v1", &here, &backend)));
        claims.take(Event::InitApply(object("v2", &elsewhere, &backend)));
        claims.take(Event::InitApply(object("v3", &here, &json!({}))));
        claims.take(Event::InitDone);
        let of = |claims: &Claims| {
            Snapshot::new(
                0,
                claims.known.iter().flat_map(BTreeMap::values).map(|known| known.claim.clone()),
                [],
            )
        };
        let versions = |claims: &Claims| {
            let snapshot = of(claims);
            snapshot.claims.iter().map(|claim| claim.version.clone()).collect::<Vec<_>>()
        };
        assert_eq!(versions(&claims), ["v3", "v1"]);
        let snapshot = of(&claims);
        let url = "grpc://fleet.default.svc:50051".to_owned();
        let claim = snapshot.claim("example.com", "v1").unwrap();
        assert_eq!(claim.target, Target::Grpc { url });
        assert!(!claim.insecure_skip_tls_verify, "that is the kube-apiserver's trust in us");
        assert_eq!(snapshot.claim("example.com", "v3").unwrap().target, Target::Unnamed);

        assert!(claims.ca_bundles().is_empty());
        let trusting = |version: &str, service: &Value, bundle: &str| {
            let mut object = object(version, service, &backend);
            object.spec.as_mut().unwrap().ca_bundle = Some(ByteString(bundle.into()));
            object
        };
        claims.take(Event::Apply(trusting("v1", &here, "ours")));
        claims.take(Event::Apply(trusting("v2", &elsewhere, "theirs")));
        claims.take(Event::Apply(trusting("v3", &here, "ours")));
        assert_eq!(*claims.ca_bundles(), [b"ours".to_vec()]);

        claims.take(Event::Apply(object("v1", &elsewhere, &backend)));
        claims.take(Event::Delete(object("v3", &here, &backend)));
        assert_eq!(versions(&claims), [""; 0]);
    }
}
