//! The body of every response, and the error that resets it.

pub mod etag;
pub mod gzip;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};

/// Why a body ended early. The text is for the log: the client sees a reset.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every response.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
