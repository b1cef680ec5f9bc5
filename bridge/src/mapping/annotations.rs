//! Google's annotations, read by their numbers: `google/api/{resource,field_behavior,annotations}.proto` and
//! `google/longrunning/operations.proto`. As with our own, the descriptor set need not have those files.

use prost::{DecodeError, Message};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, MethodDescriptor};

use crate::wire;

/// `google.api.resource` of a message.
const RESOURCE: u32 = 1053;
/// `google.api.field_behavior` of a field.
const FIELD_BEHAVIOR: u32 = 1052;
/// `google.api.resource_reference` of a field.
const RESOURCE_REFERENCE: u32 = 1055;
/// `google.api.http` of a method.
const HTTP: u32 = 72_295_728;
/// `google.longrunning.operation_info` of a method.
const OPERATION_INFO: u32 = 1049;

/// `google.longrunning.Operation`.
pub(super) const OPERATION: &str = "google.longrunning.Operation";

/// `google.api.ResourceDescriptor`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceDescriptor {
    /// "library.googleapis.com/Book".
    #[prost(string, tag = "1")]
    pub(super) r#type: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) pattern: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) name_field: String,
    #[prost(string, tag = "5")]
    pub(super) plural: String,
    #[prost(string, tag = "6")]
    pub(super) singular: String,
}

/// `google.api.ResourceReference`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceReference {
    #[prost(string, tag = "1")]
    pub(super) r#type: String,
}

/// `google.longrunning.OperationInfo`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OperationInfo {
    /// A message of the method's package, or a full name.
    #[prost(string, tag = "1")]
    pub(super) response_type: String,
    #[prost(string, tag = "2")]
    pub(super) metadata_type: String,
}

/// What is read of `google.api.HttpRule`.
#[derive(Clone, PartialEq, Message)]
struct HttpRule {
    #[prost(string, tag = "2")]
    get: String,
    #[prost(string, tag = "3")]
    put: String,
    #[prost(string, tag = "4")]
    post: String,
    #[prost(string, tag = "5")]
    delete: String,
    #[prost(string, tag = "6")]
    patch: String,
}

/// `google.api.FieldBehavior`, as far as it means something here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Behavior {
    pub(super) required: bool,
    pub(super) output_only: bool,
    pub(super) input_only: bool,
    pub(super) immutable: bool,
}

/// `google.api.resource`.
pub(super) fn resource(message: &MessageDescriptor) -> Result<Option<ResourceDescriptor>, DecodeError> {
    read(&message.options(), RESOURCE)
}

/// The type that `google.api.resource_reference` names; empty: none.
pub(super) fn reference(field: &FieldDescriptor) -> String {
    // One that cannot be decoded says nothing.
    let found: Option<ResourceReference> = read(&field.options(), RESOURCE_REFERENCE).ok().flatten();
    found.unwrap_or_default().r#type
}

/// `google.longrunning.operation_info`.
pub(super) fn operation_info(method: &MethodDescriptor) -> Option<OperationInfo> {
    read(&method.options(), OPERATION_INFO).ok().flatten()
}

/// A type that `operation_info` names: in full, or in the method's package.
pub(super) fn full_name(method: &MethodDescriptor, name: &str) -> String {
    let service = method.parent_service();
    let package = service.package_name();
    let local = if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") };
    let known = service.parent_pool().get_message_by_name(&local).is_some();
    if known { local } else { name.to_owned() }
}

/// The custom verb of `google.api.http`: "archive" of `post: "/v1/{name=...}:archive"`.
pub(super) fn http_verb(method: &MethodDescriptor) -> Option<String> {
    let rule: HttpRule = read(&method.options(), HTTP).ok().flatten()?;
    let paths = [rule.post, rule.get, rule.put, rule.patch, rule.delete];
    let (_, verb) = paths.iter().find(|path| !path.is_empty())?.rsplit_once(':')?;
    (!verb.is_empty() && !verb.contains(['/', '}'])).then(|| verb.to_owned())
}

/// `google.api.field_behavior`.
pub(super) fn behavior(field: &FieldDescriptor) -> Behavior {
    let mut behavior = Behavior::default();
    let options = field.options().encode_to_vec();
    for found in wire::fields(&options).flatten().filter(|found| found.number == FIELD_BEHAVIOR) {
        // Packed or not: a run of varints.
        let mut rest = found.value;
        while let Ok(number) = prost::encoding::decode_varint(&mut rest) {
            match number {
                2 => behavior.required = true,
                3 => behavior.output_only = true,
                4 => behavior.input_only = true,
                5 => behavior.immutable = true,
                _ => {}
            }
        }
    }
    behavior
}

/// The name of the first file that imports the annotations and of which none came: the server's reflection strips
/// custom options.
pub(super) fn stripped(pool: &DescriptorPool) -> Option<String> {
    let any = pool.all_messages().any(|message| {
        has(&message.options(), RESOURCE)
            || message.fields().any(|field| has(&field.options(), FIELD_BEHAVIOR))
    });
    let imports = |file: &prost_reflect::FileDescriptor| {
        file.dependencies().any(|import| import.name() == "google/api/resource.proto")
    };
    pool.files().filter(|_| !any).find(imports).map(|file| file.name().to_owned())
}

fn has(options: &DynamicMessage, number: u32) -> bool {
    matches!(wire::has_field(&options.encode_to_vec(), number), Ok(true))
}

fn read<T: Message + Default>(options: &DynamicMessage, number: u32) -> Result<Option<T>, DecodeError> {
    let mut found: Option<T> = None;
    let bytes = options.encode_to_vec();
    // The bytes were written by prost-reflect just now: they are well-formed.
    for field in wire::fields(&bytes).flatten().filter(|field| field.number == number) {
        found.get_or_insert_default().merge(field.value)?;
    }
    Ok(found)
}
