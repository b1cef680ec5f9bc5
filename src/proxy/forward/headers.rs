//! Which headers pass between a client and an HTTPS backend, and which are ours to say.
//!
//! First everything is taken out that is not the other side's to say, then ours is put in: a client that names one of
//! our headers in `Connection` removes nothing of ours.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use kubridge_bridge::{identity, proto::UserInfo, status::ApiError};

use super::Identity;

/// The headers that say who asks.
struct Names {
    user: HeaderName,
    uid: HeaderName,
    group: HeaderName,
    /// Followed by the key.
    extra: &'static str,
}

/// As extension API servers read it (`k8s.io/apiserver`, request header authentication).
const REMOTE: Names = Names {
    user: HeaderName::from_static("x-remote-user"),
    uid: HeaderName::from_static("x-remote-uid"),
    group: HeaderName::from_static("x-remote-group"),
    extra: "x-remote-extra-",
};
/// As a kube-apiserver reads it (`k8s.io/api/authentication/v1`).
const IMPERSONATE: Names = Names {
    user: HeaderName::from_static("impersonate-user"),
    uid: HeaderName::from_static("impersonate-uid"),
    group: HeaderName::from_static("impersonate-group"),
    extra: "impersonate-extra-",
};
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// What concerns one connection only (RFC 9110, 7.6.1, and what is older).
const HOP_BY_HOP: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("proxy-authentication-info"),
];

/// What some servers take for another method or path than the one that was authorized.
const OVERRIDES: [HeaderName; 5] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// CORS is between a browser and us (as kube-aggregator).
const CORS: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// The request as the client made it.
#[derive(Debug)]
pub(super) struct Original<'a> {
    /// The path as sent.
    pub(super) path: &'a str,
    /// What the client called us: `:authority`, else `Host`.
    pub(super) host: Option<HeaderValue>,
    /// Where it comes from.
    pub(super) client: Option<IpAddr>,
    pub(super) user: &'a UserInfo,
    pub(super) audit_id: &'a str,
}

/// Turns a client's request headers into a backend's.
///
/// # Errors
/// The user cannot be said in headers.
pub(super) fn request(
    headers: &mut HeaderMap,
    original: &Original<'_>,
    identity: &Identity,
) -> Result<(), ApiError> {
    let trailers = accepts_trailers(headers);
    strip_hop_by_hop(headers);
    for name in [header::HOST, header::EXPECT, header::CONTENT_LENGTH, header::AUTHORIZATION] {
        headers.remove(name);
    }
    for name in &OVERRIDES {
        headers.remove(name);
    }
    strip_identity(headers);
    join_cookies(headers);
    if trailers {
        headers.insert(header::TE, TRAILERS);
    }
    let names = match identity {
        Identity::Remote => &REMOTE,
        Identity::Impersonate(_) => &IMPERSONATE,
    };
    write_identity(headers, original.user, names)?;
    write_forwarded(headers, original);
    if let Ok(id) = HeaderValue::from_str(original.audit_id) {
        headers.insert(AUDIT_ID, id);
    }
    Ok(())
}

/// What is known of a response body's length.
#[derive(Debug, Clone, Copy)]
pub(super) enum Length {
    Exact(u64),
    Unknown,
    /// The answer to HEAD: the length is of what is not sent.
    NotSent,
}

