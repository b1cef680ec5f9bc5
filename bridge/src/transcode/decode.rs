//! JSON -> wire, in one pass. Paths are not tracked: faults and findings have offsets, see [`path`](super::path).

use std::borrow::Cow;

use super::{
    MAX_DEPTH, Parsed,
    fault::{JsonFault, JsonFaultKind, JsonResult},
    json_reader::Reader,
    path::{self, MAX_PATHS},
    table::{Field, Inner, Kind, Message, Shape, Special},
};

mod any;
mod collection;
mod output;
mod scalar;
mod special;

use output::Output;

pub(super) struct Decoder<'t, 'a> {
    tables: &'t Inner,
    reader: Reader<'a>,
    out: Output,
    /// Where unknown names stand.
    unknown: Vec<usize>,
    /// Where names stand that later ones override.
    duplicates: Vec<usize>,
    /// All such places in the document, once the first one was met; passed over then.
    overridden: Option<Vec<usize>>,
    /// The keys of the maps that are open.
    keys: Vec<Cow<'a, [u8]>>,
    api_version: Option<String>,
    kind: Option<String>,
}

/// Which names an object has beside its fields'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    /// `apiVersion` and `kind`.
    TypeMeta,
    /// `@type`.
    Any,
}

/// The fields that an object had.
#[derive(Debug, Default)]
struct Seen {
    low: u64,
    high: Vec<u64>,
}

