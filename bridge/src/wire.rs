//! The protobuf wire format, as far as it is read without a schema: fields, and how to splice them.

use bytes::{Buf, BufMut};
use prost::encoding::{
    WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len,
};

/// The bytes are not protobuf: truncated, an overlong varint, a bad wire type, a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf at byte {offset}")]
pub struct Malformed {
    /// Where.
    pub offset: usize,
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// The field number.
    pub number: u32,
    /// The wire type.
    pub wire_type: WireType,
    /// The value: of a length-delimited field the contents, else the varint's or fixed number's bytes.
    pub value: &'a [u8],
    /// Key, length and value: what to copy to carry the field over.
    pub raw: &'a [u8],
}

impl Field<'_> {
    /// The value of a varint field.
    pub fn varint(&self) -> u64 {
        let mut value = self.value;
        decode_varint(&mut value).unwrap_or_default()
    }
}

/// The fields of a message, in the order of the wire. Stops at the first fault.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { message, rest: message }
}

/// See [`fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    message: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<Field<'a>> {
        let start = self.rest;
        let (number, wire_type) = decode_key(&mut self.rest).ok()?;
        let mut body = self.rest;
        let length = match wire_type {
            WireType::Varint => {
                decode_varint(&mut self.rest).ok()?;
                body.len() - self.rest.len()
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.rest).ok()?).ok()?;
                body = self.rest;
                length
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        if wire_type != WireType::Varint {
            if self.rest.len() < length {
                return None;
            }
            self.rest.advance(length);
        }
        let raw = start.get(..start.len() - self.rest.len())?;
        Some(Field { number, wire_type, value: body.get(..length)?, raw })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.message.len() - self.rest.len();
        let field = self.read();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(Malformed { offset }))
    }
}

/// The message without the fields that `drop` names.
pub fn without(message: &[u8], drop: impl Fn(u32) -> bool) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(message.len());
    for field in fields(message) {
        let field = field?;
        if !drop(field.number) {
            out.extend_from_slice(field.raw);
        }
    }
    Ok(out)
}

/// All occurrences of one singular message field, concatenated: protobuf merges them so.
pub fn message_field(message: &[u8], number: u32) -> Result<std::borrow::Cow<'_, [u8]>, Malformed> {
    let mut found: Option<std::borrow::Cow<'_, [u8]>> = None;
    for field in fields(message) {
        let field = field?;
        if field.number == number && field.wire_type == WireType::LengthDelimited {
            match &mut found {
                None => found = Some(field.value.into()),
                Some(merged) => merged.to_mut().extend_from_slice(field.value),
            }
        }
    }
    Ok(found.unwrap_or_default())
}

/// Whether the message has a field.
pub fn has_field(message: &[u8], number: u32) -> Result<bool, Malformed> {
    for field in fields(message) {
        if field?.number == number {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Appends a length-delimited field (string, bytes, message).
pub fn put_bytes(out: &mut impl BufMut, number: u32, value: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.put_slice(value);
}

/// Appends a varint field.
pub fn put_varint(out: &mut impl BufMut, number: u32, value: u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

/// How many bytes [`put_bytes`] appends.
pub fn bytes_len(number: u32, length: usize) -> usize {
    key_len(number) + encoded_len_varint(length as u64) + length
}
