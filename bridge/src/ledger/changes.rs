//! What is later than a version, as events.

use bytes::Bytes;
use prost::Message as _;

use super::{
    Ledger, Numbering,
    book::{Entry, Gone, Past},
    listing::{Lacking, Scope},
    sight::Key,
};
use crate::{
    object,
    proto::{EventType, ObjectMeta, Time},
    wire,
};

/// Up to where a watch was told everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    generation: u64,
    version: u64,
    /// The version that the client came with: it may have been told by others than watches.
    since: u64,
}

impl Position {
    /// The version.
    pub fn version(self) -> u64 {
        self.version
    }
}

/// Whether a watch can begin at a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// It can.
    At(Position),
    /// Another poll says.
    Unknown,
    /// It cannot: the client has to list again.
    Expired,
}

/// A watch cannot go on: the client has to list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is later than this version is not known any more")]
pub struct Expired;

/// The next changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// In the order of their versions, each on the wire as `kubridge.v1.Event`.
    pub events: Vec<Bytes>,
    /// How many changes were looked at.
    pub seen: usize,
    /// Everything up to here is in them.
    pub until: Position,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience<'a> {
    /// Empty: all.
    pub namespace: &'a str,
    /// The client selects by labels or fields: it has to be known what the object was before.
    pub selects: bool,
    /// What the list that the client continues did not have.
    pub lacks: Option<&'a Lacking>,
}

impl Ledger {
    /// Whether a watch can begin after `version`. `polled`: a poll has ended since it was asked for.
    pub fn join(&self, version: u64, scopes: [&str; 3], polled: bool) -> Join {
        let at = Join::At(Position { generation: self.generation, version, since: version });
        if version < self.book.floor || self.is_in_doubt(version) {
            return Join::Expired;
        }
        match self.numbering {
            Numbering::Ledger { .. } if version > self.version => Join::Expired,
            Numbering::Ledger { .. } => at,
            Numbering::Backend => {
                let [namespace, labels, fields] = scopes;
                let told = || {
                    let covering = Scope::covering(namespace, labels, fields);
                    covering.iter().any(|scope| self.known.contains(&(version, Some(*scope))))
                };
                if self.known.contains(&(version, None)) || !self.book.is_free(version) || told() {
                    at
                } else if polled || self.settled.is_some_and(|settled| version <= settled) {
                    Join::Expired
                } else {
                    Join::Unknown
                }
            }
        }
    }

    fn is_in_doubt(&self, version: u64) -> bool {
        self.doubts.iter().any(|(from, below)| (*from..*below).contains(&version))
    }

    /// Where a watch of what comes next begins. `None`: nothing was polled yet.
    pub fn here(&self) -> Option<Position> {
        let version = self.settled?;
        Some(Position { generation: self.generation, version, since: version })
    }

    /// At most `limit` changes after `position`.
    ///
    /// # Errors
    /// See [`Expired`].
    pub fn after(
        &self,
        position: Position,
        audience: Audience<'_>,
        limit: usize,
    ) -> Result<Changes, Expired> {
        let after = position.version;
        if position.generation != self.generation
            || after < self.book.floor
            || (after == position.since && self.is_in_doubt(after))
        {
            return Err(Expired);
        }
        let mut changes = Changes { events: Vec::new(), seen: 0, until: position };
        let Some(settled) = self.settled.filter(|settled| *settled > after) else { return Ok(changes) };
        // Of both one more than is taken of them together: the rest comes later.
        let live = self.book.live(after, settled).take(limit + 1);
        let past = self.book.past(after, settled).take(limit + 1);
        let live = live.map(|(version, key, entry)| (version, Found::Live(key, entry)));
        let past = past.map(|(version, past)| (version, Found::Past(past)));
        let mut found: Vec<(u64, Found<'_>)> = live.chain(past).collect();
        found.sort_unstable_by_key(|(version, _)| *version);
        for (version, found) in found {
            if changes.seen == limit {
                return Ok(changes);
            }
            changes.seen += 1;
            changes.until.version = version;
            let key = match found {
                Found::Live(key, _) => key,
                Found::Past(past) => &past.key,
            };
            // It was gone before the list, and has not come back since.
            let never_told = found.gone().is_some_and(|gone| {
                let lacked = audience.lacks.is_some_and(|lacking| lacking.has(key, &gone.uid));
                lacked && gone.last <= position.since
            });
            if never_told {
                continue;
            }
            if audience.namespace.is_empty() || *key.namespace == *audience.namespace {
                changes.events.extend(found.event(version, position.since, audience)?);
            }
        }
        changes.until.version = settled;
        Ok(changes)
    }
}

enum Found<'a> {
    Live(&'a Key, &'a Entry),
    Past(&'a Past),
}

impl Found<'_> {
    fn gone(&self) -> Option<&Gone> {
        match self {
            Self::Past(past) => past.gone.as_ref(),
            Self::Live(..) => None,
        }
    }

