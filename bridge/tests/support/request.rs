//! A request, as a server would hand it over.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use kubridge_bridge::{proto::UserInfo, request_info::RequestInfo, verbs::Request};

/// `target`: the path and, after a question mark, the query.
pub(crate) fn request(
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Request {
        info: RequestInfo::new(&method, path, query),
        method,
        query: query.into(),
        headers: map,
        body: body.into(),
        user: Arc::new(UserInfo::default()),
    }
}
