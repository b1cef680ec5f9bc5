//! What a front proxy says of the caller in a request's headers (k8s.io/apiserver's request-header authenticator).

use std::str::from_utf8;

use http::{HeaderMap, HeaderName, HeaderValue};
use kubridge_bridge::proto::{ExtraValue, UserInfo};
use percent_encoding::percent_decode_str;

use super::{Rejected, known_elsewhere};
use crate::cluster::authentication::FrontProxy;

/// Whose request it forwards; `None` when it does not say. The caller has verified that it is a front proxy.
pub(super) fn user(proxy: &FrontProxy, headers: &HeaderMap) -> Result<Option<UserInfo>, Rejected> {
    let username = first(headers, &proxy.username_headers)?;
    if username.is_empty() {
        return Ok(None);
    }
    let uid = first(headers, &proxy.uid_headers)?.to_owned();
    let mut groups = Vec::new();
    for name in &proxy.group_headers {
        for value in headers.get_all(name).iter().filter(|value| !value.is_empty()) {
            groups.push(text(name, value)?.to_owned());
        }
    }
    let mut user = UserInfo { username: username.to_owned(), uid, groups, ..UserInfo::default() };
    for prefix in &proxy.extra_prefixes {
        for name in headers.keys() {
            let Some(key) = name.as_str().strip_prefix(prefix.as_str()) else { continue };
            let ExtraValue { items } = user.extra.entry(decoded(key)).or_default();
            for value in headers.get_all(name) {
                items.push(text(name, value)?.to_owned());
            }
        }
    }
    Ok(Some(known_elsewhere(user)))
}

/// Whether a header is one of those that a front proxy says it in.
pub(super) fn is_about_caller(proxy: &FrontProxy, name: &HeaderName) -> bool {
    [&proxy.username_headers, &proxy.uid_headers, &proxy.group_headers]
        .into_iter()
        .any(|all| all.contains(name))
        || proxy.extra_prefixes.iter().any(|prefix| name.as_str().starts_with(prefix.as_str()))
}

/// The first that is there and says something.
fn first<'a>(headers: &'a HeaderMap, names: &[HeaderName]) -> Result<&'a str, Rejected> {
    for name in names {
        if let Some(value) = headers.get(name).filter(|value| !value.is_empty()) {
            return text(name, value);
        }
    }
    Ok("")
}

fn text<'a>(name: &HeaderName, value: &'a HeaderValue) -> Result<&'a str, Rejected> {
    from_utf8(value.as_bytes()).map_err(|_| Rejected::Header(name.clone()))
}

/// A key as it was before it became part of a header's name. One that is not escaped as it should be is taken as it is.
fn decoded(key: &str) -> String {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = key.as_bytes();
    let mut escapes = (0..bytes.len()).filter(|i| bytes[*i] == b'%');
    if escapes.all(|i| is_hex(bytes.get(i + 1)) && is_hex(bytes.get(i + 2)))
        && let Ok(key) = percent_decode_str(key).decode_utf8()
    {
        return key.into_owned();
    }
    key.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        authn::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED},
        cluster::authentication::Authority,
    };

    fn proxy() -> FrontProxy {
        let ca =
            rcgen::CertificateParams::default().self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        FrontProxy {
            authority: Authority::parse(&ca.pem()).unwrap(),
            allowed_names: Vec::new(),
            username_headers: ["x-remote-user", "x-user"].map(HeaderName::from_static).into(),
            uid_headers: vec![HeaderName::from_static("x-remote-uid")],
            group_headers: ["x-remote-group", "x-group"].map(HeaderName::from_static).into(),
            extra_prefixes: vec!["x-remote-extra-".into(), "x-extra-".into()],
        }
    }

    fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &[u8])| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn all_that_is_said() {
        let user = user(
            &proxy(),
            &headers(&[
                ("X-Remote-User", b"alice, the first"),
                ("X-User", b"nobody"),
                ("X-Remote-Uid", b"u-1"),
                ("X-Group", b"c"),
                ("X-Remote-Group", b"a,b"),
                ("X-Remote-Group", b""),
                ("X-Remote-Group", "\u{fc}".as_bytes()),
                ("X-Remote-Extra-Scopes", b"one"),
                ("X-Extra-Scopes", b"three"),
                ("X-Remote-Extra-Scopes", b"two"),
                ("X-Remote-Extra-Example.com%2FA%2fb", b"x"),
                ("X-Remote-Extra-100%", b"as it is"),
                ("X-Remote-Extra-%2f%zz", b"as it is"),
                ("X-Remote-Extra-%ff", b"as it is"),
                ("X-Remote-Extra-", b"no key"),
            ]),
        )
        .unwrap()
        .unwrap();
        assert_eq!((user.username.as_str(), user.uid.as_str()), ("alice, the first", "u-1"));
        assert_eq!(user.groups, ["a,b", "\u{fc}", "c", AUTHENTICATED]);
        let extra = |key: &str| user.extra[key].items.clone();
        assert_eq!(extra("scopes"), ["one", "two", "three"]);
        assert_eq!(extra("example.com/a/b"), ["x"]);
        for key in ["100%", "%2f%zz", "%ff"] {
            assert_eq!(extra(key), ["as it is"], "{key}");
        }
        assert_eq!(extra(""), ["no key"]);
        assert_eq!(user.extra.len(), 6);
    }

    #[test]
    fn who_is_not_named_is_not_known_by_it() {
        for lines in [&[][..], &[("X-Remote-User", b"".as_slice()), ("X-Remote-Group", b"system:masters")]] {
            assert_eq!(user(&proxy(), &headers(lines)).unwrap(), None);
        }
        let second =
            user(&proxy(), &headers(&[("X-Remote-User", b""), ("X-User", b"bob")])).unwrap().unwrap();
        assert_eq!(second.username, "bob");
        let no_names = FrontProxy { username_headers: Vec::new(), ..proxy() };
        assert_eq!(user(&no_names, &headers(&[("X-Remote-User", b"alice")])).unwrap(), None);
    }

    #[test]
    fn nobody_stays_nobody() {
        let said = headers(&[
            ("X-Remote-User", ANONYMOUS.as_bytes()),
            ("X-Remote-Group", UNAUTHENTICATED.as_bytes()),
        ]);
        assert_eq!(user(&proxy(), &said).unwrap().unwrap().groups, [UNAUTHENTICATED]);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for name in ["x-remote-user", "x-remote-group", "x-remote-extra-a"] {
            let said = headers(&[(name, b"\xff"), ("x-user", b"bob")]);
            assert_eq!(user(&proxy(), &said).unwrap_err(), Rejected::Header(name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn its_headers_are_known_by_name() {
        let is = |name: &'static str| is_about_caller(&proxy(), &HeaderName::from_static(name));
        for name in ["x-remote-user", "x-user", "x-remote-uid", "x-group", "x-extra-anything"] {
            assert!(is(name), "{name}");
        }
        assert!(!is("x-extr") && !is("accept"));
    }
}
