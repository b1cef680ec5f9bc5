//! `/kubridge/describe/apis/GROUP/VERSION`: what is served by a schema, which method does what, and what is made here.
//! What `kubridge describe` reads of an aggregator; clients find everything else in discovery and OpenAPI.

use http::{Response, StatusCode};
use kubridge_bridge::{describe::ApiFacts, status::ApiError};

use super::respond::{self, Style};
use crate::{body::Body, proxy::Proxy};

/// What stands before `/apis/GROUP/VERSION`, or `/api/VERSION` of the core group.
pub const PATH: &str = "/kubridge/describe";

/// Answers with [`ApiFacts`] in JSON. `path` begins with [`PATH`].
pub(super) fn serve(proxy: &Proxy, path: &str) -> Result<Response<Body>, ApiError> {
    let segments: Vec<&str> = path.strip_prefix(PATH).unwrap_or_default().split('/').collect();
    let (group, version) = match segments.as_slice() {
        ["", "apis", group, version] => (*group, *version),
        ["", "api", version] => ("", *version),
        _ => return Err(ApiError::generic_not_found_path()),
    };
    let api = proxy.api(group, version)?;
    Ok(respond::json(StatusCode::OK, &ApiFacts::of_api(&api), Style::default()))
}
