//! What is known of a Backend object -> its conditions. Pure, and without the time of the moment, as
//! [`super::conditions`].

use kubridge_bridge::proto::Condition;

use super::{
    conditions::{AVAILABLE, methods_unimplemented, said, without},
    observation::Documents,
    reason::BackendReason,
    tracker::{Cause, Verdict},
};
use crate::registry::backend::Unresolved;

/// Whether there is a connection.
pub const CONNECTED: &str = "Connected";
/// Whether the schema that the backend has is in use.
pub const SCHEMA_ACCEPTED: &str = "SchemaAccepted";
/// Whether everything is claimed that is to be.
pub const CLAIMS_ACCEPTED: &str = "ClaimsAccepted";
/// Whether admission webhooks and policies are asked. They are not.
pub(super) const ADMISSION_WEBHOOKS: &str = "AdmissionWebhooks";

/// What is known of a Backend object.
#[derive(Debug)]
pub struct Examined<'a> {
    /// Why nothing can be served of it, if so.
    pub unresolved: Option<&'a Unresolved>,
    /// Where it is; empty: that is not known.
    pub url: &'a str,
    /// What its tracker says, or why there is none.
    pub verdict: Result<Verdict, String>,
    /// What is known of its schema.
    pub schema: Documents,
    /// The methods of its schema that it answers with UNIMPLEMENTED; `None`: no schema is known.
    pub unimplemented: Option<Vec<String>>,
    /// The APIServices of its claims, and what is said of each; nothing: there is no such APIService.
    pub claims: Vec<(String, Option<Vec<Condition>>)>,
    /// It is served to a cluster, whose webhooks are not asked.
    pub in_cluster: bool,
}

/// What there is to say of a Backend, without times. What is missing stays as it was written last. Whether its claims were
/// accepted, who makes them says ([`claims_accepted`]).
pub fn backend_conditions(of: &Examined<'_>) -> Vec<Condition> {
    let mut conditions = vec![connected(of), schema_accepted(of)];
    conditions.extend(available(of));
    conditions.extend(of.unimplemented.as_deref().map(methods_unimplemented));
    if of.in_cluster {
        let message = "kube-apiserver forwards requests for an aggregated API as they are: neither it nor Kubridge asks \
                       webhooks and admission policies about these objects";
        conditions.push(condition(BackendReason::NotRun, message));
    }
    conditions
}

/// What there is to say of its claims: `refused` are APIServices, each with why it was not made.
pub fn claims_accepted(refused: &[(String, String)]) -> Condition {
    if refused.is_empty() {
        return condition(BackendReason::Claimed, "everything is claimed that spec.claims names");
    }
    let refused: Vec<String> = refused.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    condition(BackendReason::Refused, refused.join("; "))
}

fn connected(of: &Examined<'_>) -> Condition {
    if let Some(why) = of.unresolved {
        return condition(BackendReason::NotConnectedYet, format!("nothing is tried: {why}"));
    }
    match &of.verdict {
        Err(why) => condition(BackendReason::NotConnected, why),
        Ok(Verdict::Unknown) => {
            condition(BackendReason::NotConnectedYet, format!("{} is being called", of.url))
        }
        // It says so itself, or did lately.
        Ok(Verdict::Available { .. } | Verdict::Unavailable { cause: Cause::NotServing, .. }) => {
            condition(BackendReason::Connected, format!("connected to {}", of.url))
        }
        Ok(Verdict::Unavailable { message, .. }) => {
            let names_it = message.starts_with(of.url);
            let message = if names_it { message.to_string() } else { format!("{}: {message}", of.url) };
            condition(BackendReason::NotConnected, message)
        }
    }
}

fn schema_accepted(of: &Examined<'_>) -> Condition {
    let url = of.url;
    match &of.schema {
        Documents::Pending => {
            condition(BackendReason::NotReadYet, "the backend was not asked for its schema yet")
        }
        Documents::Missing { last_error } if matches!(of.verdict, Ok(Verdict::Available { .. })) => {
            condition(BackendReason::NotTold, without(url, last_error))
        }
        Documents::Missing { last_error } => condition(BackendReason::NotReadYet, without(url, last_error)),
        Documents::Rejected { faults } => {
            let message = format!("the schema has faults: {faults}; see: kubridge lint --backend {url}");
            condition(BackendReason::Rejected, message)
        }
        Documents::Unmapped { why } => condition(BackendReason::NotMapped, why),
        Documents::Known { newer_rejected: Some(faults), .. } => {
            let message = format!(
                "the newest schema is not in use, the last good one is: {faults}; see: kubridge lint --backend {url}"
            );
            condition(BackendReason::NewestRejected, message)
        }
        Documents::Known { .. } | Documents::NotDeclared { .. } => {
            condition(BackendReason::Accepted, "the backend's schema is in use")
        }
    }
}

