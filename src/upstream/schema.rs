//! What a backend serves, as a `google.protobuf.FileDescriptorSet` in the bytes that came.
//!
//! prost's descriptor types lose custom options, so files are carried undecoded.

use std::{fmt, path::Path, path::PathBuf, time::Duration};

use bytes::Bytes;
use kubridge_bridge::{
    caller::{Call, CallError, Caller as _, Class, Code},
    proto::{GetSchemaRequest, GetSchemaResponse},
};
use prost::Message as _;
use tokio::{io::AsyncReadExt as _, time::Instant};

use crate::registry::backend::Origin;

use super::{
    backend::Backend,
    reflection::{self, Version},
};

pub use crate::cluster::schemas::MAX_SCHEMA;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a schema came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaSource {
    /// `kubridge.v1.Schema`: with comments.
    Service,
    /// `grpc.reflection.v1`: without comments.
    ReflectionV1,
    /// `grpc.reflection.v1alpha`: without comments.
    ReflectionV1Alpha,
    /// A descriptor-set file.
    File(PathBuf),
    /// What an earlier process kept: the backend has not been asked yet.
    Kept,
    /// What all replicas serve: this one need not ask.
    Shared,
}

impl fmt::Display for SchemaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("kubridge.v1.Schema"),
            Self::ReflectionV1 => f.write_str("grpc.reflection.v1"),
            Self::ReflectionV1Alpha => f.write_str("grpc.reflection.v1alpha"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Kept => f.write_str("the last known good schema"),
            Self::Shared => f.write_str("the schema that all replicas share"),
        }
    }
}

/// A schema as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchedSchema {
    /// A `google.protobuf.FileDescriptorSet`.
    pub bytes: Bytes,
    /// Where it came from.
    pub source: SchemaSource,
    /// The Schema service's etag; empty elsewhere.
    pub etag: String,
}

impl fmt::Debug for FetchedSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedSchema")
            .field("bytes", &self.bytes.len())
            .field("source", &self.source)
            .field("etag", &self.etag)
            .finish()
    }
}

/// Why no schema could be read. The text names the mend; it may name addresses.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// The backend failed to answer.
    #[error("{what}: {error}")]
    Call {
        /// What was asked.
        what: String,
        /// How it failed.
        error: CallError,
    },
    /// The backend offers no source.
    #[error(
        "the backend has neither kubridge.v1.Schema nor server reflection (v1, v1alpha): \
         serve one of them, or give a descriptor-set file"
    )]
    NoSource,
    /// An answer makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// Larger or more than what is taken.
    #[error("the schema has more than {limit} {unit}")]
    TooLarge {
        /// How many are taken.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// An import that reflection does not give.
    #[error(
        "reflection does not give {0:?}, which another file imports: serve kubridge.v1.Schema, or give a descriptor-set file"
    )]
    MissingFile(String),
    /// The descriptor-set file.
    #[error("descriptor-set file {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Reads the schema: from `file` when one is given, else by the Schema service, else by reflection; or only by what the
/// backend's options say.
/// `None` when `etag` is still the present one.
///
/// A file that was named wins: it is the mend when a server's reflection strips custom options.
pub async fn fetch(
    backend: &Backend,
    file: Option<&Path>,
    etag: &str,
) -> Result<Option<FetchedSchema>, FetchError> {
    if let Some(path) = file {
        return read_file(path).await.map(Some);
    }
    let origin = backend.options().schema;
    if origin != Origin::Reflection {
        match from_service(backend, etag).await {
            Err(FetchError::Call { error, .. }) if is_unimplemented(&error) && origin == Origin::Any => {}
            outcome => return outcome,
        }
    }
    for version in [Version::V1, Version::V1Alpha] {
        match reflection::fetch(backend, version).await {
            Err(FetchError::Call { error, .. }) if is_unimplemented(&error) => {}
            outcome => return outcome.map(Some),
        }
    }
    Err(FetchError::NoSource)
}

/// The deadline of a question that is asked now.
pub(super) fn soon() -> Option<Instant> {
    Some(Instant::now() + PATIENCE)
}

async fn from_service(backend: &Backend, etag: &str) -> Result<Option<FetchedSchema>, FetchError> {
    let request = GetSchemaRequest { etag: etag.to_owned() };
    let call = Call {
        path: "/kubridge.v1.Schema/Get".into(),
        message: Bytes::from(request.encode_to_vec()),
        class: Class::Read,
    };
    let answer = backend
        .caller(http::HeaderMap::new(), soon())
        .unary(call)
        .await
        .map_err(|error| FetchError::Call { what: "kubridge.v1.Schema/Get".to_owned(), error })?;
    let answer = GetSchemaResponse::decode(answer).map_err(|error| {
        FetchError::Malformed(format!("kubridge.v1.Schema/Get answers no GetSchemaResponse: {error}"))
    })?;
    let bytes = answer.file_descriptor_set;
    if answer.not_modified && !etag.is_empty() {
        return Ok(None);
    }
    if bytes.is_empty() {
        let why = "kubridge.v1.Schema/Get answers with an empty file_descriptor_set";
        return Err(FetchError::Malformed(why.to_owned()));
    }
    if bytes.len() > MAX_SCHEMA {
        return Err(FetchError::TooLarge { limit: MAX_SCHEMA, unit: "bytes" });
    }
    Ok(Some(FetchedSchema { bytes: bytes.into(), source: SchemaSource::Service, etag: answer.etag }))
}

/// Reads a descriptor-set file of at most [`MAX_SCHEMA`] bytes.
pub async fn read_file(path: &Path) -> Result<FetchedSchema, FetchError> {
    let bad = |why: String| FetchError::File { path: path.to_owned(), why };
    let file = tokio::fs::File::open(path).await.map_err(|error| bad(error.to_string()))?;
    let mut bytes = Vec::new();
    let limit = MAX_SCHEMA as u64;
    file.take(limit + 1).read_to_end(&mut bytes).await.map_err(|error| bad(error.to_string()))?;
    match bytes.len() {
        0 => Err(bad(
            "it is empty: write it with protoc --include_imports --descriptor_set_out=FILE".to_owned()
        )),
        length if length > MAX_SCHEMA => Err(FetchError::TooLarge { limit: MAX_SCHEMA, unit: "bytes" }),
        _ => {
            let source = SchemaSource::File(path.to_owned());
            Ok(FetchedSchema { bytes: bytes.into(), source, etag: String::new() })
        }
    }
}

fn is_unimplemented(error: &CallError) -> bool {
    matches!(error, CallError::Status(status) if status.code == Code::Unimplemented)
}
