//! Which backend answers a group and version. Immutable; replaced as a whole.

use std::{collections::HashMap, sync::Arc};

use kubridge_bridge::{
    model::{Api, Resource},
    request_info::RequestInfo,
    status::ApiError,
};

use super::backend::Backend;

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
