//! What clients have been told of a resource whose backend has no Watch, so that a watch can be made of its List.
//!
//! Pure: no clock, no task. Whatever any client is told of an object (by get, list, create, update, a watch) is in the
//! ledger. So a watch from a version that was told is answered exactly by comparing one complete List with it: what
//! changed since then, what is new, what is gone. A version that the ledger cannot answer for is expired (410).
//!
//! # Whose numbers
//!
//! A backend that keeps the contract numbers its states itself: the ledger only remembers. Where it does not, the ledger
//! numbers: `(start second << 24) + n`, and what the layer below writes as resourceVersion is an opaque token that comes
//! back with a write (an etag; nothing at all). A backend that turns out not to keep the contract (no versions, versions
//! that go back or do not move) is numbered from then on.
//!
//! # Who sees what, and when
//!
//! Everybody's calls run at the same time, and an opaque token does not say which of two states is the newer one. A call
//! that began after a state was noted cannot have seen an older one: such a sight counts as a change. Any other sight of
//! another state is answered to who asked, under a version from before, and changes nothing. Watches are told only
//! what a poll (one complete List, one at a time) has confirmed, in the order of the versions; versions that clients
//! were told meanwhile wait for the poll that began after them.
//!
//! | module | what it does |
//! |---|---|
//! | `sight` | an object as somebody saw it |
//! | `book` | what is remembered, within limits |
//! | `listing` | a List on its way to a client |
//! | `poll` | a complete List of the poller |
//! | `changes` | what is later than a version, as events |
//! | `versions` | versions in calls and answers: tokens outside, numbers inside |

mod book;
mod changes;
mod listing;
mod poll;
mod sight;
mod versions;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use crate::transcode::MessageType;
use book::{Book, Entry, Late};
use sight::{Key, Print};

pub use changes::{Audience, Changes, Expired, Join, Position, initial_event, mark};
pub use listing::{Lacking, Listing, Scope};
pub use poll::{Poll, PollFault, Polled};
pub use sight::Sight;
pub use versions::{Place, Stale, first, inner_continue, outer_continue, tell_items, tell_list};

/// How much is remembered of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Objects. With more no watch is made.
    pub objects: usize,
    /// Changes before the last one of an object, and deletions.
    pub changes: usize,
    /// Bytes of states (while somebody watches), and the same again of past ones.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { objects: 200_000, changes: 20_000, bytes: 32 << 20 }
    }
}

/// Whose the numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// The backend's: it keeps the contract.
    Backend,
    /// The ledger's. `opaque`: what the layer below gives as a version is a token for a state.
    Ledger {
        /// See above. False: whatever the backend wrote there says nothing by itself.
        opaque: bool,
    },
}

/// When a call began, in the ledger's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    generation: u64,
    version: u64,
}

impl Stamp {
    /// The latest version at that time.
    pub fn version(self) -> u64 {
        self.version
    }
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    numbering: Numbering,
    message: MessageType,
    book: Book,
    /// Where the ledger's numbers begin.
    start: u64,
    /// Rises when everything that was told is void.
    generation: u64,
    /// The latest number that was given; of a backend's the highest that was seen.
    version: u64,
    /// Watches are told everything up to here. `None`: nothing was polled yet.
    settled: Option<u64>,
    polls: u32,
    /// Backend numbering: versions that clients may have seen everything up to, and with a scope, everything of that.
    known: BTreeSet<(u64, Option<Scope>)>,
    /// Backend numbering: what another object took the name of, and the version that it went before.
    replaced: Vec<(Late, u64)>,
    /// Backend numbering: within these (from, below) it is not known which deletions had happened.
    doubts: VecDeque<(u64, u64)>,
    note: Option<&'static str>,
}

/// How many versions are known.
const KNOWN: usize = 16 << 10;
/// How many doubts about when something was deleted.
const DOUBTS: usize = 1024;

/// What a sight was, to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// As it is known.
    Same(u64),
    /// Not known before, or changed.
    News(u64),
    /// Another state than the known one, and perhaps an older one. It may be told with this version.
    Doubtful(u64),
}

impl Seen {
    fn version(self) -> u64 {
        match self {
            Self::Same(version) | Self::News(version) | Self::Doubtful(version) => version,
        }
    }
}

impl Ledger {
    /// Nothing was told yet. `start`: the time, in units of 2^-24 s since 1970. Where the ledger numbers, it begins
    /// there, so that what another process told, or this one before, is of a foreign epoch.
    pub fn new(message: MessageType, numbering: Numbering, limits: Limits, start: u64) -> Self {
        let first = match numbering {
            Numbering::Backend => 0,
            Numbering::Ledger { .. } => start,
        };
        Self {
            numbering,
            message,
            book: Book::new(limits, first),
            start,
            generation: 0,
            version: first,
            settled: None,
            polls: 0,
            known: BTreeSet::new(),
            replaced: Vec::new(),
            doubts: VecDeque::new(),
            note: None,
        }
    }

