//! A watch: the log from a version on, each change once and in order.

use std::time::Duration;

use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{Instant, interval_at, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    contract::{EventType, ListOptions},
    fault::Fault,
    kind::Kind,
    selector::Selector,
    store::Change,
    verbs::{Answers, Backend, version_of},
};

/// Changes that are read at once.
const BATCH: usize = 256;
/// Events that wait for the client.
const QUEUE: usize = 64;
/// As good as never.
const YEARS: Duration = Duration::from_secs(3600 * 24 * 365 * 10);

/// Something that happened; the kinds' own event messages are made from it.
#[derive(Debug)]
pub(crate) struct Event<T> {
    pub(crate) kind: EventType,
    pub(crate) object: Option<T>,
    pub(crate) previous: Option<T>,
    pub(crate) resource_version: String,
    pub(crate) error: Option<tonic_types::Status>,
}

/// A watch that somebody reads.
struct Watch<T, M> {
    backend: Backend,
    namespace: String,
    selector: Selector,
    events: mpsc::Sender<Result<M, Status>>,
    deadline: Instant,
    kind: std::marker::PhantomData<fn() -> T>,
}

/// The stream is over: the client went, the server stops, or the time is up.
struct Over;

impl Backend {
    /// Answers when it is known that nothing is missing, so that OUT_OF_RANGE is the call's own.
    pub(crate) async fn watch<T: Kind, M: From<Event<T>> + Send + 'static>(
        &self,
        namespace: String,
        options: ListOptions,
    ) -> Result<Answers<M>, Fault> {
        let from = version_of("resourceVersion", &options.resource_version)?;
        // No version, or "0": the present state first, unless the client wants changes only.
        let initial = options.send_initial_events.unwrap_or(from == 0);
        let head = self.store.read(|view| view.head()).await?;
        if !initial && from != 0 {
            self.store.read(move |view| view.check(from)).await?;
        }
        let (events, stream) = mpsc::channel(QUEUE);
        let seconds = options.timeout_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
        let watch = Watch {
            backend: self.clone(),
            namespace,
            selector: Selector::new(&options.label_selector, &options.field_selector),
            events,
            deadline: Instant::now() + seconds.map_or(YEARS, Duration::from_secs).min(YEARS),
            kind: std::marker::PhantomData,
        };
        let synced = options.send_initial_events == Some(true);
        let bookmarks = options.allow_watch_bookmarks;
        tokio::spawn(async move {
            // The sender is dropped with the watch: the stream ends.
            let _over = async {
                let mut cursor = if from == 0 { head } else { from };
                if initial {
                    cursor = head;
                    watch.initial_state(head).await?;
                    if synced {
                        watch.send(mark(EventType::Synced, head)).await?;
                    }
                }
                watch.follow(cursor, bookmarks).await
            }
            .await;
        });
        Ok(ReceiverStream::new(stream))
    }
}

impl<T: Kind, M: From<Event<T>> + Send + 'static> Watch<T, M> {
    async fn initial_state(&self, at: i64) -> Result<(), Over> {
        let mut after = (String::new(), String::new());
        loop {
            let rows = self.backend.page::<T>(&self.namespace, at, &after).await;
            let Some(rows) = self.or_error(rows).await? else { return Err(Over) };
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                after = (row.namespace, row.name);
                let object = self.or_error(T::decode(row.object.as_slice()).map_err(Fault::from)).await?;
                if object.as_ref().is_some_and(|object| self.selector.matches(object)) {
                    self.send(Event { object, ..mark(EventType::Added, 0) }).await?;
                }
            }
        }
    }

    async fn follow(&self, mut cursor: i64, bookmarks: bool) -> Result<(), Over> {
        let mut head = self.backend.store.head();
        let every = self.backend.bookmark_every;
        let mut bookmark = interval_at(Instant::now() + every, every);
        loop {
            // What is in the log up to here is all that there is: the head is told after the commit.
            let seen = *head.borrow_and_update();
            loop {
                let (namespace, after) = (self.namespace.clone(), cursor);
                let read = self
                    .backend
                    .store
                    .read(move |view| view.changes(T::PLURAL, &namespace, after, BATCH))
                    .await;
                let Some(changes) = self.or_error(read).await? else { return Err(Over) };
                if changes.is_empty() {
                    break;
                }
                for change in changes {
                    cursor = change.version;
                    let event = self.or_error(self.event(change)).await?;
                    if let Some(Some(event)) = event {
                        self.send(event).await?;
                    }
                }
            }
            let current = seen >= cursor;
            cursor = cursor.max(seen);
            tokio::select! {
                gone = async { head.wait_for(|head| *head > cursor).await.is_err() } => if gone { return Err(Over) },
                _ = bookmark.tick(), if bookmarks && current => self.send(mark(EventType::Bookmark, cursor)).await?,
                over = self.over() => return Err(over),
            }
        }
    }

    /// `None`: not selected.
    fn event(&self, change: Change) -> Result<Option<Event<T>>, Fault> {
        let object = T::decode(change.object.as_slice())?;
        let previous = change.previous.map(|wire| T::decode(wire.as_slice())).transpose()?;
        // What no longer matches is told too: with `previous`, Kubridge makes a DELETED of it.
        if !self.selector.matches(&object) && !previous.as_ref().is_some_and(|old| self.selector.matches(old))
        {
            return Ok(None);
        }
        Ok(Some(Event { object: Some(object), previous, ..mark(change.kind, change.version) }))
    }

    /// Tells a fault as an ERROR event; the stream is over then.
    async fn or_error<R>(&self, result: Result<R, Fault>) -> Result<Option<R>, Over> {
        let fault = match result {
            Ok(value) => return Ok(Some(value)),
            Err(fault) => Status::from(fault),
        };
        // The details of a call's status are a google.rpc.Status themselves.
        let error = tonic_types::Status::decode(fault.details()).unwrap_or_default();
        self.send(Event { error: Some(error), ..mark(EventType::Error, 0) }).await?;
        Err(Over)
    }

    async fn send(&self, event: Event<T>) -> Result<(), Over> {
        tokio::select! {
            sent = self.events.send(Ok(M::from(event))) => sent.map_err(|_| Over),
            over = self.over() => Err(over),
        }
    }

    /// Waits for the end.
    async fn over(&self) -> Over {
        let mut stopping = self.backend.stopping.clone();
        tokio::select! {
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {
                // Full: the client is slow, and sees the connection end instead.
                drop(self.events.try_send(Err(Fault::Stopping.into())));
                Over
            }
            () = sleep_until(self.deadline) => Over,
            () = self.events.closed() => Over,
        }
    }
}

fn mark<T>(kind: EventType, version: i64) -> Event<T> {
    let resource_version = if version == 0 { String::new() } else { version.to_string() };
    Event { kind, object: None, previous: None, resource_version, error: None }
}
