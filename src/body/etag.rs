//! Conditional requests: what the client has already (RFC 9110, 13.1.2).

use http::{HeaderMap, HeaderValue, header};

/// Whether If-None-Match names this ETag (with its quotes), or any at all: the answer is 304.
///
/// The weak form of it counts, and so does one of a list; kube-apiserver knows only exactly one.
pub fn matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.as_bytes() == etag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_list_the_weak_form_and_anything_match() {
        let etag = HeaderValue::from_static("\"AB12\"");
        let cases = [
            ("\"AB12\"", true),
            ("W/\"AB12\"", true),
            ("\"x\", \"AB12\"", true),
            ("*", true),
            ("AB12", false),
            ("\"ab12\"", false),
            ("", false),
        ];
        for (value, expected) in cases {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
            assert_eq!(matches(&headers, &etag), expected, "{value}");
        }
        assert!(!matches(&HeaderMap::new(), &etag));
    }
}
