//! APIServices: the only registration there is; and Backends, from which some are made. Objects in an embedded store, published as immutable snapshots.
//!
//! Three kinds of writers: clients (through the verbs and [`LocalCaller`]), the conveniences `--manifests` and
//! `--backend` ([`Registry::apply`]), and higher rooms that report ([`Registry::set_conditions`]).

use std::{fmt, path::Path, sync::Arc};

use kubridge_bridge::{
    model::{Fault, NameSyntax, Rules, Schema},
    wire,
};
use prost::Message as _;
use tokio::sync::watch;

pub mod backend;
mod builtin;
mod cluster;
mod columns;
pub mod local_caller;
pub mod manifests;
mod owned;
pub mod proto;
mod snapshot;
pub mod store;
mod target;
pub mod validation;

#[cfg(test)]
mod tests;

pub use backend::{BrownOut, Declared, Named};
pub use cluster::{Made, Watched, from_cluster, made_for, names, watch_cluster};
pub use local_caller::{LocalCaller, now};
pub use manifests::Manifests;
pub use owned::{AUTOMANAGED, Applied, Kind, MANIFEST, Owner, claims};
pub use snapshot::{Claim, Rank, Snapshot, sort_by_rank};
pub use store::{OpenError, StoreError};
pub use target::{
    BACKEND, BACKEND_CA, MAPPING, PROTOCOL, Protocol, Target, ca_bundle, check_backend_url, is_name, target,
};
pub use validation::{AVAILABLE, DISCOVERY_CURRENT, METHODS_UNIMPLEMENTED};

use local_caller::LocalKind;
use proto::apiregistration::{ApiService, ApiServiceCondition};
use store::{Change, Key, Listing, Store, Window};

/// APIService, as the store serves it.
pub const APISERVICES: LocalKind = LocalKind {
    service: "kubridge.apiregistration.v1.APIServices",
    kind: "APIService",
    kinds: "APIServices",
    plural: "apiservices",
    group: "apiregistration.k8s.io",
    admit: validation::admit,
};

/// The aggregator's own kinds, as the verbs serve them.
///
/// # Errors
/// None but our own faults, which the tests find.
pub fn own_kinds() -> Result<Schema, Vec<Fault>> {
    let mut schema = Schema::from_descriptor_set(proto::DESCRIPTORS, Rules::OWN_KINDS)?;
    for resource in schema.apis.iter_mut().filter_map(Arc::get_mut).flat_map(|api| &mut api.resources) {
        if let Some(resource) =
            Arc::get_mut(resource).filter(|resource| resource.plural == APISERVICES.plural)
        {
            resource.columns = columns::apiservices();
            // The core group's is "v1.".
            resource.names = NameSyntax::PathSegment;
        }
    }
    Ok(schema)
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    caller: LocalCaller,
    resource: Arc<str>,
    backends: Arc<str>,
    snapshots: Arc<watch::Sender<Arc<Snapshot>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Registry {
    /// Opens, or makes, the registry in `data_dir`, sees to the built-in APIServices and reads the first snapshot.
    pub async fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let directory = data_dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || Store::open(&directory, Window::default())).await;
        let failed = |error: StoreError| OpenError::of(data_dir, error);
        let store = opened.map_err(|_| failed(StoreError::Stopped))??;
        let registry = Self {
            caller: LocalCaller::new(store.clone(), [APISERVICES, backend::BACKENDS]),
            resource: APISERVICES.resource(),
            backends: backend::BACKENDS.resource(),
            snapshots: Arc::new(watch::channel(Arc::default()).0),
            store,
        };
        builtin::ensure(&registry).await.map_err(failed)?;
        registry.publish().await.map_err(failed)?;
        Ok(registry)
    }

    /// Answers the contract's calls for our own kinds.
    pub fn caller(&self) -> LocalCaller {
        self.caller.clone()
    }

    /// What is claimed, as it changes.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Publishes a snapshot after each change, and brings back a built-in APIService that was deleted (without it
    /// nobody could reach the others). Runs until it is dropped.
    pub async fn run(&self) {
        let mut head = self.store.head();
        head.mark_changed();
        while head.changed().await.is_ok() {
            head.borrow_and_update();
            let published = match self.publish().await {
                Ok(()) => builtin::restore(self).await,
                failed => failed,
            };
            if let Err(error) = published {
                // The last snapshot stays; the next change tries again.
                tracing::error!(%error, "the registry could not be read");
            }
        }
    }

    /// Writes conditions of an APIService, all in one write, and nothing where they say the same already.
    /// `last_transition_time` stays where only reason or message change; conditions of other types stay as they are.
    /// True if something was written; false also where there is no such APIService (any more), or where `uid` is not
    /// empty and the APIService is another one of the same name.
    pub async fn set_conditions(
        &self,
        name: &str,
        uid: &str,
        conditions: Vec<ApiServiceCondition>,
    ) -> Result<bool, StoreError> {
        let uid = uid.to_owned();
        let written = self.store.write(self.key(name), false, move |old| {
            let Some(old) = old else { return Ok(Change::Keep) };
            let service = decode(&old.object)?;
            if !uid.is_empty() && service.metadata.is_none_or(|metadata| metadata.uid != uid) {
                return Ok(Change::Keep);
            }
            let mut status = service.status.unwrap_or_default();
            let mut changed = false;
            for condition in conditions {
                changed |= put_condition(&mut status.conditions, condition);
            }
            if !changed {
                return Ok(Change::Keep);
            }
            let mut object = wire::without(&old.object, |number| number == 3)?;
            wire::put_bytes(&mut object, 3, &status.encode_to_vec());
            Ok::<_, StoreError>(Change::Put(object))
        });
        Ok(written.await?.changed)
    }

    async fn publish(&self) -> Result<(), StoreError> {
        let services = self.list().await?;
        let backends = self.store.list(self.backends.clone(), String::new()).await?;
        let snapshot = Snapshot::from_listings(&services, &backends);
        self.snapshots.send_if_modified(|present| {
            let changed = !present.says_the_same(&snapshot);
            if changed {
                *present = Arc::new(snapshot);
            }
            changed
        });
        Ok(())
    }

    async fn list(&self) -> Result<Listing, StoreError> {
        self.store.list(self.resource.clone(), String::new()).await
    }

    fn key(&self, name: &str) -> Key {
        Key { resource: self.resource.clone(), namespace: String::new(), name: name.into() }
    }
}

/// Whether it changed anything.
fn put_condition(conditions: &mut Vec<ApiServiceCondition>, mut condition: ApiServiceCondition) -> bool {
    let Some(present) = conditions.iter_mut().find(|present| present.r#type == condition.r#type) else {
        condition.last_transition_time = condition.last_transition_time.or_else(|| Some(now()));
        conditions.push(condition);
        return true;
    };
    condition.last_transition_time = if present.status == condition.status {
        present.last_transition_time
    } else {
        condition.last_transition_time.or_else(|| Some(now()))
    };
    let changed = *present != condition;
    *present = condition;
    changed
}

fn decode(object: &[u8]) -> Result<ApiService, StoreError> {
    ApiService::decode(object)
        .map_err(|error| StoreError::Corrupt(format!("an APIService is not readable: {error}")))
}