    /// `since`: the client came with this version. `None`: it never knew what is gone.
    fn event(&self, version: u64, since: u64, audience: Audience<'_>) -> Result<Option<Bytes>, Expired> {
        let (created, loose, told, object, previous) = match self {
            Self::Live(_, e) => (e.created, e.loose, e.told, e.object.as_ref(), e.previous.as_ref()),
            Self::Past(p) => (p.created, p.loose, p.told, p.object.as_ref(), p.previous.as_ref()),
        };
        let new = created > since && !told && !loose;
        // What the client had before, as far as that is known.
        let before = previous.filter(|previous| since < previous.until && !loose).map(|p| &p.object);
        let Self::Past(Past { key, gone: Some(gone), .. }) = self else {
            let kind = if new { EventType::Added } else { EventType::Modified };
            let object = object.ok_or(Expired)?;
            return Ok(Some(event(kind, version, object, before.filter(|_| !new))));
        };
        if new {
            return Ok(None);
        }
        let before = if loose {
            None
        } else if gone.settled || since >= gone.last {
            object
        } else {
            before
        };
        if audience.selects && before.is_none() {
            return Err(Expired);
        }
        let last = object.or(previous.map(|previous| &previous.object));
        let last = last.cloned().unwrap_or_else(|| name_alone(key, gone));
        // Machines take the version from the event; clients that resume take it from the object.
        let object = object::with_version(&last, &version.to_string()).map(Bytes::from).unwrap_or(last);
        Ok(Some(event(EventType::Deleted, version, &object, before)))
    }
}

/// Of an object whose last state was not kept: what names it.
fn name_alone(key: &Key, gone: &Gone) -> Bytes {
    let meta = ObjectMeta {
        name: key.name.to_string(),
        namespace: key.namespace.to_string(),
        uid: gone.uid.to_string(),
        creation_timestamp: gone.born.map(|seconds| Time { seconds, nanos: 0 }),
        ..ObjectMeta::default()
    };
    let mut object = Vec::new();
    wire::put_bytes(&mut object, object::METADATA, &meta.encode_to_vec());
    object.into()
}

/// `kubridge.v1.Event` on the wire.
pub(super) fn event(kind: EventType, version: u64, object: &[u8], previous: Option<&Bytes>) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + previous.map_or(0, Bytes::len) + 40);
    wire::put_varint(&mut out, 1, u64::from(kind as u32));
    if !object.is_empty() {
        wire::put_bytes(&mut out, 2, object);
    }
    if let Some(previous) = previous {
        wire::put_bytes(&mut out, 3, previous);
    }
    wire::put_bytes(&mut out, 4, version.to_string().as_bytes());
    out.into()
}

/// An event that an object is there, at its own version: of the initial ones.
pub fn initial_event(object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 16);
    wire::put_varint(&mut out, 1, u64::from(EventType::Added as u32));
    wire::put_bytes(&mut out, 2, object);
    out.into()
}

/// An event that nothing else happened up to a version; `initial`: it ends the initial ones.
pub fn mark(version: u64, initial: bool) -> Bytes {
    event(if initial { EventType::Synced } else { EventType::Bookmark }, version, b"", None)
}
