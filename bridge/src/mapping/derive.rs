//! Google's API Improvement Proposals -> a mapping: what follows from annotations and from the names of standard
//! methods and fields (AIP-121 to AIP-136, 148, 151, 154 to 158, 203). Every fact remembers what it follows from.

mod methods;

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use super::{
    annotations::{self, Behavior, ResourceDescriptor},
    facts::{ColumnMapping, Fact, FieldMapping, Home, ResourceMapping, Verb},
};
use crate::model::{catalogue::Problem, fault::Faults, names};
pub(super) use methods::{complete, custom};

/// What was derived, before anything else is said.
pub(super) struct Derived {
    pub(super) found: Vec<Found>,
    /// Standard methods that are there twice: a mapping file may say which is meant.
    pub(super) doubts: Vec<Doubt>,
}

/// A second method for one verb of a resource.
pub(super) struct Doubt {
    /// The index of the resource.
    pub(super) resource: usize,
    pub(super) verb: Verb,
    pub(super) method: MethodDescriptor,
}

/// Derives all that can be derived: of what is annotated, and of `named`, which a mapping file makes resources.
/// `advice`: what is left out, and why.
pub(super) fn derive(
    pool: &DescriptorPool,
    named: &[MessageDescriptor],
    faults: &mut Faults,
    advice: &mut Faults,
) -> Derived {
    let mut found: Vec<Found> = Vec::new();
    for message in pool.all_messages() {
        match annotations::resource(&message) {
            Ok(Some(declared)) => found.extend(read(message, declared)),
            Ok(None) if named.contains(&message) => found.push(bare(message)),
            Ok(None) => {}
            Err(error) => faults.report(&message, Problem::undecodable_resource(error)),
        }
    }
    let doubts = methods::bind(pool, &mut found, advice);
    Derived { found, doubts }
}

/// A resource on its way.
pub(super) struct Found {
    pub(super) message: MessageDescriptor,
    /// The default, where the message is not annotated.
    pub(super) declared: ResourceDescriptor,
    pub(super) resource: ResourceMapping,
}

impl Found {
    /// "Book": of the type, which the message's name follows (AIP-123).
    pub(super) fn kind(&self) -> &str {
        self.resource.kind.as_ref().map_or("", |kind| &kind.value)
    }
}

fn read(message: MessageDescriptor, declared: ResourceDescriptor) -> Option<Found> {
    let (service, kind) = declared.r#type.split_once('/')?;
    let annotated = format!("google.api.resource of {}", message.full_name());
    let fact =
        |value: &str, part: &str| Some(Fact::derived(value.to_owned(), format!("{annotated}: {part}")));
    let name_field = if declared.name_field.is_empty() { "name" } else { &declared.name_field };
    let mut resource = of_message(&message, kind, name_field);
    resource.group = fact(service, "the service in type");
    resource.kind = fact(kind, "type");
    resource.names.field =
        fact(name_field, if declared.name_field.is_empty() { "AIP-122" } else { "name_field" });
    if !declared.plural.is_empty() {
        resource.plural = fact(&declared.plural.to_ascii_lowercase(), "plural");
    }
    if !declared.singular.is_empty() {
        resource.singular = fact(&declared.singular.to_ascii_lowercase(), "singular");
    }
    if !declared.pattern.is_empty() {
        resource.names.patterns =
            Some(Fact::derived(declared.pattern.clone(), format!("{annotated}: pattern")));
    }
    Some(Found { message, declared, resource })
}

/// A message that is not annotated.
fn bare(message: MessageDescriptor) -> Found {
    let resource = of_message(&message, message.name(), "name");
    Found { message, declared: ResourceDescriptor::default(), resource }
}

/// What follows from a message's name, package and fields.
fn of_message(message: &MessageDescriptor, kind: &str, name_field: &str) -> ResourceMapping {
    let name = message.full_name();
    ResourceMapping {
        message: Some(Fact::derived(name.to_owned(), "the message")),
        version: version(message.package_name())
            .map(|version| Fact::derived(version, format!("the package {}", message.package_name()))),
        kind: Some(Fact::derived(kind.to_owned(), "the message's name")),
        plural: Some(Fact::derived(names::plural(kind), format!("the English plural of {kind}"))),
        singular: Some(Fact::derived(kind.to_ascii_lowercase(), format!("{kind} in lower case"))),
        fields: fields(message, name_field),
        columns: columns(message),
        ..ResourceMapping::default()
    }
}

/// The last `vN` of a package: "v1" of "google.example.library.v1".
fn version(package: &str) -> Option<String> {
    package.rsplit('.').find(|part| names::is_version(part)).map(str::to_owned)
}

fn fields(message: &MessageDescriptor, name_field: &str) -> BTreeMap<String, FieldMapping> {
    message.fields().map(|field| (field.name().to_owned(), of_field(&field, name_field))).collect()
}

