//! GET of a collection: unary or streamed by the backend, streamed to the client where its format allows.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::StatusCode;
use prost::Message as _;

use super::{
    Body, Reply,
    call::Values,
    exchange::{Exchange, call_error, wire_error},
    filter::Filter,
    respond::{ListWriter, MAX_BUFFERED, Media},
};
use crate::{
    caller::{Call, CallError, Caller, Class},
    env::Env,
    model::Method,
    negotiate::Endpoint,
    object::{self, Chunk},
    options,
    proto::{ListMeta, ListOptions},
    status::{ApiError, CallVerb, means_empty_list},
};

/// How much is sent at a time.
const PIECE: usize = 64 * 1024;

/// The chunks of a List, whether the backend streams them or not.
#[derive(Debug)]
pub enum Chunks<S> {
    /// It streams.
    Stream(S),
    /// One message; `None`: it was taken.
    One(Option<Bytes>),
}

impl<S: stream::Stream<Item = Result<Bytes, CallError>> + Unpin> Chunks<S> {
    /// Calls a List. `streaming`: its method streams.
    ///
    /// # Errors
    /// The call failed.
    pub async fn open<C: Caller<Stream = S>>(
        caller: &C,
        call: Call,
        streaming: bool,
    ) -> Result<Self, CallError> {
        Ok(if streaming {
            Self::Stream(caller.stream(call).await?)
        } else {
            Self::One(Some(caller.unary(call).await?))
        })
    }

    /// The next chunk; `None`: that was all.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        match self {
            Self::Stream(stream) => stream.next().await,
            Self::One(chunk) => chunk.take().map(Ok),
        }
    }
}

/// A list on its way: what is left of it, and how it is written.
struct Running<C: Caller, E> {
    exchange: Exchange<C, E>,
    method: Arc<Method>,
    verb: CallVerb,
    chunks: Chunks<C::Stream>,
    filter: Filter,
    writer: ListWriter,
    /// What is left of the present chunk.
    items: std::vec::IntoIter<Bytes>,
    /// The answer is made of the whole.
    buffered: bool,
    /// The backend sent something.
    came: bool,
    done: bool,
}

/// Lists.
pub(super) async fn list<C: Caller, E: Env>(exchange: Exchange<C, E>) -> Result<Reply, ApiError> {
    let Some(method) = exchange.resource.methods.list.clone() else {
        return Err(ApiError::method_not_allowed());
    };
    let options = options::ListOptions::parse(&exchange.request.query, false)?;
    let media = exchange.negotiate(Endpoint::List)?;
    let filter = Filter::new(&exchange.resource, exchange.namespace(), options.labels, options.fields)?;
    let verb = verb(&options.wire);
    let writer = ListWriter::new(&exchange.resource, &media, exchange.env.now());
    let options = passed_on(&method, options.wire)?;
    let chunks = open(&exchange, &method, &options, verb).await?;
    let items = Vec::new().into_iter();
    let mut running = Running {
        exchange,
        method,
        verb,
        chunks,
        filter,
        writer,
        items,
        buffered: media.buffered(),
        came: false,
        done: false,
    };
    // Before anything is sent an error is an answer; afterwards only the stream can break.
    let first = running.opening().await?;
    if media.buffered() {
        return running.whole(&media, first).await;
    }
    let exchange = &running.exchange;
    let warnings = exchange.warnings.take();
    let schema_suspect = exchange.schema_suspect;
    let body =
        if running.done { Body::Whole(first.into()) } else { Body::Stream(running.into_stream(first)) };
    Ok(Reply { status: StatusCode::OK, content_type: media.content_type(), warnings, body, schema_suspect })
}

pub(super) fn verb(options: &ListOptions) -> CallVerb {
    let from_version =
        !matches!(options.resource_version.as_str(), "" | "0") || !options.r#continue.is_empty();
    CallVerb::List { from_version }
}

/// What the backend is told: no limit unless it can say where the next page starts.
pub(super) fn passed_on(method: &Method, options: ListOptions) -> Result<ListOptions, ApiError> {
    if method.pages() {
        return Ok(options);
    }
    if !options.r#continue.is_empty() {
        return Err(ApiError::bad_request("continue key is not valid: this resource is not listed in pages"));
    }
    Ok(ListOptions { limit: 0, ..options })
}

/// Opens a List. A collection that the backend does not find is empty.
pub(super) async fn open<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    options: &ListOptions,
    verb: CallVerb,
) -> Result<Chunks<C::Stream>, ApiError> {
    let values = Values { namespace: exchange.namespace(), list: Some(options), ..Values::default() };
    let call = exchange.call(method, &values, Class::Read);
    match Chunks::open(&exchange.caller, call, method.streaming).await {
        Ok(chunks) => Ok(chunks),
        Err(error) if means_empty_list(&error) => Ok(Chunks::One(None)),
        Err(error) => Err(exchange.call_error(&error, verb, "", method)),
    }
}

