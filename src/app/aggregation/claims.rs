//! The APIServices that are made in our own store: what a `--backend` declares, and what a Backend claims.

use std::{collections::HashMap, sync::Arc};

use kubridge_bridge::model::Schema;

use super::look;
use crate::registry::{
    self, Applied, Claim, Declared, Owner, Registry, Snapshot, StoreError,
    backend::{self, api_service, refused},
    proto::apiregistration::ApiService,
};

/// See the module.
pub(super) struct Claims {
    /// What `--backend` named.
    urls: Vec<String>,
    /// The group-versions that were last applied for each of them.
    applied: HashMap<String, Vec<(String, String)>>,
    /// Backends may claim groups that end with .k8s.io.
    allow_k8s_io: bool,
    /// By the name of the Backend: the APIServices that were not made, and why.
    refused: HashMap<String, Vec<(String, String)>>,
    /// For which snapshot Backends were last seen to.
    seen: Option<Arc<Snapshot>>,
}

impl Claims {
    pub(super) fn new(urls: Vec<String>, allow_k8s_io: bool) -> Self {
        Self { urls, applied: HashMap::new(), allow_k8s_io, refused: HashMap::new(), seen: None }
    }

    pub(super) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The APIServices of a Backend that were not made, and why.
    pub(super) fn refused(&self, backend: &str) -> &[(String, String)] {
        self.refused.get(backend).map(Vec::as_slice).unwrap_or_default()
    }

    /// Claims what the `--backend`s declare; again when somebody deleted it, as Kubernetes does with what it manages.
    pub(super) async fn declared(
        &mut self,
        registry: &Registry,
        claims: &[Arc<Claim>],
        schema: impl Fn(&str) -> Option<Arc<Schema>>,
    ) {
        for url in &self.urls {
            let Some(schema) = schema(url) else { continue };
            let declared = look::declared(&schema);
            let claimed = |(group, version): &(String, String)| {
                claims.iter().any(|claim| claim.group == *group && claim.version == *version)
            };
            if self.applied.get(url) == Some(&declared) && declared.iter().all(claimed) {
                continue;
            }
            match registry.apply(&Owner::Backend(url.clone()), registry::claims(url, &declared)).await {
                Ok(outcome) => {
                    for (name, applied) in outcome {
                        log_applied(url, &name, &applied);
                    }
                    self.applied.insert(url.clone(), declared);
                }
                Err(error) => tracing::error!(%url, %error, "what the backend declares could not be claimed"),
            }
        }
    }

    /// Makes the APIServices of Backends what their claims say, and removes those of Backends that are gone.
    pub(super) async fn of_backends(&mut self, registry: &Registry, snapshot: &Arc<Snapshot>) {
        if self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, snapshot)) {
            return;
        }
        match self.reconcile(registry, snapshot).await {
            Ok(()) => self.seen = Some(Arc::clone(snapshot)),
            // The next change tries again.
            Err(error) => tracing::error!(%error, "the APIServices of Backends could not be written"),
        }
    }

    async fn reconcile(&mut self, registry: &Registry, snapshot: &Snapshot) -> Result<(), StoreError> {
        for owner in registry.owners::<ApiService>().await? {
            if matches!(&owner, Owner::Object(name) if !snapshot.backends.contains_key(name)) {
                registry.apply::<ApiService>(&owner, Vec::new()).await?;
            }
        }
        self.refused.retain(|name, _| snapshot.backends.contains_key(name));
        for backend in snapshot.backends.values() {
            let refused = self.claim(registry, backend).await?;
            self.refused.insert(backend.name.clone(), refused);
        }
        Ok(())
    }

    /// Gives the APIServices that were not made, and why.
    async fn claim(
        &self,
        registry: &Registry,
        backend: &Declared,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let Declared { name, uid, .. } = backend;
        let owner = Owner::Object(name.clone());
        if backend.is_deleted {
            registry.apply::<ApiService>(&owner, Vec::new()).await?;
            registry.let_backend_go(name, uid).await?;
            return Ok(Vec::new());
        }
        // What was claimed by a spec without faults stays until there is another without.
        let Ok(wanted) = &backend.wanted else { return Ok(Vec::new()) };
        registry.hold_backend(name, uid).await?;
        let mut not_made = Vec::new();
        let mut services = Vec::new();
        for wish in &wanted.claims {
            match refused(&wish.group, self.allow_k8s_io) {
                Some(why) => not_made.push((wish.api_service(), why)),
                None => services.push(api_service(name, wish)),
            }
        }
        for (service, applied) in registry.apply(&owner, services).await? {
            match applied {
                Applied::Conflict(other) => not_made.push((service, in_the_way(other.as_ref()))),
                Applied::Unchanged => {}
                Applied::Created | Applied::Updated | Applied::Removed => {
                    tracing::info!(backend = name, api_service = service, ?applied, "a Backend's claim");
                }
            }
        }
        Ok(not_made)
    }
}

fn in_the_way(owner: Option<&Owner>) -> String {
    match owner {
        None => backend::IN_THE_WAY.to_owned(),
        Some(Owner::Manifest(file)) => format!("the manifest {file} claims it: remove it there, or here"),
        Some(Owner::Backend(url)) => format!("--backend {url} claims it: remove it there, or here"),
        Some(Owner::Object(name)) => format!("the Backend {name} claims it: remove it there, or here"),
    }
}

fn log_applied(url: &str, name: &str, applied: &Applied) {
    match applied {
        Applied::Conflict(owner) => tracing::warn!(
            %url, api_service = name, ?owner,
            "the backend declares a group and version that somebody else claims; it is left alone"
        ),
        Applied::Unchanged => {}
        Applied::Created | Applied::Updated | Applied::Removed => {
            tracing::info!(%url, api_service = name, ?applied, "claimed what the backend declares");
        }
    }
}
