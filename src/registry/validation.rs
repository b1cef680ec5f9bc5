//! What Kubernetes checks of an APIService, in Kubernetes' own words, and what is filled in.

use kubridge_bridge::{caller::FieldViolation, proto::ObjectMeta, wire};
use prost::Message as _;

use super::{
    local_caller::Admission,
    proto::apiregistration::{ApiService, ApiServiceCondition, ServiceReference},
    target::{BACKEND, MAPPING, PROTOCOL, Protocol, Target, check_backend, target},
};

/// The one type of condition that Kubernetes knows of APIServices: whether the backend can be asked.
pub const AVAILABLE: &str = "Available";
/// Ours: whether what discovery and OpenAPI say of the group and version can be relied on. Remote APIServices have it.
pub const DISCOVERY_CURRENT: &str = "DiscoveryCurrent";
/// Ours: whether the backend lacks methods that its schema has. Said only once it did.
pub const METHODS_UNIMPLEMENTED: &str = "MethodsUnimplemented";
/// The reason of [`AVAILABLE`] where this process serves the group itself.
pub const LOCAL: &str = "Local";

const DEFAULT_PORT: i32 = 443;

/// Fills in defaults and the condition of a local APIService, and checks everything.
/// The metadata keeps its bytes.
pub fn admit(admission: Admission<'_>) -> Result<Vec<u8>, Vec<FieldViolation>> {
    let mut service = ApiService::decode(admission.object)
        .map_err(|error| vec![violation("", "FieldValueInvalid", &error.to_string())])?;
    if admission.old.is_none() {
        service.status = None;
    }
    complete(&mut service, admission.now);
    let faults = validate(&service);
    if !faults.is_empty() {
        return Err(faults);
    }
    // Maps have no order in prost's types: the metadata is carried over as it came, or every
    // write would look like a change.
    let mut out = wire::without(admission.object, |number| number == 2 || number == 3)
        .map_err(|error| vec![violation("", "FieldValueInvalid", &error.to_string())])?;
    if let Some(spec) = &service.spec {
        wire::put_bytes(&mut out, 2, &spec.encode_to_vec());
    }
    if let Some(status) = &service.status {
        wire::put_bytes(&mut out, 3, &status.encode_to_vec());
    }
    Ok(out)
}

