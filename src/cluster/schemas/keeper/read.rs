//! What is stored, read.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::ConfigMap;
use tokio::time::timeout;

use super::{ATTEMPTS, Failure, Keeper, PATIENCE, Stored};
use crate::cluster::schemas::{
    Accepted, Listed, Version,
    index::Index,
    owners,
    parts::{MAX_PARTS, join},
};

/// The key of a part's bytes.
pub(super) const DESCRIPTORS: &str = "descriptors.gz";

impl Keeper {
    /// Looks at the index and what it names, where anything that is listed has changed. `mine`: what may be the Backend's.
    pub(super) async fn read(&mut self, mine: &BTreeMap<String, Listed>) -> Result<(), Failure> {
        if self.looked_at.as_ref() == Some(mine) {
            return Ok(());
        }
        let stored = self.find(mine).await?;
        let faults = |stored: &Option<Stored>| {
            stored.as_ref().and_then(|stored| stored.schema.as_ref().err().cloned())
        };
        if let Some(fault) = faults(&stored).filter(|fault| faults(&self.stored).as_ref() != Some(fault)) {
            tracing::warn!(
                backend = self.owner.name,
                namespace = &*self.namespace,
                "{fault}; the last good schema stays in use. Delete that ConfigMap: the replica that leads stores the \
                 schema again when it has read it of the backend"
            );
        }
        self.stored = stored;
        self.looked_at = Some(mine.clone());
        Ok(())
    }

    async fn find(&mut self, mine: &BTreeMap<String, Listed>) -> Result<Option<Stored>, Failure> {
        let name = self.names.index();
        // What this replica has just written may not be listed yet.
        if !mine.contains_key(&name) && self.stored.is_none() {
            return Ok(None);
        }
        let mut index = self.get(&name).await?;
        for _ in 0..ATTEMPTS {
            let Some(found) = index.filter(|found| self.is_ours(found)) else { return Ok(None) };
            let version = Version::of(&found);
            let parsed = Index::parse(&found.data.unwrap_or_default());
            let parsed = match parsed {
                Ok(parsed) => parsed,
                Err(problem) => {
                    let fault = format!("the ConfigMap {name} is damaged: {problem}");
                    let (index, schema) = (Err(fault.clone()), Err(fault));
                    return Ok(Some(Stored { version, index, parts: BTreeMap::new(), schema }));
                }
            };
            self.take_note_of_doubts(&parsed);
            if let Some(stored) = self.unchanged(&version, &parsed, mine) {
                return Ok(Some(stored));
            }
            let (parts, schema) = match self.assemble(&parsed).await? {
                Ok((parts, schema)) => (parts, Ok(self.same_or(schema))),
                Err(fault) => {
                    // They were removed because the index names others by now?
                    index = self.get(&name).await?;
                    if index.as_ref().is_some_and(|again| Version::of(again) != version) {
                        continue;
                    }
                    (BTreeMap::new(), Err(fault))
                }
            };
            return Ok(Some(Stored { version, index: Ok(parsed), parts, schema }));
        }
        Err(Failure::Contended(name))
    }

    /// What was read before, where it is still what the index names, and still there.
    fn unchanged(&self, version: &Version, index: &Index, mine: &BTreeMap<String, Listed>) -> Option<Stored> {
        let Stored { index: Ok(before), parts, schema: Ok(schema), .. } = self.stored.as_ref()? else {
            return None;
        };
        if (&before.digest, before.parts, &before.etag) != (&index.digest, index.parts, &index.etag) {
            return None;
        }
        // The list is as new as the index: what it lacks is not there.
        let is_new = mine.get(&self.names.index()).is_some_and(|listed| listed.version == *version);
        let stands = |(name, version): (&String, &Version)| {
            mine.get(name).is_some_and(|listed| listed.version == *version)
        };
        if is_new && !parts.iter().all(stands) {
            return None;
        }
        Some(Stored {
            version: version.clone(),
            index: Ok(index.clone()),
            parts: parts.clone(),
            schema: Ok(Arc::clone(schema)),
        })
    }

    /// The parts that an index names, and what they are together; inside: what is wrong with which ConfigMap.
    async fn assemble(
        &self,
        index: &Index,
    ) -> Result<Result<(BTreeMap<String, Version>, Accepted), String>, Failure> {
        let (mut versions, mut parts) = (BTreeMap::new(), Vec::new());
        for number in 0..index.parts.min(MAX_PARTS) {
            let name = self.names.part(&index.digest, number);
            let Some(part) = self.get(&name).await? else {
                return Ok(Err(format!(
                    "the ConfigMap {name}, which {} names, is missing",
                    self.names.index()
                )));
            };
            versions.insert(name.clone(), Version::of(&part));
            let bytes = part.binary_data.and_then(|mut data| data.remove(DESCRIPTORS));
            let Some(bytes) = bytes else {
                return Ok(Err(format!("the ConfigMap {name} is damaged: it has no {DESCRIPTORS}")));
            };
            parts.push(bytes.0);
        }
        let (expected, first) = (index.digest.clone(), self.names.part(&index.digest, 0));
        let joined = tokio::task::spawn_blocking(move || join(&parts, &expected)).await;
        let joined =
            joined.map_err(|error| Failure::Api("a schema cannot be read".to_owned(), error.to_string()))?;
        Ok(joined
            .map(|bytes| {
                let schema = Accepted {
                    bytes,
                    etag: index.etag.clone(),
                    source: index.source.clone(),
                    accepted_at: index.accepted_at,
                };
                (versions, schema)
            })
            .map_err(|damage| {
                format!("the ConfigMap {first} or one that belongs to it is damaged: {damage}")
            }))
    }

    /// The schema that is served already, where it is the same.
    fn same_or(&self, schema: Accepted) -> Arc<Accepted> {
        let shared = self.shared.borrow().schema.clone();
        shared.filter(|present| **present == schema).unwrap_or_else(|| Arc::new(schema))
    }

    /// A doubt that is new in the index is told to this replica's reader: it acts where it leads.
    fn take_note_of_doubts(&self, index: &Index) {
        let before = self.stored.as_ref().and_then(|stored| stored.index.as_ref().ok());
        let known = before.and_then(|before| before.doubted.as_ref());
        if index.doubted.is_some() && index.doubted.as_ref() != known {
            self.shared.send_modify(|shared| shared.doubts += 1);
        }
    }

    /// Whether the Backend owns it, not one that had its name before.
    pub(super) fn is_ours(&self, object: &ConfigMap) -> bool {
        owners(object).contains(&self.owner.uid)
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<ConfigMap>, Failure> {
        self.ask(format!("the ConfigMap {}/{name} cannot be read", self.namespace), self.api.get_opt(name))
            .await
    }

    /// Waits for an answer, for a while. `what`: what is not done without one.
    pub(super) async fn ask<T>(
        &self,
        what: String,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Err(Failure::Forbidden(what, status.message.clone()))
            }
            Ok(Err(error)) => Err(Failure::Api(what, error.to_string())),
            Err(_) => Err(Failure::Late(what)),
        }
    }
}
