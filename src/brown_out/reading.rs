//! One get or list of a backend that cannot be reached, answered from what was last listed.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use kubridge_bridge::{
    model::Resource,
    options::{self, ListOptions},
    status::qualified,
};

use super::{
    Asked, Told, controllers,
    slot::{Inner, Kept, Lack, Slot},
    snapshot::{Page, Snapshot, is_token},
};
use crate::{metrics::BrownOuts, telemetry::timestamp};

/// See the module.
pub(super) struct Reading {
    inner: Arc<Inner>,
    resource: Arc<Resource>,
    slot: Option<Arc<Slot>>,
    namespace: Box<str>,
    /// Empty: a list.
    name: Box<str>,
    query: Box<str>,
    /// What is done by the answer cannot be undone.
    decides: bool,
}

/// What the verb calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Answered with the object.
    Object,
    /// Answered with a list; of a get, too, where the backend has no Get.
    List,
}

impl Reading {
    pub(super) fn new(
        inner: Arc<Inner>,
        resource: Arc<Resource>,
        slot: Option<Arc<Slot>>,
        asked: Asked<'_>,
    ) -> Self {
        let Asked { namespace, name, query, verb, .. } = asked;
        // Of a list the name is a selector's.
        let name = if verb == "get" { name } else { "" };
        let decides = controllers::decides(asked);
        let (namespace, name, query) = (namespace.into(), name.into(), query.into());
        Self { inner, resource, slot, namespace, name, query, decides }
    }

    /// What a call is for; `None`: it is none that is answered here.
    pub(super) fn wants(&self, path: &str) -> Option<Wanted> {
        let methods = &self.resource.methods;
        if methods.list.as_ref().is_some_and(|list| *list.path == *path) {
            return Some(Wanted::List);
        }
        let get = methods.get.as_ref().is_some_and(|get| *get.path == *path);
        (get && !self.name.is_empty()).then_some(Wanted::Object)
    }

    pub(super) fn counts(&self) -> Option<Arc<BrownOuts>> {
        self.slot.as_ref().map(|slot| Arc::clone(&slot.counts))
    }

    pub(super) fn is_away(&self) -> bool {
        self.inner.away.for_client()
    }

    /// A list that was begun in a snapshot: it is read on there, whether or not the backend is back. `None`: it was not.
    /// An error: that snapshot is gone.
    pub(super) fn goes_on(&self) -> Option<Result<(Vec<Bytes>, Told), Expired>> {
        let options = self.list_options();
        is_token(&options.r#continue).then(|| {
            let kept = self.slot.as_ref().map(|slot| slot.kept.load_full()).ok_or(Expired)?;
            let Kept::Snapshot(snapshot) = &*kept else { return Err(Expired) };
            let messages = snapshot.page(&self.page(&options)).ok_or(Expired)?;
            Ok((messages, self.told(snapshot)))
        })
    }

    /// The messages of the answer, and what the client is told of it.
    ///
    /// # Errors
    /// Why there is none, for the client.
    pub(super) fn answer(&self, wanted: Wanted) -> Result<(Vec<Bytes>, Told), String> {
        if self.decides {
            return Err(
                "controllers that delete by what they are told are not answered from an earlier list".into(),
            );
        }
        let Some(slot) = &self.slot else {
            let why = if self.resource.per_user { "what it lists depends on who asks" } else { NOT_LISTED };
            return Err(why.into());
        };
        let kept = slot.kept.load_full();
        let snapshot = match &*kept {
            Kept::Snapshot(snapshot) => snapshot,
            Kept::Nothing(Lack::NotListed) => return Err(NOT_LISTED.into()),
            Kept::Nothing(Lack::Failed) => return Err("it could not be listed; see Kubridge's log".into()),
            Kept::Nothing(Lack::TooLarge) => {
                return Err(format!(
                    "there is more of it than the {} MiB that are kept",
                    self.inner.limit >> 20
                ));
            }
        };
        let messages = self.messages(snapshot, wanted)?;
        if slot.is_first_use() {
            tracing::info!(
                backend = &*self.inner.backend,
                group = self.resource.group,
                resource = self.resource.plural,
                objects = snapshot.len(),
                listed = timestamp(snapshot.taken),
                "the backend cannot be reached: reads are answered from what it last listed"
            );
        }
        Ok((messages, self.told(snapshot)))
    }

    fn messages(&self, snapshot: &Snapshot, wanted: Wanted) -> Result<Vec<Bytes>, String> {
        let old = || {
            let taken = timestamp(snapshot.taken);
            format!("what it last listed, at {taken}, is not of the resourceVersion that is asked for")
        };
        if self.name.is_empty() {
            let options = self.list_options();
            if !options.r#continue.is_empty() {
                return Err("a list that the backend began is not continued from an earlier one".into());
            }
            if !snapshot.is_as_new_as(&options.resource_version, options.resource_version_match == "Exact") {
                return Err(old());
            }
            return Ok(snapshot.page(&self.page(&options)).unwrap_or_default());
        }
        let version = options::get_options(&self.query).unwrap_or_default().resource_version;
        if !snapshot.is_as_new_as(&version, false) {
            return Err(old());
        }
        // What is not in it may have been made since: that is no 404.
        let object = snapshot.get(&self.namespace, &self.name).ok_or_else(|| {
            format!("{:?} is not in what it last listed, at {}", self.name, timestamp(snapshot.taken))
        })?;
        Ok(match wanted {
            Wanted::Object => vec![object],
            Wanted::List => snapshot.one(&object),
        })
    }

    fn told(&self, snapshot: &Snapshot) -> Told {
        let warning = format!(
            "the backend {:?} cannot be reached: this is what it listed of {} at {}",
            self.inner.backend,
            qualified(&self.resource.group, &self.resource.plural),
            timestamp(snapshot.taken)
        );
        let age = SystemTime::now().duration_since(snapshot.taken).unwrap_or(Duration::ZERO);
        Told::Answered { warning, age: Some(age) }
    }

    /// The verbs have read and checked them.
    fn list_options(&self) -> kubridge_bridge::proto::ListOptions {
        ListOptions::parse(&self.query, false).unwrap_or_default().wire
    }

    fn page<'a>(&'a self, options: &'a kubridge_bridge::proto::ListOptions) -> Page<'a> {
        // Who cannot page is told everything: a token would be refused.
        let pages = self.resource.methods.list.as_ref().is_some_and(|list| list.pages());
        let limit = if pages { usize::try_from(options.limit).unwrap_or_default() } else { 0 };
        Page { namespace: &self.namespace, limit, token: &options.r#continue }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("backend", &self.inner.backend)
            .field("resource", &self.resource.plural)
            .finish_non_exhaustive()
    }
}

/// The snapshot of a continue token is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired;

const NOT_LISTED: &str = "it was not listed yet since Kubridge started";
