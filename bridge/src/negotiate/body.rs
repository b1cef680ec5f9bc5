//! Bodies from YAML and to YAML, and JSON for people.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::{status::ApiError, transcode::MAX_DEPTH};

/// How long the JSON of a YAML body may become: aliases can make a short text long.
const MAX_JSON: usize = 16 << 20;

/// One YAML document as JSON. Keys keep their order and stand as often as they were written, so that the reader of
/// the JSON finds duplicates. Several documents, aliases that multiply, deep nesting: 400.
pub fn yaml_to_json(yaml: &[u8]) -> Result<Vec<u8>, ApiError> {
    let text = std::str::from_utf8(yaml)
        .map_err(|e| ApiError::bad_request(format!("the body is not UTF-8 at byte {}", e.valid_up_to())))?;
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        // As Kubernetes reads `mode: 0644`.
        legacy_octal_numbers: true,
    };
    let mut json = Vec::with_capacity(yaml.len());
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |de| {
        ToJson { out: &mut json, depth: 0 }.deserialize(de)
    })
    .map_err(|error| {
        let why = match error.without_snippet() {
            serde_saphyr::Error::MultipleDocuments { .. } => {
                "it holds more than one document; send each in a request of its own".to_owned()
            }
            error => error.to_string(),
        };
        ApiError::bad_request(format!("error converting YAML to JSON: {why}"))
    })?;
    Ok(json)
}

/// JSON as YAML, keys in order, as Kubernetes writes it.
pub fn json_to_yaml(json: &[u8]) -> Result<Vec<u8>, ApiError> {
    let value: serde_json::Value =
        serde_json::from_slice(json).map_err(|error| ApiError::internal(format!("our own JSON: {error}")))?;
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let mut text = String::with_capacity(json.len());
    serde_saphyr::to_fmt_writer_with_options(&mut text, &value, options)
        .map_err(|error| ApiError::internal(format!("JSON to YAML: {error}")))?;
    Ok(text.into_bytes())
}

/// JSON with two spaces of indentation, as Go's `json.Indent` writes it: nothing between the brackets of what is
/// empty, no line feed at the end. The input is JSON without white space; no value is read or changed.
pub fn pretty_json(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (i, &byte) in json.iter().enumerate() {
        if in_string {
            out.push(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                if !matches!(json.get(i + 1), Some(b'}' | b']')) {
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if i > 0 && !matches!(json[i - 1], b'{' | b'[') {
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => out.push(byte),
        }
    }
    out
}

fn line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 2));
}

/// Writes whatever is read as JSON.
struct ToJson<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
}

impl ToJson<'_> {
    fn push<E: serde::de::Error>(self, bytes: &[u8]) -> Result<(), E> {
        if self.out.len() + bytes.len() > MAX_JSON {
            return Err(E::custom(format_args!("more than {MAX_JSON} bytes of JSON")));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn push_json<E: serde::de::Error>(self, value: &impl serde::Serialize) -> Result<(), E> {
        let bytes = serde_json::to_vec(value).map_err(E::custom)?;
        self.push(&bytes)
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for ToJson<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ToJson<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.push_json(&value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.push_json(&value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.push_json(&value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if !value.is_finite() {
            return Err(E::custom("JSON has no NaN and no infinity"));
        }
        self.push_json(&value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.push_json(&value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.push(b"null")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.push(b"null")
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let out = self.out;
        out.push(b'[');
        let start = out.len();
        loop {
            let before = out.len();
            if before > start {
                out.push(b',');
            }
            if seq.next_element_seed(ToJson { out, depth })?.is_none() {
                out.truncate(before);
                out.push(b']');
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let out = self.out;
        out.push(b'{');
        let start = out.len();
        loop {
            let before = out.len();
            if before > start {
                out.push(b',');
            }
            if map.next_key_seed(Key { out })?.is_none() {
                out.truncate(before);
                out.push(b'}');
                return Ok(());
            }
            out.push(b':');
            map.next_value_seed(ToJson { out, depth })?;
        }
    }
}

/// Writes a key: always its text, so that `y: 1` is not `true: 1`.
struct Key<'a> {
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is text")
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        ToJson { out: self.out, depth: 0 }.push_json(&value)
    }
}
