//! Paths that a backend might read otherwise than authorization did.
//!
//! A path is passed on as it was sent. Whoever removes `.` and `..`, joins slashes or decodes twice would find another
//! namespace or resource in it than the one that the user may see. No name of Kubernetes' needs such a path: `.`, `..`,
//! and what has `/` or `%` in it, names nothing (`k8s.io/apimachinery`, `IsValidPathSegmentName`).

use kubridge_bridge::{request_info::RequestInfo, status::ApiError};

/// Refuses a path with `..` anywhere, and one of a resource with something up to the object's name that is no name. What
/// follows the name is the backend's own.
///
/// # Errors
/// 400.
pub(super) fn refuse_ambiguity(info: &RequestInfo) -> Result<(), ApiError> {
    // A backslash is a slash to some.
    let climbs = info.path.split(['/', '\\']).any(|segment| segment == "..");
    let segments = info.path.trim_matches('/').split('/');
    let count = if info.is_resource_request { segments.clone().count() - below_the_name(info) } else { 0 };
    let is_no_name = |segment: &str| matches!(segment, "" | ".") || segment.contains('%');
    if climbs || segments.take(count).any(is_no_name) {
        return Err(ApiError::bad_request(
            "the path can be read in two ways: write it without empty segments, \".\", \"..\" and escaped percent \
             signs",
        ));
    }
    Ok(())
}

/// How many segments follow the object's name.
fn below_the_name(info: &RequestInfo) -> usize {
    match (info.subresource.is_empty(), info.rest.is_empty()) {
        (true, true) => 0,
        (false, true) => 1,
        // Two slashes in a row have an empty subresource between them.
        (_, false) => 1 + info.rest.split('/').count(),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn is_refused(path: &str) -> bool {
        refuse_ambiguity(&RequestInfo::new(&Method::GET, path, "")).is_err()
    }

    #[test]
    fn what_others_may_read_otherwise_is_refused() {
        for path in [
            "/apis/g.io/v1/../v2/echoes",
            "/apis/g.io/v1/namespaces/mine/../theirs/echoes",
            "/apis/g.io/v1/namespaces/mine/%2e%2e/theirs/echoes",
            "/apis/g.io/v1/namespaces/mine%2f..%2Ftheirs/echoes",
            "/apis/g.io/v1/namespaces/./echoes",
            "/apis/g.io/v1/namespaces//mine/echoes",
            "/apis/g.io/v1//namespaces/mine/echoes",
            "/apis/g.io//v1/echoes",
            "/apis//g.io/v1/echoes",
            "/apis/g.io/v1/echoes//x",
            "/apis/g.io/v1/echoes/%252e%252e/x",
            "/apis/g.io/v1/echoes/x/proxy/../../y",
            "/apis/g.io/v1/echoes/x/proxy/..\\y",
            "/apis/g.io/v1/watch/../echoes",
            "/apis/g.io/v1/watch//echoes",
            "/apis/g.io/v1/echoes/..",
        ] {
            assert!(is_refused(path), "{path}");
        }
    }

    #[test]
    fn what_is_below_a_name_is_the_backends() {
        for path in [
            "/apis/g.io/v1/echoes",
            "/apis/g.io/v1/echoes/",
            "//apis/g.io/v1/echoes//",
            "/apis/g.io/v1/echoes/x",
            "/apis/g.io/v1/namespaces/n/echoes/x%3Ay",
            "/apis/g.io/v1/namespaces/n/echoes/x/log",
            "/apis/g.io/v1/echoes/x/proxy/a//b/./%2F/%25/c...d",
            "/apis/g.io/v1/echoes/x//y",
            "/apis/g.io/v1/watch",
            "/apis/g.io/v1/watch/echoes",
            "/logs//a/./b",
            "/",
        ] {
            assert!(!is_refused(path), "{path}");
        }
    }
}
