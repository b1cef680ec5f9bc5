//! A backend's events -> a client's events: the state machine of one watch, without I/O or time.
//!
//! What it holds to: the client sees every change of the objects that its selectors match once and in order,
//! over any number of backend streams; where that cannot be had the watch ends with an error, never silently.

use std::collections::HashSet;

use bytes::Bytes;
use prost::{Message as _, encoding::WireType};

use crate::{
    caller::{BackendStatus, CallError, Code},
    object::{self, MetaView},
    proto::{EventType, rpc},
    transcode::WireError,
    wire,
};

/// `kubridge.v1.Event`, its objects as slices of the message.
#[derive(Debug, Default)]
struct Event {
    kind: i32,
    object: Bytes,
    previous: Bytes,
    resource_version: String,
    error: Option<rpc::Status>,
}

impl Event {
    fn parse(message: &Bytes) -> Result<Self, Failure> {
        let bad = |what: String| Failure::Malformed(format!("not an event: {what}"));
        let mut event = Self::default();
        for field in wire::fields(message) {
            let field = field.map_err(|e| bad(e.to_string()))?;
            match (field.number, field.wire_type) {
                (1, WireType::Varint) => event.kind = i32::try_from(field.varint()).unwrap_or_default(),
                (2, WireType::LengthDelimited) => merge(&mut event.object, message, field.value),
                (3, WireType::LengthDelimited) => merge(&mut event.previous, message, field.value),
                (4, WireType::LengthDelimited) => {
                    let version = std::str::from_utf8(field.value).map_err(|e| bad(e.to_string()))?;
                    event.resource_version = version.into();
                }
                (5, WireType::LengthDelimited) => {
                    event.error = Some(rpc::Status::decode(field.value).map_err(|e| bad(e.to_string()))?);
                }
                _ => {}
            }
        }
        Ok(event)
    }
}

/// A message field that stands twice is one message.
fn merge(field: &mut Bytes, message: &Bytes, value: &[u8]) {
    *field = if field.is_empty() { message.slice_ref(value) } else { [field, value].concat().into() };
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the present state, as ADDED events.
    Present,
    /// With the next change (`sendInitialEvents=false` without a version).
    Now,
    /// With what is later than this version.
    After(u64),
}

/// What the client's selectors look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selects {
    /// Name and namespace at most: whether an object matches never changes.
    Identity,
    /// Labels or fields that change: an object may come and go.
    State,
}

/// What the client is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// An object that the client has not.
    Added(Bytes),
    /// An object that the client has, changed.
    Modified(Bytes),
    /// An object that is gone, or no longer matches; with the version at which it went.
    Deleted(Bytes),
    /// Nothing happened up to `version`.
    Bookmark {
        /// A watch may resume from here.
        version: u64,
        /// The initial events are complete.
        initial_events_end: bool,
    },
}

/// Why a watch cannot go on.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The client has to list again: 410 Expired.
    Expired(String),
    /// The backend's stream is not what the contract says: 500. For the log.
    Malformed(String),
    /// The backend ended the watch with an error.
    Backend(CallError),
}

/// How to go on after the backend's stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Open a stream that starts here.
    From(Start),
    /// Events would be lost.
    Impossible,
}

/// The state of one watch. `F` says whether an object (on the wire) matches the client's selectors.
#[derive(Debug)]
pub struct Machine<F> {
    selects: Selects,
    matches: F,
    bookmarks: bool,
    /// The initial events are not complete.
    initial: bool,
    /// An event came since the (first) stream was opened.
    begun: bool,
    /// Everything up to here was seen.
    last: Option<u64>,
    /// What the client has, where nothing else tells: a selection of changing fields that began with the
    /// present state.
    known: Option<HashSet<String>>,
}

impl<F: Fn(&[u8]) -> Result<bool, WireError>> Machine<F> {
    /// A watch before its first event. `bookmarks`: the client reads them.
    pub fn new(start: Start, selects: Selects, bookmarks: bool, matches: F) -> Self {
        Self {
            selects,
            matches,
            bookmarks,
            initial: start == Start::Present,
            begun: false,
            last: if let Start::After(version) = start { Some(version) } else { None },
            known: (start == Start::Present && selects == Selects::State).then(HashSet::new),
        }
    }

    /// The version that everything was seen up to, once the initial events are complete.
    pub fn version(&self) -> Option<u64> {
        self.last.filter(|_| !self.initial)
    }

    /// The latest version that came, whether or not the initial events are complete.
    pub fn seen(&self) -> Option<u64> {
        self.last
    }

    /// Where the next stream has to start, when one ended.
    pub fn resume(&self) -> Resume {
        match (self.begun, self.initial, self.last) {
            (_, false, Some(last)) => Resume::From(Start::After(last)),
            (false, true, _) => Resume::From(Start::Present),
            // Of the present state a part was sent, or changes may have gone by: the client has to start again.
            (true, _, _) | (false, false, None) => Resume::Impossible,
        }
    }