/// Turns a backend's response headers into ours. The server adds the audit id.
pub(super) fn response(headers: &mut HeaderMap, length: Length) {
    strip_hop_by_hop(headers);
    for name in &CORS {
        headers.remove(name);
    }
    headers.remove(AUDIT_ID);
    // A length that is not the body's would have the client take the next answer for this one's rest, or the reverse.
    let mut said = headers.get_all(header::CONTENT_LENGTH).iter();
    let keep = match (said.next().and_then(number), said.next(), length) {
        (Some(said), None, Length::Exact(length)) => said == length,
        (Some(_), None, Length::NotSent) => true,
        _ => false,
    };
    if !keep {
        headers.remove(header::CONTENT_LENGTH);
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Takes out of trailers what they must not say (RFC 9110, 6.5.1): who asks, and what frames or routes the message.
pub(super) fn trailers(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    strip_identity(headers);
    for name in [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION, header::COOKIE, AUDIT_ID] {
        headers.remove(name);
    }
}

/// Whether the client takes trailers.
fn accepts_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers"))
}

/// The members of a list header.
pub(super) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Whether a body is coded otherwise than chunked, which hyper has undone.
pub fn has_unknown_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    !codings.all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// Whether a request asks for another protocol. HTTP/2 has no such thing.
pub fn wants_upgrade(headers: &HeaderMap, version: Version) -> bool {
    version == Version::HTTP_11
        && headers.contains_key(header::UPGRADE)
        && tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| !HOP_BY_HOP.contains(name) && headers.contains_key(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// What the client says of itself, to gRPC servers too. Servers that know headers as variables take `_` for `-`.
fn strip_identity(headers: &mut HeaderMap) {
    let user = identity::USER;
    let ours = ["x-remote-", "impersonate-", user.as_str()];
    let said = |name: &HeaderName| ours.into_iter().any(|prefix| starts_with(name.as_str(), prefix));
    let said: Vec<HeaderName> = headers.keys().filter(|name| said(name)).cloned().collect();
    for name in said {
        headers.remove(name);
    }
}

fn starts_with(name: &str, prefix: &str) -> bool {
    let same = |(a, b): (u8, u8)| a == b || a == b'_' && b == b'-';
    name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(same)
}

/// HTTP/2 may send cookies one by one; HTTP/1.1 has one header for all (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

fn write_identity(headers: &mut HeaderMap, user: &UserInfo, names: &Names) -> Result<(), ApiError> {
    headers.insert(names.user.clone(), value("name", &user.username)?);
    if !user.uid.is_empty() {
        headers.insert(names.uid.clone(), value("uid", &user.uid)?);
    }
    let full = |_| ApiError::header_too_large("the user has too many groups or extra values to be passed on");
    for group in &user.groups {
        headers.try_append(names.group.clone(), value("group", group)?).map_err(full)?;
    }
    for (key, items) in &user.extra {
        let name = extra_name(names.extra, key)?;
        for item in &items.items {
            headers.try_append(name.clone(), value("extra value", item)?).map_err(full)?;
        }
    }
    Ok(())
}

/// A value that arrives as it is: receivers trim spaces, so that it would become another's.
fn value(what: &str, text: &str) -> Result<HeaderValue, ApiError> {
    let cannot = || {
        ApiError::bad_request(format!(
            "the user's {what} {text:?} cannot be passed on in a header: it has control characters, or spaces at its ends"
        ))
    };
    if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
        return Err(cannot());
    }
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| cannot())
}

/// The key, with `%` and what no header name may have in percent-encoding. Receivers lower-case it, then decode it.
fn extra_name(prefix: &str, key: &str) -> Result<HeaderName, ApiError> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut name = String::with_capacity(prefix.len() + key.len() + 8);
    name.push_str(prefix);
    for byte in key.bytes() {
        let legal = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if legal {
            name.push(char::from(byte));
        } else {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            name.extend(['%', char::from(high), char::from(low)]);
        }
    }
    HeaderName::try_from(name).map_err(|_| {
        ApiError::bad_request(format!("the user's extra key {key:?} is too long to be passed on"))
    })
}

