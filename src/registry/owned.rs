//! APIServices that are not made by clients: from manifests, and from what a `--backend` declares.

use std::collections::HashMap;

use kubridge_bridge::proto::{ObjectMeta, Time};
use prost::Message as _;
use uuid::Uuid;

use super::{
    Registry, decode,
    local_caller::now,
    proto::apiregistration::{ApiService, ApiServiceSpec},
    store::{Change, StoreError},
    target::{BACKEND, is_name},
    validation::complete,
};

/// Label: this process made the APIService and keeps it as it should be. Take it off to own the object yourself.
pub const AUTOMANAGED: &str = "kubridge.io/automanaged";
/// Annotation: the file in `--manifests` that an APIService is from.
pub const MANIFEST: &str = "kubridge.io/manifest";

/// Who made an APIService, where it was not a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A file in `--manifests`, by its name.
    Manifest(String),
    /// A `--backend`, by its URL.
    Backend(String),
    /// A Backend object, by its name.
    Object(String),
}

/// What became of one APIService that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It is new.
    Created,
    /// It was something else before.
    Updated,
    /// It was like that.
    Unchanged,
    /// Somebody else owns that name (none: a client): it was left alone.
    Conflict(Option<Owner>),
    /// It is no longer wanted and was deleted, or waits for its finalizers.
    Removed,
}

/// The APIServices that claim what a backend declares: `apis` are (group, version).
pub fn claims(url: &str, apis: &[(String, String)]) -> Vec<ApiService> {
    apis.iter()
        .map(|(group, version)| ApiService {
            metadata: Some(ObjectMeta {
                name: format!("{version}.{group}"),
                annotations: HashMap::from([(BACKEND.into(), url.into())]),
                ..Default::default()
            }),
            // The priorities that Kubernetes gives to custom resources.
            spec: Some(ApiServiceSpec {
                group: group.clone(),
                version: version.clone(),
                group_priority_minimum: 1000,
                version_priority: 100,
                ..Default::default()
            }),
            status: None,
        })
        .collect()
}

impl Owner {
    /// The owner of an APIService; none: a client.
    pub fn of(service: &ApiService) -> Option<Self> {
        let metadata = service.metadata.as_ref()?;
        if metadata.labels.get(AUTOMANAGED).is_none_or(|value| value != "true") {
            return None;
        }
        let annotation = |name: &str| metadata.annotations.get(name).cloned();
        let backend = || {
            annotation(BACKEND).map(|text| match is_name(&text) {
                true => Self::Object(text),
                false => Self::Backend(text),
            })
        };
        annotation(MANIFEST).map(Self::Manifest).or_else(backend)
    }

    /// Writes the owner into an APIService.
    fn mark(&self, metadata: &mut ObjectMeta) {
        metadata.labels.insert(AUTOMANAGED.into(), "true".into());
        let (name, value) = match self {
            Self::Manifest(file) => (MANIFEST, file),
            Self::Backend(text) | Self::Object(text) => (BACKEND, text),
        };
        metadata.annotations.insert(name.into(), value.clone());
    }
}

impl Registry {
    /// Makes `services` what `owner` owns, exactly: creates and updates them, and removes what it owned before.
    /// What is somebody else's is left alone. The services must be valid ([`super::validation::validate`]).
    pub async fn apply(
        &self,
        owner: &Owner,
        services: Vec<ApiService>,
    ) -> Result<Vec<(String, Applied)>, StoreError> {
        let mut outcome = Vec::with_capacity(services.len());
        for service in services {
            let name = service.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
            let applied = self.apply_one(owner.clone(), &name, service).await?;
            outcome.push((name, applied));
        }
        for present in self.services().await? {
            let name = present.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
            let wanted = outcome.iter().any(|(wanted, _)| *wanted == name);
            if !wanted
                && Owner::of(&present).as_ref() == Some(owner)
                && self.remove(owner.clone(), &name).await?
            {
                outcome.push((name, Applied::Removed));
            }
        }
        Ok(outcome)
    }

