//! Watch: the present state where it is asked for, then the log as it grows.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use kubridge_bridge::{
    caller::CallError,
    proto::{self, EventType},
    wire,
};
use tokio::time::{Interval, MissedTickBehavior};

use super::{Served, answer, list};
use crate::registry::store::{EventKind, LogEvent, Store, StoreError};

/// How often a watch that allows bookmarks gets one, as Kubernetes' API server sends them.
pub const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// Events that are read from the log at once.
const BATCH: usize = 256;

pub(super) async fn watch(
    store: &Store,
    served: &Served,
    request: proto::WatchRequest,
) -> Result<BoxStream<'static, Result<Bytes, CallError>>, CallError> {
    let options = request.options.unwrap_or_default();
    let asked = list::version(&options.resource_version)?;
    let initial = options.send_initial_events == Some(true);
    let mut queue = VecDeque::new();
    let mut head = store.head();
    let sent = if initial || asked == 0 {
        let listing = store.list(served.resource.clone(), request.namespace.clone()).await?;
        if asked > listing.version {
            return Err(future(asked, listing.version));
        }
        queue.extend(
            listing.objects.iter().map(|object| Ok(encode(EventType::Added, Some(object), None, None))),
        );
        if initial {
            queue.push_back(Ok(encode(EventType::Synced, None, None, Some(listing.version))));
        }
        listing.version
    } else {
        let newest = *head.borrow_and_update();
        if asked > newest {
            return Err(future(asked, newest));
        }
        asked
    };
    let mut watch = Watch {
        store: store.clone(),
        resource: served.resource.clone(),
        namespace: request.namespace,
        sent,
        queue,
        bookmarks: None,
        ended: false,
    };
    // Too old a version is an answer to the call, not an event.
    watch.read().await?;
    if options.allow_watch_bookmarks {
        let mut interval = tokio::time::interval(BOOKMARK_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.reset();
        watch.bookmarks = Some(interval);
    }
    let events = futures::stream::unfold((watch, head), |(mut watch, mut head)| async move {
        let event = watch.next(&mut head).await?;
        Some((event, (watch, head)))
    });
    Ok(events.boxed())
}

struct Watch {
    store: Store,
    resource: Arc<str>,
    namespace: String,
    /// Everything up to this version is in the queue or was sent.
    sent: u64,
    queue: VecDeque<Result<Bytes, CallError>>,
    bookmarks: Option<Interval>,
    ended: bool,
}

impl Watch {
    async fn next(
        &mut self,
        head: &mut tokio::sync::watch::Receiver<u64>,
    ) -> Option<Result<Bytes, CallError>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let sent = self.sent;
            tokio::select! {
                biased;
                newer = head.wait_for(|head| *head > sent) => if newer.is_err() {
                    // The store is gone: the aggregator stops.
                    return None;
                },
                () = tick(self.bookmarks.as_mut()) => {
                    self.queue.push_back(Ok(encode(EventType::Bookmark, None, None, Some(sent))));
                    continue;
                }
            }
            if let Err(error) = self.read().await {
                self.ended = true;
                self.queue.push_back(Err(error.into()));
            }
        }
    }

    async fn read(&mut self) -> Result<(), StoreError> {
        let (resource, namespace) = (self.resource.clone(), self.namespace.clone());
        let (events, upto) = self.store.events(resource, namespace, self.sent, BATCH).await?;
        self.queue.extend(events.iter().map(|event| Ok(change(event))));
        self.sent = upto;
        Ok(())
    }
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn change(event: &LogEvent) -> Bytes {
    let kind = match event.kind {
        EventKind::Added => EventType::Added,
        EventKind::Modified => EventType::Modified,
        EventKind::Deleted => EventType::Deleted,
    };
    encode(kind, Some(&event.object), event.previous.as_deref(), Some(event.version))
}

/// A `kubridge.v1.Event`, without a copy of the objects into a message first.
fn encode(kind: EventType, object: Option<&[u8]>, previous: Option<&[u8]>, version: Option<u64>) -> Bytes {
    let length = object.map_or(0, <[u8]>::len) + previous.map_or(0, <[u8]>::len);
    let mut event = Vec::with_capacity(length + 64);
    wire::put_varint(&mut event, 1, kind as u64);
    if let Some(object) = object {
        wire::put_bytes(&mut event, 2, object);
    }
    if let Some(previous) = previous {
        wire::put_bytes(&mut event, 3, previous);
    }
    if let Some(version) = version {
        wire::put_bytes(&mut event, 4, version.to_string().as_bytes());
    }
    event.into()
}

/// A version that this store never gave out: another store's, before the data directory was replaced. Starting over
/// is what helps the client; silence would not.
fn future(asked: u64, newest: u64) -> CallError {
    answer::expired(asked, newest)
}
