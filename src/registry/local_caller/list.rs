//! Get and List.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream::BoxStream};
use kubridge_bridge::{
    caller::{CallError, Code},
    proto, wire,
};
use prost::Message as _;

use super::{Served, answer};
use crate::registry::store::{Key, Store};

/// Objects in one message of a list.
const CHUNK: usize = 256;

pub(super) async fn get(
    store: &Store,
    served: &Served,
    request: proto::GetRequest,
) -> Result<Bytes, CallError> {
    let asked = request.options.map(|options| options.resource_version).unwrap_or_default();
    let head = *store.head().borrow();
    not_older_than(&asked, head)?;
    let key =
        Key { resource: served.resource.clone(), namespace: request.namespace, name: request.name.clone() };
    let stored = store.get(key).await?;
    stored.map(|stored| stored.object).ok_or_else(|| answer::not_found(served, &request.name))
}

/// The whole list, always the newest: selectors and limits are the aggregator's.
pub(super) async fn list(
    store: &Store,
    served: &Served,
    request: proto::ListRequest,
) -> Result<BoxStream<'static, Result<Bytes, CallError>>, CallError> {
    let options = request.options.unwrap_or_default();
    let listing = store.list(served.resource.clone(), request.namespace).await?;
    let asked = not_older_than(&options.resource_version, listing.version)?;
    if options.resource_version_match == "Exact" && asked != 0 && asked != listing.version {
        return Err(answer::expired(asked, listing.version));
    }
    let metadata = proto::ListMeta { resource_version: listing.version.to_string(), ..Default::default() };
    let mut chunks = Vec::with_capacity(1 + listing.objects.len() / CHUNK);
    let mut first = BytesMut::new();
    wire::put_bytes(&mut first, 1, &metadata.encode_to_vec());
    chunks.push(first);
    for (index, object) in listing.objects.iter().enumerate() {
        if index != 0 && index % CHUNK == 0 {
            chunks.push(BytesMut::new());
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.reserve(wire::bytes_len(2, object.len()));
            wire::put_bytes(chunk, 2, object);
        }
    }
    Ok(futures::stream::iter(chunks.into_iter().map(|chunk| Ok(chunk.freeze()))).boxed())
}

/// The version that was asked for (0: any), which must not lie in the future.
fn not_older_than(asked: &str, head: u64) -> Result<u64, CallError> {
    let asked = version(asked)?;
    if asked > head {
        let message = format!("Too large resource version: {asked}, current: {head}");
        return Err(answer::status(Code::DeadlineExceeded, message));
    }
    Ok(asked)
}

/// A version as the client wrote it; empty reads as 0.
pub(super) fn version(text: &str) -> Result<u64, CallError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        answer::status(
            Code::InvalidArgument,
            format!("Invalid value: {text:?}: resourceVersion must be a number"),
        )
    })
}
