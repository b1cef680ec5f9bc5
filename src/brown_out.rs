//! What is answered in the place of a gRPC backend that cannot be reached, where its Backend object says so.
//!
//! A backend cannot be reached when a call fails in the transport, or with UNAVAILABLE: a proxy or a load balancer before
//! it answers so when it is gone. Any other status is its own answer and reaches the client as ever. While it is known to
//! be away nobody waits for it.
//!
//! | policy | what is answered in its place |
//! |---|---|
//! | [`Policy::Snapshot`] | get and list, from what was last listed |
//! | [`Policy::AssumeEmpty`] | the namespace controller, in a namespace that is being deleted: that nothing is there |
//!
//! Writes and watches fail as ever. All of it is below the verbs, between them and the backend: what a client selects,
//! and in which form it reads it, is the verbs' business here as elsewhere.
//!
//! | module | what it does |
//! |---|---|
//! | `controllers` | who is not to be answered from memory, because what they do cannot be undone |
//! | `keeper` | lists each resource now and then |
//! | `slot` | the resources that are listed, and what is kept of each |
//! | `snapshot` | what was listed: objects, pages |
//! | `reading` | one get or list, answered from that |
//! | `sweep` | one request of the namespace controller |
//! | `stand_in` | the caller of one request |

mod controllers;
mod keeper;
mod reading;
mod slot;
mod snapshot;
mod stand_in;
mod sweep;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::BoxFuture;
use kubridge_bridge::{
    caller::{CallError, Code, Ran, TransportKind},
    model::Resource,
};
use tokio::sync::watch;

use crate::metrics::BrownOuts;
use reading::Reading;
pub use slot::Snapshots;
pub use stand_in::StandIn;
use sweep::Sweep;
pub use sweep::Sweeps;

/// What is done while a backend cannot be reached. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Policy {
    /// Reads are answered from what was last listed.
    Snapshot(Snapshots),
    /// A namespace that is being deleted is taken to have none of its objects.
    AssumeEmpty(Sweeps),
}

/// Whether a backend answers nothing. Cheap to clone.
#[derive(Clone)]
pub struct Away {
    is_so: watch::Receiver<bool>,
    knock: Arc<dyn Fn() + Send + Sync>,
}

impl Away {
    /// `knock`: has it looked whether the backend is back, for a client that would have called it.
    pub fn new(is_so: watch::Receiver<bool>, knock: impl Fn() + Send + Sync + 'static) -> Self {
        Self { is_so, knock: Arc::new(knock) }
    }

    /// Whether a client is to be answered without a call.
    fn for_client(&self) -> bool {
        let is_so = *self.is_so.borrow();
        if is_so {
            (self.knock)();
        }
        is_so
    }
}

impl fmt::Debug for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Away").field(&*self.is_so.borrow()).finish()
    }
}

/// A request, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Who asks.
    pub user: &'a str,
    /// Kubernetes' verb.
    pub verb: &'a str,
    /// Empty: cluster-scoped, or all namespaces.
    pub namespace: &'a str,
    /// Empty: a collection.
    pub name: &'a str,
    /// As sent.
    pub query: &'a str,
}

/// Whether the namespace of a request is being deleted.
pub type Terminating = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// How one request is answered if its backend cannot be reached.
#[derive(Debug)]
pub struct Plan {
    way: Way,
    counts: Option<Arc<BrownOuts>>,
    told: OnceLock<Told>,
}

#[derive(Debug)]
enum Way {
    Read(Reading),
    Sweep(Sweep),
}

/// What became of a request whose backend could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It was answered in the backend's place.
    Answered {
        /// For the client.
        warning: String,
        /// How old the answer is.
        age: Option<Duration>,
    },
    /// It could not be. Why, for the client: "nothing was listed yet".
    Unanswered(String),
}

impl Policy {
    /// How a request is answered if the backend cannot be reached; `None`: it fails then. `terminating`: how it is found out
    /// whether the request's namespace is being deleted, in a cluster.
    pub fn plan(
        &self,
        asked: Asked<'_>,
        resource: &Arc<Resource>,
        terminating: impl FnOnce() -> Option<Terminating>,
    ) -> Option<Arc<Plan>> {
        let (way, counts) = match self {
            Self::Snapshot(snapshots) if matches!(asked.verb, "get" | "list") => {
                let reading = snapshots.reading(asked, resource);
                let counts = reading.counts();
                (Way::Read(reading), counts)
            }
            Self::AssumeEmpty(sweeps) if controllers::sweeps(asked) => {
                let sweep = sweeps.sweep(asked, resource, terminating()?);
                (Way::Sweep(sweep), Some(sweeps.counts(resource)))
            }
            Self::Snapshot(_) | Self::AssumeEmpty(_) => return None,
        };
        Some(Arc::new(Plan { way, counts, told: OnceLock::new() }))
    }
}

/// Whether a failed call says that the backend cannot be reached, and not what it thinks of the call.
fn is_unreachable(error: &CallError) -> bool {
    match error {
        CallError::Status(status) => status.code == Code::Unavailable,
        CallError::Transport(failure) => match failure.kind {
            TransportKind::Unavailable | TransportKind::Broken => true,
            // There was no connection in all that time. A slow backend is there.
            TransportKind::Deadline => failure.ran == Ran::No,
            TransportKind::Overloaded | TransportKind::Cancelled | TransportKind::Protocol => false,
        },
    }
}

#[cfg(test)]
mod tests;
