//! Scalars: wire -> JSON.

use super::Encoder;
use crate::transcode::{
    fault::{Fault, FaultKind, WireResult},
    json_writer::{put_base64, put_double, put_float, put_integer, put_string},
    table::Kind,
    wire_reader::{Raw, bytes, fixed32, fixed64, varint},
};

/// A scalar as it was read.
#[derive(Debug, Clone, Copy)]
pub(in crate::transcode) enum Scalar<'a> {
    Signed(i64),
    Unsigned(u64),
    Double(f64),
    Float(f32),
    Bool(bool),
    Bytes(&'a [u8]),
}

fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

impl<'a> Scalar<'a> {
    /// Reads one value whose wire type is `kind`'s. 32-bit numbers are cut to their size, as protobuf says.
    #[inline(always)]
    pub(in crate::transcode) fn read(kind: Kind, buf: &mut &'a [u8]) -> WireResult<Self> {
        Ok(match kind {
            Kind::String | Kind::Bytes | Kind::Message(_) | Kind::Special(..) => Self::Bytes(bytes(buf)?),
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Self::of_number(kind, fixed64(buf)?),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Self::of_number(kind, fixed32(buf)?.into()),
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => Self::of_number(kind, varint(buf)?),
            Kind::Sint32 | Kind::Sint64 | Kind::Bool | Kind::Enum(_) => Self::of_number(kind, varint(buf)?),
        })
    }

    #[inline(always)]
    fn of_number(kind: Kind, number: u64) -> Self {
        match kind {
            Kind::Double => Self::Double(f64::from_bits(number)),
            Kind::Float => Self::Float(f32::from_bits(number as u32)),
            Kind::Int32 | Kind::Enum(_) | Kind::Sfixed32 => Self::Signed((number as i32).into()),
            Kind::Int64 | Kind::Sfixed64 => Self::Signed(number as i64),
            Kind::Sint32 => Self::Signed((zigzag(u64::from(number as u32)) as i32).into()),
            Kind::Sint64 => Self::Signed(zigzag(number)),
            Kind::Uint32 | Kind::Fixed32 => Self::Unsigned((number as u32).into()),
            Kind::Bool => Self::Bool(number != 0),
            Kind::Uint64 | Kind::Fixed64 | Kind::String | Kind::Bytes => Self::Unsigned(number),
            Kind::Message(_) | Kind::Special(..) => Self::Unsigned(number),
        }
    }

    /// The same from a value that was gathered.
    pub(in crate::transcode) fn of(kind: Kind, raw: Raw<'a>) -> Self {
        match raw {
            Raw::Number(number) => Self::of_number(kind, number),
            Raw::Bytes(bytes) => Self::Bytes(bytes),
        }
    }

    /// Zero, as a field without presence cannot show it. Minus zero is not.
    #[inline(always)]
    pub(in crate::transcode) fn is_zero(&self) -> bool {
        match self {
            Self::Signed(number) => *number == 0,
            Self::Unsigned(number) => *number == 0,
            Self::Double(number) => number.to_bits() == 0,
            Self::Float(number) => number.to_bits() == 0,
            Self::Bool(set) => !set,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

impl Encoder<'_, '_> {
    /// Appends a scalar's JSON.
    #[inline(always)]
    pub(super) fn scalar(&mut self, kind: Kind, scalar: Scalar<'_>) -> WireResult<()> {
        match scalar {
            Scalar::Signed(number) => match kind {
                Kind::Enum(index) => self.enumeration(index, number as i32),
                _ => put_integer(self.out, number),
            },
            Scalar::Unsigned(number) => put_integer(self.out, number),
            Scalar::Double(number) => put_double(self.out, number),
            Scalar::Float(number) => put_float(self.out, number),
            Scalar::Bool(set) => self.out.extend_from_slice(if set { b"true" } else { b"false" }),
            Scalar::Bytes(bytes) => {
                if kind == Kind::Bytes {
                    put_base64(self.out, bytes);
                } else if !put_string(self.out, bytes) {
                    return Err(Fault::new(FaultKind::Utf8));
                }
            }
        }
        Ok(())
    }

    fn enumeration(&mut self, index: u32, number: i32) {
        let table = self.tables.enumeration(index);
        if table.is_null && number == 0 {
            self.out.extend_from_slice(b"null");
        } else if let Some(quoted) = table.quoted(number) {
            self.out.extend_from_slice(quoted);
        } else {
            self.out.push(b'"');
            put_integer(self.out, number);
            self.out.push(b'"');
        }
    }

    pub(super) fn put_zero(&mut self, kind: Kind) {
        match kind {
            Kind::String | Kind::Bytes => self.out.extend_from_slice(b"\"\""),
            Kind::Bool => self.out.extend_from_slice(b"false"),
            Kind::Enum(index) => self.enumeration(index, 0),
            Kind::Message(_) | Kind::Special(..) => self.out.extend_from_slice(b"null"),
            _ => self.out.push(b'0'),
        }
    }

    /// The numbers of one packed piece.
    pub(super) fn packed(&mut self, kind: Kind, buf: &mut &[u8], count: &mut usize) -> WireResult<()> {
        match kind {
            Kind::Double => self.each(buf, count, |buf| fixed64(buf).map(f64::from_bits), put_double),
            Kind::Float => self.each(buf, count, |buf| fixed32(buf).map(f32::from_bits), put_float),
            Kind::Int32 => self.each(buf, count, |buf| varint(buf).map(|n| n as i32), put_integer),
            Kind::Int64 => self.each(buf, count, |buf| varint(buf).map(|n| n as i64), put_integer),
            Kind::Uint64 => self.each(buf, count, varint, put_integer),
            _ => {
                while !buf.is_empty() {
                    if *count > 0 {
                        self.out.push(b',');
                    }
                    let scalar = Scalar::read(kind, buf)?;
                    self.scalar(kind, scalar)?;
                    *count += 1;
                }
                Ok(())
            }
        }
    }

    /// The loop over numbers of one kind that is known.
    #[inline(always)]
    fn each<N>(
        &mut self,
        buf: &mut &[u8],
        count: &mut usize,
        read: impl Fn(&mut &[u8]) -> WireResult<N>,
        put: impl Fn(&mut Vec<u8>, N),
    ) -> WireResult<()> {
        while !buf.is_empty() {
            if *count > 0 {
                self.out.push(b',');
            }
            put(self.out, read(buf)?);
            *count += 1;
        }
        Ok(())
    }
}
