//! Writes the resourceVersion into an object on the wire.

use bytes::BufMut as _;
use kubridge_bridge::wire::{self, Malformed};

const METADATA: u32 = 1;
const RESOURCE_VERSION: u32 = 6;

/// The object with `version` in its metadata, or with none. The rest keeps its bytes and order.
pub(crate) fn stamp(object: &[u8], version: Option<u64>) -> Result<Vec<u8>, Malformed> {
    let metadata = wire::message_field(object, METADATA)?;
    let mut stamped = wire::without(&metadata, |number| number == RESOURCE_VERSION)?;
    if let Some(version) = version {
        wire::put_bytes(&mut stamped, RESOURCE_VERSION, version.to_string().as_bytes());
    }
    let rest = wire::without(object, |number| number == METADATA)?;
    let mut out = Vec::with_capacity(wire::bytes_len(METADATA, stamped.len()) + rest.len());
    wire::put_bytes(&mut out, METADATA, &stamped);
    out.put_slice(&rest);
    Ok(out)
}