/// Fills in what a client may leave out: the port, and the condition of a local APIService.
pub fn complete(service: &mut ApiService, now: kubridge_bridge::proto::Time) {
    if let Some(ServiceReference { port: port @ None, .. }) =
        service.spec.as_mut().and_then(|spec| spec.service.as_mut())
    {
        *port = Some(DEFAULT_PORT);
    }
    let local = target(service) == Target::Local;
    let conditions = service.status.as_mut().map(|status| &mut status.conditions);
    let present = conditions.as_ref().and_then(|all| all.iter().find(|c| c.r#type == AVAILABLE));
    let says_local = present.is_some_and(|condition| condition.reason == LOCAL);
    if says_local != local {
        if let Some(conditions) = conditions {
            let of_a_backend = [AVAILABLE, DISCOVERY_CURRENT, METHODS_UNIMPLEMENTED];
            conditions.retain(|condition| !of_a_backend.contains(&condition.r#type.as_str()));
        }
        if local {
            service.status.get_or_insert_default().conditions.push(ApiServiceCondition {
                r#type: AVAILABLE.into(),
                status: "True".into(),
                last_transition_time: Some(now),
                reason: LOCAL.into(),
                message: "Local APIServices are always available".into(),
            });
        }
    }
}

/// Every fault of an APIService (kube-aggregator, ValidateAPIService), and of the annotations that are ours.
pub fn validate(service: &ApiService) -> Vec<FieldViolation> {
    let mut faults = Vec::new();
    let metadata = service.metadata.clone().unwrap_or_default();
    let spec = service.spec.clone().unwrap_or_default();
    check_name(&metadata, &spec.group, &spec.version, &mut faults);
    if spec.group.is_empty() {
        if spec.version != "v1" {
            faults
                .push(required("spec.group", "only v1 may have an empty group and it better be legacy kube"));
        }
    } else {
        faults.extend(
            subdomain_faults(&spec.group)
                .into_iter()
                .map(|text| invalid_text("spec.group", &spec.group, &text)),
        );
    }
    faults.extend(
        label_faults(&spec.version)
            .into_iter()
            .map(|text| invalid_text("spec.version", &spec.version, &text)),
    );
    check_range("spec.groupPriorityMinimum", spec.group_priority_minimum, 20_000, &mut faults);
    check_range("spec.versionPriority", spec.version_priority, 1_000, &mut faults);
    for (annotation, value) in
        [BACKEND, PROTOCOL].iter().filter_map(|name| metadata.annotations.get_key_value(*name))
    {
        let field = format!("metadata.annotations[{annotation}]");
        if annotation == BACKEND {
            if let Err(text) = check_backend(value) {
                faults.push(invalid_text(&field, value, &text));
            }
        } else if value.parse::<Protocol>().is_err() {
            faults.push(unsupported(&field, value, &Protocol::NAMES));
        }
    }
    if let Some(name) = metadata.annotations.get(MAPPING) {
        let field = format!("metadata.annotations[{MAPPING}]");
        let is_grpc = match target(service) {
            Target::Grpc { .. }
            | Target::Named { .. }
            | Target::Unresolved { .. }
            | Target::Unnamed
            | Target::UnknownProtocol { .. } => true,
            Target::Service { protocol, .. } => protocol != Protocol::Https,
            Target::Local => false,
        };
        if !is_grpc {
            let text = "only a gRPC backend is served by a Mapping: name one in kubridge.io/backend, or write grpc or \
                        grpcs in kubridge.io/protocol";
            faults.push(invalid_text(&field, name, text));
        } else if name.is_empty() {
            faults.push(required(&field, "write the metadata.name of a Mapping, or remove the annotation"));
        }
    }
    let conditions = service.status.iter().flat_map(|status| &status.conditions);
    for (index, condition) in conditions.enumerate() {
        if !["True", "False", "Unknown"].contains(&condition.status.as_str()) {
            let field = format!("status.conditions[{index}].status");
            faults.push(unsupported(&field, &condition.status, &["True", "False", "Unknown"]));
        }
    }
    match &spec.service {
        None if target(service) == Target::Local => {
            if !spec.ca_bundle.is_empty() {
                let size = format!("\"{} bytes\"", spec.ca_bundle.len());
                faults.push(invalid("spec.caBundle", &size, "local APIServices may not have a caBundle"));
            }
            if spec.insecure_skip_tls_verify {
                let text = "local APIServices may not have insecureSkipTLSVerify";
                faults.push(invalid("spec.insecureSkipTLSVerify", "true", text));
            }
            return faults;
        }
        // Remote by its annotation alone.
        None => {}
        Some(reference) => check_service(reference, &mut faults),
    }
    if spec.insecure_skip_tls_verify && !spec.ca_bundle.is_empty() {
        let text = "may not be true if caBundle is present";
        faults.push(invalid("spec.insecureSkipTLSVerify", "true", text));
    }
    faults
}

fn check_name(metadata: &ObjectMeta, group: &str, version: &str, faults: &mut Vec<FieldViolation>) {
    let name = &metadata.name;
    if name == "." || name == ".." {
        faults.push(invalid_text("metadata.name", name, &format!("may not be '{name}'")));
    }
    for character in ['/', '%'] {
        if name.contains(character) {
            faults.push(invalid_text("metadata.name", name, &format!("may not contain '{character}'")));
        }
    }
    let wanted = format!("{version}.{group}");
    if faults.is_empty() && *name != wanted {
        let text = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        faults.push(invalid_text("metadata.name", name, &text));
    }
}

fn check_service(reference: &ServiceReference, faults: &mut Vec<FieldViolation>) {
    if reference.namespace.is_empty() {
        faults.push(required("spec.service.namespace", ""));
    }
    if reference.name.is_empty() {
        faults.push(required("spec.service.name", ""));
    }
    let port = reference.port.unwrap_or(DEFAULT_PORT);
    if !(1..=65_535).contains(&port) {
        let text = "port is not valid: must be between 1 and 65535, inclusive";
        faults.push(invalid("spec.service.port", &port.to_string(), text));
    }
}

pub(super) fn check_range(field: &str, value: i32, most: i32, faults: &mut Vec<FieldViolation>) {
    if !(1..=most).contains(&value) {
        faults.push(invalid(field, &value.to_string(), &format!("must be positive and less than {most}")));
    }
}

/// What keeps `text` from being a DNS-1123 subdomain.
pub(super) fn subdomain_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push("must be no more than 253 characters".to_owned());
    }
    let part = |part: &str| {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|c| inner(*c))
            && bytes.last().is_some_and(|c| inner(*c))
            && bytes.iter().all(|c| inner(*c) || *c == b'-')
    };
    if !text.split('.').all(part) {
        faults.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
             and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation \
             is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    faults
}

/// What keeps `text` from being a DNS-1035 label.
pub(super) fn label_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push("must be no more than 63 characters".to_owned());
    }
    let bytes = text.as_bytes();
    let good = bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(|c| *c != b'-')
        && bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-');
    if !good {
        faults.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    faults
}

pub(super) fn required(field: &str, detail: &str) -> FieldViolation {
    let colon = if detail.is_empty() { "" } else { ": " };
    violation(field, "FieldValueRequired", &format!("Required value{colon}{detail}"))
}

/// `value` as Kubernetes shows it: numbers and booleans bare, text quoted.
pub(super) fn invalid(field: &str, value: &str, text: &str) -> FieldViolation {
    violation(field, "FieldValueInvalid", &format!("Invalid value: {value}: {text}"))
}

pub(super) fn invalid_text(field: &str, value: &str, text: &str) -> FieldViolation {
    invalid(field, &format!("{value:?}"), text)
}

fn unsupported(field: &str, value: &str, supported: &[&str]) -> FieldViolation {
    let supported = supported.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ");
    let text = format!("Unsupported value: {value:?}: supported values: {supported}");
    violation(field, "FieldValueNotSupported", &text)
}

pub(super) fn violation(field: &str, reason: &str, description: &str) -> FieldViolation {
    FieldViolation { field: field.into(), description: description.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests;
