//! google.protobuf.Any: JSON -> wire.

use super::{Decoder, Extra, JsonFault, JsonResult};
use crate::transcode::{
    encode::{any_type, has_value_member},
    json_reader::{Reader, shown},
    path::MAX_PATHS,
    table::{Message, Special},
};

impl<'t> Decoder<'t, '_> {
    /// `{"@type": "type.googleapis.com/NAME", ..}`, the type at any place.
    pub(super) fn any(&mut self, depth: usize) -> JsonResult<()> {
        self.open(b'{', "an object", depth + 1)?;
        if self.reader.closes(b'}') {
            return Ok(());
        }
        let Some((at, url)) = self.find_type(depth + 1)? else {
            return Err(JsonFault::value(self.reader.at, "must have a member @type beside this one"));
        };
        let tables = self.tables;
        let Some(index) = any_type(&url).and_then(|name| tables.by_name.get(name)) else {
            return Err(JsonFault::value(
                at,
                format!("must be the URL of a type of the schema, not {:?}", shown(&url)),
            ));
        };
        let message = tables.message(*index);
        self.out.bytes.push(1 << 3 | 2);
        self.out.put_bytes(&url);
        self.out.bytes.push(2 << 3 | 2);
        let mark = self.out.open();
        if has_value_member(message) {
            self.value_member(message, depth + 1)?;
        } else {
            self.members(message, depth + 1, Extra::Any)?;
        }
        self.out.close(mark);
        Ok(())
    }

    /// Looks ahead for `@type`, which most often comes first. Its place and text.
    fn find_type(&self, depth: usize) -> JsonResult<Option<(usize, Vec<u8>)>> {
        let mut ahead: Reader<'_> = self.reader.clone();
        loop {
            ahead.key_start()?;
            let at = ahead.at;
            let name = ahead.string()?;
            ahead.expect(b':', "':' after the name of a member")?;
            let later = self.overridden.as_deref().is_some_and(|places| places.binary_search(&at).is_ok());
            if *name == *b"@type" && !later {
                if ahead.peek() != b'"' {
                    return Err(JsonFault::value(ahead.at, "must be a string"));
                }
                return Ok(Some((ahead.at, ahead.string()?.into_owned())));
            }
            ahead.skip_value(depth)?;
            if !ahead.more(b'}')? {
                return Ok(None);
            }
        }
    }

    /// The members of an Any whose type has a JSON form of its own: `@type` and `value`.
    fn value_member(&mut self, message: &'t Message, depth: usize) -> JsonResult<()> {
        let (mut types, mut values) = (0, 0);
        loop {
            self.reader.key_start()?;
            let at = self.reader.at;
            let name = self.reader.string()?;
            self.reader.expect(b':', "':' after the name of a member")?;
            let known = matches!(&*name, b"@type" | b"value");
            if known && self.overridden.is_some() && self.is_overridden(at) {
                self.reader.skip_value(depth)?;
            } else if *name == *b"value" {
                values += 1;
                if values == 1 {
                    self.special(message.special, message, depth)?;
                }
            } else {
                types += usize::from(known);
                if !known && self.unknown.len() < MAX_PATHS {
                    self.unknown.push(at);
                }
                self.reader.skip_value(depth)?;
            }
            if types > 1 || values > 1 {
                return Err(JsonFault::duplicate(at));
            }
            if !self.reader.more(b'}')? {
                if values == 0 && message.special != Special::None {
                    return Err(JsonFault::value(at, "must have a member value beside this one"));
                }
                return Ok(());
            }
        }
    }
}
