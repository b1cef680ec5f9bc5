//! Which address of a backend a request goes to. Pure: addresses, time and outcomes in, a choice out.
//!
//! The least loaded address is taken, ties at random. An address that failed several times in a row is ejected for a
//! while, and its share grows slowly when it returns. Ejected is only what others can stand in for: when nothing
//! better is there, it is taken all the same.

use std::{net::SocketAddr, time::Duration};

use tokio::time::Instant;

/// So many failures in a row eject an address.
const FAILURES: u32 = 5;
/// How long, times the number of ejections.
const EJECTION: Duration = Duration::from_secs(5);
/// The longest ejection.
const LONGEST: Duration = Duration::from_secs(60);
/// For each such time without an ejection one is forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// How long the share of an address grows that is back.
const RAMP: Duration = Duration::from_secs(10);
/// The share that it begins with.
const FIRST_SHARE: f64 = 0.1;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The backend answered, with whatever.
    Answered,
    /// The connection broke, the answer was no answer, or the backend said that it is not there.
    Failed,
}

/// The addresses of one backend, and how they fare.
#[derive(Debug)]
pub(super) struct Balancer {
    entries: Vec<Entry>,
    random: u64,
}

#[derive(Debug)]
struct Entry {
    address: SocketAddr,
    in_flight: usize,
    /// DNS no longer has it: it goes when its calls have ended.
    draining: bool,
    /// In a row.
    failures: u32,
    ejections: u32,
    /// Before it, the address is ejected; from then on its share grows.
    back_at: Option<Instant>,
}

impl Balancer {
    /// Without addresses. Ties are broken by a sequence that `seed` begins.
    pub(super) fn new(seed: u64) -> Self {
        Self { entries: Vec::new(), random: seed | 1 }
    }

    /// From now on these are the addresses. Others are drained.
    pub(super) fn set(&mut self, addresses: &[SocketAddr]) {
        for entry in &mut self.entries {
            entry.draining = !addresses.contains(&entry.address);
        }
        self.entries.retain(|entry| !entry.draining || entry.in_flight > 0);
        for address in addresses {
            if self.find(*address).is_none() {
                self.entries.push(Entry::new(*address));
            }
        }
    }

    /// The address for the next call. `open`: whether it can take one; `avoid`: whether the call has been there.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        open: impl Fn(SocketAddr) -> bool,
        avoid: impl Fn(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        let Self { entries, random } = self;
        let mut best: Option<(u8, f64, u64, SocketAddr)> = None;
        for entry in entries.iter().filter(|entry| !entry.draining && open(entry.address)) {
            let weight = entry.weight(now);
            let tier = match (avoid(entry.address), weight) {
                (false, Some(weight)) if weight >= 1.0 || fraction(next(random)) < weight => 0,
                (false, Some(_)) => 1,
                (false, None) => 2,
                (true, Some(_)) => 3,
                (true, None) => 4,
            };
            let load = entry.in_flight as f64 / weight.unwrap_or(FIRST_SHARE);
            let tie = next(random);
            let better = best.is_none_or(|(other_tier, other_load, other_tie, _)| {
                (tier, load, tie) < (other_tier, other_load, other_tie)
            });
            if better {
                best = Some((tier, load, tie, entry.address));
            }
        }
        best.map(|(.., address)| address)
    }

    /// A call goes there.
    pub(super) fn begin(&mut self, address: SocketAddr) {
        if let Some(entry) = self.find(address) {
            entry.in_flight += 1;
        }
    }

    /// A call that went there has ended.
    pub(super) fn end(&mut self, address: SocketAddr) {
        if let Some(entry) = self.find(address) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
        self.entries.retain(|entry| !entry.draining || entry.in_flight > 0);
    }

    /// What became of a call there; whether the address is ejected for it.
    pub(super) fn record(&mut self, address: SocketAddr, outcome: Outcome, now: Instant) -> bool {
        let standing = self.entries.iter().filter(|entry| !entry.draining).count();
        let ejected = self.entries.iter().filter(|entry| !entry.draining && entry.is_ejected(now)).count();
        let Some(entry) = self.find(address) else { return false };
        if entry.is_ejected(now) {
            return false;
        }
        match outcome {
            Outcome::Answered => entry.failures = 0,
            Outcome::Failed => entry.failures = entry.failures.saturating_add(1),
        }
        let eject = entry.failures >= FAILURES && !entry.draining && (ejected + 1) * 2 <= standing;
        if eject {
            entry.eject(now);
        }
        eject
    }

    /// It can be connected to again, and others did its work meanwhile: its share grows slowly.
    pub(super) fn returned(&mut self, address: SocketAddr, now: Instant) {
        if let Some(entry) = self.find(address)
            && !entry.is_ejected(now)
        {
            entry.back_at = Some(now);
        }
    }

    fn find(&mut self, address: SocketAddr) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.address == address)
    }
}

impl Entry {
    fn new(address: SocketAddr) -> Self {
        Self { address, in_flight: 0, draining: false, failures: 0, ejections: 0, back_at: None }
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.back_at.is_some_and(|at| at > now)
    }

    fn eject(&mut self, now: Instant) {
        let good = self.back_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let forgotten = u32::try_from(good.as_secs() / FORGET.as_secs()).unwrap_or(u32::MAX);
        self.ejections = self.ejections.saturating_sub(forgotten).saturating_add(1);
        self.failures = 0;
        self.back_at = Some(now + EJECTION.saturating_mul(self.ejections).min(LONGEST));
    }

    /// Between [`FIRST_SHARE`] and 1; `None` while it is ejected.
    fn weight(&self, now: Instant) -> Option<f64> {
        let Some(at) = self.back_at else { return Some(1.0) };
        let back = now.checked_duration_since(at)?;
        Some((FIRST_SHARE + (1.0 - FIRST_SHARE) * back.as_secs_f64() / RAMP.as_secs_f64()).min(1.0))
    }
}

/// Marsaglia's xorshift64*: only ties and shares depend on it.
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
