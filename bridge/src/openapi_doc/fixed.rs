//! What no proto says: schemas of Kubernetes' own answers, and messages with a JSON form of their own.

use serde_json::{Value, json};

/// The JSON form of a message that is not written as an object of its fields.
pub(super) fn json_form(full_name: &str) -> Option<Value> {
    let free = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    Some(match full_name {
        "kubridge.v1.Time" | "kubridge.v1.MicroTime" | "google.protobuf.Timestamp" => {
            json!({ "type": "string", "format": "date-time" })
        }
        "kubridge.v1.Duration"
        | "google.protobuf.Duration"
        | "google.protobuf.FieldMask"
        | "kubridge.v1.Quantity" => {
            json!({ "type": "string" })
        }
        "kubridge.v1.IntOrString" => {
            json!({ "type": "string", "format": "int-or-string", "x-kubernetes-int-or-string": true })
        }
        "kubridge.v1.RawExtension"
        | "kubridge.v1.FieldsV1"
        | "google.protobuf.Struct"
        | "google.protobuf.Any" => free,
        // Any JSON value: no type at all.
        "google.protobuf.Value" => json!({ "x-kubernetes-preserve-unknown-fields": true }),
        "google.protobuf.ListValue" => {
            json!({ "type": "array", "items": { "x-kubernetes-preserve-unknown-fields": true } })
        }
        "kubridge.v1.ExtraValue" => json!({ "type": "array", "items": { "type": "string" } }),
        "google.protobuf.Empty" => json!({ "type": "object" }),
        "google.protobuf.StringValue" => json!({ "type": "string", "nullable": true }),
        "google.protobuf.BytesValue" => json!({ "type": "string", "format": "byte", "nullable": true }),
        "google.protobuf.BoolValue" => json!({ "type": "boolean", "nullable": true }),
        "google.protobuf.DoubleValue" => json!({ "type": "number", "format": "double", "nullable": true }),
        "google.protobuf.FloatValue" => json!({ "type": "number", "format": "float", "nullable": true }),
        "google.protobuf.Int32Value" => json!({ "type": "integer", "format": "int32", "nullable": true }),
        "google.protobuf.Int64Value" | "google.protobuf.UInt64Value" | "google.protobuf.UInt32Value" => {
            json!({ "type": "integer", "format": "int64", "nullable": true })
        }
        _ => return None,
    })
}

/// List types of meta/v1, which its protos cannot carry: type, and the key of a map.
pub(super) fn list_type(field: &str) -> Option<(&'static str, Option<&'static str>)> {
    match field {
        "kubridge.v1.ObjectMeta.finalizers" => Some(("set", None)),
        "kubridge.v1.ObjectMeta.owner_references" => Some(("map", Some("uid"))),
        _ => None,
    }
}

/// Required fields of meta/v1.
pub(super) fn required(message: &str) -> impl Iterator<Item = &'static str> {
    let names: &[&str] = match message {
        "kubridge.v1.OwnerReference" => &["apiVersion", "kind", "name", "uid"],
        "kubridge.v1.LabelSelectorRequirement" => &["key", "operator"],
        "kubridge.v1.Condition" => &["lastTransitionTime", "message", "reason", "status", "type"],
        _ => &[],
    };
    names.iter().copied()
}

/// A schema by its name in `io.kubridge.v1`, where no message of the contract has it.
pub(super) fn schema(name: &str) -> Option<Value> {
    Some(match name {
        "Patch" => json!({
            "description": "A JSON patch (RFC 6902, a list of operations) or a merge patch (RFC 7386, a part of the object).",
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
        }),
        "Status" => status(),
        "APIResourceList" => resource_list(),
        _ => return None,
    })
}

fn text(description: &str) -> Value {
    json!({ "description": description, "type": "string" })
}

fn status() -> Value {
    json!({
        "description": "The outcome of a request that returns no object.",
        "type": "object",
        "properties": {
            "apiVersion": text("Always v1."),
            "kind": text("Always Status."),
            "metadata": {
                "description": "List metadata; empty but for an inconsistent `continue`.",
                "allOf": [{ "$ref": "#/components/schemas/io.kubridge.v1.ListMeta" }],
            },
            "status": text("Success or Failure."),
            "message": text("The outcome, for people."),
            "reason": text("The outcome, for programs, in CamelCase."),
            "code": { "description": "The HTTP status code.", "type": "integer", "format": "int32" },
            "details": {
                "description": "Which object, and why.",
                "type": "object",
                "properties": {
                    "name": text("The object's name."),
                    "group": text("The object's API group."),
                    "kind": text("The object's kind or resource."),
                    "uid": text("The object's uid."),
                    "retryAfterSeconds": {
                        "description": "When the request may be repeated, in seconds.",
                        "type": "integer",
                        "format": "int32",
                    },
                    "causes": {
                        "description": "One for each fault.",
                        "type": "array",
                        "x-kubernetes-list-type": "atomic",
                        "items": {
                            "type": "object",
                            "properties": {
                                "reason": text("The fault, for programs."),
                                "message": text("The fault, for people."),
                                "field": text("The path of the field, in JSON names."),
                            },
                        },
                    },
                },
            },
        },
        "x-kubernetes-group-version-kind": [{ "group": "", "version": "v1", "kind": "Status" }],
    })
}

fn resource_list() -> Value {
    let names = json!({ "type": "array", "items": { "type": "string" }, "x-kubernetes-list-type": "atomic" });
    json!({
        "description": "The resources of a group and version.",
        "type": "object",
        "required": ["groupVersion", "resources"],
        "properties": {
            "apiVersion": text("Always v1."),
            "kind": text("Always APIResourceList."),
            "groupVersion": text("The group and version that the list is of."),
            "resources": {
                "description": "The resources and their subresources.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["name", "singularName", "namespaced", "kind", "verbs"],
                    "properties": {
                        "name": text("The plural name; of a subresource: RESOURCE/SUBRESOURCE."),
                        "singularName": text("The singular name."),
                        "namespaced": { "description": "Whether objects live in namespaces.", "type": "boolean" },
                        "kind": text("The kind."),
                        "verbs": names,
                        "shortNames": names,
                        "categories": names,
                    },
                },
            },
        },
        "x-kubernetes-group-version-kind": [{ "group": "", "version": "v1", "kind": "APIResourceList" }],
    })
}
