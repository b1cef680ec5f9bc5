//! What the replica that leads writes; and the one thing that others do.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    ByteString,
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio::time::Instant;

use super::{ATTEMPTS, Failure, Keeper, Stored, is_due, read::DESCRIPTORS};
use crate::cluster::schemas::{
    Accepted, Listed, Offer, Version,
    index::{Index, etag},
    names::{BACKEND, MANAGED_BY},
    parts::{Packed, split},
};

impl Keeper {
    /// Has what is offered be what is stored.
    pub(super) async fn write(&mut self, offer: &Offer) -> Result<(), Failure> {
        let stored = self.stored.as_ref().and_then(|stored| {
            let (index, schema) = (stored.index.as_ref().ok()?, stored.schema.as_ref().ok()?);
            let same = Arc::ptr_eq(schema, &offer.schema) || schema.bytes == offer.schema.bytes;
            same.then_some((index, schema, &stored.parts))
        });
        let etag = etag(&offer.schema.etag).to_owned();
        let (index, schema, parts) = match stored {
            Some((index, schema, parts)) => {
                let same = index.etag == etag && index.doubted.is_none();
                if same && !is_due(index.confirmed_at, offer.confirmed_at) {
                    return Ok(());
                }
                let confirmed_at = index.confirmed_at.max(offer.confirmed_at);
                let schema = if index.etag == etag { schema } else { &offer.schema };
                let index = Index { etag, confirmed_at, doubted: None, ..index.clone() };
                (index, Arc::clone(schema), parts.clone())
            }
            None => {
                let packed = self.packed(&offer.schema).await?;
                let mut versions = BTreeMap::new();
                for (number, part) in packed.parts.iter().enumerate() {
                    let name = self.names.part(&packed.digest, number);
                    let version = self.put_part(&name, part).await?;
                    versions.insert(name, version);
                }
                let index = Index {
                    digest: packed.digest.clone(),
                    parts: packed.parts.len(),
                    etag,
                    source: offer.schema.source.clone(),
                    accepted_at: offer.schema.accepted_at,
                    confirmed_at: offer.confirmed_at,
                    doubted: None,
                };
                tracing::info!(
                    backend = self.owner.name,
                    sha256 = index.digest,
                    parts = index.parts,
                    "all replicas are to serve this schema"
                );
                (index, Arc::clone(&offer.schema), versions)
            }
        };
        let version = self.put_index(&index).await?;
        self.stored = Some(Stored { version, index: Ok(index), parts, schema: Ok(schema) });
        self.packed = None;
        Ok(())
    }

    /// Removes what the index does not name (any more), and what is a Backend's that had the name before.
    pub(super) async fn sweep(&self, mine: &BTreeMap<String, Listed>) -> Result<(), Failure> {
        let index = self.names.index();
        let good = self.stored.as_ref().filter(|stored| stored.schema.is_ok());
        for (name, listed) in mine {
            let foreign = !listed.owners.contains(&self.owner.uid);
            let unnamed = good.is_some_and(|stored| *name != index && !stored.parts.contains_key(name));
            if foreign || unnamed {
                self.delete(name, &listed.version).await?;
            }
        }
        Ok(())
    }

    /// Tells the replica that leads, by the index, that the backend has another schema.
    pub(super) async fn pass_on_doubt(&mut self) -> Result<(), Failure> {
        let Some(doubt) = self.doubt.clone() else { return Ok(()) };
        if let Some(Stored { index: Ok(index), .. }) = &self.stored
            && index.digest != doubt
            && index.doubted.as_ref() != Some(&doubt)
        {
            let index = Index { doubted: Some(doubt.clone()), ..index.clone() };
            let version = self.put_index(&index).await?;
            if let Some(stored) = &mut self.stored {
                (stored.version, stored.index) = (version, Ok(index));
            }
            self.told_doubt = Some((doubt, Instant::now()));
        }
        self.doubt = None;
        Ok(())
    }

