//! What the replica that leads writes for Backends in a cluster: the APIServices of their claims, and their status.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PostParams, Preconditions},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::{
    aggregation::BackendReport,
    keeper::{MANAGER, params},
};
use crate::{
    availability::claims_accepted,
    config::ServiceName,
    registry::{
        AUTOMANAGED, BACKEND, Declared, Made, Snapshot,
        backend::{self, API_VERSION, BackendReader, FINALIZER, IN_THE_WAY, Wish, refused},
        made_for, now,
    },
};

/// How often everything is looked at, whether or not something is known to have changed: somebody may have changed an
/// APIService that was made.
const EVERY: Duration = Duration::from_secs(30);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Registrar {
    client: Client,
    service: ServiceName,
    allow_k8s_io: bool,
    known: Known,
    reader: BackendReader,
}

/// What it acts on.
#[derive(Debug)]
pub(super) struct Known {
    /// Whether this replica writes.
    pub(super) leads: watch::Receiver<bool>,
    /// The Backends, and what is claimed.
    pub(super) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// How the Backends are.
    pub(super) reports: watch::Receiver<Arc<[BackendReport]>>,
    /// What APIServices are to trust; nothing: that is not known yet.
    pub(super) bundle: watch::Receiver<Option<String>>,
}

impl Registrar {
    /// `service`: this process, as APIServices name it.
    pub(super) fn new(client: Client, service: ServiceName, allow_k8s_io: bool, known: Known) -> Self {
        Self { client, service, allow_k8s_io, known, reader: BackendReader::default() }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let leads = *self.known.leads.borrow_and_update();
            let snapshot = self.known.snapshots.borrow_and_update().clone();
            let reports = Arc::clone(&self.known.reports.borrow_and_update());
            let bundle = self.known.bundle.borrow_and_update().clone();
            let mut pause = EVERY;
            if let (true, Some(snapshot), Some(bundle)) =
                (leads, snapshot.filter(|snapshot| snapshot.backends_are_listed), bundle)
                && let Err(error) = self.step(&snapshot, &reports, &bundle).await
            {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "what follows from Backends is not written for now"
                );
                pause = AGAIN;
            }
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = self.known.leads.changed() => {}
                Ok(()) = self.known.snapshots.changed() => {}
                Ok(()) = self.known.reports.changed() => {}
                Ok(()) = self.known.bundle.changed() => {}
            }
        }
    }

    async fn step(&self, snapshot: &Snapshot, reports: &[BackendReport], bundle: &str) -> anyhow::Result<()> {
        let api = Api::<APIService>::all(self.client.clone());
        let present = api.list(&ListParams::default()).await.context("APIServices cannot be listed")?;
        let present: BTreeMap<String, APIService> =
            present.into_iter().map(|service| (service.name_any(), service)).collect();
        // One that cannot be written keeps no other from it.
        let mut failed = Ok(());
        for service in present.values() {
            let orphaned = made_for(service).filter(|made| !is_there(snapshot, made));
            if let Some(made) = orphaned {
                failed = failed.and(self.remove_orphan(&api, service, &made).await);
            }
        }
        for backend in snapshot.backends.values() {
            let report = reports.iter().find(|report| report.uid == backend.uid);
            let outcome = self.backend(&api, &present, backend, report, bundle).await;
            failed = failed.and(outcome.with_context(|| format!("the Backend {}", backend.name)));
        }
        failed
    }

    async fn backend(
        &self,
        api: &Api<APIService>,
        present: &BTreeMap<String, APIService>,
        backend: &Declared,
        report: Option<&BackendReport>,
        bundle: &str,
    ) -> anyhow::Result<()> {
        let mine = || {
            let is_mine =
                |service: &&APIService| made_for(service).is_some_and(|made| made.uid == backend.uid);
            present.values().filter(is_mine)
        };
        if backend.is_deleted {
            for service in mine() {
                self.remove(api, service, &backend.name).await?;
            }
            return self.hold(backend, false).await;
        }
        // What was claimed by a spec without faults stays until there is another without.
        let mut not_made = Vec::new();
        if let Ok(wanted) = &backend.wanted {
            self.hold(backend, true).await?;
            let mut claimed = Vec::new();
            for wish in &wanted.claims {
                let name = wish.api_service();
                if let Some(why) = refused(&wish.group, self.allow_k8s_io) {
                    not_made.push((name, why));
                    continue;
                }
                match present.get(&name) {
                    Some(other) if made_for(other).is_none_or(|made| made.uid != backend.uid) => {
                        not_made.push((name, IN_THE_WAY.to_owned()));
                        continue;
                    }
                    before => self.put(api, before, backend, wish, bundle).await?,
                }
                claimed.push(name);
            }
            for service in mine().filter(|service| !claimed.contains(&service.name_any())) {
                self.remove(api, service, &backend.name).await?;
            }
        }
        match report {
            Some(report) => self.say(backend, report, &not_made).await,
            None => Ok(()),
        }
    }

    /// Makes an APIService what a claim says.
    async fn put(
        &self,
        api: &Api<APIService>,
        before: Option<&APIService>,
        backend: &Declared,
        wish: &Wish,
        bundle: &str,
    ) -> anyhow::Result<()> {
        let name = wish.api_service();
        let context = || format!("the APIService {name} cannot be written");
        let mut spec = json!({
            "group": wish.group,
            "version": wish.version,
            "groupPriorityMinimum": wish.group_priority,
            "versionPriority": wish.version_priority,
            "service": {
                "namespace": self.service.namespace,
                "name": self.service.name,
                "port": self.service.port,
            },
        });
        let Some(before) = before else {
            if !bundle.is_empty() {
                spec["caBundle"] = json!(k8s_openapi::ByteString(bundle.as_bytes().to_vec()));
            }
            let object: APIService = serde_json::from_value(json!({
                "metadata": {
                    "name": name,
                    "labels": {AUTOMANAGED: "true"},
                    "annotations": {BACKEND: backend.name},
                    "ownerReferences": [{
                        "apiVersion": API_VERSION,
                        "kind": backend::BACKENDS.kind,
                        "name": backend.name,
                        "uid": backend.uid,
                        "controller": true,
                    }],
                },
                "spec": spec,
            }))
            .expect("it is an APIService");
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            api.create(&params, &object).await.with_context(context)?;
            tracing::info!(backend = backend.name, api_service = name, "claimed");
            return Ok(());
        };
        // Its caBundle is kept with that of all others.
        let present = serde_json::to_value(&before.spec).unwrap_or_default();
        let same = ["group", "version", "groupPriorityMinimum", "versionPriority", "service"]
            .iter()
            .all(|field| present[field] == spec[field]);
        if same {
            return Ok(());
        }
        let patch = json!({"metadata": {"resourceVersion": before.resource_version()}, "spec": spec});
        api.patch(&name, &params(), &Patch::Merge(&patch)).await.with_context(context)?;
        tracing::info!(backend = backend.name, api_service = name, "claimed otherwise");
        Ok(())
    }

    /// Removes an APIService whose Backend is gone. What was told of Backends may be older than it is.
    async fn remove_orphan(
        &self,
        api: &Api<APIService>,
        service: &APIService,
        made: &Made<'_>,
    ) -> anyhow::Result<()> {
        let backend = self.api().get_opt(made.backend).await;
        let backend = backend.with_context(|| format!("the Backend {} cannot be read", made.backend))?;
        if backend.is_some_and(|backend| backend.uid().as_deref() == Some(made.uid)) {
            return Ok(());
        }
        self.remove(api, service, made.backend).await
    }

    /// Removes the very APIService that was looked at.
    async fn remove(&self, api: &Api<APIService>, service: &APIService, backend: &str) -> anyhow::Result<()> {
        let name = service.name_any();
        let preconditions = Preconditions { uid: service.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&name, &params).await {
            Ok(_) => tracing::info!(backend, api_service = name, "no longer claimed"),
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("the APIService {name} cannot be deleted"));
            }
        }
        Ok(())
    }

    /// Sees to it that a Backend stays until its APIServices are gone, or lets it go.
    async fn hold(&self, backend: &Declared, hold: bool) -> anyhow::Result<()> {
        if backend.finalizers.iter().any(|finalizer| finalizer == FINALIZER) == hold {
            return Ok(());
        }
        let mut finalizers = backend.finalizers.clone();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if hold {
            finalizers.push(FINALIZER.to_owned());
        }
        let patch = json!({
            "metadata": {"resourceVersion": backend.resource_version, "uid": backend.uid, "finalizers": finalizers},
        });
        let outcome = self.api().patch(&backend.name, &params(), &Patch::Merge(&patch)).await;
        settled(outcome).context("its finalizers cannot be written")
    }

    async fn say(
        &self,
        backend: &Declared,
        report: &BackendReport,
        not_made: &[(String, String)],
    ) -> anyhow::Result<()> {
        let mut status = report.status.clone();
        status.conditions.push(claims_accepted(not_made));
        for condition in &mut status.conditions {
            condition.observed_generation = status.observed_generation;
        }
        if backend::is_status(&backend.status, &status) {
            return Ok(());
        }
        let status = backend::with_status(&backend.status, &status, now());
        let status = self.reader.status(&status).map_err(anyhow::Error::msg)?;
        let patch = json!({"metadata": {"uid": backend.uid}, "status": status});
        let outcome = self.api().patch_status(&backend.name, &params(), &Patch::Merge(&patch)).await;
        settled(outcome).context("its status cannot be written")
    }

    fn api(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &backend::resource())
    }
}

fn is_there(snapshot: &Snapshot, made: &Made<'_>) -> bool {
    snapshot.backends.get(made.backend).is_some_and(|backend| backend.uid == made.uid)
}

/// One that is gone, or that somebody else has written meanwhile, is seen again as it is now.
fn settled(outcome: kube::Result<DynamicObject>) -> anyhow::Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
