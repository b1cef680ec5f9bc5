//! What is remembered: live objects by name and by version, past states and deletions by version, and their bytes as far
//! as there is room. Mechanics only; what is written here, and when, the rest of the ledger decides.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Limits,
    sight::{Key, Print, Sight},
};

/// A live object.
#[derive(Debug)]
pub(super) struct Entry {
    /// The version of its state: the one that clients are told.
    pub(super) version: u64,
    /// The version at which it was first known.
    pub(super) created: u64,
    /// What the layer below calls its state; empty where the version itself is that.
    pub(super) token: Box<str>,
    /// Where the token does not tell states apart.
    pub(super) print: Option<Print>,
    pub(super) uid: Box<str>,
    /// creationTimestamp, in seconds since 1970.
    pub(super) born: Option<i64>,
    /// The last poll that found it in this state.
    pub(super) poll: u32,
    /// A client may have been told of it by a list whose version is before `created`, or in a state that is not known.
    pub(super) loose: bool,
    /// Watches are told a state of it from before this one.
    pub(super) told: bool,
    /// The state, with its version, where it is kept.
    pub(super) object: Option<Bytes>,
    pub(super) previous: Option<Previous>,
}

/// The last state before this one that watches are told.
#[derive(Debug, Clone)]
pub(super) struct Previous {
    /// Who was told by others than watches has this state up to this version, and then perhaps another.
    pub(super) until: u64,
    pub(super) object: Bytes,
}

/// A state that is past, or an object that is gone.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) key: Arc<Key>,
    pub(super) created: u64,
    pub(super) loose: bool,
    pub(super) told: bool,
    pub(super) object: Option<Bytes>,
    pub(super) previous: Option<Previous>,
    /// The object is gone; `object` was its last state.
    pub(super) gone: Option<Gone>,
}

/// What was live until a moment ago.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) key: Arc<Key>,
    pub(super) entry: Entry,
    /// Watches were told its last state.
    pub(super) settled: bool,
}

/// An object that is gone.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) uid: Box<str>,
    pub(super) born: Option<i64>,
    /// The version of its last state.
    pub(super) last: u64,
    /// Watches were told that state.
    pub(super) settled: bool,
}

impl Entry {
    fn size(&self) -> usize {
        size(self.object.as_ref(), self.previous.as_ref())
    }
}

impl Past {
    fn size(&self) -> usize {
        size(self.object.as_ref(), self.previous.as_ref())
    }
}

fn size(object: Option<&Bytes>, previous: Option<&Previous>) -> usize {
    object.map_or(0, Bytes::len) + previous.map_or(0, |previous| previous.object.len())
}

#[derive(Debug)]
pub(super) struct Book {
    limits: Limits,
    entries: HashMap<Arc<Key>, Entry>,
    /// The live objects by their versions.
    order: BTreeMap<u64, Arc<Key>>,
    past: BTreeMap<u64, Past>,
    /// Which live objects have a state kept, by version, and how large.
    kept: BTreeMap<u64, usize>,
    kept_bytes: usize,
    past_bytes: usize,
    /// What happened up to here is forgotten.
    pub(super) floor: u64,
}

/// Another object has this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken;

