//! An [`Observation`] -> the conditions of the APIService. Pure, and without the time of the moment: the same
//! observation says the same words each time, so that nothing is written while nothing changes.

use kubridge_bridge::proto::Condition;

use super::{
    https::probe_path,
    observation::{Confirmation, Documents, Flaw, Observation, Remote},
    reason::{Reason, ReasonEntry},
    tracker::{Cause, Verdict},
};
use crate::{telemetry::timestamp, upstream::FailureReason};

pub use crate::registry::{AVAILABLE, DISCOVERY_CURRENT, METHODS_UNIMPLEMENTED};

#[cfg(test)]
mod tests;

/// So many methods are named.
const NAMED: usize = 10;

/// Where address and CA are written.
const WHERE: &str = "the address is in the annotation kubridge.io/backend or spec.service, the CA in \
                     kubridge.io/backend-ca (PEM) or, where spec.service is the backend or absent, in spec.caBundle; \
                     for a --backend, in --backend-ca-file; of a Backend both are in its spec";

/// What there is to say, without times: `lastTransitionTime` is the writer's. A type that is missing stays as it
/// was written last: after a restart nothing new is known of a backend until it was asked.
pub fn conditions(observation: &Observation) -> Vec<Condition> {
    let mut said = Vec::with_capacity(3);
    said.extend(available(observation));
    if let Observation::Remote(remote) = observation {
        said.push(discovery_current(remote));
        said.extend(remote.unimplemented.as_deref().map(methods_unimplemented));
    }
    said
}

/// Which methods of its schema a backend answers with UNIMPLEMENTED.
pub fn methods_unimplemented(methods: &[String]) -> Condition {
    if methods.is_empty() {
        let message = "no method of the schema has been answered with UNIMPLEMENTED since the backend was last connected";
        return condition(Reason::AllImplemented, message.to_owned());
    }
    let named = methods.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match methods.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "the backend answers {named}{more} with UNIMPLEMENTED: implement what the proto declares, or remove it there, so that \
         discovery does not promise it"
    );
    condition(Reason::MethodsUnimplemented, message)
}

fn available(observation: &Observation) -> Option<Condition> {
    let (reason, message) = match observation {
        Observation::Local => (Reason::Local, "Local APIServices are always available".to_owned()),
        Observation::NoBackend => (
            Reason::BackendNotNamed,
            "its Service is Kubridge, and nothing says which backend serves it: annotate it with \
             kubridge.io/backend: grpc://HOST:PORT"
                .to_owned(),
        ),
        Observation::Unresolved { why } => (Reason::BackendNotResolved, why.clone()),
        Observation::UnknownProtocol { protocol } => (
            Reason::ProtocolNotSupported,
            format!(
                "the annotation kubridge.io/protocol says {protocol:?}: write grpc, grpcs or https, or remove it for https"
            ),
        ),
        Observation::Unusable { url, flaw, why } => {
            let reason = match flaw {
                Flaw::Address => Reason::InvalidBackend,
                Flaw::CaBundle => Reason::InvalidCABundle,
                Flaw::ClientCertificate => Reason::InvalidClientCertificate,
            };
            (reason, format!("no connection to {url}: {}; {WHERE}", without(url, why)))
        }
        Observation::Remote(remote) => return remote_available(remote),
    };
    Some(condition(reason, message))
}

fn remote_available(remote: &Remote) -> Option<Condition> {
    let url = &remote.url;
    let what = if is_grpc(url) { "schema" } else { "discovery document" };
    // What is the matter now goes before what it told when it could be asked.
    if let Verdict::Unavailable { cause, message, .. } = &remote.verdict {
        return Some(unavailable(remote, *cause, message));
    }
    let (reason, message) = match &remote.documents {
        Documents::Pending => {
            let reason = if is_grpc(url) { Reason::SchemaNotReadYet } else { Reason::DiscoveryNotReadYet };
            (reason, format!("{url} is being asked for its {what}"))
        }
        Documents::Missing { last_error } => {
            let error = without(url, last_error);
            (Reason::FailedDiscoveryCheck, failing(remote, &format!("no {what}: {error}")))
        }
        Documents::Rejected { faults } if is_grpc(url) => (
            Reason::SchemaRejected,
            format!("the schema of {url} has faults: {faults}; see: kubridge lint --backend {url}"),
        ),
        Documents::Rejected { faults } => (
            Reason::DiscoveryRejected,
            format!("the discovery document of {url} has faults: {faults}; correct what it answers on /apis"),
        ),
        Documents::Unmapped { why } => (Reason::MappingNotFound, format!("{url} is not served: {why}")),
        Documents::NotDeclared { declared } => {
            (Reason::GroupVersionNotDeclared, not_declared(url, &remote.group_version, declared))
        }
        Documents::Known { newer_rejected: Some(faults), .. } if is_grpc(url) => (
            Reason::PassedWithOldSchema,
            format!("the backend's newer schema has faults, the last good one stays in use: {faults}"),
        ),
        Documents::Known { newer_rejected: Some(faults), .. } => (
            Reason::PassedWithOldDiscovery,
            format!(
                "the backend's newer discovery document has faults, the last good one stays in use: {faults}"
            ),
        ),
        Documents::Known { openapi_quarantined: Some(faults), .. } => (
            Reason::PassedWithOldOpenAPI,
            format!(
                "the backend's OpenAPI document has faults and is not published; the last good one, if there is one, \
                 stays in use: {faults}"
            ),
        ),
        // Known from before, and not asked yet.
        Documents::Known { .. } if remote.verdict == Verdict::Unknown => return None,
        Documents::Known { .. } => (Reason::Passed, "all checks passed".to_owned()),
    };
    Some(condition(reason, message))
}

