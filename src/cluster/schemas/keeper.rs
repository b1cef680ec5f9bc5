//! One Backend's schema: what is stored of it is read, and, where this replica leads, brought up to date.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Accepted, Listed, Listing, Offer, Owner, Schemas, Shared, Version, index::Index, names::Names,
    parts::Packed,
};
use crate::backoff;

mod read;
mod write;

/// The pauses between attempts that fail.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
/// How long the API server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is written that the backend still serves what is stored.
const CONFIRM: Duration = Duration::from_secs(600);
/// How often one and the same doubt is told.
const DOUBT: Duration = Duration::from_secs(60);
/// What is done again when somebody else is in the way, and how often.
const ATTEMPTS: usize = 5;

/// See the module.
pub(super) struct Keeper {
    api: Api<ConfigMap>,
    namespace: Arc<str>,
    owner: Owner,
    names: Names,
    listing: watch::Receiver<Listing>,
    leads: watch::Receiver<bool>,
    offered: watch::Receiver<Option<Offer>>,
    doubted: watch::Receiver<Option<String>>,
    shared: watch::Sender<Shared>,
    /// What was listed of it when [`Self::stored`] was read.
    looked_at: Option<BTreeMap<String, Listed>>,
    stored: Option<Stored>,
    /// What is about to be written.
    packed: Option<(Arc<Accepted>, Arc<Packed>)>,
    /// A doubt that is to be told.
    doubt: Option<String>,
    /// The last one, and when it was told.
    told_doubt: Option<(String, Instant)>,
    /// What the log was last told.
    told: Option<String>,
}

/// What the API server was found to have: an index, and what it names.
struct Stored {
    version: Version,
    index: Result<Index, String>,
    /// By name.
    parts: BTreeMap<String, Version>,
    /// The schema, or why there is none: what is wrong with which ConfigMap.
    schema: Result<Arc<Accepted>, String>,
}

/// Why something could not be done. It is tried again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The API server does not allow it.
    #[error(
        "{0}: {1}; grant the service account create, delete, get, list, update and watch on configmaps of its namespace, \
         as the Role kubridge of deploy/manifests/rbac.yaml does"
    )]
    Forbidden(String, String),
    /// It does not answer, or not as hoped.
    #[error("{0}: {1}")]
    Api(String, String),
    /// It does not answer in time.
    #[error("{0}: no answer within {PATIENCE:?}")]
    Late(String),
    /// Somebody else has written meanwhile.
    #[error("the ConfigMap {0} was written by somebody else meanwhile")]
    Contended(String),
    /// What there is cannot be watched.
    #[error(
        "ConfigMaps of the namespace {namespace} cannot be watched: {why}; where that stays, grant the service account \
         create, delete, get, list, update and watch on them, as the Role kubridge of deploy/manifests/rbac.yaml does"
    )]
    Unlisted { namespace: Arc<str>, why: Arc<str> },
}

impl Keeper {
    pub(super) fn new(
        schemas: &Schemas,
        owner: Owner,
        shared: watch::Sender<Shared>,
        offered: watch::Receiver<Option<Offer>>,
        doubted: watch::Receiver<Option<String>>,
    ) -> Self {
        let client: Client = schemas.client.clone();
        Self {
            api: Api::namespaced(client, &schemas.namespace),
            namespace: Arc::clone(&schemas.namespace),
            names: Names::new(&owner.name),
            owner,
            listing: schemas.listing.clone(),
            leads: schemas.leads.clone(),
            offered,
            doubted,
            shared,
            looked_at: None,
            stored: None,
            packed: None,
            doubt: None,
            told_doubt: None,
            told: None,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let done = self.step().await;
            failures = if done.is_ok() { 0 } else { failures + 1 };
            self.tell(done);
            let again = async {
                match failures {
                    0 => std::future::pending().await,
                    _ => sleep(backoff::after(failures, FIRST, LONGEST)).await,
                }
            };
            tokio::select! {
                () = again => {}
                Ok(()) = self.listing.changed() => {}
                Ok(()) = self.leads.changed() => {}
                Ok(()) = self.offered.changed() => {}
                Ok(()) = self.doubted.changed() => self.doubt = self.new_doubt(),
            }
        }
    }

