//! The cluster that this process serves: how its API server is reached, and what is watched of it.
//!
//! Whatever is published here is the last that the API server said. While it is away that stays, and watching goes on
//! as soon as it is back.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
    runtime::utils::Backoff,
};

pub mod authentication;
pub mod lease;
pub mod namespaces;
pub mod rbac;
pub mod references;
pub mod review;
pub mod schemas;
pub mod services;

pub use authentication::AuthenticationConfig;
pub use lease::Election;
pub use namespaces::Namespaces;
pub use rbac::Rbac;
pub use references::{Reference, References};
pub use review::Unanswered;
pub use schemas::Schemas;
pub use services::{NoPlace, Place, Service, ServiceWatch, Services, Unplaced, places};

use crate::backoff;

/// The cluster's API server, as a client sees it. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    server: String,
}

/// Why the cluster's API server cannot be asked. Nothing was sent yet: whether it answers is found out later.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig {0} cannot be used (--kubeconfig)", file.display())]
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// This is no pod, or its service account is not mounted.
    #[error("this is no pod with a service account (--in-cluster); outside a cluster give --kubeconfig")]
    InCluster(#[source] InClusterError),
    /// No client can be made of the settings.
    #[error("no client of the cluster's API server can be made of these settings")]
    Client(#[source] Box<kube::Error>),
}

impl Cluster {
    /// The cluster of a kubeconfig (by another context than its current one, if there is a `context`), or, without one, that
    /// of the pod that this process is in. Nothing is sent yet, and what is asked later is asked once: whoever asks knows
    /// how long the answer is worth waiting for.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, ClusterError> {
        let mut config = config(kubeconfig, context).await?;
        config.default_retry = false;
        Self::of(config)
    }

    fn of(config: kube::Config) -> Result<Self, ClusterError> {
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| ClusterError::Client(Box::new(error)))?;
        Ok(Self { client, server })
    }

    /// Asks the API server.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where the API server is.
    pub fn server(&self) -> &str {
        &self.server
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("server", &self.server).finish_non_exhaustive()
    }
}

async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<kube::Config, ClusterError> {
    let Some(file) = kubeconfig else {
        return kube::Config::incluster().map_err(ClusterError::InCluster);
    };
    let failed = |source| ClusterError::Kubeconfig { file: file.to_owned(), source: Box::new(source) };
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let kubeconfig = Kubeconfig::read_from(file).map_err(failed)?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)
}

/// The pauses of a watch whose API server is away: all replicas come back within seconds, and not at once.
#[derive(Debug, Default)]
pub struct Pauses(u32);

impl Pauses {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(5);
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0 = self.0.saturating_add(1);
        Some(backoff::after(self.0, Self::FIRST, Self::LONGEST))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_begin_anew() {
        let mut pauses = Pauses::default();
        let grown: Vec<Duration> = pauses.by_ref().take(100).collect();
        assert!(grown[0] <= Pauses::FIRST && grown[0] >= Pauses::FIRST / 2);
        assert!(grown.iter().all(|pause| *pause <= Pauses::LONGEST));
        assert!(grown[50] >= Pauses::LONGEST / 2);
        pauses.reset();
        assert!(pauses.next().is_some_and(|pause| pause <= Pauses::FIRST));
    }
}
