//! The standard server reflection, v1 and v1alpha: the same messages under two names.
//!
//! Source: `grpc/reflection/v1/reflection.proto`. Each question is a stream of its own: one request, one answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::HeaderMap;
use kubridge_bridge::caller::{Call, CallError, Caller as _, Class, Code};
use prost::Message as _;
use tokio::time::timeout;

use super::{
    backend::Backend,
    schema::{FetchError, FetchedSchema, MAX_SCHEMA, SchemaSource, soon},
};

const MAX_FILES: usize = 4000;
const MAX_SERVICES: usize = 1000;

/// Which reflection service.
#[derive(Debug, Clone, Copy)]
pub(super) enum Version {
    V1,
    V1Alpha,
}

impl Version {
    fn service(self) -> &'static str {
        match self {
            Self::V1 => "grpc.reflection.v1.ServerReflection",
            Self::V1Alpha => "grpc.reflection.v1alpha.ServerReflection",
        }
    }
}

/// Reads the files of all services, with all that they import.
pub(super) async fn fetch(backend: &Backend, version: Version) -> Result<FetchedSchema, FetchError> {
    let reflection = Reflection { backend, version };
    let mut files = Files::default();
    for service in reflection.services().await? {
        if !service.starts_with("grpc.") {
            files.add(reflection.files(Ask::FileContainingSymbol(service)).await?)?;
        }
    }
    while let Some(name) = files.missing() {
        match reflection.files(Ask::FileByFilename(name.clone())).await {
            Ok(found) => files.add(found)?,
            // An error answer, or as tonic says it: a status.
            Err(FetchError::Malformed(_)) => {}
            Err(FetchError::Call { error: CallError::Status(status), .. })
                if status.code == Code::NotFound => {}
            Err(error) => return Err(error),
        }
        if !files.files.contains_key(&name) {
            let known = well_known(&name).ok_or_else(|| FetchError::MissingFile(name.clone()))?;
            files.add(vec![known])?;
        }
    }
    let source = match version {
        Version::V1 => SchemaSource::ReflectionV1,
        Version::V1Alpha => SchemaSource::ReflectionV1Alpha,
    };
    Ok(FetchedSchema { bytes: files.into_set().into(), source, etag: String::new() })
}

struct Reflection<'a> {
    backend: &'a Backend,
    version: Version,
}

impl Reflection<'_> {
    async fn services(&self) -> Result<BTreeSet<String>, FetchError> {
        let answer = self.ask(Ask::ListServices(String::new())).await?;
        let listed =
            answer.services.ok_or_else(|| self.malformed("no list of services", answer.error.as_ref()))?;
        if listed.service.len() > MAX_SERVICES {
            return Err(FetchError::TooLarge { limit: MAX_SERVICES, unit: "services" });
        }
        Ok(listed.service.into_iter().map(|service| service.name).collect())
    }

    async fn files(&self, ask: Ask) -> Result<Vec<Vec<u8>>, FetchError> {
        let what = format!("{ask:?}");
        let answer = self.ask(ask).await?;
        let files = answer
            .files
            .ok_or_else(|| self.malformed(&format!("no file for {what}"), answer.error.as_ref()))?;
        Ok(files.file_descriptor_proto)
    }

    async fn ask(&self, ask: Ask) -> Result<Response, FetchError> {
        let what = format!("{} {ask:?}", self.version.service());
        let failed = |error| FetchError::Call { what: what.clone(), error };
        let call = Call {
            path: format!("/{}/ServerReflectionInfo", self.version.service()).into(),
            message: Bytes::from(Request { ask: Some(ask) }.encode_to_vec()),
            class: Class::Read,
        };
        let mut stream = self.backend.caller(HeaderMap::new(), soon()).stream(call).await.map_err(failed)?;
        let Some(first) = stream.next().await else { return Err(self.malformed("no answer", None)) };
        let first = first.map_err(failed)?;
        // Let the server end the stream itself: a reset of each would look like an attack.
        let _ = timeout(Duration::from_secs(1), stream.next()).await;
        Response::decode(first).map_err(|error| self.malformed(&error.to_string(), None))
    }

    fn malformed(&self, what: &str, error: Option<&ErrorResponse>) -> FetchError {
        let service = self.version.service();
        FetchError::Malformed(match error {
            Some(error) => {
                let code = Code::from_number(error.error_code).as_str();
                format!("{service}: {what}: {code}: {}", error.error_message)
            }
            None => format!("{service}: {what}"),
        })
    }
}

