//! Scalars: JSON -> wire.

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::Decoder;
use crate::transcode::{
    fault::{JsonFault, JsonResult},
    json_reader::{Integer, NotInteger, in_quotes, integral, shown},
    table::Kind,
};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl<'a> Decoder<'_, 'a> {
    /// Appends a scalar without its key. True: it is zero, as a field without presence cannot show it.
    #[inline(always)]
    pub(super) fn scalar(&mut self, kind: Kind) -> JsonResult<bool> {
        match kind {
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                let number = self.signed(i32::MIN.into(), i32::MAX.into(), "an integer of 32 bits")?;
                match kind {
                    Kind::Int32 => self.out.put_varint(number as u64),
                    Kind::Sint32 => self.out.put_varint(zigzag(number)),
                    _ => self.out.bytes.extend_from_slice(&(number as i32).to_le_bytes()),
                }
                Ok(number == 0)
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                let number = self.signed(i64::MIN, i64::MAX, "an integer of 64 bits")?;
                match kind {
                    Kind::Int64 => self.out.put_varint(number as u64),
                    Kind::Sint64 => self.out.put_varint(zigzag(number)),
                    _ => self.out.bytes.extend_from_slice(&number.to_le_bytes()),
                }
                Ok(number == 0)
            }
            Kind::Uint32 | Kind::Fixed32 => {
                let number = self.unsigned(u32::MAX.into(), "an unsigned integer of 32 bits")?;
                match kind {
                    Kind::Uint32 => self.out.put_varint(number),
                    _ => self.out.bytes.extend_from_slice(&(number as u32).to_le_bytes()),
                }
                Ok(number == 0)
            }
            Kind::Uint64 | Kind::Fixed64 => {
                let number = self.unsigned(u64::MAX, "an unsigned integer of 64 bits")?;
                match kind {
                    Kind::Uint64 => self.out.put_varint(number),
                    _ => self.out.bytes.extend_from_slice(&number.to_le_bytes()),
                }
                Ok(number == 0)
            }
            Kind::Double => {
                let number = self.double()?;
                self.out.bytes.extend_from_slice(&number.to_le_bytes());
                Ok(number.to_bits() == 0)
            }
            Kind::Float => {
                let number = self.float()?;
                self.out.bytes.extend_from_slice(&number.to_le_bytes());
                Ok(number.to_bits() == 0)
            }
            Kind::Bool => {
                let set = match self.reader.peek() {
                    b't' => self.reader.literal("true").map(|()| true),
                    b'f' => self.reader.literal("false").map(|()| false),
                    _ => Err(self.wrong_type("a boolean")),
                }?;
                self.out.bytes.push(u8::from(set));
                Ok(!set)
            }
            Kind::Enum(index) => self.enumeration(index),
            Kind::String => {
                if self.reader.peek() != b'"' {
                    return Err(self.wrong_type("a string"));
                }
                match self.reader.plain_string()? {
                    Some(text) => {
                        self.out.put_bytes(text);
                        Ok(text.is_empty())
                    }
                    None => self.escaped_string().map(|()| false),
                }
            }
            Kind::Bytes => self.base64(),
            // Messages have their own way.
            Kind::Message(_) | Kind::Special(..) => Err(self.wrong_type("a scalar")),
        }
    }

    /// A string that has escapes: length and contents.
    pub(super) fn escaped_string(&mut self) -> JsonResult<()> {
        let mark = self.out.open();
        self.reader.at += 1;
        self.reader.escaped(Some(&mut self.out.bytes))?;
        self.out.close(mark);
        Ok(())
    }

    #[inline(always)]
    pub(super) fn signed(&mut self, min: i64, max: i64, expected: &str) -> JsonResult<i64> {
        let start = self.integer_start(expected)?;
        let integer = self.integer(expected)?;
        match integer.signed().filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(number),
            None => Err(self.out_of_range(start, expected)),
        }
    }

    #[inline(always)]
    fn unsigned(&mut self, max: u64, expected: &str) -> JsonResult<u64> {
        let start = self.integer_start(expected)?;
        let integer = self.integer(expected)?;
        match integer.unsigned().filter(|number| *number <= max) {
            Some(number) => Ok(number),
            None => Err(self.out_of_range(start, expected)),
        }
    }

    #[inline(always)]
    fn integer_start(&mut self, expected: &str) -> JsonResult<usize> {
        match self.reader.peek() {
            b'-' | b'0'..=b'9' | b'"' => Ok(self.reader.at),
            _ => Err(self.wrong_type(expected)),
        }
    }

    #[inline(always)]
    fn integer(&mut self, expected: &str) -> JsonResult<Integer> {
        let start = self.reader.at;
        if self.reader.byte() == b'"' {
            return self.quoted_integer(expected);
        }
        match self.reader.integer()? {
            Ok(integer) => Ok(integer),
            Err(error) => Err(error.fault(start, &self.reader.json[start..self.reader.at], expected)),
        }
    }

    fn quoted_integer(&mut self, expected: &str) -> JsonResult<Integer> {
        let start = self.reader.at;
        let text = self.reader.string()?;
        if !in_quotes(&text) {
            let message = format!("must be {expected}, not the string {:?}", shown(&text));
            return Err(JsonFault::value(start, message));
        }
        integral(&text).map_err(|error| error.fault(start, &text, expected))
    }

    #[cold]
    fn out_of_range(&self, start: usize, expected: &str) -> Box<JsonFault> {
        let text = self.reader.json[start..self.reader.at].trim_ascii();
        NotInteger::Range.fault(
            start,
            text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(text),
            expected,
        )
    }

    #[inline]
    pub(super) fn double(&mut self) -> JsonResult<f64> {
        let start = self.reader.peek();
        let at = self.reader.at;
        let number = match start {
            b'-' | b'0'..=b'9' => self.reader.double()?,
            b'"' => self.quoted_float("a number")?,
            _ => return Err(self.wrong_type("a number")),
        };
        number.ok_or_else(|| self.out_of_range(at, "a number of 64 bits"))
    }

    fn float(&mut self) -> JsonResult<f32> {
        let start = self.reader.peek();
        let at = self.reader.at;
        let number = match start {
            b'-' | b'0'..=b'9' => self.reader.float()?,
            b'"' => self.quoted_float("a number")?,
            _ => return Err(self.wrong_type("a number")),
        };
        number.ok_or_else(|| self.out_of_range(at, "a number of 32 bits"))
    }

    fn quoted_float<F: Float>(&mut self, expected: &str) -> JsonResult<Option<F>> {
        let start = self.reader.at;
        let text = self.reader.string()?;
        match &*text {
            b"NaN" => Ok(Some(F::NAN)),
            b"Infinity" => Ok(Some(F::INFINITY)),
            b"-Infinity" => Ok(Some(F::NEG_INFINITY)),
            text if in_quotes(text) => {
                Ok(std::str::from_utf8(text).ok().and_then(|text| F::parse_finite(text)))
            }
            text => {
                let message = format!(
                    "must be {expected}, \"NaN\", \"Infinity\" or \"-Infinity\", not the string {:?}",
                    shown(text)
                );
                Err(JsonFault::value(start, message))
            }
        }
    }

    fn enumeration(&mut self, index: u32) -> JsonResult<bool> {
        let table = self.tables.enumeration(index);
        let start = self.reader.peek();
        let at = self.reader.at;
        let number = match start {
            b'"' => {
                let name = self.reader.string()?;
                let in_digits = || {
                    let integer = in_quotes(&name).then(|| integral(&name).ok()).flatten()?;
                    integer.signed().and_then(|number| i32::try_from(number).ok())
                };
                table.number(&name).or_else(in_digits).ok_or_else(|| {
                    let name = shown(&name);
                    let message =
                        format!("Unsupported value: {name:?}: supported values: {}", table.expected);
                    JsonFault::value(at, message)
                })?
            }
            b'n' if table.is_null => {
                self.reader.literal("null")?;
                0
            }
            b'-' | b'0'..=b'9' => {
                let number = self.signed(i32::MIN.into(), i32::MAX.into(), "an integer of 32 bits")?;
                number as i32
            }
            _ => return Err(self.wrong_type("a string")),
        };
        self.out.put_varint(i64::from(number) as u64);
        Ok(number == 0)
    }

    fn base64(&mut self) -> JsonResult<bool> {
        if self.reader.peek() != b'"' {
            return Err(self.wrong_type("a string in base64"));
        }
        let at = self.reader.at;
        let text: Cow<'a, [u8]> = self.reader.string()?;
        let engine = if text.iter().any(|byte| matches!(byte, b'-' | b'_')) { URL_SAFE } else { STANDARD };
        let mark = self.out.open();
        let start = self.out.bytes.len();
        // At most three bytes of four characters.
        self.out.bytes.resize(start + text.len().div_ceil(4) * 3, 0);
        match engine.decode_slice(&*text, &mut self.out.bytes[start..]) {
            Ok(written) => {
                self.out.bytes.truncate(start + written);
                self.out.close(mark);
                Ok(written == 0)
            }
            Err(_) => Err(JsonFault::value(at, "must be a string in base64")),
        }
    }
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// What is asked of both sizes of floats.
trait Float: Sized {
    const NAN: Self;
    const INFINITY: Self;
    const NEG_INFINITY: Self;
    fn parse_finite(text: &str) -> Option<Self>;
}

impl Float for f64 {
    const NAN: Self = f64::NAN;
    const INFINITY: Self = f64::INFINITY;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    fn parse_finite(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &Self| number.is_finite())
    }
}

impl Float for f32 {
    const NAN: Self = f32::NAN;
    const INFINITY: Self = f32::INFINITY;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    fn parse_finite(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &Self| number.is_finite())
    }
}
