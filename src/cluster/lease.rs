//! One of many replicas: elected by a Lease (`coordination.k8s.io/v1`), as client-go's leader election does it.
//!
//! Clocks are not compared: a replica takes over when it has itself seen the Lease unchanged for as long as it lasts.

use std::{fmt, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// For how long a Lease holds without being renewed.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long steps down, before anybody else may take over.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// The pause between two looks.
const RETRY: Duration = Duration::from_secs(2);

/// A candidate.
pub struct Election {
    api: Api<Lease>,
    name: String,
    /// Who we are: no two replicas alike.
    identity: String,
    leads: watch::Sender<bool>,
    /// What was last seen, and since when it has not changed.
    seen: Option<(LeaseSpec, Instant)>,
    renewed: Option<Instant>,
}

impl Election {
    /// A candidate for the Lease `namespace`/`name`.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            leads: watch::Sender::new(false),
            seen: None,
            renewed: None,
        }
    }

    /// Whether this replica leads, as it changes.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// Takes part until `stop` completes; then gives the Lease back, so that another takes over at once.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = stop.as_mut() => break,
                () = self.step() => {}
            }
            tokio::select! {
                () = stop.as_mut() => break,
                () = sleep(RETRY) => {}
            }
        }
        if self.leads.send_replace(false) {
            let released = timeout(RETRY, self.release()).await;
            if !matches!(released, Ok(Ok(()))) {
                tracing::info!(
                    ?DURATION,
                    "the lease was not given back: another replica leads when it has run out"
                );
            }
        }
    }

    async fn step(&mut self) {
        let outcome = timeout(RENEW_DEADLINE / 2, self.try_hold()).await;
        let now = Instant::now();
        match outcome {
            Ok(Ok(true)) => self.renewed = Some(now),
            Ok(Ok(false)) => self.renewed = None,
            Ok(Err(error)) => tracing::debug!(%error, "the lease could not be looked at"),
            Err(_) => tracing::debug!("the lease could not be looked at in time"),
        }
        let leads = self.renewed.is_some_and(|renewed| now.duration_since(renewed) < RENEW_DEADLINE);
        if self.leads.send_replace(leads) != leads {
            tracing::info!(identity = self.identity, leads, "this replica's part has changed");
        }
    }

    /// Whether the Lease is ours now.
    async fn try_hold(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(None)),
            };
            return taken(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let now = Instant::now();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.seen = Some((spec.clone(), now));
        }
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let lasts = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = lasts.map_or(DURATION, Duration::from_secs);
        let unchanged = self.seen.as_ref().map(|(_, since)| now.duration_since(*since)).unwrap_or_default();
        if holder != self.identity && !holder.is_empty() && unchanged < lasts {
            return Ok(false);
        }
        let spec = self.spec(Some(&spec));
        let held = Lease { spec: Some(spec), ..lease };
        taken(self.api.replace(&self.name, &PostParams::default(), &held).await)
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let before = before.cloned().unwrap_or_default();
        let is_new = before.holder_identity.as_deref() != Some(&self.identity);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if is_new { Some(now.clone()) } else { before.acquire_time },
            renew_time: Some(now),
            lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(is_new)),
            ..before
        }
    }

    async fn release(&self) -> kube::Result<()> {
        let lease = self.api.get(&self.name).await?;
        let Some(spec) =
            lease.spec.clone().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
        else {
            return Ok(());
        };
        let spec =
            LeaseSpec { holder_identity: Some(String::new()), lease_duration_seconds: Some(1), ..spec };
        let lease = Lease { spec: Some(spec), ..lease };
        self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("name", &self.name)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Whether the write went through: who comes second has not got it.
fn taken<T>(written: kube::Result<T>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
