//! Reading: one object, a page of the state at a version, the changes after a version.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Key;
use crate::{contract::EventType, fault::Fault, kind::Kind};

/// How many bytes of objects are read at once: what a message may hold, and then some.
const BATCH_BYTES: usize = 1 << 20;

/// One state of the database.
#[derive(Debug)]
pub(crate) struct View<'a> {
    conn: &'a Connection,
}

/// An object in a list.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// On the wire.
    pub(crate) object: Vec<u8>,
}

/// An entry of the log.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) version: i64,
    pub(crate) kind: EventType,
    /// On the wire.
    pub(crate) object: Vec<u8>,
    pub(crate) previous: Option<Vec<u8>>,
}

impl View<'_> {
    pub(super) fn with<R>(
        conn: &Connection,
        job: impl FnOnce(&View<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        // A deferred transaction that is never written to: everything in it sees one state.
        let tx = conn.unchecked_transaction()?;
        job(&View { conn: &tx })
    }

    /// The version of the last write.
    pub(crate) fn head(&self) -> Result<i64, Fault> {
        Ok(head(self.conn)?)
    }

    /// The object as it is now.
    pub(crate) fn get<T: Kind>(&self, key: &Key) -> Result<Option<T>, Fault> {
        object(self.conn, key)
    }

    /// Whether nothing was ever written.
    pub(crate) fn is_new(&self) -> Result<bool, Fault> {
        let trimmed = self.conn.prepare_cached("SELECT rv FROM trimmed")?.query_row([], |row| row.get(0))?;
        Ok(self.head()? == trimmed)
    }

    /// Whether everything later than `version` is in the log.
    pub(crate) fn check(&self, version: i64) -> Result<(), Fault> {
        let oldest = self.conn.prepare_cached("SELECT rv FROM trimmed")?.query_row([], |row| row.get(0))?;
        if version < oldest { Err(Fault::TooOld { asked: version, oldest }) } else { Ok(()) }
    }

    /// Objects as they were at version `at`, in the order of namespace and name, behind `after`;
    /// at most `limit`, and no more than a message holds. Fewer than asked for is not the end: none is.
    pub(crate) fn page(
        &self,
        resource: &str,
        namespace: &str,
        at: i64,
        after: (&str, &str),
        limit: usize,
    ) -> Result<Vec<Row>, Fault> {
        self.check(at)?;
        // What was not written since is as it was; of the rest, the first change since knows what was before.
        let mut query = self.conn.prepare_cached(
            "SELECT namespace, name, object FROM objects
             WHERE resource = ?1 AND rv <= ?3 AND (namespace, name) > (?4, ?5) AND (?2 = '' OR namespace = ?2)
             UNION ALL
             SELECT namespace, name, previous FROM log AS change
             WHERE resource = ?1 AND rv > ?3 AND (namespace, name) > (?4, ?5) AND (?2 = '' OR namespace = ?2)
               AND previous IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM log WHERE resource = ?1 AND namespace = change.namespace
                               AND name = change.name AND rv > ?3 AND rv < change.rv)
             ORDER BY 1, 2 LIMIT ?6",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map(params![resource, namespace, at, after.0, after.1, limit], |row| {
            Ok(Row { namespace: row.get(0)?, name: row.get(1)?, object: row.get(2)? })
        })?;
        up_to_a_batch(rows, |row| row.object.len())
    }

    /// What happened after version `after`, in order; at most `limit`, and no more than a message holds.
    pub(crate) fn changes(
        &self,
        resource: &str,
        namespace: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Change>, Fault> {
        self.check(after)?;
        let mut query = self.conn.prepare_cached(
            "SELECT rv, type, object, previous FROM log
             WHERE resource = ?1 AND rv > ?3 AND (?2 = '' OR namespace = ?2) ORDER BY rv LIMIT ?4",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map(params![resource, namespace, after, limit], |row| {
            let kind = EventType::try_from(row.get::<_, i32>(1)?).unwrap_or_default();
            Ok(Change { version: row.get(0)?, kind, object: row.get(2)?, previous: row.get(3)? })
        })?;
        up_to_a_batch(rows, |row| row.object.len() + row.previous.as_ref().map_or(0, Vec::len))
    }
}

pub(super) fn head(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'log'")?.query_row([], |row| row.get(0))
}

pub(super) fn object<T: Kind>(conn: &Connection, key: &Key) -> Result<Option<T>, Fault> {
    let wire: Option<Vec<u8>> = conn
        .prepare_cached("SELECT object FROM objects WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?
        .query_row(params![key.resource, key.namespace, key.name], |row| row.get(0))
        .optional()?;
    Ok(wire.map(|wire| T::decode(wire.as_slice())).transpose()?)
}

fn up_to_a_batch<R>(
    rows: impl Iterator<Item = rusqlite::Result<R>>,
    size: impl Fn(&R) -> usize,
) -> Result<Vec<R>, Fault> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let row = row?;
        bytes += size(&row);
        batch.push(row);
        if bytes >= BATCH_BYTES {
            break;
        }
    }
    Ok(batch)
}
