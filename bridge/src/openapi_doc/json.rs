//! JSON of strangers -> a value: limited in size, nesting and number of values; a name that is there twice is a fault.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::Fault;

/// Bytes. The largest that is known, all of a cluster with its custom resources in one, has some ten million.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// serde_json itself ends at 128.
const MAX_NESTING: usize = 100;
/// Strings, numbers, objects...: what a document costs in memory.
const MAX_VALUES: usize = 1_500_000;

/// Reads one JSON document. Names that are there twice are added to `twice`, each with its pointer.
pub(super) fn parse(bytes: &[u8], twice: &mut Vec<String>) -> Result<Value, Fault> {
    if bytes.len() > MAX_BYTES {
        let message = format!("the document has {} bytes, and {MAX_BYTES} are the limit", bytes.len());
        return Err(Fault::new("", message, "leave out what other groups and versions serve"));
    }
    let mut state = State { pointer: String::new(), nesting: 0, values: 0, twice };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Reader(&mut state).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        Fault::new(&state.pointer, format!("the document is not read: {error}"), "send one JSON document")
    })
}

/// A part of a JSON pointer (RFC 6901).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The name that a part of a JSON pointer spells.
pub(super) fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

struct State<'a> {
    pointer: String,
    nesting: usize,
    values: usize,
    twice: &'a mut Vec<String>,
}

struct Reader<'a, 'b>(&'a mut State<'b>);

impl<'de> DeserializeSeed<'de> for Reader<'_, '_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.values += 1;
        if self.0.values > MAX_VALUES {
            return Err(D::Error::custom(format_args!("it has more than {MAX_VALUES} values")));
        }
        if self.0.nesting > MAX_NESTING {
            return Err(D::Error::custom(format_args!("it is nested deeper than {MAX_NESTING}")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let Self(state) = self;
        state.nesting += 1;
        let length = state.pointer.len();
        let mut values = Vec::new();
        loop {
            state.pointer.push_str(&format!("/{}", values.len()));
            let Some(value) = list.next_element_seed(Reader(state))? else { break };
            values.push(value);
            state.pointer.truncate(length);
        }
        state.pointer.truncate(length);
        state.nesting -= 1;
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let Self(state) = self;
        state.nesting += 1;
        let length = state.pointer.len();
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            state.pointer.push('/');
            state.pointer.push_str(&escaped(&name));
            if map.contains_key(&name) && state.twice.len() < super::MAX_FAULTS {
                state.twice.push(state.pointer.clone());
            }
            let value = entries.next_value_seed(Reader(state))?;
            map.insert(name, value);
            state.pointer.truncate(length);
        }
        state.nesting -= 1;
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_twice_is_named() {
        let mut twice = Vec::new();
        let value = parse(br#"{"a":[{"b/c":1,"b/c":-2}],"x":null,"f":1.5,"t":true,"s":"\n"}"#, &mut twice);
        assert_eq!(value.unwrap()["a"][0]["b/c"], -2);
        assert_eq!(twice, ["/a/0/b~1c"]);
    }

    #[test]
    fn nesting_and_number_have_a_limit() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(deep(MAX_NESTING).as_bytes(), &mut Vec::new()).is_ok());
        let fault = parse(deep(MAX_NESTING + 2).as_bytes(), &mut Vec::new()).unwrap_err();
        assert!(fault.message.contains("nested deeper than 100"), "{fault}");
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        let fault = parse(many.as_bytes(), &mut Vec::new()).unwrap_err();
        assert!(fault.message.contains("more than 1500000 values"), "{fault}");
        let long = parse(&vec![b' '; MAX_BYTES + 1], &mut Vec::new()).unwrap_err();
        assert!(long.message.contains("33554433 bytes"), "{long}");
    }

    #[test]
    fn what_is_not_json_says_where() {
        for text in ["", "{", "{}{}", "<html>", "{\"a\":[1,}"] {
            assert!(parse(text.as_bytes(), &mut Vec::new()).is_err(), "{text}");
        }
        let fault = parse(b"{\"a\":[1,{\"b\":x}]}", &mut Vec::new()).unwrap_err();
        assert_eq!(fault.pointer, "/a/1/b");
    }
}
