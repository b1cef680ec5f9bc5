//! Whether the cluster's Roles let a caller in. They only ever allow: what they do not is for others to say.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::PolicyRule;
use kubridge_bridge::proto::UserInfo;

use super::Attributes;
use crate::cluster::rbac::Policy;

/// By which binding `user` may do `what`, in Kubernetes' words. `None`: by none of them.
pub(super) fn allowed_by(policy: &Policy, user: &UserInfo, what: &Attributes<'_>) -> Option<Arc<str>> {
    let namespace = if what.is_resource { what.namespace } else { "" };
    let mut grants = policy.grants(user, namespace);
    grants.find(|(_, rules)| rules.iter().any(|rule| allows(rule, what))).map(|(why, _)| Arc::clone(why))
}

/// As Kubernetes' RBAC reads a rule. Only verbs, groups, `*` and `*/SUBRESOURCE` are patterns, and the end of a path is.
fn allows(rule: &PolicyRule, what: &Attributes<'_>) -> bool {
    if !has(&rule.verbs, what.verb) {
        return false;
    }
    if !what.is_resource {
        return given(&rule.non_resource_urls).iter().any(|url| is_path(url, what.path));
    }
    let names = given(&rule.resource_names);
    has(given(&rule.api_groups), what.group)
        && given(&rule.resources).iter().any(|resource| is_resource(resource, what))
        && (names.is_empty() || names.iter().any(|name| name == what.name))
}

fn given(list: &Option<Vec<String>>) -> &[String] {
    list.as_deref().unwrap_or_default()
}

fn has(list: &[String], one: &str) -> bool {
    list.iter().any(|listed| listed == "*" || listed == one)
}

/// `*`: every resource and subresource; `pods`: without its subresources.
fn is_resource(pattern: &str, what: &Attributes<'_>) -> bool {
    if pattern == "*" {
        return true;
    }
    if what.subresource.is_empty() {
        return pattern == what.resource;
    }
    let of = |resource: &str| pattern.strip_prefix(resource).and_then(|rest| rest.strip_prefix('/'));
    [of("*"), of(what.resource)].contains(&Some(what.subresource))
}

/// Any number of `*` at its end stands for any rest.
fn is_path(pattern: &str, path: &str) -> bool {
    match pattern.trim_end_matches('*') {
        whole if whole.len() == pattern.len() => pattern == path,
        root => path.starts_with(root),
    }
}

#[cfg(test)]
mod tests;
