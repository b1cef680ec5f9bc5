//! Answers of somebody else, remembered for a while: bounded, and never asked for twice at the same time.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// What is asked, as a hash: a key says nothing of the secrets that it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

/// Makes a [`Key`] of parts. Each part has its length before it, so that no two questions are one.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

/// Answers `V` by [`Key`]. Who fails to answer says why with `E`, which is told to whoever waits and not remembered.
pub struct Memo<V, E> {
    table: Arc<Mutex<Table<V, E>>>,
    capacity: usize,
}

type Flight<V, E> = BoxFuture<'static, Result<V, E>>;

struct Table<V, E> {
    known: HashMap<Key, (V, Instant)>,
    /// The keys of `known` as they came, with their ends; one that was replaced has its old end here still.
    order: VecDeque<(Key, Instant)>,
    /// The questions that somebody waits for.
    asked: HashMap<Key, (u64, WeakShared<Flight<V, E>>)>,
    flights: u64,
}

impl Hasher {
    /// The next part.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// How many parts of a list follow.
    pub fn count(&mut self, parts: usize) -> &mut Self {
        self.0.update((parts as u64).to_be_bytes());
        self
    }

    /// The key of all parts.
    pub fn key(self) -> Key {
        Key(self.0.finalize().into())
    }
}

impl<V, E> Memo<V, E>
where
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Remembers so many answers at most; the oldest goes first.
    pub fn new(capacity: usize) -> Self {
        let table =
            Table { known: HashMap::new(), order: VecDeque::new(), asked: HashMap::new(), flights: 0 };
        Self { table: Arc::new(Mutex::new(table)), capacity }
    }

    /// The answer that is remembered, or the one that `ask` gives, with how long it is good. However many want it at the
    /// same time, one asks; that one may go away, and the others still get it. When all have gone, nobody asks.
    ///
    /// # Errors
    /// What `ask` fails with. The next one asks again.
    pub async fn get<A>(&self, key: Key, ask: impl FnOnce() -> A) -> Result<V, E>
    where
        A: Future<Output = Result<(V, Duration), E>> + Send + 'static,
    {
        let answer = {
            let mut table = lock(&self.table);
            if let Some((value, end)) = table.known.get(&key)
                && Instant::now() < *end
            {
                return Ok(value.clone());
            }
            let waiting = table.asked.get(&key).and_then(|(_, flight)| flight.upgrade());
            waiting.unwrap_or_else(|| self.begin(&mut table, key, ask()))
        };
        answer.await
    }

    fn begin(
        &self,
        table: &mut Table<V, E>,
        key: Key,
        ask: impl Future<Output = Result<(V, Duration), E>> + Send + 'static,
    ) -> Shared<Flight<V, E>> {
        table.flights += 1;
        let number = table.flights;
        let landing = Landing { table: Arc::clone(&self.table), key, number };
        let capacity = self.capacity;
        let flight = async move {
            let answer = ask.await;
            let mut table = lock(&landing.table);
            // Whoever comes now finds what is known, or asks again.
            table.asked.remove(&landing.key);
            answer.map(|(value, good)| {
                table.remember(landing.key, value.clone(), Instant::now() + good, capacity);
                value
            })
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            table.asked.insert(key, (number, weak));
        }
        flight
    }
}

impl<V, E> fmt::Debug for Memo<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").field("known", &lock(&self.table).known.len()).finish_non_exhaustive()
    }
}

impl<V, E> Table<V, E> {
    fn remember(&mut self, key: Key, value: V, end: Instant, capacity: usize) {
        let now = Instant::now();
        while let Some((oldest, its_end)) = self.order.front().copied()
            && (its_end <= now || self.order.len() >= capacity)
        {
            self.order.pop_front();
            if self.known.get(&oldest).is_some_and(|(_, end)| *end == its_end) {
                self.known.remove(&oldest);
            }
        }
        if capacity > 0 {
            self.known.insert(key, (value, end));
            self.order.push_back((key, end));
        }
    }
}

/// Where a question ends: also when everybody who waited for it has gone.
struct Landing<V, E> {
    table: Arc<Mutex<Table<V, E>>>,
    key: Key,
    number: u64,
}

impl<V, E> Drop for Landing<V, E> {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        // Another one may have been asked since.
        if table.asked.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            table.asked.remove(&self.key);
        }
    }
}

fn lock<V, E>(table: &Mutex<Table<V, E>>) -> MutexGuard<'_, Table<V, E>> {
    // At worst an answer is not remembered.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
