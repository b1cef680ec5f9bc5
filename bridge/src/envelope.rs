//! `application/vnd.kubernetes.protobuf` bodies (k8s.io/apimachinery, runtime/serializer/protobuf): four bytes of
//! magic, then a `runtime.Unknown` that holds the object. kubectl sends its own reviews so.

use crate::{status::ApiError, wire};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// What is in the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// "authorization.k8s.io/v1".
    pub api_version: &'a str,
    /// "SelfSubjectAccessReview".
    pub kind: &'a str,
    /// The object on the wire.
    pub object: &'a [u8],
}

/// Opens an envelope.
///
/// # Errors
/// 400: it is none, or it holds something encoded or of another media type.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, ApiError> {
    let refused = |why: &str| ApiError::bad_request(format!("the body is not Kubernetes protobuf: {why}"));
    let malformed = |_| refused("it is malformed");
    let unknown =
        body.strip_prefix(MAGIC).ok_or_else(|| refused("it does not begin with the four bytes k8s\\0"))?;
    let mut envelope = Envelope { api_version: "", kind: "", object: &[] };
    for field in wire::fields(unknown) {
        let field = field.map_err(malformed)?;
        match field.number {
            1 => {
                for part in wire::fields(field.value) {
                    let part = part.map_err(malformed)?;
                    let text =
                        std::str::from_utf8(part.value).map_err(|_| refused("its type is not UTF-8"))?;
                    match part.number {
                        1 => envelope.api_version = text,
                        2 => envelope.kind = text,
                        _ => {}
                    }
                }
            }
            2 => envelope.object = field.value,
            3 | 4 if !field.value.is_empty() && field.value != MEDIA_TYPE.as_bytes() => {
                return Err(refused("its content is encoded once more"));
            }
            _ => {}
        }
    }
    Ok(envelope)
}

/// Puts an object in an envelope, as Kubernetes writes it: the encoding and the media type are there, and empty.
pub fn seal(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let mut type_meta = Vec::new();
    wire::put_bytes(&mut type_meta, 1, api_version.as_bytes());
    wire::put_bytes(&mut type_meta, 2, kind.as_bytes());
    let mut body = Vec::with_capacity(MAGIC.len() + type_meta.len() + object.len() + 16);
    body.extend_from_slice(MAGIC);
    wire::put_bytes(&mut body, 1, &type_meta);
    wire::put_bytes(&mut body, 2, object);
    wire::put_bytes(&mut body, 3, b"");
    wire::put_bytes(&mut body, 4, b"");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_opened() {
        let body = seal("g/v1", "Kind", b"\x08\x01");
        assert_eq!(open(&body).unwrap(), Envelope { api_version: "g/v1", kind: "Kind", object: b"\x08\x01" });
    }

    #[test]
    fn what_is_none_is_400() {
        let whole = seal("g/v1", "Kind", b"\x08\x01");
        for end in 0..whole.len() {
            // A cut between two fields is a shorter envelope; anywhere else it is none.
            if let Err(error) = open(&whole[..end]) {
                assert_eq!(error.status.code, 400);
            }
        }
        assert_eq!(open(b"{}").unwrap_err().status.code, 400);
    }
}
