//! ObjectMeta, as every write must have it.

use std::collections::HashMap;

use super::{dns1123_label, dns1123_subdomain, label_key, label_value, path_segment};
use crate::{
    model::NameSyntax,
    proto::{ObjectMeta, OwnerReference},
    status::{StatusCause, quote},
};

/// The total size of all annotations, keys and values, in bytes.
const ANNOTATIONS_MAX: usize = 256 << 10;

/// Every fault of an object's metadata. Empty: none.
pub fn validate_object_meta(meta: &ObjectMeta, namespaced: bool, syntax: NameSyntax) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    names(meta, namespaced, syntax, &mut causes);
    if meta.generation < 0 {
        let text = "must be greater than or equal to 0";
        let message = format!("Invalid value: {}: {text}", meta.generation);
        causes.push(StatusCause::new("FieldValueInvalid", "metadata.generation", message));
    }
    for (key, value) in sorted(&meta.labels) {
        invalid(&mut causes, "metadata.labels", key, &label_key(key));
        invalid(&mut causes, "metadata.labels", value, &label_value(value));
    }
    for (key, _) in sorted(&meta.annotations) {
        // Annotation keys may be in any case.
        invalid(&mut causes, "metadata.annotations", key, &label_key(&key.to_ascii_lowercase()));
    }
    let size: usize = meta.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATIONS_MAX {
        let text = format!("may not be more than {ANNOTATIONS_MAX} bytes");
        causes.push(StatusCause::too_long("metadata.annotations", &text));
    }
    owners(&meta.owner_references, &mut causes);
    for finalizer in &meta.finalizers {
        invalid(&mut causes, "metadata.finalizers", finalizer, &label_key(finalizer));
    }
    let has = |name: &str| meta.finalizers.iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        let all = meta.finalizers.iter().map(|f| quote(f)).collect::<Vec<_>>().join(",");
        let text = "finalizer orphan and foregroundDeletion cannot be both set";
        let message = format!("Invalid value: [{all}]: {text}");
        causes.push(StatusCause::new("FieldValueInvalid", "metadata.finalizers", message));
    }
    causes
}

fn names(meta: &ObjectMeta, namespaced: bool, syntax: NameSyntax, causes: &mut Vec<StatusCause>) {
    let name = match syntax {
        NameSyntax::Subdomain => dns1123_subdomain,
        NameSyntax::PathSegment => path_segment,
    };
    if !meta.generate_name.is_empty() {
        let faults = name(&without_trailing_dash(&meta.generate_name));
        invalid(causes, "metadata.generateName", &meta.generate_name, &faults);
    }
    if meta.name.is_empty() {
        causes.push(StatusCause::required("metadata.name", "name or generateName is required"));
    } else {
        invalid(causes, "metadata.name", &meta.name, &name(&meta.name));
    }
    match (namespaced, meta.namespace.is_empty()) {
        (true, true) => causes.push(StatusCause::required("metadata.namespace", "")),
        (true, false) => {
            invalid(causes, "metadata.namespace", &meta.namespace, &dns1123_label(&meta.namespace));
        }
        (false, true) => {}
        (false, false) => {
            causes.push(StatusCause::forbidden("metadata.namespace", "not allowed on this type"));
        }
    }
}

fn owners(owners: &[OwnerReference], causes: &mut Vec<StatusCause>) {
    let path = |field: &str| format!("metadata.ownerReferences.{field}");
    let mut controller: Option<String> = None;
    for owner in owners {
        if version_of(&owner.api_version).is_empty() {
            causes.push(StatusCause::invalid(
                &path("apiVersion"),
                &owner.api_version,
                "version must not be empty",
            ));
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                causes.push(StatusCause::invalid(&path(field), value, "must not be empty"));
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            let message = "Invalid value: /v1, Kind=Event is disallowed from being an owner".to_owned();
            causes.push(StatusCause::new("FieldValueInvalid", "metadata.ownerReferences", message));
        }
        if owner.controller == Some(true) {
            let this = format!("{}/{}", owner.kind, owner.name);
            if let Some(other) = &controller {
                let message = format!(
                    "Invalid value: Only one reference can have Controller set to true. Found \"true\" in references for {other} and {this}"
                );
                causes.push(StatusCause::new("FieldValueInvalid", "metadata.ownerReferences", message));
            } else {
                controller = Some(this);
            }
        }
    }
}

/// "v1" of "apps/v1"; empty where it is neither `VERSION` nor `GROUP/VERSION`.
fn version_of(api_version: &str) -> &str {
    match api_version.split_once('/') {
        None => api_version,
        Some((_, version)) if !version.contains('/') => version,
        Some(_) => "",
    }
}

fn sorted(map: &HashMap<String, String>) -> Vec<(&String, &String)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_unstable();
    pairs
}

fn invalid(causes: &mut Vec<StatusCause>, field: &str, value: &str, faults: &[String]) {
    causes.extend(faults.iter().map(|fault| StatusCause::invalid(field, value, fault)));
}

/// A prefix may end in a dash: what is appended makes it a name.
fn without_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(head) if !head.is_empty() => {
            let mut kept = head.to_owned();
            kept.pop();
            kept + "a"
        }
        _ => prefix.to_owned(),
    }
}
