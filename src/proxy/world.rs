//! The real world, as the bridge sees it.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kubridge_bridge::{env::Env, status::ApiError};

use super::backend::Backend;

/// The wall clock, tokio's timers, the operating system's randomness; the log, and the backend of one request.
#[derive(Clone)]
pub struct World {
    audit_id: Arc<str>,
    backend: Backend,
}

impl World {
    /// For one request to `backend`.
    pub(super) fn new(audit_id: Arc<str>, backend: Backend) -> Self {
        Self { audit_id, backend }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("audit_id", &self.audit_id).field("backend", &self.backend).finish()
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

    fn report(&self, error: &ApiError) {
        tracing::warn!(
            audit_id = &*self.audit_id,
            backend = ?self.backend,
            code = error.status.code,
            reason = error.status.reason,
            message = error.status.message,
            log = error.log.as_deref(),
            "a stream under way failed"
        );
        if error.schema_suspect {
            self.backend.suspect();
        }
    }

    fn schema_suspect(&self) {
        self.backend.suspect();
    }
}
