//! What is checked of a Backend.

use std::collections::HashSet;

use kubridge_bridge::{caller::FieldViolation, proto::Duration, validation::dns1123_subdomain, wire};
use prost::Message as _;

use super::{claims::refused, duration};
use crate::registry::{
    local_caller::Admission,
    proto::backend::{
        Backend, BackendSpec, BrownOutPolicy, Claim, KeyReference, ObjectReference, SchemaOrigin,
        ServiceReference, Tls,
    },
    target::check_backend_url,
    validation::{check_range, invalid, invalid_text, label_faults, required, subdomain_faults, violation},
};

/// Checks a Backend that is written to our own store. It keeps its bytes.
pub(super) fn admit(admission: Admission<'_>) -> Result<Vec<u8>, Vec<FieldViolation>> {
    let malformed = |error: String| vec![violation("", "FieldValueInvalid", &error)];
    let backend = Backend::decode(admission.object).map_err(|error| malformed(error.to_string()))?;
    let faults = standalone(&backend);
    if !faults.is_empty() {
        return Err(faults);
    }
    match admission.old {
        Some(_) => Ok(admission.object.to_vec()),
        None => wire::without(admission.object, |number| number == 3)
            .map_err(|error| malformed(error.to_string())),
    }
}

/// Every fault of a Backend of our own store, but for those of its metadata.
pub(super) fn standalone(backend: &Backend) -> Vec<FieldViolation> {
    let mut faults = validate(backend);
    if let Some(tls) = backend.spec.as_ref().and_then(|spec| spec.tls.as_ref()) {
        if tls.ca_bundle_from.is_some() {
            let mend = "there are no Secrets and ConfigMaps outside of a cluster: write caBundle";
            faults.push(forbidden("spec.tls.caBundleFrom", mend));
        }
        if tls.client_certificate.is_some() {
            let mend = "there are no Secrets outside of a cluster: the backend is shown --backend-client-cert-file, or \
                        Kubridge's own";
            faults.push(forbidden("spec.tls.clientCertificate", mend));
        }
    }
    faults
}

/// What is wrong with its name, where nobody has looked at that yet.
pub(super) fn named(backend: &Backend) -> Vec<FieldViolation> {
    let mut faults = Vec::new();
    let name = backend.metadata.as_ref().map(|metadata| metadata.name.as_str()).unwrap_or_default();
    check_name("metadata.name", name, &mut faults);
    faults
}

/// Every fault of a Backend.
pub fn validate(backend: &Backend) -> Vec<FieldViolation> {
    let mut faults = Vec::new();
    let Some(spec) = &backend.spec else { return vec![required("spec", "")] };
    place(spec, &mut faults);
    if let Some(tls) = &spec.tls {
        check_tls(tls, spec, &mut faults);
    }
    if spec.claims.is_empty() {
        faults.push(required("spec.claims", "name the groups and versions that the backend serves"));
    }
    let mut seen = HashSet::new();
    for (index, claim) in spec.claims.iter().enumerate() {
        let field = format!("spec.claims[{index}]");
        check_claim(&field, claim, &mut faults);
        if !seen.insert((&claim.group, &claim.version)) {
            let value = format!("{:?}", format!("{}/{}", claim.group, claim.version));
            faults.push(violation(&field, "FieldValueDuplicate", &format!("Duplicate value: {value}")));
        }
    }
    numbers(spec, &mut faults);
    faults
}

fn place(spec: &BackendSpec, faults: &mut Vec<FieldViolation>) {
    match (&spec.endpoint, &spec.service) {
        (endpoint, None) if endpoint.is_empty() => {
            faults.push(required("spec.endpoint", "say where the backend is: here, or in spec.service"));
        }
        (endpoint, Some(_)) if !endpoint.is_empty() => {
            faults.push(invalid_text("spec.endpoint", endpoint, "may not be there where spec.service is"));
        }
        (endpoint, None) => {
            if let Err(text) = check_backend_url(endpoint) {
                faults.push(invalid_text("spec.endpoint", endpoint, &text));
            }
        }
        (_, Some(ServiceReference { namespace, name, port })) => {
            check_name("spec.service.namespace", namespace, faults);
            check_name("spec.service.name", name, faults);
            if !(1..=65_535).contains(port) {
                let text = "port is not valid: must be between 1 and 65535, inclusive";
                faults.push(invalid("spec.service.port", &port.to_string(), text));
            }
        }
    }
}

