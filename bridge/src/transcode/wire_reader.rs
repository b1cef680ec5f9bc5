//! The wire, read without a schema: keys, varints, lengths. No allocation; every length is checked.

use super::{
    fault::{Fault, WireResult},
    table::{I32, I64, LEN, VARINT},
};

/// A value on the wire, its type checked: a varint's number, a fixed number's bits, or the contents.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Raw<'a> {
    #[inline]
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Bytes(_) => 0,
        }
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Number(_) => &[],
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// A varint of at most ten bytes.
#[inline(always)]
pub(super) fn varint(buf: &mut &[u8]) -> WireResult<u64> {
    match buf.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *buf = rest;
            Ok(u64::from(byte))
        }
        _ => long_varint(buf),
    }
}

fn long_varint(buf: &mut &[u8]) -> WireResult<u64> {
    let mut number = 0;
    for (at, &byte) in buf.iter().enumerate().take(10) {
        // The tenth byte holds one bit.
        if at == 9 && byte > 1 {
            break;
        }
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *buf = &buf[at + 1..];
            return Ok(number);
        }
    }
    Err(Fault::malformed(buf))
}

/// A field's key: number and wire type.
#[inline(always)]
pub(super) fn tag(buf: &mut &[u8]) -> WireResult<u32> {
    let start = *buf;
    match u32::try_from(varint(buf)?) {
        Ok(tag) if tag >> 3 != 0 => Ok(tag),
        _ => Err(Fault::malformed(start)),
    }
}

/// The contents of a length-delimited value.
#[inline(always)]
pub(super) fn bytes<'a>(buf: &mut &'a [u8]) -> WireResult<&'a [u8]> {
    let start = *buf;
    let length = varint(buf)?;
    match usize::try_from(length).ok().and_then(|length| buf.split_at_checked(length)) {
        Some((contents, rest)) => {
            *buf = rest;
            Ok(contents)
        }
        None => Err(Fault::malformed(start)),
    }
}

/// Eight bytes.
#[inline(always)]
pub(super) fn fixed64(buf: &mut &[u8]) -> WireResult<u64> {
    match buf.split_first_chunk::<8>() {
        Some((chunk, rest)) => {
            *buf = rest;
            Ok(u64::from_le_bytes(*chunk))
        }
        None => Err(Fault::malformed(buf)),
    }
}

/// Four bytes.
#[inline(always)]
pub(super) fn fixed32(buf: &mut &[u8]) -> WireResult<u32> {
    match buf.split_first_chunk::<4>() {
        Some((chunk, rest)) => {
            *buf = rest;
            Ok(u32::from_le_bytes(*chunk))
        }
        None => Err(Fault::malformed(buf)),
    }
}

/// The value after a key. Groups are malformed here.
#[inline]
pub(super) fn value<'a>(wire_type: u32, buf: &mut &'a [u8]) -> WireResult<Raw<'a>> {
    match wire_type {
        VARINT => varint(buf).map(Raw::Number),
        I64 => fixed64(buf).map(Raw::Number),
        LEN => bytes(buf).map(Raw::Bytes),
        I32 => fixed32(buf).map(|bits| Raw::Number(bits.into())),
        _ => Err(Fault::malformed(buf)),
    }
}

/// The fields of small messages with a JSON form of their own, whose parts follow each other.
pub(super) fn each_field<'a>(
    parts: &[&'a [u8]],
    mut field: impl FnMut(u32, u32, Raw<'a>) -> WireResult<()>,
) -> WireResult<()> {
    for part in parts {
        let mut buf = *part;
        while !buf.is_empty() {
            let tag = tag(&mut buf)?;
            let value = value(tag & 7, &mut buf)?;
            field(tag >> 3, tag & 7, value)?;
        }
    }
    Ok(())
}
