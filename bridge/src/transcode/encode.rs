//! Wire -> JSON.
//!
//! Fields that arrive in ascending order are written as they are read. Anything else (fields out of
//! order, lists or messages in pieces, a singular field twice) makes [`Encoder::run`] start over and
//! gather the fields of each message before it writes them: twice the work at most, never more.

use super::{
    Noticed, TypeMeta,
    fault::{Fault, FaultKind, WireResult, check_depth},
    json_writer::{put_short, put_string},
    table::{Field, Inner, Kind, LEN, Message, Shape},
    wire_reader::{bytes, tag, value},
};

mod gather;
mod map;
mod scalar;
mod special;

pub(super) use scalar::Scalar;
pub(super) use special::{any_type, has_value_member};

pub(super) struct Encoder<'t, 'o> {
    tables: &'t Inner,
    out: &'o mut Vec<u8>,
    unknown_fields: bool,
    /// Gather the fields of each message first.
    gather: bool,
}

impl<'t, 'o> Encoder<'t, 'o> {
    /// Appends a whole message; on a fault `out` is as it was.
    pub(super) fn run(
        tables: &'t Inner,
        message: &'t Message,
        wire: &[u8],
        type_meta: Option<TypeMeta<'_>>,
        out: &'o mut Vec<u8>,
    ) -> WireResult<Noticed> {
        let start = out.len();
        out.reserve(wire.len() + wire.len() / 2 + 64);
        let mut encoder = Encoder { tables, out, unknown_fields: false, gather: false };
        let mut done = encoder.root(message, wire, type_meta);
        if done.is_err() {
            // Also for a real fault: a later piece may mend what the first one lacks.
            encoder.out.truncate(start);
            encoder.gather = true;
            done = encoder.root(message, wire, type_meta);
        }
        if done.is_err() {
            encoder.out.truncate(start);
        }
        done.map(|()| Noticed { unknown_fields: encoder.unknown_fields })
    }

    /// Appends one field's value. False: it is absent.
    pub(super) fn run_field(
        tables: &'t Inner,
        message: &'t Message,
        field: usize,
        parent: &[u8],
        out: &'o mut Vec<u8>,
    ) -> WireResult<bool> {
        let start = out.len();
        let mut encoder = Encoder { tables, out, unknown_fields: false, gather: true };
        let done = encoder.one_field(message, field, parent);
        if done.is_err() {
            encoder.out.truncate(start);
        }
        done
    }

    fn root(&mut self, message: &'t Message, wire: &[u8], type_meta: Option<TypeMeta<'_>>) -> WireResult<()> {
        if message.special != super::table::Special::None {
            return self.special(message.special, message, &[wire], 0);
        }
        self.out.push(b'{');
        let mut first = true;
        if let Some(TypeMeta { api_version, kind }) = type_meta {
            for (name, text, shadowed) in [
                ("\"kind\":", kind, message.has_kind),
                ("\"apiVersion\":", api_version, message.has_api_version),
            ] {
                if !shadowed {
                    if !first {
                        self.out.push(b',');
                    }
                    first = false;
                    self.out.extend_from_slice(name.as_bytes());
                    put_string(self.out, text.as_bytes());
                }
            }
        }
        self.fields(message, wire, first, 1)?;
        self.out.push(b'}');
        Ok(())
    }

    /// A message as an object. `depth` is that of the object.
    #[inline]
    fn object(&mut self, index: u32, wire: &[u8], depth: usize) -> WireResult<()> {
        check_depth(depth)?;
        self.out.push(b'{');
        self.fields(self.tables.message(index), wire, true, depth)?;
        self.out.push(b'}');
        Ok(())
    }

    #[inline]
    fn fields(&mut self, message: &'t Message, wire: &[u8], first: bool, depth: usize) -> WireResult<()> {
        if self.gather {
            self.gathered_fields(message, &[wire], first, depth)
        } else {
            self.streamed_fields(message, wire, first, depth)
        }
    }

    /// The members of an object, as they arrive.
    fn streamed_fields(
        &mut self,
        message: &'t Message,
        mut buf: &[u8],
        mut first: bool,
        depth: usize,
    ) -> WireResult<()> {
        // The position after the last field that was read.
        let mut next = 0;
        let mut oneofs = 0_u64;
        while !buf.is_empty() {
            let tag = tag(&mut buf)?;
            let position = match message.fields.get(next) {
                Some(field) if field.tag == tag => next,
                _ => match message.position(tag >> 3) {
                    Some(position) if position >= next => position,
                    Some(_) => return Err(Fault::new(FaultKind::Disorder)),
                    None => {
                        value(tag & 7, &mut buf)?;
                        self.unknown_fields = true;
                        continue;
                    }
                },
            };
            if message.emits_zeros {
                self.zeros(&message.fields[next..position], &mut first);
            }
            next = position + 1;
            let field = &message.fields[position];
            if field.oneof != 0 {
                // Of two members the last one counts. Beyond 64 oneofs: as if each were taken.
                let bit = 1_u64.checked_shl(field.oneof - 1).unwrap_or(u64::MAX);
                if oneofs & bit != 0 {
                    return Err(Fault::new(FaultKind::Disorder));
                }
                oneofs |= bit;
            }
            self.field(field, tag, &mut buf, &mut first, depth)
                .map_err(|fault| fault.in_field(&field.json_name))?;
        }
        if message.emits_zeros {
            self.zeros(&message.fields[next..], &mut first);
        }
        Ok(())
    }

