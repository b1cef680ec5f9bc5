//! What was listed of one resource: its objects as they stand on the wire, found by name, told in pages.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::SystemTime,
};

use bytes::Bytes;
use kubridge_bridge::{
    object::{self, MetaView},
    proto::ListMeta,
    transcode::WireError,
    wire,
};
use prost::Message as _;
use uuid::Uuid;

/// What begins a continue token of ours; of a backend's own none does.
const TOKEN: &str = "kubridge-snapshot.";
/// What an object costs beside its bytes.
const OVERHEAD: usize = 64;

/// All objects of one resource at one time.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// When the listing began.
    pub(super) taken: SystemTime,
    /// The version of the list; empty: the backend gives none.
    version: String,
    /// Tells it from others.
    epoch: u64,
    /// All of it: messages of a list, without metadata.
    chunks: Vec<Bytes>,
    /// Each object, a slice of its chunk.
    objects: Vec<Bytes>,
    /// Which object has the namespace and name of this hash, in the order of the hashes.
    names: Vec<(u64, u32)>,
}

/// A snapshot that is being taken.
#[derive(Debug)]
pub(super) struct Taking {
    limit: usize,
    size: usize,
    chunks: Vec<Bytes>,
    objects: Vec<Bytes>,
    names: Vec<(u64, u32)>,
}

/// There is more than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Where a page begins, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page<'a> {
    /// Empty: all.
    pub(super) namespace: &'a str,
    /// Objects; 0: all.
    pub(super) limit: usize,
    /// One of our tokens, or empty.
    pub(super) token: &'a str,
}

impl Taking {
    /// Nothing yet, and never more than `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, size: 0, chunks: Vec::new(), objects: Vec::new(), names: Vec::new() }
    }

    /// Takes in objects. They are copied: what they came in is not kept.
    ///
    /// # Errors
    /// An object is not protobuf.
    pub(super) fn add(&mut self, objects: &[Bytes]) -> Result<Result<(), TooLarge>, WireError> {
        let length = objects.iter().map(|object| wire::bytes_len(object::ITEMS, object.len())).sum();
        self.size = self.size.saturating_add(length).saturating_add(objects.len() * OVERHEAD);
        if self.size > self.limit {
            return Ok(Err(TooLarge));
        }
        let mut chunk = Vec::with_capacity(length);
        let mut ends = Vec::with_capacity(objects.len());
        for object in objects {
            wire::put_bytes(&mut chunk, object::ITEMS, object);
            ends.push(chunk.len());
            let meta = MetaView::of(object)?;
            let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
            self.names.push((hash(meta.namespace, meta.name), number));
        }
        let chunk = Bytes::from(chunk);
        let slices = objects.iter().zip(ends).map(|(object, end)| chunk.slice(end - object.len()..end));
        self.objects.extend(slices);
        self.chunks.push(chunk);
        Ok(Ok(()))
    }

    /// That was all, of a list of this version that was begun at that time.
    pub(super) fn end(mut self, version: String, taken: SystemTime) -> Snapshot {
        self.names.sort_unstable();
        let epoch = Uuid::new_v4().as_u64_pair().1;
        Snapshot { taken, version, epoch, chunks: self.chunks, objects: self.objects, names: self.names }
    }
}

impl Snapshot {
    /// How many objects it has.
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether it is as new as a resourceVersion asks; `exact`: that very one is asked for. A version that is no number
    /// cannot be compared.
    pub(super) fn is_as_new_as(&self, version: &str, exact: bool) -> bool {
        if matches!(version, "" | "0") {
            return true;
        }
        match (self.version.parse::<u64>(), version.parse::<u64>()) {
            (Ok(has), Ok(asked)) => {
                if exact {
                    has == asked
                } else {
                    has >= asked
                }
            }
            _ => false,
        }
    }

    /// One object.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Bytes> {
        let hash = hash(namespace, name);
        let first = self.names.partition_point(|(other, _)| *other < hash);
        let candidates = self.names[first..].iter().take_while(|(other, _)| *other == hash);
        candidates.filter_map(|(_, number)| self.objects.get(*number as usize)).find_map(|object| {
            let meta = MetaView::of(object).ok()?;
            (meta.namespace == namespace && meta.name == name).then(|| object.clone())
        })
    }

    /// The messages of a list of one object.
    pub(super) fn one(&self, object: &Bytes) -> Vec<Bytes> {
        vec![self.metadata(String::new(), None), items([object])]
    }

    /// The messages of a list: its metadata first. `None`: the token is of another snapshot.
    pub(super) fn page(&self, page: &Page<'_>) -> Option<Vec<Bytes>> {
        let first = if page.token.is_empty() { 0 } else { self.place(page.token)? };
        if first == 0 && page.limit == 0 {
            // Whoever asks for one namespace leaves the others out.
            return Some([vec![self.metadata(String::new(), None)], self.chunks.clone()].concat());
        }
        let mut rest = self.objects.iter().enumerate().skip(first).filter(|(_, object)| {
            page.namespace.is_empty()
                || MetaView::of(object).is_ok_and(|meta| meta.namespace == page.namespace)
        });
        let limit = if page.limit == 0 { usize::MAX } else { page.limit };
        let told: Vec<&Bytes> = rest.by_ref().take(limit).map(|(_, object)| object).collect();
        let (next, left) = match rest.next() {
            Some((next, _)) => (self.token(next), i64::try_from(rest.count() + 1).ok()),
            None => (String::new(), None),
        };
        Some(vec![self.metadata(next, left), items(told)])
    }

    fn metadata(&self, next: String, left: Option<i64>) -> Bytes {
        let meta = ListMeta {
            resource_version: self.version.clone(),
            r#continue: next,
            remaining_item_count: left,
            ..ListMeta::default()
        };
        let mut out = Vec::new();
        wire::put_bytes(&mut out, object::METADATA, &meta.encode_to_vec());
        out.into()
    }

    /// Who has it can read on in this snapshot from there. (It says nothing of who may: that is asked for each page.)
    fn token(&self, place: usize) -> String {
        format!("{TOKEN}{:x}.{place:x}", self.epoch)
    }

    fn place(&self, token: &str) -> Option<usize> {
        let (epoch, place) = token.strip_prefix(TOKEN)?.split_once('.')?;
        (u64::from_str_radix(epoch, 16).ok()? == self.epoch).then(|| usize::from_str_radix(place, 16).ok())?
    }
}

/// Whether a continue token is of a snapshot, this one's or another's.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with(TOKEN)
}

fn items<'a>(objects: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let mut out = Vec::new();
    for object in objects {
        wire::put_bytes(&mut out, object::ITEMS, object);
    }
    out.into()
}

fn hash(namespace: &str, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, name).hash(&mut hasher);
    hasher.finish()
}