impl Book {
    pub(super) fn new(limits: Limits, floor: u64) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            past: BTreeMap::new(),
            kept: BTreeMap::new(),
            kept_bytes: 0,
            past_bytes: 0,
            floor,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() > self.limits.objects
    }

    pub(super) fn find(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn find_mut(&mut self, key: &Key) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&Arc<Key>, &Entry)> {
        self.entries.iter()
    }

    pub(super) fn at(&self, version: u64) -> Option<(&Arc<Key>, &Entry)> {
        let key = self.order.get(&version)?;
        Some((key, self.entries.get(key)?))
    }

    /// Somebody was told an object by a list whose version is before that of the object, or in a state that is not known.
    pub(super) fn loosen(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.loose = true;
        }
        for past in self.past.values_mut().filter(|past| *past.key == *key) {
            past.loose = true;
        }
    }

    /// The live objects whose version is in `after..=until`, in the order of their versions.
    pub(super) fn live(&self, after: u64, until: u64) -> impl Iterator<Item = (u64, &Arc<Key>, &Entry)> {
        self.order
            .range(range(after, until))
            .filter_map(|(version, key)| Some((*version, key, self.entries.get(key)?)))
    }

    /// The past states and deletions whose version is in `after..=until`, in their order.
    pub(super) fn past(&self, after: u64, until: u64) -> impl Iterator<Item = (u64, &Past)> {
        self.past.range(range(after, until)).map(|(version, past)| (*version, past))
    }

    pub(super) fn is_free(&self, version: u64) -> bool {
        !self.order.contains_key(&version) && !self.past.contains_key(&version)
    }

    /// A live object that was not known.
    pub(super) fn insert(&mut self, sight: &Sight<'_>, entry: Entry) -> Result<(), Taken> {
        if !self.is_free(entry.version) {
            return Err(Taken);
        }
        let key = Arc::new(sight.key());
        self.order.insert(entry.version, Arc::clone(&key));
        self.entries.insert(key, entry);
        Ok(())
    }

    /// A live object has another version: its state changed. `settled`: watches are told states up to this version.
    pub(super) fn advance(
        &mut self,
        key: &Key,
        version: u64,
        settled: Option<u64>,
    ) -> Result<Option<&mut Entry>, Taken> {
        if !self.is_free(version) {
            return Err(Taken);
        }
        let Some((key, entry)) = self.entries.get_key_value(key) else { return Ok(None) };
        let (key, before) = (Arc::clone(key), entry.version);
        self.order.remove(&before);
        self.order.insert(version, Arc::clone(&key));
        if let Some(size) = self.kept.remove(&before) {
            self.kept_bytes -= size;
        }
        let is_settled = settled.is_some_and(|settled| before <= settled);
        let mut past = None;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.version = version;
            let object = entry.object.take();
            if is_settled {
                past = Some(Past {
                    key: Arc::clone(&key),
                    created: entry.created,
                    loose: entry.loose,
                    told: std::mem::replace(&mut entry.told, true),
                    object: object.clone(),
                    previous: entry.previous.take(),
                    gone: None,
                });
                entry.previous = object.map(|object| Previous { until: version, object });
            }
            if entry.previous.is_some() {
                self.kept.insert(version, entry.size());
                self.kept_bytes += entry.size();
            }
        }
        if let Some(past) = past {
            self.add_past(before, past);
        }
        Ok(self.entries.get_mut(&key))
    }

    /// Keeps a state of a live object. `at_any_cost`: older ones make room for it.
    pub(super) fn keep(&mut self, key: &Key, object: Bytes, at_any_cost: bool) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let version = entry.version;
        let size = size(Some(&object), entry.previous.as_ref());
        let before = self.kept.get(&version).copied().unwrap_or_default();
        let total = self.kept_bytes - before + size;
        if (total > self.limits.bytes && !at_any_cost) || size > self.limits.bytes {
            return;
        }
        entry.object = Some(object);
        self.kept.insert(version, size);
        self.kept_bytes = total;
        while self.kept_bytes > self.limits.bytes
            && let Some((oldest, size)) = self.kept.pop_first()
        {
            self.kept_bytes -= size;
            if let Some(entry) = self.order.get(&oldest).and_then(|key| self.entries.get_mut(key)) {
                (entry.object, entry.previous) = (None, None);
            }
        }
    }

    /// An object is not live any more. `settled`: watches are told states up to this version, and its last one stays
    /// told.
    pub(super) fn take(&mut self, key: &Key, settled: Option<u64>) -> Option<Late> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.order.remove(&entry.version);
        if let Some(size) = self.kept.remove(&entry.version) {
            self.kept_bytes -= size;
        }
        let settled = settled.is_some_and(|settled| entry.version <= settled);
        if settled {
            let last = Past {
                key: Arc::clone(&key),
                created: entry.created,
                loose: entry.loose,
                told: entry.told,
                object: entry.object.clone(),
                previous: entry.previous.clone(),
                gone: None,
            };
            self.add_past(entry.version, last);
        }
        Some(Late { key, entry, settled })
    }

    /// What was live is gone since a version that is free.
    pub(super) fn bury(&mut self, late: Late, version: u64) {
        let Late { key, entry, settled } = late;
        let gone = Past {
            key,
            created: entry.created,
            loose: entry.loose,
            told: entry.told || settled,
            object: entry.object,
            previous: entry.previous,
            gone: Some(Gone { uid: entry.uid, born: entry.born, last: entry.version, settled }),
        };
        self.add_past(version, gone);
    }

    fn add_past(&mut self, version: u64, past: Past) {
        if past.object.is_none() && past.gone.is_none() {
            // A change that cannot be told any more.
            self.floor = self.floor.max(version);
            return;
        }
        self.past_bytes += past.size();
        self.past.insert(version, past);
        while self.past.len() > self.limits.changes || self.past_bytes > self.limits.bytes {
            let Some((version, past)) = self.past.pop_first() else { break };
            self.past_bytes -= past.size();
            self.floor = self.floor.max(version);
        }
    }

    /// Forgets all states, live and past; not what there is, nor what went.
    pub(super) fn drop_states(&mut self) {
        for version in std::mem::take(&mut self.kept).into_keys() {
            if let Some(entry) = self.order.get(&version).and_then(|key| self.entries.get_mut(key)) {
                (entry.object, entry.previous) = (None, None);
            }
        }
        let changes = self.past.iter().filter(|(_, past)| past.gone.is_none()).map(|(version, _)| *version);
        self.floor = changes.max().map_or(self.floor, |last| last.max(self.floor));
        self.past.retain(|_, past| past.gone.is_some());
        for past in self.past.values_mut() {
            (past.object, past.previous) = (None, None);
        }
        (self.kept_bytes, self.past_bytes) = (0, 0);
    }

    pub(super) fn bytes(&self) -> usize {
        self.kept_bytes + self.past_bytes
    }
}

fn range(after: u64, until: u64) -> (Bound<u64>, Bound<u64>) {
    // Upside down it would panic.
    if until <= after {
        return (Bound::Included(after), Bound::Excluded(after));
    }
    (Bound::Excluded(after), Bound::Included(until))
}
