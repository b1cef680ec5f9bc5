//! One kind, watched so that it is known up to when it is known.

use std::{fmt::Debug, time::Duration};

use futures::TryStreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, WatchParams},
    core::WatchEvent,
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::mpsc,
    time::{Instant, error::Elapsed, sleep, timeout, timeout_at},
};

use super::policy::{Kind, Object};
use crate::{cluster::Pauses, telemetry::error_chain};

/// How long a watch is, in seconds. Watches are short since one that lasts as long as was asked for shows that nothing is
/// missing: what there was when it began is told first. Bookmarks show it too; a kube-apiserver sends none where nothing
/// happens.
const SECONDS: u32 = 3;
/// How long the API server may take to answer, and a watch to end after its time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Objects that are listed at once.
const PAGE: u32 = 500;
/// What is too old to be watched from. HTTP's Gone.
const GONE: u16 = 410;

/// What becomes known.
#[derive(Debug)]
pub(super) enum Heard {
    /// All there were at that moment, or a later one.
    All(Vec<Object>, Instant),
    /// One is new or has changed.
    Put(Object),
    /// One is gone.
    Gone(Object),
    /// What has been told is all that there was at that moment, or a later one.
    Current(Instant),
    /// Nothing is heard for now.
    Lost(String),
}

/// Tells of the kind until nobody listens.
pub(super) async fn watch<K>(kind: Kind, api: Api<K>, tell: mpsc::Sender<(Kind, Heard)>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Into<Object>,
{
    let mut pauses = Pauses::default();
    let mut watched = Watched { kind, api, tell, version: None };
    loop {
        let is_heard = match watched.turn().await {
            Ok(is_heard) => is_heard,
            Err(Lost::Unheard) => return,
            Err(Lost::Broken(why)) => {
                if watched.tell(Heard::Lost(why)).await.is_err() {
                    return;
                }
                false
            }
        };
        if is_heard {
            kube::runtime::utils::Backoff::reset(&mut pauses);
        } else {
            sleep(pauses.next().unwrap_or(PATIENCE)).await;
        }
    }
}

struct Watched<K> {
    kind: Kind,
    api: Api<K>,
    tell: mpsc::Sender<(Kind, Heard)>,
    /// What has been told is as of this; `None`: it must be listed.
    version: Option<String>,
}

enum Lost {
    /// Nobody listens.
    Unheard,
    Broken(String),
}

impl<K> Watched<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Into<Object>,
{
    /// Lists, or watches once. Whether it is known now up to when it is known.
    async fn turn(&mut self) -> Result<bool, Lost> {
        let Some(version) = self.version.clone() else {
            self.list().await?;
            return Ok(true);
        };
        let begun = Instant::now();
        let params = WatchParams::default().timeout(SECONDS);
        let mut events =
            std::pin::pin!(timeout(PATIENCE, self.api.watch(&params, &version)).await?.map_err(|e| {
                self.forget_if_gone(&e);
                Lost::from(e)
            })?);
        let end = begun + Duration::from_secs(SECONDS.into()) + PATIENCE;
        let mut is_heard = false;
        while let Some(event) = timeout_at(end, events.try_next()).await?? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.version = object.resource_version();
                    self.tell(Heard::Put(object.into())).await?;
                }
                WatchEvent::Deleted(object) => {
                    self.version = object.resource_version();
                    self.tell(Heard::Gone(object.into())).await?;
                }
                WatchEvent::Bookmark(bookmark) => {
                    self.version = Some(bookmark.metadata.resource_version);
                    // However long it was on its way: it was sent after the watch was asked for.
                    self.tell(Heard::Current(begun)).await?;
                    is_heard = true;
                }
                WatchEvent::Error(status) => {
                    let error = kube::Error::Api(status);
                    self.forget_if_gone(&error);
                    return Err(error.into());
                }
            }
        }
        // What ends before its time was cut off, and may be cut off anywhere.
        if begun.elapsed() >= Duration::from_secs(SECONDS.into()) {
            self.tell(Heard::Current(begun)).await?;
            is_heard = true;
        }
        Ok(is_heard)
    }

    async fn list(&mut self) -> Result<(), Lost> {
        let begun = Instant::now();
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let params = ListParams { limit: Some(PAGE), continue_token: next, ..ListParams::default() };
            let page = timeout(PATIENCE, self.api.list(&params)).await??;
            all.extend(page.items.into_iter().map(Into::into));
            next = page.metadata.continue_.filter(|token| !token.is_empty());
            if next.is_none() {
                self.version = page.metadata.resource_version.filter(|version| !version.is_empty());
                return self.tell(Heard::All(all, begun)).await;
            }
        }
    }

    fn forget_if_gone(&mut self, error: &kube::Error) {
        if matches!(error, kube::Error::Api(status) if status.code == GONE) {
            self.version = None;
        }
    }

    async fn tell(&self, heard: Heard) -> Result<(), Lost> {
        self.tell.send((self.kind, heard)).await.map_err(|_| Lost::Unheard)
    }
}

impl From<kube::Error> for Lost {
    fn from(error: kube::Error) -> Self {
        Self::Broken(match &error {
            kube::Error::Api(status) => format!("{} {}", status.code, status.message),
            error => error_chain(error),
        })
    }
}

impl From<Elapsed> for Lost {
    fn from(_: Elapsed) -> Self {
        Self::Broken("no answer in time".to_owned())
    }
}
