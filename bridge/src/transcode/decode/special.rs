//! Messages with a JSON form of their own: JSON -> wire.

use std::borrow::Cow;

use super::{Decoder, Extra};
use crate::transcode::{
    fault::{JsonFault, JsonResult},
    field_mask,
    json_reader::shown,
    table::{Kind, Message, Shape, Special},
    time,
};

impl<'t, 'a> Decoder<'t, 'a> {
    /// The contents of such a message. `depth` is that of the container that holds it.
    pub(super) fn special(&mut self, special: Special, message: &'t Message, depth: usize) -> JsonResult<()> {
        match special {
            Special::None => self.object(message, depth, Extra::None),
            Special::Time | Special::MicroTime | Special::Timestamp => self.instant(special),
            Special::Duration | Special::GoDuration => self.duration(special),
            Special::Quantity => self.quantity(),
            Special::IntOrString => self.int_or_string(),
            Special::Raw => {
                self.out.bytes.push(1 << 3 | 2);
                let mark = self.out.open();
                self.reader.copy_value(depth, &mut self.out.bytes, false)?;
                self.out.close(mark);
                Ok(())
            }
            Special::FieldMask => self.field_mask(),
            Special::Struct => match message.fields[0].shape {
                Shape::Map(key) => self.map(&message.fields[0], key, depth),
                Shape::Singular | Shape::Repeated { .. } => Err(self.wrong_type("a Struct of a known shape")),
            },
            Special::ListValue | Special::Strings => self.list(&message.fields[0], false, depth),
            Special::Value => self.value(message, depth),
            Special::Any => self.any(depth),
            Special::Wrapper => {
                let field = &message.fields[0];
                let start = self.out.bytes.len();
                field.key.put(&mut self.out.bytes);
                if self.scalar(field.kind)? {
                    self.out.bytes.truncate(start);
                }
                Ok(())
            }
        }
    }

    /// A string and where it starts.
    pub(super) fn text(&mut self, expected: &str) -> JsonResult<(usize, Cow<'a, [u8]>)> {
        if self.reader.peek() != b'"' {
            return Err(self.wrong_type(expected));
        }
        Ok((self.reader.at, self.reader.string()?))
    }

    fn put_number(&mut self, number: u8, value: i64) {
        if value != 0 {
            self.out.bytes.push(number << 3);
            self.out.put_varint(value as u64);
        }
    }

    fn instant(&mut self, special: Special) -> JsonResult<()> {
        let (at, text) = self.text("a string with a time in RFC 3339")?;
        let instant = time::parse_instant(&text)
            .filter(|(seconds, _)| special != Special::Timestamp || *seconds >= time::YEAR_ONE);
        let Some((seconds, nanos)) = instant else {
            let message =
                format!("must be a time in RFC 3339, such as 2006-01-02T15:04:05Z, not {:?}", shown(&text));
            return Err(JsonFault::value(at, message));
        };
        let nanos = match special {
            Special::Time => 0,
            Special::MicroTime => nanos / 1000 * 1000,
            _ => nanos,
        };
        if seconds == 0 && special != Special::Timestamp {
            // Kubernetes reads a Time without fields as no time at all.
            self.out.bytes.extend_from_slice(&[1 << 3, 0]);
        }
        self.put_number(1, seconds);
        self.put_number(2, nanos);
        Ok(())
    }

    fn duration(&mut self, special: Special) -> JsonResult<()> {
        let (at, text) = self.text("a string with a duration")?;
        let duration = match special {
            Special::GoDuration => time::parse_go_duration(&text).map(|nanos| (nanos, 0)),
            _ => time::parse_duration(&text),
        };
        let Some((first, second)) = duration else {
            let message = format!("must be a duration, such as 1m30.5s, not {:?}", shown(&text));
            return Err(JsonFault::value(at, message));
        };
        self.put_number(1, first);
        self.put_number(2, second);
        Ok(())
    }

