//! The real world, as the bridge sees it.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kubridge_bridge::{
    env::{Env, NamespaceState},
    model::Schema,
    status::ApiError,
};

use super::backend::Backend;
use crate::{
    cluster::Namespaces,
    upstream::{self, SchemaHandle},
};

/// The wall clock, tokio's timers, the operating system's randomness; the log, and the backend of one request.
#[derive(Clone)]
pub struct World {
    audit_id: Arc<str>,
    /// Where the request goes, if that is a gRPC backend, and its schema. No more of it: what the backend's own tasks hold
    /// of the world must not keep the backend.
    remote: Option<(upstream::Backend, SchemaHandle<Schema>)>,
    /// Those of the cluster that is served, if any.
    namespaces: Option<Namespaces>,
}

impl World {
    /// For one request to `backend`.
    pub(super) fn new(audit_id: Arc<str>, backend: &Backend, namespaces: Option<Namespaces>) -> Self {
        match backend {
            Backend::Remote(remote) => {
                Self { namespaces, ..Self::of_remote(audit_id, remote.backend(), remote.schema()) }
            }
            Backend::Store(_) | Backend::Review(_) => Self { audit_id, remote: None, namespaces },
        }
    }

    /// For calls to a gRPC backend.
    pub(super) fn of_remote(
        audit_id: Arc<str>,
        backend: &upstream::Backend,
        schema: &SchemaHandle<Schema>,
    ) -> Self {
        Self { audit_id, remote: Some((backend.clone(), schema.clone())), namespaces: None }
    }

    fn suspect(&self) {
        if let Some((_, schema)) = &self.remote {
            schema.suspect();
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("audit_id", &self.audit_id).field("remote", &self.remote).finish()
    }
}

impl Env for World {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }

    fn random(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }

    async fn namespace(&self, name: &str) -> Result<NamespaceState, ApiError> {
        let Some(namespaces) = &self.namespaces else { return Ok(NamespaceState::Active) };
        namespaces.state(name).await.map_err(|unknown| {
            // Nothing ran: any client may repeat it.
            ApiError::service_unavailable(format!(
                "whether there is a namespace {name:?} is not known: the cluster's API server does not answer Kubridge"
            ))
            .with_log(unknown.to_string())
            .with_retry_after(Duration::from_secs(1))
        })
    }

    fn report(&self, error: &ApiError) {
        tracing::warn!(
            audit_id = &*self.audit_id,
            backend = self.remote.as_ref().map(|(backend, _)| tracing::field::debug(backend)),
            code = error.status.code,
            reason = error.status.reason,
            message = error.status.message,
            log = error.log.as_deref(),
            "a stream under way failed"
        );
        if error.schema_suspect {
            self.suspect();
        }
    }

    fn schema_suspect(&self) {
        self.suspect();
    }
}
