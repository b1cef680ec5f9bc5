//! Messages with a JSON form of their own: wire -> JSON.

use super::{Encoder, Scalar};
use crate::transcode::{
    fault::{Fault, FaultKind, WireResult, check_depth},
    field_mask,
    json_reader::Reader,
    json_writer::{put_double, put_integer, put_string},
    table::{Message, Shape, Special},
    time,
    wire_reader::{Raw, each_field},
};

impl Special {
    /// Whether the message may stand for nothing at all.
    pub(super) fn is_raw(self) -> bool {
        self == Self::Raw
    }
}

impl<'t> Encoder<'t, '_> {
    /// The value of such a message. `depth` is that of the container that holds it.
    pub(super) fn special(
        &mut self,
        special: Special,
        message: &'t Message,
        parts: &[&[u8]],
        depth: usize,
    ) -> WireResult<()> {
        match special {
            Special::None => {
                check_depth(depth + 1)?;
                self.out.push(b'{');
                self.gathered_fields(message, parts, true, depth + 1)?;
                self.out.push(b'}');
            }
            Special::Time | Special::MicroTime | Special::Timestamp => {
                self.instant(special, message, parts)?
            }
            Special::Duration | Special::GoDuration => self.duration(special, message, parts)?,
            Special::Quantity => {
                let text = self.pick(message, parts)?[0].map(Raw::bytes).unwrap_or_default();
                // Kubernetes writes the zero quantity so.
                self.text(if text.is_empty() { b"0" } else { text })?;
            }
            Special::IntOrString => {
                let [kind, number, text, _] = self.pick(message, parts)?;
                match kind.map_or(0, Raw::number) {
                    0 => put_integer(self.out, number.map_or(0, Raw::number) as i32),
                    1 => self.text(text.map(Raw::bytes).unwrap_or_default())?,
                    other => return Err(Fault::value(format!("an IntOrString of type {other}, not 0 or 1"))),
                }
            }
            Special::Raw => {
                let raw = self.pick(message, parts)?[0].map(Raw::bytes).unwrap_or_default();
                self.raw(if raw.trim_ascii().is_empty() { b"null" } else { raw }, depth)?;
            }
            Special::FieldMask => self.field_mask(parts)?,
            Special::Struct => self.structure(message, parts, depth)?,
            Special::ListValue => self.list_value(message, parts, depth)?,
            Special::Strings => self.strings(parts)?,
            Special::Value => self.value(message, parts, depth)?,
            Special::Any => self.any(message, parts, depth)?,
            Special::Wrapper => {
                let kind = message.fields[0].kind;
                match self.pick(message, parts)?[0] {
                    Some(raw) => self.scalar(kind, Scalar::of(kind, raw))?,
                    None => self.put_zero(kind),
                }
            }
        }
        Ok(())
    }

    /// The last values of fields 1 to 4.
    fn pick<'a>(&mut self, message: &Message, parts: &[&'a [u8]]) -> WireResult<[Option<Raw<'a>>; 4]> {
        let mut picked = [None; 4];
        each_field(parts, |number, wire_type, raw| {
            let Some(position) = message.position(number) else {
                self.unknown_fields = true;
                return Ok(());
            };
            let field = &message.fields[position];
            if field.kind.wire_type() != wire_type {
                return Err(Fault::malformed(raw.bytes()).in_field(&field.json_name));
            }
            if let Some(slot) = picked.get_mut(number as usize - 1) {
                *slot = Some(raw);
            }
            Ok(())
        })?;
        Ok(picked)
    }

    fn text(&mut self, text: &[u8]) -> WireResult<()> {
        if put_string(self.out, text) { Ok(()) } else { Err(Fault::new(FaultKind::Utf8)) }
    }

    fn instant(&mut self, special: Special, message: &Message, parts: &[&[u8]]) -> WireResult<()> {
        let [seconds, nanos, ..] = self.pick(message, parts)?;
        let seconds = seconds.map_or(0, Raw::number) as i64;
        let nanos = i64::from(nanos.map_or(0, Raw::number) as i32);
        let fraction = match special {
            Special::Time => 0,
            Special::MicroTime => 6,
            _ => time::fraction_digits(nanos),
        };
        if fraction > 0 && !(0..1_000_000_000).contains(&nanos) {
            return Err(Fault::value(format!("{nanos} nanoseconds, not within a second")));
        }
        self.out.push(b'"');
        let early = special == Special::Timestamp && seconds < time::YEAR_ONE;
        if early || !time::put_instant(self.out, seconds, nanos, fraction) {
            return Err(Fault::value(format!(
                "{seconds} seconds since 1970, outside of the years 1 to 9999"
            )));
        }
        self.out.push(b'"');
        Ok(())
    }

    fn duration(&mut self, special: Special, message: &Message, parts: &[&[u8]]) -> WireResult<()> {
        let [seconds, nanos, ..] = self.pick(message, parts)?;
        let seconds = seconds.map_or(0, Raw::number) as i64;
        self.out.push(b'"');
        if special == Special::GoDuration {
            time::put_go_duration(self.out, seconds);
        } else {
            let nanos = i64::from(nanos.map_or(0, Raw::number) as i32);
            if !time::put_duration(self.out, seconds, nanos) {
                return Err(Fault::value(format!(
                    "{seconds} seconds and {nanos} nanoseconds are no duration"
                )));
            }
        }
        self.out.push(b'"');
        Ok(())
    }

    /// Whether a raw value is missing or `null`: as a field it is not written.
    pub(super) fn raw_is_null(&mut self, message: &Message, parts: &[&[u8]]) -> WireResult<bool> {
        let raw = self.pick(message, parts)?[0].map(Raw::bytes).unwrap_or_default();
        let raw = raw.trim_ascii();
        Ok(raw.is_empty() || raw == b"null")
    }

    /// JSON bytes: checked, compacted and escaped as all else is.
    fn raw(&mut self, raw: &[u8], depth: usize) -> WireResult<()> {
        if std::str::from_utf8(raw).is_err() {
            return Err(Fault::new(FaultKind::Utf8));
        }
        let mut reader = Reader::new(raw);
        let copied = reader.copy_value(depth, self.out, true).and_then(|()| reader.end());
        copied.map_err(|fault| match fault.into_error(raw, "") {
            crate::transcode::JsonError::TooDeep { .. } => Fault::new(FaultKind::TooDeep),
            other => Fault::value(format!("raw bytes that are not JSON: {other}")),
        })
    }

    fn field_mask(&mut self, parts: &[&[u8]]) -> WireResult<()> {
        self.out.push(b'"');
        let start = self.out.len();
        let mut unknown = false;
        each_field(parts, |number, wire_type, raw| {
            match (number, wire_type) {
                (1, 2) => {}
                (1, _) => return Err(Fault::malformed(raw.bytes())),
                _ => {
                    unknown = true;
                    return Ok(());
                }
            }
            if self.out.len() > start {
                self.out.push(b',');
            }
            let path = std::str::from_utf8(raw.bytes()).map_err(|_| Fault::new(FaultKind::Utf8))?;
            let path = field_mask::to_json(path).ok_or_else(|| {
                Fault::value(format!(
                    "the field mask path {path:?} has no form in JSON: it is not lower_snake_case"
                ))
            })?;
            self.out.extend_from_slice(path.as_bytes());
            Ok(())
        })?;
        self.unknown_fields |= unknown;
        self.out.push(b'"');
        Ok(())
    }

    fn structure(&mut self, message: &Message, parts: &[&[u8]], depth: usize) -> WireResult<()> {
        check_depth(depth + 1)?;
        let field = &message.fields[0];
        let Shape::Map(key) = field.shape else {
            return Err(Fault::value("a Struct whose field 1 is no map"));
        };
        let mut entries = Vec::new();
        each_field(parts, |number, wire_type, raw| {
            match (number, wire_type) {
                (1, 2) => entries.push(self.entry(key, field.kind, raw.bytes())?),
                (1, _) => return Err(Fault::malformed(raw.bytes())),
                _ => self.unknown_fields = true,
            }
            Ok(())
        })?;
        self.entries(field.kind, entries, depth + 1)
    }

    fn strings(&mut self, parts: &[&[u8]]) -> WireResult<()> {
        self.out.push(b'[');
        let mut first = true;
        each_field(parts, |number, wire_type, raw| {
            match (number, wire_type) {
                (1, 2) => {}
                (1, _) => return Err(Fault::malformed(raw.bytes())),
                _ => {
                    self.unknown_fields = true;
                    return Ok(());
                }
            }
            if !std::mem::replace(&mut first, false) {
                self.out.push(b',');
            }
            self.text(raw.bytes())
        })?;
        self.out.push(b']');
        Ok(())
    }

    fn list_value(&mut self, message: &'t Message, parts: &[&[u8]], depth: usize) -> WireResult<()> {
        check_depth(depth + 1)?;
        self.out.push(b'[');
        let mut count = 0;
        each_field(parts, |number, wire_type, raw| {
            match (number, wire_type) {
                (1, 2) => {}
                (1, _) => return Err(Fault::malformed(raw.bytes())),
                _ => {
                    self.unknown_fields = true;
                    return Ok(());
                }
            }
            if count > 0 {
                self.out.push(b',');
            }
            self.message_parts(message.fields[0].kind, &[raw.bytes()], depth + 1)
                .map_err(|fault| fault.at_index(count))?;
            count += 1;
            Ok(())
        })?;
        self.out.push(b']');
        Ok(())
    }

    /// The member of the oneof that was set last; a struct or list in pieces is merged.
    fn value(&mut self, message: &'t Message, parts: &[&[u8]], depth: usize) -> WireResult<()> {
        let mut last: Option<(u32, Raw<'_>)> = None;
        let mut before: Vec<&[u8]> = Vec::new();
        each_field(parts, |number, wire_type, raw| {
            let Some(position) = message.position(number) else {
                self.unknown_fields = true;
                return Ok(());
            };
            if message.fields[position].kind.wire_type() != wire_type {
                return Err(Fault::malformed(raw.bytes()));
            }
            match last {
                Some((same, Raw::Bytes(part))) if same == number && number > 4 => before.push(part),
                _ => before.clear(),
            }
            last = Some((number, raw));
            Ok(())
        })?;
        let Some((number, raw)) = last else {
            // No member is set. Nothing else says "no value".
            self.out.extend_from_slice(b"null");
            return Ok(());
        };
        match number {
            2 => {
                let number = f64::from_bits(raw.number());
                if !number.is_finite() {
                    return Err(Fault::value(format!(
                        "{number} in a google.protobuf.Value has no form in JSON"
                    )));
                }
                put_double(self.out, number);
            }
            3 => self.text(raw.bytes())?,
            4 => self.out.extend_from_slice(if raw.number() == 0 { b"false" } else { b"true" }),
            5 | 6 => {
                let position = message.position(number).unwrap_or_default();
                before.push(raw.bytes());
                self.message_parts(message.fields[position].kind, &before, depth)?;
            }
            _ => self.out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    fn any(&mut self, message: &Message, parts: &[&[u8]], depth: usize) -> WireResult<()> {
        check_depth(depth + 1)?;
        let [url, wire, ..] = self.pick(message, parts)?;
        let (url, wire) = (url.map(Raw::bytes).unwrap_or_default(), wire.map(Raw::bytes).unwrap_or_default());
        self.out.push(b'{');
        if url.is_empty() && wire.is_empty() {
            self.out.push(b'}');
            return Ok(());
        }
        self.out.extend_from_slice(b"\"@type\":");
        self.text(url)?;
        let Some(index) = any_type(url).and_then(|name| self.tables.by_name.get(name)) else {
            let url = String::from_utf8_lossy(url);
            return Err(Fault::value(format!("an Any of type {url:?}, which the schema does not have")));
        };
        let message = self.tables.message(*index);
        if has_value_member(message) {
            self.out.extend_from_slice(b",\"value\":");
            self.special(message.special, message, &[wire], depth + 1)?;
        } else {
            self.fields(message, wire, false, depth + 1)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// The message name in an Any's type URL.
pub(in crate::transcode) fn any_type(url: &[u8]) -> Option<&str> {
    let slash = memchr::memrchr(b'/', url)?;
    std::str::from_utf8(&url[slash + 1..]).ok().filter(|name| !name.is_empty())
}

/// In an Any, types with a JSON form of their own stand in the member `value`.
pub(in crate::transcode) fn has_value_member(message: &Message) -> bool {
    message.special != Special::None || message.descriptor.full_name() == "google.protobuf.Empty"
}
