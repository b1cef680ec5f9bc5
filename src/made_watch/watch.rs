//! One client's watch: the present state by a List of its own, then what the ledger says.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, stream, stream::BoxStream};
use kubridge_bridge::{
    caller::{CallError, Caller, Code},
    ledger::{self, Audience, Expired, Join, Lacking, Position, Scope},
    object::Chunk,
    proto::{ListOptions, WatchRequest},
    status::means_empty_list,
    verbs::{Chunks, list_call},
};
use tokio::sync::watch::Receiver;

use super::{Progress, Shared, Source, Watcher, list::Telling, status};

/// How many changes are read from the ledger at a time.
const AT_ONCE: usize = 64;

/// What is watched.
struct Asked {
    namespace: String,
    labels: String,
    fields: String,
    /// It matters what an object was before.
    selects: bool,
}

/// Answers a watch.
///
/// # Errors
/// OUT_OF_RANGE: the client has to list again. Whatever the List of the present state says.
pub(super) async fn open<C: Caller>(
    shared: Arc<Shared>,
    caller: &C,
    source: Box<dyn Source>,
    request: WatchRequest,
) -> Result<BoxStream<'static, Result<Bytes, CallError>>, CallError> {
    let options = request.options.unwrap_or_default();
    let state_fields =
        options.field_selector.split(',').any(|term| !term.is_empty() && !term.starts_with("metadata.name"));
    let asked = Asked {
        namespace: request.namespace,
        selects: !options.label_selector.is_empty() || state_fields,
        labels: options.label_selector,
        fields: options.field_selector,
    };
    let version = match options.resource_version.as_str() {
        "" => 0,
        version => version.parse().map_err(|_| expired())?,
    };
    if options.send_initial_events == Some(true) {
        return present(shared, caller, source, asked, options.resource_version).await;
    }
    let watcher = shared.join(source)?;
    let position = match (version, options.send_initial_events) {
        (0, _) => {
            shared.polled().await?;
            shared.ledger().here().ok_or_else(expired)?
        }
        (version, _) => begin(&shared, version, &asked).await?,
    };
    Ok(Following::new(watcher, asked, position, Lacking::default()).into_stream())
}

/// Where a watch from `version` begins.
async fn begin(shared: &Shared, version: u64, asked: &Asked) -> Result<Position, CallError> {
    let scopes = [asked.namespace.as_str(), &asked.labels, &asked.fields];
    let mut joined = shared.ledger().join(version, scopes, false);
    if joined == Join::Unknown {
        shared.polled().await?;
        joined = shared.ledger().join(version, scopes, true);
    }
    match joined {
        Join::At(position) => Ok(position),
        Join::Unknown | Join::Expired => {
            shared.counts.expired();
            Err(expired())
        }
    }
}

/// The present state as events, then what comes.
async fn present<C: Caller>(
    shared: Arc<Shared>,
    caller: &C,
    source: Box<dyn Source>,
    asked: Asked,
    version: String,
) -> Result<BoxStream<'static, Result<Bytes, CallError>>, CallError> {
    let resource = shared.resource.load_full();
    let Some(method) = &resource.methods.list else { return Err(status(Code::Unimplemented, "")) };
    let not_older = if version.is_empty() || version == "0" { "" } else { "NotOlderThan" };
    let options = ListOptions {
        label_selector: asked.labels.clone(),
        field_selector: asked.fields.clone(),
        resource_version: version,
        resource_version_match: not_older.into(),
        ..ListOptions::default()
    };
    let scope = Scope::new(&asked.namespace, &asked.labels, &asked.fields);
    let (call, first) = {
        let call = list_call(method, &asked.namespace, &options);
        super::caller::lower_read(&shared, method, call)?
    };
    let listing = shared.ledger().list_begins(scope, first);
    // Of who selects it is not known what else there is.
    let whole = asked.labels.is_empty() && asked.fields.is_empty();
    let listing = if whole { listing.noting_names() } else { listing };
    let chunks = match Chunks::open(caller, call, method.streaming).await {
        Ok(chunks) => chunks,
        Err(error) if means_empty_list(&error) => Chunks::One(None),
        Err(error) => return Err(error),
    };
    let telling = Telling::new(Arc::clone(&shared), listing);
    let initial = Initial { shared, source, asked, chunks, telling, queue: VecDeque::new() };
    let events = stream::unfold(Phase::Initial(Box::new(initial)), |phase| async move {
        match phase {
            Phase::Initial(initial) => initial.next().await,
            Phase::Following(mut following) => {
                let next = following.next().await?;
                let phase = if next.is_ok() { Phase::Following(following) } else { Phase::Over };
                Some((next, phase))
            }
            Phase::Over => None,
        }
    });
    Ok(events.boxed())
}

