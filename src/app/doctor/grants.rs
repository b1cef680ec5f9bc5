//! The rights that Kubridge's service account needs, and whether it has them.

use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReviewSpec,
};
use kube::Client;

use super::{ask::may, verdict::Verdict};
use crate::config::ServiceName;

/// A right, as a rule of RBAC has it.
struct Grant {
    of: Binding,
    group: &'static str,
    resource: &'static str,
    name: Name,
    verbs: &'static [&'static str],
}

/// What gives it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// The ClusterRole and ClusterRoleBinding of Kubridge.
    Cluster,
    /// The Role and RoleBinding of Kubridge in its namespace.
    Namespace,
    /// The ClusterRole `system:auth-delegator`.
    Delegator,
    /// The Role `extension-apiserver-authentication-reader` in kube-system.
    Reader,
}

/// Of which object.
#[derive(Clone, Copy)]
enum Name {
    All,
    /// The Service's name, with this after it.
    Service(&'static str),
    Is(&'static str),
}

/// What Kubridge asks of the cluster. deploy/manifests/rbac.yaml grants exactly this.
const GRANTS: [Grant; 14] = [
    Grant {
        of: Binding::Cluster,
        group: "apiregistration.k8s.io",
        resource: "apiservices",
        name: Name::All,
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
    },
    Grant {
        of: Binding::Cluster,
        group: "kubridge.io",
        resource: "backends",
        name: Name::All,
        verbs: &["get", "list", "watch", "patch"],
    },
    Grant {
        of: Binding::Cluster,
        group: "kubridge.io",
        resource: "backends/status",
        name: Name::All,
        verbs: &["patch"],
    },
    Grant { of: Binding::Cluster, group: "", resource: "services", name: Name::All, verbs: READ },
    Grant {
        of: Binding::Cluster,
        group: "discovery.k8s.io",
        resource: "endpointslices",
        name: Name::All,
        verbs: READ,
    },
    Grant { of: Binding::Cluster, group: "", resource: "namespaces", name: Name::All, verbs: READ },
    Grant { of: Binding::Namespace, group: "", resource: "secrets", name: Name::All, verbs: &["create"] },
    Grant {
        of: Binding::Namespace,
        group: "",
        resource: "secrets",
        name: Name::Service("-ca"),
        verbs: &["get", "update"],
    },
    Grant {
        of: Binding::Namespace,
        group: "",
        resource: "configmaps",
        name: Name::All,
        verbs: &["get", "list", "watch", "create", "update", "delete"],
    },
    Grant {
        of: Binding::Namespace,
        group: "coordination.k8s.io",
        resource: "leases",
        name: Name::All,
        verbs: &["create"],
    },
    Grant {
        of: Binding::Namespace,
        group: "coordination.k8s.io",
        resource: "leases",
        name: Name::Service(""),
        verbs: &["get", "update"],
    },
    Grant {
        of: Binding::Delegator,
        group: "authentication.k8s.io",
        resource: "tokenreviews",
        name: Name::All,
        verbs: &["create"],
    },
    Grant {
        of: Binding::Delegator,
        group: "authorization.k8s.io",
        resource: "subjectaccessreviews",
        name: Name::All,
        verbs: &["create"],
    },
    Grant {
        of: Binding::Reader,
        group: "",
        resource: "configmaps",
        name: Name::Is(crate::cluster::authentication::NAME),
        verbs: READ,
    },
];
const READ: &[&str] = &["get", "list", "watch"];
/// So many questions are asked at once.
const AT_ONCE: usize = 8;
/// Who kube-apiserver says that it is when it asks for OpenAPI documents.
const AGGREGATOR: &str = "system:aggregator";

impl Binding {
    /// What is to be bound, and how it is called where it is bound.
    fn mend(self, service: &ServiceName) -> String {
        let ServiceName { namespace, name, .. } = service;
        match self {
            Self::Cluster => format!("the ClusterRole {name}, by a ClusterRoleBinding"),
            Self::Namespace => format!("the Role {name} of {namespace}, by a RoleBinding there"),
            Self::Delegator => "the ClusterRole system:auth-delegator, by a ClusterRoleBinding".to_owned(),
            Self::Reader => {
                "the Role extension-apiserver-authentication-reader of kube-system, by a RoleBinding there"
                    .to_owned()
            }
        }
    }
}

/// One right of one verb.
struct Right {
    of: Binding,
    attributes: ResourceAttributes,
}

/// What Kubridge needs where it is called `service`.
fn rights(service: &ServiceName) -> impl Iterator<Item = Right> {
    GRANTS.iter().flat_map(move |grant| {
        let namespace = match grant.of {
            Binding::Cluster | Binding::Delegator => None,
            Binding::Namespace => Some(service.namespace.clone()),
            Binding::Reader => Some(crate::cluster::authentication::NAMESPACE.to_owned()),
        };
        let name = match grant.name {
            Name::All => None,
            Name::Service(after) => Some(format!("{}{after}", service.name)),
            Name::Is(name) => Some(name.to_owned()),
        };
        let (resource, subresource) = match grant.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (grant.resource, None),
        };
        grant.verbs.iter().map(move |verb| Right {
            of: grant.of,
            attributes: ResourceAttributes {
                group: Some(grant.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.clone(),
                namespace: namespace.clone(),
                name: name.clone(),
                verb: Some((*verb).to_owned()),
                ..ResourceAttributes::default()
            },
        })
    })
}

/// Asks whether the service account may do all of it.
pub(super) async fn look(client: &Client, service: &ServiceName, account: &str) -> Verdict {
    let user = format!("system:serviceaccount:{}:{account}", service.namespace);
    let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
    let groups: Vec<String> =
        groups.into_iter().chain([format!("system:serviceaccounts:{}", service.namespace)]).collect();
    let asked: Vec<(Right, Result<bool, String>)> = stream::iter(rights(service))
        .map(|right| async {
            let spec = SubjectAccessReviewSpec {
                user: Some(user.clone()),
                groups: Some(groups.clone()),
                resource_attributes: Some(right.attributes.clone()),
                ..SubjectAccessReviewSpec::default()
            };
            let may = may(client, spec).await;
            (right, may)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    judge(&user, service, &asked)
}

/// What the answers say.
fn judge(user: &str, service: &ServiceName, asked: &[(Right, Result<bool, String>)]) -> Verdict {
    let missing: Vec<&Right> =
        asked.iter().filter(|(_, may)| *may == Ok(false)).map(|(right, _)| right).collect();
    let untold = asked.iter().find_map(|(_, may)| may.as_ref().err());
    if let Some(first) = missing.first() {
        let mut bindings: Vec<String> = Vec::new();
        for right in &missing {
            let binding = right.of.mend(service);
            if !bindings.contains(&binding) {
                bindings.push(binding);
            }
        }
        let mend =
            format!("grant {user} {} (kubectl apply -f deploy/manifests/rbac.yaml)", bindings.join("; "));
        let count = missing.len();
        let more = if count == 1 { String::new() } else { format!(", and {} more", count - 1) };
        let verdict =
            Verdict::broken(format!("{user} may not {} {}{more}", verb(first), object(first)), mend);
        return lines(&missing).into_iter().fold(verdict, Verdict::detail);
    }
    match untold {
        Some(why) => Verdict::not_tried(format!("nobody says what {user} may: {why}"))
            .with_mend("ask as somebody who may create subjectaccessreviews.authorization.k8s.io"),
        None => Verdict::ok(format!("{user} has the {} rights that it needs", asked.len())),
    }
}

/// "get, update secrets kubridge-ca in kubridge-system": a line for each object.
fn lines(rights: &[&Right]) -> Vec<String> {
    let same = |a: &&Right, b: &&Right| object(a) == object(b);
    let one = |rights: &[&Right]| {
        let verbs: Vec<&str> = rights.iter().map(|right| verb(right)).collect();
        rights.first().map(|first| format!("{} {}", verbs.join(", "), object(first)))
    };
    rights.chunk_by(same).filter_map(one).collect()
}

fn verb(right: &Right) -> &str {
    right.attributes.verb.as_deref().unwrap_or_default()
}

/// "secrets kubridge-ca in kubridge-system".
fn object(right: &Right) -> String {
    let ResourceAttributes { group, resource, subresource, name, namespace, .. } = &right.attributes;
    let mut text = resource.clone().unwrap_or_default();
    if let Some(subresource) = subresource {
        text = format!("{text}/{subresource}");
    }
    if let Some(group) = group.as_deref().filter(|group| !group.is_empty()) {
        text = format!("{text}.{group}");
    }
    if let Some(name) = name {
        text = format!("{text} {name}");
    }
    match namespace {
        Some(namespace) => format!("{text} in {namespace}"),
        None => text,
    }
}

/// Whether kube-apiserver may read Kubridge's documents, as whom it asks for them.
pub(super) async fn aggregator(client: &Client) -> Verdict {
    let mut asked = Vec::new();
    for path in ["/openapi/v2", "/openapi/v3"] {
        let spec = SubjectAccessReviewSpec {
            user: Some(AGGREGATOR.to_owned()),
            groups: Some(vec!["system:authenticated".to_owned()]),
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb: Some("get".to_owned()),
            }),
            ..SubjectAccessReviewSpec::default()
        };
        asked.push((path, may(client, spec).await));
    }
    judge_aggregator(&asked)
}

fn judge_aggregator(asked: &[(&str, Result<bool, String>)]) -> Verdict {
    if let Some((path, _)) = asked.iter().find(|(_, may)| *may == Ok(false)) {
        return Verdict::broken(
            format!("{AGGREGATOR}, as whom kube-apiserver asks for documents, may not get {path}"),
            "bind the ClusterRole system:discovery to the group system:authenticated",
        );
    }
    match asked.iter().find_map(|(_, may)| may.as_ref().err()) {
        Some(why) => Verdict::not_tried(format!("nobody says what {AGGREGATOR} may: {why}")),
        None => Verdict::ok(format!("{AGGREGATOR} may read the documents")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::app::doctor::verdict::State;

    const MANIFEST: &str = include_str!("../../../deploy/manifests/rbac.yaml");

    fn service() -> ServiceName {
        ServiceName { namespace: "kubridge-system".to_owned(), name: "kubridge".to_owned(), port: 443 }
    }

    fn texts(value: &Value) -> Vec<&str> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
    }

    #[test]
    fn the_manifest_grants_what_is_needed_and_nothing_else() {
        let documents: Vec<Value> =
            MANIFEST.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap()).collect();
        let mut granted = BTreeSet::new();
        let mut bound = BTreeSet::new();
        for document in &documents {
            let namespace = document["metadata"]["namespace"].as_str();
            for rule in document["rules"].as_array().into_iter().flatten() {
                let names = texts(&rule["resourceNames"]);
                let names: Vec<Option<&str>> =
                    if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        for name in &names {
                            for verb in texts(&rule["verbs"]) {
                                granted.insert(format!("{namespace:?} {group} {resource} {name:?} {verb}"));
                            }
                        }
                    }
                }
            }
            if let Some(role) = document["roleRef"]["name"].as_str() {
                let subject = &document["subjects"][0];
                assert_eq!(
                    (subject["kind"].as_str(), subject["name"].as_str(), subject["namespace"].as_str()),
                    (Some("ServiceAccount"), Some("kubridge"), Some("kubridge-system"))
                );
                bound.insert((namespace, role));
            }
        }
        let needed: BTreeSet<String> = rights(&service())
            .filter(|right| matches!(right.of, Binding::Cluster | Binding::Namespace))
            .map(|Right { attributes, .. }| {
                let namespace = attributes.namespace.as_deref();
                let name = attributes.name.as_deref();
                let of = |part: Option<String>| part.unwrap();
                let (group, mut resource) = (of(attributes.group), of(attributes.resource));
                if let Some(subresource) = attributes.subresource {
                    resource = format!("{resource}/{subresource}");
                }
                format!("{namespace:?} {group} {resource} {name:?} {}", attributes.verb.unwrap())
            })
            .collect();
        assert_eq!(granted, needed);
        let bindings = [
            (None, "kubridge"),
            (Some("kubridge-system"), "kubridge"),
            (None, "system:auth-delegator"),
            (Some("kube-system"), "extension-apiserver-authentication-reader"),
        ];
        assert_eq!(bound, bindings.into());
    }

