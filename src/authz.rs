//! Whether the caller may. The group system:masters may do everything, and health and version are public.
//!
//! Standalone everyone authenticated may find out what there is and who they are (Kubernetes' system:discovery and
//! system:basic-user), and the rest is what the mode says. In a cluster the API server is asked, where Roles that are known
//! here do not allow it already.

mod delegated;
mod rbac;
pub mod review;

use std::sync::Arc;

use kube::Client;
use kubridge_bridge::{proto::UserInfo, request_info::RequestInfo};

pub use delegated::Settings;

use crate::{
    cluster::{Rbac, Unanswered},
    config::AuthorizationMode,
};
use delegated::Delegated;

const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";

/// What is to be done, as `authorization.k8s.io` sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// False: `verb` and `path` say it all.
    pub is_resource: bool,
    /// "list"; for other paths the HTTP method in lower case.
    pub verb: &'a str,
    /// The API group.
    pub group: &'a str,
    /// "v1".
    pub version: &'a str,
    /// The plural name; `*`: all.
    pub resource: &'a str,
    /// Empty: the object itself.
    pub subresource: &'a str,
    /// Empty: all namespaces, or cluster-scoped.
    pub namespace: &'a str,
    /// Empty: all.
    pub name: &'a str,
    /// The path of what is no resource.
    pub path: &'a str,
}

impl<'a> From<&'a RequestInfo> for Attributes<'a> {
    fn from(info: &'a RequestInfo) -> Self {
        Self {
            is_resource: info.is_resource_request,
            verb: &info.verb,
            group: &info.api_group,
            version: &info.api_version,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            path: &info.path,
        }
    }
}

/// Whether, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether.
    pub allowed: bool,
    /// For `SelfSubjectAccessReview.status.reason`, and for who may not; empty when there is nothing to say.
    pub reason: Why,
}

/// A text that is copied often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// One of ours.
    Ours(&'static str),
    /// What the API server said, or would.
    Said(Arc<str>),
}

/// Decides.
#[derive(Debug, Clone)]
pub struct Authorizer {
    means: Means,
}

#[derive(Debug, Clone)]
enum Means {
    Standalone(AuthorizationMode),
    Cluster(Arc<Delegated>),
}

impl Authorizer {
    /// Standalone, of this mode.
    pub fn new(mode: AuthorizationMode) -> Self {
        Self { means: Means::Standalone(mode) }
    }

    /// In a cluster: the API server behind `client` decides what `rbac` does not allow.
    pub fn in_cluster(client: Client, settings: Settings, rbac: Option<Rbac>) -> Self {
        Self { means: Means::Cluster(Arc::new(Delegated::new(client, settings, rbac))) }
    }

    /// Whether who said nothing of themselves is asked to when they may not (401), instead of being told so (403). As in
    /// Kubernetes, who is nobody in a cluster has rights too.
    pub fn asks_who(&self) -> bool {
        matches!(self.means, Means::Standalone(_))
    }

    /// Whether `user` may do `what`.
    ///
    /// # Errors
    /// In a cluster: the API server does not say. Nobody may then.
    pub async fn authorize(&self, user: &UserInfo, what: &Attributes<'_>) -> Result<Decision, Unanswered> {
        let is = |group: &str| user.groups.iter().any(|g| g == group);
        if is(MASTERS) {
            return Ok(allow("the group system:masters may do everything"));
        }
        if is_public(what) {
            return Ok(allow("health and version are public"));
        }
        match &self.means {
            Means::Standalone(mode) => Ok(standalone(*mode, is(AUTHENTICATED), what)),
            Means::Cluster(cluster) => cluster.authorize(user, what).await,
        }
    }
}

impl Why {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ours(text) => text,
            Self::Said(text) => text,
        }
    }
}

fn standalone(mode: AuthorizationMode, is_authenticated: bool, what: &Attributes<'_>) -> Decision {
    if !is_authenticated {
        return Decision { allowed: false, reason: Why::Ours("") };
    }
    if mode == AuthorizationMode::AlwaysAllow {
        return allow("--authorization-mode=AlwaysAllow");
    }
    if is_discovery(what) {
        return allow("everyone who is authenticated may discover APIs");
    }
    if is_about_oneself(what) {
        return allow("everyone who is authenticated may ask about themselves");
    }
    Decision { allowed: false, reason: Why::Ours("") }
}

/// Why not, as Kubernetes says it: `User "x" cannot list resource "machines" in API group "g" in the namespace "n"`, and
/// behind a colon the reason, where there is one.
pub fn forbidden_message(user: &UserInfo, what: &Attributes<'_>, reason: &Why) -> String {
    let denied = cannot(user, what);
    match reason.as_str() {
        "" => denied,
        said => format!("{denied}: {said}"),
    }
}

