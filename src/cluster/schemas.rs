//! The schemas of Backends that all replicas serve: kept in the cluster, so that every replica has the same documents, and
//! one that starts while a backend is down has them too.
//!
//! A Backend's schema is in ConfigMaps of our own namespace, which the Backend owns: whoever removes it removes them.
//!
//! | ConfigMap | what it has |
//! |---|---|
//! | `kubridge-schema-NAME` | the index: the digest of the present schema, and what is known of it |
//! | `kubridge-descriptors-NAME-DIGEST-N` | a part of its descriptors, compressed; it never changes |
//!
//! The replica that leads writes. Parts are there before the index names them, and the index is replaced under its
//! resourceVersion: all change over by that one write. What it no longer names is then removed. Replicas watch names and
//! versions only, and ask for the contents of what has changed. What does not have the digest that the index says is not
//! used: what was good before stays.

use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use tokio::sync::watch;

use super::Pauses;

mod index;
mod keeper;
mod names;
mod parts;
#[cfg(test)]
mod tests;

use keeper::Keeper;
pub use names::digest;

/// The largest descriptor set, in bytes.
pub const MAX_SCHEMA: usize = 32 << 20;

/// A Backend object, whose schema it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its uid: another one is another Backend of the same name.
    pub uid: String,
}

/// A schema that can be served.
#[derive(Clone, PartialEq, Eq)]
pub struct Accepted {
    /// A `google.protobuf.FileDescriptorSet`.
    pub bytes: Bytes,
    /// The Schema service's etag; empty: none.
    pub etag: String,
    /// Where it was read, in words.
    pub source: String,
    /// When it was accepted.
    pub accepted_at: SystemTime,
}

/// What is known of the schema that all replicas serve.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// Whether it is known if there is one, or that this cannot be found out for now.
    pub is_known: bool,
    /// The last good one.
    pub schema: Option<Arc<Accepted>>,
    /// When the backend last said that it is what it serves; some minutes may be missing.
    pub confirmed_at: Option<SystemTime>,
    /// How often a replica that does not lead has said that the backend has another one.
    pub doubts: u64,
    /// Where this replica leads: why what it offers is not what all replicas serve. Names the mend.
    pub unshared: Option<Arc<str>>,
}

/// What the leading replica has found to be the present schema.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The schema.
    pub schema: Arc<Accepted>,
    /// When the backend said so.
    pub confirmed_at: SystemTime,
}

/// One replica's part in one schema.
#[derive(Debug)]
pub struct Sharing {
    /// What all serve.
    pub shared: watch::Receiver<Shared>,
    /// Whether this replica leads.
    pub leads: watch::Receiver<bool>,
    offers: watch::Sender<Option<Offer>>,
    doubts: watch::Sender<Option<String>>,
}

impl Sharing {
    /// Has all replicas serve this from now on, where this replica leads. `None`: it has nothing to say (any more).
    pub fn offer(&self, offer: Option<Offer>) {
        self.offers.send_replace(offer);
    }

    /// Tells the replica that leads that the backend has another schema than the one that all serve: the one with this
    /// [`digest`].
    pub fn doubt(&self, digest: String) {
        self.doubts.send_replace(Some(digest));
    }
}

/// All schemas of a namespace. Cheap to clone.
#[derive(Clone)]
pub struct Schemas {
    client: Client,
    namespace: Arc<str>,
    listing: watch::Receiver<Listing>,
    leads: watch::Receiver<bool>,
}

impl Schemas {
    /// Those in `namespace`, written while `leads`. The second one must be run: before it has, nothing is known.
    pub fn new(
        client: Client,
        namespace: &str,
        leads: watch::Receiver<bool>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (publish, listing) = watch::channel(Listing::Unknown);
        let api = Api::<PartialObjectMeta<ConfigMap>>::namespaced(client.clone(), namespace);
        let (label, value) = names::MANAGED_BY;
        let selected = watcher::Config::default().labels(&format!("{},{label}={value}", names::BACKEND));
        let follow = follow(watcher(api, selected).backoff(Pauses::default()), publish);
        (Self { client, namespace: namespace.into(), listing, leads }, follow)
    }