fn unavailable(remote: &Remote, cause: Cause, message: &str) -> Condition {
    let url = &remote.url;
    let error = without(url, message);
    let (reason, message) = match (cause, &remote.service) {
        (Cause::Connect(FailureReason::Dns), Some((namespace, name))) => (
            Reason::ServiceNotFound,
            format!(
                "service/{name} in {namespace:?} is not present: {error}; create the Service, or write a rule for it: \
                 --service-resolution {namespace}/{name}=HOST:PORT"
            ),
        ),
        (Cause::Connect(FailureReason::Dns), None) => (
            Reason::HostNotFound,
            format!("{url} is not present: {error}; correct the host in the annotation kubridge.io/backend"),
        ),
        (Cause::NotServing, _) => (
            Reason::NotServing,
            format!(
                "{url} is connected and does not serve: {error}; see the backend's log, or let it report SERVING for \
                 the service \"\""
            ),
        ),
        (Cause::Flapping, _) => (Reason::Flapping, format!("{url} comes and goes: {error}")),
        (Cause::Connect(reason), _) => {
            let mend = match reason {
                FailureReason::Tls => WHERE,
                FailureReason::NotHttp2 => "correct the address or the protocol",
                FailureReason::Dns
                | FailureReason::Refused
                | FailureReason::Timeout
                | FailureReason::Network => "start the backend, or correct its address",
            };
            (Reason::FailedDiscoveryCheck, failing(remote, &format!("{error}; {mend}")))
        }
        (Cause::Traffic | Cause::Probe, _) => (Reason::FailedDiscoveryCheck, failing(remote, &error)),
    };
    condition(reason, message)
}

/// kube-aggregator's words. It asks an HTTPS backend for the group and version.
fn failing(remote: &Remote, error: &str) -> String {
    const WORDS: &str = "failing or missing response from";
    match error.find(WORDS) {
        // Who asked has said so.
        Some(at) => error[at..].to_owned(),
        None if is_grpc(&remote.url) => format!("{WORDS} {}: {error}", remote.url),
        None => {
            let (group, version) =
                remote.group_version.rsplit_once('/').unwrap_or(("", &remote.group_version));
            format!("{WORDS} {}{}: {error}", remote.url, probe_path(group, version))
        }
    }
}

fn not_declared(url: &str, group_version: &str, declared: &[String]) -> String {
    let declared = if declared.is_empty() { "nothing".to_owned() } else { declared.join(", ") };
    let mend = if is_grpc(url) { ", or the proto's option (kubridge.v1.api)" } else { "" };
    format!(
        "{url} does not declare {group_version} (it declares {declared}); correct spec.group and spec.version{mend}"
    )
}

fn discovery_current(remote: &Remote) -> Condition {
    let gv = &remote.group_version;
    let (reason, message) = match &remote.documents {
        Documents::Known { confirmation: Confirmation::Live, .. } => {
            (Reason::Live, "what is served of it is what the backend says".to_owned())
        }
        Documents::Known { confirmation: Confirmation::LastKnownGood { since, until }, .. } => {
            let until = until.map_or_else(
                || "for as long as that lasts".to_owned(),
                |until| format!("until {}, then as Stale", timestamp(until)),
            );
            let since = timestamp(*since);
            (
                Reason::LastKnownGood,
                format!("the backend has not confirmed it since {since}; it is served as Current {until}"),
            )
        }
        Documents::Known { confirmation: Confirmation::Expired { since, at }, .. } => {
            let (since, at) = (timestamp(*since), timestamp(*at));
            (
                Reason::Expired,
                format!(
                    "the backend has not confirmed it since {since}; it is served as Stale since {at}: bring the \
                     backend back"
                ),
            )
        }
        Documents::Pending
        | Documents::Missing { .. }
        | Documents::Rejected { .. }
        | Documents::Unmapped { .. }
        | Documents::NotDeclared { .. } => (
            Reason::NeverKnown,
            format!(
                "what the backend serves of {gv} has never been known: /apis/{gv} answers 503 until it is; see the \
                     condition {AVAILABLE}"
            ),
        ),
    };
    condition(reason, message)
}

fn condition(reason: Reason, message: String) -> Condition {
    said(reason.entry(), message)
}

pub(super) fn said(entry: ReasonEntry, message: String) -> Condition {
    Condition {
        r#type: entry.condition.to_owned(),
        status: entry.status.to_owned(),
        reason: entry.reason.to_owned(),
        message,
        ..Condition::default()
    }
}

fn is_grpc(url: &str) -> bool {
    !url.starts_with("https://")
}

/// An error names the backend that it is from; the message around it has done so already.
pub(super) fn without(url: &str, error: &str) -> String {
    error.replace(&format!("{url} ("), "(").replace(&format!("{url}: "), "")
}
