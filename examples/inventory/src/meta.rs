//! `kubridge.v1.ObjectMeta` as one opaque value: stored and given back byte for byte, with the
//! fields that this build does not know. Only the resource version is ours to write.

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field},
};

use crate::contract::ObjectMeta;

const RESOURCE_VERSION: u32 = 6;
/// labels and annotations.
const MAPS: [u32; 2] = [11, 12];

/// An object's metadata, on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    wire: Vec<u8>,
}

impl Meta {
    /// The fields that the contract names.
    pub fn decode_fields(&self) -> Result<ObjectMeta, DecodeError> {
        ObjectMeta::decode(self.wire.as_slice())
    }

    /// Writes the resource version, and nothing else.
    pub fn set_resource_version(&mut self, version: &str) {
        let mut wire = Vec::with_capacity(self.wire.len() + version.len() + 2);
        let mut rest = self.wire.as_slice();
        while let Some((tag, field)) = next_field(&mut rest) {
            if tag != RESOURCE_VERSION {
                wire.extend_from_slice(field);
            }
        }
        if !version.is_empty() {
            encode_key(RESOURCE_VERSION, WireType::LengthDelimited, &mut wire);
            encode_varint(version.len() as u64, &mut wire);
            wire.extend_from_slice(version.as_bytes());
        }
        self.wire = wire;
    }
}

impl Meta {
    /// Whether nothing but the resource version differs.
    pub fn same_but_version(&self, other: &Self) -> bool {
        self.sorted_fields() == other.sorted_fields()
    }

    /// By number; the entries of maps, which have no order, by their bytes too.
    fn sorted_fields(&self) -> Vec<(u32, &[u8])> {
        let mut fields = Vec::new();
        let mut rest = self.wire.as_slice();
        while let Some((tag, field)) = next_field(&mut rest) {
            if tag != RESOURCE_VERSION {
                fields.push((tag, field));
            }
        }
        let entry =
            |(tag, field): (u32, &'_ [u8])| if MAPS.contains(&tag) { field.to_vec() } else { Vec::new() };
        fields.sort_by_cached_key(|field| (field.0, entry(*field)));
        fields
    }
}

impl From<&ObjectMeta> for Meta {
    fn from(meta: &ObjectMeta) -> Self {
        Self { wire: meta.encode_to_vec() }
    }
}

impl From<ObjectMeta> for Meta {
    fn from(meta: ObjectMeta) -> Self {
        Self::from(&meta)
    }
}

/// prost calls `merge_field` for each field of the message: each is appended as it came.
impl Message for Meta {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.wire);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match wire_type {
            WireType::Varint => {
                let value = decode_varint(buf)?;
                encode_key(tag, wire_type, &mut self.wire);
                encode_varint(value, &mut self.wire);
            }
            WireType::LengthDelimited => {
                let len = decode_varint(buf)?;
                let len = usize::try_from(len).ok().filter(|len| *len <= buf.remaining());
                let len = len.ok_or_else(truncated)?;
                encode_key(tag, wire_type, &mut self.wire);
                encode_varint(len as u64, &mut self.wire);
                self.wire.put(buf.take(len));
            }
            WireType::ThirtyTwoBit | WireType::SixtyFourBit => {
                let len = if wire_type == WireType::SixtyFourBit { 8 } else { 4 };
                if buf.remaining() < len {
                    return Err(truncated());
                }
                encode_key(tag, wire_type, &mut self.wire);
                self.wire.put(buf.take(len));
            }
            // No generator of the last fifteen years writes groups: read over, not kept.
            WireType::StartGroup | WireType::EndGroup => skip_field(wire_type, tag, buf, ctx)?,
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.wire.len()
    }

    fn clear(&mut self) {
        self.wire.clear();
    }
}

fn truncated() -> DecodeError {
    // prost has no public way to make this error but to provoke it.
    decode_varint(&mut [].as_slice()).expect_err("an empty buffer holds no varint")
}

/// The next field's number and its bytes, key included.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let start = *rest;
    let (tag, wire_type) = decode_key(rest).ok()?;
    skip_field(wire_type, tag, rest, DecodeContext::default()).ok()?;
    Some((tag, &start[..start.len() - rest.len()]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keeps_fields_that_nobody_knows() {
        let mut wire = ObjectMeta { name: "a".into(), resource_version: "1".into(), ..Default::default() }
            .encode_to_vec();
        encode_key(999, WireType::LengthDelimited, &mut wire);
        wire.extend_from_slice(b"\x03new");
        encode_key(1000, WireType::SixtyFourBit, &mut wire);
        wire.extend_from_slice(&7_u64.to_le_bytes());
        let mut meta = Meta::decode(wire.as_slice()).unwrap();
        assert_eq!(meta.encode_to_vec(), wire);
        meta.set_resource_version("22");
        let fields = meta.decode_fields().unwrap();
        assert_eq!((fields.name.as_str(), fields.resource_version.as_str()), ("a", "22"));
        let bytes = meta.encode_to_vec();
        assert!(bytes.windows(3).any(|w| w == b"new"));
        assert!(bytes.windows(8).any(|w| w == 7_u64.to_le_bytes()));
        assert!(Meta::decode(&b"\x0a\x05ab"[..]).is_err());
    }
}
