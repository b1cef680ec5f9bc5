//! Which backend answers a group and version. Immutable; replaced as a whole.

use std::{any::Any, collections::HashMap, sync::Arc};

use kubridge_bridge::{
    model::{Api, Resource},
    request_info::RequestInfo,
    status::ApiError,
};

use super::backend::Backend;
use crate::metrics::{Known, KnownResource, Metrics};

/// All routes, by group, then version.
#[derive(Debug, Default)]
pub struct Routes {
    groups: HashMap<String, HashMap<String, Route>>,
}

/// What answers one group and version.
#[derive(Debug)]
pub enum Route {
    /// A schema is known: requests are answered.
    Served {
        /// The resources.
        api: Arc<Api>,
        /// Who has the objects.
        backend: Backend,
    },
    /// It is claimed, and nothing can be answered yet.
    Unserved(Unserved),
}

/// Why a claimed group and version cannot be answered.
#[derive(Debug, Clone)]
pub struct Unserved {
    /// The APIService that claims it: "v1.inventory.example.com".
    pub api_service: String,
    /// What the client is told, after "the backend of APIService NAME ".
    pub reason: &'static str,
    /// What the log is told.
    pub log: String,
}

impl Routes {
    /// Adds a route. A group and version has one APIService, so nothing is replaced.
    pub fn insert(&mut self, group: &str, version: &str, route: Route) {
        self.groups.entry(group.to_owned()).or_default().insert(version.to_owned(), route);
    }

    /// The route of a group and version.
    pub fn get(&self, group: &str, version: &str) -> Option<&Route> {
        self.groups.get(group)?.get(version)
    }

    /// What is served, for what is counted: labels are these names and no others.
    pub(super) fn tell(&self, metrics: &Metrics) {
        let all = self.groups.iter().flat_map(|(group, versions)| {
            versions.iter().map(move |(version, route)| (group.as_str(), version.as_str(), route))
        });
        let all: Vec<_> =
            all.map(|(group, version, route)| (group, version, route, route.resources())).collect();
        metrics.know(all.iter().map(|(group, version, route, resources)| Known {
            group,
            version,
            remote: route.is_remote(),
            origin: route.origin(),
            resources,
        }));
    }

    /// The backend and the resource that a request is for.
    ///
    /// # Errors
    /// 404 where nobody claims the group and version or it has no such resource; 503 where it is claimed
    /// and its schema has never been known.
    pub fn resolve(&self, info: &RequestInfo) -> Result<(&Backend, &Arc<Resource>), ApiError> {
        match self.get(&info.api_group, &info.api_version) {
            None => Err(ApiError::generic_not_found_path()),
            Some(Route::Unserved(why)) => Err(why.error()),
            Some(Route::Served { api, backend }) => api
                .resources
                .iter()
                .find(|resource| resource.plural == info.resource)
                .map(|resource| (backend, resource))
                .ok_or_else(ApiError::generic_not_found_path),
        }
    }
}

impl Route {
    fn is_remote(&self) -> bool {
        match self {
            Self::Served { backend, .. } => backend.is_remote(),
            Self::Unserved(_) => true,
        }
    }

    /// What its resources were read from.
    fn origin(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        match self {
            Self::Served { api, .. } => Some(Arc::clone(api) as Arc<dyn Any + Send + Sync>),
            Self::Unserved(_) => None,
        }
    }

    fn resources(&self) -> impl Fn() -> Vec<KnownResource> {
        move || match self {
            Self::Served { api, .. } => api.resources.iter().map(|resource| known(resource)).collect(),
            Self::Unserved(_) => Vec::new(),
        }
    }
}

fn known(resource: &Resource) -> KnownResource {
    let status = resource.status_subresource.then(|| "status".to_owned());
    let actions = resource.actions.iter().map(|action| action.name.clone());
    KnownResource { name: resource.plural.clone(), subresources: status.into_iter().chain(actions).collect() }
}

impl Unserved {
    /// 503: the request did not run, so any client may repeat it.
    fn error(&self) -> ApiError {
        let message = format!(
            "the backend of APIService {name} {reason}; see: kubectl describe apiservice {name}",
            name = self.api_service,
            reason = self.reason,
        );
        ApiError::service_unavailable(message)
            .with_log(self.log.clone())
            .with_retry_after(std::time::Duration::from_secs(1))
    }
}
