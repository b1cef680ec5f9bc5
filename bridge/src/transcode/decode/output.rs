//! The wire as it is written: lengths stand before contents whose length is not known yet.

use crate::transcode::json_writer::put_short;

/// The longest contents that are moved at once to make room for their length. It bounds what deep nesting can
/// cost: longer ones are moved together, in one pass at the end.
const MOVED: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    /// Lengths that need more than the byte that is kept for them: its place, and the length.
    long: Vec<(usize, usize)>,
    /// How many bytes they need in all, beside those.
    missing: usize,
}

/// A length that is not known yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    at: usize,
    missing: usize,
}

impl Output {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), ..Self::default() }
    }

    /// Length and contents.
    #[inline(always)]
    pub(super) fn put_bytes(&mut self, contents: &[u8]) {
        self.put_varint(contents.len() as u64);
        put_short(&mut self.bytes, contents);
    }

    #[inline(always)]
    pub(super) fn put_varint(&mut self, number: u64) {
        if number < 0x80 {
            self.bytes.push(number as u8);
        } else {
            let (varint, length) = varint(number);
            self.bytes.extend_from_slice(&varint[..length]);
        }
    }

    /// Keeps a byte for the length of what follows.
    #[inline(always)]
    pub(super) fn open(&mut self) -> Mark {
        let mark = Mark { at: self.bytes.len(), missing: self.missing };
        self.bytes.push(0);
        mark
    }

    /// Sets the length of all that was written since.
    #[inline(always)]
    pub(super) fn close(&mut self, mark: Mark) {
        let written = self.bytes.len() - mark.at - 1;
        if written < 0x80 {
            self.bytes[mark.at] = written as u8;
        } else {
            self.close_long(mark, written);
        }
    }

    fn close_long(&mut self, mark: Mark, written: usize) {
        // What lies within and waits for the end is longer than what is moved, so this waits too.
        let length = written + self.missing - mark.missing;
        let (varint, size) = varint(length as u64);
        if length > MOVED {
            self.long.push((mark.at, length));
            self.missing += size - 1;
            return;
        }
        let end = self.bytes.len();
        self.bytes.extend_from_slice(&varint[1..size]);
        self.bytes.copy_within(mark.at + 1..end, mark.at + size);
        self.bytes[mark.at..mark.at + size].copy_from_slice(&varint[..size]);
    }

    /// The wire, complete.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.long.is_empty() {
            return self.bytes;
        }
        // From the end, so that each byte moves once.
        self.long.sort_unstable();
        let mut from = self.bytes.len();
        self.bytes.resize(from + self.missing, 0);
        let mut to = self.bytes.len();
        for (at, length) in self.long.into_iter().rev() {
            let contents = from - at - 1;
            self.bytes.copy_within(at + 1..from, to - contents);
            let (varint, size) = varint(length as u64);
            to -= contents + size;
            self.bytes[to..to + size].copy_from_slice(&varint[..size]);
            from = at;
        }
        self.bytes
    }
}

/// A number as a varint: the bytes, and how many.
#[inline]
fn varint(mut number: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut length = 0;
    for byte in &mut bytes {
        *byte = number as u8 | 0x80;
        number >>= 7;
        length += 1;
        if number == 0 {
            *byte &= 0x7f;
            break;
        }
    }
    (bytes, length)
}

#[cfg(test)]
mod tests {
    use prost::encoding::{decode_varint, encode_varint};

    use super::{MOVED, Output};

    #[test]
    fn lengths_of_every_size_nest() {
        for size in [0, 1, 127, 128, 300, MOVED - 200, MOVED, MOVED + 1, 200_000, 3_000_000] {
            let mut out = Output::default();
            let marks: Vec<_> = (0..5)
                .map(|level| {
                    out.put_bytes(&[level; 100]);
                    out.open()
                })
                .collect();
            out.bytes.resize(out.bytes.len() + size, 7);
            for mark in marks.into_iter().rev() {
                out.close(mark);
                // A sibling after each.
                let sibling = out.open();
                out.bytes.resize(out.bytes.len() + size / 7, 9);
                out.close(sibling);
            }
            let wire = out.finish();
            let mut buf = &wire[..];
            let mut ends = vec![];
            for level in 0..5 {
                let mut prefix = Vec::new();
                encode_varint(100, &mut prefix);
                prefix.resize(101, level);
                assert!(buf.starts_with(&prefix));
                buf = &buf[101..];
                let length = decode_varint(&mut buf).expect("a length") as usize;
                let (inner, after) = buf.split_at(length);
                ends.push(after);
                buf = inner;
            }
            assert_eq!(buf, vec![7; size]);
            for mut after in ends {
                let length = decode_varint(&mut after).expect("a length") as usize;
                assert_eq!(after, vec![9; length]);
            }
        }
    }
}
