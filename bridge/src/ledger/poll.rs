//! A complete List of the poller: the one reader whose findings are told to watches.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    Ledger, NO_VERSION, Numbering, Seen, Sight, Stamp,
    book::{Entry, Late},
    listing::number,
    sight::Key,
};
use crate::{object, transcode::WireError};

/// One poll under way. They follow one another.
#[derive(Debug)]
pub struct Poll {
    since: Stamp,
    number: u32,
    /// Backend numbering: an object was beyond the list's version in two polls.
    beyond: bool,
    objects: usize,
}

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// How much there is to tell that was not there before.
    pub changes: usize,
    /// Objects in the list.
    pub objects: usize,
    /// Nothing is left to be confirmed by another poll.
    pub settled: bool,
}

/// Why a poll came to nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PollFault {
    /// Everything that was told became void: poll again at once.
    #[error("the versions begin anew")]
    Again,
    /// There are more objects than are remembered.
    #[error("the collection has more than {0} objects")]
    TooMany(usize),
    /// What came is not what the schema says.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Ledger {
    /// A complete List is about to be called.
    pub fn poll_begins(&mut self) -> Poll {
        // 0 is no poll.
        self.polls = self.polls.wrapping_add(1).max(1);
        Poll { since: self.stamp(), number: self.polls, beyond: false, objects: 0 }
    }

    /// The next items.
    ///
    /// # Errors
    /// See [`PollFault`].
    pub fn poll_reads(&mut self, poll: &mut Poll, items: &[Bytes]) -> Result<(), PollFault> {
        for item in items {
            let sight = Sight::of(item)?;
            if self.numbering == Numbering::Backend && sight.number().is_none() {
                self.renumber(NO_VERSION);
            }
            if poll.since.generation != self.generation {
                return Err(PollFault::Again);
            }
            poll.objects += 1;
            let known = self.book.find(&sight.key());
            let (before, last) = known.map_or((None, 0), |entry| (Some(entry.version), entry.poll));
            let seen = self.see(poll.since.version, &sight, Some(poll.number));
            if poll.since.generation != self.generation {
                return Err(PollFault::Again);
            }
            if self.book.is_full() {
                let limit = self.book.limits().objects;
                self.begin_anew(self.version + 1);
                return Err(PollFault::TooMany(limit));
            }
            // In two lists on end: it is not on its way into the version that lists have.
            let as_before = before.is_some() && before == sight.number();
            poll.beyond |=
                as_before && last == poll.number.wrapping_sub(1) && last != 0 && before > self.settled;
            self.keep(&sight, seen)?;
        }
        Ok(())
    }

    /// Keeps the state of an object, if it is the one that is known: changed ones in any case, others as there is room.
    fn keep(&mut self, sight: &Sight<'_>, seen: Seen) -> Result<(), PollFault> {
        let key = sight.key();
        let Some(entry) = self.book.find(&key) else { return Ok(()) };
        let is_this = match self.numbering {
            Numbering::Backend => sight.number() == Some(entry.version),
            Numbering::Ledger { .. } => !matches!(seen, Seen::Doubtful(_)),
        };
        if !is_this || entry.object.is_some() {
            return Ok(());
        }
        // What nobody was told yet is told with it; what was told long ago, perhaps once more.
        let needed = self.settled.is_none_or(|settled| entry.version > settled);
        let object = match self.numbering {
            // A copy: a slice would keep the whole chunk.
            Numbering::Backend => Bytes::copy_from_slice(sight.object),
            Numbering::Ledger { .. } => {
                object::with_version(sight.object, &entry.version.to_string())?.into()
            }
        };
        self.book.keep(&key, object, needed);
        Ok(())
    }

    /// The list was complete; `version` is what it says of itself.
    ///
    /// # Errors
    /// See [`PollFault`].
    pub fn poll_ends(&mut self, poll: &Poll, version: &str) -> Result<Polled, PollFault> {
        if poll.since.generation != self.generation {
            return Err(PollFault::Again);
        }
        let before = self.settled;
        let settled = match self.numbering {
            Numbering::Backend => match self.settle_numbered(poll, number(version)) {
                Ok(settled) => settled,
                Err(why) => {
                    self.renumber(why);
                    return Err(PollFault::Again);
                }
            },
            Numbering::Ledger { .. } => self.settle_tokens(poll),
        };
        let settled = before.map_or(settled, |before| before.max(settled));
        self.settled = Some(settled);
        let after = before.unwrap_or(settled);
        let changes = self.book.live(after, settled).count() + self.book.past(after, settled).count();
        Ok(Polled { changes, objects: poll.objects, settled: settled >= self.version })
    }

    /// What was live before the poll began and was not in it.
    fn missing(&self, poll: &Poll, until: u64) -> Vec<(u64, Arc<Key>)> {
        let gone = |entry: &Entry| entry.poll != poll.number && entry.version <= until;
        let mut missing: Vec<_> = self
            .book
            .entries()
            .filter(|(_, entry)| gone(entry))
            .map(|(key, entry)| (entry.version, Arc::clone(key)))
            .collect();
        missing.sort_unstable_by_key(|(version, _)| *version);
        missing
    }

    fn settle_numbered(&mut self, poll: &Poll, version: Option<u64>) -> Result<u64, &'static str> {
        let version = version.ok_or(NO_VERSION)?;
        let before = self.settled.unwrap_or_default();
        if version < before {
            return Err("the resourceVersion of the backend's List went back");
        }
        if version == before && poll.beyond {
            return Err("the resourceVersion of the backend's List does not move when objects change");
        }
        self.date_deletions(poll, version, before)?;
        self.version = self.version.max(version);
        self.remember(version, None);
        Ok(version)
    }

    /// A deletion takes a version of its own, and nobody says which: the latest that no object has and that fits, so that
    /// whoever was told the object is told that it is gone.
    fn date_deletions(&mut self, poll: &Poll, version: u64, settled: u64) -> Result<(), &'static str> {
        let mut open: Vec<(u64, Late, bool)> = Vec::new();
        for (last, key) in self.missing(poll, version) {
            self.remember(last, None);
            open.extend(self.book.take(&key, self.settled).map(|late| (version, late, true)));
        }
        for (late, at) in std::mem::take(&mut self.replaced) {
            // The list is from after the other one came, or it could have had it, and had neither.
            let listed = |entry: &Entry| entry.poll == poll.number;
            let absent = late.entry.version <= version
                && !listed(&late.entry)
                && !self.book.find(&late.key).is_some_and(listed);
            if at <= version || absent {
                open.push((version.min(at - 1), late, false));
            } else {
                self.replaced.push((late, at));
            }
        }
        open.sort_unstable_by_key(|(until, ..)| *until);
        // From the latest version down: of those that may have it, the one that was there for the longest.
        let mut waiting = BTreeMap::new();
        let (mut free, mut earliest) = (version, version);
        loop {
            if waiting.is_empty() {
                let Some((until, ..)) = open.last() else {
                    self.doubt(earliest, version);
                    return Ok(());
                };
                free = free.min(*until);
            }
            while let Some((_, late, must)) = open.pop_if(|(until, ..)| *until >= free) {
                waiting.insert((late.entry.version, Arc::clone(&late.key)), (late, must));
            }
            while free > settled && !self.book.is_free(free) {
                free -= 1;
            }
            // Passing by, more may have it.
            if open.last().is_some_and(|(until, ..)| *until >= free) {
                continue;
            }
            let Some((_, (late, must))) = waiting.pop_last() else { continue };
            if free > settled.max(late.entry.version) {
                self.book.bury(late, free);
                earliest = earliest.min(free);
            } else if must {
                return Err(
                    "the resourceVersion of the backend's List does not move when an object is deleted",
                );
            } else {
                self.book.floor = self.book.floor.max(version);
            }
        }
    }

    fn settle_tokens(&mut self, poll: &Poll) -> u64 {
        for (_, key) in self.missing(poll, poll.since.version) {
            if let Some(late) = self.book.take(&key, self.settled) {
                let version = self.next();
                self.book.bury(late, version);
            }
        }
        // What others noticed since the poll began, and it did not: the next one confirms it or does not.
        let mut since = self.book.live(poll.since.version, u64::MAX);
        let open = since.find(|(.., entry)| entry.poll != poll.number).map(|(version, ..)| version - 1);
        open.unwrap_or(self.version)
    }
}
