//! Messages -> resources, before their methods are bound.

use prost_reflect::{Kind, MessageDescriptor};

use super::{
    Column, Rules,
    catalogue::Problem,
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
pub(crate) const RESERVED_KINDS: [&str; 18] = [
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
pub(crate) const RESERVED_PLURALS: [&str; 5] = ["finalize", "namespaces", "proxy", "status", "watch"];

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
            faults.report(message, Problem::undecodable_option("kubridge.v1.resource", error));
            return None;
        }
    };
    // A malformed file option is a fault of the file: it is reported there.
    let api = annotation::api(&message.parent_file()).ok().flatten().unwrap_or_default();
    let or = |own: &str, default: &str| if own.is_empty() { default.to_owned() } else { own.to_owned() };
    let kind = or(&resource.kind, message.name());
    let group = resource.group.clone().or(api.group);
    let draft = Draft {
        group: group.clone().unwrap_or_default(),
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
    check_api(&draft, group.is_some(), &resource, faults);
    check_names(&draft, faults);
    check_metadata(message, faults);
    Some(draft)
}

fn check_enums(resource: &proto::Resource, message: &MessageDescriptor, faults: &mut Faults) {
    if Scope::try_from(resource.scope).is_err() {
        faults.report_field(message, "scope", Problem::unknown_scope(resource.scope));
    }
    if Lifecycle::try_from(resource.lifecycle).is_err() {
        faults.report_field(message, "lifecycle", Problem::unknown_lifecycle(resource.lifecycle));
    }
}

/// The core group has no name: it must be written out, so that nobody gets there by leaving something out.
fn check_api(draft: &Draft, has_group: bool, resource: &proto::Resource, faults: &mut Faults) {
    let at = &draft.message;
    if !has_group || draft.version.is_empty() {
        let missing = match (has_group, draft.version.is_empty()) {
            (false, true) => "group and version",
            (false, false) => "group",
            (true, _) => "version",
        };
        let field = if has_group { "version" } else { "group" };
        faults.report_field(at, field, Problem::no_group_version(&draft.kind, missing));
    }
    // What the file declares is checked once, at the file.
    check_group(resource.group(), at, faults);
    if !resource.version.is_empty() {
        check_version(&resource.version, at, faults);
    }
}

fn check_names(draft: &Draft, faults: &mut Faults) {
    let at = &draft.message;
    if !names::is_kind(&draft.kind) {
        faults.report_field(at, "kind", Problem::bad_kind(&draft.kind));
    } else if RESERVED_KINDS.contains(&draft.kind.as_str()) {
        faults.report_field(at, "kind", Problem::reserved_kind(&draft.kind));
    }
    check_label(at, "plural", &draft.plural, "machines", faults);
    check_label(at, "singular", &draft.singular, "machine", faults);
    for name in &draft.short_names {
        check_label(at, "short_names", name, "mach", faults);
    }
    for name in &draft.categories {
        check_label(at, "categories", name, "all", faults);
    }
    if RESERVED_PLURALS.contains(&draft.plural.as_str()) {
        faults.report_field(at, "plural", Problem::reserved_plural(&draft.plural));
    }
}

fn check_label(at: &MessageDescriptor, field: &str, name: &str, example: &str, faults: &mut Faults) {
    if !names::is_label(name) {
        faults.report_field(at, field, Problem::not_a_label(name, example));
    }
}

/// Checks a group. Empty: none, or the core group.
pub(super) fn check_group(group: &str, at: impl Into<super::fault::Place>, faults: &mut Faults) {
    if !group.is_empty() && !names::is_subdomain(group) {
        faults.report_field(at, "group", Problem::bad_group(group));
    }
}

/// Checks a version that is not empty.
pub(super) fn check_version(version: &str, at: impl Into<super::fault::Place>, faults: &mut Faults) {
    if !names::is_version(version) {
        faults.report_field(at, "version", Problem::bad_version(version));
    }
}

fn check_metadata(message: &MessageDescriptor, faults: &mut Faults) {
    let first = message.get_field(1);
    match message.get_field_by_name("metadata") {
        Some(field) => {
            if !is_message(&field, "kubridge.v1.ObjectMeta") {
                faults.report_field(message, "metadata", Problem::metadata_type());
            }
            if field.number() != 1 {
                faults.report_field(message, "metadata", Problem::metadata_number(field.number()));
            } else if field.json_name() != "metadata" {
                let problem = Problem::part_json_name("metadata", field.json_name());
                faults.report_field(message, "metadata", problem);
            }
        }
        None => match first {
            Some(field) => {
                faults.report_field(message, "metadata", Problem::no_metadata_but_another(field.name()));
            }
            None => faults.report_field(message, "metadata", Problem::no_metadata()),
        },
    }
    for field in message.fields().filter(|field| matches!(field.json_name(), "apiVersion" | "kind")) {
        faults.report_field(message, field.name(), Problem::own_type_meta(field.json_name()));
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
    let type_name = format!("{}{}", message.name(), capitalised(name));
    if rules.fixed_numbers && field.number() != number {
        faults.report_field(message, name, Problem::part_number(name, field.number(), number, &type_name));
    }
    let singular = !field.is_list() && !field.is_map();
    match field.kind() {
        Kind::Message(part) if singular && !path::is_scalar(part.full_name()) => {}
        _ => faults.report_field(message, name, Problem::part_type(name, number, &type_name)),
    }
    if field.json_name() != name {
        faults.report_field(message, name, Problem::part_json_name(name, field.json_name()));
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
            faults.report_field(message, &place, Problem::column_unnamed());
        } else if columns.iter().any(|other| other.name == column.name) {
            faults.report_field(message, &place, Problem::column_twice(&column.name));
        }
        let leaf = match path::follow(message, &column.path) {
            Ok(leaf) => leaf,
            Err(why) => {
                faults.report_field(message, &place, Problem::column_path(&column.path, why));
                Leaf::Free
            }
        };
        let known = ["", "string", "integer", "number", "boolean", "date"];
        if !known.contains(&column.r#type.as_str()) {
            faults.report_field(message, &place, Problem::column_type(&column.r#type));
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
            Some(why) => {
                faults.report_field(message, "selectable_fields", Problem::selectable_path(path, why));
            }
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