    /// All owners that have APIServices.
    pub async fn owners(&self) -> Result<Vec<Owner>, StoreError> {
        let mut owners: Vec<Owner> = Vec::new();
        for owner in self.services().await?.iter().filter_map(Owner::of) {
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        Ok(owners)
    }

    /// Removes the APIServices of backends that are not in `urls`: those of a command line before.
    pub async fn retain_backends(&self, urls: &[String]) -> Result<Vec<(String, Applied)>, StoreError> {
        let mut outcome = Vec::new();
        for owner in self.owners().await? {
            if matches!(&owner, Owner::Backend(url) if !urls.contains(url)) {
                outcome.extend(self.apply(&owner, Vec::new()).await?);
            }
        }
        Ok(outcome)
    }

    async fn apply_one(
        &self,
        owner: Owner,
        name: &str,
        mut service: ApiService,
    ) -> Result<Applied, StoreError> {
        owner.mark(service.metadata.get_or_insert_default());
        let (tell, told) = tokio::sync::oneshot::channel();
        let written = self
            .store
            .write(self.key(name), false, move |old| {
                let old = old.map(|old| decode(&old.object)).transpose()?;
                let (applied, change) = reconcile(&owner, old, service, now());
                let _unheard = tell.send(applied);
                Ok::<_, StoreError>(change)
            })
            .await;
        written?;
        told.await.map_err(|_| StoreError::Stopped)
    }

    async fn remove(&self, owner: Owner, name: &str) -> Result<bool, StoreError> {
        let written = self.store.write(self.key(name), false, move |old| {
            let Some(old) = old else { return Ok(Change::Keep) };
            let mut service = decode(&old.object)?;
            if Owner::of(&service).as_ref() != Some(&owner) {
                return Ok(Change::Keep);
            }
            let metadata = service.metadata.get_or_insert_default();
            if metadata.finalizers.is_empty() {
                return Ok(Change::Delete);
            }
            if metadata.deletion_timestamp.is_some() {
                return Ok(Change::Keep);
            }
            metadata.deletion_timestamp = Some(now());
            metadata.deletion_grace_period_seconds = Some(0);
            Ok::<_, StoreError>(Change::Put(service.encode_to_vec()))
        });
        Ok(written.await?.changed)
    }
}

/// What to write so that `old` becomes `new`, if `owner` may.
fn reconcile(owner: &Owner, old: Option<ApiService>, mut new: ApiService, now: Time) -> (Applied, Change) {
    let wanted = new.metadata.take().unwrap_or_default();
    let Some(mut service) = old else {
        let metadata = ObjectMeta {
            name: wanted.name,
            labels: wanted.labels,
            annotations: wanted.annotations,
            ..born(now)
        };
        let mut service = ApiService { metadata: Some(metadata), spec: new.spec, status: None };
        complete(&mut service, now);
        return (Applied::Created, Change::Put(service.encode_to_vec()));
    };
    let present = Owner::of(&service);
    if present.as_ref() != Some(owner) {
        return (Applied::Conflict(present), Change::Keep);
    }
    complete(&mut new, now);
    let metadata = service.metadata.get_or_insert_default();
    let same_spec = service.spec == new.spec;
    if same_spec && metadata.labels == wanted.labels && metadata.annotations == wanted.annotations {
        return (Applied::Unchanged, Change::Keep);
    }
    if !same_spec {
        metadata.generation += 1;
    }
    metadata.labels = wanted.labels;
    metadata.annotations = wanted.annotations;
    service.spec = new.spec;
    complete(&mut service, now);
    (Applied::Updated, Change::Put(service.encode_to_vec()))
}

/// The metadata that every object is born with.
pub(super) fn born(now: Time) -> ObjectMeta {
    ObjectMeta {
        uid: Uuid::new_v4().to_string(),
        generation: 1,
        creation_timestamp: Some(now),
        ..Default::default()
    }
}
