//! An embedded, crash-safe object store in one SQLite file.
//!
//! Values are objects of the contract (metadata = 1) under (resource, namespace, name). Every write and
//! delete takes the next number of one rising sequence, the resourceVersion, writes it into the object's
//! metadata, and leaves an event (with the object before) in a log that a watch reads.
//!
//! One thread owns the writing connection: writes are transactions, one after the other, on disk
//! (`synchronous=FULL`) before they are acknowledged. Reads have connections of their own and never wait
//! for a write (WAL).

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

mod db;
mod error;
mod stamp;
mod writer;

#[cfg(all(test, unix))]
mod crash_tests;
#[cfg(test)]
mod tests;

pub use error::{OpenError, StoreError};
pub(crate) use stamp::stamp;

/// The name of the store's file in the data directory.
pub const FILE: &str = "registry.db";

/// What identifies an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// "apiservices.apiregistration.k8s.io".
    pub resource: Arc<str>,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

/// An object as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its resourceVersion; the object's metadata says the same.
    pub version: u64,
    /// The object on the wire.
    pub object: Bytes,
}

/// The objects of a resource at one moment, by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The moment: every write up to it is in here.
    pub version: u64,
    /// The objects.
    pub objects: Vec<Bytes>,
}

/// What a write does to the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates or replaces it. The same bytes as before (but for the resourceVersion) write nothing.
    Put(Vec<u8>),
    /// Removes it.
    Delete,
    /// Leaves it as it is.
    Keep,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The object now; after a delete in its last state with the version of the deletion;
    /// `None` where there was none and is none.
    pub object: Option<Stored>,
    /// Whether something was written.
    pub changed: bool,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It is new.
    Added,
    /// It replaced `previous`.
    Modified,
    /// It is gone.
    Deleted,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// What happened.
    pub kind: EventKind,
    /// The version that the event took.
    pub version: u64,
    /// The object; of a deletion its last state, with the version of the deletion.
    pub object: Bytes,
    /// The object before.
    pub previous: Option<Bytes>,
}

/// How much of the log is kept for watches that resume. The newest event always is.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// At most so many events.
    pub events: u64,
    /// At most so many bytes of objects.
    pub bytes: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { events: 8192, bytes: 64 << 20 }
    }
}

/// The store. Cheap to clone; the writing thread ends with the last clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    file: PathBuf,
    jobs: mpsc::Sender<writer::Job>,
    head: watch::Receiver<u64>,
    idle: Mutex<Vec<Connection>>,
}

/// Connections that are kept open for reading.
const IDLE_READERS: usize = 4;

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("file", &self.shared.file).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens, or makes, the store in `data_dir` (which must exist, and be held by this process). Blocks; checks the file.
    pub fn open(data_dir: &Path, window: Window) -> Result<Self, OpenError> {
        let file = data_dir.join(FILE);
        let connection = db::open(&file)?;
        let (jobs, head) = writer::start(connection, window, &file)?;
        Ok(Self { shared: Arc::new(Shared { file, jobs, head, idle: Mutex::default() }) })
    }

    /// The newest version, as it changes.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.shared.head.clone()
    }

    /// One object, and none where there is none.
    pub async fn get(&self, key: Key) -> Result<Option<Stored>, StoreError> {
        self.read(move |connection| db::get(connection, &key)).await
    }

    /// All objects of a resource; of one namespace where it is not empty.
    pub async fn list(&self, resource: Arc<str>, namespace: String) -> Result<Listing, StoreError> {
        self.read(move |connection| db::list(connection, &resource, &namespace)).await
    }

    /// At most `limit` events of a resource later than `after`, in their order, and the version up to which the log
    /// was read. [`StoreError::TooOld`] where the log does not reach back that far.
    pub async fn events(
        &self,
        resource: Arc<str>,
        namespace: String,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<LogEvent>, u64), StoreError> {
        self.read(move |connection| db::events(connection, &resource, &namespace, after, limit)).await?
    }

    /// Decides about one object and writes what was decided, as one transaction: nobody writes in between.
    /// Returns when it is on disk. With `dry_run` everything is done but the write; the object then has the
    /// version that it had, or none.
    ///
    /// `decide` runs on the writing thread and must not block.
    pub async fn write<E, F>(&self, key: Key, dry_run: bool, decide: F) -> Result<Written, E>
    where
        E: From<StoreError> + Send + 'static,
        F: FnOnce(Option<&Stored>) -> Result<Change, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: writer::Job = Box::new(move |writer| {
            let result = writer.write(&key, dry_run, decide);
            // The caller may have gone away; the write stands.
            let _gone = answer.send(result);
        });
        self.shared.jobs.send(job).await.map_err(|_| StoreError::Stopped)?;
        answered.await.map_err(|_| StoreError::Stopped)?
    }

    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || {
            let idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => db::reader(&shared.file)?,
            };
            // A connection whose query failed is dropped: the next one starts afresh.
            let value = query(&connection)?;
            let mut idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_READERS {
                idle.push(connection);
            }
            Ok(value)
        });
        task.await
            .map_err(|_| StoreError::Stopped)?
            .map_err(|error: rusqlite::Error| StoreError::from_sqlite(&error))
    }
}

/// How long a connection waits for a lock that another holds (checkpoints; never writes).
const BUSY: Duration = Duration::from_secs(5);
