//! One document in the form in which it is sent, compressed once.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kubridge_bridge::discovery_doc;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::body::{self, Body, etag, gzip};

/// What is shorter is not compressed.
const SHORT: usize = 1400;
/// How long a document with its hash in the address is good.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One document. The default is none: it is not made yet.
#[derive(Debug, Clone)]
pub(super) struct Document {
    media: &'static str,
    body: Bytes,
    gzip: Option<Bytes>,
    hash: String,
    etag: HeaderValue,
    made: HeaderValue,
}

impl Default for Document {
    fn default() -> Self {
        let nothing = HeaderValue::from_static("");
        Self {
            media: "",
            body: Bytes::new(),
            gzip: None,
            hash: String::new(),
            etag: nothing.clone(),
            made: nothing,
        }
    }
}

impl Document {
    /// Hashes and compresses: milliseconds for a long one.
    pub(super) fn new(media: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = discovery_doc::hash(&body);
        Self::with_hash(media, body, hash)
    }

    /// Another form of a document: it has that one's hash, as in kube-apiserver. The forms differ by Accept.
    pub(super) fn with_hash(media: &'static str, body: impl Into<Bytes>, hash: String) -> Self {
        let body = body.into();
        let gzip = (body.len() >= SHORT).then(|| Bytes::from(gzip::compress(&body)));
        let etag = format!("\"{hash}\"").parse().expect("hexadecimal in quotes is the value of a header");
        Self { media, body, gzip, hash, etag, made: date(SystemTime::now()) }
    }

    /// SHA-512, in upper-case hexadecimal.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(super) fn is_made(&self) -> bool {
        !self.media.is_empty()
    }

    pub(super) fn is(&self, body: &[u8]) -> bool {
        self.is_made() && self.body == body
    }

    /// `immutable`: its hash is in the address; with that it never changes.
    pub(super) fn response(&self, headers: &HeaderMap, immutable: bool) -> Response<Body> {
        let known = etag::matches(headers, &self.etag);
        let compressed = self.gzip.as_ref().filter(|_| !known && gzip::accepted(headers));
        let body = match compressed {
            _ if known => body::empty(),
            Some(compressed) => body::full(compressed.clone()),
            None => body::full(self.body.clone()),
        };
        let mut response = Response::new(body);
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let out = response.headers_mut();
        if !known {
            out.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media));
            out.insert(header::LAST_MODIFIED, self.made.clone());
        }
        if compressed.is_some() {
            out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        out.insert(header::ETAG, self.etag.clone());
        let vary = if self.gzip.is_some() { "Accept, Accept-Encoding" } else { "Accept" };
        out.insert(header::VARY, HeaderValue::from_static(vary));
        if immutable {
            out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            out.insert(header::EXPIRES, date(SystemTime::now() + YEAR));
        } else {
            out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        }
        response
    }

    /// The document has changed since the client read the index.
    pub(super) fn redirect(&self, path: &str) -> Response<Body> {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let out = response.headers_mut();
        if let Ok(location) = HeaderValue::try_from(format!("{path}?hash={}", self.hash)) {
            out.insert(header::LOCATION, location);
        }
        // 301 may be kept by itself, and the next change moves it again.
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        response
    }
}

/// RFC 9110, 5.6.7.
fn date(at: SystemTime) -> HeaderValue {
    const FORMAT: &[BorrowedFormatItem<'_>] = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let text = OffsetDateTime::from(at).format(FORMAT).unwrap_or_default();
    HeaderValue::try_from(text).expect("a date is the value of a header")
}
