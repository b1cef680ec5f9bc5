//! Looks after certificates and tokens while the server runs.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::sleep};

use crate::{
    authn::Authenticator,
    pki::{Audience, Pki, Refreshed},
    telemetry::error_chain,
};

/// How often certificates and the token file are looked at: a renewal is due 30 days ahead, a changed file soon.
const INTERVAL: Duration = Duration::from_secs(5);
/// Of several kube-apiservers one may learn of a new caBundle later than we do.
const SETTLES: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) pki: Arc<Pki>,
    pub(super) authenticator: Arc<Authenticator>,
    /// Who verifies the serving certificate; `None`: whoever does looks after that.
    pub(super) audience: Option<Verifiers>,
}

/// How the kube-apiserver verifies this process.
#[derive(Debug)]
pub(super) struct Verifiers {
    /// What it calls it.
    pub(super) name: String,
    /// What it trusts, as it changes.
    pub(super) ca_bundles: watch::Receiver<Arc<[Vec<u8>]>>,
}

impl Upkeep {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let Self { pki, authenticator, mut audience } = self;
        let mut settled = Audience::default();
        let mut waits = false;
        loop {
            tokio::select! {
                // What has just changed counts from here on only.
                biased;
                changed = changed(&mut audience) => {
                    sleep(SETTLES).await;
                    settled = changed;
                }
                () = sleep(INTERVAL) => {}
            }
            let (pki, authenticator, audience) = (pki.clone(), authenticator.clone(), settled.clone());
            // Files are read: not on a thread that serves.
            let looked = tokio::task::spawn_blocking(move || once(&pki, &authenticator, &audience));
            let now_waits = looked.await.ok().flatten().unwrap_or(waits);
            if now_waits && !waits {
                tracing::info!(
                    "the new serving certificate waits until spec.caBundle of every APIService has its CA \
                     (--tls-ca-file has it written there; see kubridge doctor)"
                );
            }
            waits = now_waits;
        }
    }
}

/// Completes when there is something new; with what there is then.
async fn changed(audience: &mut Option<Verifiers>) -> Audience {
    if let Some(Verifiers { name, ca_bundles }) = audience
        && ca_bundles.changed().await.is_ok()
    {
        return Audience { name: name.clone(), bundles: Arc::clone(&ca_bundles.borrow_and_update()) };
    }
    std::future::pending().await
}

/// Whether a new serving certificate waits, if that can be told.
fn once(pki: &Pki, authenticator: &Authenticator, audience: &Audience) -> Option<bool> {
    let refreshed = pki.refresh(SystemTime::now(), audience);
    match &refreshed {
        Ok(Refreshed { serving, client, proxy_client, .. }) => {
            if *serving {
                tracing::info!("serving with a new certificate");
            }
            if *client {
                tracing::info!("gRPC backends are shown a new certificate from the next connection on");
            }
            if *proxy_client {
                tracing::info!("HTTPS backends are shown a new certificate from the next connection on");
            }
        }
        Err(error) => tracing::error!(error = error_chain(error), "certificates were not renewed"),
    }
    match authenticator.reload() {
        Ok(true) => tracing::info!("the token file was read again"),
        Ok(false) => {}
        Err(error) => tracing::error!(error = error_chain(&error), "the old tokens stay good"),
    }
    refreshed.ok().map(|refreshed| refreshed.serving_waits)
}
