//! OpenAPI documents: made when something changes, served from memory.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kubridge_bridge::{discovery_doc, model::Api, openapi_doc, status::ApiError};

use crate::body::{self, Body};

/// The present documents of `/openapi/v2` and `/openapi/v3`.
#[derive(Debug, Default)]
pub struct OpenApi {
    documents: ArcSwap<Documents>,
}

#[derive(Debug, Default)]
struct Documents {
    v2: Option<Document>,
    v2_protobuf: Option<Document>,
    index: Option<Document>,
    /// By the path below `/openapi/v3/`: "apis/inventory.example.com/v1".
    v3: HashMap<String, Document>,
}

#[derive(Debug, Clone)]
struct Document {
    /// The API that it was made from: it is made anew only when that changes.
    api: Option<Arc<Api>>,
    media: &'static str,
    body: Bytes,
    hash: String,
}

const JSON: &str = "application/json";
/// client-go's `OpenAPISchema()` reads nothing else; an older spelling has an `@` for the second dot.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

impl OpenApi {
    /// Replaces the documents. What has not changed since the last time is not made again.
    pub fn publish(&self, apis: &[Arc<Api>]) {
        let present = self.documents.load();
        let mut v3 = HashMap::with_capacity(apis.len());
        for api in apis {
            let path = openapi_doc::path(&api.group, &api.version);
            let known =
                present.v3.get(&path).filter(|d| d.api.as_ref().is_some_and(|known| Arc::ptr_eq(known, api)));
            let document = known
                .cloned()
                .unwrap_or_else(|| Document::new(openapi_doc::document(api), Some(Arc::clone(api))));
            v3.insert(path, document);
        }
        let mut entries: Vec<(&str, &str)> =
            v3.iter().map(|(path, document)| (path.as_str(), document.hash.as_str())).collect();
        entries.sort_unstable();
        let index = Document::new(openapi_doc::index(entries), None);
        let v2 = Document::new(openapi_doc::v2(env!("CARGO_PKG_VERSION")), None);
        let v2_protobuf = Document {
            media: PROTOBUF,
            ..Document::new(openapi_doc::v2_protobuf(env!("CARGO_PKG_VERSION")), None)
        };
        self.documents.store(Arc::new(Documents {
            v2: Some(v2),
            v2_protobuf: Some(v2_protobuf),
            index: Some(index),
            v3,
        }));
    }

    /// Answers `GET path?query` (`/openapi/v2`, `/openapi/v3`, `/openapi/v3/apis/G/V`) from memory.
    ///
    /// # Errors
    /// 404 where there is no such document.
    pub fn serve(&self, path: &str, query: &str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let documents = self.documents.load();
        let document = match path.trim_end_matches('/') {
            "/openapi/v2" if wants_protobuf(headers) => documents.v2_protobuf.as_ref(),
            "/openapi/v2" => documents.v2.as_ref(),
            "/openapi/v3" => documents.index.as_ref(),
            other => other.strip_prefix("/openapi/v3/").and_then(|path| documents.v3.get(path)),
        };
        let document = document.ok_or_else(ApiError::generic_not_found_path)?;
        match query.split('&').find_map(|pair| pair.strip_prefix("hash=")) {
            Some(hash) if hash == document.hash => Ok(document.response(headers, true)),
            Some(_) if document.api.is_some() => Ok(document.redirect(path)),
            _ => Ok(document.response(headers, false)),
        }
    }
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|accept| {
        // The first that we have decides: quality values nobody sends here.
        let mut types = accept.split(',').map(|media| media.split(';').next().unwrap_or_default().trim());
        types.find(|media| matches!(*media, JSON | "*/*") || is_protobuf(media)).is_some_and(is_protobuf)
    })
}

fn is_protobuf(media: &str) -> bool {
    media.replace('@', ".") == PROTOBUF
}

impl Document {
    fn new(body: Vec<u8>, api: Option<Arc<Api>>) -> Self {
        let hash = discovery_doc::hash(&body);
        Self { api, media: JSON, body: body.into(), hash }
    }

    /// With the right hash in its address a document never changes.
    fn response(&self, headers: &HeaderMap, immutable: bool) -> Response<Body> {
        let etag = format!("\"{}\"", self.hash);
        let known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .any(|value| value.to_str().is_ok_and(|v| v.split(',').any(|tag| tag.trim() == etag)));
        let mut response = Response::new(if known { body::empty() } else { body::full(self.body.clone()) });
        let out = response.headers_mut();
        if !known {
            out.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media));
        }
        out.insert(header::ETAG, etag.parse().expect("hexadecimal in quotes is a header value"));
        out.insert(header::VARY, HeaderValue::from_static("Accept"));
        let cache = if immutable { "public, immutable, max-age=31536000" } else { "no-cache, private" };
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    }

    /// The document has changed since the client read the index.
    fn redirect(&self, path: &str) -> Response<Body> {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        if let Ok(location) = HeaderValue::try_from(format!("{path}?hash={}", self.hash)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(group: &str) -> Arc<Api> {
        Arc::new(Api { group: group.into(), version: "v1".into(), resources: Vec::new() })
    }

    #[test]
    fn a_document_with_its_hash_is_immutable_and_with_another_redirected() {
        let openapi = OpenApi::default();
        openapi.publish(&[api("a.example.com")]);
        let plain = openapi.serve("/openapi/v3/apis/a.example.com/v1", "", &HeaderMap::new()).unwrap();
        let etag = plain.headers()[header::ETAG].clone();
        let hash = etag.to_str().unwrap().trim_matches('"').to_owned();
        let path = "/openapi/v3/apis/a.example.com/v1";
        let right = openapi.serve(path, &format!("hash={hash}&timeout=32s"), &HeaderMap::new()).unwrap();
        assert!(right.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        let wrong = openapi.serve(path, "hash=00", &HeaderMap::new()).unwrap();
        assert_eq!(wrong.status(), 301);
        assert!(wrong.headers()[header::LOCATION].to_str().unwrap().ends_with(&hash));
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, etag)]);
        assert_eq!(openapi.serve(path, "", &known).unwrap().status(), 304);
    }

    #[test]
    fn what_has_not_changed_is_not_made_again() {
        let openapi = OpenApi::default();
        let a = api("a.example.com");
        openapi.publish(&[Arc::clone(&a)]);
        let before = openapi.documents.load().v3["apis/a.example.com/v1"].body.as_ptr();
        openapi.publish(&[a, api("b.example.com")]);
        let documents = openapi.documents.load();
        assert_eq!(documents.v3["apis/a.example.com/v1"].body.as_ptr(), before);
        assert_eq!(documents.v3.len(), 2);
    }

    #[test]
    fn openapi_v2_is_protobuf_for_those_who_ask_for_it() {
        let openapi = OpenApi::default();
        openapi.publish(&[]);
        let media = |accept: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            openapi.serve("/openapi/v2", "", &headers).unwrap().headers()[header::CONTENT_TYPE].clone()
        };
        assert_eq!(media("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"), PROTOBUF);
        assert_eq!(media("application/com.github.proto-openapi.spec.v2.v1.0+protobuf"), PROTOBUF);
        assert_eq!(media("application/json, */*"), JSON);
    }

    #[test]
    fn a_group_that_nobody_serves_has_none() {
        let openapi = OpenApi::default();
        openapi.publish(&[]);
        assert_eq!(
            openapi.serve("/openapi/v3/apis/x/v1", "", &HeaderMap::new()).unwrap_err().status.code,
            404
        );
        assert!(openapi.serve("/openapi/v2", "", &HeaderMap::new()).is_ok());
    }
}
