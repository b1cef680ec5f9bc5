//! What is answered while a backend cannot be reached: as its Backend object says.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::watch;

use super::backends::Key;
use crate::{
    availability::Verdict,
    brown_out::{Away, Policy, Snapshots, Sweeps},
    metrics::Metrics,
    registry::BrownOut,
    upstream,
};

/// A policy, and what must run with the backend.
pub(super) struct Watched {
    pub(super) policy: Policy,
    pub(super) work: BoxFuture<'static, ()>,
}

/// What is to be done for a gRPC backend; `None`: its requests fail while it is away.
pub(super) fn start(
    key: &Key,
    backend: &upstream::Backend,
    verdict: watch::Receiver<Verdict>,
    metrics: &Arc<Metrics>,
) -> Option<Watched> {
    let named = key.backend.as_ref()?;
    let (tell, away) = watch::channel(verdict.borrow().is_away());
    let knocked = backend.clone();
    let away = Away::new(away, move || knocked.knock());
    let follow = follow(verdict, tell);
    Some(match named.brown_out {
        BrownOut::Fail => return None,
        BrownOut::Snapshot => {
            let (snapshots, keeper) = Snapshots::new(&named.name, away, metrics);
            let work = futures::future::join(follow, keeper).map(|_| ());
            Watched { policy: Policy::Snapshot(snapshots), work: work.boxed() }
        }
        BrownOut::AssumeEmpty => {
            let sweeps = Sweeps::new(&named.name, away, metrics);
            Watched { policy: Policy::AssumeEmpty(sweeps), work: follow.boxed() }
        }
    })
}

/// Tells whether the backend answers nothing, as it changes.
async fn follow(mut verdict: watch::Receiver<Verdict>, away: watch::Sender<bool>) {
    loop {
        let is_away = verdict.borrow_and_update().is_away();
        away.send_if_modified(|was| std::mem::replace(was, is_away) != is_away);
        if verdict.changed().await.is_err() {
            return;
        }
    }
}
