//! The writing thread: one transaction after the other.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, watch};

use super::{Change, EventKind, Key, OpenError, StoreError, Stored, Window, Written, db, stamp};

/// One write. It answers its caller itself.
pub(super) type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// Writes that may wait; further callers wait for room.
const QUEUE: usize = 64;

/// Starts the thread. It ends when the last sender is dropped.
pub(super) fn start(
    connection: Connection,
    window: Window,
    file: &Path,
) -> Result<(mpsc::Sender<Job>, watch::Receiver<u64>), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_sqlite(file, &error);
    let log = Log {
        head: db::head(&connection).map_err(failed)?,
        floor: db::floor(&connection).map_err(failed)?,
        bytes: db::log_bytes(&connection).map_err(failed)?,
    };
    let (publish, head) = watch::channel(log.head);
    let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
    let mut writer = Writer { connection, window, log, publish };
    thread::Builder::new()
        .name("registry-writer".into())
        .spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                // A bug in one write must not end the others: its transaction is rolled back as it unwinds.
                if catch_unwind(AssertUnwindSafe(|| job(&mut writer))).is_err() {
                    tracing::error!("a write to the registry panicked; it was rolled back");
                }
            }
        })
        .map_err(|error| OpenError::Io { file: file.to_owned(), detail: error.to_string() })?;
    Ok((jobs, head))
}

pub(super) struct Writer {
    connection: Connection,
    window: Window,
    log: Log,
    publish: watch::Sender<u64>,
}

/// What the log holds: versions above `floor`, up to `head`.
#[derive(Debug, Clone, Copy)]
struct Log {
    head: u64,
    floor: u64,
    bytes: u64,
}

impl Writer {
    pub(super) fn write<E: From<StoreError>>(
        &mut self,
        key: &Key,
        dry_run: bool,
        decide: impl FnOnce(Option<&Stored>) -> Result<Change, E>,
    ) -> Result<Written, E> {
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&error);
        let old = db::get(&self.connection, key).map_err(failed)?;
        let (kind, object) = match (decide(old.as_ref())?, &old) {
            (Change::Keep, _) | (Change::Delete, None) => return Ok(Written { object: old, changed: false }),
            (Change::Delete, Some(old)) => (EventKind::Deleted, old.object.to_vec()),
            (Change::Put(new), None) => (EventKind::Added, new),
            (Change::Put(new), Some(old)) => {
                let same = stamp(&new, Some(old.version)).map_err(StoreError::from)?;
                if same == old.object {
                    return Ok(Written { object: Some(old.clone()), changed: false });
                }
                (EventKind::Modified, new)
            }
        };
        if dry_run {
            let version = old.as_ref().map(|old| old.version);
            let object = stamp(&object, version).map_err(StoreError::from)?.into();
            return Ok(Written {
                object: Some(Stored { version: version.unwrap_or_default(), object }),
                changed: false,
            });
        }
        let version = self.log.head + 1;
        let object = stamp(&object, Some(version)).map_err(StoreError::from)?;
        self.commit(key, kind, version, &object, old.as_ref()).map_err(failed)?;
        Ok(Written { object: Some(Stored { version, object: object.into() }), changed: true })
    }

    fn commit(
        &mut self,
        key: &Key,
        kind: EventKind,
        version: u64,
        object: &[u8],
        old: Option<&Stored>,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let at = db::signed(version);
        if kind == EventKind::Deleted {
            transaction
                .prepare_cached("DELETE FROM object WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?
                .execute(params![key.resource, key.namespace, key.name])?;
        } else {
            transaction
                .prepare_cached(
                    "INSERT INTO object (resource, namespace, name, version, object) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO UPDATE SET version = excluded.version, object = excluded.object",
                )?
                .execute(params![key.resource, key.namespace, key.name, at, object])?;
        }
        let number = match kind {
            EventKind::Added => 1,
            EventKind::Modified => 2,
            EventKind::Deleted => 3,
        };
        let previous = old.map(|old| &old.object[..]);
        transaction
            .prepare_cached(
                "INSERT INTO event (version, resource, namespace, name, kind, object, previous)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![at, key.resource, key.namespace, key.name, number, object, previous])?;
        transaction.prepare_cached("UPDATE version SET head = ?1")?.execute([at])?;
        let added = (object.len() + previous.map_or(0, <[u8]>::len)) as u64;
        let log = Log { head: version, bytes: self.log.bytes + added, ..self.log };
        let log = trim(&transaction, log, self.window)?;
        transaction.commit()?;
        // Only what is on disk is true.
        self.log = log;
        self.publish.send_replace(version);
        Ok(())
    }
}

/// Removes the oldest events until the log fits the window.
fn trim(transaction: &Transaction<'_>, mut log: Log, window: Window) -> rusqlite::Result<Log> {
    let mut delete = transaction.prepare_cached(
        "DELETE FROM event WHERE version = ?1 RETURNING length(object) + coalesce(length(previous), 0)",
    )?;
    while log.head - log.floor > 1 && (log.head - log.floor > window.events || log.bytes > window.bytes) {
        log.floor += 1;
        let freed = delete.query_row([db::signed(log.floor)], |row| db::version(row, 0))?;
        log.bytes = log.bytes.saturating_sub(freed);
    }
    Ok(log)
}
