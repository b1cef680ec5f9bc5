//! How enum values are written in JSON.

use std::collections::HashMap;

use prost::Message as _;
use prost_reflect::{EnumDescriptor, EnumValueDescriptor};

use super::names::NameIndex;
use crate::{proto, wire};

/// The table of one enum.
#[derive(Debug)]
pub(super) struct EnumTable {
    /// Numbers from 0 up, as most enums have them: the JSON string with its quotes.
    dense: Vec<Option<Box<[u8]>>>,
    /// All other numbers.
    sparse: HashMap<i32, Box<[u8]>>,
    /// JSON names and proto names, to a position in `numbers`.
    names: NameIndex,
    numbers: Vec<i32>,
    /// What an error names: the JSON names, quoted, by number.
    pub(super) expected: String,
    /// `google.protobuf.NullValue` is written as `null`.
    pub(super) is_null: bool,
}

impl EnumTable {
    pub(super) fn compile(descriptor: &EnumDescriptor) -> Self {
        let values: Vec<_> = descriptor.values().map(|value| (enum_value_name(&value), value)).collect();
        let (mut dense, mut sparse) = (Vec::new(), HashMap::new());
        for (name, value) in &values {
            // Of aliases the first one is written.
            let quoted = serde_json::to_vec(name).unwrap_or_default().into_boxed_slice();
            match usize::try_from(value.number()) {
                Ok(number) if number < 256 => {
                    dense.resize(dense.len().max(number + 1), None);
                    let _ = dense[number].get_or_insert(quoted);
                }
                _ => {
                    sparse.entry(value.number()).or_insert(quoted);
                }
            }
        }
        // A JSON name wins over another value's proto name.
        let names = values.iter().map(|(name, _)| name.as_str()).zip(0..);
        let names = names.chain(values.iter().map(|(_, value)| value.name()).zip(0..));
        let quoted: Vec<_> = values.iter().map(|(name, _)| format!("{name:?}")).collect();
        Self {
            dense,
            sparse,
            names: NameIndex::new(names),
            numbers: values.iter().map(|(_, value)| value.number()).collect(),
            expected: quoted.join(", "),
            is_null: descriptor.full_name() == "google.protobuf.NullValue",
        }
    }

    /// The JSON string of a number, with its quotes. None: the schema does not know the number.
    #[inline]
    pub(super) fn quoted(&self, number: i32) -> Option<&[u8]> {
        match usize::try_from(number).ok().and_then(|at| self.dense.get(at)) {
            Some(Some(quoted)) => Some(quoted),
            _ => self.sparse.get(&number).map(|quoted| &**quoted),
        }
    }

    /// The number of a JSON or proto name.
    #[inline]
    pub(super) fn number(&self, name: &[u8]) -> Option<i32> {
        self.numbers.get(self.names.get(name)? as usize).copied()
    }
}

/// The JSON name of an enum value: CamelCase without the enum's prefix (`POWER_STATE_ON` -> `On`), or what
/// `(kubridge.v1.value) = {name: ..}` says. The prefix stays where only a number would be left.
pub fn enum_value_name(value: &EnumValueDescriptor) -> String {
    let options = value.options().encode_to_vec();
    let options = wire::message_field(&options, proto::EXTENSION).unwrap_or_default();
    match proto::Value::decode(&*options) {
        Ok(option) if !option.name.is_empty() => option.name,
        _ => camel_case(without_prefix(value.name(), value.parent_enum().name())),
    }
}

/// `POWER_STATE_ON` of `PowerState` -> `ON`.
fn without_prefix<'a>(value: &'a str, enum_name: &str) -> &'a str {
    let mut rest = value;
    for letter in enum_name.chars().filter(|c| *c != '_') {
        let trimmed = rest.trim_start_matches('_');
        match trimmed.chars().next() {
            Some(c) if c.eq_ignore_ascii_case(&letter) => rest = &trimmed[c.len_utf8()..],
            _ => return value,
        }
    }
    match rest.strip_prefix('_').map(|rest| rest.trim_start_matches('_')) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_alphabetic()) => rest,
        _ => value,
    }
}

/// `NOT_READY` -> `NotReady`. A word that has small letters keeps its case: `NotReady`, `v1Beta` -> `V1Beta`.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for word in name.split('_').filter(|word| !word.is_empty()) {
        let keep = word.contains(|c: char| c.is_ascii_lowercase());
        for (n, c) in word.chars().enumerate() {
            out.push(match n {
                0 => c.to_ascii_uppercase(),
                _ if keep => c,
                _ => c.to_ascii_lowercase(),
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{camel_case, without_prefix};

    #[test]
    fn names_lose_the_prefix_and_become_camel_case() {
        for (value, enum_name, json) in [
            ("POWER_STATE_ON", "PowerState", "On"),
            ("POWER_STATE_UNSPECIFIED", "PowerState", "Unspecified"),
            ("POWER_STATE_NOT_READY", "PowerState", "NotReady"),
            ("ADDED", "EventType", "Added"),
            ("IPV4_MODE_NAT", "IPv4Mode", "Nat"),
            ("HTTP_MODE_A1", "HTTPMode", "A1"),
            ("LEVEL_1", "Level", "Level1"),
            ("LEVEL", "Level", "Level"),
            ("LEVELLED", "Level", "Levelled"),
            ("On", "PowerState", "On"),
            ("notReady", "PowerState", "NotReady"),
        ] {
            assert_eq!(camel_case(without_prefix(value, enum_name)), json, "{value} of {enum_name}");
        }
    }
}
