//! The addresses behind a backend's names: asked of DNS again and again, or in a cluster watched there; published as
//! they change.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::endpoint::{Endpoint, literal};
use crate::{
    cluster::{Place as ClusterPlace, ServiceWatch, Services, Unplaced},
    config::Places,
};

/// Asks DNS. Tests answer themselves.
pub(super) type Lookup =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// How often names are looked up while all is well.
const EVERY: Duration = Duration::from_secs(10);
/// The pause after a failure, while nobody asks; doubled up to the limit.
const AFTER_FAILURE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How soon names are looked up again when somebody asks for it.
const SOONEST: Duration = Duration::from_millis(250);
/// A name that was good gives way to the next candidate when it is unknown so often in a row; where it is one of several,
/// its addresses are given up.
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
    /// The cluster's Service that is meant.
    service: Option<ServiceWatch>,
    lookup: Lookup,
    patience: Duration,
    known: watch::Sender<Known>,
    again: Arc<Notify>,
    /// The candidate that is used, and how often in a row it was unknown.
    used: Option<(usize, u32)>,
    failures: u32,
}

/// Places that are all used.
struct Candidate(Vec<Place>);

struct Place {
    place: (String, u16),
    /// A lookup that takes longer than the patience is waited for next time: it holds a thread.
    pending: Option<BoxFuture<'static, io::Result<Vec<SocketAddr>>>>,
    /// What it was last.
    known: Vec<SocketAddr>,
    /// How often in a row it was unknown since.
    misses: u32,
}

impl Addresses {
    /// `patience`: how long one name may take. `again` is notified by who wants a lookup soon. `services`: where the names
    /// of Services are watched instead.
    pub(super) fn new(
        endpoint: &Endpoint,
        services: Option<&Services>,
        lookup: Lookup,
        patience: Duration,
        again: Arc<Notify>,
    ) -> Self {
        let candidates = endpoint.candidates().iter().map(Candidate::new).collect();
        let first = endpoint.candidates().first().and_then(|places| places.first());
        let service = services
            .zip(first)
            .and_then(|(services, (host, port))| Some(services.watch(services.named(host, *port)?)));
        let known = watch::Sender::new(Known::default());
        Self { candidates, service, lookup, patience, known, again, used: None, failures: 0 }
    }

    /// The addresses as they become known.
    pub(super) fn watch(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Looks up until it is dropped; an address that needs no DNS needs no looking up either.
    pub(super) async fn run(mut self) {
        match self.service.take() {
            Some(service) => self.follow(service).await,
            None => self.look_up().await,
        }
    }

    /// What the cluster says of a Service.
    async fn follow(&mut self, mut service: ServiceWatch) {
        let again = Arc::clone(&self.again);
        loop {
            let is_external = !self.candidates.is_empty();
            tokio::select! {
                said = service.next() => match said {
                    Ok(ClusterPlace::Endpoints(mut addresses)) => {
                        addresses.truncate(MAX_ADDRESSES);
                        self.candidates.clear();
                        self.publish(Ok(addresses));
                    }
                    Ok(ClusterPlace::External(host, port)) => {
                        self.candidates = vec![Candidate::new(&vec![(host, port)])];
                    }
                    Err(Unplaced::Nowhere(why)) => {
                        self.candidates.clear();
                        // Those that were good are not any more.
                        self.publish(Ok(Vec::new()));
                        self.publish(Err(why));
                    }
                    Err(Unplaced::Unknown(why)) => self.publish(Err(why)),
                },
                () = self.look_up(), if is_external => {}
                // It is said again: whoever asks learns that it is still so.
                () = again.notified(), if !is_external => {
                    let error = self.known.borrow().error.clone();
                    if let Some(error) = error {
                        self.publish(Err(error.to_string()));
                    }
                }
            }
        }
    }

    /// What DNS says.
    async fn look_up(&mut self) {
        if let Some(addresses) = self.candidates.first().and_then(Candidate::literal) {
            self.publish(Ok(addresses));
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
            match self.candidates[index].ask(&self.lookup, self.patience).await {
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

    fn pause(&self) -> Duration {
        let (first, longest) = AFTER_FAILURE;
        match self.failures {
            0 => EVERY,
            failures => first.saturating_mul(1 << (failures - 1).min(16)).min(longest),
        }
    }
}

impl Candidate {
    fn new(places: &Places) -> Self {
        let each = places.iter();
        Self(
            each.map(|place| Place { place: place.clone(), pending: None, known: Vec::new(), misses: 0 })
                .collect(),
        )
    }

    /// The addresses, where none needs DNS.
    fn literal(&self) -> Option<Vec<SocketAddr>> {
        self.0.iter().map(|place| literal(&place.place)).collect()
    }

    /// The addresses of all places that have any; those of a place that is unknown for now stay.
    async fn ask(&mut self, lookup: &Lookup, patience: Duration) -> Result<Vec<SocketAddr>, String> {
        let outcomes = join_all(self.0.iter_mut().map(|place| place.ask(lookup, patience))).await;
        let errors: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
        if errors.len() == self.0.len() {
            return Err(errors.join("; "));
        }
        for error in errors {
            tracing::debug!(%error, "one of several places of a backend is unknown");
        }
        Ok(self.0.iter().flat_map(|place| place.known.iter().copied()).collect())
    }
}

impl Place {
    async fn ask(&mut self, lookup: &Lookup, patience: Duration) -> Result<(), String> {
        let outcome = self.find(lookup, patience).await;
        self.misses = if outcome.is_ok() { 0 } else { self.misses.saturating_add(1) };
        match outcome {
            Ok(found) => {
                self.known = found;
                Ok(())
            }
            Err(error) => {
                if self.misses >= MISSES {
                    self.known.clear();
                }
                Err(error)
            }
        }
    }

    async fn find(&mut self, lookup: &Lookup, patience: Duration) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = literal(&self.place) {
            return Ok(vec![address]);
        }
        let (host, port) = self.place.clone();
        let mut asking = self.pending.take().unwrap_or_else(|| lookup(host.clone(), port));
        match timeout(patience, &mut asking).await {
            Ok(Ok(found)) if found.is_empty() => Err(format!("looking up {host:?}: it has no address")),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(format!("looking up {host:?}: {error}")),
            Err(_) => {
                self.pending = Some(asking);
                Err(format!("looking up {host:?}: no answer in time"))
            }
        }
    }
}

/// The system's resolver.
pub(super) fn system() -> Lookup {
    Arc::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }))
}

#[cfg(test)]
mod tests;
