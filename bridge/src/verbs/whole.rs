//! A whole collection, for who reads it as the aggregator itself: every page of it, and its version.

use bytes::Bytes;
use prost::Message as _;

use super::{call::list_call, list::Chunks};
use crate::{
    caller::{CallError, Caller, Ran, TransportError, TransportKind},
    model::Method,
    object::Chunk,
    proto::{ListMeta, ListOptions},
    status::means_empty_list,
    transcode::WireError,
};

/// A list that continues for ever is none.
const PAGES: usize = 100_000;

/// Reads all objects of all namespaces. `take` gets the items as they come, a chunk at a time. Gives the version of the
/// list, which of several pages the first one says; empty: the backend gives none.
///
/// # Errors
/// The call failed, or what came is no list; whatever `take` refuses.
pub async fn read_all<C: Caller, E: From<CallError> + From<WireError>>(
    caller: &C,
    method: &Method,
    mut take: impl FnMut(&[Bytes]) -> Result<(), E>,
) -> Result<String, E> {
    let mut version: Option<String> = None;
    let mut options = ListOptions::default();
    for _ in 0..PAGES {
        let call = list_call(method, "", &options);
        let mut next = String::new();
        let mut chunks = match Chunks::open(caller, call, method.streaming).await {
            Ok(chunks) => chunks,
            Err(error) if means_empty_list(&error) => Chunks::One(None),
            Err(error) => return Err(error.into()),
        };
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Err(error) if means_empty_list(&error) => break,
                chunk => Chunk::parse(&chunk?)?,
            };
            if let Some(metadata) = &chunk.metadata {
                let meta = ListMeta::decode(metadata.clone()).map_err(|e| malformed(&e.to_string()))?;
                if !meta.resource_version.is_empty() {
                    version.get_or_insert(meta.resource_version);
                }
                next = meta.r#continue;
            }
            take(&chunk.items)?;
        }
        if next.is_empty() {
            return Ok(version.unwrap_or_default());
        }
        options.r#continue = next;
    }
    Err(malformed("a list of pages without an end").into())
}

fn malformed(what: &str) -> CallError {
    CallError::Transport(Box::new(TransportError {
        ran: Ran::Unknown,
        kind: TransportKind::Protocol,
        message: format!("the List of a whole collection: {what}"),
    }))
}
