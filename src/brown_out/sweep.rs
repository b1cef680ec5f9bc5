//! A namespace is being deleted, and the backend that may have objects in it cannot be reached: the namespace controller is
//! told that there are none.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use kubridge_bridge::{model::Resource, status::qualified};

use super::{Asked, Away, Terminating, Told};
use crate::metrics::{BrownOuts, Metrics};

/// So many are remembered, so that the log is told once of each.
const LOGGED: usize = 1024;

/// The namespaces that were emptied without one backend. Clones are one.
#[derive(Clone)]
pub struct Sweeps(Arc<Inner>);

struct Inner {
    /// The backend's name.
    backend: Box<str>,
    /// Whether it answers nothing.
    away: Away,
    /// Namespaces and resources that the log was told of.
    logged: Mutex<HashSet<(Box<str>, String)>>,
    metrics: Arc<Metrics>,
    /// By group, version and plural: a counter ends with its last handle.
    counts: Mutex<HashMap<[String; 3], Arc<BrownOuts>>>,
}

/// One request of the namespace controller.
pub(super) struct Sweep {
    sweeps: Sweeps,
    resource: Arc<Resource>,
    namespace: Box<str>,
    terminating: Terminating,
}

impl Sweeps {
    /// Of the backend of this name. `away`: whether it answers nothing.
    pub fn new(backend: &str, away: Away, metrics: &Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            backend: backend.into(),
            away,
            logged: Mutex::default(),
            metrics: Arc::clone(metrics),
            counts: Mutex::default(),
        }))
    }

    /// The counters of a resource.
    pub(super) fn counts(&self, resource: &Resource) -> Arc<BrownOuts> {
        let [group, version, plural] = [&resource.group, &resource.version, &resource.plural];
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of = counts.entry([group.clone(), version.clone(), plural.clone()]);
        Arc::clone(of.or_insert_with(|| self.0.metrics.brown_outs(group, version, plural)))
    }

    pub(super) fn sweep(
        &self,
        asked: Asked<'_>,
        resource: &Arc<Resource>,
        terminating: Terminating,
    ) -> Sweep {
        let (sweeps, resource) = (self.clone(), Arc::clone(resource));
        Sweep { sweeps, resource, namespace: asked.namespace.into(), terminating }
    }
}

impl Sweep {
    /// Whether a call lists or deletes the collection.
    pub(super) fn wants(&self, path: &str) -> bool {
        let methods = &self.resource.methods;
        [&methods.list, &methods.delete_collection].into_iter().flatten().any(|method| *method.path == *path)
    }

    pub(super) fn is_away(&self) -> bool {
        self.sweeps.0.away.for_client()
    }

    /// That nothing is there, or nothing is left; and what the client is told of it.
    ///
    /// # Errors
    /// The namespace is not being deleted, or nobody knows: for the client.
    pub(super) async fn answer(&self) -> Result<(Vec<Bytes>, Told), String> {
        if !(self.terminating)().await {
            return Err("it is assumed empty only in a namespace that is being deleted".into());
        }
        let Inner { backend, logged, .. } = &*self.sweeps.0;
        let of = qualified(&self.resource.group, &self.resource.plural);
        let key = (self.namespace.clone(), of.clone());
        let news = {
            let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
            if logged.len() >= LOGGED {
                logged.clear();
            }
            logged.insert(key)
        };
        if news {
            tracing::info!(
                backend = &**backend,
                namespace = &*self.namespace,
                resource = of,
                "the backend cannot be reached: the namespace controller is told that nothing of it is in a namespace that \
                 is being deleted; objects may remain in the backend"
            );
        }
        let warning = format!(
            "the backend {backend:?} cannot be reached: namespace {:?} is taken to have no {of}; objects may remain in \
             the backend",
            self.namespace
        );
        // A message without fields: an empty list.
        Ok((vec![Bytes::new()], Told::Answered { warning, age: None }))
    }
}

impl fmt::Debug for Sweeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweeps").field("backend", &self.0.backend).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep")
            .field("backend", &self.sweeps.0.backend)
            .field("resource", &self.resource.plural)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}
