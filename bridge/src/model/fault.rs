//! Collects faults: all of them, each with its place. What can be said stands in `catalogue`.

use prost_reflect::{EnumDescriptor, FileDescriptor, MessageDescriptor, MethodDescriptor};

use super::{Fault, catalogue::Problem};

/// Where in a schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    file: String,
    element: String,
}

impl Place {
    pub(crate) fn element(file: &str, element: &str) -> Self {
        Self { file: file.to_owned(), element: element.to_owned() }
    }

    pub(crate) fn file(name: &str) -> Self {
        Self { file: name.to_owned(), element: String::new() }
    }
}

impl From<&FileDescriptor> for Place {
    fn from(file: &FileDescriptor) -> Self {
        Self { file: file.name().to_owned(), element: String::new() }
    }
}

impl From<&MessageDescriptor> for Place {
    fn from(message: &MessageDescriptor) -> Self {
        Self { file: message.parent_file().name().to_owned(), element: message.full_name().to_owned() }
    }
}

impl From<&EnumDescriptor> for Place {
    fn from(descriptor: &EnumDescriptor) -> Self {
        Self { file: descriptor.parent_file().name().to_owned(), element: descriptor.full_name().to_owned() }
    }
}

impl From<&MethodDescriptor> for Place {
    fn from(method: &MethodDescriptor) -> Self {
        Self {
            file: method.parent_service().parent_file().name().to_owned(),
            element: method.full_name().to_owned(),
        }
    }
}

/// What is said of a place. Words without an entry of the catalogue have no code.
#[derive(Debug)]
pub(crate) struct Message {
    code: &'static str,
    text: String,
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self { code: "", text }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Faults, or advice, so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// An entry of the catalogue, of an element as a whole.
    pub(crate) fn report(&mut self, at: impl Into<Place>, problem: Problem) {
        let Problem { code, message: text, mend } = problem;
        self.add(at, Message { code, text }, mend);
    }

    /// An entry of the catalogue, of a field or of a part of an annotation.
    pub(crate) fn report_field(&mut self, at: impl Into<Place>, field: &str, problem: Problem) {
        let Problem { code, message: text, mend } = problem;
        self.add_field(at, field, Message { code, text }, mend);
    }

    /// An entry of the catalogue, of the descriptor set itself.
    pub(crate) fn report_set(&mut self, problem: Problem) {
        let Problem { code, message: text, mend } = problem;
        self.add_set(Message { code, text }, mend);
    }

    /// A fault of an element as a whole.
    pub(crate) fn add(&mut self, at: impl Into<Place>, message: impl Into<Message>, mend: impl Into<String>) {
        self.add_field(at, "", message, mend);
    }

    /// A fault of a field, or of a part of an annotation.
    pub(crate) fn add_field(
        &mut self,
        at: impl Into<Place>,
        field: &str,
        message: impl Into<Message>,
        mend: impl Into<String>,
    ) {
        let (Place { file, element }, Message { code, text: message }) = (at.into(), message.into());
        self.0.push(Fault { file, element, field: field.to_owned(), message, mend: mend.into(), code });
    }

    /// A fault of the descriptor set itself.
    pub(crate) fn add_set(&mut self, message: impl Into<Message>, mend: impl Into<String>) {
        self.add(Place::default(), message, mend);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sorted by place, each once.
    pub(crate) fn into_sorted(mut self) -> Vec<Fault> {
        self.0.sort();
        self.0.dedup();
        self.0
    }
}
