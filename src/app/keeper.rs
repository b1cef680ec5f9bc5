//! What is done for all replicas of a cluster together: the CA that they share follows itself, and every APIService that
//! names our Service trusts it.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use k8s_openapi::{ByteString, kube_aggregator::pkg::apis::apiregistration::v1::APIService};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::{
    config::ServiceName,
    data_dir::read_text,
    pki::{self, SharedCa},
    registry::{Snapshot, names},
    telemetry::error_chain,
};

/// How often everything is looked at, whether or not something is known to have changed.
const EVERY: Duration = Duration::from_secs(10);
/// Who writes an APIService, as its managedFields say.
pub(super) const MANAGER: &str = "kubridge";
/// Somebody else sees to the caBundle of what is annotated so.
const INJECTED_BY_OTHERS: &str = "cert-manager.io/inject-ca-from";

/// See the module.
pub(super) struct Keeper {
    pub(super) ca: SharedCa,
    pub(super) client: Client,
    /// This process, as APIServices name it.
    pub(super) service: ServiceName,
    /// What signed the serving certificate, where one is given.
    pub(super) given: Option<Given>,
    /// Whether this replica writes.
    pub(super) leads: watch::Receiver<bool>,
    /// What names our Service.
    pub(super) claims: watch::Receiver<Option<Arc<Snapshot>>>,
    /// What every APIService is to trust; empty: nothing is written there.
    pub(super) trusted: watch::Sender<Option<String>>,
}

/// A serving certificate that somebody else looks after.
#[derive(Debug)]
pub(super) struct Given {
    /// The CAs to trust, PEM; `None`: the APIServices' authors write them.
    pub(super) ca_file: Option<PathBuf>,
}

impl Keeper {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut spread = String::new();
        loop {
            let leads = *self.leads.borrow_and_update();
            self.claims.mark_unchanged();
            match self.step(leads, &spread).await {
                Ok(trusted) => spread = trusted,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the shared CA is not kept for now")
                }
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                Ok(()) = self.leads.changed() => {}
                Ok(()) = self.claims.changed() => {}
            }
        }
    }

    /// Does what there is to do; gives the bundle that every APIService has now, if this replica knows.
    async fn step(&self, leads: bool, spread: &str) -> anyhow::Result<String> {
        let trust = self.ca.sync(if leads { spread } else { "" }, SystemTime::now()).await?;
        if !leads {
            return Ok(String::new());
        }
        let bundle = match &self.given {
            None => trust.bundle,
            Some(Given { ca_file: None }) => {
                self.trust("");
                return Ok(trust.bundle);
            }
            Some(Given { ca_file: Some(file) }) => {
                read_text(file)?.with_context(|| format!("{} does not exist", file.display()))?
            }
        };
        self.trust(&bundle);
        self.inject(&bundle).await?;
        Ok(bundle)
    }

    /// What is made from now on trusts it from its beginning.
    fn trust(&self, bundle: &str) {
        self.trusted.send_if_modified(|present| {
            let changed = present.as_deref() != Some(bundle);
            if changed {
                *present = Some(bundle.to_owned());
            }
            changed
        });
    }

    /// Has every APIService that names our Service trust `bundle`.
    async fn inject(&self, bundle: &str) -> anyhow::Result<()> {
        let api = Api::<APIService>::all(self.client.clone());
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        for service in api.list(&ListParams::default()).await.context("APIServices cannot be listed")? {
            let Some(spec) = service.spec.as_ref().filter(|_| names(&service, &self.service)) else {
                continue;
            };
            let present = spec.ca_bundle.as_ref().map(|ByteString(pem)| pem.as_slice()).unwrap_or_default();
            let left_alone = spec.insecure_skip_tls_verify == Some(true)
                || service.annotations().contains_key(INJECTED_BY_OTHERS);
            if left_alone || present == bundle.as_bytes() {
                continue;
            }
            let name = service.name_any();
            let wanted = ByteString(bundle.as_bytes().to_vec());
            // The version says that it is still the one that was looked at.
            let patch = json!({
                "metadata": {"resourceVersion": service.resource_version()}, "spec": {"caBundle": wanted},
            });
            let patched = api.patch(&name, &params, &Patch::Merge(&patch)).await;
            patched.with_context(|| format!("spec.caBundle of the APIService {name} cannot be written"))?;
            tracing::info!(api_service = name, "the APIService trusts our certificate now");
        }
        Ok(())
    }
}

/// Takes the certificate authority of the cluster over before anything is signed. Where its API server is away, the one
/// that was taken over before is used.
pub(super) async fn take_over(ca: &SharedCa, has_before: bool) -> anyhow::Result<()> {
    match ca.sync("", SystemTime::now()).await {
        Ok(_) => Ok(()),
        Err(error @ pki::SharedCaError::Api(..)) if has_before => {
            tracing::warn!(error = error_chain(&error), "serving with the certificate authority of before");
            Ok(())
        }
        Err(error) => Err(error).context("there is no certificate authority"),
    }
}
