//! `/livez`, `/readyz`, `/healthz`: `ok`, or each check on a line of its own.

use http::{Response, StatusCode};
use kubridge_bridge::status::ApiError;

use super::respond;
use crate::{body::Body, lifecycle::Lifecycle};

/// Answers `path` (one of the three, or one check below it); `None` when it is none of them.
pub(super) fn serve(
    lifecycle: &Lifecycle,
    path: &str,
    query: &str,
) -> Option<Result<Response<Body>, ApiError>> {
    let (endpoint, check) = match path.strip_prefix('/')?.split_once('/') {
        Some((endpoint, check)) => (endpoint, Some(check)),
        None => (&path[1..], None),
    };
    let mut checks: Vec<(Box<str>, bool)> = vec![("ping".into(), true)];
    match endpoint {
        // A process that is stopping or waiting is alive: to restart it would help nobody.
        "livez" | "healthz" => {}
        "readyz" => checks.extend(lifecycle.readiness()),
        _ => return None,
    }
    Some(match check {
        None => Ok(report(endpoint, &checks, query)),
        Some(name) => match checks.iter().find(|(known, _)| **known == *name) {
            Some(check) => Ok(report(endpoint, std::slice::from_ref(check), query)),
            None => Err(ApiError::generic_not_found_path()),
        },
    })
}

fn report(endpoint: &str, checks: &[(Box<str>, bool)], query: &str) -> Response<Body> {
    let parameters = || query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let excluded = |name: &str| parameters().any(|(key, value)| key == "exclude" && value == name);
    let passed = checks.iter().all(|(name, ok)| *ok || excluded(name));
    if passed && !parameters().any(|(key, _)| key == "verbose") {
        return respond::text(StatusCode::OK, "ok".into());
    }
    let mut text = String::new();
    for (name, ok) in checks {
        let line = match (excluded(name), ok) {
            (true, _) => format!("[+]{name} excluded: ok\n"),
            (false, true) => format!("[+]{name} ok\n"),
            (false, false) => format!("[-]{name} failed: reason withheld\n"),
        };
        text.push_str(&line);
    }
    if passed {
        respond::text(StatusCode::OK, format!("{text}{endpoint} check passed\n"))
    } else {
        respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{text}{endpoint} check failed\n"))
    }
}
