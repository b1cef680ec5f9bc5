//! The one place where an error becomes a response.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kubridge_bridge::status::ApiError;
use serde::Serialize;

use crate::{
    body::{self, Body},
    proxy::warning_header,
    telemetry::Reason,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// How documents are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Over several lines.
    pub pretty: bool,
}

impl Style {
    /// `?pretty=` decides; without it, people's clients get it pretty (as Kubernetes does).
    pub fn of(query: &str, headers: &HeaderMap) -> Self {
        let asked =
            query.split('&').find_map(|pair| pair.strip_prefix("pretty=")).filter(|value| !value.is_empty());
        let pretty = match asked {
            Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
            None => {
                headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).is_some_and(|agent| {
                    agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0")
                })
            }
        };
        Self { pretty }
    }
}

/// The response to a failed request: its `metav1.Status`. What only the log is told goes there, with the audit id.
pub fn error_response(error: &ApiError, audit_id: &str, style: Style) -> Response<Body> {
    let code = StatusCode::from_u16(error.status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = Reason::of_status(code.as_u16()).map(Reason::as_str);
    let status = &error.status;
    match &error.log {
        Some(log) if code.is_server_error() => {
            tracing::warn!(
                audit_id,
                reason,
                code = code.as_u16(),
                message = status.message,
                log,
                "request failed"
            );
        }
        Some(log) => tracing::debug!(audit_id, reason, code = code.as_u16(), log, "request refused"),
        None => {}
    }
    let mut response = json(code, &*error.status, style);
    let headers = response.headers_mut();
    if let Some(after) = error.retry_after {
        headers.insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    for warning in error.warnings.iter().filter_map(|text| warning_header(text).ok()) {
        headers.append(header::WARNING, warning);
    }
    if code == StatusCode::FORBIDDEN {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

/// A JSON document, with the line feed that Kubernetes ends it with.
pub(super) fn json(code: StatusCode, document: &impl Serialize, style: Style) -> Response<Body> {
    let text = if style.pretty { serde_json::to_vec_pretty(document) } else { serde_json::to_vec(document) };
    let mut text = text.expect("documents made here have string keys and finite numbers");
    text.push(b'\n');
    typed(code, JSON, text)
}

/// Plain text.
pub(super) fn text(code: StatusCode, text: String) -> Response<Body> {
    let mut response = typed(code, TEXT, text.into_bytes());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Any bytes.
pub(super) fn typed(code: StatusCode, content_type: HeaderValue, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pretty(query: &str, agent: &str) -> bool {
        let headers = [(header::USER_AGENT, agent.parse().unwrap())].into_iter().collect();
        Style::of(query, &headers).pretty
    }

    #[test]
    fn people_get_it_pretty_and_programs_do_not() {
        assert!(pretty("", "curl/8.0"));
        assert!(pretty("pretty=", "Mozilla/5.0 (X11)"));
        assert!(pretty("limit=1&pretty=true", "kubectl/v1.36.2"));
        assert!(!pretty("", "kubectl/v1.36.2"));
        assert!(!pretty("pretty=false", "curl/8.0"));
        assert!(!pretty("notpretty=true", "kubectl/v1.36.2"));
    }

    #[test]
    fn retry_after_only_where_the_error_says_so() {
        let error = ApiError::service_unavailable("no");
        let response = error_response(&error, "id", Style::default());
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
        let error = error.with_retry_after(std::time::Duration::from_secs(3));
        let response = error_response(&error, "id", Style::default());
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }
}
