//! Field selectors (k8s.io/apimachinery, fields): `metadata.name=a,spec.rack!=r\,1`.

use std::fmt;

use crate::status::ApiError;

/// A field selector: all requirements must hold. Empty: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The JSON path: "metadata.name".
    pub field: String,
    /// How it is compared.
    pub operator: FieldOperator,
    /// With what, unescaped.
    pub value: String,
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldOperator {
    /// `=` or `==`.
    Equals,
    /// `!=`.
    NotEquals,
}

impl FieldSelector {
    /// Reads a selector. `\\`, `\,` and `\=` are escapes in values. Errors are 400.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut requirements = Vec::new();
        for term in terms(text) {
            if term.is_empty() {
                continue;
            }
            let (field, operator, value) = split_term(term).ok_or_else(|| {
                ApiError::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'"))
            })?;
            requirements.push(FieldRequirement { field: field.into(), operator, value: unescape(value)? });
        }
        Ok(Self { requirements })
    }

    /// The terms, in order.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// 400 for the first field that `supported` does not know.
    pub fn check(&self, supported: impl Fn(&str) -> bool) -> Result<(), ApiError> {
        match self.requirements.iter().find(|r| !supported(&r.field)) {
            Some(r) => Err(ApiError::bad_request(format!("field label not supported: {}", r.field))),
            None => Ok(()),
        }
    }

    /// The value that a field must have.
    pub fn requires_exact_match(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|r| r.field == field && r.operator == FieldOperator::Equals)
            .map(|r| r.value.as_str())
    }

    /// Whether an object matches. `get` gives a field's value as text; an absent field is "".
    pub fn matches<V: AsRef<str>>(&self, get: impl Fn(&str) -> V) -> bool {
        self.requirements.iter().all(|r| {
            let equal = get(&r.field).as_ref() == r.value;
            match r.operator {
                FieldOperator::Equals => equal,
                FieldOperator::NotEquals => !equal,
            }
        })
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let operator = match r.operator {
                FieldOperator::Equals => "=",
                FieldOperator::NotEquals => "!=",
            };
            let value = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", r.field)?;
        }
        Ok(())
    }
}

/// At commas that are not escaped.
fn terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, FieldOperator, &str)> {
    for i in 0..term.len() {
        let rest = &term.as_bytes()[i..];
        let (operator, length) = match rest {
            [b'!', b'=', ..] => (FieldOperator::NotEquals, 2),
            [b'=', b'=', ..] => (FieldOperator::Equals, 2),
            [b'=', ..] => (FieldOperator::Equals, 1),
            _ => continue,
        };
        return Some((&term[..i], operator, &term[i + length..]));
    }
    None
}

fn unescape(value: &str) -> Result<String, ApiError> {
    let bad = |what: String| ApiError::bad_request(format!("invalid field selector: {what}"));
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(bad(format!("invalid escape sequence: \\{c}"))),
                None => return Err(bad("invalid escape sequence: \\".into())),
            },
            ',' | '=' => return Err(bad(format!("unescaped character in value: {c}"))),
            c => out.push(c),
        }
    }
    Ok(out)
}
