//! The user, as gRPC metadata: `kubridge-user-bin` for the backend, `x-remote-user` for people.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD_NO_PAD},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;

use crate::{proto::UserInfo, status::ApiError};

/// `kubridge.v1.UserInfo` in protobuf, base64 without padding.
pub const USER: HeaderName = HeaderName::from_static("kubridge-user-bin");
/// The name, readable; only where it is printable ASCII.
pub const REMOTE_USER: HeaderName = HeaderName::from_static("x-remote-user");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How large a UserInfo may be on the wire, in bytes. gRPC servers take 8 KiB of metadata in all by default.
pub const MAX_USER: usize = 8 << 10;

/// Writes the user into a call's metadata; whatever stood under these names is gone. Too large: 431.
pub fn write(user: &UserInfo, metadata: &mut HeaderMap) -> Result<(), ApiError> {
    metadata.remove(USER);
    metadata.remove(REMOTE_USER);
    let size = user.encoded_len().div_ceil(3) * 4;
    if size > MAX_USER {
        return Err(ApiError::header_too_large(format!(
            "the user has too many groups or extra values to be passed on: {size} bytes of at most {MAX_USER}"
        )));
    }
    let encoded = STANDARD_NO_PAD.encode(user.encode_to_vec());
    let value = HeaderValue::try_from(encoded).expect("base64 is visible ASCII");
    metadata.insert(USER, value);
    if let Some(name) = readable(&user.username) {
        metadata.insert(REMOTE_USER, name);
    }
    Ok(())
}

/// Reads the user from a call's metadata, with or without padding. `None`: there is none, or it cannot be read.
/// Only for callers in this process: nothing here says who wrote it.
pub fn read(metadata: &HeaderMap) -> Option<UserInfo> {
    let value = metadata.get(USER)?.as_bytes();
    UserInfo::decode(LENIENT.decode(value).ok()?.as_slice()).ok()
}

/// A `traceparent` that may be passed on (W3C Trace Context, version 00 and later ones), else `None`.
pub fn traceparent(value: &HeaderValue) -> Option<&HeaderValue> {
    let bytes = value.as_bytes();
    let (head, tail) = bytes.split_at_checked(55)?;
    let hex = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    let (version, trace, parent, flags) = (&head[..2], &head[3..35], &head[36..52], &head[53..55]);
    let dashes = [2, 35, 52].iter().all(|i| head[*i] == b'-');
    let known =
        hex(version) && version != b"ff" && (tail.is_empty() || (version != b"00" && tail[0] == b'-'));
    let ids = hex(trace) && hex(parent) && hex(flags) && !zero(trace) && !zero(parent);
    (dashes && known && ids).then_some(value)
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// gRPC trims spaces at the ends of a text value: a name that has them would become another's.
fn readable(name: &str) -> Option<HeaderValue> {
    let printable = !name.is_empty() && name.bytes().all(|b| (b' '..=b'~').contains(&b));
    let trimmed = name.trim_matches(' ').len() == name.len();
    (printable && trimmed).then(|| HeaderValue::from_str(name).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::proto::ExtraValue;

    fn user(name: &str, groups: usize) -> UserInfo {
        UserInfo {
            username: name.into(),
            uid: "u1".into(),
            groups: (0..groups).map(|i| format!("group-{i}")).collect(),
            extra: [("k".to_owned(), ExtraValue { items: vec!["v".into()] })].into(),
        }
    }

    #[test]
    fn a_user_comes_back() {
        for name in ["alice", "j\u{fc}rgen", "", " eve"] {
            let mut metadata = HeaderMap::new();
            metadata.insert(REMOTE_USER, HeaderValue::from_static("mallory"));
            write(&user(name, 3), &mut metadata).unwrap();
            assert_eq!(read(&metadata).unwrap(), user(name, 3));
            assert!(!metadata[USER].to_str().unwrap().contains('='));
            assert_eq!(
                metadata.get(REMOTE_USER).map(|v| v.to_str().unwrap()),
                (name == "alice").then_some(name)
            );
        }
    }

    #[test]
    fn padding_does_not_matter() {
        let mut metadata = HeaderMap::new();
        let padded = base64::engine::general_purpose::STANDARD.encode(user("ab", 0).encode_to_vec());
        metadata.insert(USER, padded.try_into().unwrap());
        assert_eq!(read(&metadata).unwrap().username, "ab");
        metadata.insert(USER, HeaderValue::from_static("!!"));
        assert_eq!(read(&metadata), None);
    }

    #[test]
    fn too_large_a_user_is_431() {
        let error = write(&user("alice", 1000), &mut HeaderMap::new()).unwrap_err();
        assert_eq!(error.code().as_u16(), 431);
        write(&user("alice", 400), &mut HeaderMap::new()).unwrap();
    }

    #[test]
    fn traceparents() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (text, want) in [
            (good.to_owned(), true),
            (format!("01{}-more", &good[2..]), true),
            (format!("{good}-more"), false),
            (good.to_uppercase(), false),
            (good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)), false),
            (format!("ff{}", &good[2..]), false),
            ("00-1-2-3".to_owned(), false),
        ] {
            let value = HeaderValue::try_from(text.as_str()).unwrap();
            assert_eq!(traceparent(&value).is_some(), want, "{text}");
        }
    }
}
