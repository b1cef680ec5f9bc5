//! The addresses behind a backend's names: asked of DNS again and again, published as they change.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::endpoint::{Endpoint, literal};

/// Asks DNS. Tests answer themselves.
pub(super) type Lookup =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// How often names are looked up while all is well.
const EVERY: Duration = Duration::from_secs(10);
/// The pause after a failure, while nobody asks; doubled up to the limit.
const AFTER_FAILURE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How soon names are looked up again when somebody asks for it.
const SOONEST: Duration = Duration::from_millis(250);
/// A name that was good gives way to the next candidate when it is unknown so often in a row.
const MISSES: u32 = 3;
/// More addresses of one name are not used.
const MAX_ADDRESSES: usize = 256;

/// What is known of a backend's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Sorted. Those of the last lookup that succeeded.
    pub(super) addresses: Arc<[SocketAddr]>,
    /// Why the last lookup failed: names and causes.
    pub(super) error: Option<Arc<str>>,
    /// When the last lookup ended.
    pub(super) at: Option<Instant>,
}

/// Looks the names of an endpoint up.
pub(super) struct Addresses {
    candidates: Vec<Candidate>,
    lookup: Lookup,
    patience: Duration,
    known: watch::Sender<Known>,
    again: Arc<Notify>,
    /// The candidate that is used, and how often in a row it was unknown.
    used: Option<(usize, u32)>,
    failures: u32,
}

struct Candidate {
    place: (String, u16),
    /// A lookup that takes longer than the patience is waited for next time: it holds a thread.
    pending: Option<BoxFuture<'static, io::Result<Vec<SocketAddr>>>>,
}

impl Addresses {
    /// `patience`: how long one name may take. `again` is notified by who wants a lookup soon.
    pub(super) fn new(endpoint: &Endpoint, lookup: Lookup, patience: Duration, again: Arc<Notify>) -> Self {
        let candidates =
            endpoint.candidates().iter().map(|place| Candidate { place: place.clone(), pending: None });
        let known = watch::Sender::new(Known::default());
        let candidates: Vec<_> = candidates.collect();
        Self { candidates, lookup, patience, known, again, used: None, failures: 0 }
    }

    /// The addresses as they become known.
    pub(super) fn watch(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Looks up until it is dropped; an address that needs no DNS needs no looking up either.
    pub(super) async fn run(mut self) {
        if let Some(address) = self.candidates.first().and_then(|first| literal(&first.place)) {
            self.publish(Ok(vec![address]));
            // The sender lives on with this future.
            return std::future::pending().await;
        }
        loop {
            let begun = Instant::now();
            let outcome = self.round().await;
            self.failures = if outcome.is_ok() { 0 } else { self.failures.saturating_add(1) };
            self.publish(outcome);
            let pause = self.pause();
            tokio::select! {
                () = sleep(pause) => {}
                () = self.again.notified() => sleep_until(begun + SOONEST).await,
            }
        }
    }

    fn publish(&self, outcome: Result<Vec<SocketAddr>, String>) {
        self.known.send_modify(|known| {
            known.at = Some(Instant::now());
            match outcome {
                Ok(addresses) => {
                    known.error = None;
                    if *known.addresses != *addresses {
                        known.addresses = addresses.into();
                    }
                }
                // Those that were good are likelier to be than none.
                Err(error) => known.error = Some(error.into()),
            }
        });
    }

    /// The addresses of the first candidate that has any.
    async fn round(&mut self) -> Result<Vec<SocketAddr>, String> {
        let mut errors: Vec<String> = Vec::new();
        for index in 0..self.candidates.len() {
            match self.ask(index).await {
                Ok(mut addresses) => {
                    addresses.sort_unstable();
                    addresses.dedup();
                    addresses.truncate(MAX_ADDRESSES);
                    self.used = Some((index, 0));
                    return Ok(addresses);
                }
                Err(error) => errors.push(error),
            }
            if let Some((used, misses)) = &mut self.used
                && *used == index
            {
                *misses += 1;
                if *misses < MISSES {
                    break;
                }
            }
        }
        Err(errors.join("; "))
    }

    async fn ask(&mut self, index: usize) -> Result<Vec<SocketAddr>, String> {
        let candidate = &mut self.candidates[index];
        if let Some(address) = literal(&candidate.place) {
            return Ok(vec![address]);
        }
        let (host, port) = candidate.place.clone();
        let mut asking = candidate.pending.take().unwrap_or_else(|| (self.lookup)(host.clone(), port));
        match timeout(self.patience, &mut asking).await {
            Ok(Ok(found)) if found.is_empty() => Err(format!("looking up {host:?}: it has no address")),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(format!("looking up {host:?}: {error}")),
            Err(_) => {
                candidate.pending = Some(asking);
                Err(format!("looking up {host:?}: no answer in time"))
            }
        }
    }

    fn pause(&self) -> Duration {
        let (first, longest) = AFTER_FAILURE;
        match self.failures {
            0 => EVERY,
            failures => first.saturating_mul(1 << (failures - 1).min(16)).min(longest),
        }
    }
}

/// The system's resolver.
pub(super) fn system() -> Lookup {
    Arc::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }))
}

#[cfg(test)]
mod tests;
