//! Requests of the service, filled as the mapping says.

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::{
    mapping::{
        identity::{Subject, put_id},
        plan::{Fill, What},
    },
    wire::{self, Malformed},
};

/// What a request may be made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) subject: Subject<'a>,
    /// The service's message.
    pub(super) object: &'a [u8],
    pub(super) mask: &'a [String],
    pub(super) etag: &'a str,
    pub(super) dry_run: bool,
    pub(super) request_id: &'a str,
    pub(super) page_size: i64,
    pub(super) page_token: &'a str,
}

impl<'a> Values<'a> {
    pub(super) fn of(subject: Subject<'a>) -> Self {
        Self {
            subject,
            object: &[],
            mask: &[],
            etag: "",
            dry_run: false,
            request_id: "",
            page_size: 0,
            page_token: "",
        }
    }
}

/// The request message.
pub(super) fn request(fills: &[Fill], values: &Values<'_>) -> Result<Bytes, Malformed> {
    let mut out = Vec::with_capacity(values.object.len() + 128);
    fill(&mut out, fills, values)?;
    Ok(out.into())
}

/// Appends the filled fields.
pub(super) fn fill(out: &mut Vec<u8>, fills: &[Fill], values: &Values<'_>) -> Result<(), Malformed> {
    let subject = &values.subject;
    for fill in fills {
        let number = fill.number;
        match &fill.what {
            What::ResourceName => text(out, number, &subject.resource_name()),
            What::Parent => text(out, number, &subject.parent()),
            What::Id => id(out, fill, subject.id()),
            What::Variable(name) => id(out, fill, subject.variable(name)),
            What::Namespace => id(out, fill, subject.namespace()),
            What::Object => wire::put_bytes(out, number, values.object),
            What::Field(from) => copy(out, number, values.object, *from)?,
            What::UpdateMask => {
                let mut mask = Vec::new();
                values.mask.iter().for_each(|path| wire::put_bytes(&mut mask, 1, path.as_bytes()));
                wire::put_bytes(out, number, &mask);
            }
            What::Etag => text(out, number, values.etag),
            What::DryRun => {
                if values.dry_run {
                    wire::put_varint(out, number, 1);
                }
            }
            What::RequestId => text(out, number, values.request_id),
            What::PageSize => {
                if values.page_size > 0 {
                    wire::put_varint(out, number, values.page_size.cast_unsigned());
                }
            }
            What::PageToken => text(out, number, values.page_token),
            What::Constant(field) => out.extend_from_slice(field),
        }
    }
    Ok(())
}

fn text(out: &mut Vec<u8>, number: u32, value: &str) {
    if !value.is_empty() {
        wire::put_bytes(out, number, value.as_bytes());
    }
}

fn id(out: &mut Vec<u8>, fill: &Fill, value: &str) {
    if !value.is_empty() {
        put_id(out, fill.number, fill.integer, value);
    }
}

/// Appends a field of a message under another number.
fn copy(out: &mut Vec<u8>, number: u32, message: &[u8], from: u32) -> Result<(), Malformed> {
    for field in wire::fields(message) {
        let field = field?;
        if field.number != from {
            continue;
        }
        encode_key(number, field.wire_type, out);
        if field.wire_type == WireType::LengthDelimited {
            encode_varint(field.value.len() as u64, out);
        }
        out.extend_from_slice(field.value);
    }
    Ok(())
}
