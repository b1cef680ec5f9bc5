//! Which object a message is, and what a request says of it.

use std::borrow::Cow;

use super::names::{Ids, Patterns, Place};
use crate::wire::{self, Malformed};

/// How objects of a resource are told apart.
#[derive(Debug)]
pub(super) enum Identity {
    /// By a whole resource name in one field.
    Patterns {
        /// The field.
        field: u32,
        /// What the names look like.
        patterns: Patterns,
    },
    /// By a name and, where objects live in namespaces, a namespace, as Kubernetes has them: each in a field.
    Fields {
        /// The field with the name.
        name: Key,
        /// The field with the namespace.
        namespace: Option<Key>,
        /// `{namespace}/{name}` or `{name}`, as a pattern: it does the escaping.
        patterns: Patterns,
    },
}

/// A field that tells objects apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// The field's number.
    pub(super) number: u32,
    /// A number, not a string.
    pub(super) integer: bool,
}

impl Key {
    fn read(self, message: &[u8]) -> Result<String, Malformed> {
        let mut found = String::new();
        for field in wire::fields(message) {
            let field = field?;
            if field.number == self.number {
                found = match self.integer {
                    true => field.varint().cast_signed().to_string(),
                    false => String::from_utf8_lossy(field.value).into_owned(),
                };
            }
        }
        Ok(found)
    }

    /// Whether an object may be called so.
    fn takes(self, value: &str) -> bool {
        !self.integer || value.parse::<i64>().is_ok_and(|number| number.to_string() == value)
    }

    fn put(self, out: &mut Vec<u8>, value: &str) {
        put_id(out, self.number, self.integer, value);
    }
}

/// Appends an id as a string or as a number. Of a number only those come here that are one.
pub(super) fn put_id(out: &mut Vec<u8>, number: u32, integer: bool, value: &str) {
    if !integer {
        wire::put_bytes(out, number, value.as_bytes());
    } else if let Ok(value) = value.parse::<i64>() {
        wire::put_varint(out, number, value.cast_unsigned());
    }
}

impl Identity {
    fn patterns(&self) -> &Patterns {
        match self {
            Self::Patterns { patterns, .. } | Self::Fields { patterns, .. } => patterns,
        }
    }

    /// Whether objects live in namespaces.
    pub(super) fn namespaced(&self) -> bool {
        self.patterns().namespaced()
    }

    /// The patterns of resource names; none where names have no patterns.
    pub(super) fn resource_names(&self) -> Option<&Patterns> {
        match self {
            Self::Patterns { patterns, .. } => Some(patterns),
            Self::Fields { .. } => None,
        }
    }

    /// The ids of a message, and where Kubernetes has it. `Err`: the name that fits no pattern.
    pub(super) fn of(&self, message: &[u8]) -> Result<Result<(Ids, Place), String>, Malformed> {
        let (ids, name) = match self {
            Self::Patterns { field, patterns } => {
                let name = Key { number: *field, integer: false }.read(message)?;
                (patterns.read(&name), name)
            }
            Self::Fields { name, namespace, .. } => {
                let mut values = Vec::with_capacity(2);
                if let Some(namespace) = namespace {
                    values.push(namespace.read(message)?);
                }
                values.push(name.read(message)?);
                let name = values.join("/");
                let complete = values.iter().all(|value| !value.is_empty() && !value.contains('/'));
                (complete.then_some(Ids { pattern: 0, values }), name)
            }
        };
        let found = ids.and_then(|ids| {
            let place = self.patterns().place(&ids)?;
            Some((ids, place))
        });
        Ok(found.ok_or(name))
    }

    /// The ids of what Kubernetes has there; `None`: nothing can be there.
    pub(super) fn ids(&self, namespace: &str, name: &str) -> Option<Ids> {
        let ids = self.patterns().ids(namespace, name)?;
        if let Self::Fields { name, namespace, .. } = self {
            let keys = namespace.iter().chain([name]);
            if !keys.zip(&ids.values).all(|(key, value)| key.takes(value)) {
                return None;
            }
        }
        Some(ids)
    }

    /// The whole name: "publishers/p/books/b".
    pub(super) fn full(&self, ids: &Ids) -> String {
        self.patterns().full(ids)
    }

    /// Appends the fields that say which object a message is.
    pub(super) fn put(&self, out: &mut Vec<u8>, ids: &Ids) {
        match self {
            Self::Patterns { field, patterns } => wire::put_bytes(out, *field, patterns.full(ids).as_bytes()),
            Self::Fields { name, namespace, .. } => {
                if let (Some(key), [value, _]) = (namespace, ids.values.as_slice()) {
                    key.put(out, value);
                }
                if let Some(value) = ids.values.last() {
                    name.put(out, value);
                }
            }
        }
    }

    /// The value of a variable.
    pub(super) fn variable<'a>(&self, ids: &'a Ids, name: &str) -> Option<&'a str> {
        self.patterns().variable(ids, name)
    }
}

/// Which object, or which collection, a request is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) identity: &'a Identity,
    /// None: a collection.
    pub(super) ids: Option<&'a Ids>,
    /// The collection's parent; of an object it follows from the ids.
    pub(super) parent: &'a str,
    /// The namespace of a collection, unescaped, where names have no patterns; empty: all.
    pub(super) namespace: &'a str,
}

impl<'a> Subject<'a> {
    pub(super) fn resource_name(&self) -> String {
        self.ids.map(|ids| self.identity.full(ids)).unwrap_or_default()
    }

    pub(super) fn parent(&self) -> Cow<'a, str> {
        match self.ids {
            Some(ids) => self.identity.patterns().full_parent(ids).into(),
            None => self.parent.into(),
        }
    }

    pub(super) fn id(&self) -> &'a str {
        self.ids.and_then(|ids| ids.values.last()).map_or("", String::as_str)
    }

    pub(super) fn namespace(&self) -> &'a str {
        match self.ids {
            Some(ids) if ids.values.len() > 1 => &ids.values[0],
            Some(_) => "",
            None => self.namespace,
        }
    }

    pub(super) fn variable(&self, name: &str) -> &'a str {
        self.ids.and_then(|ids| self.identity.variable(ids, name)).unwrap_or_default()
    }
}