    /// Takes a message of the backend's stream; `None`: nothing for this client.
    ///
    /// # Errors
    /// The watch ends, see [`Failure`].
    pub fn message(&mut self, message: &Bytes) -> Result<Option<ClientEvent>, Failure> {
        let event = Event::parse(message)?;
        let kind = EventType::try_from(event.kind).unwrap_or_default();
        match kind {
            EventType::Unspecified => {
                Err(Failure::Malformed(format!("an event of the unknown type {}", event.kind)))
            }
            EventType::Error => Err(self.error(event)),
            EventType::Bookmark | EventType::Synced => self.bookmark(kind, &event),
            EventType::Added | EventType::Modified | EventType::Deleted => self.change(kind, event),
        }
    }

    fn error(&self, event: Event) -> Failure {
        let error = event.error.unwrap_or_default();
        self.failed(CallError::Status(Box::new(BackendStatus {
            code: Code::from_number(error.code),
            message: error.message,
            details: Vec::new(),
        })))
    }

    /// What a failed call means for the watch.
    pub fn failed(&self, error: CallError) -> Failure {
        match &error {
            CallError::Status(status) if status.code == Code::OutOfRange => {
                let from = self.last.map(|version| format!(": {version}")).unwrap_or_default();
                Failure::Expired(format!("too old resource version{from}"))
            }
            CallError::Status(_) | CallError::Transport(_) => Failure::Backend(error),
        }
    }

    fn bookmark(&mut self, kind: EventType, event: &Event) -> Result<Option<ClientEvent>, Failure> {
        let version = number(&event.resource_version)?;
        self.begun = true;
        let initial = std::mem::take(&mut self.initial);
        let later = self.last.is_none_or(|last| version > last);
        self.last = self.last.max(Some(version));
        let end = initial && kind == EventType::Synced;
        if !self.bookmarks || !(later || initial) {
            return Ok(None);
        }
        Ok(self.last.map(|version| ClientEvent::Bookmark { version, initial_events_end: end }))
    }

    fn change(&mut self, kind: EventType, event: Event) -> Result<Option<ClientEvent>, Failure> {
        let meta = MetaView::of(&event.object).map_err(fault)?;
        if meta.name.is_empty() {
            return Err(Failure::Malformed(format!("{} without an object", kind.as_str_name())));
        }
        let version = number(if event.resource_version.is_empty() {
            meta.resource_version
        } else {
            &event.resource_version
        })?;
        self.begun = true;
        if kind != EventType::Added {
            self.initial = false;
        }
        // The initial events come in any order of versions.
        if !self.initial && self.last.is_some_and(|last| version <= last) {
            return Ok(None);
        }
        let stamped = kind == EventType::Deleted && meta.version() != Some(version);
        let (was, is) = self.matched(kind, &meta, &event)?;
        self.last = self.last.max(Some(version));
        Ok(match (was, is) {
            (false, false) => None,
            (false, true) => Some(ClientEvent::Added(event.object)),
            (true, true) => Some(ClientEvent::Modified(event.object)),
            // As Kubernetes does: the last state that matched, with the version of the change.
            (true, false) if kind == EventType::Modified && !event.previous.is_empty() => {
                Some(ClientEvent::Deleted(stamp(&event.previous, version)?))
            }
            (true, false) if stamped || kind == EventType::Modified => {
                Some(ClientEvent::Deleted(stamp(&event.object, version)?))
            }
            (true, false) => Some(ClientEvent::Deleted(event.object)),
        })
    }

    /// Whether the client had the object, and whether it has it now.
    fn matched(
        &mut self,
        kind: EventType,
        meta: &MetaView<'_>,
        event: &Event,
    ) -> Result<(bool, bool), Failure> {
        let now = (self.matches)(&event.object).map_err(fault)?;
        let is = now && kind != EventType::Deleted;
        let key = || format!("{}/{}", meta.namespace, meta.name);
        if let Some(known) = &mut self.known {
            let was = if is { !known.insert(key()) } else { known.remove(&key()) };
            // What is added anew is ADDED, whatever was before: the old object's DELETED was not sent to us.
            return Ok((was && kind != EventType::Added, is));
        }
        let was = match kind {
            EventType::Added => false,
            _ if self.selects == Selects::Identity => now,
            _ if !event.previous.is_empty() => (self.matches)(&event.previous).map_err(fault)?,
            EventType::Deleted => now,
            _ => {
                return Err(Failure::Expired(
                    "the backend does not say what the object was before: \
                     a watch with a selector cannot resume from a resourceVersion"
                        .into(),
                ));
            }
        };
        Ok((was, is))
    }
}

fn stamp(object: &[u8], version: u64) -> Result<Bytes, Failure> {
    object::with_version(object, &version.to_string()).map(Bytes::from).map_err(fault)
}

fn number(version: &str) -> Result<u64, Failure> {
    version
        .parse()
        .map_err(|_| Failure::Malformed(format!("the resourceVersion {version:?} is not a uint64")))
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn fault(error: WireError) -> Failure {
    Failure::Malformed(error.to_string())
}

#[cfg(test)]
mod tests;
