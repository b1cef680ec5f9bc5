//! One transaction of the one writer.

use rusqlite::{Transaction, params};

use super::{Key, read};
use crate::{contract::EventType, fault::Fault, kind::Kind};

/// A transaction, kept only when all of it worked.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    tx: Transaction<'a>,
    head: i64,
    log_limit: i64,
}

impl<'a> Write<'a> {
    pub(super) fn new(tx: Transaction<'a>, log_limit: i64) -> Result<Self, Fault> {
        let head = read::head(&tx)?;
        Ok(Self { tx, head, log_limit })
    }

    /// The object as it is now.
    pub(crate) fn get<T: Kind>(&self, key: &Key) -> Result<Option<T>, Fault> {
        read::object(&self.tx, key)
    }

    /// Stores a new object (no `previous`) or replaces one, under the next version, which it is given.
    pub(crate) fn put<T: Kind>(
        &mut self,
        key: &Key,
        object: &mut T,
        previous: Option<&T>,
    ) -> Result<(), Fault> {
        let kind = if previous.is_some() { EventType::Modified } else { EventType::Added };
        let wire = self.log(key, kind, object, previous)?;
        self.tx
            .prepare_cached(
                "INSERT INTO objects (resource, namespace, name, rv, object) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET rv = excluded.rv, object = excluded.object",
            )?
            .execute(params![key.resource, key.namespace, key.name, self.head, wire])?;
        Ok(())
    }

    /// Removes an object; it is given the version of its deletion.
    pub(crate) fn delete<T: Kind>(&mut self, key: &Key, stored: &T) -> Result<T, Fault> {
        let mut object = stored.clone();
        self.log(key, EventType::Deleted, &mut object, Some(stored))?;
        self.tx
            .prepare_cached("DELETE FROM objects WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?
            .execute(params![key.resource, key.namespace, key.name])?;
        Ok(object)
    }

    pub(super) fn commit(self) -> Result<i64, Fault> {
        self.tx.commit()?;
        Ok(self.head)
    }

    fn log<T: Kind>(
        &mut self,
        key: &Key,
        kind: EventType,
        object: &mut T,
        previous: Option<&T>,
    ) -> Result<Vec<u8>, Fault> {
        let version = self.head + 1;
        object.meta_mut().set_resource_version(&version.to_string());
        let wire = object.encode_to_vec();
        let previous = previous.map(|object| object.encode_to_vec());
        self.tx
            .prepare_cached(
                "INSERT INTO log (rv, resource, namespace, name, type, object, previous)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![version, key.resource, key.namespace, key.name, kind as i32, wire, previous])?;
        self.head = version;
        let trim = version - self.log_limit;
        if self.tx.prepare_cached("UPDATE trimmed SET rv = ?1 WHERE rv < ?1")?.execute([trim])? > 0 {
            self.tx.prepare_cached("DELETE FROM log WHERE rv <= ?1")?.execute([trim])?;
        }
        Ok(wire)
    }
}
