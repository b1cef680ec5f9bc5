//! What is written to Backends: their status, and that somebody holds them.

use kubridge_bridge::{
    proto::{Condition, Time},
    wire,
};
use prost::Message as _;

use super::FINALIZER;
use crate::registry::{
    Registry,
    local_caller::now,
    proto::backend::{Backend, BackendStatus},
    store::{Change, Key, StoreError},
};

/// The status with all of this said. What is of another type stays as it was, and so does the time of what has the same
/// status as before.
pub fn with_status(present: &BackendStatus, said: &BackendStatus, now: Time) -> BackendStatus {
    let mut conditions = present.conditions.clone();
    for said in &said.conditions {
        let before = conditions.iter_mut().find(|condition| condition.r#type == said.r#type);
        let since = before.as_ref().filter(|before| before.status == said.status);
        let since = since.and_then(|before| before.last_transition_time).unwrap_or(now);
        let said = Condition { last_transition_time: Some(since), ..said.clone() };
        match before {
            Some(before) => *before = said,
            None => conditions.push(said),
        }
    }
    BackendStatus { conditions, ..said.clone() }
}

/// Whether a status says all of this already.
pub fn is_status(present: &BackendStatus, said: &BackendStatus) -> bool {
    with_status(present, said, Time::default()) == with_status(present, present, Time::default())
        && present.endpoint == said.endpoint
        && present.observed_generation == said.observed_generation
}

impl Registry {
    /// Writes the status of a Backend, and nothing where it says the same already. Nothing either where there is no such
    /// Backend (any more), or it is another one of the same name.
    pub async fn set_backend_status(
        &self,
        name: &str,
        uid: &str,
        status: BackendStatus,
    ) -> Result<(), StoreError> {
        self.change(name, uid, move |backend| {
            let present = backend.status.clone().unwrap_or_default();
            (!is_status(&present, &status)).then(|| {
                let status = with_status(&present, &status, now());
                (3, status.encode_to_vec())
            })
        })
        .await
    }

    /// Sees to it that a Backend stays until it is let go.
    pub async fn hold_backend(&self, name: &str, uid: &str) -> Result<(), StoreError> {
        self.change(name, uid, |backend| {
            let mut metadata = backend.metadata.clone().unwrap_or_default();
            let held = metadata.deletion_timestamp.is_some()
                || metadata.finalizers.iter().any(|finalizer| finalizer == FINALIZER);
            metadata.finalizers.push(FINALIZER.to_owned());
            (!held).then(|| (1, metadata.encode_to_vec()))
        })
        .await
    }

    /// Lets a Backend go that is to be deleted.
    pub async fn let_backend_go(&self, name: &str, uid: &str) -> Result<(), StoreError> {
        let uid = uid.to_owned();
        let decide = move |old: Option<&crate::registry::store::Stored>| {
            let Some(old) = old else { return Ok(Change::Keep) };
            let backend = decode(&old.object)?;
            let mut metadata = backend.metadata.unwrap_or_default();
            if metadata.uid != uid || metadata.deletion_timestamp.is_none() {
                return Ok(Change::Keep);
            }
            metadata.finalizers.retain(|finalizer| finalizer != FINALIZER);
            if metadata.finalizers.is_empty() {
                return Ok(Change::Delete);
            }
            replaced(&old.object, 1, &metadata.encode_to_vec())
        };
        self.store.write(self.backend_key(name), false, decide).await.map(|_| ())
    }

    pub(super) async fn change(
        &self,
        name: &str,
        uid: &str,
        part: impl FnOnce(&Backend) -> Option<(u32, Vec<u8>)> + Send + 'static,
    ) -> Result<(), StoreError> {
        let uid = uid.to_owned();
        let decide = move |old: Option<&crate::registry::store::Stored>| {
            let Some(old) = old else { return Ok(Change::Keep) };
            let backend = decode(&old.object)?;
            if backend.metadata.as_ref().is_none_or(|metadata| metadata.uid != uid) {
                return Ok(Change::Keep);
            }
            match part(&backend) {
                None => Ok(Change::Keep),
                Some((number, bytes)) => replaced(&old.object, number, &bytes),
            }
        };
        self.store.write(self.backend_key(name), false, decide).await.map(|_| ())
    }

    fn backend_key(&self, name: &str) -> Key {
        Key { resource: self.backends.clone(), namespace: String::new(), name: name.into() }
    }
}

/// The object with another message in one of its fields. The rest keeps its bytes.
fn replaced(object: &[u8], number: u32, message: &[u8]) -> Result<Change, StoreError> {
    let mut changed = wire::without(object, |other| other == number)?;
    wire::put_bytes(&mut changed, number, message);
    Ok(Change::Put(changed))
}

fn decode(object: &[u8]) -> Result<Backend, StoreError> {
    Backend::decode(object)
        .map_err(|error| StoreError::Corrupt(format!("a Backend is not readable: {error}")))
}
