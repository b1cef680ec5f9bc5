//! A client as client-go's informers are: list, watch, resume, list again on 410.

use std::collections::BTreeMap;

use bytes::Bytes;
use kubridge_bridge::{
    ledger::{Audience, Join, Lacking, Listing, Position},
    object::MetaView,
    transcode::WireError,
    watch::{ClientEvent, Failure, Machine, Start},
};

use crate::world::{Key, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selects {
    All,
    Label(&'static str),
}

impl Selects {
    fn matches(self, object: &[u8]) -> Result<bool, WireError> {
        match self {
            Self::All => Ok(true),
            Self::Label(value) => Ok(MetaView::of(object)?.label("t") == Some(value)),
        }
    }
}

type Matches = Box<dyn Fn(&[u8]) -> Result<bool, WireError>>;

struct Watch {
    at: Position,
    machine: Machine<Matches>,
}

/// A list of which half is read.
struct Half {
    listing: Listing,
    told: Vec<Bytes>,
    rest: Vec<Bytes>,
    version: String,
}

pub struct Informer {
    namespace: &'static str,
    selects: Selects,
    /// Whether every event must be news.
    exact: bool,
    /// Version and state.
    objects: BTreeMap<Key, (u64, u64)>,
    /// Where it resumes; none: it has to list.
    last: Option<u64>,
    /// Of the list that it continues; none: it resumes a watch, and nobody knows any more.
    lacking: Option<Lacking>,
    watch: Option<Watch>,
    half: Option<Half>,
}

fn read(object: &[u8]) -> (Key, u64, u64) {
    let meta = MetaView::of(object).unwrap();
    let state = meta.label("state").map_or(0, |state| state.parse().unwrap());
    ((meta.namespace.into(), meta.name.into()), meta.version().unwrap(), state)
}

impl Informer {
    pub fn new(namespace: &'static str, selects: Selects, exact: bool) -> Self {
        Self {
            namespace,
            selects,
            exact,
            objects: BTreeMap::new(),
            last: None,
            lacking: None,
            watch: None,
            half: None,
        }
    }

    pub fn break_off(&mut self) {
        self.watch = None;
        self.lacking = None;
    }

    pub fn forget(&mut self) {
        self.break_off();
        self.last = None;
    }

    /// Begins a list and reads half of it, or reads the other half.
    pub fn list_half(&mut self, world: &mut World) {
        if self.half.is_some() {
            return self.finish_list(world);
        }
        let mut listing = world.begin_list(self.namespace);
        if self.selects == Selects::All {
            listing = listing.noting_names();
        }
        let (items, version) = world.all(self.namespace);
        let (first, rest) = items.split_at(items.len() / 2);
        let told = world.tell(&mut listing, first);
        self.half = Some(Half { listing, told, rest: rest.to_vec(), version });
    }

    /// The rest of the list, and what it means.
    pub fn finish_list(&mut self, world: &mut World) {
        let Some(Half { mut listing, mut told, rest, version }) = self.half.take() else { return };
        told.extend(world.tell(&mut listing, &rest));
        let lacking = world.ledger.list_lacks(&listing, self.namespace);
        self.lacking = Some(lacking).filter(|_| self.selects == Selects::All);
        let version = match world.ledger.list_ends(listing, &version) {
            None => version.parse().unwrap(),
            Some(version) => version,
        };
        self.watch = None;
        let selected = told.iter().filter(|object| self.selects.matches(object).unwrap());
        self.objects = selected
            .map(|object| {
                // Before the ledger found out, versions were as they came.
                let meta = MetaView::of(object).unwrap();
                let told = meta.version().unwrap_or_default();
                let state = meta.label("state").unwrap().parse().unwrap();
                ((meta.namespace.into(), meta.name.into()), (told, state))
            })
            .collect();
        self.last = Some(version);
    }

    fn list(&mut self, world: &mut World) {
        self.half = None;
        self.list_half(world);
        self.finish_list(world);
    }

    /// Reads up to `limit` events, as they are there.
    pub fn read(&mut self, world: &mut World, limit: usize) {
        for _ in 0..3 {
            match self.try_read(world, limit) {
                Ok(()) => return,
                // 410.
                Err(()) => self.forget(),
            }
        }
        panic!("410 after a fresh list, three times");
    }

    fn try_read(&mut self, world: &mut World, limit: usize) -> Result<(), ()> {
        if self.last.is_none() {
            self.list(world);
        }
        let last = self.last.unwrap();
        let watch = match &mut self.watch {
            Some(watch) => watch,
            None => {
                let scope = [self.namespace, "", ""];
                let mut join = world.ledger.join(last, scope, false);
                if join == Join::Unknown {
                    world.poll();
                    join = world.ledger.join(last, scope, true);
                }
                let Join::At(at) = join else { return Err(()) };
                let selects = self.selects;
                let which = match selects {
                    Selects::All => kubridge_bridge::watch::Selects::Identity,
                    Selects::Label(_) => kubridge_bridge::watch::Selects::State,
                };
                let matches: Matches = Box::new(move |object| selects.matches(object));
                let machine = Machine::new(Start::After(last), which, true, matches);
                self.watch.insert(Watch { at, machine })
            }
        };
        let audience = Audience {
            namespace: self.namespace,
            selects: self.selects != Selects::All,
            lacks: self.lacking.as_ref(),
        };
        let changes = world.ledger.after(watch.at, audience, limit).map_err(|_| ())?;
        watch.at = changes.until;
        for event in changes.events {
            match watch.machine.message(&event) {
                Ok(None) => {}
                Ok(Some(event)) => {
                    let lacks = self.lacking.is_some();
                    Self::apply(&mut self.objects, &mut self.last, &event, self.exact, lacks);
                }
                Err(Failure::Expired(_)) => return Err(()),
                Err(other) => panic!("{other:?}"),
            }
        }
        self.last = self.last.max(watch.machine.version()).max(Some(watch.at.version()));
        Ok(())
    }

    fn apply(
        objects: &mut BTreeMap<Key, (u64, u64)>,
        last: &mut Option<u64>,
        event: &ClientEvent,
        exact: bool,
        lacks: bool,
    ) {
        let (object, kind) = match event {
            ClientEvent::Added(object) => (object, "ADDED"),
            ClientEvent::Modified(object) => (object, "MODIFIED"),
            ClientEvent::Deleted(object) => (object, "DELETED"),
            ClientEvent::Bookmark { .. } => return,
        };
        let (key, version, state) = read(object);
        assert!(last.is_none_or(|last| version > last), "{kind} {key:?} {version} after {last:?}");
        *last = Some(version);
        let known = objects.get(&key).copied();
        if exact {
            match kind {
                "ADDED" => assert_eq!(known, None, "{key:?} is there already"),
                "MODIFIED" => {
                    assert!(known.is_none_or(|(_, before)| before != state), "{key:?} {known:?} {state}");
                }
                // Who resumes may be told that something is gone that went just before the list.
                _ => assert!(!lacks || known.is_some(), "{key:?} was not in the list"),
            }
        }
        match kind {
            "DELETED" => drop(objects.remove(&key)),
            _ => drop(objects.insert(key, (version, state))),
        }
    }

    /// What it knows is what there is.
    pub fn check(&self, world: &World) {
        let expected: BTreeMap<Key, u64> = world
            .objects
            .iter()
            .filter(|((namespace, _), object)| {
                (self.namespace.is_empty() || namespace == self.namespace)
                    && match self.selects {
                        Selects::All => true,
                        Selects::Label(label) => object.label == label,
                    }
            })
            .map(|(key, object)| (key.clone(), object.state))
            .collect();
        let known: BTreeMap<Key, u64> =
            self.objects.iter().map(|(key, (_, state))| (key.clone(), *state)).collect();
        assert_eq!(known, expected, "{} {:?}", self.namespace, self.selects);
    }
}