    /// The schema was read again: what objects are read by from now on.
    pub fn set_message(&mut self, message: MessageType) {
        self.message = message;
    }

    /// Whose the numbers are now.
    pub fn numbering(&self) -> Numbering {
        self.numbering
    }

    /// A call begins now.
    pub fn stamp(&self) -> Stamp {
        Stamp { generation: self.generation, version: self.version }
    }

    /// Where the ledger numbers: what it can have told. Whatever is beyond was told by another process.
    pub fn told(&self) -> std::ops::RangeInclusive<u64> {
        self.start..=self.version
    }

    /// An object is about to be told to a client: with this version, or (`None`) as it is. `since`: when the call began
    /// that brought it.
    pub fn observe(&mut self, since: Stamp, sight: &Sight<'_>) -> Option<u64> {
        if self.numbering == Numbering::Backend && sight.number().is_none() {
            self.renumber(NO_VERSION);
        }
        let seen = self.see(self.since(since), sight, None);
        self.make_room(since, sight, seen)
    }

    /// What the layer below calls the state that clients were told with `version`; `None`: the object is not known, or
    /// in another state.
    pub fn token(&self, namespace: &str, name: &str, version: &str) -> Option<&str> {
        let entry = self.book.find(&Key { namespace: namespace.into(), name: name.into() })?;
        (version.parse() == Ok(entry.version)).then_some(&*entry.token)
    }

    /// Nobody watches any more: last states are not needed.
    pub fn drop_states(&mut self) {
        self.book.drop_states();
    }

    /// How many objects are known, and how many bytes of states are kept.
    pub fn size(&self) -> (usize, usize) {
        (self.book.len(), self.book.bytes())
    }

