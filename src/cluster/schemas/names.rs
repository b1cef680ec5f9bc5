//! What the ConfigMaps of one Backend's schema are called.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Says of which Backend a ConfigMap is.
pub(super) const BACKEND: &str = "kubridge.io/backend";
/// Says whose it is: ours.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kubridge");
const INDEX: &str = "kubridge-schema-";
const PART: &str = "kubridge-descriptors-";
/// The longest name that a label's value can be.
const LABEL: usize = 63;
/// The longest name that is part of a ConfigMap's as it is: with all that is added, that has at most 253 characters.
const STEM: usize = 184;
/// How much of a hash keeps names apart that are cut.
const HASH: usize = 16;
/// How much of a digest keeps the parts of two schemas apart.
const DIGEST: usize = 10;

/// Of one Backend.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The value of the label [`BACKEND`].
    pub(super) label: String,
    stem: String,
}

impl Names {
    /// `backend`: the Backend's name.
    pub(super) fn new(backend: &str) -> Self {
        Self { label: cut(backend, LABEL, LABEL - HASH), stem: cut(backend, STEM, STEM) }
    }

    /// The ConfigMap that says which schema is the present one.
    pub(super) fn index(&self) -> String {
        format!("{INDEX}{}", self.stem)
    }

    /// The ConfigMap that has a part of the schema with this digest (hex), from 0.
    pub(super) fn part(&self, digest: &str, number: usize) -> String {
        let digest = digest.get(..DIGEST).unwrap_or(digest);
        format!("{PART}{}-{digest}-{number}", self.stem)
    }

    /// Whether a ConfigMap with this name may be one of the Backend's.
    pub(super) fn has(&self, name: &str) -> bool {
        let part = |rest: &str| rest.strip_prefix(&self.stem).is_some_and(|rest| rest.starts_with('-'));
        name == self.index() || name.strip_prefix(PART).is_some_and(part)
    }
}

/// SHA-256, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The name where it has at most `limit` characters; else the first `kept` of it and a hash of all.
fn cut(name: &str, limit: usize, kept: usize) -> String {
    if name.len() <= limit {
        return name.to_owned();
    }
    let kept: String = name.chars().take(kept).collect();
    let hash = digest(name.as_bytes());
    format!("{kept}{}", &hash[..HASH])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DIGESTS: [&str; 2] = ["0123456789abcdef", "fedcba9876543210"];

    /// As Kubernetes checks them: a DNS subdomain, a label's value.
    fn check(names: &Names) {
        for name in [names.index(), names.part(DIGESTS[0], 39)] {
            assert!(name.len() <= 253, "{name}");
            for label in name.split('.') {
                let ends = label.chars().next().into_iter().chain(label.chars().last());
                assert!(
                    ends.clone().count() == 2 && ends.into_iter().all(|c| c.is_ascii_alphanumeric()),
                    "{name}"
                );
            }
            assert!(names.has(&name));
        }
        assert!(names.label.len() <= LABEL, "{}", names.label);
        assert!(names.label.ends_with(|c: char| c.is_ascii_alphanumeric()), "{}", names.label);
    }

    #[test]
    fn names_are_valid_however_long_the_backends_is() {
        check(&Names::new("fleet"));
        check(&Names::new("a"));
        for length in [62, 63, 64, 183, 184, 185, 199, 200, 201, 253] {
            for unit in ["a", "a.", "a-", "ab.c-"] {
                let name: String = unit.chars().cycle().take(length - 1).chain(['z']).collect();
                let name = name.replace(".z", "zz").replace("-z", "zz");
                check(&Names::new(&name));
            }
        }
    }

    #[test]
    fn no_two_backends_share_a_configmap() {
        let long = "a".repeat(220);
        let names = [
            "fleet".to_owned(),
            "fleet-0123456789-0".to_owned(),
            "fleet-0123456789".to_owned(),
            long.clone(),
            format!("{long}b"),
            // What the long one is cut to.
            Names::new(&long).stem,
        ];
        let mut all = BTreeSet::new();
        for name in &names {
            let names = Names::new(name);
            assert!(all.insert(names.index()), "{name}");
            for digest in DIGESTS {
                for number in [0, 1, 10] {
                    assert!(all.insert(names.part(digest, number)), "{name}");
                }
            }
        }
        assert!(!Names::new("fleet").has("kubridge-schema-fleet2"));
    }
}
