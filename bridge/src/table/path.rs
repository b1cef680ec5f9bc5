//! The JSONPath that printer columns are written in: a path of names, indexes, wildcards and simple filters.

use serde_json::Value;

/// A parsed path: `.spec.serial`, `.status.conditions[?(@.type=="Ready")].status`, `.metadata.labels['a\.b/c']`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// `.name` or `['name']`.
    Key(String),
    /// `[n]`; below 0: from the end.
    Index(i64),
    /// `[*]` or `.*`.
    All,
    /// `[?(@.path==literal)]`.
    Filter { path: Vec<String>, equal: bool, literal: Value },
}

impl JsonPath {
    /// Reads a path. The error says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let fault = |what: &str| format!("{what} at character {at} of {text:?}");
            let (step, tail) = if let Some(tail) = rest.strip_prefix('.') {
                name(tail).ok_or_else(|| fault("a name is missing after '.'"))?
            } else if let Some(tail) = rest.strip_prefix('[') {
                bracket(tail).ok_or_else(|| fault("expected [n], [*], ['key'] or [?(@.field==\"value\")]"))?
            } else {
                return Err(fault("expected '.' or '['"));
            };
            steps.push(step);
            rest = tail;
        }
        if steps.is_empty() {
            return Err("the path is empty; write one such as \".spec.serial\"".into());
        }
        Ok(Self { steps })
    }
}

/// All values that `steps` lead to.
pub(super) fn find<'v>(steps: &[Step], value: &'v Value, found: &mut Vec<&'v Value>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return;
    };
    match (step, value) {
        (Step::Key(key), Value::Object(map)) => {
            if let Some(value) = map.get(key) {
                find(rest, value, found);
            }
        }
        (Step::Index(index), Value::Array(items)) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let index = if *index < 0 { length.saturating_add(*index) } else { *index };
            if let Some(value) = usize::try_from(index).ok().and_then(|i| items.get(i)) {
                find(rest, value, found);
            }
        }
        (Step::All, Value::Array(items)) => items.iter().for_each(|value| find(rest, value, found)),
        (Step::All, Value::Object(map)) => map.values().for_each(|value| find(rest, value, found)),
        (Step::Filter { path, equal, literal }, Value::Array(items)) => {
            for item in items {
                let field = path.iter().try_fold(item, |value, key| value.get(key));
                if field.is_some_and(|field| (field == literal) == *equal) {
                    find(rest, item, found);
                }
            }
        }
        _ => {}
    }
}

/// A name up to `.` or `[`; `\` takes the next character as it is.
fn name(text: &str) -> Option<(Step, &str)> {
    let (name, rest) = unescaped(text, &['.', '[']);
    match name.as_str() {
        "" => None,
        "*" => Some((Step::All, rest)),
        _ => Some((Step::Key(name), rest)),
    }
}

fn unescaped<'a>(text: &'a str, ends: &[char]) -> (String, &'a str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c if ends.contains(&c) => return (out, &text[i..]),
            c => out.push(c),
        }
    }
    (out, "")
}

/// What stands behind `[`, and what follows `]`.
fn bracket(text: &str) -> Option<(Step, &str)> {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix("?(") {
        let (filter, rest) = filter(rest)?;
        return Some((filter, rest.trim_start().strip_prefix(')')?.trim_start().strip_prefix(']')?));
    }
    if let Some((key, rest)) = quoted(text) {
        return Some((Step::Key(key), rest.trim_start().strip_prefix(']')?));
    }
    let (inner, rest) = text.split_once(']')?;
    match inner.trim() {
        "*" => Some((Step::All, rest)),
        number => Some((Step::Index(number.parse().ok()?), rest)),
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (out, rest) = unescaped(&text[1..], &[quote]);
    Some((out, rest.strip_prefix(quote)?))
}

/// `@.type=="Ready"`.
fn filter(text: &str) -> Option<(Step, &str)> {
    let mut rest = text.trim_start().strip_prefix('@')?;
    let mut path = Vec::new();
    while let Some(tail) = rest.strip_prefix('.') {
        let (key, tail) = unescaped(tail, &['.', '=', '!', ' ', ')']);
        if key.is_empty() {
            return None;
        }
        path.push(key);
        rest = tail;
    }
    let rest = rest.trim_start();
    let (equal, rest) = match (rest.strip_prefix("=="), rest.strip_prefix("!=")) {
        (Some(rest), _) => (true, rest.trim_start()),
        (None, Some(rest)) => (false, rest.trim_start()),
        (None, None) => return None,
    };
    let (literal, rest) = match quoted(rest) {
        Some((text, rest)) => (Value::String(text), rest),
        None => {
            let end = rest.find([')', ' '])?;
            (
                serde_json::from_str(&rest[..end])
                    .ok()
                    .filter(|v: &Value| !v.is_array() && !v.is_object())?,
                &rest[end..],
            )
        }
    };
    Some((Step::Filter { path, equal, literal }, rest))
}