    /// Split once, however often it is tried.
    async fn packed(&mut self, schema: &Arc<Accepted>) -> Result<Arc<Packed>, Failure> {
        if let Some((of, packed)) = &self.packed
            && Arc::ptr_eq(of, schema)
        {
            return Ok(Arc::clone(packed));
        }
        let bytes = schema.bytes.clone();
        let packed = tokio::task::spawn_blocking(move || split(&bytes)).await;
        let failed = |error: tokio::task::JoinError| {
            Failure::Api("a schema cannot be compressed".to_owned(), error.to_string())
        };
        let packed = Arc::new(packed.map_err(failed)?);
        self.packed = Some((Arc::clone(schema), Arc::clone(&packed)));
        Ok(packed)
    }

    /// One that is there already, as it is to be, is left; another one of its name goes.
    async fn put_part(&self, name: &str, part: &[u8]) -> Result<Version, Failure> {
        let data = BTreeMap::from([(DESCRIPTORS.to_owned(), ByteString(part.to_vec()))]);
        let wanted = ConfigMap {
            metadata: self.metadata(name),
            binary_data: Some(data.clone()),
            immutable: Some(true),
            ..ConfigMap::default()
        };
        for _ in 0..ATTEMPTS {
            if let Some(version) = self.create(name, &wanted).await? {
                return Ok(version);
            }
            let Some(present) = self.get(name).await? else { continue };
            if self.is_ours(&present) && present.binary_data.as_ref() == Some(&data) {
                return Ok(Version::of(&present));
            }
            self.delete(name, &Version::of(&present)).await?;
        }
        Err(Failure::Contended(name.to_owned()))
    }

    async fn put_index(&mut self, index: &Index) -> Result<Version, Failure> {
        let name = self.names.index();
        let mut wanted =
            ConfigMap { metadata: self.metadata(&name), data: Some(index.data()), ..ConfigMap::default() };
        let put = match &self.stored {
            Some(Stored { version, .. }) => {
                wanted.metadata.resource_version = Some(version.resource_version.clone());
                let params = PostParams::default();
                let replaced = written(self.api.replace(&name, &params, &wanted));
                let replaced = self.ask(self.unwritten(&name), replaced).await?;
                replaced.map(|object| Version::of(&object))
            }
            None => self.create(&name, &wanted).await?,
        };
        let Some(version) = put else {
            // Whatever is there is read before anything is written.
            self.looked_at = None;
            if let Some(present) = self.get(&name).await?.filter(|present| !self.is_ours(present)) {
                self.delete(&name, &Version::of(&present)).await?;
            }
            return Err(Failure::Contended(name));
        };
        Ok(version)
    }

    /// `None`: there is one of its name.
    async fn create(&self, name: &str, object: &ConfigMap) -> Result<Option<Version>, Failure> {
        let params = PostParams::default();
        let created = written(self.api.create(&params, object));
        let created = self.ask(self.unwritten(name), created).await?;
        Ok(created.map(|object| Version::of(&object)))
    }

    /// Removes exactly the object that was looked at, if it is still there.
    async fn delete(&self, name: &str, version: &Version) -> Result<(), Failure> {
        let preconditions = Preconditions { uid: Some(version.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let deleted = async {
            match self.api.delete(name, &params).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.ask(format!("the ConfigMap {}/{name} cannot be deleted", self.namespace), deleted).await
    }

    fn metadata(&self, name: &str) -> ObjectMeta {
        let (managed_by, us) = MANAGED_BY;
        let labels = [(BACKEND, self.names.label.as_str()), (managed_by, us)];
        ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: Some(vec![OwnerReference {
                api_version: "kubridge.io/v1alpha1".to_owned(),
                kind: "Backend".to_owned(),
                name: self.owner.name.clone(),
                uid: self.owner.uid.clone(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        }
    }

    fn unwritten(&self, name: &str) -> String {
        format!("the ConfigMap {}/{name} cannot be written", self.namespace)
    }
}

/// `None`: somebody else came first.
async fn written<T>(write: impl Future<Output = kube::Result<T>>) -> kube::Result<Option<T>> {
    match write.await {
        Ok(written) => Ok(Some(written)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}
