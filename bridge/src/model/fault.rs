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

/// Faults, or advice, so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Something is wrong with an element as a whole.
    pub(crate) fn report(&mut self, at: impl Into<Place>, problem: Problem) {
        self.report_field(at, "", problem);
    }

    /// Something is wrong with a field, or with a part of an annotation or of a mapping.
    pub(crate) fn report_field(&mut self, at: impl Into<Place>, field: &str, problem: Problem) {
        let (Place { file, element }, Problem { code, message, mend }) = (at.into(), problem);
        self.0.push(Fault { file, element, field: field.to_owned(), message, mend, code });
    }

    /// Something is wrong with the descriptor set itself.
    pub(crate) fn report_set(&mut self, problem: Problem) {
        self.report(Place::default(), problem);
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
