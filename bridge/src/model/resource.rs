//! Messages -> resources, before their methods are bound.

use prost_reflect::{Kind, MessageDescriptor};

use super::{
    Column, Rules,
    comments::Comments,
    fault::Faults,
    names,
    path::{self, Leaf},
};
use crate::{
    model::annotation,
    proto::{self, Lifecycle, Scope},
};

/// A resource, as its message declares it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) short_names: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) namespaced: bool,
    pub(super) managed: bool,
    pub(super) per_user: bool,
    pub(super) columns: Vec<Column>,
    pub(super) selectable_fields: Vec<String>,
    pub(super) deprecation_warning: Option<String>,
    pub(super) description: String,
    pub(super) message: MessageDescriptor,
    pub(super) spec_field: Option<u32>,
    pub(super) status_field: Option<u32>,
}

/// Kinds that every group-version has already (meta/v1), or that clients take for something else.
const RESERVED_KINDS: [&str; 18] = [
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "List",
    "ListOptions",
    "PartialObjectMetadata",
    "PartialObjectMetadataList",
    "PatchOptions",
    "Scale",
    "Status",
    "Table",
    "TableOptions",
    "UpdateOptions",
    "WatchEvent",
];

/// Plurals that a path cannot tell from something else.
const RESERVED_PLURALS: [&str; 5] = ["finalize", "namespaces", "proxy", "status", "watch"];

/// Reads the resource that `message` declares, if it does. Faults go to `faults`; the draft is
/// complete enough to bind methods to all the same.
pub(super) fn read(
    message: &MessageDescriptor,
    comments: &Comments,
    rules: &Rules,
    faults: &mut Faults,
) -> Option<Draft> {
    let resource = match annotation::resource(message) {
        Ok(resource) => resource?,
        Err(error) => {
            faults.add(
                message,
                format!("(kubridge.v1.resource) cannot be decoded: {error}"),
                "compile with the api.proto of this Kubridge",
            );
            return None;
        }
    };
    // A malformed file option is a fault of the file: it is reported there.
    let api = annotation::api(&message.parent_file()).ok().flatten().unwrap_or_default();
    let or = |own: &str, default: &str| if own.is_empty() { default.to_owned() } else { own.to_owned() };
    let kind = or(&resource.kind, message.name());
    let draft = Draft {
        group: or(&resource.group, &api.group),
        version: or(&resource.version, &api.version),
        plural: or(&resource.plural, &names::plural(&kind)),
        singular: or(&resource.singular, &kind.to_ascii_lowercase()),
        short_names: resource.short_names.clone(),
        categories: resource.categories.clone(),
        namespaced: resource.scope() != Scope::Cluster,
        managed: resource.lifecycle() != Lifecycle::Backend,
        per_user: resource.per_user,
        columns: columns(&resource, message, comments, faults),
        selectable_fields: selectable(&resource, message, faults),
        deprecation_warning: Some(resource.deprecation_warning.clone()).filter(|text| !text.is_empty()),
        description: comments.message(message).to_owned(),
        message: message.clone(),
        spec_field: part(message, "spec", 2, rules, faults),
        status_field: part(message, "status", 3, rules, faults),
        kind,
    };
    check_enums(&resource, message, faults);
    check_names(&draft, &resource, faults);
    check_metadata(message, faults);
    Some(draft)
}

fn check_enums(resource: &proto::Resource, message: &MessageDescriptor, faults: &mut Faults) {
    if Scope::try_from(resource.scope).is_err() {
        faults.add_field(
            message,
            "scope",
            format!("{} is no scope that this Kubridge knows", resource.scope),
            "write NAMESPACED or CLUSTER",
        );
    }
    if Lifecycle::try_from(resource.lifecycle).is_err() {
        faults.add_field(
            message,
            "lifecycle",
            format!("{} is no lifecycle that this Kubridge knows", resource.lifecycle),
            "write MANAGED or BACKEND",
        );
    }
}

