//! `google.rpc` error details (google/rpc/error_details.proto).

use std::time::Duration;

use prost::Message as _;

use crate::{
    caller::{Detail, FieldViolation, PreconditionViolation},
    proto::rpc,
};

/// The details that the bridge understands, in their order; others are skipped.
pub fn details(status: &rpc::Status) -> Vec<Detail> {
    let mut details = Vec::new();
    for any in &status.details {
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        let wire = any.value.as_slice();
        let detail = match name {
            "google.rpc.BadRequest" => wire::BadRequest::decode(wire).ok().map(|found| {
                let each = |v: wire::FieldViolation| FieldViolation {
                    field: v.field,
                    description: v.description,
                    reason: v.reason,
                };
                Detail::FieldViolations(found.field_violations.into_iter().map(each).collect())
            }),
            "google.rpc.PreconditionFailure" => wire::PreconditionFailure::decode(wire).ok().map(|found| {
                let each = |v: wire::Precondition| PreconditionViolation {
                    kind: v.kind,
                    subject: v.subject,
                    description: v.description,
                };
                Detail::PreconditionViolations(found.violations.into_iter().map(each).collect())
            }),
            "google.rpc.QuotaFailure" => wire::QuotaFailure::decode(wire).ok().map(|found| {
                Detail::QuotaViolations(found.violations.into_iter().map(|v| v.description).collect())
            }),
            "google.rpc.RetryInfo" => wire::RetryInfo::decode(wire).ok().map(|found| {
                let delay = found.retry_delay.unwrap_or_default();
                Detail::RetryAfter(Duration::new(
                    u64::try_from(delay.seconds).unwrap_or(0),
                    u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999),
                ))
            }),
            "google.rpc.ErrorInfo" => wire::ErrorInfo::decode(wire)
                .ok()
                .map(|found| Detail::ErrorInfo { reason: found.reason, domain: found.domain }),
            _ => None,
        };
        details.extend(detail);
    }
    details
}

/// `google/rpc/error_details.proto`, the fields that are read.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct BadRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) field_violations: Vec<FieldViolation>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct FieldViolation {
        #[prost(string, tag = "1")]
        pub(super) field: String,
        #[prost(string, tag = "2")]
        pub(super) description: String,
        #[prost(string, tag = "3")]
        pub(super) reason: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PreconditionFailure {
        #[prost(message, repeated, tag = "1")]
        pub(super) violations: Vec<Precondition>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Precondition {
        #[prost(string, tag = "1")]
        pub(super) kind: String,
        #[prost(string, tag = "2")]
        pub(super) subject: String,
        #[prost(string, tag = "3")]
        pub(super) description: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct QuotaFailure {
        #[prost(message, repeated, tag = "1")]
        pub(super) violations: Vec<Quota>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Quota {
        #[prost(string, tag = "2")]
        pub(super) description: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        pub(super) retry_delay: Option<Delay>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Delay {
        #[prost(int64, tag = "1")]
        pub(super) seconds: i64,
        #[prost(int32, tag = "2")]
        pub(super) nanos: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ErrorInfo {
        #[prost(string, tag = "1")]
        pub(super) reason: String,
        #[prost(string, tag = "2")]
        pub(super) domain: String,
    }
}
