//! JSON in: the tokens of RFC 8259, read from bytes that are known to be UTF-8.

use std::borrow::Cow;

use memchr::memchr2;

use super::{
    MAX_DEPTH,
    fault::{JsonFault, JsonResult},
    json_writer::{put_short, put_string},
};

mod number;

pub(super) use number::{Integer, NotInteger, in_quotes, integral, key_integer, shown};

#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    pub(super) json: &'a [u8],
    pub(super) at: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that ends a plain run in a string: `"`, `\` or a control character; exact for the lowest.
#[inline(always)]
fn ends(word: u64) -> u64 {
    let quote = word ^ (ONES * 0x22);
    let slash = word ^ (ONES * 0x5c);
    (quote.wrapping_sub(ONES) & !quote
        | slash.wrapping_sub(ONES) & !slash
        | word.wrapping_sub(ONES * 0x20) & !word)
        & HIGH
}

/// Whether one of 32 bytes ends a plain run; without branches, so that it becomes vector instructions.
#[inline(always)]
fn has_end(block: &[u8; 32]) -> bool {
    let mut found = 0;
    for &byte in block {
        found |= u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < 0x20);
    }
    found != 0
}

impl<'a> Reader<'a> {
    pub(super) fn new(json: &'a [u8]) -> Self {
        Self { json, at: 0 }
    }

    /// The byte here; 0 at the end, which is no byte that JSON has.
    #[inline(always)]
    pub(super) fn byte(&self) -> u8 {
        self.json.get(self.at).copied().unwrap_or(0)
    }

    /// Skips white space; gives the byte after it.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> u8 {
        let byte = self.byte();
        if byte > b' ' { byte } else { self.skip_space() }
    }

    fn skip_space(&mut self) -> u8 {
        while let b' ' | b'\n' | b'\r' | b'\t' = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// What is wrong at this place, where `expected` should stand.
    #[cold]
    pub(super) fn unexpected(&self, expected: &str) -> Box<JsonFault> {
        let message = match std::str::from_utf8(&self.json[self.at.min(self.json.len())..])
            .ok()
            .and_then(|s| s.chars().next())
        {
            None => format!("unexpected end of JSON input, expected {expected}"),
            Some('\u{feff}') if self.at == 0 => "a byte order mark, which JSON does not have".to_owned(),
            Some(c) => format!("invalid character {c:?}, expected {expected}"),
        };
        JsonFault::syntax(self.at, message)
    }

    /// Skips white space, then takes the byte.
    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8, what: &str) -> JsonResult<()> {
        if self.peek() != byte {
            return Err(self.unexpected(what));
        }
        self.at += 1;
        Ok(())
    }

    /// After the last value: nothing but white space.
    pub(super) fn end(&mut self) -> JsonResult<()> {
        self.peek();
        if self.at < self.json.len() { Err(self.unexpected("the end of the JSON input")) } else { Ok(()) }
    }

    /// After an opening bracket: whether the container closes at once.
    #[inline]
    pub(super) fn closes(&mut self, close: u8) -> bool {
        let closes = self.peek() == close;
        self.at += usize::from(closes);
        closes
    }

    /// After a value: true for a comma, false for the closing bracket.
    #[inline(always)]
    pub(super) fn more(&mut self, close: u8) -> JsonResult<bool> {
        let byte = self.peek();
        if byte == b',' {
            self.at += 1;
            Ok(true)
        } else if byte == close {
            self.at += 1;
            Ok(false)
        } else {
            Err(self.unexpected(if close == b'}' {
                "',' or '}' after a member of an object"
            } else {
                "',' or ']' after an element of an array"
            }))
        }
    }

    /// `true`, `false` or `null`, whose first byte was seen.
    pub(super) fn literal(&mut self, word: &'static str) -> JsonResult<()> {
        for byte in word.bytes() {
            if self.byte() != byte {
                return Err(self.unexpected(&format!("the literal {word}")));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// From the first byte of a string's contents to what ends its plain run.
    #[inline(always)]
    fn plain_run(&mut self) -> JsonResult<u8> {
        // Most strings are short: two words, then blocks, then the words of the block that has the end.
        for _ in 0..2 {
            if let Some(chunk) = self.json[self.at..].first_chunk::<8>() {
                let found = ends(u64::from_le_bytes(*chunk));
                if found != 0 {
                    self.at += (found.trailing_zeros() / 8) as usize;
                    return self.run_end();
                }
                self.at += 8;
            }
        }
        self.long_run()
    }

    fn long_run(&mut self) -> JsonResult<u8> {
        while let Some(block) = self.json[self.at..].first_chunk::<32>() {
            if has_end(block) {
                break;
            }
            self.at += 32;
        }
        while let Some(chunk) = self.json[self.at..].first_chunk::<8>() {
            let found = ends(u64::from_le_bytes(*chunk));
            if found != 0 {
                self.at += (found.trailing_zeros() / 8) as usize;
                return self.run_end();
            }
            self.at += 8;
        }
        while self.at < self.json.len() && !matches!(self.json[self.at], b'"' | b'\\' | 0..0x20) {
            self.at += 1;
        }
        self.run_end()
    }

    #[inline(always)]
    fn run_end(&self) -> JsonResult<u8> {
        match self.byte() {
            byte @ (b'"' | b'\\') => Ok(byte),
            _ if self.at >= self.json.len() => {
                Err(JsonFault::syntax(self.at, "unexpected end of JSON input in a string"))
            }
            byte => Err(JsonFault::syntax(
                self.at,
                format!("the control character {:?} in a string, not escaped", char::from(byte)),
            )),
        }
    }

    /// A string that starts here, with its quote: borrowed where it has no escapes.
    #[inline(always)]
    pub(super) fn string(&mut self) -> JsonResult<Cow<'a, [u8]>> {
        self.at += 1;
        let start = self.at;
        if self.plain_run()? == b'"' {
            self.at += 1;
            return Ok(Cow::Borrowed(&self.json[start..self.at - 1]));
        }
        let mut text = Vec::new();
        self.at = start;
        self.escaped(Some(&mut text))?;
        Ok(Cow::Owned(text))
    }

    /// As [`Reader::string`], appended to `out` where it has escapes.
    #[inline(always)]
    pub(super) fn plain_string(&mut self) -> JsonResult<Option<&'a [u8]>> {
        let open = self.at;
        self.at += 1;
        if self.plain_run()? == b'"' {
            self.at += 1;
            return Ok(Some(&self.json[open + 1..self.at - 1]));
        }
        self.at = open;
        Ok(None)
    }

    /// The contents of a string and its closing quote, unescaped.
    pub(super) fn escaped(&mut self, mut out: Option<&mut Vec<u8>>) -> JsonResult<()> {
        loop {
            let start = self.at;
            let end = self.plain_run()?;
            if let Some(out) = &mut out {
                put_short(out, &self.json[start..self.at]);
            }
            self.at += 1;
            if end == b'"' {
                return Ok(());
            }
            let escape = self.byte();
            self.at += 1;
            let byte = match escape {
                b'"' | b'\\' | b'/' => escape,
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => {
                    let c = self.unicode()?;
                    if let Some(out) = &mut out {
                        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    continue;
                }
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected("one of \"\\/bfnrtu after \\ in a string"));
                }
            };
            if let Some(out) = &mut out {
                out.push(byte);
            }
        }
    }

    /// The digits after `\u`, and of a surrogate its other half.
    fn unicode(&mut self) -> JsonResult<char> {
        let start = self.at - 2;
        let first = self.hex4()?;
        let mut code = first;
        if (0xd800..0xdc00).contains(&first) && self.json[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            }
        }
        char::from_u32(code).ok_or_else(|| {
            JsonFault::syntax(
                start,
                format!("the lone surrogate \\u{first:04x} in a string, which is no character"),
            )
        })
    }

    fn hex4(&mut self) -> JsonResult<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = char::from(self.byte()).to_digit(16) else {
                return Err(self.unexpected("four hexadecimal digits after \\u in a string"));
            };
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Passes over a value of any kind; `depth` is that of the container that holds it.
    pub(super) fn skip_value(&mut self, depth: usize) -> JsonResult<()> {
        match self.peek() {
            b'"' => {
                self.at += 1;
                self.escaped(None)
            }
            open @ (b'{' | b'[') => {
                self.container(open, depth + 1, &mut |reader| reader.skip_value(depth + 1))
            }
            _ => self.scalar(),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self) -> JsonResult<()> {
        match self.byte() {
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number_text().map(|_| ()),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn container(
        &mut self,
        open: u8,
        depth: usize,
        value: &mut dyn FnMut(&mut Self) -> JsonResult<()>,
    ) -> JsonResult<()> {
        if depth > MAX_DEPTH {
            return Err(JsonFault::too_deep(self.at));
        }
        self.at += 1;
        let close = open + 2;
        if self.closes(close) {
            return Ok(());
        }
        loop {
            if open == b'{' {
                self.key_start()?;
                self.at += 1;
                self.escaped(None)?;
                self.expect(b':', "':' after the name of a member")?;
            }
            value(self)?;
            if !self.more(close)? {
                return Ok(());
            }
        }
    }

    /// Before a member's name: its quote.
    #[inline(always)]
    pub(super) fn key_start(&mut self) -> JsonResult<()> {
        if self.peek() == b'"' { Ok(()) } else { Err(self.unexpected("the name of a member, in quotes")) }
    }

    /// Copies a value of any kind without its white space. `escape`: strings as this crate writes them, else as they are.
    pub(super) fn copy_value(&mut self, depth: usize, out: &mut Vec<u8>, escape: bool) -> JsonResult<()> {
        match self.peek() {
            b'"' => self.copy_string(out, escape),
            open @ (b'{' | b'[') => {
                let depth = depth + 1;
                if depth > MAX_DEPTH {
                    return Err(JsonFault::too_deep(self.at));
                }
                self.at += 1;
                let close = open + 2;
                out.push(open);
                if self.closes(close) {
                    out.push(close);
                    return Ok(());
                }
                loop {
                    if open == b'{' {
                        self.key_start()?;
                        self.copy_string(out, escape)?;
                        self.expect(b':', "':' after the name of a member")?;
                        out.push(b':');
                    }
                    self.copy_value(depth, out, escape)?;
                    if !self.more(close)? {
                        out.push(close);
                        return Ok(());
                    }
                    out.push(b',');
                }
            }
            _ => {
                let start = self.at;
                self.scalar()?;
                out.extend_from_slice(&self.json[start..self.at]);
                Ok(())
            }
        }
    }

    fn copy_string(&mut self, out: &mut Vec<u8>, escape: bool) -> JsonResult<()> {
        let start = self.at;
        if escape {
            let text = self.string()?;
            put_string(out, &text);
        } else {
            self.at += 1;
            self.escaped(None)?;
            out.extend_from_slice(&self.json[start..self.at]);
        }
        Ok(())
    }

    /// Passes over a string of JSON that was read before, without checks: for finding paths.
    pub(super) fn hop_string(&mut self) {
        self.at += 1;
        while let Some(end) = self.json.get(self.at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            self.at += end;
            if self.byte() == b'"' {
                self.at += 1;
                return;
            }
            self.at += 2;
        }
        self.at = self.json.len();
    }
}

#[cfg(test)]
mod tests;
