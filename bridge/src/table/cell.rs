//! One column: from an object's wire to a JSON value.

use std::{borrow::Cow, time::SystemTime};

use serde_json::Value;

use super::{
    age::age,
    path::{JsonPath, Step, find},
};
use crate::{
    transcode::{FieldType, MessageType, WireError},
    wire::{self, Malformed},
};

/// A compiled column. Only the field that the path needs is read.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    /// The message fields that lead to the one that holds `leaf`.
    parents: Vec<FieldType>,
    leaf: FieldType,
    /// What is looked up in the leaf's JSON.
    rest: Vec<Step>,
    kind: Kind,
}

/// The column types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Date,
}

impl Cell {
    /// `None`: the path leads nowhere.
    pub(super) fn compile(path: &JsonPath, kind: &str, message: &MessageType) -> Option<Self> {
        let kind = match kind {
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            "date" => Kind::Date,
            _ => Kind::String,
        };
        let mut parents = Vec::new();
        let mut steps = path.steps.iter();
        let Step::Key(key) = steps.next()? else { return None };
        let mut leaf = message.field(key)?;
        while let (Some(inner), Some(Step::Key(key))) = (leaf.message(), steps.as_slice().first()) {
            steps.next();
            parents.push(leaf);
            leaf = inner.field(key)?;
        }
        Some(Self { parents, leaf, rest: steps.cloned().collect(), kind })
    }

    /// Appends the cell. False: there is no value.
    pub(super) fn write(&self, object: &[u8], now: SystemTime, out: &mut Vec<u8>) -> Result<bool, WireError> {
        let mut json = Vec::new();
        if !write_leaf(&self.parents, &self.leaf, object, &mut json)? {
            return Ok(false);
        }
        let Ok(value) = serde_json::from_slice::<Value>(&json) else { return Ok(false) };
        let mut found = Vec::new();
        find(&self.rest, &value, &mut found);
        Ok(self.put(&found, now, out))
    }

    fn put(&self, found: &[&Value], now: SystemTime, out: &mut Vec<u8>) -> bool {
        let Some(first) = found.first().filter(|value| !value.is_null()) else { return false };
        let text = match (self.kind, first) {
            (Kind::String, Value::String(text)) if found.len() == 1 => Value::from(text.as_str()),
            (Kind::String, _) => Value::from(found.iter().map(|v| plain(v)).collect::<Vec<_>>().join(",")),
            (Kind::Integer, Value::Number(number)) => match (number.is_f64(), number.as_f64()) {
                (true, Some(float)) => Value::from(float as i64),
                _ => Value::Number(number.clone()),
            },
            (Kind::Number, Value::Number(_)) | (Kind::Boolean, Value::Bool(_)) => (*first).clone(),
            (Kind::Date, Value::String(text)) => Value::from(age(text, now)),
            (Kind::Integer | Kind::Number | Kind::Boolean | Kind::Date, _) => return false,
        };
        serde_json::to_writer(out, &text).is_ok()
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn write_leaf(
    parents: &[FieldType],
    leaf: &FieldType,
    message: &[u8],
    json: &mut Vec<u8>,
) -> Result<bool, WireError> {
    let Some((parent, parents)) = parents.split_first() else { return leaf.write_json(message, json) };
    match descend(message, parent.number()) {
        Ok(Some(inner)) => write_leaf(parents, leaf, &inner, json),
        Ok(None) => Ok(false),
        Err(Malformed { offset }) => Err(WireError::Malformed { path: "(column)".into(), offset }),
    }
}

/// The contents of a message field, where it is there.
fn descend(message: &[u8], number: u32) -> Result<Option<Cow<'_, [u8]>>, Malformed> {
    let inner = wire::message_field(message, number)?;
    let absent = inner.is_empty() && !wire::has_field(message, number)?;
    Ok((!absent).then_some(inner))
}
