//! The options of delete and deletecollection: in the body, in the query, or in both.

use prost::Message as _;
use serde::Deserialize;
use serde_json::Value;

use super::{Query, check_dry_run, checked, int64};
use crate::{
    envelope, proto,
    status::{ApiError, StatusCause, quote},
};

/// The options of a delete, read and checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeleteOptions {
    /// What the backend gets.
    pub wire: proto::DeleteOptions,
    /// Check everything and write nothing.
    pub dry_run: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    kind: String,
    api_version: String,
    grace_period_seconds: Option<i64>,
    preconditions: Option<BodyPreconditions>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    dry_run: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BodyPreconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// Reads query and body (JSON; may be empty). What the body does not say the query may: kube-apiserver drops
    /// the query when there is a body, and would so delete under `?dryRun=All`. `group` is the resource's: its
    /// own DeleteOptions are accepted too, as `v1` and `meta.k8s.io/v1` are.
    pub fn parse(query: &str, body: &[u8], group: &str) -> Result<Self, ApiError> {
        let body =
            if body.iter().all(u8::is_ascii_whitespace) { Body::default() } else { read_body(body, group)? };
        Self::new(query, body)
    }

    /// The same, of a body in Kubernetes' protobuf: Kubernetes' own controllers send it so.
    pub fn parse_protobuf(query: &str, body: &[u8], group: &str) -> Result<Self, ApiError> {
        let envelope = envelope::open(body)?;
        check_kind(envelope.api_version, envelope.kind, group)?;
        // The contract's DeleteOptions have Kubernetes' field numbers.
        let sent = proto::DeleteOptions::decode(envelope.object)
            .map_err(|error| ApiError::bad_request(format!("the body is not a DeleteOptions: {error}")))?;
        let body = Body {
            grace_period_seconds: sent.grace_period_seconds,
            preconditions: sent
                .preconditions
                .map(|p| BodyPreconditions { uid: p.uid, resource_version: p.resource_version }),
            orphan_dependents: sent.orphan_dependents,
            propagation_policy: sent.propagation_policy,
            dry_run: Some(sent.dry_run),
            ..Body::default()
        };
        Self::new(query, body)
    }

    fn new(query: &str, body: Body) -> Result<Self, ApiError> {
        let query = Query::parse(query);
        let mut dry_run = body.dry_run.unwrap_or_default();
        dry_run.extend(query.all("dryRun").map(str::to_owned));
        dry_run.dedup();
        let wire = proto::DeleteOptions {
            grace_period_seconds: match body.grace_period_seconds {
                Some(seconds) => Some(seconds),
                None => int64(&query, "gracePeriodSeconds")?,
            }
            // Kubernetes reads less than nothing as the least.
            .map(|seconds| if seconds < 0 { 1 } else { seconds }),
            preconditions: body
                .preconditions
                .map(|p| proto::Preconditions { uid: p.uid, resource_version: p.resource_version }),
            orphan_dependents: body
                .orphan_dependents
                .or_else(|| query.get("orphanDependents").map(|_| query.flag("orphanDependents"))),
            propagation_policy: body
                .propagation_policy
                .or_else(|| query.get("propagationPolicy").map(str::to_owned)),
            dry_run,
        };
        checked("DeleteOptions", faults(&wire))?;
        Ok(Self { dry_run: !wire.dry_run.is_empty(), wire })
    }
}

fn read_body(body: &[u8], group: &str) -> Result<Body, ApiError> {
    let unread = |error: &dyn std::fmt::Display| {
        ApiError::bad_request(format!("the body is not a DeleteOptions: {error}"))
    };
    let body: Value = serde_json::from_slice(body).map_err(|error| unread(&error))?;
    // serde would read the fields of a struct from an array as well: `[]` would delete, unconditionally.
    let preconditions = body.get("preconditions").filter(|value| !value.is_null());
    if !body.is_object() || preconditions.is_some_and(|value| !value.is_object()) {
        return Err(unread(&"it and its preconditions must be objects"));
    }
    let body: Body = serde_json::from_value(body).map_err(|error| unread(&error))?;
    check_kind(&body.api_version, &body.kind, group)?;
    Ok(body)
}

fn check_kind(version: &str, kind: &str, group: &str) -> Result<(), ApiError> {
    let own = version.split_once('/').is_some_and(|(g, v)| g == group && !v.is_empty());
    let known = own || matches!(version, "" | "v1" | "meta.k8s.io/v1");
    if !known || !matches!(kind, "" | "DeleteOptions") {
        return Err(ApiError::bad_request(format!(
            "the body is {} {}, but a delete takes v1 DeleteOptions",
            quote(version),
            quote(kind)
        )));
    }
    Ok(())
}

fn faults(o: &proto::DeleteOptions) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    if let Some(policy) = &o.propagation_policy {
        if o.orphan_dependents.is_some() {
            let text = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(StatusCause::invalid("propagationPolicy", policy, text));
        }
        let policies = ["Foreground", "Background", "Orphan"];
        if !policies.contains(&policy.as_str()) {
            let supported = [policies[0], policies[1], policies[2], "nil"];
            causes.push(StatusCause::not_supported("propagationPolicy", &quote(policy), &supported));
        }
    }
    check_dry_run(&o.dry_run, &mut causes);
    causes
}
