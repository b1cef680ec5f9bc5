//! Query string and body -> the meta/v1 options, checked as Kubernetes checks them.

mod delete;
mod list;
mod query;
#[cfg(test)]
mod tests;
mod write;

use std::time::Duration;

pub use self::{
    delete::DeleteOptions,
    list::ListOptions,
    query::Query,
    write::{FieldValidation, WriteKind, WriteOptions},
};
use crate::{
    proto,
    status::{ApiError, StatusCause, quote},
};

/// The options of a get. A resourceVersion that is no number is 400.
pub fn get_options(query: &str) -> Result<proto::GetOptions, ApiError> {
    let query = Query::parse(query);
    let resource_version = query.get("resourceVersion").unwrap_or_default().to_owned();
    check_resource_version(&resource_version)?;
    Ok(proto::GetOptions { resource_version })
}

/// The `timeout` of a request that is neither a watch nor a stream: Go's form (`30s`, `1m30s`). `None`: not given, or 0.
pub fn request_timeout(query: &str) -> Result<Option<Duration>, ApiError> {
    let query = Query::parse(query);
    let text = query.get("timeout").unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let timeout = go_duration(text).ok_or_else(|| {
        let why = format!("time: invalid duration {}", quote(text));
        ApiError::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    Ok(Some(timeout).filter(|t| !t.is_zero()))
}

/// The number of a resourceVersion; empty is 0. Anything but a decimal uint64 is 400 (kube-apiserver answers
/// 500 to some verbs, which tells the client that it is the server's fault).
pub fn check_resource_version(version: &str) -> Result<u64, ApiError> {
    if version.is_empty() {
        return Ok(0);
    }
    let error = |why: &str| {
        let value = quote(version);
        ApiError::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {value}: strconv.ParseUint: parsing {value}: {why}"
        ))
    };
    if !version.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error("invalid syntax"));
    }
    version.parse().map_err(|_| error("value out of range"))
}

/// An integer as Go reads it.
fn int64(query: &Query<'_>, key: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = query.get(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        ApiError::bad_request(format!("strconv.ParseInt: parsing {}: {why}", quote(text)))
    })
}

/// 422 for options of this kind, where there are faults.
fn checked(kind: &str, causes: Vec<StatusCause>) -> Result<(), ApiError> {
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", kind, "", causes)) }
}

fn check_dry_run(values: &[String], causes: &mut Vec<StatusCause>) {
    if values.iter().any(|v| v != "All") {
        let list = values.iter().map(|v| quote(v)).collect::<Vec<_>>().join(",");
        causes.push(StatusCause::not_supported("dryRun", &format!("[{list}]"), &["All"]));
    }
}

/// A non-negative duration in Go's form.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (name, tail) = tail.split_at(unit);
        let seconds = match name {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += value.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(total).ok())?
}
