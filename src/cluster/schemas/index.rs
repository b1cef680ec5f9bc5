//! What the index of a Backend's schema says, and its form in a ConfigMap.

use std::{collections::BTreeMap, time::SystemTime};

use k8s_openapi::jiff::Timestamp;

use super::parts::MAX_PARTS;

const DIGEST: &str = "sha256";
const PARTS: &str = "parts";
const ETAG: &str = "etag";
const SOURCE: &str = "source";
const ACCEPTED_AT: &str = "acceptedAt";
const CONFIRMED_AT: &str = "confirmedAt";
const DOUBTED: &str = "seenElsewhere";
/// Longer etags are left out: the backend is then asked for the whole schema.
const MAX_ETAG: usize = 1024;
const MAX_SOURCE: usize = 256;

/// Which schema is the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    /// SHA-256 of the descriptors: 64 hexadecimal digits.
    pub(super) digest: String,
    /// How many parts they are in, at least one and at most [`MAX_PARTS`].
    pub(super) parts: usize,
    /// The Schema service's [`etag`]; empty: none.
    pub(super) etag: String,
    /// Where it was read, in words.
    pub(super) source: String,
    /// When it was first accepted.
    pub(super) accepted_at: SystemTime,
    /// When the backend last said that it is what it serves.
    pub(super) confirmed_at: SystemTime,
    /// The digest of another schema that a replica which does not lead has read since.
    pub(super) doubted: Option<String>,
}

impl Index {
    /// What the ConfigMap has as its `data`.
    pub(super) fn data(&self) -> BTreeMap<String, String> {
        let data = [
            (DIGEST, self.digest.clone()),
            (PARTS, self.parts.to_string()),
            (ETAG, self.etag.clone()),
            (SOURCE, self.source.chars().take(MAX_SOURCE).collect()),
            (ACCEPTED_AT, written(self.accepted_at)),
            (CONFIRMED_AT, written(self.confirmed_at)),
        ];
        let doubted = self.doubted.clone().map(|digest| (DOUBTED, digest));
        data.into_iter().chain(doubted).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The way back. An error names the key.
    pub(super) fn parse(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |key: &str| data.get(key).map(String::as_str).ok_or_else(|| format!("it has no {key}"));
        let time = |key: &str| {
            let time = text(key)?.parse::<Timestamp>().map_err(|_| format!("its {key} is no time"))?;
            Ok::<_, String>(SystemTime::from(time))
        };
        let parts = text(PARTS)?.parse().ok().filter(|parts| (1..=MAX_PARTS).contains(parts));
        Ok(Self {
            digest: hexadecimal(text(DIGEST)?).ok_or_else(|| format!("its {DIGEST} is no SHA-256"))?,
            parts: parts.ok_or_else(|| format!("its {PARTS} is no number from 1 to {MAX_PARTS}"))?,
            etag: data.get(ETAG).cloned().unwrap_or_default(),
            source: data.get(SOURCE).cloned().unwrap_or_default(),
            accepted_at: time(ACCEPTED_AT)?,
            confirmed_at: time(CONFIRMED_AT)?,
            doubted: data.get(DOUBTED).and_then(|digest| hexadecimal(digest)),
        })
    }
}

/// As much of a Schema service's etag as is stored: none of one that is too long.
pub(super) fn etag(etag: &str) -> &str {
    if etag.len() <= MAX_ETAG { etag } else { "" }
}

fn hexadecimal(digest: &str) -> Option<String> {
    let is = digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is.then(|| digest.to_owned())
}

/// RFC 3339, in UTC.
fn written(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn index() -> Index {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Index {
            digest: "0a".repeat(32),
            parts: 3,
            etag: "e1".to_owned(),
            source: "kubridge.v1.Schema".to_owned(),
            accepted_at: at(1_700_000_000),
            confirmed_at: at(1_700_000_600),
            doubted: Some("ff".repeat(32)),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let data = index().data();
        assert_eq!(data["acceptedAt"], "2023-11-14T22:13:20Z");
        assert_eq!(Index::parse(&data).unwrap(), index());
        let plain = Index { doubted: None, etag: String::new(), ..index() };
        assert_eq!(Index::parse(&plain.data()).unwrap(), plain);
        assert_eq!((etag("e1"), etag(&"e".repeat(MAX_ETAG + 1))), ("e1", ""));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (key, value, part) in [
            ("sha256", None, "it has no sha256"),
            ("sha256", Some("../../secret"), "its sha256 is no SHA-256"),
            ("parts", Some("0"), "its parts is no number from 1 to"),
            ("parts", Some("1000000"), "its parts is no number from 1 to"),
            ("parts", Some("-1"), "its parts is no number from 1 to"),
            ("acceptedAt", Some("yesterday"), "its acceptedAt is no time"),
            ("confirmedAt", None, "it has no confirmedAt"),
        ] {
            let mut data = index().data();
            match value {
                Some(value) => drop(data.insert(key.to_owned(), value.to_owned())),
                None => drop(data.remove(key)),
            }
            let problem = Index::parse(&data).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }
}