    fn quantity(&mut self) -> JsonResult<()> {
        let byte = self.reader.peek();
        let at = self.reader.at;
        let text = match byte {
            b'"' => self.reader.string()?,
            b'-' | b'0'..=b'9' => Cow::Borrowed(self.reader.number_text()?),
            _ => return Err(self.wrong_type("a string or a number")),
        };
        if !is_quantity(&text) {
            let message = format!("must be a quantity, such as 500m or 2Gi, not {:?}", shown(&text));
            return Err(JsonFault::value(at, message));
        }
        self.out.bytes.push(1 << 3 | 2);
        self.out.put_bytes(&text);
        Ok(())
    }

    fn int_or_string(&mut self) -> JsonResult<()> {
        match self.reader.peek() {
            b'"' => {
                let text = self.reader.string()?;
                self.put_number(1, 1);
                if !text.is_empty() {
                    self.out.bytes.push(3 << 3 | 2);
                    self.out.put_bytes(&text);
                }
            }
            b'-' | b'0'..=b'9' => {
                let number = self.signed(i32::MIN.into(), i32::MAX.into(), "an integer of 32 bits")?;
                self.put_number(2, number);
            }
            _ => return Err(self.wrong_type("an integer or a string")),
        }
        Ok(())
    }

    fn field_mask(&mut self) -> JsonResult<()> {
        let (at, text) = self.text("a string with field paths")?;
        let text = String::from_utf8_lossy(&text);
        for path in text.split(',').filter(|_| !text.is_empty()) {
            let Some(path) = field_mask::from_json(path).filter(|path| !path.is_empty()) else {
                let path = shown(path.as_bytes());
                return Err(JsonFault::value(
                    at,
                    format!("must be field paths in lowerCamelCase, not {path:?}"),
                ));
            };
            self.out.bytes.push(1 << 3 | 2);
            self.out.put_bytes(path.as_bytes());
        }
        Ok(())
    }

    /// google.protobuf.Value: any JSON.
    fn value(&mut self, message: &'t Message, depth: usize) -> JsonResult<()> {
        let number = match self.reader.peek() {
            b'n' => {
                self.reader.literal("null")?;
                self.out.bytes.extend_from_slice(&[1 << 3, 0]);
                return Ok(());
            }
            b'-' | b'0'..=b'9' => 2,
            b'"' => 3,
            b't' | b'f' => 4,
            b'{' => 5,
            b'[' => 6,
            _ => return Err(self.reader.unexpected("a value")),
        };
        let Some(position) = message.position(number) else {
            return Err(self.wrong_type("a Value of a known shape"));
        };
        let field = &message.fields[position];
        field.key.put(&mut self.out.bytes);
        match field.kind {
            Kind::Message(_) | Kind::Special(..) => self.message(field.kind, depth),
            kind => self.scalar(kind).map(|_| ()),
        }
    }
}

/// Kubernetes' quantities: a decimal number, and a suffix of SI, of powers of two, or an exponent.
fn is_quantity(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"+").or_else(|| text.strip_prefix(b"-")).unwrap_or(text);
    let end = text.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let points = number.iter().filter(|byte| **byte == b'.').count();
    let suffix_ok = match suffix {
        b"" | b"n" | b"u" | b"m" | b"k" | b"M" | b"G" | b"T" | b"P" | b"E" => true,
        b"Ki" | b"Mi" | b"Gi" | b"Ti" | b"Pi" | b"Ei" => true,
        [b'e' | b'E', b'+' | b'-', digits @ ..] | [b'e' | b'E', digits @ ..] => {
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    points <= 1 && number.len() > points && suffix_ok
}

#[cfg(test)]
mod tests {
    #[test]
    fn quantities_are_told_from_other_text() {
        for good in ["0", "500m", "2Gi", "1.5", ".5", "5.", "-1k", "+1E", "1e3", "1E-3", "12e+6"] {
            assert!(super::is_quantity(good.as_bytes()), "{good}");
        }
        for bad in ["", ".", "1.2.3", "2gi", "1 Gi", "e3", "1e", "1e+", "--1", "1KiB", "abc"] {
            assert!(!super::is_quantity(bad.as_bytes()), "{bad}");
        }
    }
}
