//! Request messages, filled as the schema binds them.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::{
    caller::{Call, Class},
    model::{Method, Source},
    proto::{CreateOptions, DeleteOptions, GetOptions, ListOptions, PatchOptions, UpdateOptions},
    transcode::WireError,
    wire,
};

/// What a request may be made of. What a method does not bind is not sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The resource message, or an action's body, on the wire.
    pub(super) object: &'a [u8],
    pub(super) get: Option<&'a GetOptions>,
    pub(super) list: Option<&'a ListOptions>,
    pub(super) create: Option<&'a CreateOptions>,
    pub(super) update: Option<&'a UpdateOptions>,
    pub(super) patch: Option<&'a PatchOptions>,
    pub(super) delete: Option<&'a DeleteOptions>,
    /// dryRun of an action; of other verbs it stands in the options.
    pub(super) dry_run: &'a [String],
}

impl Values<'_> {
    fn dry_run(&self) -> &[String] {
        let options = self
            .create
            .map(|o| &o.dry_run)
            .or(self.update.map(|o| &o.dry_run))
            .or(self.delete.map(|o| &o.dry_run))
            .or(self.patch.map(|o| &o.dry_run));
        options.map_or(self.dry_run, Vec::as_slice)
    }

    fn field_manager(&self) -> &str {
        let options = self
            .create
            .map(|o| &o.field_manager)
            .or(self.update.map(|o| &o.field_manager))
            .or(self.patch.map(|o| &o.field_manager));
        options.map_or("", String::as_str)
    }

    fn field_validation(&self) -> &str {
        let options = self
            .create
            .map(|o| &o.field_validation)
            .or(self.update.map(|o| &o.field_validation))
            .or(self.patch.map(|o| &o.field_validation));
        options.map_or("", String::as_str)
    }

    fn resource_version(&self) -> &str {
        let precondition = || self.delete?.preconditions.as_ref()?.resource_version.as_deref();
        self.get
            .map(|o| o.resource_version.as_str())
            .or(self.list.map(|o| o.resource_version.as_str()))
            .or_else(precondition)
            .unwrap_or_default()
    }
}

/// The request message of `method`.
pub(super) fn request(method: &Method, values: &Values<'_>) -> Bytes {
    let mut out = Vec::with_capacity(values.object.len() + 128);
    for binding in &method.request {
        match binding.field {
            Some(field) => put(&mut out, field, binding.source, values),
            None if binding.source == Source::Object => out.extend_from_slice(values.object),
            None => put_whole(&mut out, binding.source, values),
        }
    }
    out.into()
}

/// A List of a namespace; empty: of all.
pub fn list_call(method: &Method, namespace: &str, options: &ListOptions) -> Call {
    let values = Values { namespace, list: Some(options), ..Values::default() };
    Call { path: Arc::clone(&method.path), message: request(method, &values), class: Class::Read }
}

/// The request message of an action: the body, with what the URL and the options say in its fields.
pub(super) fn action_request(method: &Method, values: &Values<'_>) -> Result<Bytes, WireError> {
    let bound = |number| {
        method.request.iter().any(|b| b.field == Some(number) && !matches!(b.source, Source::Object))
    };
    let mut out = wire::without(values.object, bound)
        .map_err(|e| WireError::Malformed { path: String::new(), offset: e.offset })?;
    for binding in &method.request {
        if let (Some(field), false) = (binding.field, binding.source == Source::Object) {
            put(&mut out, field, binding.source, values);
        }
    }
    Ok(out.into())
}

fn put(out: &mut Vec<u8>, field: u32, source: Source, values: &Values<'_>) {
    let list = |get: fn(&ListOptions) -> &str| values.list.map_or("", get);
    let flag = |out: &mut Vec<u8>, value: Option<bool>| {
        if let Some(value) = value {
            wire::put_varint(out, field, value.into());
        }
    };
    match source {
        Source::Object => wire::put_bytes(out, field, values.object),
        Source::GetOptions => message(out, field, values.get),
        Source::ListOptions => message(out, field, values.list),
        Source::DeleteOptions => message(out, field, values.delete),
        Source::CreateOptions => message(out, field, values.create),
        Source::UpdateOptions => message(out, field, values.update),
        Source::PatchOptions => message(out, field, values.patch),
        Source::Namespace => text(out, field, values.namespace),
        Source::Name => text(out, field, values.name),
        Source::LabelSelector => text(out, field, list(|o| &o.label_selector)),
        Source::FieldSelector => text(out, field, list(|o| &o.field_selector)),
        Source::Limit => integer(out, field, values.list.map(|o| o.limit).filter(|limit| *limit != 0)),
        Source::Continue => text(out, field, list(|o| &o.r#continue)),
        Source::ResourceVersion => text(out, field, values.resource_version()),
        Source::ResourceVersionMatch => text(out, field, list(|o| &o.resource_version_match)),
        Source::TimeoutSeconds => integer(out, field, values.list.and_then(|o| o.timeout_seconds)),
        Source::AllowWatchBookmarks => flag(out, values.list.map(|o| o.allow_watch_bookmarks)),
        Source::SendInitialEvents => flag(out, values.list.and_then(|o| o.send_initial_events)),
        Source::DryRun => {
            for value in values.dry_run() {
                wire::put_bytes(out, field, value.as_bytes());
            }
        }
        Source::DryRunFlag => flag(out, Some(true).filter(|_| !values.dry_run().is_empty())),
        Source::FieldManager => text(out, field, values.field_manager()),
        Source::FieldValidation => text(out, field, values.field_validation()),
        Source::GracePeriodSeconds => {
            integer(out, field, values.delete.and_then(|o| o.grace_period_seconds));
        }
        Source::Preconditions => {
            message(out, field, values.delete.and_then(|o| o.preconditions.as_ref()));
        }
        Source::PropagationPolicy => {
            text(out, field, values.delete.map_or("", |o| o.propagation_policy()));
        }
        Source::OrphanDependents => flag(out, values.delete.and_then(|o| o.orphan_dependents)),
        Source::Nothing => {}
    }
}

/// The request message is an options message itself.
fn put_whole(out: &mut Vec<u8>, source: Source, values: &Values<'_>) {
    let whole = match source {
        Source::GetOptions => values.get.map(Message::encode_to_vec),
        Source::ListOptions => values.list.map(Message::encode_to_vec),
        Source::DeleteOptions => values.delete.map(Message::encode_to_vec),
        Source::CreateOptions => values.create.map(Message::encode_to_vec),
        Source::UpdateOptions => values.update.map(Message::encode_to_vec),
        Source::PatchOptions => values.patch.map(Message::encode_to_vec),
        _ => None,
    };
    out.extend(whole.unwrap_or_default());
}

fn text(out: &mut Vec<u8>, field: u32, value: &str) {
    if !value.is_empty() {
        wire::put_bytes(out, field, value.as_bytes());
    }
}

fn integer(out: &mut Vec<u8>, field: u32, value: Option<i64>) {
    if let Some(value) = value {
        wire::put_varint(out, field, value.cast_unsigned());
    }
}

fn message<M: Message>(out: &mut Vec<u8>, field: u32, value: Option<&M>) {
    if let Some(value) = value {
        wire::put_bytes(out, field, &value.encode_to_vec());
    }
}

/// Whether the method has a place for dryRun, so that the backend checks and does not write.
pub(super) fn binds_dry_run(method: &Method) -> bool {
    method.request.iter().any(|binding| {
        matches!(
            binding.source,
            Source::DryRun | Source::DryRunFlag | Source::CreateOptions | Source::UpdateOptions
        )
    })
}
