//! Names: what Kubernetes allows, and what follows from a kind or an enum.

/// A DNS-1123 subdomain (RFC 1123, at most 253 characters): groups.
pub(crate) fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label_1123)
}

/// A DNS-1123 label: lower case, digits and `-`, at most 63 characters.
pub(crate) fn is_label_1123(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// A DNS-1035 label: a DNS-1123 label that starts with a letter. Plurals, singulars, short names, subresources.
pub(crate) fn is_label(name: &str) -> bool {
    is_label_1123(name) && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Kubernetes' form of a version: `v1`, `v1beta1`, `v2alpha3`.
pub(crate) fn is_version(name: &str) -> bool {
    version_parts(name).is_some()
}

/// How stable a version is. In the order of Kubernetes' preference, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stability {
    /// `v1alpha1`.
    Alpha,
    /// `v1beta1`.
    Beta,
    /// `v1`.
    Stable,
}

/// `v2beta3` -> (Beta, 2, 3). `None`: not in Kubernetes' form.
pub(crate) fn version_parts(name: &str) -> Option<(Stability, u64, u64)> {
    let rest = name.strip_prefix('v')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = rest.split_at(digits);
    let major = version_number(major)?;
    if rest.is_empty() {
        return Some((Stability::Stable, major, 0));
    }
    for (word, stability) in [("alpha", Stability::Alpha), ("beta", Stability::Beta)] {
        if let Some(minor) = rest.strip_prefix(word) {
            return Some((stability, major, version_number(minor)?));
        }
    }
    None
}

fn version_number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

/// A kind: an upper-case letter, then letters and digits, at most 63 characters.
pub(crate) fn is_kind(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The kind in lower case, in the English plural: machines, boxes, policies.
pub(crate) fn plural(kind: &str) -> String {
    let singular = kind.to_ascii_lowercase();
    if ["s", "x", "z", "ch", "sh"].iter().any(|end| singular.ends_with(end)) {
        return singular + "es";
    }
    match singular.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) && !stem.is_empty() => format!("{stem}ies"),
        _ => singular + "s",
    }
}

/// Whether `name` starts a new word at `at`: `at` is its start, or a capital letter stands there.
pub(crate) fn starts_word(name: &str, at: usize) -> bool {
    at == 0 || name.as_bytes().get(at).is_some_and(u8::is_ascii_uppercase)
}

/// Whether a word of `name` ends at `at`: its end, or a capital letter follows.
pub(crate) fn ends_word(name: &str, at: usize) -> bool {
    at == name.len() || starts_word(name, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_english() {
        for (kind, expected) in [
            ("Machine", "machines"),
            ("Box", "boxes"),
            ("Policy", "policies"),
            ("Gateway", "gateways"),
            ("Switch", "switches"),
            ("Class", "classes"),
            ("Y", "ys"),
        ] {
            assert_eq!(plural(kind), expected, "{kind}");
        }
    }

    #[test]
    fn versions_have_the_form_of_kubernetes() {
        for good in ["v1", "v10", "v1beta1", "v2alpha11"] {
            assert!(is_version(good), "{good}");
        }
        for bad in [
            "",
            "v",
            "1",
            "v0",
            "v01",
            "V1",
            "v1beta",
            "v1beta0",
            "v1gamma1",
            "v1beta1x",
            "v99999999999999999999",
        ] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn labels_and_subdomains() {
        assert!(is_subdomain("inventory.example.com"));
        for bad in ["", ".", "a..b", "A.example.com", "-a.b", "a_b.c"] {
            assert!(!is_subdomain(bad), "{bad}");
        }
        assert!(is_label("power-cycle") && !is_label("1st") && !is_label("a-") && !is_label("Power"));
        assert!(is_kind("IPPool2") && !is_kind("iPPool") && !is_kind("IP_Pool") && !is_kind(""));
    }
}
