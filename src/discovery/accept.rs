//! Which form of a discovery document a client accepts.

use http::{HeaderMap, header};
use kubridge_bridge::status::ApiError;

/// The forms of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The legacy JSON.
    Plain,
    /// `apidiscovery.k8s.io/v2`.
    Aggregated,
}

/// The first form in the client's order that exists. Kubernetes ignores q-values here, and so do clients.
///
/// # Errors
/// 406 where none does.
pub(super) fn choose(headers: &HeaderMap, aggregated: bool) -> Result<Form, ApiError> {
    let mut any = false;
    for value in headers.get_all(header::ACCEPT) {
        for clause in value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|c| !c.is_empty()) {
            any = true;
            if let Some(form) = form(clause)
                && (aggregated || form == Form::Plain)
            {
                return Ok(form);
            }
        }
    }
    if any { Err(ApiError::not_acceptable(&["application/json"])) } else { Ok(Form::Plain) }
}

fn form(clause: &str) -> Option<Form> {
    let mut parts = clause.split(';').map(str::trim);
    let media = parts.next()?;
    if !["application/json", "application/*", "*/*"].contains(&media) {
        return None;
    }
    let (mut kind, mut group, mut version) = (None, None, None);
    for parameter in parts {
        match parameter.split_once('=') {
            Some(("as", value)) => kind = Some(value),
            Some(("g", value)) => group = Some(value),
            Some(("v", value)) => version = Some(value),
            _ => {}
        }
    }
    match (kind, group, version) {
        (None, ..) => Some(Form::Plain),
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => Some(Form::Aggregated),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_exists() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        let cases = [
            ("", true, Some(Form::Plain)),
            ("*/*", true, Some(Form::Plain)),
            (v2, true, Some(Form::Aggregated)),
            (&format!("{v2},{v2beta1},application/json"), true, Some(Form::Aggregated)),
            (&format!("{v2},application/json"), false, Some(Form::Plain)),
            (&format!("{v2beta1},application/json"), true, Some(Form::Plain)),
            (v2beta1, true, None),
            ("application/vnd.kubernetes.protobuf, application/json", true, Some(Form::Plain)),
            ("text/html", true, None),
        ];
        for (accept, aggregated, expected) in cases {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(choose(&headers, aggregated).ok(), expected, "{accept}");
        }
    }
}