fn of_field(field: &FieldDescriptor, name_field: &str) -> FieldMapping {
    let behavior = annotations::behavior(field);
    let said = |what: &str| format!("field_behavior {what}");
    let flag = |set: bool, what: &str| set.then(|| Fact::derived(true, said(what)));
    FieldMapping {
        to: Some(home(field, behavior, name_field)),
        // What only the service writes nobody can be asked for.
        required: flag(behavior.required && !behavior.output_only, "REQUIRED"),
        immutable: flag(behavior.immutable, "IMMUTABLE"),
        input_only: flag(behavior.input_only, "INPUT_ONLY"),
    }
}

fn home(field: &FieldDescriptor, behavior: Behavior, name_field: &str) -> Fact<Home> {
    let aip = |home, number: u32| Fact::derived(home, format!("the field's name and type (AIP-{number})"));
    match field.name() {
        name if name == name_field && is_string(field) => aip(Home::Name, 122),
        "uid" if is_string(field) => aip(Home::Uid, 148),
        "create_time" if is_timestamp(field) => aip(Home::CreationTimestamp, 148),
        "update_time" if is_timestamp(field) => aip(Home::UpdateTime, 148),
        "delete_time" if is_timestamp(field) => aip(Home::DeleteTime, 164),
        "etag" if is_string(field) => aip(Home::ResourceVersion, 154),
        "labels" if is_string_map(field) => aip(Home::Labels, 148),
        "annotations" if is_string_map(field) => aip(Home::Annotations, 148),
        _ if behavior.output_only => Fact::derived(Home::Status, "field_behavior OUTPUT_ONLY"),
        _ => Fact::derived(Home::Spec, "not OUTPUT_ONLY"),
    }
}

/// `string name`, once.
pub(super) fn is_string(field: &FieldDescriptor) -> bool {
    !field.is_list() && field.kind() == Kind::String
}

pub(super) fn is_message(field: &FieldDescriptor, name: &str) -> bool {
    !field.is_list() && matches!(field.kind(), Kind::Message(message) if message.full_name() == name)
}

pub(super) fn is_timestamp(field: &FieldDescriptor) -> bool {
    is_message(field, "google.protobuf.Timestamp")
}

pub(super) fn is_string_map(field: &FieldDescriptor) -> bool {
    let Kind::Message(entry) = field.kind() else { return false };
    field.is_map()
        && entry.map_entry_key_field().kind() == Kind::String
        && entry.map_entry_value_field().kind() == Kind::String
}

/// The fields that tell people which object it is and how it is (AIP-148, AIP-216).
fn columns(message: &MessageDescriptor) -> Option<Fact<Vec<ColumnMapping>>> {
    let column = |name: &str, heading: &str| {
        let field = message.get_field_by_name(name)?;
        let shown = is_string(&field) || (!field.is_list() && matches!(field.kind(), Kind::Enum(_)));
        let part = if annotations::behavior(&field).output_only { "status" } else { "spec" };
        let path = format!(".{part}.{}", field.json_name());
        shown.then(|| ColumnMapping { name: heading.to_owned(), path, priority: 0 })
    };
    let columns: Vec<ColumnMapping> =
        [("display_name", "Display Name"), ("title", "Title"), ("state", "State")]
            .into_iter()
            .filter_map(|(name, heading)| column(name, heading))
            .collect();
    (!columns.is_empty()).then(|| Fact::derived(columns, "display_name, title and state (AIP-148, AIP-216)"))
}

/// What is left open, or said twice, when all that is known of a resource is together.
pub(super) fn check(
    message: &MessageDescriptor,
    resource: &ResourceMapping,
    faults: &mut Faults,
    advice: &mut Faults,
) {
    if resource.version.is_none() {
        faults.report_field(message, "version", Problem::no_version(message.package_name()));
    }
    let annotated = annotations::resource(message).is_ok_and(|declared| declared.is_some());
    if resource.names.patterns.is_none() && annotated {
        faults.report_field(message, "pattern", Problem::no_pattern());
    }
    for field in message.fields() {
        let behavior = annotations::behavior(&field);
        let said = resource.fields.get(field.name()).and_then(|field| field.to.as_ref());
        let by_file = said.is_some_and(|said| said.origin == super::facts::Origin::File);
        if behavior.required && behavior.output_only && !by_file {
            advice.report_field(message, field.name(), Problem::required_and_output_only(field.name()));
        }
    }
    let parents = |pattern: &String| pattern.matches('{').count() > 3;
    if resource.names.patterns.as_ref().is_some_and(|patterns| patterns.value.iter().any(parents)) {
        advice.report_field(message, "pattern", Problem::long_namespaces());
    }
    let etag =
        resource.fields.values().any(|f| f.to.as_ref().is_some_and(|to| to.value == Home::ResourceVersion));
    if resource.methods.of(Verb::Update).is_some() && !etag {
        advice.report_field(message, "etag", Problem::no_etag());
    }
}
