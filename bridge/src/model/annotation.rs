//! Reads the annotations of `kubridge/v1/api.proto` from descriptors.
//!
//! They are found by their number in the bytes of the options and decoded with our own types, so
//! that the copy of api.proto in the descriptor set may be older, newer, or missing.

use prost::{DecodeError, Message};
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor,
    MethodDescriptor,
};

use crate::{proto, wire};

/// `(kubridge.v1.api)` of a file.
pub(crate) fn api(file: &FileDescriptor) -> Result<Option<proto::Api>, DecodeError> {
    read(&file.options())
}

/// `(kubridge.v1.resource)` of a message.
pub(crate) fn resource(message: &MessageDescriptor) -> Result<Option<proto::Resource>, DecodeError> {
    read(&message.options())
}

/// `(kubridge.v1.method)` of a method.
pub(crate) fn method(method: &MethodDescriptor) -> Result<Option<proto::Method>, DecodeError> {
    read(&method.options())
}

/// `(kubridge.v1.field)` of a field; the default where there is none. A malformed one is a fault of
/// the lint and reads as the default here.
pub(crate) fn field(field: &FieldDescriptor) -> proto::Field {
    read_field(field).ok().flatten().unwrap_or_default()
}

/// `(kubridge.v1.field)` of a field.
pub(crate) fn read_field(field: &FieldDescriptor) -> Result<Option<proto::Field>, DecodeError> {
    read(&field.options())
}

/// `(kubridge.v1.value)` of an enum value.
pub(crate) fn value(value: &EnumValueDescriptor) -> Result<Option<proto::Value>, DecodeError> {
    read(&value.options())
}

/// Whether anything in the pool carries one of our annotations.
pub(crate) fn any_in(pool: &DescriptorPool) -> bool {
    pool.files().any(|file| present(&file.options()))
        || pool.all_messages().any(|m| present(&m.options()) || m.fields().any(|f| present(&f.options())))
        || pool.services().any(|service| service.methods().any(|m| present(&m.options())))
        || pool.all_enums().any(|e| e.values().any(|value| present(&value.options())))
}

fn present(options: &DynamicMessage) -> bool {
    matches!(wire::has_field(&options.encode_to_vec(), proto::EXTENSION), Ok(true))
}

fn read<T: Message + Default>(options: &DynamicMessage) -> Result<Option<T>, DecodeError> {
    let mut found: Option<T> = None;
    let bytes = options.encode_to_vec();
    // The bytes were written by prost-reflect just now: they are well-formed.
    for field in wire::fields(&bytes).flatten().filter(|field| field.number == proto::EXTENSION) {
        found.get_or_insert_default().merge(field.value)?;
    }
    Ok(found)
}
