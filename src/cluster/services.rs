//! Where the pods behind a Service are: watched in the cluster, one Service at a time.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use futures::{StreamExt as _, stream::BoxStream};
use k8s_openapi::api::{core::v1::Service as ServiceObject, discovery::v1::EndpointSlice};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};

use super::Pauses;

mod places;

pub use places::{NoPlace, places};

/// What a Service's slices are labelled with.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The names that a cluster's DNS gives a Service end so.
const SVC: &str = "svc";

/// Finds Services. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    client: Client,
    /// The zone that this process runs in.
    zone: Option<Arc<str>>,
    domain: Arc<str>,
}

/// A Service's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The Service's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At its endpoints that are ready: never none.
    Endpoints(Vec<SocketAddr>),
    /// At a name outside of the cluster: a Service of type `ExternalName`.
    External(String, u16),
}

/// Why it is at no place. The text names the Service and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unplaced {
    /// The cluster says that it is nowhere.
    Nowhere(String),
    /// The cluster does not answer, and has never done.
    Unknown(String),
}

impl Services {
    /// `zone`: where this process runs, for Services that prefer endpoints nearby. `domain`: the cluster's DNS domain.
    pub fn new(client: Client, zone: Option<&str>, domain: &str) -> Self {
        Self { client, zone: zone.map(Into::into), domain: domain.into() }
    }

    /// The Service that a DNS name means: `NAME.NAMESPACE.svc`, with or without the cluster's domain.
    pub fn named(&self, host: &str, port: u16) -> Option<Service> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let host = host
            .strip_suffix(&*self.domain)
            .and_then(|host| host.strip_suffix('.'))
            .filter(|host| host.ends_with(SVC))
            .unwrap_or(host);
        let mut labels = host.split('.');
        let (name, namespace) = (labels.next()?, labels.next()?);
        let is_service = labels.next() == Some(SVC) && labels.next().is_none();
        let written = !name.is_empty() && !namespace.is_empty();
        (is_service && written).then(|| Service {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port,
        })
    }

    /// Watches a Service and its endpoints.
    pub fn watch(&self, service: Service) -> ServiceWatch {
        let objects = Api::<ServiceObject>::namespaced(self.client.clone(), &service.namespace);
        let slices = Api::<EndpointSlice>::namespaced(self.client.clone(), &service.namespace);
        let of_name = watcher::Config::default().fields(&format!("metadata.name={}", service.name));
        let of_label = watcher::Config::default().labels(&format!("{SERVICE_NAME}={}", service.name));
        ServiceWatch {
            objects: watcher(objects, of_name).backoff(Pauses::default()).boxed(),
            slices: watcher(slices, of_label).backoff(Pauses::default()).boxed(),
            known: Known::default(),
            zone: self.zone.clone(),
            service,
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("zone", &self.zone)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// A watch of one Service.
pub struct ServiceWatch {
    service: Service,
    zone: Option<Arc<str>>,
    objects: BoxStream<'static, Result<Event<ServiceObject>, watcher::Error>>,
    slices: BoxStream<'static, Result<Event<EndpointSlice>, watcher::Error>>,
    known: Known,
}

/// What the cluster has said.
#[derive(Default)]
struct Known {
    /// The inner one is missing when there is no such Service.
    object: Option<Option<ServiceObject>>,
    slices: Option<BTreeMap<String, EndpointSlice>>,
    /// A list that is under way.
    listed_object: Option<ServiceObject>,
    listed_slices: BTreeMap<String, EndpointSlice>,
}

impl ServiceWatch {
    /// The Service.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Waits for news: where it is now, or why nothing is known of that. The same may be said twice.
    pub async fn next(&mut self) -> Result<Place, Unplaced> {
        loop {
            let news = tokio::select! {
                Some(event) = self.objects.next() => event.map(|event| self.known.object(event)),
                Some(event) = self.slices.next() => event.map(|event| self.known.slice(event)),
                else => std::future::pending().await,
            };
            match news {
                Ok(()) => {}
                // What was said before is likelier to be true than nothing.
                Err(error) if self.known.is_complete() => {
                    tracing::debug!(service = %self.service, %error, "a Service is not watched for now");
                    continue;
                }
                Err(error) => {
                    let why = format!("the Service {}: the cluster cannot be asked: {error}", self.service);
                    return Err(Unplaced::Unknown(why));
                }
            }
            let (Some(object), Some(slices)) = (&self.known.object, &self.known.slices) else { continue };
            let found = places(object.as_ref(), slices.values(), self.service.port, self.zone.as_deref());
            return found
                .map_err(|why: NoPlace| Unplaced::Nowhere(format!("the Service {}: {why}", self.service)));
        }
    }
}

impl fmt::Debug for ServiceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceWatch").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Known {
    fn is_complete(&self) -> bool {
        self.object.is_some() && self.slices.is_some()
    }

    fn object(&mut self, event: Event<ServiceObject>) {
        match event {
            Event::Init => self.listed_object = None,
            Event::InitApply(object) => self.listed_object = Some(object),
            Event::InitDone => self.object = Some(self.listed_object.take()),
            Event::Apply(object) => self.object = Some(Some(object)),
            Event::Delete(_) => self.object = Some(None),
        }
    }

    fn slice(&mut self, event: Event<EndpointSlice>) {
        match event {
            Event::Init => self.listed_slices.clear(),
            Event::InitApply(slice) => drop(self.listed_slices.insert(slice.name_any(), slice)),
            Event::InitDone => self.slices = Some(std::mem::take(&mut self.listed_slices)),
            Event::Apply(slice) => {
                self.slices.get_or_insert_default().insert(slice.name_any(), slice);
            }
            Event::Delete(slice) => {
                self.slices.get_or_insert_default().remove(&slice.name_any());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_names_that_cluster_dns_gives_a_service() {
        let client = Client::new(
            tower::service_fn(|_: http::Request<kube::client::Body>| async {
                Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody asks"))
            }),
            "default",
        );
        let services = Services::new(client, None, "cluster.local");
        for host in
            ["fleet.default.svc", "fleet.default.svc.cluster.local", "fleet.default.svc.cluster.local."]
        {
            let found = services.named(host, 50051).unwrap();
            assert_eq!(found.to_string(), "default/fleet:50051", "{host}");
        }
        for host in [
            "fleet",
            "fleet.default",
            "fleet.example.com",
            "pod.fleet.default.svc",
            "fleet.default.svc.other.local",
            "127.0.0.1",
            ".default.svc",
        ] {
            assert_eq!(services.named(host, 1), None, "{host}");
        }
    }
}
