//! Messages whose fields are gathered before they are written: any order, any number of pieces.

use super::{Encoder, Scalar};
use crate::transcode::{
    fault::{Fault, WireResult, check_depth},
    table::{Field, Kind, LEN, Message, Shape, Special},
    wire_reader::{Raw, tag, value},
};

/// A field's value, by the field's position in its message.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    position: usize,
    wire_type: u32,
    raw: Raw<'a>,
}

impl<'t> Encoder<'t, '_> {
    /// The members of an object whose wire may be in several parts.
    pub(super) fn gathered_fields(
        &mut self,
        message: &'t Message,
        parts: &[&[u8]],
        mut first: bool,
        depth: usize,
    ) -> WireResult<()> {
        let found = self.find(message, parts)?;
        let mut next = 0;
        let mut rest = &found[..];
        while let Some(head) = rest.first() {
            let position = head.position;
            let field = &message.fields[position];
            if message.emits_zeros {
                self.zeros(&message.fields[next..position], &mut first);
            }
            next = position + 1;
            let count = rest.iter().take_while(|found| found.position == position).count();
            let (group, after) = rest.split_at(count);
            rest = after;
            let (start, was_first) = (self.out.len(), first);
            self.name(field, &mut first);
            let written =
                self.group(field, group, depth).map_err(|fault| fault.in_field(&field.json_name))?;
            if !written {
                self.out.truncate(start);
                first = was_first;
            }
        }
        if message.emits_zeros {
            self.zeros(&message.fields[next..], &mut first);
        }
        Ok(())
    }

    /// One field of `parent`, without its name. False: it is absent.
    pub(super) fn one_field(
        &mut self,
        message: &'t Message,
        position: usize,
        parent: &[u8],
    ) -> WireResult<bool> {
        let found = self.find(message, &[parent])?;
        let group: Vec<_> = found.into_iter().filter(|found| found.position == position).collect();
        let field = &message.fields[position];
        if group.is_empty() {
            let shown = field.emit_zero && field.oneof == 0;
            if shown {
                self.zero(field);
            }
            return Ok(shown);
        }
        self.group(field, &group, 1).map_err(|fault| fault.in_field(&field.json_name))
    }

    /// All known fields, sorted by position, those of one position in their order; of a oneof only what counts.
    fn find<'a>(&mut self, message: &Message, parts: &[&'a [u8]]) -> WireResult<Vec<Found<'a>>> {
        let mut found = Vec::new();
        let mut in_oneofs = false;
        for part in parts {
            let mut buf = *part;
            while !buf.is_empty() {
                let tag = tag(&mut buf)?;
                let wire_type = tag & 7;
                let Some(position) = message.position(tag >> 3) else {
                    value(wire_type, &mut buf)?;
                    self.unknown_fields = true;
                    continue;
                };
                let field = &message.fields[position];
                let one = match field.shape {
                    Shape::Map(_) => LEN,
                    _ => field.kind.wire_type(),
                };
                let packed = wire_type == LEN && matches!(field.shape, Shape::Repeated { .. });
                let start = buf;
                let raw = (wire_type == one || packed) && !field.group;
                let raw = if raw { value(wire_type, &mut buf) } else { Err(Fault::malformed(start)) };
                let raw = raw.map_err(|fault| fault.in_field(&field.json_name))?;
                in_oneofs |= field.oneof != 0;
                found.push(Found { position, wire_type, raw });
            }
        }
        if in_oneofs {
            // From the end: the member that is met first counts, and its pieces until another one is met.
            let mut winners: Vec<Option<(usize, bool)>> = vec![None; message.oneofs.len()];
            let mut at = found.len();
            let mut keep = vec![true; found.len()];
            while at > 0 {
                at -= 1;
                let position = found[at].position;
                let oneof = message.fields[position].oneof as usize;
                if let Some(winner) = oneof.checked_sub(1).and_then(|oneof| winners.get_mut(oneof)) {
                    let (winning, open) = winner.get_or_insert((position, true));
                    *open &= *winning == position;
                    keep[at] = *open;
                }
            }
            let mut keep = keep.into_iter();
            found.retain(|_| keep.next().unwrap_or(true));
        }
        if !found.is_sorted_by_key(|found| found.position) {
            found.sort_by_key(|found| found.position);
        }
        Ok(found)
    }

    /// All values of one field. False: nothing to write.
    fn group(&mut self, field: &'t Field, group: &[Found<'_>], depth: usize) -> WireResult<bool> {
        match (field.shape, field.kind) {
            (Shape::Singular, Kind::Message(_) | Kind::Special(..)) => {
                let parts: Vec<_> = group.iter().map(|found| found.raw.bytes()).collect();
                if let Kind::Special(Special::Raw, index) = field.kind
                    && self.raw_is_null(self.tables.message(index), &parts)?
                {
                    return Ok(false);
                }
                self.message_parts(field.kind, &parts, depth)?;
            }
            (Shape::Singular, kind) => {
                let Some(last) = group.last() else { return Ok(false) };
                let scalar = Scalar::of(kind, last.raw);
                if field.implicit && !field.emit_zero && scalar.is_zero() {
                    return Ok(false);
                }
                self.scalar(kind, scalar)?;
            }
            (Shape::Repeated { .. }, kind) => {
                check_depth(depth + 1)?;
                self.out.push(b'[');
                let mut count = 0;
                for found in group {
                    self.gathered_elements(kind, found, &mut count, depth + 1)
                        .map_err(|fault| fault.at_index(count))?;
                }
                self.out.push(b']');
                return Ok(count > 0 || field.emit_zero);
            }
            (Shape::Map(key), kind) => {
                check_depth(depth + 1)?;
                let entries = group.iter().map(|found| self.entry(key, kind, found.raw.bytes()));
                let entries = entries.collect::<WireResult<Vec<_>>>()?;
                self.entries(kind, entries, depth + 1)?;
            }
        }
        Ok(true)
    }

    fn gathered_elements(
        &mut self,
        kind: Kind,
        found: &Found<'_>,
        count: &mut usize,
        depth: usize,
    ) -> WireResult<()> {
        if found.wire_type == LEN && kind.wire_type() != LEN {
            return self.packed(kind, &mut found.raw.bytes(), count);
        }
        if *count > 0 {
            self.out.push(b',');
        }
        match kind {
            Kind::Message(_) | Kind::Special(..) => self.message_parts(kind, &[found.raw.bytes()], depth)?,
            kind => self.scalar(kind, Scalar::of(kind, found.raw))?,
        }
        *count += 1;
        Ok(())
    }

    /// A message in one or more parts. `depth` is that of the container that holds it.
    pub(super) fn message_parts(&mut self, kind: Kind, parts: &[&[u8]], depth: usize) -> WireResult<()> {
        match (kind, parts) {
            (Kind::Special(special, index), _) => {
                self.special(special, self.tables.message(index), parts, depth)
            }
            (Kind::Message(index), [wire]) => self.object(index, wire, depth + 1),
            (Kind::Message(index), _) => {
                check_depth(depth + 1)?;
                self.out.push(b'{');
                self.gathered_fields(self.tables.message(index), parts, true, depth + 1)?;
                self.out.push(b'}');
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
