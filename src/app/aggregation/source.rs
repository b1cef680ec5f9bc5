//! Where claims come from: our own store, or the cluster.

use std::sync::Arc;

use anyhow::Context as _;
use kubridge_bridge::{model::Api, proto::Condition};
use tokio::sync::watch;

use super::report::BackendReport;
use crate::{
    authz::Authorizer,
    availability::claims_accepted,
    proxy::Backend,
    registry::{self, Claim, Registry, Snapshot, proto::apiregistration::ApiServiceCondition},
};

/// Who keeps the APIServices.
#[derive(Debug)]
pub(in super::super) enum Source {
    /// This process: it serves them too, and writes their status.
    Embedded(Registry, Authorizer),
    /// The cluster, where the kube-apiserver does both.
    Cluster {
        /// What is claimed. Nothing: not known yet.
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        /// How the Backends are: the replica that leads writes it.
        reports: watch::Sender<Arc<[BackendReport]>>,
    },
}

impl Source {
    /// Our own kinds and who has their objects, where they are served here.
    pub(super) fn own_kinds(&self) -> anyhow::Result<Vec<(Arc<Api>, Backend)>> {
        let Self::Embedded(registry, authorizer) = self else { return Ok(Vec::new()) };
        let own = registry::own_kinds()
            .map_err(|faults| anyhow::anyhow!("{faults:?}"))
            .context("the built-in APIs have faults")?;
        let backend = |api: &Api| match api.group.as_str() {
            "authentication.k8s.io" | "authorization.k8s.io" => Backend::Review(authorizer.clone()),
            _ => Backend::Store(registry.caller()),
        };
        Ok(own.apis.into_iter().map(|api| (Arc::clone(&api), backend(&api))).collect())
    }

    /// Our own store, if there is one.
    pub(super) fn registry(&self) -> Option<&Registry> {
        match self {
            Self::Embedded(registry, _) => Some(registry),
            Self::Cluster { .. } => None,
        }
    }

    /// What is claimed now; nothing: that is not known yet.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        match self {
            Self::Embedded(registry, _) => Some(Arc::clone(&registry.snapshots().borrow())),
            Self::Cluster { snapshots, .. } => snapshots.borrow().clone(),
        }
    }

    /// Tells of changes.
    pub(super) fn changes(&self) -> Changes {
        match self {
            Self::Embedded(registry, _) => Changes::Embedded(registry.snapshots()),
            Self::Cluster { snapshots, .. } => Changes::Cluster(snapshots.clone()),
        }
    }

    /// Writes what is to be said of a claim. In a cluster the kube-apiserver says it: there it goes to the log.
    pub(super) async fn say(&self, claim: &Claim, conditions: Vec<Condition>) {
        let Self::Embedded(registry, _) = self else {
            for Condition { r#type, status, reason, message, .. } in conditions {
                tracing::info!(
                    api_service = claim.name,
                    r#type,
                    status,
                    reason,
                    message,
                    "an APIService's state"
                );
            }
            return;
        };
        let conditions = conditions.into_iter().map(written).collect();
        if let Err(error) = registry.set_conditions(&claim.name, &claim.uid, conditions).await {
            tracing::error!(api_service = claim.name, %error, "conditions could not be written");
        }
    }
}

impl Source {
    /// Has it written how Backends are. `refused`: what was not claimed of one, where our own store says so.
    pub(super) async fn report<'a>(
        &self,
        reports: Vec<BackendReport>,
        refused: impl Fn(&str) -> &'a [(String, String)],
    ) {
        let registry = match self {
            Self::Embedded(registry, _) => registry,
            Self::Cluster { reports: sender, .. } => {
                sender.send_if_modified(|present| {
                    let changed = **present != *reports;
                    if changed {
                        *present = reports.into();
                    }
                    changed
                });
                return;
            }
        };
        for BackendReport { name, uid, mut status } in reports {
            let claims = claims_accepted(refused(&name));
            status.conditions.push(Condition { observed_generation: status.observed_generation, ..claims });
            if let Err(error) = registry.set_backend_status(&name, &uid, status).await {
                tracing::error!(backend = name, %error, "the status of a Backend could not be written");
            }
        }
    }
}

/// Changes of what is claimed.
#[derive(Debug)]
pub(super) enum Changes {
    Embedded(watch::Receiver<Arc<Snapshot>>),
    Cluster(watch::Receiver<Option<Arc<Snapshot>>>),
}

impl Changes {
    /// Waits for the next; an error: there will be none.
    pub(super) async fn next(&mut self) -> Result<(), watch::error::RecvError> {
        match self {
            Self::Embedded(snapshots) => snapshots.changed().await,
            Self::Cluster(snapshots) => snapshots.changed().await,
        }
    }
}

/// Without its time, which is the registry's.
fn written(condition: Condition) -> ApiServiceCondition {
    ApiServiceCondition {
        r#type: condition.r#type,
        status: condition.status,
        reason: condition.reason,
        message: condition.message,
        last_transition_time: None,
    }
}
