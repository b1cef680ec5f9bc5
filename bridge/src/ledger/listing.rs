//! A List on its way to a client.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use super::{KNOWN, Ledger, NO_VERSION, Numbering, Seen, Sight, Stamp, sight::Key};

/// What a client asks for of a collection. Equal scopes are equal questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope(u64);

impl Scope {
    /// Selectors as the client wrote them; empty namespace: all.
    pub fn new(namespace: &str, labels: &str, fields: &str) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        [namespace, labels, fields].hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The scopes whose lists tell all that is in one: itself, its namespace, everything.
    pub(super) fn covering(namespace: &str, labels: &str, fields: &str) -> [Self; 3] {
        [Self::new(namespace, labels, fields), Self::new(namespace, "", ""), Self::new("", "", "")]
    }
}

/// One List, while it is told. What of it was told counts, should it end early.
#[derive(Debug)]
pub struct Listing {
    since: Stamp,
    scope: Scope,
    /// The version of the first page.
    page_of: Option<u64>,
    /// What this list has told with versions later than `since`.
    told: BTreeMap<u64, Key>,
    any: bool,
    /// Hashes of the names and UIDs in it, where it is to be said what it lacks.
    names: Option<HashSet<u64>>,
}

impl Listing {
    /// It is to be said what it lacks: see [`Ledger::list_lacks`].
    #[must_use]
    pub fn noting_names(self) -> Self {
        Self { names: Some(HashSet::new()), ..self }
    }
}

/// What was known before a list began, and was not in it: it is gone, and a poll will say so. Whoever was told that list
/// has nothing to forget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking(HashMap<Arc<Key>, Box<str>>);

impl Lacking {
    pub(super) fn has(&self, key: &Key, uid: &str) -> bool {
        self.0.get(key).is_some_and(|lacked| **lacked == *uid)
    }
}

impl Ledger {
    /// A List is about to be called. `page_of`: the version that its first page was told with.
    pub fn list_begins(&self, scope: Scope, page_of: Option<u64>) -> Listing {
        Listing { since: self.stamp(), scope, page_of, told: BTreeMap::new(), any: false, names: None }
    }

    /// What the list says of its own version, where that comes before its items.
    pub fn list_says(&mut self, listing: &mut Listing, version: &str) {
        if self.numbering == Numbering::Backend && number(version).is_none() {
            self.renumber_for(listing);
        }
    }

    /// The next items: the versions to tell them with, or (`None`) as they are.
    pub fn list_tells(&mut self, listing: &mut Listing, sights: &[Sight<'_>]) -> Option<Vec<u64>> {
        if self.numbering == Numbering::Backend && sights.iter().any(|sight| sight.number().is_none()) {
            self.renumber_for(listing);
        }
        let mut versions = Vec::with_capacity(sights.len());
        for sight in sights {
            listing.any = true;
            if let Some(names) = &mut listing.names {
                names.insert(hash(&sight.key(), sight.uid));
            }
            let (generation, before, since) = (self.generation, self.version, self.since(listing.since));
            let seen = self.see(since, sight, None);
            if self.book.is_full() {
                self.make_room(listing.since, sight, seen);
            }
            if self.numbering != Numbering::Backend && self.generation == generation {
                // With what went before it, where the name is another object's now.
                listing.told.extend((before + 1..=self.version).map(|version| (version, sight.key())));
                if let Seen::Same(version) = seen
                    && version > since
                {
                    listing.told.insert(version, sight.key());
                }
            }
            versions.push(seen.version());
        }
        (self.numbering != Numbering::Backend).then_some(versions)
    }

    /// What of a namespace (empty: of all) a complete list, of everything there, lacks.
    pub fn list_lacks(&self, listing: &Listing, namespace: &str) -> Lacking {
        let Some(names) = &listing.names else { return Lacking::default() };
        if listing.since.generation != self.generation {
            return Lacking::default();
        }
        let since = listing.since.version;
        let live = self
            .book
            .entries()
            .filter(|(_, entry)| entry.version <= since)
            .map(|(key, entry)| (key, &entry.uid));
        // A poll said it meanwhile: that may be told to a watch from this list.
        let gone = self.book.past(since, u64::MAX).filter_map(|(_, past)| {
            let gone = past.gone.as_ref()?;
            (gone.last <= since).then_some((&past.key, &gone.uid))
        });
        let lacking = live.chain(gone).filter(|(key, uid)| {
            (namespace.is_empty() || *key.namespace == *namespace) && !names.contains(&hash(key, uid))
        });
        Lacking(lacking.map(|(key, uid)| (Arc::clone(key), uid.clone())).collect())
    }

    /// The list is complete: the version to tell it with, or (`None`) its own, which is `version`. A watch from there
    /// misses nothing that is not in the list.
    pub fn list_ends(&mut self, listing: Listing, version: &str) -> Option<u64> {
        let mut listing = listing;
        self.list_says(&mut listing, version);
        if self.numbering == Numbering::Backend {
            let version = number(version)?;
            self.version = self.version.max(version);
            self.remember(version, Some(listing.scope));
            return None;
        }
        if listing.since.generation != self.generation {
            // What it told is void, and so is a watch from it.
            return Some(listing.since.version.max(1));
        }
        let since = listing.since.version;
        // Whether somebody else noticed a change meanwhile: the list may have it, or not.
        let own = |version: u64| listing.told.contains_key(&version);
        let disturbed = self.book.live(since, u64::MAX).any(|(version, ..)| !own(version))
            || self.book.past(since, u64::MAX).any(|(version, past)| past.gone.is_some() && !own(version));
        let all = if disturbed { since } else { self.version };
        let version = listing.page_of.map_or(all, |first| first.min(all));
        for (_, key) in listing.told.range(version + 1..) {
            self.book.loosen(key);
        }
        Some(version)
    }

    pub(super) fn remember(&mut self, version: u64, scope: Option<Scope>) {
        self.known.insert((version, scope));
        if self.known.len() > KNOWN {
            self.known.pop_first();
        }
    }

    fn renumber_for(&mut self, listing: &mut Listing) {
        self.renumber(NO_VERSION);
        // Nobody knows anything: what comes is as new as anything. Unless some of it was told before.
        if !listing.any {
            listing.since = self.stamp();
        }
    }
}

fn hash(key: &Key, uid: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (key, uid).hash(&mut hasher);
    hasher.finish()
}

/// A decimal version.
pub(super) fn number(version: &str) -> Option<u64> {
    version.parse().ok().filter(|number| *number > 0)
}
