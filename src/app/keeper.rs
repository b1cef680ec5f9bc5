//! What is done for all replicas of a cluster together: the CA that they share follows itself, and every APIService that
//! names our Service trusts it, or what signed the certificate that they are given.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
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
    pki::{self, Outgoing, SharedCa, read_bundle},
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
        let (mut spread, mut outgoing) = (String::new(), Outgoing::default());
        loop {
            let leads = *self.leads.borrow_and_update();
            self.claims.mark_unchanged();
            match self.step(leads, &spread, &mut outgoing).await {
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

    /// Does what there is to do; gives the bundle of the shared CA that whoever verifies by it has now, if this replica
    /// knows. (Where a certificate is given, nobody in the cluster does.)
    async fn step(&self, leads: bool, spread: &str, outgoing: &mut Outgoing) -> anyhow::Result<String> {
        let trust = self.ca.sync(if leads { spread } else { "" }, SystemTime::now()).await?;
        if !leads {
            *outgoing = Outgoing::default();
            return Ok(String::new());
        }
        match &self.given {
            None => self.inject(&trust.bundle, outgoing).await?,
            Some(Given { ca_file: None }) => self.trust(""),
            Some(Given { ca_file: Some(file) }) => self.inject(&read_bundle(file)?, outgoing).await?,
        }
        Ok(trust.bundle)
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

    /// Has every APIService that names our Service trust `bundle`, and for a while what it trusted before: some replica may
    /// still show a certificate of that.
    async fn inject(&self, bundle: &str, outgoing: &mut Outgoing) -> anyhow::Result<()> {
        let api = Api::<APIService>::all(self.client.clone());
        let listed = api.list(&ListParams::default()).await.context("APIServices cannot be listed")?;
        let ours: Vec<&APIService> = listed.iter().filter(|service| self.keeps(service)).collect();
        let present: Vec<&[u8]> = ours.iter().map(|service| ca_bundle(service)).collect();
        let wanted = outgoing.follow(bundle, &present, Instant::now());
        self.trust(wanted.first().map_or(bundle, String::as_str));
        for ((service, present), wanted) in ours.iter().zip(present).zip(wanted) {
            if present == wanted.as_bytes() {
                continue;
            }
            let name = service.name_any();
            let wanted = ByteString(wanted.into_bytes());
            // The version says that it is still the one that was looked at.
            let patch = json!({
                "metadata": {"resourceVersion": service.resource_version()}, "spec": {"caBundle": wanted},
            });
            let patched = api.patch(&name, &params(), &Patch::Merge(&patch)).await;
            patched.with_context(|| format!("spec.caBundle of the APIService {name} cannot be written"))?;
            tracing::info!(api_service = name, "the APIService trusts our certificate now");
        }
        Ok(())
    }

    /// Whether it is on us to write the caBundle.
    fn keeps(&self, service: &APIService) -> bool {
        let insecure = service.spec.as_ref().is_some_and(|spec| spec.insecure_skip_tls_verify == Some(true));
        names(service, &self.service) && !insecure && !service.annotations().contains_key(INJECTED_BY_OTHERS)
    }
}

/// Every patch is ours.
pub(super) fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn ca_bundle(service: &APIService) -> &[u8] {
    let bundle = service.spec.as_ref().and_then(|spec| spec.ca_bundle.as_ref());
    bundle.map(|ByteString(pem)| pem.as_slice()).unwrap_or_default()
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
