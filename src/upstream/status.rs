//! How a call ended: `grpc-status`, `grpc-message`, `grpc-status-details-bin`, or the HTTP status without them.
//!
//! Sources: `PROTOCOL-HTTP2.md`, `http-grpc-status-mapping.md`, `google/rpc/error_details.proto`.

use std::time::Duration;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kubridge_bridge::{
    caller::{BackendStatus, Code},
    proto::rpc,
    status,
};
use prost::Message as _;

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// gRPC sends base64 without padding and takes it with and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The status in trailers or in the headers of a trailers-only answer; `None` when there is no `grpc-status`.
pub(super) fn from_trailers(trailers: &HeaderMap) -> Option<BackendStatus> {
    let number = trailers.get(GRPC_STATUS)?;
    let code = number
        .to_str()
        .ok()
        .and_then(|text| text.parse::<i32>().ok())
        .map_or(Code::Unknown, Code::from_number);
    if code == Code::Ok {
        return Some(BackendStatus { code, message: String::new(), details: Vec::new() });
    }
    let mut message =
        trailers.get(GRPC_MESSAGE).map(|text| percent_decode(text.as_bytes())).unwrap_or_default();
    let status = trailers
        .get(GRPC_DETAILS)
        .and_then(|text| BASE64.decode(text.as_bytes()).ok())
        .and_then(|wire| rpc::Status::decode(&wire[..]).ok());
    let mut details = Vec::new();
    if let Some(status) = status {
        details = status::details(&status);
        if message.is_empty() {
            message = status.message;
        }
    }
    Some(BackendStatus { code, message, details })
}

/// The status of an answer that is not gRPC, as every gRPC client maps it.
pub(super) fn from_http(status: StatusCode) -> BackendStatus {
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    BackendStatus {
        code,
        message: format!("HTTP status {status} instead of a gRPC answer"),
        details: Vec::new(),
    }
}

/// The value of `grpc-timeout`: at most eight digits and a unit, never more than what is left.
pub(super) fn timeout_value(left: Duration) -> HeaderValue {
    const DIGITS: u128 = 100_000_000;
    let text = match left.as_micros() {
        micros if micros < DIGITS => format!("{micros}u"),
        micros if micros / 1000 < DIGITS => format!("{}m", micros / 1000),
        micros => format!("{}S", (micros / 1_000_000).min(DIGITS - 1)),
    };
    HeaderValue::try_from(text).expect("digits and a letter are a header value")
}

/// `grpc-message` is percent-encoded UTF-8. What does not decode stays as it is: a text is never a reason to fail.
fn percent_decode(text: &[u8]) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], hex(text.get(at + 1)), hex(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_are_percent_decoded() {
        for (wire, text) in [
            ("plain", "plain"),
            ("50%25 off", "50% off"),
            ("%C3%BC", "ü"),
            ("%", "%"),
            ("%2", "%2"),
            ("%zz", "%zz"),
        ] {
            assert_eq!(percent_decode(wire.as_bytes()), text);
        }
        assert_eq!(percent_decode(b"%FF"), "\u{fffd}");
    }

    #[test]
    fn timeouts_keep_within_eight_digits() {
        for (left, text) in [
            (Duration::ZERO, "0u"),
            (Duration::from_millis(1500), "1500000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::MAX, "99999999S"),
        ] {
            assert_eq!(timeout_value(left), text);
        }
    }

    #[test]
    fn a_number_that_grpc_does_not_define_is_unknown() {
        for text in ["17", "-1", "abc", ""] {
            let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static(text))]);
            assert_eq!(from_trailers(&trailers).unwrap().code, Code::Unknown);
        }
        assert!(from_trailers(&HeaderMap::new()).is_none());
    }

    #[test]
    fn undecodable_details_do_not_hide_the_status() {
        let trailers = HeaderMap::from_iter([
            (GRPC_STATUS, HeaderValue::from_static("5")),
            (GRPC_MESSAGE, HeaderValue::from_static("gone")),
            (GRPC_DETAILS, HeaderValue::from_static("///")),
        ]);
        let status = from_trailers(&trailers).unwrap();
        assert_eq!((status.code, status.message.as_str(), status.details.len()), (Code::NotFound, "gone", 0));
    }

    #[test]
    fn http_statuses_map_as_grpc_says() {
        for (http, code) in [
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (429, Code::Unavailable),
            (500, Code::Unknown),
            (502, Code::Unavailable),
            (503, Code::Unavailable),
            (504, Code::Unavailable),
            (418, Code::Unknown),
        ] {
            assert_eq!(from_http(StatusCode::from_u16(http).unwrap()).code, code);
        }
    }
}