    #[test]
    fn what_is_missing_is_named_with_what_grants_it() {
        let asked = |may: fn(&Right) -> Result<bool, String>| {
            let asked: Vec<_> = rights(&service())
                .map(|right| {
                    let may = may(&right);
                    (right, may)
                })
                .collect();
            judge("system:serviceaccount:kubridge-system:kubridge", &service(), &asked)
        };
        let all = asked(|_| Ok(true));
        assert_eq!(all.state, State::Ok, "{}", all.summary);
        let none = asked(|right| Ok(right.of != Binding::Namespace));
        assert_eq!(none.state, State::Broken);
        assert!(
            none.summary.contains("may not create secrets in kubridge-system, and 11 more"),
            "{}",
            none.summary
        );
        assert!(
            none.details.contains(&"get, update secrets kubridge-ca in kubridge-system".to_owned()),
            "{none:?}"
        );
        assert!(
            none.details
                .contains(&"get, update leases.coordination.k8s.io kubridge in kubridge-system".to_owned())
        );
        assert!(none.mend.unwrap().contains("the Role kubridge of kubridge-system, by a RoleBinding"));
        let delegator = asked(|right| Ok(right.of != Binding::Delegator));
        assert!(delegator.mend.unwrap().contains("system:auth-delegator"));
        let silent = asked(|_| Err("forbidden".to_owned()));
        assert_eq!(silent.state, State::NotTried);
    }

    #[test]
    fn kube_apiserver_reads_documents_as_somebody() {
        let good = [("/openapi/v2", Ok(true)), ("/openapi/v3", Ok(true))];
        assert_eq!(judge_aggregator(&good).state, State::Ok);
        let bad = [("/openapi/v2", Ok(true)), ("/openapi/v3", Ok(false))];
        assert!(judge_aggregator(&bad).summary.contains("may not get /openapi/v3"));
        assert_eq!(judge_aggregator(&[("/openapi/v2", Err("no".to_owned()))]).state, State::NotTried);
    }
}
