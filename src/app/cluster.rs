//! The wiring of a process that serves a cluster: what takes the place of the embedded store, the token file and the CA
//! of its own.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use super::{
    aggregation::Source,
    host_name,
    keeper::{self, Given, Keeper},
    registrar::{self, Registrar},
    upkeep::Verifiers,
};
use crate::{
    authn::Authenticator,
    authz::{self, Authorizer},
    cluster::{Cluster, Election, Namespaces, Rbac, Schemas, Services, authentication},
    config::{self, Config, ServiceName},
    data_dir::DataDir,
    lifecycle::{Latch, Lifecycle},
    pki::SharedCa,
    registry::{Watched, watch_cluster},
};

/// The cluster that is served.
pub(super) struct Served<'a> {
    cluster: Cluster,
    settings: &'a config::Cluster,
    ca: SharedCa,
    election: Election,
}

impl<'a> Served<'a> {
    /// The cluster of the settings, if any; takes over the certificate authority that its replicas share.
    pub(super) async fn open(config: &'a Config, data_dir: &DataDir) -> anyhow::Result<Option<Self>> {
        let Some(settings) = &config.cluster else { return Ok(None) };
        let cluster = Cluster::connect(settings.kubeconfig.as_deref(), None).await?;
        let ServiceName { namespace, name, .. } = &settings.service;
        tracing::info!(api_server = cluster.server(), service = %settings.service, "serving a cluster");
        let ca = SharedCa::new(cluster.client(), namespace, &format!("{name}-ca"), data_dir)?;
        let before = data_dir.join("pki/ca.pem").exists();
        keeper::take_over(&ca, before).await.context("the cluster's API server is needed for it")?;
        let host = host_name().map(|name| name.to_string()).unwrap_or_default();
        let identity = format!("{host}_{}", Uuid::new_v4());
        let election = Election::new(cluster.client(), namespace, name, identity);
        Ok(Some(Self { cluster, settings, ca, election }))
    }

    /// Who calls, as the cluster knows it. Ready is who knows whom the cluster trusts.
    pub(super) fn authenticator(&self, lifecycle: &Lifecycle, tasks: &mut JoinSet<()>) -> Authenticator {
        let (trusted, follow) = authentication::follow(self.cluster.client());
        tasks.spawn(follow);
        tasks.spawn(ready(lifecycle.latch("authentication"), trusted.clone(), |trusted| trusted.is_known));
        Authenticator::in_cluster(self.cluster.client(), trusted)
    }

    /// Who may, as the cluster has it.
    pub(super) fn authorizer(&self, tasks: &mut JoinSet<()>) -> Authorizer {
        let rbac = self.settings.local_rbac.then(|| {
            let (rbac, follow) = Rbac::new(self.cluster.client());
            tasks.spawn(follow);
            rbac
        });
        Authorizer::in_cluster(self.cluster.client(), authz::Settings::default(), rbac)
    }

    /// Where backends are.
    pub(super) fn services(&self) -> Services {
        Services::new(self.cluster.client(), self.settings.zone.as_deref(), &self.settings.domain)
    }

    /// In which namespaces something may be made.
    pub(super) fn namespaces(&self, tasks: &mut JoinSet<()>) -> Namespaces {
        let (namespaces, follow) = Namespaces::new(self.cluster.client());
        tasks.spawn(follow);
        namespaces
    }

    /// The schemas that all replicas serve. Ready is who knows which there are.
    pub(super) fn schemas(&self, lifecycle: &Lifecycle, tasks: &mut JoinSet<()>) -> Schemas {
        let namespace = &self.settings.service.namespace;
        let (schemas, follow) = Schemas::new(self.cluster.client(), namespace, self.election.leads());
        tasks.spawn(follow);
        let (latch, known) = (lifecycle.latch("schemas"), schemas.clone().known());
        tasks.spawn(async move {
            known.await;
            latch.set();
        });
        schemas
    }

    /// The APIServices of the cluster, what is done for them, and how the kube-apiserver verifies this process. Ready is who
    /// knows them. The Lease is given back by what goes into `leaving`.
    pub(super) fn source(
        self,
        config: &Config,
        lifecycle: &Lifecycle,
        tasks: &mut JoinSet<()>,
        leaving: &mut JoinSet<()>,
    ) -> (Source, Verifiers) {
        let (client, service) = (self.cluster.client(), self.settings.service.clone());
        let (watched, follow) = watch_cluster(client.clone(), service.clone());
        let Watched { claims: snapshots, ca_bundles } = watched;
        tasks.spawn(follow);
        tasks.spawn(ready(lifecycle.latch("apiservices"), snapshots.clone(), Option::is_some));
        let election = self.election;
        let given = config.tls.own.as_ref().map(|_| Given { ca_file: self.settings.tls_ca_file.clone() });
        let (trusted, bundle) = watch::channel(None);
        let (reports, said) = watch::channel(Arc::default());
        let keeper = Keeper {
            ca: self.ca,
            client: client.clone(),
            service: service.clone(),
            given,
            leads: election.leads(),
            claims: snapshots.clone(),
            trusted,
        };
        let audience = Verifiers { name: format!("{}.{}.svc", service.name, service.namespace), ca_bundles };
        tasks.spawn(keeper.run());
        let known =
            registrar::Known { leads: election.leads(), snapshots: snapshots.clone(), reports: said, bundle };
        tasks.spawn(Registrar::new(client, service, config.allow_k8s_io_claims, known).run());
        let drain = lifecycle.drain();
        leaving.spawn(async move { election.run(drain.draining()).await });
        (Source::Cluster { snapshots, reports }, audience)
    }
}

/// Sets the latch when it is known what was to be known.
async fn ready<T>(latch: Latch, mut known: watch::Receiver<T>, is_known: impl Fn(&T) -> bool) {
    if known.wait_for(is_known).await.is_ok() {
        latch.set();
    }
}
