//! The Backends of a cluster: custom resources there.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream::BoxStream};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};

use crate::{
    cluster::{Pauses, Reference},
    registry::backend::{self, BackendReader, Declared, Source},
};

/// The Backends, as the API server tells of them.
pub(super) struct Backends {
    events: BoxStream<'static, Result<Event<DynamicObject>, watcher::Error>>,
    reader: BackendReader,
    /// Nothing before the first list is there, or it was said that there is none.
    known: Option<BTreeMap<String, Declared>>,
    /// There was a list.
    are_listed: bool,
    /// A list that is under way.
    listed: BTreeMap<String, Declared>,
    has_complained: bool,
}

/// Backends, as a client of the API server names them.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("kubridge.io", "v1alpha1", backend::BACKENDS.kind),
        backend::BACKENDS.plural,
    )
}

/// As the cluster's own objects are referred to.
pub(super) fn reference(source: &Source) -> Reference {
    match source {
        Source::Secret(name) => Reference::secret(&name.namespace, &name.name),
        Source::ConfigMap(name) => Reference::config_map(&name.namespace, &name.name),
    }
}

impl Backends {
    pub(super) fn new(client: Client) -> Self {
        let api = Api::<DynamicObject>::all_with(client, &resource());
        Self {
            events: watcher(api, watcher::Config::default()).backoff(Pauses::default()).boxed(),
            reader: BackendReader::default(),
            known: None,
            are_listed: false,
            listed: BTreeMap::new(),
            has_complained: false,
        }
    }

    /// Waits for news.
    pub(super) async fn changed(&mut self) {
        loop {
            let event = match self.events.next().await {
                None => return std::future::pending().await,
                Some(event) => event,
            };
            match event {
                Ok(event) => {
                    self.has_complained = false;
                    if self.take(event) {
                        return;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.has_complained, true) {
                        tracing::warn!(
                            %error,
                            "Backends are not watched for now: is the API server there, is their CustomResourceDefinition \
                             installed (deploy/manifests/crd.yaml), and may this user list and watch backends.kubridge.io?"
                        );
                    }
                    // Whoever may not see any, or has no definition of them, is served what names an address. What was known
                    // before stays.
                    if self.known.is_none() && is_an_answer(&error) {
                        self.known = Some(BTreeMap::new());
                        return;
                    }
                }
            }
        }
    }

    /// Whether the API server has told of all of them, and not that it does not.
    pub(super) fn are_listed(&self) -> bool {
        self.are_listed
    }

    /// What is known; `None`: nothing was told yet.
    pub(super) fn known(&self) -> Option<impl Iterator<Item = &Declared>> {
        self.known.as_ref().map(|known| known.values())
    }

    /// The objects that they refer to.
    pub(super) fn sources(&self) -> BTreeSet<Reference> {
        let known = self.known.iter().flat_map(BTreeMap::values);
        known.flat_map(Declared::sources).map(|source| reference(&source)).collect()
    }

    /// Whether there is news.
    fn take(&mut self, event: Event<DynamicObject>) -> bool {
        match event {
            Event::Init => {
                self.listed.clear();
                return false;
            }
            Event::InitApply(object) => {
                if let Some(backend) = self.read(&object) {
                    self.listed.insert(backend.name.clone(), backend);
                }
                return false;
            }
            Event::InitDone => {
                self.known = Some(std::mem::take(&mut self.listed));
                self.are_listed = true;
            }
            Event::Apply(object) => {
                let backend = self.read(&object);
                let known = self.known.get_or_insert_default();
                match backend {
                    Some(backend) => known.insert(backend.name.clone(), backend),
                    None => known.remove(&object.name_any()),
                };
            }
            Event::Delete(object) => {
                self.known.get_or_insert_default().remove(&object.name_any());
            }
        }
        true
    }

    fn read(&self, object: &DynamicObject) -> Option<Declared> {
        let read = self.reader.read(object);
        if let Err(error) = &read {
            // The definition has told kube-apiserver what may be written.
            tracing::error!(
                backend = object.name_any(),
                error,
                "a Backend cannot be read and counts for nothing"
            );
        }
        read.ok()
    }
}

/// Whether the API server has answered, and will answer the same when it is asked again.
fn is_an_answer(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        _ => return false,
    };
    matches!(status.code, 403 | 404)
}