/// The next chunk, read; `None`: that was all. `first`: nothing came before it, so that the backend can still say
/// that there is nothing.
pub(super) async fn next<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    chunks: &mut Chunks<C::Stream>,
    verb: CallVerb,
    first: bool,
) -> Result<Option<Chunk>, ApiError> {
    match chunks.next().await {
        None => Ok(None),
        Some(Ok(chunk)) => Ok(Some(Chunk::parse(&chunk).map_err(|e| wire_error(&exchange.resource, &e))?)),
        Some(Err(error)) if first && means_empty_list(&error) => Ok(None),
        Some(Err(error)) => Err(call_error(&exchange.resource, &error, verb, "", Some(method))),
    }
}

/// A list's metadata as the client sees it.
pub(super) fn list_meta(metadata: &[u8], filter: &Filter) -> Result<ListMeta, crate::transcode::WireError> {
    let mut meta = ListMeta::decode(metadata).map_err(|e| crate::transcode::WireError::Value {
        path: "metadata".into(),
        message: e.to_string(),
    })?;
    if filter.has_selectors() {
        // The backend counted what it did not filter.
        meta.remaining_item_count = None;
    }
    Ok(meta)
}

impl<C: Caller, E: Env> Running<C, E> {
    /// The beginning: all of a short list, so that it has a length, and an error is an answer. Metadata stands before
    /// the items, as in Kubernetes, also where the backend sends it last (of a list with a limit it has to).
    async fn opening(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut items = Vec::new();
        while !self.exhausted() && items.len() < PIECE {
            self.fill(&mut items).await?;
        }
        let mut out = Vec::with_capacity(items.len() + 256);
        self.writer.begin(&mut out);
        out.append(&mut items);
        self.close(&mut out);
        Ok(out)
    }

    /// Appends the next piece.
    async fn step(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.fill(out).await?;
        self.close(out);
        Ok(())
    }

    fn exhausted(&self) -> bool {
        self.items.len() == 0 && matches!(self.chunks, Chunks::One(None))
    }

    /// Appends the end, when that was all.
    fn close(&mut self, out: &mut Vec<u8>) {
        if !self.exhausted() {
            return;
        }
        self.writer.end(out);
        if !self.buffered {
            out.push(b'\n');
        }
        self.done = true;
    }

    /// Appends the next items: of one chunk at most [`PIECE`] bytes and an item.
    async fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        if self.items.len() == 0 {
            let first = !std::mem::replace(&mut self.came, true);
            match next(&self.exchange, &self.method, &mut self.chunks, self.verb, first).await? {
                Some(chunk) => self.take(chunk)?,
                None => self.chunks = Chunks::One(None),
            }
        }
        let resource = Arc::clone(&self.exchange.resource);
        let fault = |e| wire_error(&resource, &e);
        let limit = out.len() + PIECE;
        while out.len() < limit
            && let Some(item) = self.items.next()
        {
            if self.filter.matches(&item).map_err(fault)? {
                let item = object::complete(&resource, &item).map_err(fault)?;
                let noticed = self.writer.item(&item, out).map_err(fault)?;
                if noticed.unknown_fields && !std::mem::replace(&mut self.exchange.schema_suspect, true) {
                    self.exchange.env.schema_suspect();
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, chunk: Chunk) -> Result<(), ApiError> {
        let resource = &self.exchange.resource;
        if let Some(metadata) = &chunk.metadata {
            let meta = list_meta(metadata, &self.filter).map_err(|e| wire_error(resource, &e))?;
            self.writer.metadata(meta).map_err(|why| ApiError::internal(why).with_schema_suspect())?;
        }
        self.items = chunk.items.into_iter();
        Ok(())
    }

    /// The rest of the list, as the client reads it.
    fn into_stream(self, first: Vec<u8>) -> stream::BoxStream<'static, Result<Bytes, ApiError>> {
        let start = stream::once(async { Ok(Bytes::from(first)) });
        let rest = stream::unfold(Some(self), |running| async move {
            let mut running = running?;
            if running.done {
                return None;
            }
            let mut out = Vec::with_capacity(16 * 1024);
            match running.step(&mut out).await {
                Ok(()) => Some((Ok(Bytes::from(out)), Some(running))),
                Err(error) => {
                    running.exchange.env.report(&error);
                    Some((Err(error), None))
                }
            }
        });
        start.chain(rest).boxed()
    }

    /// The list in a format that is made of the whole.
    async fn whole(mut self, media: &Media, first: Vec<u8>) -> Result<Reply, ApiError> {
        let mut json = first;
        while !self.done {
            if json.len() > MAX_BUFFERED {
                return Err(ApiError::too_large(
                    "the list is too long for this format; ask for application/json without pretty, or use limit",
                ));
            }
            self.step(&mut json).await?;
        }
        self.exchange.json_reply(StatusCode::OK, media, json)
    }
}
