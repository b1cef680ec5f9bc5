//! What a request asks for, in the words of Kubernetes' metrics.

use http::{HeaderMap, Method, header};
use kubridge_bridge::request_info::RequestInfo;

/// What is counted of a request's head.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub(super) info: Option<&'a RequestInfo>,
    pub(super) verb: Verb,
    pub(super) scope: Scope,
    pub(super) dry_run: DryRun,
}

impl<'a> Asked<'a> {
    /// Reads a request's head.
    pub fn new(info: &'a RequestInfo, method: &Method, query: &str, headers: &HeaderMap) -> Self {
        let scope = Scope::of(info);
        Self { info: Some(info), verb: Verb::of(info, method, headers), scope, dry_run: DryRun::of(query) }
    }

    /// Of a request that was refused before it was known what it asks for.
    pub fn unread(method: &Method) -> Self {
        Self { info: None, verb: Verb::of_method(method), scope: Scope::None, dry_run: DryRun::No }
    }
}

/// The label `verb`: methods, but LIST, WATCH, APPLY and CONNECT are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Watch,
    Post,
    Put,
    Patch,
    Apply,
    Delete,
    Connect,
    Other,
}

impl Verb {
    pub(super) const ALL: [Self; 10] = [
        Self::Get,
        Self::List,
        Self::Watch,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Apply,
        Self::Delete,
        Self::Connect,
        Self::Other,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::List => "LIST",
            Self::Watch => "WATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Apply => "APPLY",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Other => "other",
        }
    }

    fn of_method(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Get,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }

    fn of(info: &RequestInfo, method: &Method, headers: &HeaderMap) -> Self {
        if !info.is_resource_request {
            return Self::of_method(method);
        }
        if matches!(info.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy") {
            return Self::Connect;
        }
        match info.verb.as_str() {
            "list" => Self::List,
            "watch" => Self::Watch,
            "patch" if is_apply(headers) => Self::Apply,
            _ => Self::of_method(method),
        }
    }
}

fn is_apply(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/apply-patch"))
}

/// The label `scope`: how much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    None,
    Cluster,
    Namespace,
    Resource,
}

impl Scope {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Cluster, Self::Namespace, Self::Resource];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Cluster => "cluster",
            Self::Namespace => "namespace",
            Self::Resource => "resource",
        }
    }

    fn of(info: &RequestInfo) -> Self {
        // A list that is narrowed to one name by a field selector is a list.
        let is_collection = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection");
        match () {
            () if !info.is_resource_request => Self::None,
            () if !is_collection && (!info.name.is_empty() || info.verb == "create") => Self::Resource,
            () if !info.namespace.is_empty() => Self::Namespace,
            () => Self::Cluster,
        }
    }
}

/// The label `dry_run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DryRun {
    No,
    All,
    Invalid,
}

impl DryRun {
    pub(super) const ALL: [Self; 3] = [Self::No, Self::All, Self::Invalid];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::No => "",
            Self::All => "All",
            Self::Invalid => "invalid",
        }
    }

    fn of(query: &str) -> Self {
        match query.split('&').find_map(|pair| pair.strip_prefix("dryRun=")) {
            None => Self::No,
            Some("All") => Self::All,
            Some(_) => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, path: &str, query: &str, content_type: &str) -> [&'static str; 3] {
        let info = RequestInfo::new(method, path, query);
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
        let asked = Asked::new(&info, method, query, &headers);
        [asked.verb.as_str(), asked.scope.as_str(), asked.dry_run.as_str()]
    }

    #[test]
    fn the_words_are_those_of_kubernetes() {
        const ONE: &str = "/apis/g/v1/namespaces/default/machines/a";
        const ALL: &str = "/apis/g/v1/namespaces/default/machines";
        let json = "application/json";
        for (method, path, query, content_type, want) in [
            (&Method::GET, ONE, "", json, ["GET", "resource", ""]),
            (&Method::HEAD, ONE, "", json, ["GET", "resource", ""]),
            (&Method::GET, ALL, "", json, ["LIST", "namespace", ""]),
            (&Method::GET, ALL, "fieldSelector=metadata.name%3Da", json, ["LIST", "namespace", ""]),
            (&Method::GET, "/apis/g/v1/machines", "watch=1", json, ["WATCH", "cluster", ""]),
            (&Method::POST, ALL, "dryRun=All", json, ["POST", "resource", "All"]),
            (&Method::PUT, ONE, "dryRun=Some", json, ["PUT", "resource", "invalid"]),
            (&Method::PATCH, ONE, "", "application/merge-patch+json", ["PATCH", "resource", ""]),
            (&Method::PATCH, ONE, "", "application/apply-patch+yaml", ["APPLY", "resource", ""]),
            (&Method::DELETE, ONE, "", json, ["DELETE", "resource", ""]),
            (&Method::DELETE, ALL, "", json, ["DELETE", "namespace", ""]),
            (&Method::GET, "/apis/g/v1/namespaces/d/pods/a/log", "", json, ["CONNECT", "resource", ""]),
            (&Method::GET, "/healthz", "", json, ["GET", "", ""]),
            (&Method::OPTIONS, ONE, "", json, ["other", "resource", ""]),
        ] {
            assert_eq!(asked(method, path, query, content_type), want, "{method} {path}?{query}");
        }
    }
}
