//! Label selectors (k8s.io/apimachinery, labels): `app=web,tier in (a,b),!old,size>3`.

use super::lexer::{Lexer, Token};
use crate::{
    status::{ApiError, quote},
    validation::{label_key, label_value},
};

/// A label selector: all requirements must hold. Empty: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<LabelRequirement>,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRequirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: LabelOperator,
    /// With what: sorted, each once. One of `=`, `!=`, `>`, `<`; none of the existence operators.
    pub values: Vec<String>,
}

/// How a label is compared. Every operator that says "not" holds for an absent label too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Kubernetes'")]
pub enum LabelOperator {
    Equals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    /// Reads a selector. Errors are 400 and say what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        parse(text).map(|requirements| Self { requirements }).map_err(ApiError::bad_request)
    }

    /// The requirements, in order.
    pub fn requirements(&self) -> &[LabelRequirement] {
        &self.requirements
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with these labels matches.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }
}

impl LabelRequirement {
    /// Whether a label's value (`None`: absent) meets it.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.binary_search_by(|v| v.as_str().cmp(value)).is_ok();
        let number = |text: &str| text.parse::<i64>().ok();
        let compare = |holds: fn(i64, i64) -> bool| {
            let bound = self.values.first().and_then(|v| number(v));
            value.and_then(number).zip(bound).is_some_and(|(value, bound)| holds(value, bound))
        };
        match self.operator {
            LabelOperator::Equals | LabelOperator::In => value.is_some_and(listed),
            LabelOperator::NotEquals | LabelOperator::NotIn => !value.is_some_and(listed),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
            LabelOperator::GreaterThan => compare(|value, bound| value > bound),
            LabelOperator::LessThan => compare(|value, bound| value < bound),
        }
    }

    fn new(key: &str, operator: LabelOperator, mut values: Vec<String>) -> Result<Self, String> {
        use LabelOperator::{GreaterThan, In, LessThan, NotIn};
        values.sort_unstable();
        values.dedup();
        if matches!(operator, In | NotIn) && values.is_empty() {
            let why = "for 'in', 'notin' operators, values set can't be empty";
            return Err(format!("values: Invalid value: []: {why}"));
        }
        for (i, value) in values.iter().enumerate() {
            if matches!(operator, GreaterThan | LessThan) && value.parse::<i64>().is_err() {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(format!("values[{i}]: Invalid value: {}: {why}", quote(value)));
            }
            if let Some(why) = label_value(value).first() {
                return Err(format!("values[{i}][{key}]: Invalid value: {}: {why}", quote(value)));
            }
        }
        Ok(Self { key: key.into(), operator, values })
    }
}

fn parse(text: &str) -> Result<Vec<LabelRequirement>, String> {
    let mut lexer = Lexer::new(text);
    let mut requirements = Vec::new();
    loop {
        match lexer.peek() {
            Token::End => return Ok(requirements),
            Token::Word(_) | Token::Symbol("!") => {}
            other @ Token::Symbol(_) => {
                return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text()));
            }
        }
        let requirement =
            parse_requirement(&mut lexer).map_err(|why| format!("unable to parse requirement: {why}"))?;
        requirements.push(requirement);
        match lexer.next() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") => match lexer.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
            },
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
    }
}

fn parse_requirement(lexer: &mut Lexer<'_>) -> Result<LabelRequirement, String> {
    let mut token = lexer.next();
    let negated = token == Token::Symbol("!");
    if negated {
        token = lexer.next();
    }
    let Token::Word(key) = token else {
        return Err(format!("found '{}', expected: identifier", token.text()));
    };
    if let Some(why) = label_key(key).first() {
        return Err(format!("key: Invalid value: {}: {why}", quote(key)));
    }
    if negated {
        return LabelRequirement::new(key, LabelOperator::DoesNotExist, Vec::new());
    }
    if matches!(lexer.peek(), Token::End | Token::Symbol(",")) {
        return LabelRequirement::new(key, LabelOperator::Exists, Vec::new());
    }
    let token = lexer.next();
    let operator = match token.text() {
        "=" | "==" => LabelOperator::Equals,
        "!=" => LabelOperator::NotEquals,
        "in" => LabelOperator::In,
        "notin" => LabelOperator::NotIn,
        ">" => LabelOperator::GreaterThan,
        "<" => LabelOperator::LessThan,
        other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
    };
    let values = match operator {
        LabelOperator::In | LabelOperator::NotIn => parse_values(lexer)?,
        _ => vec![parse_value(lexer)?],
    };
    LabelRequirement::new(key, operator, values)
}

/// The value of `=` and its kin; nothing reads as "".
fn parse_value(lexer: &mut Lexer<'_>) -> Result<String, String> {
    if matches!(lexer.peek(), Token::End | Token::Symbol(",")) {
        return Ok(String::new());
    }
    match lexer.next() {
        Token::Word(value) => Ok(value.into()),
        other => Err(format!("found '{}', expected: identifier", other.text())),
    }
}

/// `(a,b)`. An empty place between commas is "".
fn parse_values(lexer: &mut Lexer<'_>) -> Result<Vec<String>, String> {
    let open = lexer.next();
    if open != Token::Symbol("(") {
        return Err(format!("found '{}' expected: '('", open.text()));
    }
    if lexer.peek() == Token::Symbol(")") {
        lexer.next();
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    loop {
        match lexer.peek() {
            Token::Word(value) => {
                lexer.next();
                values.push(value.to_owned());
            }
            Token::Symbol("," | ")") => values.push(String::new()),
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
        match lexer.next() {
            Token::Symbol(",") => {}
            Token::Symbol(")") => return Ok(values),
            other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
        }
    }
}
