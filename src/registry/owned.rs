//! Objects that are not made by clients: from manifests, and from what a `--backend` declares or a Backend claims.

use std::collections::HashMap;

use kubridge_bridge::proto::{ObjectMeta, Time};
use prost::Message;
use uuid::Uuid;

use super::{
    APISERVICES, Registry,
    backend::BACKENDS,
    local_caller::{LocalKind, now},
    proto::{
        apiregistration::{ApiService, ApiServiceSpec},
        backend::{Backend, BackendSpec},
    },
    store::{Change, Key, StoreError},
    target::{BACKEND, is_name},
    validation::complete,
};

/// Label: this process made the object and keeps it as it should be. Take it off to own the object yourself.
pub const AUTOMANAGED: &str = "kubridge.io/automanaged";
/// Annotation: the file in `--manifests` that an object is from.
pub const MANIFEST: &str = "kubridge.io/manifest";

/// Who made an object, where it was not a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A file in `--manifests`, by its name.
    Manifest(String),
    /// A `--backend`, by its URL.
    Backend(String),
    /// A Backend object, by its name.
    Object(String),
}

/// What became of one object that was applied.
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

/// A kind whose objects this process makes.
pub trait Kind: Message + Default + Clone + 'static {
    /// What is wanted of it.
    type Spec: PartialEq;

    /// Which one.
    const KIND: LocalKind;

    /// Its metadata.
    fn metadata(&self) -> Option<&ObjectMeta>;

    /// Its metadata, to be written.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;

    /// Its spec, to be written.
    fn spec_mut(&mut self) -> &mut Option<Self::Spec>;

    /// Fills in what may be left out.
    fn complete(&mut self, _now: Time) {}

    /// Takes over the spec of another; whether that changes anything.
    fn take_spec(&mut self, mut other: Self) -> bool {
        let new = other.spec_mut().take();
        let changes = *self.spec_mut() != new;
        *self.spec_mut() = new;
        changes
    }
}

impl Kind for ApiService {
    type Spec = ApiServiceSpec;

    const KIND: LocalKind = APISERVICES;

    fn metadata(&self) -> Option<&ObjectMeta> {
        self.metadata.as_ref()
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        self.metadata.get_or_insert_default()
    }

    fn spec_mut(&mut self) -> &mut Option<Self::Spec> {
        &mut self.spec
    }

    fn complete(&mut self, now: Time) {
        complete(self, now);
    }
}

impl Kind for Backend {
    type Spec = BackendSpec;

    const KIND: LocalKind = BACKENDS;

    fn metadata(&self) -> Option<&ObjectMeta> {
        self.metadata.as_ref()
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        self.metadata.get_or_insert_default()
    }

    fn spec_mut(&mut self) -> &mut Option<Self::Spec> {
        &mut self.spec
    }
}

