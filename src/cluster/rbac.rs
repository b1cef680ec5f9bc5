//! The cluster's Roles and their bindings, watched: who may what, as far as RBAC says it, without asking anybody.
//!
//! What is known is believed for [`GOOD`] at most: so long ago, or later, it was all that there was. A watch that is cut off,
//! or that merely falls silent, takes the belief with it.

mod policy;
mod watch;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::{Api, Client};
use tokio::{join, sync::mpsc, time::Instant};

use policy::Kind;
pub use policy::Policy;
use watch::{Heard, watch};

/// How old what is known may be: as old as an answer of the API server's that is remembered.
pub const GOOD: Duration = Duration::from_secs(10);
/// For how long the kube-apiserver's own RBAC may not have seen what was seen here.
pub const SETTLING: Duration = Duration::from_secs(5);
/// What is heard and not looked at yet.
const HEARD: usize = 256;

/// The cluster's Roles and bindings. Cheap to clone.
#[derive(Clone, Default)]
pub struct Rbac(Arc<ArcSwap<Known>>);

#[derive(Default)]
struct Known {
    policy: Policy,
    /// Of each kind: the moment of which, or of a later one, all is known.
    as_of: [Option<Instant>; Kind::ALL.len()],
    changed: Option<Instant>,
}

/// A [`Policy`] that is good now.
pub struct Current(arc_swap::Guard<Arc<Known>>);

impl Rbac {
    /// The second one must be run: without it nothing is known.
    pub fn new(client: Client) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let this = Self::default();
        let (tell, heard) = mpsc::channel(HEARD);
        let cluster_roles = watch(Kind::ClusterRoles, Api::<ClusterRole>::all(client.clone()), tell.clone());
        let cluster_bindings =
            watch(Kind::ClusterRoleBindings, Api::<ClusterRoleBinding>::all(client.clone()), tell.clone());
        let roles = watch(Kind::Roles, Api::<Role>::all(client.clone()), tell.clone());
        let bindings = watch(Kind::RoleBindings, Api::<RoleBinding>::all(client), tell);
        let keep = keep(this.clone(), heard);
        (this, async move {
            join!(cluster_roles, cluster_bindings, roles, bindings, keep);
        })
    }

    /// The Roles and bindings; `None`: not all of them are known, or not as of late.
    pub fn current(&self) -> Option<Current> {
        let known = self.0.load();
        let oldest = known.as_of.iter().copied().min().flatten()?;
        (oldest.elapsed() < GOOD).then_some(Current(known))
    }

    /// Whether something has changed so lately that the kube-apiserver may decide by what was before it.
    pub fn is_settling(&self) -> bool {
        self.0.load().changed.is_some_and(|changed| changed.elapsed() < SETTLING)
    }
}

impl std::ops::Deref for Current {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.0.policy
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Current").field(&self.0.as_of).finish()
    }
}

impl fmt::Debug for Rbac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rbac").field("as_of", &self.0.load().as_of).finish_non_exhaustive()
    }
}

async fn keep(rbac: Rbac, mut heard: mpsc::Receiver<(Kind, Heard)>) {
    let mut policy = Policy::default();
    let mut as_of = [None; Kind::ALL.len()];
    let mut changed = None;
    let mut lost = [false; Kind::ALL.len()];
    while let Some(first) = heard.recv().await {
        let mut next = Some(first);
        // Many changes at once are published once.
        while let Some((kind, one)) = next {
            let is_lost = &mut lost[kind as usize];
            match one {
                Heard::All(objects, at) => {
                    policy.replace(kind, objects);
                    (as_of[kind as usize], changed, *is_lost) = (Some(at), Some(Instant::now()), false);
                }
                Heard::Put(object) => {
                    policy.put(object);
                    changed = Some(Instant::now());
                }
                Heard::Gone(object) => {
                    policy.remove(&object);
                    changed = Some(Instant::now());
                }
                Heard::Current(at) => (as_of[kind as usize], *is_lost) = (Some(at), false),
                Heard::Lost(why) => {
                    *is_lost = true;
                    if lost.iter().filter(|lost| **lost).count() == 1 {
                        tracing::warn!(
                            ?kind,
                            why,
                            "Roles and bindings cannot be watched: the API server is asked who may (where this stays, give \
                             Kubridge's service account what deploy/components/local-rbac has, or leave --local-rbac out)"
                        );
                    }
                }
            }
            next = heard.try_recv().ok();
        }
        rbac.0.store(Arc::new(Known { policy: policy.clone(), as_of, changed }));
    }
}

#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;