    /// What the log should be told, once.
    pub fn take_note(&mut self) -> Option<&'static str> {
        self.note.take()
    }

    fn since(&self, stamp: Stamp) -> u64 {
        // What began before all was made void cannot be newer than anything.
        if stamp.generation == self.generation { stamp.version } else { 0 }
    }

    /// After a client's call made the ledger too large: it begins anew, and knows just this object.
    fn make_room(&mut self, since: Stamp, sight: &Sight<'_>, seen: Seen) -> Option<u64> {
        let mut seen = seen;
        if self.book.is_full() {
            self.begin_anew(self.version + 1);
            self.note = Some("more objects were told than are remembered: watches begin anew");
            seen = self.see(self.since(since), sight, None);
        }
        (self.numbering != Numbering::Backend).then(|| seen.version())
    }

    /// The backend does not keep the contract: the ledger numbers from now on.
    fn renumber(&mut self, why: &'static str) {
        self.numbering = Numbering::Ledger { opaque: false };
        // From here on the resource has versions of Kubridge's own: see docs/contract.md, Without versions.
        self.note = Some(why);
        self.begin_anew(self.start);
    }

    fn begin_anew(&mut self, version: u64) {
        let floor = if self.numbering == Numbering::Backend { 0 } else { version };
        self.book = Book::new(self.book.limits(), floor);
        self.generation += 1;
        self.version = version;
        self.settled = None;
        self.known.clear();
        self.replaced.clear();
        self.doubts.clear();
    }

    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn see(&mut self, since: u64, sight: &Sight<'_>, poll: Option<u32>) -> Seen {
        let seen = match self.numbering {
            Numbering::Backend => self.see_numbered(sight, poll),
            Numbering::Ledger { opaque } => self.see_token(since, sight, poll, opaque),
        };
        match (poll, seen) {
            (Some(poll), Seen::Same(_) | Seen::News(_)) => {
                if let Some(entry) = self.book.find_mut(&sight.key()) {
                    entry.poll = poll;
                }
            }
            // It is told, and the state is not known.
            (None, Seen::Doubtful(_)) => self.book.loosen(&sight.key()),
            (Some(_), Seen::Doubtful(_)) | (None, Seen::Same(_) | Seen::News(_)) => {}
        }
        seen
    }

    fn see_numbered(&mut self, sight: &Sight<'_>, poll: Option<u32>) -> Seen {
        // `observe` and the poll looked at it.
        let number = sight.number().unwrap_or_default();
        self.version = self.version.max(number);
        let key = sight.key();
        let known = self.book.find(&key).map(|entry| (entry.version, is_other(entry, sight)));
        let taken = match known {
            Some((version, _)) if version == number => return Seen::Same(number),
            // Of a poll: it is there, and known to be in a later state.
            Some((version, _)) if version > number => {
                return if poll.is_some() { Seen::Same(version) } else { Seen::Doubtful(number) };
            }
            Some((version, other)) => {
                self.remember(version, None);
                if other {
                    self.replace(&key, number);
                    self.book.insert(sight, entry(sight, number, None))
                } else {
                    self.book.advance(&key, number, self.settled).map(drop)
                }
            }
            // A complete list that covers this version did not have it.
            None if poll.is_none() && self.settled.is_some_and(|settled| number <= settled) => {
                self.bury_late(sight, number);
                return Seen::Doubtful(number);
            }
            None => self.book.insert(sight, entry(sight, number, None)),
        };
        if taken.is_err() {
            if self.book.at(number).is_none() {
                // A deletion stands there.
                return Seen::Doubtful(number);
            }
            self.renumber("two objects have one resourceVersion, which is to be of one rising sequence");
            return self.see_token(0, sight, poll, false);
        }
        if let Some(entry) = self.book.find_mut(&key) {
            (entry.uid, entry.born, entry.poll) = (sight.uid.into(), sight.created, 0);
        }
        Seen::News(number)
    }

    /// Another object has the name. When the one before went, the next poll says.
    fn replace(&mut self, key: &Key, before: u64) {
        let Some(late) = self.book.take(key, self.settled) else { return };
        if self.replaced.len() < self.book.limits().changes {
            self.replaced.push((late, before));
        } else {
            self.book.floor = self.book.floor.max(before);
        }
    }

    /// A client is told an object that is known to be gone: it must be told that too, when it watches.
    fn bury_late(&mut self, sight: &Sight<'_>, number: u64) {
        let settled = self.settled.unwrap_or_default();
        let key = sight.key();
        let is_it = |past: &book::Past| {
            *past.key == key && past.gone.as_ref().is_some_and(|gone| gone.last >= number)
        };
        if self.book.past(number, settled).any(|(_, past)| is_it(past)) {
            return;
        }
        match (number + 1..=settled).rev().take(KNOWN).find(|version| self.book.is_free(*version)) {
            Some(free) => {
                let entry = Entry { loose: true, ..entry(sight, number, None) };
                self.book.bury(Late { key: Arc::new(key), entry, settled: false }, free);
                self.doubt(free, settled);
            }
            None => self.book.floor = settled,
        }
    }

    /// A deletion is dated with `version`, and it may have been as late as `latest`: who was told a list of a version in
    /// between may have the object, or not.
    fn doubt(&mut self, version: u64, latest: u64) {
        if version < latest {
            self.doubts.push_back((version, latest));
        }
        if self.doubts.len() > DOUBTS
            && let Some((_, latest)) = self.doubts.pop_front()
        {
            self.book.floor = self.book.floor.max(latest);
        }
    }

    fn see_token(&mut self, since: u64, sight: &Sight<'_>, poll: Option<u32>, opaque: bool) -> Seen {
        let by_print = !opaque || sight.token.is_empty();
        let key = sight.key();
        let known = self.book.find(&key).map(|entry| {
            let same = *entry.token == *sight.token
                && match entry.print {
                    Some(print) if by_print => print.is_of(&self.message, sight.object),
                    _ => !by_print,
                };
            (entry.version, entry.created, same, is_other(entry, sight))
        });
        let other = match known {
            Some((version, _, true, false)) => return Seen::Same(version),
            Some((version, created, ..)) if version > since => {
                let told = if created > since && created < version { created } else { since };
                return Seen::Doubtful(told.max(self.book.floor));
            }
            Some((.., other)) => other,
            None => true,
        };
        let print = by_print.then(|| Print::of(&self.message, sight.object));
        let written = if other {
            if let Some(late) = self.book.take(&key, self.settled) {
                let version = self.next();
                self.book.bury(late, version);
            }
            let version = self.next();
            self.book.insert(sight, Entry { print, token: sight.token.into(), ..entry(sight, version, poll) })
        } else {
            let version = self.next();
            self.book.advance(&key, version, self.settled).map(|entry| {
                if let Some(entry) = entry {
                    (entry.token, entry.print, entry.poll) = (sight.token.into(), print, 0);
                    (entry.uid, entry.born) = (sight.uid.into(), sight.created);
                }
            })
        };
        debug_assert!(written.is_ok(), "a new number is free");
        Seen::News(self.version)
    }
}

const NO_VERSION: &str = "the backend gives no resourceVersions of one rising sequence";

/// Whether the name is another object's now.
fn is_other(entry: &Entry, sight: &Sight<'_>) -> bool {
    let differ = !entry.uid.is_empty() && !sight.uid.is_empty() && *entry.uid != *sight.uid;
    differ || (entry.born.is_some() && sight.created.is_some() && entry.born != sight.created)
}

fn entry(sight: &Sight<'_>, version: u64, poll: Option<u32>) -> Entry {
    Entry {
        version,
        created: version,
        token: Box::default(),
        print: None,
        uid: sight.uid.into(),
        born: sight.created,
        poll: poll.unwrap_or_default(),
        loose: false,
        told: false,
        object: None,
        previous: None,
    }
}