fn check_names(draft: &Draft, resource: &proto::Resource, faults: &mut Faults) {
    let at = &draft.message;
    if draft.group.is_empty() || draft.version.is_empty() {
        let missing = match (draft.group.is_empty(), draft.version.is_empty()) {
            (true, true) => "group and version",
            (true, false) => "group",
            _ => "version",
        };
        faults.add_field(
            at,
            if draft.group.is_empty() { "group" } else { "version" },
            format!("{} has no {missing}", draft.kind),
            "write `option (kubridge.v1.api) = { group: \"inventory.example.com\" version: \"v1\" };` in the file",
        );
    }
    // What the file declares is checked once, at the file.
    if !resource.group.is_empty() {
        check_group(&resource.group, at, faults);
    }
    if !resource.version.is_empty() {
        check_version(&resource.version, at, faults);
    }
    if !names::is_kind(&draft.kind) {
        faults.add_field(
            at,
            "kind",
            format!("{:?} is not a kind", draft.kind),
            "write CamelCase letters and digits, at most 63, such as \"Machine\"",
        );
    } else if RESERVED_KINDS.contains(&draft.kind.as_str()) {
        faults.add_field(
            at,
            "kind",
            format!("{} is a kind of Kubernetes itself, in every group", draft.kind),
            "write another `kind`",
        );
    }
    check_label(at, "plural", &draft.plural, "\"machines\"", faults);
    check_label(at, "singular", &draft.singular, "\"machine\"", faults);
    for name in &draft.short_names {
        check_label(at, "short_names", name, "\"mach\"", faults);
    }
    for name in &draft.categories {
        check_label(at, "categories", name, "\"all\"", faults);
    }
    if RESERVED_PLURALS.contains(&draft.plural.as_str()) {
        faults.add_field(
            at,
            "plural",
            format!("{:?} has a meaning of its own in Kubernetes' paths", draft.plural),
            "write another `plural`",
        );
    }
}

fn check_label(at: &MessageDescriptor, field: &str, name: &str, example: &str, faults: &mut Faults) {
    if !names::is_label(name) {
        faults.add_field(
            at,
            field,
            format!("{name:?} is not a DNS label"),
            format!("write lower-case letters, digits and `-`, beginning with a letter, at most 63, such as {example}"),
        );
    }
}

/// Checks a group that is not empty.
pub(super) fn check_group(group: &str, at: impl Into<super::fault::Place>, faults: &mut Faults) {
    if !names::is_subdomain(group) {
        faults.add_field(
            at,
            "group",
            format!("{group:?} is not an API group"),
            "write a DNS name in lower case that you own, such as \"inventory.example.com\"",
        );
    }
}

/// Checks a version that is not empty.
pub(super) fn check_version(version: &str, at: impl Into<super::fault::Place>, faults: &mut Faults) {
    if !names::is_version(version) {
        faults.add_field(
            at,
            "version",
            format!("{version:?} is not a Kubernetes API version"),
            "write `v`, a number, and optionally `alpha` or `beta` and a number: \"v1\", \"v1beta1\"",
        );
    }
}

fn check_metadata(message: &MessageDescriptor, faults: &mut Faults) {
    let mend = "write `kubridge.v1.ObjectMeta metadata = 1;`";
    let first = message.get_field(1);
    match message.get_field_by_name("metadata") {
        Some(field) => {
            if !is_message(&field, "kubridge.v1.ObjectMeta") {
                faults.add_field(message, "metadata", "metadata is not one kubridge.v1.ObjectMeta", mend);
            }
            if field.number() != 1 {
                faults.add_field(
                    message,
                    "metadata",
                    format!("metadata is field {}, not 1", field.number()),
                    mend,
                );
            } else if field.json_name() != "metadata" {
                faults.add_field(
                    message,
                    "metadata",
                    format!("metadata has the JSON name {:?}", field.json_name()),
                    "leave out `json_name`",
                );
            }
        }
        None => match first {
            Some(field) => faults.add_field(
                message,
                "metadata",
                format!("a resource has no metadata, and field 1 is {}", field.name()),
                format!("{mend} and give {} another number", field.name()),
            ),
            None => faults.add_field(message, "metadata", "a resource has no metadata", mend),
        },
    }
    for field in message.fields().filter(|field| matches!(field.json_name(), "apiVersion" | "kind")) {
        faults.add_field(
            message,
            field.name(),
            format!("a resource has a field {} of its own", field.json_name()),
            "leave it out: Kubridge writes apiVersion and kind",
        );
    }
}