fn check_tls(tls: &Tls, spec: &BackendSpec, faults: &mut Vec<FieldViolation>) {
    if spec.endpoint.starts_with("grpc://") {
        let text = "may not be there where spec.endpoint is grpc://, which is without TLS: write grpcs://";
        faults.push(forbidden("spec.tls", text));
    }
    if !tls.ca_bundle.is_empty() && tls.ca_bundle_from.is_some() {
        faults.push(forbidden("spec.tls.caBundleFrom", "may not be there where caBundle is"));
    }
    if let Some(KeyReference { secret, config_map, .. }) = &tls.ca_bundle_from {
        match (secret, config_map) {
            (Some(secret), None) => check_object("spec.tls.caBundleFrom.secret", secret, faults),
            (None, Some(map)) => check_object("spec.tls.caBundleFrom.configMap", map, faults),
            _ => faults.push(required("spec.tls.caBundleFrom", "name a secret or a configMap: one of them")),
        }
    }
    if let Some(secret) = &tls.client_certificate {
        check_object("spec.tls.clientCertificate", secret, faults);
    }
    if !tls.server_name.is_empty()
        && rustls::pki_types::ServerName::try_from(tls.server_name.as_str()).is_err()
    {
        faults.push(invalid_text(
            "spec.tls.serverName",
            &tls.server_name,
            "must be a DNS name or an IP address",
        ));
    }
}

fn check_object(field: &str, reference: &ObjectReference, faults: &mut Vec<FieldViolation>) {
    check_name(&format!("{field}.namespace"), &reference.namespace, faults);
    check_name(&format!("{field}.name"), &reference.name, faults);
}

fn check_name(field: &str, name: &str, faults: &mut Vec<FieldViolation>) {
    if name.is_empty() {
        faults.push(required(field, ""));
        return;
    }
    faults.extend(dns1123_subdomain(name).iter().map(|text| invalid_text(field, name, text)));
}

fn check_claim(field: &str, claim: &Claim, faults: &mut Vec<FieldViolation>) {
    // Whether .k8s.io may be claimed, the settings say.
    if let Some(why) = refused(&claim.group, true) {
        faults.push(forbidden(&format!("{field}.group"), &why));
    } else {
        let group = format!("{field}.group");
        faults.extend(subdomain_faults(&claim.group).iter().map(|t| invalid_text(&group, &claim.group, t)));
    }
    let version = format!("{field}.version");
    faults.extend(label_faults(&claim.version).iter().map(|t| invalid_text(&version, &claim.version, t)));
    for (name, value, most) in [
        ("groupPriorityMinimum", claim.group_priority_minimum, 20_000),
        ("versionPriority", claim.version_priority, 1_000),
    ] {
        if value != 0 {
            check_range(&format!("{field}.{name}"), value, most, faults);
        }
    }
}

fn numbers(spec: &BackendSpec, faults: &mut Vec<FieldViolation>) {
    let limits = spec.limits.unwrap_or_default();
    for (name, value) in [
        ("maxRequestsInFlight", limits.max_requests_in_flight),
        ("maxWatchesInFlight", limits.max_watches_in_flight),
        ("maxMessageBytes", limits.max_message_bytes),
    ] {
        if value < 0 {
            faults.push(invalid(&format!("spec.limits.{name}"), &value.to_string(), "must be positive"));
        }
    }
    let timeouts = spec.timeouts.unwrap_or_default();
    let brown_out = spec.brown_out.unwrap_or_default();
    let durations: [(&str, &Option<Duration>); 4] = [
        ("spec.timeouts.connect", &timeouts.connect),
        ("spec.timeouts.request", &timeouts.request),
        ("spec.timeouts.silence", &timeouts.silence),
        ("spec.brownOut.discoveryMaxAge", &brown_out.discovery_max_age),
    ];
    for (field, value) in durations {
        if value.is_some() && duration(value.as_ref()).is_none() {
            faults.push(violation(field, "FieldValueInvalid", "Invalid value: must be longer than 0s"));
        }
    }
    let enums = [
        ("spec.brownOut.policy", brown_out.policy, BrownOutPolicy::try_from(brown_out.policy).is_ok()),
        ("spec.schema.from", spec.schema.unwrap_or_default().from, {
            SchemaOrigin::try_from(spec.schema.unwrap_or_default().from).is_ok()
        }),
    ];
    for (field, number, is_known) in enums {
        if !is_known {
            faults.push(invalid(field, &number.to_string(), "is not one of those that there are"));
        }
    }
}

fn forbidden(field: &str, text: &str) -> FieldViolation {
    violation(field, "FieldValueForbidden", &format!("Forbidden: {text}"))
}