/// `None`: no more is known than what was written last.
fn available(of: &Examined<'_>) -> Option<Condition> {
    match of.unresolved {
        Some(Unresolved::Spec(why)) => return Some(condition(BackendReason::InvalidSpec, why)),
        Some(Unresolved::Reference(why)) => return Some(condition(BackendReason::ReferenceNotUsable, why)),
        None => {}
    }
    let mut is_known = true;
    for (name, conditions) in &of.claims {
        let Some(conditions) = conditions else {
            let message = format!("the APIService {name} is not there, or is not for this Backend");
            return Some(condition(BackendReason::NotClaimed, message));
        };
        match conditions.iter().find(|condition| condition.r#type == AVAILABLE) {
            Some(available) if available.status == "True" => {}
            Some(available) => {
                let message = format!("{name}: {}", available.message);
                let not = condition(BackendReason::ClaimNotAvailable, message);
                return Some(Condition {
                    status: available.status.clone(),
                    reason: available.reason.clone(),
                    ..not
                });
            }
            None => is_known = false,
        }
    }
    is_known.then(|| condition(BackendReason::AllAvailable, "everything that is claimed is served"))
}

fn condition(reason: BackendReason, message: impl Into<String>) -> Condition {
    said(reason.entry(), message.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::{availability::Confirmation, upstream::FailureReason};

    fn examined() -> Examined<'static> {
        let passed = Condition { r#type: AVAILABLE.into(), status: "True".into(), ..Condition::default() };
        Examined {
            unresolved: None,
            url: "grpc://fleet:50051",
            verdict: Ok(Verdict::Available { since: Instant::now() }),
            schema: Documents::Known {
                confirmation: Confirmation::Live,
                newer_rejected: None,
                openapi_quarantined: None,
            },
            unimplemented: Some(Vec::new()),
            claims: vec![("v1.example.com".into(), Some(vec![passed]))],
            in_cluster: true,
        }
    }

    fn shown(of: &Examined<'_>) -> Vec<String> {
        let show = |c: &Condition| format!("{}={} {}", c.r#type, c.status, c.reason);
        backend_conditions(of).iter().map(show).collect()
    }

    #[test]
    fn all_is_well_but_for_the_webhooks() {
        assert_eq!(
            shown(&examined()),
            [
                "Connected=True Connected",
                "SchemaAccepted=True Accepted",
                "Available=True AllAvailable",
                "MethodsUnimplemented=False AllImplemented",
                "AdmissionWebhooks=False NotRun"
            ]
        );
        let standalone = Examined { in_cluster: false, ..examined() };
        assert_eq!(shown(&standalone).len(), 4, "there are no webhooks");
    }

    #[test]
    fn methods_that_are_lacking_are_named_where_a_schema_is_known() {
        let lacking = Examined { unimplemented: Some(vec!["/a.M/Get".into()]), ..examined() };
        let said = backend_conditions(&lacking);
        assert_eq!((&*said[3].status, &*said[3].reason), ("True", "MethodsUnimplemented"));
        assert!(said[3].message.contains("/a.M/Get"), "{}", said[3].message);
        let unread = Examined { unimplemented: None, schema: Documents::Pending, ..examined() };
        assert!(!shown(&unread).iter().any(|said| said.starts_with("Methods")));
    }

    #[test]
    fn a_claim_that_is_not_available_gives_its_reason() {
        let down = Condition {
            r#type: AVAILABLE.into(),
            status: "False".into(),
            reason: "FailedDiscoveryCheck".into(),
            message: "no answer".into(),
            ..Condition::default()
        };
        let mut of = examined();
        of.claims.push(("v2.example.com".into(), Some(vec![down])));
        let said = backend_conditions(&of);
        let available = said.iter().find(|c| c.r#type == AVAILABLE).unwrap();
        assert_eq!((available.status.as_str(), available.reason.as_str()), ("False", "FailedDiscoveryCheck"));
        assert_eq!(available.message, "v2.example.com: no answer");

        of.claims[1].1 = None;
        assert_eq!(shown(&of)[2], "Available=False NotClaimed");
        // Known from before, and not asked yet: what was written stays.
        of.claims[1].1 = Some(Vec::new());
        assert!(!shown(&of).iter().any(|said| said.starts_with(AVAILABLE)));
    }

    #[test]
    fn what_cannot_be_used_is_not_tried() {
        let why = Unresolved::Reference("the Secret default/tls does not exist".into());
        let of = Examined { unresolved: Some(&why), schema: Documents::Pending, ..examined() };
        assert_eq!(
            shown(&of)[..3],
            [
                "Connected=Unknown NotConnectedYet",
                "SchemaAccepted=Unknown NotReadYet",
                "Available=False ReferenceNotUsable"
            ]
        );
    }

    #[test]
    fn a_backend_that_says_it_does_not_serve_is_connected() {
        let unavailable = |cause| {
            let message = Arc::from("grpc://fleet:50051: refused");
            Examined {
                verdict: Ok(Verdict::Unavailable { cause, message, since: Instant::now() }),
                ..examined()
            }
        };
        assert_eq!(shown(&unavailable(Cause::NotServing))[0], "Connected=True Connected");
        let refused = unavailable(Cause::Connect(FailureReason::Refused));
        let said = backend_conditions(&refused);
        assert_eq!(
            (said[0].status.as_str(), said[0].message.as_str()),
            ("False", "grpc://fleet:50051: refused")
        );
    }

    #[test]
    fn every_claim_that_was_refused_is_named() {
        assert_eq!(claims_accepted(&[]).status, "True");
        let refused = ["v1.a.com", "v1.b.com"].map(|name| (name.to_owned(), "why".to_owned()));
        assert_eq!(claims_accepted(&refused).message, "v1.a.com: why; v1.b.com: why");
    }
}
