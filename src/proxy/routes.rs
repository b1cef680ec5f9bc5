//! Which backend answers a group and version. Immutable; replaced as a whole.

use std::{collections::HashMap, sync::Arc};

use kubridge_bridge::{
    model::{Api, Resource},
    request_info::RequestInfo,
    status::ApiError,
};

use super::backend::Backend;
use crate::lifecycle::Drain;

/// All routes, by group, then version.
#[derive(Debug, Default)]
pub struct Routes {
    groups: HashMap<String, HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    route: Route,
    /// Ends the route's watches. None before the routes are published.
    drain: Option<Drain>,
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
        let entry = Entry { route, drain: None };
        self.groups.entry(group.to_owned()).or_default().insert(version.to_owned(), entry);
    }

    /// The route of a group and version.
    pub fn get(&self, group: &str, version: &str) -> Option<&Route> {
        self.entry(group, version).map(|entry| &entry.route)
    }

    /// Begins when the watches of a group and version must end: it is no longer claimed, or by another backend, or
    /// the aggregator stops.
    pub fn drain(&self, group: &str, version: &str) -> Option<&Drain> {
        self.entry(group, version)?.drain.as_ref()
    }

    fn entry(&self, group: &str, version: &str) -> Option<&Entry> {
        self.groups.get(group)?.get(version)
    }

    /// Takes the place of `old`: what is served as before goes on, the watches of the rest end.
    pub(super) fn replace(&mut self, old: &Self, drain: &Drain) {
        for (group, versions) in &mut self.groups {
            for (version, entry) in versions {
                let before =
                    old.entry(group, version).filter(|before| before.route.continues_as(&entry.route));
                entry.drain =
                    Some(before.and_then(|before| before.drain.clone()).unwrap_or_else(|| drain.child()));
            }
        }
        for (group, versions) in &old.groups {
            for (version, before) in versions {
                let after = self.entry(group, version);
                if !after.is_some_and(|after| before.route.continues_as(&after.route))
                    && let Some(drain) = &before.drain
                {
                    drain.begin();
                }
            }
        }
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
    /// Whether requests that began with this route are served as those that begin with `new`.
    fn continues_as(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::Served { backend: old, .. }, Self::Served { backend: new, .. }) => old.is_same(new),
            (Self::Unserved(_), Self::Unserved(_)) => true,
            _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{authz::Authorizer, config::AuthorizationMode, lifecycle::Lifecycle, proxy::Proxy, registry};

    #[test]
    fn watches_end_where_what_they_watch_is_no_longer_served() {
        let api = Arc::clone(&registry::own_kinds().expect("no faults").apis[0]);
        let served = || Route::Served {
            api: Arc::clone(&api),
            backend: Backend::Review(Authorizer::new(AuthorizationMode::AlwaysAllow)),
        };
        let unserved = || {
            Route::Unserved(Unserved { api_service: "v1.c".into(), reason: "is gone", log: String::new() })
        };
        let routes = |entries: Vec<(&str, Route)>| {
            let mut routes = Routes::default();
            for (group, route) in entries {
                routes.insert(group, "v1", route);
            }
            routes
        };
        let lifecycle = Lifecycle::new();
        let proxy = Proxy::new(lifecycle.drain());
        let drain = |group: &str| proxy.routes().drain(group, "v1").expect("it is published").clone();
        proxy.publish(routes(vec![("a", served()), ("b", served()), ("c", served())]));
        let [a, b, c] = ["a", "b", "c"].map(drain);
        proxy.publish(routes(vec![("a", served()), ("c", unserved())]));
        assert!(!a.is_draining(), "served as before");
        assert!(b.is_draining(), "no longer claimed");
        assert!(c.is_draining(), "no longer served");
        proxy.publish(routes(vec![("a", served()), ("b", served())]));
        assert!(!drain("b").is_draining(), "claimed again");
        assert!(!a.is_draining());
        lifecycle.start_drain();
        assert!(a.is_draining() && drain("b").is_draining());
    }
}