impl Seen {
    /// False: it was there before.
    #[inline(always)]
    fn insert(&mut self, position: usize) -> bool {
        let (bit, word) = (1 << (position % 64), position / 64);
        let word = match word {
            0 => &mut self.low,
            _ => {
                if self.high.len() < word {
                    self.high.resize(word, 0);
                }
                &mut self.high[word - 1]
            }
        };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

impl<'t, 'a> Decoder<'t, 'a> {
    /// Reads a whole document, whose bytes are UTF-8.
    pub(super) fn run(tables: &'t Inner, message: &'t Message, json: &'a [u8]) -> JsonResult<Parsed> {
        match Self::attempt(tables, message, json, None) {
            Err(fault) if matches!(fault.kind, JsonFaultKind::Duplicate) => {
                Self::attempt(tables, message, json, Some(path::overridden(json)))
            }
            done => done,
        }
    }

    fn attempt(
        tables: &'t Inner,
        message: &'t Message,
        json: &'a [u8],
        overridden: Option<Vec<usize>>,
    ) -> JsonResult<Parsed> {
        let mut decoder = Self {
            tables,
            reader: Reader::new(json),
            out: Output::with_capacity(json.len() / 2 + 32),
            unknown: Vec::new(),
            duplicates: Vec::new(),
            overridden,
            keys: Vec::new(),
            api_version: None,
            kind: None,
        };
        decoder.reader.peek();
        if message.special == Special::None {
            decoder.object(message, 0, Extra::TypeMeta)?;
        } else {
            decoder.special(message.special, message, 0)?;
        }
        decoder.reader.end()?;
        Ok(Parsed {
            wire: decoder.out.finish(),
            api_version: decoder.api_version,
            kind: decoder.kind,
            unknown: paths(json, decoder.unknown),
            duplicates: paths(json, decoder.duplicates),
        })
    }

    /// A message as an object. `depth` is that of the container that holds it.
    #[inline]
    fn object(&mut self, message: &'t Message, depth: usize, extra: Extra) -> JsonResult<()> {
        self.open(b'{', "an object", depth + 1)?;
        if self.reader.closes(b'}') {
            return Ok(());
        }
        self.members(message, depth + 1, extra)
    }

    /// Takes an opening bracket. `depth` is that of the container that opens.
    #[inline(always)]
    fn open(&mut self, bracket: u8, what: &str, depth: usize) -> JsonResult<()> {
        if self.reader.peek() != bracket {
            return Err(self.wrong_type(what));
        }
        if depth > MAX_DEPTH {
            return Err(JsonFault::too_deep(self.reader.at));
        }
        self.reader.at += 1;
        Ok(())
    }

    /// The members of an object, of which there is at least one, and its closing bracket.
    fn members(&mut self, message: &'t Message, depth: usize, extra: Extra) -> JsonResult<()> {
        // Where the next field is expected.
        let mut next = 0;
        let mut seen = Seen::default();
        let mut oneofs = Vec::new();
        loop {
            self.reader.key_start()?;
            let at = self.reader.at;
            let rest = &self.reader.json[at..];
            let position = match message.fields.get(next) {
                Some(field) if rest.starts_with(field.quoted()) => {
                    self.reader.at += field.quoted().len();
                    Some(next)
                }
                _ => {
                    let name = self.reader.string()?;
                    self.reader.expect(b':', "':' after the name of a member")?;
                    let position = message.by_name.get(&name).map(|position| position as usize);
                    if position.is_none() {
                        self.other_member(&name, at, depth, extra)?;
                    }
                    position
                }
            };
            if let Some(position) = position {
                if !seen.insert(position) && self.overridden.is_none() {
                    return Err(JsonFault::duplicate(at));
                }
                next = position + 1;
                let field = &message.fields[position];
                if self.overridden.is_some() && self.is_overridden(at) {
                    self.reader.skip_value(depth)?;
                } else {
                    let present = self.field(field, depth)?;
                    if present && field.oneof != 0 {
                        self.check_oneof(message, field, &mut oneofs, at)?;
                    }
                }
            }
            if !self.reader.more(b'}')? {
                return Ok(());
            }
        }
    }

    /// A member that is no field of the message.
    #[cold]
    fn other_member(&mut self, name: &[u8], at: usize, depth: usize, extra: Extra) -> JsonResult<()> {
        let slot = match (extra, name) {
            (Extra::TypeMeta, b"apiVersion") => Some(false),
            (Extra::TypeMeta, b"kind") => Some(true),
            // Read already, see `any`; there the last one counts.
            (Extra::Any, b"@type") => return self.reader.skip_value(depth),
            _ => None,
        };
        let Some(is_kind) = slot else {
            if self.unknown.len() < MAX_PATHS {
                self.unknown.push(at);
            }
            return self.reader.skip_value(depth);
        };
        if self.overridden.is_some() && self.is_overridden(at) {
            return self.reader.skip_value(depth);
        }
        if self.reader.peek() == b'n' {
            return self.reader.literal("null");
        }
        if self.reader.peek() != b'"' {
            return Err(self.wrong_type("a string"));
        }
        let text = String::from_utf8_lossy(&self.reader.string()?).into_owned();
        let slot = if is_kind { &mut self.kind } else { &mut self.api_version };
        match slot.replace(text) {
            Some(_) => Err(JsonFault::duplicate(at)),
            None => Ok(()),
        }
    }

    /// Whether a later member of the same name overrides the one here; then it is noted.
    fn is_overridden(&mut self, at: usize) -> bool {
        let overridden = self.overridden.as_deref().is_some_and(|places| places.binary_search(&at).is_ok());
        if overridden && self.duplicates.len() < MAX_PATHS {
            self.duplicates.push(at);
        }
        overridden
    }

    fn check_oneof(
        &self,
        message: &Message,
        field: &'t Field,
        set: &mut Vec<&'t Field>,
        at: usize,
    ) -> JsonResult<()> {
        if let Some(other) = set.iter().find(|other| other.oneof == field.oneof) {
            let oneof = message.oneofs.get(field.oneof as usize - 1).map(|name| &**name).unwrap_or_default();
            let message =
                format!("{} is set already; only one of the fields of {oneof} may be", other.json_name);
            return Err(JsonFault::value(at, message));
        }
        set.push(field);
        Ok(())
    }

    /// A field's value. False: it was `null`.
    #[inline]
    fn field(&mut self, field: &'t Field, depth: usize) -> JsonResult<bool> {
        if self.reader.peek() == b'n' && !self.null_is_a_value(field) {
            self.reader.literal("null")?;
            return Ok(false);
        }
        if field.group {
            return Err(JsonFault::value(self.reader.at, "a group, which is not supported"));
        }
        match field.shape {
            Shape::Singular => match field.kind {
                Kind::String => self.string_field(field)?,
                Kind::Message(_) | Kind::Special(..) => {
                    field.key.put(&mut self.out.bytes);
                    self.message(field.kind, depth)?;
                }
                kind => {
                    let start = self.out.bytes.len();
                    field.key.put(&mut self.out.bytes);
                    if self.scalar(kind)? && field.implicit {
                        self.out.bytes.truncate(start);
                    }
                }
            },
            Shape::Repeated { packed } => self.list(field, packed, depth)?,
            Shape::Map(key) => self.map(field, key, depth)?,
        }
        Ok(true)
    }

    /// `null` is a value of google.protobuf.Value and NullValue.
    fn null_is_a_value(&self, field: &Field) -> bool {
        field.shape == Shape::Singular && self.kind_has_null(field.kind)
    }

    fn kind_has_null(&self, kind: Kind) -> bool {
        match kind {
            Kind::Special(special, _) => special == Special::Value,
            Kind::Enum(index) => self.tables.enumeration(index).is_null,
            _ => false,
        }
    }

    #[inline(always)]
    fn string_field(&mut self, field: &Field) -> JsonResult<()> {
        if self.reader.peek() != b'"' {
            return Err(self.wrong_type("a string"));
        }
        match self.reader.plain_string()? {
            Some([]) if field.implicit => {}
            Some(text) => {
                field.key.put(&mut self.out.bytes);
                self.out.put_bytes(text);
            }
            None => {
                field.key.put(&mut self.out.bytes);
                self.escaped_string()?;
            }
        }
        Ok(())
    }

    /// A message's length and contents.
    #[inline]
    fn message(&mut self, kind: Kind, depth: usize) -> JsonResult<()> {
        let mark = self.out.open();
        match kind {
            Kind::Message(index) => self.object(self.tables.message(index), depth, Extra::None)?,
            Kind::Special(special, index) => self.special(special, self.tables.message(index), depth)?,
            _ => {}
        }
        self.out.close(mark);
        Ok(())
    }

    /// What stands here is JSON of another type, or no JSON at all.
    #[cold]
    fn wrong_type(&mut self, expected: &str) -> Box<JsonFault> {
        let got = match self.reader.peek() {
            b'"' => "a string",
            b'{' => "an object",
            b'[' => "an array",
            b't' | b'f' => "a boolean",
            b'n' => "null",
            b'-' | b'0'..=b'9' => "a number",
            _ => return self.reader.unexpected("a value"),
        };
        JsonFault::value(self.reader.at, format!("must be {expected}, not {got}"))
    }
}

fn paths(json: &[u8], mut offsets: Vec<usize>) -> Vec<String> {
    if offsets.is_empty() {
        return Vec::new();
    }
    offsets.sort_unstable();
    path::locate(json, &offsets)
}