fn write_forwarded(headers: &mut HeaderMap, original: &Original<'_>) {
    if let Some(client) = original.client {
        let mut chain = Vec::new();
        for value in headers.get_all(FORWARDED_FOR) {
            chain.extend_from_slice(value.as_bytes());
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(client.to_canonical().to_string().as_bytes());
        if let Ok(chain) = HeaderValue::from_bytes(&chain) {
            headers.insert(FORWARDED_FOR, chain);
        }
    }
    // kube-aggregator writes the backend's own address here; what the client called us is what can be used.
    match &original.host {
        Some(host) => drop(headers.insert(FORWARDED_HOST, host.clone())),
        None => drop(headers.remove(FORWARDED_HOST)),
    }
    headers.insert(FORWARDED_PROTO, HTTPS);
    if let Ok(path) = HeaderValue::from_str(original.path) {
        headers.insert(FORWARDED_URI, path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kubridge_bridge::proto::ExtraValue;

    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn alice() -> UserInfo {
        UserInfo {
            username: "alice".into(),
            uid: "u1".into(),
            groups: vec!["devs".into(), "system:authenticated".into()],
            extra: [(
                "authentication.kubernetes.io/credential-id".to_owned(),
                ExtraValue { items: vec!["X509SHA256=91".into(), "two".into()] },
            )]
            .into(),
        }
    }

    fn forwarded(headers: &[(&'static str, &'static str)], user: &UserInfo) -> Result<Vec<String>, ApiError> {
        let mut headers = map(headers);
        let original = Original {
            path: "/apis/g/v/x%2Fy/",
            host: Some(HeaderValue::from_static("kubridge:6443")),
            client: Some("::ffff:127.0.0.1".parse().unwrap()),
            user,
            audit_id: "audit-1",
        };
        request(&mut headers, &original, &Identity::Remote)?;
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        Ok(lines)
    }

    const OURS: [&str; 11] = [
        "audit-id: audit-1",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: kubridge:6443",
        "x-forwarded-proto: https",
        "x-forwarded-uri: /apis/g/v/x%2Fy/",
        "x-remote-extra-authentication.kubernetes.io%2fcredential-id: X509SHA256=91",
        "x-remote-extra-authentication.kubernetes.io%2fcredential-id: two",
        "x-remote-group: devs",
        "x-remote-group: system:authenticated",
        "x-remote-uid: u1",
        "x-remote-user: alice",
    ];

    #[test]
    fn who_asks_is_said_by_us_alone() {
        let spoofed = [
            ("authorization", "Bearer secret"),
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x_remote_group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("x-remote_uid", "0"),
            ("kubridge-user-bin", "CgRyb290"),
            ("kubridge_user_bin", "CgRyb290"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/apis/g/v/secrets"),
            ("impersonate-user", "root"),
            ("audit-id", "theirs"),
            ("connection", "X-Remote-User, x-remote-group, audit-id, x-forwarded-for, keep-alive"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-uri", "/evil"),
            ("host", "kubridge:6443"),
            ("expect", "100-continue"),
            ("content-length", "12"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
        ];
        assert_eq!(forwarded(&spoofed, &alice()).unwrap(), OURS);
        assert_eq!(forwarded(&[], &alice()).unwrap(), OURS);
    }

    #[test]
    fn what_is_the_clients_passes() {
        let theirs = [
            ("accept", "application/json"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
            ("te", "gzip, trailers"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("x-custom", "kept"),
            ("connection", "x-drop"),
            ("x-drop", "yes"),
            ("x-forwarded-for", "1.2.3.4"),
        ];
        let lines = forwarded(&theirs, &UserInfo { username: "bob".into(), ..UserInfo::default() }).unwrap();
        let want = [
            "accept: application/json",
            "audit-id: audit-1",
            "cookie: a=b; c=d",
            "te: trailers",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "x-custom: kept",
            "x-forwarded-for: 1.2.3.4, 127.0.0.1",
            "x-forwarded-host: kubridge:6443",
            "x-forwarded-proto: https",
            "x-forwarded-uri: /apis/g/v/x%2Fy/",
            "x-remote-user: bob",
        ];
        assert_eq!(lines, want);
    }

    #[test]
    fn a_delegate_is_told_by_impersonation() {
        let mut headers = map(&[
            ("impersonate-user", "root"),
            ("impersonate-group", "system:masters"),
            ("x-remote-user", "root"),
            ("authorization", "Bearer theirs"),
        ]);
        let original =
            Original { path: "/api/v1/pods", host: None, client: None, user: &alice(), audit_id: "audit-1" };
        request(&mut headers, &original, &Identity::Impersonate(None)).unwrap();
        let said: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .filter(|(name, _)| !name.starts_with("x-forwarded") && *name != "audit-id")
            .collect();
        assert_eq!(
            said,
            [
                ("impersonate-user", "alice"),
                ("impersonate-uid", "u1"),
                ("impersonate-group", "devs"),
                ("impersonate-group", "system:authenticated"),
                ("impersonate-extra-authentication.kubernetes.io%2fcredential-id", "X509SHA256=91"),
                ("impersonate-extra-authentication.kubernetes.io%2fcredential-id", "two"),
            ]
        );
    }

    #[test]
    fn a_user_who_would_arrive_as_another_is_refused() {
        for name in [" admin", "admin\t", "ad\nmin", "a\r\nX-Remote-Group: system:masters"] {
            let user = UserInfo { username: name.into(), ..UserInfo::default() };
            assert_eq!(forwarded(&[], &user).unwrap_err().code(), 400, "{name:?}");
        }
        let user = UserInfo { username: "j\u{fc}rgen".into(), ..UserInfo::default() };
        let mut headers = HeaderMap::new();
        write_identity(&mut headers, &user, &REMOTE).unwrap();
        assert_eq!(headers[REMOTE.user].as_bytes(), "j\u{fc}rgen".as_bytes());
        assert_eq!(extra_name(REMOTE.extra, "a/B c%").unwrap(), "x-remote-extra-a%2fb%20c%25");
    }

    #[test]
    fn what_is_the_backends_passes_and_nothing_comes_twice() {
        let mut headers = map(&[
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("access-control-allow-origin", "*"),
            ("audit-id", "backend"),
            ("cache-control", "max-age=60"),
            ("content-type", "application/json"),
            ("warning", "299 - \"a\""),
            ("warning", "299 - \"b\""),
            ("set-cookie", "a=b"),
        ]);
        response(&mut headers, Length::Unknown);
        let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "content-type", "set-cookie", "warning", "warning"]);
    }

    #[test]
    fn only_a_length_that_is_the_bodys_passes() {
        let length = |pairs: &[(&'static str, &'static str)], body| {
            let mut headers = map(pairs);
            response(&mut headers, body);
            headers.get(header::CONTENT_LENGTH).map(|value| value.to_str().unwrap().to_owned())
        };
        let seven = ("content-length", "7");
        assert_eq!(length(&[seven], Length::Exact(7)).as_deref(), Some("7"));
        assert_eq!(length(&[seven], Length::NotSent).as_deref(), Some("7"));
        assert_eq!(length(&[seven], Length::Exact(9)), None);
        assert_eq!(length(&[seven], Length::Unknown), None);
        assert_eq!(length(&[seven, seven], Length::Exact(7)), None);
        assert_eq!(length(&[("content-length", "+7")], Length::Exact(7)), None);
    }

    #[test]
    fn trailers_say_nothing_of_who_asks() {
        let mut headers = map(&[("x-remote-user", "root"), ("content-length", "1"), ("x-checksum", "ok")]);
        trailers(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-checksum"]);
    }
}
