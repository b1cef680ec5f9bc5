//! Versions in calls and answers: the layer below has tokens where clients have numbers.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message as _;

use super::Ledger;
use crate::{
    model::{Method, Source},
    object,
    proto::ListMeta,
    transcode::WireError,
    wire::{self, Malformed},
};

/// The client builds on a state that is not the present one, as far as the ledger knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the resourceVersion is not that of the object's present state")]
pub struct Stale;

/// Where a text lies in the request of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The messages around it.
    path: Vec<u32>,
    field: u32,
}

impl Place {
    /// The resourceVersion that a get or list names.
    pub fn version(method: &Method) -> Vec<Self> {
        Self::find(method, |source| match source {
            Source::GetOptions => Some(&[1]),
            Source::ListOptions => Some(&[4]),
            Source::ResourceVersion => Some(&[]),
            _ => None,
        })
    }

    /// How a list reads its resourceVersion.
    pub fn version_match(method: &Method) -> Vec<Self> {
        Self::find(method, |source| match source {
            Source::ListOptions => Some(&[10]),
            Source::ResourceVersionMatch => Some(&[]),
            _ => None,
        })
    }

    /// Where a list continues.
    pub fn r#continue(method: &Method) -> Vec<Self> {
        Self::find(method, |source| match source {
            Source::ListOptions => Some(&[8]),
            Source::Continue => Some(&[]),
            _ => None,
        })
    }

    /// The label selector of a list.
    pub fn labels(method: &Method) -> Vec<Self> {
        Self::find(method, |source| match source {
            Source::ListOptions => Some(&[1]),
            Source::LabelSelector => Some(&[]),
            _ => None,
        })
    }

    /// The field selector of a list.
    pub fn fields(method: &Method) -> Vec<Self> {
        Self::find(method, |source| match source {
            Source::ListOptions => Some(&[2]),
            Source::FieldSelector => Some(&[]),
            _ => None,
        })
    }

    /// The namespace.
    pub fn namespace(method: &Method) -> Vec<Self> {
        Self::find(method, |source| (*source == Source::Namespace).then_some(&[]))
    }

    /// The name.
    pub fn name(method: &Method) -> Vec<Self> {
        Self::find(method, |source| (*source == Source::Name).then_some(&[]))
    }

    /// The resourceVersion that an object must have to be deleted.
    pub fn precondition(method: &Method) -> Vec<Self> {
        Self::find(method, |source| match source {
            Source::DeleteOptions => Some(&[2, 2]),
            Source::Preconditions => Some(&[2]),
            Source::ResourceVersion => Some(&[]),
            _ => None,
        })
    }

    /// Whether nothing is to be written; anything that stands there says so.
    pub fn dry_run(method: &Method) -> Vec<Self> {
        Self::find(method, |source| match source {
            Source::CreateOptions | Source::UpdateOptions => Some(&[1]),
            Source::DryRun | Source::DryRunFlag => Some(&[]),
            _ => None,
        })
    }

    /// Metadata of the object that is written: its `field`, a text.
    pub fn metadata(method: &Method, field: u32) -> Option<Self> {
        let binding = method.request.iter().find(|binding| binding.source == Source::Object)?;
        Some(Self { path: binding.field.into_iter().chain([object::METADATA]).collect(), field })
    }

    fn find(method: &Method, within: impl Fn(&Source) -> Option<&'static [u32]>) -> Vec<Self> {
        let place = |binding: &crate::model::Binding| {
            let within = within(&binding.source)?;
            let mut path: Vec<u32> = binding.field.into_iter().chain(within.iter().copied()).collect();
            let field = path.pop()?;
            Some(Self { path, field })
        };
        method.request.iter().filter_map(place).collect()
    }

    /// The text; empty where there is none.
    ///
    /// # Errors
    /// The message is not protobuf.
    pub fn read(&self, message: &[u8]) -> Result<String, Malformed> {
        let mut inner = Cow::Borrowed(message);
        for number in &self.path {
            inner = Cow::Owned(wire::message_field(&inner, *number)?.into_owned());
        }
        let mut text = String::new();
        for field in wire::fields(&inner) {
            let field = field?;
            if field.number == self.field {
                text = String::from_utf8_lossy(field.value).into_owned();
            }
        }
        Ok(text)
    }

    /// The message with another text there; an empty one is left out.
    ///
    /// # Errors
    /// The message is not protobuf.
    pub fn write(&self, message: &[u8], text: &str) -> Result<Bytes, Malformed> {
        replace(message, &self.path, self.field, text).map(Bytes::from)
    }
}