enum Phase<S> {
    Initial(Box<Initial<S>>),
    Following(Box<Following>),
    Over,
}

struct Initial<S> {
    shared: Arc<Shared>,
    source: Box<dyn Source>,
    asked: Asked,
    chunks: Chunks<S>,
    telling: Telling,
    queue: VecDeque<Bytes>,
}

impl<S: stream::Stream<Item = Result<Bytes, CallError>> + Unpin> Initial<S> {
    async fn next(mut self: Box<Self>) -> Option<(Result<Bytes, CallError>, Phase<S>)> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some((Ok(event), Phase::Initial(self)));
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => {
                    let told = self.telling.chunk(chunk).map(|told| Chunk::parse(&told)).transpose();
                    let items = match told {
                        Ok(told) => told.unwrap_or_default().items,
                        Err(error) => {
                            let error = status(Code::Internal, &error.to_string());
                            return Some((Err(error), Phase::Over));
                        }
                    };
                    self.queue.extend(items.iter().map(|item| ledger::initial_event(item)));
                }
                Some(Err(error)) if !means_empty_list(&error) => return Some((Err(error), Phase::Over)),
                Some(Err(_)) | None => return Some(self.end().await),
            }
        }
    }

    /// The end of the initial events; what comes next is what the poller finds.
    async fn end(mut self: Box<Self>) -> (Result<Bytes, CallError>, Phase<S>) {
        let followed = async {
            let lacking = self.telling.lacks(&self.asked.namespace);
            let (_, version) = self.telling.end();
            let version = version.ok_or_else(expired)?;
            let watcher = self.shared.join(self.source)?;
            let position = begin(&self.shared, version, &self.asked).await?;
            let following = Following::new(watcher, self.asked, position, lacking);
            Ok((ledger::mark(version, true), following))
        };
        match followed.await {
            Ok((mark, following)) => (Ok(mark), Phase::Following(Box::new(following))),
            Err(error) => (Err(error), Phase::Over),
        }
    }
}

/// A watch that follows the poller.
struct Following {
    watcher: Watcher,
    asked: Asked,
    position: Position,
    lacking: Lacking,
    progress: Receiver<Progress>,
    /// What polls from before this say of the backend does not matter.
    ticket: u64,
    queue: VecDeque<Bytes>,
}

impl Following {
    fn new(watcher: Watcher, asked: Asked, position: Position, lacking: Lacking) -> Self {
        let progress = watcher.0.progress.subscribe();
        // What happened since the last poll should not wait for the next regular one.
        let ticket = watcher.0.ask();
        Self { watcher, asked, position, lacking, progress, ticket, queue: VecDeque::new() }
    }

    fn into_stream(self) -> BoxStream<'static, Result<Bytes, CallError>> {
        stream::unfold(Some(self), |following| async move {
            let mut following = following?;
            let next = following.next().await?;
            let following = next.is_ok().then_some(following);
            Some((next, following))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(Ok(event));
            }
            // Before the ledger is read: what comes meanwhile wakes it again.
            let progress = self.progress.borrow_and_update().clone();
            if let Err(Expired) = self.read() {
                self.watcher.0.counts.expired();
                return Some(Err(expired()));
            }
            if !self.queue.is_empty() {
                continue;
            }
            let gives_up = progress.gives_up && progress.answered >= self.ticket;
            if let (true, Some(error)) = (gives_up, progress.error) {
                return Some(Err(error));
            }
            self.progress.changed().await.ok()?;
        }
    }

    fn read(&mut self) -> Result<(), Expired> {
        let audience = Audience {
            namespace: &self.asked.namespace,
            selects: self.asked.selects,
            lacks: Some(&self.lacking),
        };
        let before = self.position.version();
        let changes = self.watcher.0.ledger().after(self.position, audience, AT_ONCE)?;
        self.position = changes.until;
        self.watcher.0.counts.told(changes.events.len() as u64);
        if changes.events.is_empty() && self.position.version() > before {
            self.queue.push_back(ledger::mark(self.position.version(), false));
        }
        self.queue.extend(changes.events);
        Ok(())
    }
}

pub(super) fn expired() -> CallError {
    status(Code::OutOfRange, "the resourceVersion is too old for what is remembered; list again")
}
