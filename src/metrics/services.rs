//! What is counted of APIServices.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::families::Gathered;

/// Which documents of an APIService are served as they were last known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Documents {
    /// What discovery says.
    pub discovery: bool,
    /// OpenAPI v2 or v3.
    pub openapi: bool,
}

/// When a backend last said that what discovery shows of it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// It says so at any time that it is asked.
    Now,
    /// It said so then, and cannot be asked.
    At(SystemTime),
}

/// Reasons of one APIService that are told apart. Ours are fewer; but whoever may write a status writes what they like.
const MAX_REASONS: usize = 32;

#[derive(Debug, Default)]
struct Service {
    available: Option<bool>,
    /// How often it became unavailable, by reason.
    edges: BTreeMap<String, u64>,
    confirmed: Option<Confirmed>,
    last_known_good: Option<Documents>,
}

/// By name.
#[derive(Debug, Default)]
pub(super) struct Services(Mutex<BTreeMap<String, Service>>);

impl Services {
    pub(super) fn set_available(&self, name: &str, available: bool, reason: &str) {
        self.change(name, |service| {
            // One that was never available did not become unavailable.
            if !available && service.available == Some(true) {
                let reason = if reason.is_empty() { "UnknownReason" } else { reason };
                let is_new = !service.edges.contains_key(reason);
                let reason = if is_new && service.edges.len() >= MAX_REASONS { "other" } else { reason };
                *service.edges.entry(reason.to_owned()).or_default() += 1;
            }
            service.available = Some(available);
        });
    }

    pub(super) fn set_confirmed(&self, name: &str, confirmed: Option<Confirmed>) {
        self.change(name, |service| service.confirmed = confirmed);
    }

    pub(super) fn set_last_known_good(&self, name: &str, documents: Documents) {
        self.change(name, |service| service.last_known_good = Some(documents));
    }

    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    pub(super) fn keep(&self, names: impl Fn(&str) -> bool) {
        self.lock().retain(|name, _| names(name));
    }

    pub(super) fn gather(&self, gathered: &mut Gathered, now: SystemTime) {
        for (name, service) in self.lock().iter() {
            if let Some(available) = service.available {
                let value = if available { 0.0 } else { 1.0 };
                gathered.gauge("aggregator_unavailable_apiservice", &[name], value);
            }
            for (reason, count) in &service.edges {
                gathered.counter("aggregator_unavailable_apiservice_total", &[name, reason], *count);
            }
            if let Some(confirmed) = service.confirmed {
                let age = match confirmed {
                    Confirmed::Now => 0.0,
                    Confirmed::At(at) => now.duration_since(at).unwrap_or_default().as_secs_f64(),
                };
                gathered.gauge("kubridge_discovery_age_seconds", &[name], age);
            }
            let Some(Documents { discovery, openapi }) = service.last_known_good else { continue };
            for (document, used) in [("discovery", discovery), ("openapi", openapi)] {
                let value = if used { 1.0 } else { 0.0 };
                gathered.gauge("kubridge_last_known_good_documents", &[name, document], value);
            }
        }
    }

    fn change(&self, name: &str, act: impl FnOnce(&mut Service)) {
        let mut services = self.lock();
        match services.get_mut(name) {
            Some(service) => act(service),
            None => act(services.entry(name.to_owned()).or_default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Service>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