fn cannot(user: &UserInfo, what: &Attributes<'_>) -> String {
    let Attributes { verb, group, resource, subresource, namespace, path, .. } = *what;
    let user = &user.username;
    if !what.is_resource {
        return format!("User {user:?} cannot {verb} path {path:?}");
    }
    let slash = if subresource.is_empty() { "" } else { "/" };
    let what = format!(
        "User {user:?} cannot {verb} resource \"{resource}{slash}{subresource}\" in API group {group:?}"
    );
    if namespace.is_empty() {
        format!("{what} at the cluster scope")
    } else {
        format!("{what} in the namespace {namespace:?}")
    }
}

fn allow(reason: &'static str) -> Decision {
    Decision { allowed: true, reason: Why::Ours(reason) }
}

// Kubernetes' system:public-info-viewer.
fn is_public(what: &Attributes<'_>) -> bool {
    !what.is_resource
        && matches!(what.verb, "get" | "head")
        && matches!(what.path, "/healthz" | "/livez" | "/readyz" | "/version" | "/version/")
}

// Kubernetes' system:discovery.
fn is_discovery(what: &Attributes<'_>) -> bool {
    let below = |root: &str| {
        what.path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    !what.is_resource && what.verb == "get" && ["/api", "/apis", "/openapi"].into_iter().any(below)
}

// Kubernetes' system:basic-user.
fn is_about_oneself(what: &Attributes<'_>) -> bool {
    what.is_resource
        && what.verb == "create"
        && what.subresource.is_empty()
        && matches!(
            (what.group, what.resource),
            ("authentication.k8s.io", "selfsubjectreviews")
                | ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews")
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use http::Method;

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        UserInfo { username: name.into(), groups, ..UserInfo::default() }
    }

    fn allowed(mode: AuthorizationMode, groups: &[&str], method: &Method, path: &str) -> bool {
        let info = RequestInfo::new(method, path, "");
        let (authorizer, user, what) = (Authorizer::new(mode), user("x", groups), Attributes::from(&info));
        let decided = authorizer.authorize(&user, &what).now_or_never().expect("nobody is asked");
        decided.is_ok_and(|decision| decision.allowed)
    }

    const UNAUTHENTICATED: &str = "system:unauthenticated";
    const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
    const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    const CAN_I: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

    #[test]
    fn the_matrix() {
        use AuthorizationMode::{AlwaysAllow, SystemMasters};
        let masters = &[MASTERS, AUTHENTICATED][..];
        let known = &["dev", AUTHENTICATED][..];
        let anonymous = &[UNAUTHENTICATED][..];
        // who: masters, known, anonymous, known under AlwaysAllow, anonymous under AlwaysAllow
        for (method, path, expected) in [
            (Method::GET, MACHINES, [true, false, false, true, false]),
            (Method::DELETE, MACHINES, [true, false, false, true, false]),
            (Method::GET, "/metrics", [true, false, false, true, false]),
            (Method::GET, "/livez", [true, true, true, true, true]),
            (Method::GET, "/readyz", [true, true, true, true, true]),
            (Method::GET, "/version", [true, true, true, true, true]),
            (Method::POST, "/version", [true, false, false, true, false]),
            (Method::GET, "/livez/ping", [true, false, false, true, false]),
            (Method::GET, "/apis", [true, true, false, true, false]),
            (Method::GET, "/apis/inventory.example.com/v1", [true, true, false, true, false]),
            (Method::GET, "/openapi/v3", [true, true, false, true, false]),
            (Method::GET, "/apisx", [true, false, false, true, false]),
            (Method::POST, "/apis", [true, false, false, true, false]),
            (Method::POST, WHOAMI, [true, true, false, true, false]),
            (Method::POST, CAN_I, [true, true, false, true, false]),
            (Method::GET, CAN_I, [true, false, false, true, false]),
        ] {
            let got = [
                allowed(SystemMasters, masters, &method, path),
                allowed(SystemMasters, known, &method, path),
                allowed(SystemMasters, anonymous, &method, path),
                allowed(AlwaysAllow, known, &method, path),
                allowed(AlwaysAllow, anonymous, &method, path),
            ];
            assert_eq!(got, expected, "{method} {path}");
        }
    }

    #[test]
    fn kubernetes_words() {
        let message = |method: &Method, path: &str| {
            let info = RequestInfo::new(method, path, "");
            forbidden_message(&user("x", &[]), &Attributes::from(&info), &Why::Ours(""))
        };
        assert_eq!(
            message(&Method::GET, MACHINES),
            "User \"x\" cannot list resource \"machines\" in API group \"inventory.example.com\" in the namespace \"default\""
        );
        assert_eq!(
            message(&Method::PUT, "/apis/g/v1/racks/a/status"),
            "User \"x\" cannot update resource \"racks/status\" in API group \"g\" at the cluster scope"
        );
        assert_eq!(message(&Method::GET, "/metrics"), "User \"x\" cannot get path \"/metrics\"");
    }
}
