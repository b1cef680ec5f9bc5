//! An object as somebody saw it: what tells it from others, and its state from other states.

use std::hash::Hasher as _;

use crate::{object::MetaView, transcode::MessageType, transcode::WireError};

/// What names an object within its resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
}

/// An object on the wire, with what the ledger reads of it.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    pub(super) object: &'a [u8],
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
    pub(super) created: Option<i64>,
    /// The resourceVersion as the layer below wrote it: a number of the backend's, or an opaque token.
    pub(super) token: &'a str,
}

impl<'a> Sight<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// It is not protobuf, or its metadata is not UTF-8.
    pub fn of(object: &'a [u8]) -> Result<Self, WireError> {
        let meta = MetaView::of(object)?;
        Ok(Self {
            object,
            namespace: meta.namespace,
            name: meta.name,
            uid: meta.uid,
            created: meta.created,
            token: meta.resource_version,
        })
    }

    pub(super) fn key(&self) -> Key {
        Key { namespace: self.namespace.into(), name: self.name.into() }
    }

    /// The backend's number; `None`: it gives none.
    pub(super) fn number(&self) -> Option<u64> {
        self.token.parse().ok().filter(|number| *number > 0)
    }
}

/// What a state is told by where its token does not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    /// Of the bytes: equal bytes are an equal state.
    raw: u64,
    /// Of what the bytes say: many servers write maps in another order each time.
    meaning: u64,
}

impl Print {
    pub(super) fn of(message: &MessageType, object: &[u8]) -> Self {
        Self { raw: raw(object), meaning: meaning(message, object) }
    }

    /// Whether `object` is in the state that this was made of.
    pub(super) fn is_of(&self, message: &MessageType, object: &[u8]) -> bool {
        self.raw == raw(object) || self.meaning == meaning(message, object)
    }
}

/// Not random: equal in equal processes, so that tests repeat. Nothing is defended by it.
fn raw(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn meaning(message: &MessageType, object: &[u8]) -> u64 {
    let mut json = Vec::with_capacity(object.len() * 2);
    let written = message.to_json(object, None, &mut json).is_ok();
    // Members in the order of their names.
    match serde_json::from_slice::<serde_json::Value>(&json) {
        Ok(value) if written => raw(value.to_string().as_bytes()),
        // What is no such message is told by its bytes alone, and reported by whoever answers with it.
        _ => raw(object),
    }
}
