//! One document in the forms that clients ask for. JSON and protobuf are there from the start; what is seldom asked
//! for (YAML, indented JSON, gzip) is made when it first is, and kept.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kubridge_bridge::{
    discovery_doc::Encoded,
    negotiate::{DocumentEncoding, json_to_yaml, pretty_json},
    status::ApiError,
};

use crate::body::{self, Body, etag, gzip};

#[derive(Debug)]
pub(super) struct Document {
    /// Of an aggregated document.
    etag: Option<HeaderValue>,
    json: Form,
    protobuf: Form,
    yaml: OnceLock<Form>,
    pretty: OnceLock<Form>,
}

#[derive(Debug)]
struct Form {
    bytes: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Document {
    /// The known document, with all that was made of it, where it says the same; otherwise a new one. An aggregated
    /// document has an ETag, with its quotes.
    pub(super) fn kept(known: Option<&Arc<Self>>, encoded: Encoded, etag: Option<&str>) -> Arc<Self> {
        let Encoded { mut json, protobuf } = encoded;
        // As Go's encoder ends a document.
        json.push(b'\n');
        match known {
            Some(known) if known.json.bytes == json => Arc::clone(known),
            _ => Arc::new(Self {
                etag: etag.map(|etag| etag.parse().expect("hexadecimal in quotes is the value of a header")),
                json: Form::new(json),
                protobuf: Form::new(protobuf),
                yaml: OnceLock::new(),
                pretty: OnceLock::new(),
            }),
        }
    }

    pub(super) fn response(
        &self,
        encoding: DocumentEncoding,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, ApiError> {
        if let Some(etag) = self.etag.as_ref().filter(|etag| etag::matches(headers, etag)) {
            let mut response = Response::new(body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            cacheable(response.headers_mut(), etag);
            return Ok(response);
        }
        let form = self.form(encoding)?;
        let long = form.bytes.len() > gzip::THRESHOLD;
        let compressed = long && gzip::accepted(headers);
        let bytes = if compressed { form.gzip() } else { form.bytes.clone() };
        let mut response = Response::new(body::full(bytes));
        let out = response.headers_mut();
        out.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(content_type(encoding, self.etag.is_some())),
        );
        if let Some(etag) = &self.etag {
            cacheable(out, etag);
        }
        if long {
            out.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if compressed {
            out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    }

    fn form(&self, encoding: DocumentEncoding) -> Result<&Form, ApiError> {
        match encoding {
            DocumentEncoding::Json => Ok(&self.json),
            DocumentEncoding::Protobuf => Ok(&self.protobuf),
            DocumentEncoding::PrettyJson => {
                Ok(self.pretty.get_or_init(|| Form::new(pretty_json(self.json.bytes.trim_ascii_end()))))
            }
            DocumentEncoding::Yaml => match self.yaml.get() {
                Some(form) => Ok(form),
                None => {
                    let form = Form::new(json_to_yaml(&self.json.bytes)?);
                    Ok(self.yaml.get_or_init(|| form))
                }
            },
        }
    }
}

impl Form {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), gzip: OnceLock::new() }
    }

    fn gzip(&self) -> Bytes {
        self.gzip.get_or_init(|| gzip::compress(&self.bytes).into()).clone()
    }
}

/// What an aggregated document says of itself, with 304 too.
fn cacheable(headers: &mut HeaderMap, etag: &HeaderValue) {
    headers.insert(header::ETAG, etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
}

fn content_type(encoding: DocumentEncoding, aggregated: bool) -> &'static str {
    match (encoding, aggregated) {
        (DocumentEncoding::Json | DocumentEncoding::PrettyJson, false) => "application/json",
        (DocumentEncoding::Yaml, false) => "application/yaml",
        (DocumentEncoding::Protobuf, false) => "application/vnd.kubernetes.protobuf",
        (DocumentEncoding::Json | DocumentEncoding::PrettyJson, true) => {
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        }
        (DocumentEncoding::Yaml, true) => {
            "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        }
        (DocumentEncoding::Protobuf, true) => {
            "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        }
    }
}