    #[inline]
    fn name(&mut self, field: &Field, first: &mut bool) {
        let name = &field.name[usize::from(*first)..];
        *first = false;
        put_short(self.out, name);
    }

    /// The zeros of absent fields that ask for it.
    fn zeros(&mut self, fields: &'t [Field], first: &mut bool) {
        for field in fields {
            if field.emit_zero && field.oneof == 0 {
                self.name(field, first);
                self.zero(field);
            }
        }
    }

    fn zero(&mut self, field: &Field) {
        match field.shape {
            Shape::Singular => self.put_zero(field.kind),
            Shape::Repeated { .. } => self.out.extend_from_slice(b"[]"),
            Shape::Map(_) => self.out.extend_from_slice(b"{}"),
        }
    }

    /// One field and, of a list or map, all that follow directly.
    #[inline]
    fn field(
        &mut self,
        field: &'t Field,
        tag: u32,
        buf: &mut &[u8],
        first: &mut bool,
        depth: usize,
    ) -> WireResult<()> {
        match field.shape {
            Shape::Singular => {
                if tag & 7 != field.kind.wire_type() || field.group {
                    return Err(Fault::malformed(buf));
                }
                match field.kind {
                    Kind::Message(index) => {
                        let wire = bytes(buf)?;
                        self.name(field, first);
                        self.object(index, wire, depth + 1)
                    }
                    Kind::Special(special, index) => {
                        let wire = bytes(buf)?;
                        let (start, was_first) = (self.out.len(), *first);
                        self.name(field, first);
                        let message = self.tables.message(index);
                        if special.is_raw() && self.raw_is_null(message, &[wire])? {
                            self.out.truncate(start);
                            *first = was_first;
                            return Ok(());
                        }
                        self.special(special, message, &[wire], depth)
                    }
                    kind => {
                        let scalar = Scalar::read(kind, buf)?;
                        if field.implicit && !field.emit_zero && scalar.is_zero() {
                            return Ok(());
                        }
                        self.name(field, first);
                        self.scalar(kind, scalar)
                    }
                }
            }
            Shape::Repeated { .. } => self.list(field, tag, buf, first, depth + 1),
            Shape::Map(key) => {
                check_depth(depth + 1)?;
                self.streamed_map(field, key, tag, buf, first, depth + 1)
            }
        }
    }

    /// A list, as long as its elements follow each other.
    fn list(
        &mut self,
        field: &'t Field,
        mut tag: u32,
        buf: &mut &[u8],
        first: &mut bool,
        depth: usize,
    ) -> WireResult<()> {
        check_depth(depth)?;
        let (start, was_first) = (self.out.len(), *first);
        self.name(field, first);
        self.out.push(b'[');
        let mut count = 0;
        loop {
            self.elements(field, tag & 7, buf, &mut count, depth)?;
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
        if count == 0 && !field.emit_zero {
            // A packed list without elements.
            self.out.truncate(start);
            *first = was_first;
        } else {
            self.out.push(b']');
        }
        Ok(())
    }

    /// One element, or the elements of one packed piece.
    #[inline]
    fn elements(
        &mut self,
        field: &'t Field,
        wire_type: u32,
        buf: &mut &[u8],
        count: &mut usize,
        depth: usize,
    ) -> WireResult<()> {
        let one = field.kind.wire_type();
        if field.group {
            return Err(Fault::malformed(buf));
        }
        if wire_type == one {
            if *count > 0 {
                self.out.push(b',');
            }
            self.element(field.kind, buf, depth).map_err(|fault| fault.at_index(*count))?;
            *count += 1;
            Ok(())
        } else if wire_type == LEN {
            // `one` is not LEN: these are numbers.
            let mut packed = bytes(buf)?;
            self.packed(field.kind, &mut packed, count).map_err(|fault| fault.at_index(*count))
        } else {
            Err(Fault::malformed(buf))
        }
    }

    /// One element of a list or value of a map, without its name. `depth` is that of the list.
    #[inline]
    fn element(&mut self, kind: Kind, buf: &mut &[u8], depth: usize) -> WireResult<()> {
        match kind {
            Kind::Message(index) => {
                let wire = bytes(buf)?;
                self.object(index, wire, depth + 1)
            }
            Kind::Special(special, index) => {
                let wire = bytes(buf)?;
                self.special(special, self.tables.message(index), &[wire], depth)
            }
            kind => {
                let scalar = Scalar::read(kind, buf)?;
                self.scalar(kind, scalar)
            }
        }
    }
}
