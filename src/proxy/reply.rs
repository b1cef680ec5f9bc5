//! The bridge's answer as an HTTP response.

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kubridge_bridge::{
    status::ApiError,
    verbs::{self, Reply},
};

use super::gzip;
use crate::{
    body::{self, Body, BodyError},
    brown_out::Told,
    lifecycle::Drain,
};

/// What of the request decides how the answer is sent.
#[derive(Debug)]
pub(super) struct Shape {
    /// Of a watch: its stream ends cleanly when the aggregator stops (a list's must not).
    pub(super) drain: Option<Drain>,
    /// Its stream is a list: a document, so that it may be compressed.
    pub(super) list: bool,
    /// The client reads gzip.
    pub(super) gzip: bool,
}

/// The response.
///
/// # Errors
/// A list broke off before it was decided how it is sent.
pub(super) async fn response(reply: Reply, shape: &Shape) -> Result<Response<Body>, ApiError> {
    let mut compressed = false;
    let body = match reply.body {
        verbs::Body::Whole(bytes) if shape.gzip && bytes.len() > gzip::THRESHOLD => {
            compressed = true;
            streamed(gzip::compress(gzip::pieces(bytes)))
        }
        verbs::Body::Whole(bytes) => body::full(bytes),
        verbs::Body::Stream(stream) => match &shape.drain {
            Some(drain) => streamed(stream.take_until(drain.draining_owned())),
            None if shape.list && shape.gzip => match beginning(stream).await? {
                Beginning::Short(whole) => body::full(whole),
                Beginning::Long(stream) => {
                    compressed = true;
                    streamed(gzip::compress(stream))
                }
            },
            None => streamed(stream),
        },
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if let Ok(value) = HeaderValue::try_from(reply.content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    for warning in &reply.warnings {
        if let Ok(value) = warning_header(warning) {
            headers.append(header::WARNING, value);
        }
    }
    Ok(response)
}

/// Says of an answer that it was made in the backend's place: why, and how old it is (RFC 9111, 5.1).
pub(super) fn tell(response: &mut Response<Body>, told: &Told) {
    let Told::Answered { warning, age } = told else { return };
    let headers = response.headers_mut();
    if let Ok(value) = warning_header(warning) {
        headers.append(header::WARNING, value);
    }
    if let Some(age) = age {
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    }
}

/// Says in an error why nothing was answered in the backend's place.
pub(super) fn with_why(mut error: ApiError, why: &str) -> ApiError {
    error.status.message = format!("{}, and nothing is answered in its place: {why}", error.status.message);
    error
}

enum Beginning {
    /// That was all.
    Short(Bytes),
    /// More than is sent as it is; the stream from its start.
    Long(BoxStream<'static, Result<Bytes, ApiError>>),
}

/// Reads so much of a list as it takes to know whether it is worth compressing.
async fn beginning(mut stream: BoxStream<'static, Result<Bytes, ApiError>>) -> Result<Beginning, ApiError> {
    let (mut read, mut length) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        length += chunk.len();
        read.push(chunk);
        if length > gzip::THRESHOLD {
            return Ok(Beginning::Long(stream::iter(read.into_iter().map(Ok)).chain(stream).boxed()));
        }
    }
    Ok(Beginning::Short(read.concat().into()))
}

fn streamed(chunks: impl stream::Stream<Item = Result<Bytes, ApiError>> + Send + 'static) -> Body {
    // The status line is long gone: a reset is all that can be said. The log has the reason.
    let frames = chunks.map(|chunk| chunk.map(Frame::data).map_err(BodyError::from));
    BodyExt::map_err(StreamBody::new(frames), |error| error).boxed_unsync()
}

/// The Warning header: RFC 9111's warn-code 299 and a quoted text, as Kubernetes sends it.
///
/// # Errors
/// Never: what no header may have is a space.
pub fn warning_header(text: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut quoted = String::with_capacity(text.len() + 10);
    quoted.push_str("299 - \"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    HeaderValue::from_bytes(quoted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_never_break_a_header() {
        let value = warning_header("unknown field \"spec.a\\b\"\r\nX: y").unwrap();
        assert_eq!(value.to_str().unwrap(), r#"299 - "unknown field \"spec.a\\b\"  X: y""#);
    }

    #[tokio::test]
    async fn an_error_in_a_stream_is_an_error_of_the_body() {
        let chunks = stream::iter([Ok(Bytes::from_static(b"{")), Err(ApiError::timeout("too late"))]);
        let mut body = streamed(chunks);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
    }
}
