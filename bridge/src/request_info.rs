//! Method and path -> what is asked of which resource (k8s.io/apiserver's RequestInfo).

use http::Method;
use percent_encoding::percent_decode_str;

use crate::{options::Query, selector::FieldSelector};

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// False for `/healthz`, `/apis`, `/openapi/...` and every path that names no resource.
    pub is_resource_request: bool,
    /// get, list, watch, create, update, patch, delete, deletecollection; for other paths the HTTP method in lower case.
    pub verb: String,
    /// "api" or "apis".
    pub api_prefix: String,
    /// Empty for the core group.
    pub api_group: String,
    /// "v1".
    pub api_version: String,
    /// Empty: all namespaces, or cluster-scoped.
    pub namespace: String,
    /// The plural name.
    pub resource: String,
    /// "status"; empty: the object itself.
    pub subresource: String,
    /// The object's name. A list or watch whose fieldSelector asks for one `metadata.name` has it here too:
    /// authorization looks at it.
    pub name: String,
    /// Whatever follows the subresource.
    pub rest: String,
    /// The path, decoded.
    pub path: String,
}

impl RequestInfo {
    /// Reads method, path (as sent) and query (without `?`). Never fails: what names no resource is no resource
    /// request. Escapes are decoded before the path is split, as Kubernetes does, so `%2F` separates.
    pub fn new(method: &Method, path: &str, query: &str) -> Self {
        let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let verb = method.as_str().to_ascii_lowercase();
        let mut info = Self { verb, ..Self::default() };
        info.read_path(method, &path, query);
        info.path = path;
        info
    }

    fn read_path(&mut self, method: &Method, path: &str, query: &str) {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (prefix, group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("api", "", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => ("apis", *group, *version, rest),
            ["api", _, ..] | ["apis", _, _, ..] if parts.len() >= 3 => {
                self.api_prefix = parts[0].into();
                return;
            }
            _ => return,
        };
        self.api_prefix = prefix.into();
        let (verb, rest) = match rest {
            // The old way to watch (and to proxy): `/watch/` before the namespace.
            ["watch" | "proxy"] => return,
            [special @ ("watch" | "proxy"), rest @ ..] => (*special, rest),
            rest => (verb_of(method), rest),
        };
        self.is_resource_request = true;
        self.api_group = group.into();
        self.api_version = version.into();
        self.verb = verb.into();
        self.read_resource(rest);
        if self.name.is_empty() && self.verb == "get" {
            self.read_collection(query);
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection".into();
        }
    }

    fn read_resource(&mut self, parts: &[&str]) {
        let parts = match parts {
            // The namespace itself, or one of its own subresources.
            ["namespaces", namespace] | ["namespaces", namespace, "status" | "finalize", ..] => {
                self.namespace = (*namespace).into();
                parts
            }
            ["namespaces", namespace, rest @ ..] => {
                self.namespace = (*namespace).into();
                rest
            }
            _ => parts,
        };
        let part = |i: usize| parts.get(i).copied().unwrap_or_default().to_owned();
        self.resource = part(0);
        self.name = part(1);
        if self.verb != "proxy" {
            self.subresource = part(2);
            self.rest = parts.get(3..).unwrap_or_default().join("/");
        }
    }

    fn read_collection(&mut self, query: &str) {
        let query = Query::parse(query);
        self.verb = if query.flag("watch") { "watch" } else { "list" }.into();
        // A selector that cannot be read is answered later, by the options.
        let selector = query.get("fieldSelector").and_then(|text| FieldSelector::parse(text).ok());
        let name = selector.as_ref().and_then(|s| s.requires_exact_match("metadata.name"));
        if let Some(name) = name.filter(|name| is_path_segment(name)) {
            self.name = name.into();
        }
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn is_path_segment(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '%'])
}

#[cfg(test)]
mod tests;
