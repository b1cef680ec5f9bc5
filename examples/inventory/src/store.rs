//! The database: the objects as they are, and a log of every write and delete.
//!
//! The log's numbers are the resource versions: one rising sequence for everything, never used
//! twice. Lists, pages and watches all read the log against a version, so none of them holds a
//! transaction open while a client reads slowly.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
};

use crate::fault::Fault;

mod read;
mod write;

pub(crate) use read::{Change, Row, View};
pub(crate) use write::Write;

/// How many reads go on at once.
const READERS: usize = 4;
/// `PRAGMA user_version`.
const FORMAT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE objects (
        resource  TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name      TEXT NOT NULL,
        rv        INTEGER NOT NULL,
        object    BLOB NOT NULL,
        PRIMARY KEY (resource, namespace, name)
    );
    CREATE TABLE log (
        rv        INTEGER PRIMARY KEY AUTOINCREMENT,
        resource  TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name      TEXT NOT NULL,
        type      INTEGER NOT NULL,
        object    BLOB NOT NULL,
        previous  BLOB
    );
    CREATE INDEX log_by_resource ON log (resource, rv);
    CREATE INDEX log_by_object ON log (resource, namespace, name, rv);
    CREATE TABLE trimmed (rv INTEGER NOT NULL); -- one row: the log holds everything later than this
";

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) resource: &'static str,
    /// Empty where the kind has none.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Why the database did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another inventory: stop that one, or name another file with --db", .0.display())]
    InUse(PathBuf),
    /// Not ours, or written by a later version.
    #[error("the database has format {0}; this program reads format {FORMAT}")]
    Format(i64),
    /// The file system.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    /// SQLite.
    #[error("the database does not open: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// The database.
#[derive(Debug)]
pub(crate) struct Store {
    /// The one writer: fair, and no thread waits for it.
    writer: Arc<tokio::sync::Mutex<Connection>>,
    /// `None`: in memory, where the writer reads too.
    readers: Option<Arc<Readers>>,
    head: watch::Sender<i64>,
    log_limit: i64,
    /// Held as long as the database is open.
    _lock: Option<File>,
}

#[derive(Debug)]
struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Store {
    /// Opens or makes the database. `max_bytes`: how large the file may become.
    pub(crate) fn open(path: &Path, log_limit: u64, max_bytes: Option<u64>) -> Result<Self, OpenError> {
        let in_memory = path == Path::new(":memory:");
        let lock = if in_memory { None } else { Some(lock(path)?) };
        let mut conn = Connection::open(path)?;
        configure(&conn)?;
        if let Some(bytes) = max_bytes {
            let page: u64 =
                conn.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.unsigned_abs();
            let pages = i64::try_from(bytes / page.max(1)).unwrap_or(i64::MAX).clamp(1, 0xffff_fffe);
            conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        prepare(&mut conn)?;
        let head = read::head(&conn)?;
        let readers = (!in_memory).then(|| {
            Arc::new(Readers {
                path: path.to_owned(),
                permits: Arc::new(Semaphore::new(READERS)),
                idle: Mutex::default(),
            })
        });
        Ok(Self {
            writer: Arc::new(tokio::sync::Mutex::new(conn)),
            readers,
            head: watch::Sender::new(head),
            log_limit: i64::try_from(log_limit.max(1)).unwrap_or(i64::MAX),
            _lock: lock,
        })
    }

    /// The version of the last write; changes after each.
    pub(crate) fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Runs `job` as one transaction, after those that came before. It is kept only when `job` says Ok.
    pub(crate) async fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Write<'_>) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R, Fault> {
        let mut conn = Arc::clone(&self.writer).lock_owned().await;
        let (head, log_limit) = (self.head.clone(), self.log_limit);
        // A caller that goes away does not stop the job: it is written whole, or not at all.
        spawn_blocking(move || {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut write = Write::new(tx, log_limit)?;
            let result = job(&mut write)?;
            let version = write.commit()?;
            // Still under the lock: versions are told in their order.
            head.send_replace(version);
            Ok(result)
        })
        .await?
    }

    /// Runs `job` against one state of the database.
    pub(crate) async fn read<R: Send + 'static>(
        &self,
        job: impl FnOnce(&View<'_>) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R, Fault> {
        let Some(readers) = self.readers.clone() else {
            let conn = Arc::clone(&self.writer).lock_owned().await;
            return spawn_blocking(move || View::with(&conn, job)).await?;
        };
        let permit = Arc::clone(&readers.permits).acquire_owned().await.map_err(|_| Fault::Stopping)?;
        spawn_blocking(move || {
            let idle = || readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let spare = idle().pop();
            let conn = match spare {
                Some(conn) => conn,
                None => open_reader(&readers.path)?,
            };
            let result = View::with(&conn, job);
            idle().push(conn);
            drop(permit);
            result
        })
        .await?
    }
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // A version that a client has seen must not be given out again after a power cut.
    conn.pragma_update(None, "synchronous", "full")?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.pragma_update(None, "query_only", true)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(conn)
}

fn prepare(conn: &mut Connection) -> Result<(), OpenError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match tx.pragma_query_value(None, "user_version", |row| row.get(0))? {
        0 => {
            tx.execute_batch(TABLES)?;
            // A new database (a lost disk, `:memory:`) starts where no earlier one can have come to:
            // clients that hold a version of that one are told that it is too old, and list again.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis());
            let first = i64::try_from(now).unwrap_or(1);
            tx.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('log', ?1)", [first])?;
            tx.execute("INSERT INTO trimmed (rv) VALUES (?1)", [first])?;
            tx.pragma_update(None, "user_version", FORMAT)?;
        }
        FORMAT => {}
        other => return Err(OpenError::Format(other)),
    }
    tx.commit()?;
    Ok(())
}

/// Two writers would not see each other's writes in their watches.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new().create(true).append(true).open(&name);
    let file = file.map_err(|error| OpenError::File(name.into(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(OpenError::File(path.to_owned(), error)),
    }
}
