//! Fields on the wire that the schema does not know, by the message fields that lead to them.

use super::{
    MAX_DEPTH, UnknownFields, UnknownInCollection,
    path::Text,
    table::{Field, Inner, Kind, Message, Shape},
};
use crate::wire;

/// Collects what stands in singular messages; fails for what stands in a list or map.
pub(super) fn collect(
    tables: &Inner,
    message: &Message,
    wire: &[u8],
) -> Result<Vec<UnknownFields>, UnknownInCollection> {
    let mut walk = Walk { tables, found: Vec::new(), numbers: Vec::new(), names: Vec::new(), depth: 0 };
    walk.message(message, wire)?;
    Ok(walk.found)
}

struct Walk<'t> {
    tables: &'t Inner,
    found: Vec<UnknownFields>,
    /// The fields that lead here.
    numbers: Vec<u32>,
    names: Vec<&'t str>,
    depth: usize,
}

impl<'t> Walk<'t> {
    fn message(&mut self, message: &'t Message, wire: &[u8]) -> Result<(), UnknownInCollection> {
        if self.depth > 3 * MAX_DEPTH {
            return Ok(());
        }
        self.depth += 1;
        // A fault in the wire is found, and told, where it is read.
        for field in wire::fields(wire).map_while(Result::ok) {
            let Some(position) = message.position(field.number) else {
                match self.found.iter_mut().find(|found| found.path == self.numbers) {
                    Some(found) => found.raw.extend_from_slice(field.raw),
                    None => {
                        self.found
                            .push(UnknownFields { path: self.numbers.clone(), raw: field.raw.to_vec() });
                    }
                }
                continue;
            };
            let known = &message.fields[position];
            let (Kind::Message(index) | Kind::Special(_, index)) = known.kind else {
                if matches!(known.shape, Shape::Map(_))
                    && wire::fields(field.value).flatten().any(|f| f.number > 2)
                {
                    return Err(self.in_collection(known));
                }
                continue;
            };
            let of = self.tables.message(index);
            match known.shape {
                Shape::Singular => {
                    self.numbers.push(known.number);
                    self.names.push(&known.json_name);
                    let done = self.message(of, field.value);
                    self.numbers.pop();
                    self.names.pop();
                    done?;
                }
                Shape::Repeated { .. } => self.element(known, of, field.value)?,
                Shape::Map(_) => {
                    for entry in wire::fields(field.value).map_while(Result::ok) {
                        match entry.number {
                            1 => {}
                            2 => self.element(known, of, entry.value)?,
                            _ => return Err(self.in_collection(known)),
                        }
                    }
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// An element of a list or map may hold nothing unknown, at any depth.
    fn element(&mut self, field: &Field, of: &'t Message, wire: &[u8]) -> Result<(), UnknownInCollection> {
        let mut inner = Walk {
            tables: self.tables,
            found: Vec::new(),
            numbers: Vec::new(),
            names: Vec::new(),
            depth: self.depth,
        };
        match inner.message(of, wire) {
            Ok(()) if inner.found.is_empty() => Ok(()),
            _ => Err(self.in_collection(field)),
        }
    }

    fn in_collection(&self, field: &Field) -> UnknownInCollection {
        let mut path = Text::default();
        for name in self.names.iter().copied().chain([&*field.json_name]) {
            path.name(name.as_bytes());
        }
        UnknownInCollection { path: path.into_string() }
    }
}
