//! JSON paths in Kubernetes' form ("spec.disks[0].name"), found again by offset when someone wants to read
//! them: reading a document costs nothing for paths that nobody asks for.

use std::{borrow::Cow, collections::HashMap};

use super::{MAX_DEPTH, json_reader::Reader};

/// How many paths of unknown or duplicate fields are reported (Kubernetes stops there too).
pub(super) const MAX_PATHS: usize = 100;
/// How long a path becomes; map keys in it may be as long as the client likes.
const MAX_LENGTH: usize = 1024;

/// A path that grows.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn name(&mut self, name: &[u8]) {
        if !self.0.is_empty() {
            self.push(".");
        }
        self.push(&String::from_utf8_lossy(name));
    }

    pub(super) fn index(&mut self, index: usize) {
        self.push(&format!("[{index}]"));
    }

    fn push(&mut self, text: &str) {
        let room = MAX_LENGTH.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
        } else if !self.0.ends_with("...") {
            let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= room).last().unwrap_or(0);
            self.0.push_str(&text[..end]);
            self.0.push_str("...");
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// A container that is open.
#[derive(Debug, Clone, Copy)]
enum Frame {
    /// Where the present member's name starts, its quote included.
    Object {
        key: usize,
    },
    Array {
        index: usize,
    },
}

/// What the walk meets.
#[derive(Debug, Clone, Copy)]
enum Event {
    Value(usize),
    Key(usize),
    OpenObject,
    CloseObject,
}

/// Walks a document as far as it is JSON. `on` gets what is met and the open containers; false: stop.
fn walk(json: &[u8], on: &mut dyn FnMut(Event, &[Frame]) -> bool) {
    let mut reader = Reader::new(json);
    let mut frames: Vec<Frame> = Vec::new();
    loop {
        // A value, and before it a member's name.
        if let Some(Frame::Object { key }) = frames.last_mut() {
            if reader.peek() != b'"' {
                return;
            }
            *key = reader.at;
            if !on(Event::Key(reader.at), &frames) {
                return;
            }
            reader.hop_string();
            if reader.expect(b':', "").is_err() {
                return;
            }
        }
        let byte = reader.peek();
        if !on(Event::Value(reader.at), &frames) {
            return;
        }
        let close = match byte {
            b'{' | b'[' => {
                if frames.len() > MAX_DEPTH {
                    return;
                }
                reader.at += 1;
                let object = byte == b'{';
                if object && !on(Event::OpenObject, &frames) {
                    return;
                }
                frames.push(if object {
                    Frame::Object { key: reader.at }
                } else {
                    Frame::Array { index: 0 }
                });
                if reader.peek() != byte + 2 {
                    continue;
                }
                true
            }
            b'"' => {
                reader.hop_string();
                false
            }
            b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => {
                while matches!(reader.byte(), b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'+' | b'.' | b'0'..=b'9') {
                    reader.at += 1;
                }
                false
            }
            _ => return,
        };
        // After a value: the next one, or the end of its container.
        let mut close = close;
        loop {
            let Some(frame) = frames.last_mut() else { return };
            let byte = reader.peek();
            let object = matches!(frame, Frame::Object { .. });
            if !close && byte == b',' {
                reader.at += 1;
                if let Frame::Array { index } = frame {
                    *index += 1;
                }
                break;
            }
            if byte != if object { b'}' } else { b']' } {
                return;
            }
            reader.at += 1;
            close = false;
            frames.pop();
            if object && !on(Event::CloseObject, &frames) {
                return;
            }
        }
    }
}

/// The paths of values or names by their offsets, which ascend. Each path once.
pub(super) fn locate(json: &[u8], offsets: &[usize]) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    let mut wanted = offsets.iter().copied().peekable();
    walk(json, &mut |event, frames| {
        let (Event::Value(at) | Event::Key(at)) = event else { return true };
        while wanted.peek().is_some_and(|offset| *offset <= at) {
            wanted.next();
            let mut path = Text::default();
            for frame in frames {
                match frame {
                    Frame::Object { key } => {
                        let name = Reader { json, at: *key }.string().unwrap_or_default();
                        path.name(&name);
                    }
                    Frame::Array { index } => path.index(*index),
                }
            }
            let path = path.into_string();
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        wanted.peek().is_some()
    });
    paths
}

/// The offsets of all names that stand again later in the same object, in ascending order.
pub(super) fn overridden(json: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open: Vec<HashMap<Cow<'_, [u8]>, usize>> = Vec::new();
    walk(json, &mut |event, _| {
        match event {
            Event::OpenObject => open.push(HashMap::new()),
            Event::CloseObject => {
                open.pop();
            }
            Event::Key(at) => {
                let name = Reader { json, at }.string().unwrap_or_default();
                found.extend(open.last_mut().and_then(|names| names.insert(name, at)));
            }
            Event::Value(_) => {}
        }
        true
    });
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::{locate, overridden};

    #[test]
    fn paths_are_found_by_offset() {
        let json = br#"{"a":{"b":[1,{"c\u0041":"x"},[[]]]}, "d": null}"#;
        let at = |text: &[u8]| memchr::memmem::find(json, text).expect("in the text");
        let offsets = [
            0,
            at(br#"{"b""#),
            at(b"1,"),
            at(br#""c\u"#),
            at(br#""x""#),
            at(b"[]"),
            at(br#""d""#),
            at(b"null"),
        ];
        assert_eq!(locate(json, &offsets), ["", "a", "a.b[0]", "a.b[1].cA", "a.b[2][0]", "d"]);
        assert_eq!(locate(b"{\"a\": [1, ", &[10]), ["a[1]"]);
        assert!(locate(b"{\"a\": [1 2, ", &[12]).is_empty());
    }

    #[test]
    fn names_that_stand_twice_are_found() {
        let json = br#"{"a":1,"b":{"x":1,"\u0078":2},"c":[{"x":1}],"a":2,"a":3}"#;
        assert_eq!(overridden(json), [1, 12, 44]);
        assert!(overridden(br#"{"a":{"a":{"a":1}}} "#).is_empty());
    }

    #[test]
    fn a_path_stays_short() {
        let json = format!(r#"{{"{}":{{"{}":1}}}}"#, "x".repeat(700), "é".repeat(700));
        let path = locate(json.as_bytes(), &[json.len() - 3]).pop().expect("a path");
        assert!(path.len() < 1100 && path.ends_with("..."), "{path}");
    }
}