    async fn step(&mut self) -> Result<(), Failure> {
        let listing = self.listing.borrow_and_update().clone();
        let leads = *self.leads.borrow_and_update();
        let offer = self.offered.borrow_and_update().clone();
        let known = match listing {
            Listing::Unknown => return Ok(()),
            Listing::Unreadable(why) => {
                return Err(Failure::Unlisted { namespace: Arc::clone(&self.namespace), why });
            }
            Listing::Known(known) => known,
        };
        let mine =
            known.iter().filter(|(name, listed)| listed.label == self.names.label && self.names.has(name));
        let mine = mine.map(|(name, listed)| (name.clone(), listed.clone())).collect();
        self.read(&mine).await?;
        self.publish();
        match (leads, offer) {
            (false, _) => self.pass_on_doubt().await?,
            (true, offer) => {
                if let Some(offer) = offer {
                    self.write(&offer).await?;
                    self.publish();
                }
                self.sweep(&mine).await?;
            }
        }
        Ok(())
    }

    /// A doubt that was not told lately.
    fn new_doubt(&mut self) -> Option<String> {
        let digest = self.doubted.borrow_and_update().clone()?;
        let lately = |(told, at): &(String, Instant)| *told == digest && at.elapsed() < DOUBT;
        (!self.told_doubt.as_ref().is_some_and(lately)).then_some(digest)
    }

    /// What is stored is what all serve. What cannot be used leaves the last good one.
    fn publish(&self) {
        self.shared.send_if_modified(|shared| {
            let mut changed = !std::mem::replace(&mut shared.is_known, true);
            let Some(Stored { index: Ok(index), schema: Ok(schema), .. }) = &self.stored else {
                return changed;
            };
            if shared.schema.as_ref().is_none_or(|present| !Arc::ptr_eq(present, schema)) {
                shared.schema = Some(Arc::clone(schema));
                changed = true;
            }
            if shared.confirmed_at != Some(index.confirmed_at) {
                shared.confirmed_at = Some(index.confirmed_at);
                changed = true;
            }
            changed
        });
    }

    /// Tells the log what is news, and whoever offers a schema why it is not shared.
    fn tell(&mut self, done: Result<(), Failure>) {
        let leads = *self.leads.borrow();
        let failure = match done {
            // Nothing is wrong: it is looked at again.
            Err(failure @ Failure::Contended(_)) => {
                tracing::debug!(backend = self.owner.name, %failure, "a schema is to be shared");
                return;
            }
            Err(failure) => Some(failure.to_string()),
            Ok(()) => None,
        };
        if let Some(failure) = failure.as_ref().filter(|failure| self.told.as_ref() != Some(failure)) {
            tracing::warn!(
                backend = self.owner.name,
                failure,
                "the schema that all replicas serve cannot be kept: each serves what it knows"
            );
        }
        let unshared = failure.as_deref().filter(|_| leads).map(Arc::from);
        self.told = failure;
        let is_known = !matches!(*self.listing.borrow(), Listing::Unknown);
        self.shared.send_if_modified(|shared| {
            let changed = shared.unshared != unshared || shared.is_known != is_known;
            shared.unshared = unshared;
            shared.is_known = is_known;
            changed
        });
    }
}

/// Whether it is time to write that something was confirmed.
fn is_due(written: SystemTime, confirmed: SystemTime) -> bool {
    confirmed.duration_since(written).is_ok_and(|since| since >= CONFIRM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_is_written_every_ten_minutes() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!is_due(at(1000), at(1000)) && !is_due(at(1000), at(1599)) && is_due(at(1000), at(1600)));
        assert!(!is_due(at(1000), at(0)), "a clock that was set back");
    }
}