/// The number of `spec` or `status`.
fn part(
    message: &MessageDescriptor,
    name: &str,
    number: u32,
    rules: &Rules,
    faults: &mut Faults,
) -> Option<u32> {
    let field = message.get_field_by_name(name)?;
    let mend = format!("write `{}{} {name} = {number};`, a message", message.name(), capitalised(name));
    if rules.fixed_numbers && field.number() != number {
        faults.add_field(
            message,
            name,
            format!("{name} is field {}, not {number}", field.number()),
            mend.clone(),
        );
    }
    let singular = !field.is_list() && !field.is_map();
    match field.kind() {
        Kind::Message(part) if singular && !path::is_scalar(part.full_name()) => {}
        _ => faults.add_field(message, name, format!("{name} is not one message"), mend),
    }
    if field.json_name() != name {
        faults.add_field(
            message,
            name,
            format!("{name} has the JSON name {:?}", field.json_name()),
            "leave out `json_name`",
        );
    }
    Some(field.number())
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// Whether a field is one message of this type.
pub(super) fn is_message(field: &prost_reflect::FieldDescriptor, full_name: &str) -> bool {
    !field.is_list()
        && !field.is_map()
        && matches!(field.kind(), Kind::Message(m) if m.full_name() == full_name)
}

fn columns(
    resource: &proto::Resource,
    message: &MessageDescriptor,
    comments: &Comments,
    faults: &mut Faults,
) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (index, column) in resource.columns.iter().enumerate() {
        let place = format!("columns[{index}]");
        if column.name.is_empty() {
            faults.add_field(
                message,
                &place,
                "a column has no name",
                "write `name`, its heading: \"Serial\"",
            );
        } else if columns.iter().any(|other| other.name == column.name) {
            faults.add_field(
                message,
                &place,
                format!("two columns are called {:?}", column.name),
                "give each its own `name`",
            );
        }
        let leaf = match path::follow(message, &column.path) {
            Ok(leaf) => leaf,
            Err(why) => {
                faults.add_field(
                    message,
                    &place,
                    format!("the path {:?} {why}", column.path),
                    "write a JSONPath from the object, in JSON names: \".spec.serial\"",
                );
                Leaf::Free
            }
        };
        let known = ["", "string", "integer", "number", "boolean", "date"];
        if !known.contains(&column.r#type.as_str()) {
            faults.add_field(
                message,
                &place,
                format!("{:?} is not a type of a column", column.r#type),
                "write string, integer, number, boolean or date, or leave `type` out",
            );
        }
        let default_description = match &leaf {
            Leaf::Field { field, .. } => comments.field(field),
            Leaf::Free => "",
        };
        columns.push(Column {
            name: column.name.clone(),
            path: column.path.clone(),
            column_type: if column.r#type.is_empty() {
                column_type(&leaf).to_owned()
            } else {
                column.r#type.clone()
            },
            format: column.format.clone(),
            description: if column.description.is_empty() {
                default_description.to_owned()
            } else {
                column.description.clone()
            },
            priority: column.priority,
            compute: None,
        });
    }
    columns
}

fn column_type(leaf: &Leaf) -> &'static str {
    let Leaf::Field { field, element } = leaf else { return "string" };
    if !element && (field.is_list() || field.is_map()) {
        return "string";
    }
    match path::value_kind(field, *element) {
        Kind::Double | Kind::Float => "number",
        Kind::Bool => "boolean",
        Kind::String | Kind::Bytes | Kind::Enum(_) => "string",
        Kind::Message(message) => match message.full_name() {
            "kubridge.v1.Time" | "kubridge.v1.MicroTime" | "google.protobuf.Timestamp" => "date",
            "google.protobuf.BoolValue" => "boolean",
            "google.protobuf.DoubleValue" | "google.protobuf.FloatValue" => "number",
            "google.protobuf.Int32Value"
            | "google.protobuf.Int64Value"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.UInt64Value" => "integer",
            _ => "string",
        },
        _ => "integer",
    }
}

fn selectable(resource: &proto::Resource, message: &MessageDescriptor, faults: &mut Faults) -> Vec<String> {
    let mut paths = Vec::new();
    for path in &resource.selectable_fields {
        let problem = match path::follow(message, path) {
            Err(why) => Some(why),
            Ok(_) if path.contains(['[', '*', '{']) || path.contains("..") => {
                Some("chooses elements of a list".to_owned())
            }
            Ok(Leaf::Field { field, element: false })
                if !field.is_list()
                    && !field.is_map()
                    && !matches!(field.kind(), Kind::Message(_) | Kind::Bytes) =>
            {
                None
            }
            Ok(_) => Some("does not lead to one string, number, bool or enum".to_owned()),
        };
        match problem {
            Some(why) => faults.add_field(
                message,
                "selectable_fields",
                format!("the path {path:?} {why}"),
                "write the path of one scalar field, in JSON names: \".spec.rack\"",
            ),
            None => {
                let path = path.trim_start_matches('.').to_owned();
                if !paths.contains(&path) && !matches!(path.as_str(), "metadata.name" | "metadata.namespace")
                {
                    paths.push(path);
                }
            }
        }
    }
    paths
}
