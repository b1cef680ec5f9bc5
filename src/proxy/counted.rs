//! What is served, as metrics want to know it: labels are these names and no others.

use std::{any::Any, sync::Arc};

use kubridge_bridge::model::Resource;

use super::routes::{Route, Routes};
use crate::metrics::{Known, KnownResource, Metrics};

/// Tells what is served from now on.
pub(super) fn tell(routes: &Routes, metrics: &Metrics) {
    let all: Vec<_> =
        routes.iter().map(|(group, version, route)| (group, version, route, resources(route))).collect();
    metrics.know(all.iter().map(|(group, version, route, resources)| Known {
        group,
        version,
        remote: is_remote(route),
        origin: origin(route),
        resources,
    }));
}

fn is_remote(route: &Route) -> bool {
    match route {
        Route::Served { backend, .. } => backend.is_remote(),
        Route::Unserved(_) => true,
    }
}

/// What its resources were read from.
fn origin(route: &Route) -> Option<Arc<dyn Any + Send + Sync>> {
    match route {
        Route::Served { api, .. } => Some(Arc::clone(api) as Arc<dyn Any + Send + Sync>),
        Route::Unserved(_) => None,
    }
}

fn resources(route: &Route) -> impl Fn() -> Vec<KnownResource> {
    move || match route {
        Route::Served { api, .. } => api.resources.iter().map(|resource| known(resource)).collect(),
        Route::Unserved(_) => Vec::new(),
    }
}

fn known(resource: &Resource) -> KnownResource {
    let status = resource.status_subresource.then(|| "status".to_owned());
    let actions = resource.actions.iter().map(|action| action.name.clone());
    KnownResource { name: resource.plural.clone(), subresources: status.into_iter().chain(actions).collect() }
}