/// Files by name, undecoded, with what they import.
#[derive(Default)]
struct Files {
    files: BTreeMap<String, (Vec<u8>, Vec<String>)>,
    wanted: BTreeSet<String>,
    size: usize,
}

impl Files {
    fn add(&mut self, files: Vec<Vec<u8>>) -> Result<(), FetchError> {
        for bytes in files {
            let head = FileHead::decode(&bytes[..]).map_err(|error| {
                FetchError::Malformed(format!("reflection gives no FileDescriptorProto: {error}"))
            })?;
            if self.files.contains_key(&head.name) {
                continue;
            }
            self.size += bytes.len();
            if self.size > MAX_SCHEMA {
                return Err(FetchError::TooLarge { limit: MAX_SCHEMA, unit: "bytes" });
            }
            if self.files.len() >= MAX_FILES {
                return Err(FetchError::TooLarge { limit: MAX_FILES, unit: "files" });
            }
            self.wanted.remove(&head.name);
            let missing =
                head.dependency.iter().filter(|name| !self.files.contains_key(*name) && **name != head.name);
            self.wanted.extend(missing.cloned());
            self.files.insert(head.name, (bytes, head.dependency));
        }
        Ok(())
    }

    fn missing(&self) -> Option<String> {
        self.wanted.first().cloned()
    }

    /// The set, each file after what it imports.
    fn into_set(self) -> Vec<u8> {
        let mut set = Vec::with_capacity(self.size + 8 * self.files.len());
        let mut done = BTreeSet::new();
        for name in self.files.keys() {
            // (file, how many of its imports have been visited)
            let mut stack = vec![(name.as_str(), 0)];
            let mut entered = BTreeSet::from([name.as_str()]);
            while let Some((name, next)) = stack.pop() {
                let Some((bytes, imports)) = self.files.get(name).filter(|_| !done.contains(name)) else {
                    continue;
                };
                if let Some(import) = imports.get(next) {
                    stack.push((name, next + 1));
                    if entered.insert(import) {
                        stack.push((import, 0));
                    }
                } else {
                    done.insert(name);
                    prost::encoding::bytes::encode(1, bytes, &mut set);
                }
            }
        }
        set
    }
}

/// Some servers' reflection leaves out the files that every protobuf runtime has.
fn well_known(name: &str) -> Option<Vec<u8>> {
    let pool = prost_reflect::DescriptorPool::global();
    pool.get_file_by_name(name).map(|file| file.file_descriptor_proto().encode_to_vec())
}

#[derive(Clone, PartialEq, prost::Message)]
struct FileHead {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "3")]
    dependency: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(oneof = "Ask", tags = "3, 4, 7")]
    ask: Option<Ask>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Ask {
    #[prost(string, tag = "3")]
    FileByFilename(String),
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    #[prost(string, tag = "7")]
    ListServices(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(message, optional, tag = "4")]
    files: Option<FileResponse>,
    #[prost(message, optional, tag = "6")]
    services: Option<ServicesResponse>,
    #[prost(message, optional, tag = "7")]
    error: Option<ErrorResponse>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FileResponse {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file_descriptor_proto: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServicesResponse {
    #[prost(message, repeated, tag = "1")]
    service: Vec<ServiceResponse>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServiceResponse {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ErrorResponse {
    #[prost(int32, tag = "1")]
    error_code: i32,
    #[prost(string, tag = "2")]
    error_message: String,
}
