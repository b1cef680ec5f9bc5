//! A List on its way to a client: noted, and told with the ledger's versions where the backend has none.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use kubridge_bridge::{
    caller::CallError,
    ledger::{self, Lacking, Listing, Numbering, Sight},
    object::Chunk,
    proto::ListMeta,
};
use prost::Message as _;

use super::Shared;

/// One List, while it is told.
pub(super) struct Telling {
    shared: Arc<Shared>,
    /// Taken when it ends.
    listing: Option<Listing>,
    metadata: ListMeta,
}

impl Telling {
    pub(super) fn new(shared: Arc<Shared>, listing: Listing) -> Self {
        Self { shared, listing: Some(listing), metadata: ListMeta::default() }
    }

    /// The next chunk as the client is told it; `None`: nothing of it is told yet. What cannot be read is passed on, for
    /// whoever says so.
    pub(super) fn chunk(&mut self, chunk: Bytes) -> Option<Bytes> {
        let Ok(parsed) = Chunk::parse(&chunk) else { return Some(chunk) };
        let metadata = parsed.metadata.map(ListMeta::decode).transpose();
        let sights: Result<Vec<_>, _> = parsed.items.iter().map(|item| Sight::of(item)).collect();
        let (Ok(metadata), Ok(sights), Some(listing)) = (metadata, sights, &mut self.listing) else {
            return Some(chunk);
        };
        let mut ledger = self.shared.ledger();
        if let Some(metadata) = metadata {
            ledger.list_says(listing, &metadata.resource_version);
            self.metadata = metadata;
        }
        let told = ledger.list_tells(listing, &sights);
        let by_backend = ledger.numbering() == Numbering::Backend;
        drop(ledger);
        match told {
            Some(_) if sights.is_empty() => None,
            Some(versions) => Some(ledger::tell_items(&parsed.items, &versions).unwrap_or(chunk)),
            None if by_backend => Some(chunk),
            None => None,
        }
    }

    /// What of a namespace (empty: of all) it lacks; before [`Self::end`].
    pub(super) fn lacks(&self, namespace: &str) -> Lacking {
        let lacks = |listing| self.shared.ledger().list_lacks(listing, namespace);
        self.listing.as_ref().map(lacks).unwrap_or_default()
    }

    /// The end: what is left to be told, and the version of the whole.
    pub(super) fn end(&mut self) -> (Option<Bytes>, Option<u64>) {
        let Some(listing) = self.listing.take() else { return (None, None) };
        let version = self.metadata.resource_version.clone();
        let told = self.shared.ledger().list_ends(listing, &version);
        self.shared.take_notes();
        match told {
            Some(version) => {
                (Some(ledger::tell_list(std::mem::take(&mut self.metadata), version)), Some(version))
            }
            None => (None, version.parse().ok()),
        }
    }

    /// A List in one message.
    pub(super) fn whole(mut self, chunk: Bytes) -> Bytes {
        let items = self.chunk(chunk);
        match (items, self.end().0) {
            // Messages that follow one another are one.
            (Some(items), Some(end)) => [items, end].concat().into(),
            (items, end) => items.or(end).unwrap_or_default(),
        }
    }
}

/// The chunks of a streamed List.
pub(super) struct Told<S> {
    inner: Option<S>,
    telling: Telling,
}

impl<S> Told<S> {
    pub(super) fn new(inner: S, telling: Telling) -> Self {
        Self { inner: Some(inner), telling }
    }
}

impl<S: Stream<Item = Result<Bytes, CallError>> + Unpin> Stream for Told<S> {
    type Item = Result<Bytes, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
            let Poll::Ready(next) = inner.poll_next_unpin(cx) else { return Poll::Pending };
            match next {
                Some(Ok(chunk)) => {
                    if let Some(told) = self.telling.chunk(chunk) {
                        return Poll::Ready(Some(Ok(told)));
                    }
                }
                Some(Err(error)) => {
                    self.inner = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.inner = None;
                    return Poll::Ready(self.telling.end().0.map(Ok));
                }
            }
        }
    }
}