impl Owner {
    /// The owner of an object; none: a client.
    pub fn of<K: Kind>(object: &K) -> Option<Self> {
        let metadata = object.metadata()?;
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

    /// Writes the owner into an object.
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
    /// Makes `objects` what `owner` owns of their kind, exactly: creates and updates them, and removes what it owned
    /// before. What is somebody else's is left alone. The objects must be valid.
    pub async fn apply<K: Kind>(
        &self,
        owner: &Owner,
        objects: Vec<K>,
    ) -> Result<Vec<(String, Applied)>, StoreError> {
        let mut outcome = Vec::with_capacity(objects.len());
        for object in objects {
            let name = name(&object);
            let applied = self.apply_one(owner.clone(), &name, object).await?;
            outcome.push((name, applied));
        }
        for present in self.objects::<K>().await? {
            let name = name(&present);
            let wanted = outcome.iter().any(|(wanted, _)| *wanted == name);
            if !wanted
                && Owner::of(&present).as_ref() == Some(owner)
                && self.remove::<K>(owner.clone(), &name).await?
            {
                outcome.push((name, Applied::Removed));
            }
        }
        Ok(outcome)
    }

    /// All owners that have objects of a kind.
    pub async fn owners<K: Kind>(&self) -> Result<Vec<Owner>, StoreError> {
        let mut owners: Vec<Owner> = Vec::new();
        for owner in self.objects::<K>().await?.iter().filter_map(Owner::of) {
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        Ok(owners)
    }

    /// Removes the APIServices of backends that are not in `urls`: those of a command line before.
    pub async fn retain_backends(&self, urls: &[String]) -> Result<Vec<(String, Applied)>, StoreError> {
        let mut outcome = Vec::new();
        for owner in self.owners::<ApiService>().await? {
            if matches!(&owner, Owner::Backend(url) if !urls.contains(url)) {
                outcome.extend(self.apply::<ApiService>(&owner, Vec::new()).await?);
            }
        }
        Ok(outcome)
    }

    /// All objects of a kind.
    pub(super) async fn objects<K: Kind>(&self) -> Result<Vec<K>, StoreError> {
        let listing = self.store.list(K::KIND.resource(), String::new()).await?;
        listing.objects.iter().map(|object| decode(object)).collect()
    }

    async fn apply_one<K: Kind>(
        &self,
        owner: Owner,
        name: &str,
        mut object: K,
    ) -> Result<Applied, StoreError> {
        owner.mark(object.metadata_mut());
        let (tell, told) = tokio::sync::oneshot::channel();
        let written = self
            .store
            .write(key::<K>(name), false, move |old| {
                let old = old.map(|old| decode(&old.object)).transpose()?;
                let (applied, change) = reconcile(&owner, old, object, now());
                let _unheard = tell.send(applied);
                Ok::<_, StoreError>(change)
            })
            .await;
        written?;
        told.await.map_err(|_| StoreError::Stopped)
    }

    async fn remove<K: Kind>(&self, owner: Owner, name: &str) -> Result<bool, StoreError> {
        let written = self.store.write(key::<K>(name), false, move |old| {
            let Some(old) = old else { return Ok(Change::Keep) };
            let mut object: K = decode(&old.object)?;
            if Owner::of(&object).as_ref() != Some(&owner) {
                return Ok(Change::Keep);
            }
            let metadata = object.metadata_mut();
            if metadata.finalizers.is_empty() {
                return Ok(Change::Delete);
            }
            if metadata.deletion_timestamp.is_some() {
                return Ok(Change::Keep);
            }
            metadata.deletion_timestamp = Some(now());
            metadata.deletion_grace_period_seconds = Some(0);
            Ok::<_, StoreError>(Change::Put(object.encode_to_vec()))
        });
        Ok(written.await?.changed)
    }
}

/// What to write so that `old` becomes `new`, if `owner` may.
fn reconcile<K: Kind>(owner: &Owner, old: Option<K>, mut new: K, now: Time) -> (Applied, Change) {
    let wanted = std::mem::take(new.metadata_mut());
    let Some(mut object) = old else {
        *new.metadata_mut() = ObjectMeta {
            name: wanted.name,
            labels: wanted.labels,
            annotations: wanted.annotations,
            ..born(now)
        };
        new.complete(now);
        return (Applied::Created, Change::Put(new.encode_to_vec()));
    };
    let present = Owner::of(&object);
    if present.as_ref() != Some(owner) {
        return (Applied::Conflict(present), Change::Keep);
    }
    new.complete(now);
    let other_spec = object.take_spec(new);
    let metadata = object.metadata_mut();
    if !other_spec && metadata.labels == wanted.labels && metadata.annotations == wanted.annotations {
        return (Applied::Unchanged, Change::Keep);
    }
    if other_spec {
        metadata.generation += 1;
    }
    metadata.labels = wanted.labels;
    metadata.annotations = wanted.annotations;
    object.complete(now);
    (Applied::Updated, Change::Put(object.encode_to_vec()))
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

fn name<K: Kind>(object: &K) -> String {
    object.metadata().map(|metadata| metadata.name.clone()).unwrap_or_default()
}

fn key<K: Kind>(name: &str) -> Key {
    Key { resource: K::KIND.resource(), namespace: String::new(), name: name.into() }
}

fn decode<K: Kind>(object: &[u8]) -> Result<K, StoreError> {
    K::decode(object)
        .map_err(|error| StoreError::Corrupt(format!("a {} is not readable: {error}", K::KIND.kind)))
}
