//! Maps: wire -> JSON, sorted by key as text (Go's encoding/json), the last of equal keys.

use std::borrow::Cow;

use super::{Encoder, Scalar};
use crate::transcode::{
    fault::{Fault, FaultKind, WireResult},
    json_writer::put_string,
    table::{Field, Kind, LEN},
    wire_reader::{Raw, bytes, tag, value},
};

/// An entry of a map. The value's parts: none is zero, more than one a message in pieces.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    key: Cow<'a, [u8]>,
    value: Option<Raw<'a>>,
    more: Vec<&'a [u8]>,
}

impl<'t> Encoder<'t, '_> {
    /// A map, as long as its entries follow each other.
    pub(super) fn streamed_map(
        &mut self,
        field: &'t Field,
        key: Kind,
        mut tag: u32,
        buf: &mut &[u8],
        first: &mut bool,
        depth: usize,
    ) -> WireResult<()> {
        let mut entries = Vec::new();
        loop {
            if tag & 7 != LEN {
                return Err(Fault::malformed(buf));
            }
            entries.push(self.entry(key, field.kind, bytes(buf)?)?);
            let mut ahead = *buf;
            if ahead.is_empty() {
                break;
            }
            tag = self::tag(&mut ahead)?;
            if tag >> 3 != field.number {
                break;
            }
            *buf = ahead;
        }
        self.name(field, first);
        self.entries(field.kind, entries, depth)
    }

    /// Reads one entry: key 1, value 2, either may be absent.
    pub(super) fn entry<'a>(
        &mut self,
        key_kind: Kind,
        kind: Kind,
        mut buf: &'a [u8],
    ) -> WireResult<Entry<'a>> {
        let mut key = None;
        let mut entry = Entry { key: Cow::Borrowed(b""), value: None, more: Vec::new() };
        while !buf.is_empty() {
            let tag = tag(&mut buf)?;
            let expected = match tag >> 3 {
                1 => key_kind.wire_type(),
                2 => kind.wire_type(),
                _ => {
                    value(tag & 7, &mut buf)?;
                    self.unknown_fields = true;
                    continue;
                }
            };
            if tag & 7 != expected {
                return Err(Fault::malformed(buf));
            }
            let raw = value(expected, &mut buf)?;
            if tag >> 3 == 1 {
                key = Some(raw);
            } else {
                if let (Kind::Message(_) | Kind::Special(..), Some(Raw::Bytes(part))) = (kind, entry.value) {
                    entry.more.push(part);
                }
                entry.value = Some(raw);
            }
        }
        entry.key = match (key_kind, key) {
            (Kind::String, key) => Cow::Borrowed(key.map(Raw::bytes).unwrap_or_default()),
            (kind, key) => Cow::Owned(match Scalar::of(kind, key.unwrap_or(Raw::Number(0))) {
                Scalar::Signed(number) => itoa::Buffer::new().format(number).into(),
                Scalar::Unsigned(number) => itoa::Buffer::new().format(number).into(),
                Scalar::Bool(set) => set.to_string().into_bytes(),
                Scalar::Double(_) | Scalar::Float(_) | Scalar::Bytes(_) => Vec::new(),
            }),
        };
        Ok(entry)
    }

    /// The object. `depth` is that of the object.
    pub(super) fn entries(
        &mut self,
        kind: Kind,
        mut entries: Vec<Entry<'_>>,
        depth: usize,
    ) -> WireResult<()> {
        if !entries.is_sorted_by(|a, b| a.key < b.key) {
            entries.sort_by(|a, b| a.key.cmp(&b.key));
        }
        self.out.push(b'{');
        for (at, entry) in entries.iter().enumerate() {
            if entries.get(at + 1).is_some_and(|next| next.key == entry.key) {
                continue;
            }
            if self.out.last() != Some(&b'{') {
                self.out.push(b',');
            }
            if !put_string(self.out, &entry.key) {
                return Err(Fault::new(FaultKind::Utf8));
            }
            self.out.push(b':');
            self.map_value(kind, entry, depth)
                .map_err(|fault| fault.in_field(&String::from_utf8_lossy(&entry.key)))?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn map_value(&mut self, kind: Kind, entry: &Entry<'_>, depth: usize) -> WireResult<()> {
        match (kind, entry.value) {
            (Kind::Message(_) | Kind::Special(..), raw) => {
                let last = raw.map(Raw::bytes).unwrap_or_default();
                if entry.more.is_empty() {
                    self.message_parts(kind, &[last], depth)
                } else {
                    let mut parts = entry.more.clone();
                    parts.push(last);
                    self.message_parts(kind, &parts, depth)
                }
            }
            (_, None) => {
                self.put_zero(kind);
                Ok(())
            }
            (_, Some(raw)) => self.scalar(kind, Scalar::of(kind, raw)),
        }
    }
}
