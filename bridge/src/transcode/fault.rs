//! Faults on the way, before they have a path. Boxed: the happy way returns a pointer.

use super::{JsonError, MAX_DEPTH, WireError, path};

pub(super) type WireResult<T> = Result<T, Box<Fault>>;

/// What is wrong with the wire.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// The way to it, the innermost step first.
    path: Vec<Step>,
}

#[derive(Debug)]
pub(super) enum FaultKind {
    /// The address of the place.
    Malformed(usize),
    Utf8,
    TooDeep,
    Value(String),
    /// Fields are not in the order that streaming needs. Not a fault of anyone.
    Disorder,
}

#[derive(Debug)]
enum Step {
    Name(Box<str>),
    Index(usize),
}

impl Fault {
    pub(super) fn new(kind: FaultKind) -> Box<Self> {
        Box::new(Self { kind, path: Vec::new() })
    }

    /// `at`: where, a part of the message that is read.
    #[cold]
    pub(super) fn malformed(at: &[u8]) -> Box<Self> {
        Self::new(FaultKind::Malformed(at.as_ptr() as usize))
    }

    #[cold]
    pub(super) fn value(message: impl Into<String>) -> Box<Self> {
        Self::new(FaultKind::Value(message.into()))
    }

    #[cold]
    pub(super) fn in_field(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.path.push(Step::Name(name.into()));
        self
    }

    #[cold]
    pub(super) fn at_index(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.path.push(Step::Index(index));
        self
    }

    /// `name`: of the message, for a fault that lies in none of its fields.
    pub(super) fn into_error(self, wire: &[u8], name: &str) -> WireError {
        let mut path = path::Text::default();
        for step in self.path.iter().rev() {
            match step {
                Step::Name(name) => path.name(name.as_bytes()),
                Step::Index(index) => path.index(*index),
            }
        }
        let path = if path.is_empty() { name.to_owned() } else { path.into_string() };
        match self.kind {
            FaultKind::Malformed(address) => WireError::Malformed {
                path,
                offset: address.saturating_sub(wire.as_ptr() as usize).min(wire.len()),
            },
            FaultKind::Utf8 => WireError::Utf8 { path },
            FaultKind::TooDeep => WireError::TooDeep { path },
            FaultKind::Value(message) => WireError::Value { path, message },
            FaultKind::Disorder => WireError::Value { path, message: "fields out of order".to_owned() },
        }
    }
}

pub(super) type JsonResult<T> = Result<T, Box<JsonFault>>;

/// What is wrong with the JSON, and where; the path is found when the fault is told.
#[derive(Debug)]
pub(super) struct JsonFault {
    pub(super) offset: usize,
    pub(super) kind: JsonFaultKind,
}

#[derive(Debug)]
pub(super) enum JsonFaultKind {
    Syntax(String),
    TooDeep,
    Value(String),
    /// A key stands twice: the document is read again, knowing which ones to pass over.
    Duplicate,
}

impl JsonFault {
    #[cold]
    pub(super) fn syntax(offset: usize, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { offset, kind: JsonFaultKind::Syntax(message.into()) })
    }

    #[cold]
    pub(super) fn value(offset: usize, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { offset, kind: JsonFaultKind::Value(message.into()) })
    }

    #[cold]
    pub(super) fn too_deep(offset: usize) -> Box<Self> {
        Box::new(Self { offset, kind: JsonFaultKind::TooDeep })
    }

    #[cold]
    pub(super) fn duplicate(offset: usize) -> Box<Self> {
        Box::new(Self { offset, kind: JsonFaultKind::Duplicate })
    }

    pub(super) fn into_error(self, json: &[u8], name: &str) -> JsonError {
        let path = || match path::locate(json, &[self.offset]).pop() {
            Some(path) if !path.is_empty() => path,
            _ => name.to_owned(),
        };
        match self.kind {
            JsonFaultKind::TooDeep => JsonError::TooDeep { path: path() },
            JsonFaultKind::Value(message) => JsonError::Value { path: path(), message },
            JsonFaultKind::Syntax(message) => syntax_error(json, self.offset, message),
            JsonFaultKind::Duplicate => JsonError::Value { path: path(), message: "stands twice".to_owned() },
        }
    }
}

/// Line and column, from 1; the column counts characters.
fn syntax_error(json: &[u8], offset: usize, message: String) -> JsonError {
    let before = &json[..offset.min(json.len())];
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    let column = 1 + before[start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    JsonError::Syntax { line, column, message }
}

/// Checks the depth of a container that opens; the outermost has depth 1.
#[inline(always)]
pub(super) fn check_depth(depth: usize) -> WireResult<()> {
    if depth > MAX_DEPTH { Err(Fault::new(FaultKind::TooDeep)) } else { Ok(()) }
}
