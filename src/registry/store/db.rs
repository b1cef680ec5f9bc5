//! The file's layout, and the queries.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::{BUSY, EventKind, Key, Listing, LogEvent, OpenError, StoreError, Stored};

/// "KUBR", in the file's header.
const APPLICATION: i64 = 0x4b55_4252;
/// Raised when the layout changes in a way that an older program would misread.
const FORMAT: i64 = 1;
/// What the first write follows. Not 0: in a request "0" means "any version".
const FIRST: i64 = 1;

/// `version` has one row: the newest version. The versions in `event` have no gaps, so the log reaches back to the
/// smallest of them.
const LAYOUT: &str = "
    CREATE TABLE version (one INTEGER PRIMARY KEY CHECK (one = 1), head INTEGER NOT NULL) STRICT;
    CREATE TABLE object (
        resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, object BLOB NOT NULL,
        PRIMARY KEY (resource, namespace, name)
    ) STRICT;
    CREATE TABLE event (
        version INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        kind INTEGER NOT NULL, object BLOB NOT NULL, previous BLOB
    ) STRICT;
";

/// Opens the writing connection: makes the layout, or checks the file.
pub(super) fn open(file: &Path) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_sqlite(file, &error);
    let mut connection = Connection::open(file).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    let number =
        |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let (application, format) = (number("application_id")?, number("user_version")?);
    let tables = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))
        .map_err(failed)?;
    if application != APPLICATION && (application != 0 || tables != 0) {
        return Err(OpenError::Foreign(file.to_owned()));
    }
    if format > FORMAT {
        return Err(OpenError::Newer { file: file.to_owned(), format });
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    // A burst of large objects leaves a large -wal file behind; give its space back.
    connection.pragma_update(None, "journal_size_limit", 8 << 20).map_err(failed)?;
    if application == 0 {
        create(&mut connection).map_err(failed)?;
    } else {
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if verdict != "ok" {
            return Err(OpenError::Corrupt { file: file.to_owned(), detail: verdict });
        }
    }
    Ok(connection)
}

/// Opens a reading connection.
pub(super) fn reader(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// The newest version.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("SELECT head FROM version")?.query_row([], |row| version(row, 0))
}

/// The version up to which the log was trimmed.
pub(super) fn floor(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT coalesce((SELECT min(version) - 1 FROM event), (SELECT head FROM version))")?
        .query_row([], |row| version(row, 0))
}

/// The bytes of the log.
pub(super) fn log_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(sum(length(object) + coalesce(length(previous), 0)), 0) FROM event";
    connection.query_row(sql, [], |row| version(row, 0))
}

pub(super) fn get(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached(
            "SELECT version, object FROM object WHERE resource = ?1 AND namespace = ?2 AND name = ?3",
        )?
        .query_row(params![key.resource, key.namespace, key.name], |row| {
            Ok(Stored { version: version(row, 0)?, object: blob(row, 1)? })
        })
        .optional()
}

pub(super) fn list(connection: &Connection, resource: &str, namespace: &str) -> rusqlite::Result<Listing> {
    // One transaction: the version and the objects belong together.
    let transaction = connection.unchecked_transaction()?;
    let version = head(&transaction)?;
    let objects = transaction
        .prepare_cached(
            "SELECT object FROM object WHERE resource = ?1 AND (?2 = '' OR namespace = ?2) ORDER BY namespace, name",
        )?
        .query_map(params![resource, namespace], |row| blob(row, 0))?
        .collect::<Result<_, _>>()?;
    Ok(Listing { version, objects })
}

type Events = Result<(Vec<LogEvent>, u64), StoreError>;

pub(super) fn events(
    connection: &Connection,
    resource: &str,
    namespace: &str,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Events> {
    let transaction = connection.unchecked_transaction()?;
    let floor = floor(&transaction)?;
    if after < floor {
        return Ok(Err(StoreError::TooOld { floor }));
    }
    let head = head(&transaction)?;
    let events: Vec<LogEvent> = transaction
        .prepare_cached(
            "SELECT version, kind, object, previous FROM event
             WHERE version > ?1 AND resource = ?2 AND (?3 = '' OR namespace = ?3) ORDER BY version LIMIT ?4",
        )?
        .query_map(params![signed(after), resource, namespace, signed(limit as u64)], event)?
        .collect::<Result<_, _>>()?;
    // A full page ends at its last event: there may be more.
    let upto = events.last().filter(|_| events.len() >= limit).map_or(head.max(after), |event| event.version);
    Ok(Ok((events, upto)))
}

/// SQLite's integers are signed; versions count up from 1 and never get near the sign.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn version(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(LAYOUT)?;
    transaction.execute("INSERT INTO version (one, head) VALUES (1, ?1)", [FIRST])?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

fn blob(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    row.get::<_, Vec<u8>>(column).map(Bytes::from)
}

fn event(row: &Row<'_>) -> rusqlite::Result<LogEvent> {
    let kind = match row.get::<_, i64>(1)? {
        1 => EventKind::Added,
        2 => EventKind::Modified,
        3 => EventKind::Deleted,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    };
    let previous = row.get::<_, Option<Vec<u8>>>(3)?.map(Bytes::from);
    Ok(LogEvent { kind, version: version(row, 0)?, object: blob(row, 2)?, previous })
}
