//! Whether the caller may, as the cluster's Roles say, or its API server in a SubjectAccessReview.

use std::{collections::BTreeMap, fmt, time::Duration};

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kubridge_bridge::proto::UserInfo;

use super::{Attributes, Decision, Why, rbac::allowed_by};
use crate::{
    cluster::{Rbac, Unanswered, review},
    memo::{Hasher, Key, Memo},
};

/// How long a permission is good that the kube-apiserver gave when it may not have seen yet that a Role or a binding is gone.
const ALLOWED_WHILE_SETTLING: Duration = Duration::from_millis(500);

/// How long answers of the API server are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Of who may.
    pub allowed: Duration,
    /// Of who may not.
    pub denied: Duration,
    /// How many are remembered.
    pub capacity: usize,
}

impl Default for Settings {
    /// As extension API servers have it.
    fn default() -> Self {
        Self { allowed: Duration::from_secs(10), denied: Duration::from_secs(10), capacity: 8192 }
    }
}

/// Looks at the Roles, if it may; asks the API server, and remembers.
pub(super) struct Delegated {
    client: Client,
    settings: Settings,
    rbac: Option<Rbac>,
    decisions: Memo<Decision, Unanswered>,
}

impl fmt::Debug for Delegated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delegated")
            .field("rbac", &self.rbac)
            .field("decisions", &self.decisions)
            .finish_non_exhaustive()
    }
}

impl Delegated {
    pub(super) fn new(client: Client, settings: Settings, rbac: Option<Rbac>) -> Self {
        Self { client, settings, rbac, decisions: Memo::new(settings.capacity) }
    }

    /// Allowed by a Role that is known here; else what the API server says, or has said a moment ago.
    pub(super) async fn authorize(
        &self,
        user: &UserInfo,
        what: &Attributes<'_>,
    ) -> Result<Decision, Unanswered> {
        let policy = self.rbac.as_ref().and_then(Rbac::current);
        if let Some(why) = policy.and_then(|policy| allowed_by(&policy, user, what)) {
            return Ok(Decision { allowed: true, reason: Why::Said(why) });
        }
        let ask = || {
            let (client, mut settings, question) = (self.client.clone(), self.settings, question(user, what));
            if self.rbac.as_ref().is_some_and(Rbac::is_settling) {
                settings.allowed = settings.allowed.min(ALLOWED_WHILE_SETTLING);
            }
            async move {
                let decision = decide(&client, &question).await?;
                let good = if decision.allowed { settings.allowed } else { settings.denied };
                Ok((decision, good))
            }
        };
        self.decisions.get(key(user, what), ask).await
    }
}

async fn decide(client: &Client, question: &SubjectAccessReview) -> Result<Decision, Unanswered> {
    let answer = review::ask(client, "SubjectAccessReview", question).await?;
    let status = answer.status.unwrap_or_default();
    if let Some(error) = status.evaluation_error.filter(|error| !error.is_empty()) {
        tracing::debug!(error, "the API server could not look at every rule");
    }
    // One that says both is not believed.
    let allowed = status.allowed && status.denied != Some(true);
    let reason = status.reason.map_or(Why::Ours(""), |reason| Why::Said(reason.into()));
    Ok(Decision { allowed, reason })
}

fn question(user: &UserInfo, what: &Attributes<'_>) -> SubjectAccessReview {
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let extra: BTreeMap<_, _> =
        user.extra.iter().map(|(key, value)| (key.clone(), value.items.clone())).collect();
    let mut spec = SubjectAccessReviewSpec {
        user: said(&user.username),
        uid: said(&user.uid),
        groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
        extra: (!extra.is_empty()).then_some(extra),
        ..SubjectAccessReviewSpec::default()
    };
    if what.is_resource {
        spec.resource_attributes = Some(ResourceAttributes {
            verb: said(what.verb),
            group: said(what.group),
            version: said(what.version),
            resource: said(what.resource),
            subresource: said(what.subresource),
            namespace: said(what.namespace),
            name: said(what.name),
            ..ResourceAttributes::default()
        });
    } else {
        spec.non_resource_attributes =
            Some(NonResourceAttributes { verb: said(what.verb), path: said(what.path) });
    }
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

/// Of all that the question says.
fn key(user: &UserInfo, what: &Attributes<'_>) -> Key {
    let Attributes { is_resource, verb, group, version, resource, subresource, namespace, name, path } =
        *what;
    let mut hasher = Hasher::default();
    hasher.count(usize::from(is_resource));
    for part in [verb, group, version, resource, subresource, namespace, name, path] {
        hasher.part(part.as_bytes());
    }
    hasher.part(user.username.as_bytes()).part(user.uid.as_bytes()).count(user.groups.len());
    for group in &user.groups {
        hasher.part(group.as_bytes());
    }
    let mut extra: Vec<_> = user.extra.iter().collect();
    extra.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in extra {
        hasher.part(key.as_bytes()).count(value.items.len());
        for item in &value.items {
            hasher.part(item.as_bytes());
        }
    }
    hasher.key()
}

#[cfg(test)]
mod tests;