    /// Takes part in the schema of a Backend. The second one must be run for as long.
    pub fn share(&self, owner: Owner) -> (Sharing, impl Future<Output = ()> + Send + use<>) {
        let shared = watch::Sender::new(Shared::default());
        let (offers, offered) = watch::channel(None);
        let (doubts, doubted) = watch::channel(None);
        let sharing = Sharing { shared: shared.subscribe(), leads: self.leads.clone(), offers, doubts };
        (sharing, Keeper::new(self, owner, shared, offered, doubted).run())
    }

    /// Waits until it is known which schemas there are, or that this cannot be found out for now.
    pub async fn known(mut self) {
        // Nobody follows any more: nothing will be known.
        let _ = self.listing.wait_for(|listing| !matches!(listing, Listing::Unknown)).await;
    }
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schemas").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("bytes", &self.bytes.len())
            .field("etag", &self.etag)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// The ConfigMaps that there are.
#[derive(Debug, Clone)]
enum Listing {
    Unknown,
    /// They cannot be watched, and have never been.
    Unreadable(Arc<str>),
    Known(Arc<BTreeMap<String, Listed>>),
}

/// A ConfigMap, without what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    version: Version,
    /// The value of the label [`names::BACKEND`].
    label: String,
    /// The uids of its owners.
    owners: Vec<String>,
}

/// One state of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    uid: String,
    resource_version: String,
}

impl Version {
    fn of(object: &impl kube::Resource) -> Self {
        let metadata = object.meta().clone();
        Self {
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
        }
    }
}

impl Listed {
    fn of(object: &PartialObjectMeta<ConfigMap>) -> Self {
        Self {
            version: Version::of(object),
            label: object.labels().get(names::BACKEND).cloned().unwrap_or_default(),
            owners: owners(object),
        }
    }
}

/// The uids of an object's owners.
fn owners(object: &impl kube::Resource) -> Vec<String> {
    object.owner_references().iter().map(|owner| owner.uid.clone()).collect()
}

async fn follow(
    events: impl Stream<Item = watcher::Result<Event<PartialObjectMeta<ConfigMap>>>>,
    publish: watch::Sender<Listing>,
) {
    let mut events = std::pin::pin!(events);
    let mut listed = BTreeMap::new();
    let change = |change: &dyn Fn(&mut BTreeMap<String, Listed>)| {
        publish.send_modify(|listing| {
            if let Listing::Known(known) = listing {
                change(Arc::make_mut(known));
            }
        });
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(object.name_any(), Listed::of(&object));
            }
            Ok(Event::InitDone) => {
                publish.send_replace(Listing::Known(Arc::new(std::mem::take(&mut listed))));
            }
            Ok(Event::Apply(object)) => change(&|known| {
                known.insert(object.name_any(), Listed::of(&object));
            }),
            Ok(Event::Delete(object)) => change(&|known| {
                known.remove(&object.name_any());
            }),
            Err(error) => {
                tracing::debug!(%error, "the ConfigMaps of schemas are not watched for now");
                publish.send_if_modified(|listing| {
                    let is_news = matches!(listing, Listing::Unknown);
                    if is_news {
                        *listing = Listing::Unreadable(error.to_string().into());
                    }
                    is_news
                });
            }
        }
    }
}

#[cfg(test)]
impl Sharing {
    /// One whose other side is the test's: what all serve, whether this replica leads, what it offers and doubts.
    pub(crate) fn scripted() -> (Self, Script) {
        let (shared, leads) = (watch::Sender::new(Shared::default()), watch::Sender::new(false));
        let (offers, offered) = watch::channel(None);
        let (doubts, doubted) = watch::channel(None);
        let sharing = Self { shared: shared.subscribe(), leads: leads.subscribe(), offers, doubts };
        (sharing, Script { shared, leads, offered, doubted })
    }
}

/// See [`Sharing::scripted`].
#[cfg(test)]
pub(crate) struct Script {
    pub(crate) shared: watch::Sender<Shared>,
    pub(crate) leads: watch::Sender<bool>,
    pub(crate) offered: watch::Receiver<Option<Offer>>,
    pub(crate) doubted: watch::Receiver<Option<String>>,
}
