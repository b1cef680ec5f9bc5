//! Comments of a schema, as descriptions.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor,
};

/// The comments of all files, by file and path (`google.protobuf.SourceCodeInfo`).
#[derive(Debug, Default)]
pub(crate) struct Comments(HashMap<String, HashMap<Vec<i32>, String>>);

impl Comments {
    /// Reads and cleans all comments of a pool. Where there is no source info, there are none.
    pub(crate) fn read(pool: &DescriptorPool) -> Self {
        Self(pool.files().map(|file| (file.name().to_owned(), of_file(&file))).collect())
    }

    /// Of a message, or "".
    pub(crate) fn message(&self, message: &MessageDescriptor) -> &str {
        self.get(&message.parent_file(), message.path())
    }

    /// Of a field, or "".
    pub(crate) fn field(&self, field: &FieldDescriptor) -> &str {
        self.get(&field.parent_file(), field.path())
    }

    /// Of an enum value, or "".
    pub(crate) fn value(&self, value: &EnumValueDescriptor) -> &str {
        self.get(&value.parent_file(), value.path())
    }

    /// Whether a file has any.
    pub(crate) fn any_in(&self, file: &FileDescriptor) -> bool {
        self.0.get(file.name()).is_some_and(|comments| !comments.is_empty())
    }

    fn get(&self, file: &FileDescriptor, path: &[i32]) -> &str {
        self.0.get(file.name()).and_then(|comments| comments.get(path)).map_or("", String::as_str)
    }
}

fn of_file(file: &FileDescriptor) -> HashMap<Vec<i32>, String> {
    let Some(info) = &file.file_descriptor_proto().source_code_info else { return HashMap::new() };
    let text = |location: &prost_types::source_code_info::Location| {
        let leading = clean(location.leading_comments());
        if leading.is_empty() { clean(location.trailing_comments()) } else { leading }
    };
    info.location
        .iter()
        .map(|location| (location.path.clone(), text(location)))
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

/// Lines of a paragraph joined, paragraphs and indented or listed lines kept apart; directives for
/// tools (`buf:lint:ignore ...`) and internal comments (`(-- ... --)`, AIP-192) dropped.
fn clean(comment: &str) -> String {
    let mut out = String::new();
    let mut paragraph = true;
    for line in without_internal(comment).lines() {
        let text = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let bare = text.trim_start();
        if bare.starts_with("buf:lint:") || bare.starts_with("@exclude") {
            continue;
        }
        if bare.is_empty() {
            paragraph = true;
            continue;
        }
        let own_line = text.starts_with(' ') || ["- ", "* ", "+ "].iter().any(|mark| bare.starts_with(mark));
        if !out.is_empty() {
            out.push_str(if paragraph {
                "\n\n"
            } else if own_line {
                "\n"
            } else {
                " "
            });
        }
        out.push_str(if own_line { text } else { bare });
        paragraph = false;
    }
    out
}

fn without_internal(comment: &str) -> String {
    let mut out = String::with_capacity(comment.len());
    let mut rest = comment;
    while let Some((before, after)) = rest.split_once("(--") {
        out.push_str(before);
        rest = after.split_once("--)").map_or("", |(_, rest)| rest);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn comments_become_text() {
        assert_eq!(clean(" A machine\n in a rack.\n\n Second.\n"), "A machine in a rack.\n\nSecond.");
        assert_eq!(clean(" One of:\n - on\n - off\n buf:lint:ignore X\n"), "One of:\n- on\n- off");
        assert_eq!(clean(" Text (-- not this --) here.\n"), "Text  here.");
        assert_eq!(clean(" buf:lint:ignore X\n"), "");
    }
}
