//! Which backend answers a group and version. Immutable; replaced as a whole.

use std::{collections::HashMap, sync::Arc};

use kubridge_bridge::{
    model::{Api, Resource},
    request_info::RequestInfo,
    status::ApiError,
};

use super::{backend::Backend, forward::Forward};
use crate::lifecycle::Drain;

/// All routes, by group, then version.
#[derive(Debug, Default)]
pub struct Routes {
    groups: HashMap<String, HashMap<String, Entry>>,
    delegate: Option<Forward>,
    awaits: Option<Awaited>,
}

/// What must be known before anything can be said to be nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// What is claimed.
    Claims,
    /// What the delegate serves. It can be asked.
    Delegate,
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
    /// Requests are passed on to an HTTPS backend.
    Forward(Forward),
    /// Requests are passed on to the delegate.
    Delegate,
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
    /// Sets the route of a group and version.
    pub fn insert(&mut self, group: &str, version: &str, route: Route) {
        let entry = Entry { route, drain: None };
        self.groups.entry(group.to_owned()).or_default().insert(version.to_owned(), entry);
    }

    /// None, because it is not known yet what is claimed.
    pub fn awaiting_claims() -> Self {
        Self { awaits: Some(Awaited::Claims), ..Self::default() }
    }

    /// What nobody claims goes to a delegate. `is_known`: discovery has what it serves.
    pub fn set_delegate(&mut self, delegate: Forward, is_known: bool) {
        self.delegate = Some(delegate);
        self.awaits = (!is_known).then_some(Awaited::Delegate);
    }

    /// Why discovery does not know yet what there is, if so.
    pub fn awaits(&self) -> Option<ApiError> {
        let message = match self.awaits? {
            Awaited::Claims => {
                "which APIServices there are is not known yet; see: whether the cluster's API server answers Kubridge, \
                 and Kubridge's log"
            }
            Awaited::Delegate => {
                "what the delegate serves is not known yet; see: whether the kube-apiserver of --delegate-kubeconfig \
                 runs"
            }
        };
        Some(ApiError::service_unavailable(message))
    }

    /// What the client is told of a path that no route is for.
    fn unknown(&self) -> ApiError {
        match self.awaits {
            // It did not run: any client may repeat it.
            Some(Awaited::Claims) => {
                let error = self.awaits().unwrap_or_else(ApiError::generic_not_found_path);
                error.with_retry_after(std::time::Duration::from_secs(1))
            }
            _ => ApiError::generic_not_found_path(),
        }
    }

    /// Who gets what nobody claims.
    pub fn delegate(&self) -> Option<&Forward> {
        self.delegate.as_ref()
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

    /// Who a request is passed on to: anything below a group and version that an HTTPS backend serves or nobody claims,
    /// be it a resource or not. The drain ends its watch; none: that of the process.
    pub fn forward(&self, info: &RequestInfo) -> Option<(&Forward, Option<&Drain>)> {
        let (group, version) = below_a_version(info)?;
        let Some(entry) = self.entry(group, version) else { return Some((self.delegate()?, None)) };
        let forward = match &entry.route {
            Route::Forward(forward) => forward,
            Route::Delegate => self.delegate()?,
            Route::Served { .. } | Route::Unserved(_) => return None,
        };
        Some((forward, entry.drain.as_ref()))
    }

    /// What is served of a group and version by a schema.
    pub(super) fn api(&self, group: &str, version: &str) -> Result<Arc<Api>, ApiError> {
        match self.get(group, version) {
            None => Err(self.unknown()),
            Some(Route::Forward(_) | Route::Delegate) => Err(ApiError::generic_not_found_path()),
            Some(Route::Unserved(why)) => Err(why.error()),
            Some(Route::Served { api, .. }) => Ok(Arc::clone(api)),
        }
    }

    /// The backend and the resource that a request is for.
    ///
    /// # Errors
    /// 404 where nobody claims the group and version or it has no such resource; 503 where it is claimed
    /// and its schema has never been known.
    pub fn resolve(&self, info: &RequestInfo) -> Result<(&Backend, &Arc<Resource>), ApiError> {
        match self.get(&info.api_group, &info.api_version) {
            // Whatever is below a forwarded group and version is forwarded: see [`Self::forward`].
            None => Err(self.unknown()),
            Some(Route::Forward(_) | Route::Delegate) => Err(ApiError::generic_not_found_path()),
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

/// The group and version below which a request's path is. The group and version itself is discovery.
fn below_a_version(info: &RequestInfo) -> Option<(&str, &str)> {
    if info.is_resource_request {
        return Some((&info.api_group, &info.api_version));
    }
    let (group, rest) = match info.path.strip_prefix("/apis/") {
        Some(rest) => rest.split_once('/')?,
        None => ("", info.path.strip_prefix("/api/")?),
    };
    let (version, below) = rest.split_once('/')?;
    (!below.is_empty()).then_some((group, version))
}

impl Route {
    /// Whether requests that began with this route are served as those that begin with `new`.
    fn continues_as(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::Served { backend: old, .. }, Self::Served { backend: new, .. }) => old.is_same(new),
            (Self::Forward(old), Self::Forward(new)) => old.is_same(new),
            (Self::Unserved(_), Self::Unserved(_)) | (Self::Delegate, Self::Delegate) => true,
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
        let proxy = Proxy::new(lifecycle.drain(), None);
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