fn replace(message: &[u8], path: &[u32], field: u32, text: &str) -> Result<Vec<u8>, Malformed> {
    let Some((&number, path)) = path.split_first() else {
        let mut out = wire::without(message, |number| number == field)?;
        if !text.is_empty() {
            wire::put_bytes(&mut out, field, text.as_bytes());
        }
        return Ok(out);
    };
    if text.is_empty() && !wire::has_field(message, number)? {
        return Ok(message.to_vec());
    }
    let inner = replace(&wire::message_field(message, number)?, path, field, text)?;
    let mut out = wire::without(message, |other| other == number)?;
    wire::put_bytes(&mut out, number, &inner);
    Ok(out)
}

/// The first text that stands in one of several places.
pub fn first(places: &[Place], message: &[u8]) -> Result<String, Malformed> {
    for place in places {
        let text = place.read(message)?;
        if !text.is_empty() {
            return Ok(text);
        }
    }
    Ok(String::new())
}

impl Ledger {
    /// The request of an update or a delete, with tokens where the client has numbers. Without a version it is as it is.
    ///
    /// # Errors
    /// See [`Stale`]. A request that is not protobuf is left to whoever reads it.
    pub fn lower(&self, method: &Method, message: &Bytes) -> Result<Bytes, Stale> {
        self.lowered(method, message).unwrap_or_else(|_malformed| Ok(message.clone()))
    }

    fn lowered(&self, method: &Method, message: &Bytes) -> Result<Result<Bytes, Stale>, Malformed> {
        let written = Place::metadata(method, 6);
        let (namespace, name, places) = match written {
            Some(version) => {
                let text = |field| match Place::metadata(method, field) {
                    Some(place) => place.read(message),
                    None => Ok(String::new()),
                };
                (text(3)?, text(1)?, vec![version])
            }
            None => {
                let namespace = first(&Place::namespace(method), message)?;
                (namespace, first(&Place::name(method), message)?, Place::precondition(method))
            }
        };
        let mut lowered = message.clone();
        for place in places {
            let version = place.read(message)?;
            if version.is_empty() {
                continue;
            }
            let Some(token) = self.token(&namespace, &name, &version) else { return Ok(Err(Stale)) };
            lowered = place.write(&lowered, token)?;
        }
        Ok(Ok(lowered))
    }
}

/// A chunk of a list with these versions on its items, and without metadata.
///
/// # Errors
/// An item is not protobuf.
pub fn tell_items(items: &[Bytes], versions: &[u64]) -> Result<Bytes, WireError> {
    let mut out = Vec::with_capacity(items.iter().map(|item| item.len() + 32).sum());
    for (item, version) in items.iter().zip(versions) {
        wire::put_bytes(&mut out, object::ITEMS, &object::with_version(item, &version.to_string())?);
    }
    Ok(out.into())
}

/// The end of a list: its metadata, with this version.
pub fn tell_list(metadata: ListMeta, version: u64) -> Bytes {
    let metadata = ListMeta {
        r#continue: outer_continue(&metadata.r#continue, version),
        resource_version: version.to_string(),
        ..metadata
    };
    let mut out = Vec::new();
    wire::put_bytes(&mut out, object::METADATA, &metadata.encode_to_vec());
    out.into()
}

/// A client's continue token: the backend's, and the version of the first page.
pub fn outer_continue(inner: &str, version: u64) -> String {
    if inner.is_empty() { String::new() } else { format!("{version}.{inner}") }
}

/// The version of the first page, and the backend's own token. `None`: it is none of ours.
pub fn inner_continue(outer: &str) -> Option<(u64, &str)> {
    let (version, inner) = outer.split_once('.')?;
    Some((version.parse().ok()?, inner))
}
