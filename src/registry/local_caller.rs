//! The contract's requests, answered from the store: Kubridge's own kinds are served by the same verbs as
//! everyone's, through this [`Caller`].
//!
//! A kind is a gRPC service with the contract's method names (GetK, ListKs, WatchKs, CreateK, UpdateK,
//! UpdateKStatus, DeleteK) and the contract's requests; a create or update request has the object in field 1 and
//! its options in field 2. A new kind needs no code here.

use std::{collections::HashMap, fmt, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use kubridge_bridge::{
    caller::{Call, CallError, Caller, FieldViolation},
    proto,
};
use prost::Message;

use super::store::Store;

mod answer;
mod list;
mod watch;
mod write;

#[cfg(test)]
mod tests;

pub use watch::BOOKMARK_EVERY;
pub use write::now;

/// A kind that the store serves.
#[derive(Debug, Clone)]
pub struct LocalKind {
    /// "kubridge.apiregistration.v1.APIServices".
    pub service: &'static str,
    /// "APIService".
    pub kind: &'static str,
    /// "APIServices": what List and Watch are named with.
    pub kinds: &'static str,
    /// "apiservices".
    pub plural: &'static str,
    /// "apiregistration.k8s.io".
    pub group: &'static str,
    /// Fills in defaults and checks an object before it is stored.
    pub admit: fn(Admission<'_>) -> Result<Vec<u8>, Vec<FieldViolation>>,
}

impl LocalKind {
    /// What the store calls it: "apiservices.apiregistration.k8s.io".
    pub fn resource(&self) -> Arc<str> {
        format!("{}.{}", self.plural, self.group).into()
    }
}

/// An object that is about to be stored.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    /// The object on the wire, with the status that it is to have.
    pub object: &'a [u8],
    /// The object before, where there is one.
    pub old: Option<&'a [u8]>,
    /// The time, for what is filled in.
    pub now: proto::Time,
}

/// Answers the contract's calls from a [`Store`].
#[derive(Clone)]
pub struct LocalCaller {
    store: Store,
    methods: Arc<HashMap<String, (Arc<Served>, Operation)>>,
}

/// A kind, and what is made of it once.
#[derive(Debug)]
struct Served {
    kind: LocalKind,
    resource: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Get,
    List,
    Watch,
    Create,
    Update,
    UpdateStatus,
    Delete,
}

impl fmt::Debug for LocalCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCaller").field("store", &self.store).finish_non_exhaustive()
    }
}

impl LocalCaller {
    /// Serves `kinds` from `store`.
    pub fn new(store: Store, kinds: impl IntoIterator<Item = LocalKind>) -> Self {
        let mut methods = HashMap::new();
        for kind in kinds {
            let served = Arc::new(Served { resource: kind.resource(), kind });
            let LocalKind { service, kind, kinds, .. } = served.kind;
            for (name, operation) in [
                (format!("Get{kind}"), Operation::Get),
                (format!("List{kinds}"), Operation::List),
                (format!("Watch{kinds}"), Operation::Watch),
                (format!("Create{kind}"), Operation::Create),
                (format!("Update{kind}"), Operation::Update),
                (format!("Update{kind}Status"), Operation::UpdateStatus),
                (format!("Delete{kind}"), Operation::Delete),
            ] {
                methods.insert(format!("/{service}/{name}"), (Arc::clone(&served), operation));
            }
        }
        Self { store, methods: Arc::new(methods) }
    }

    fn method(&self, path: &str) -> Result<(Arc<Served>, Operation), CallError> {
        self.methods.get(path).cloned().ok_or_else(|| answer::unimplemented(path))
    }
}

impl Caller for LocalCaller {
    type Stream = BoxStream<'static, Result<Bytes, CallError>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        let (served, operation) = self.method(&call.path)?;
        match operation {
            Operation::Get => list::get(&self.store, &served, decode(&call.message)?).await,
            Operation::Create => write::create(&self.store, &served, call.message).await,
            Operation::Update => write::update(&self.store, &served, call.message, write::Part::Object).await,
            Operation::UpdateStatus => {
                write::update(&self.store, &served, call.message, write::Part::Status).await
            }
            Operation::Delete => write::delete(&self.store, &served, decode(&call.message)?).await,
            Operation::List | Operation::Watch => Err(answer::unimplemented(&call.path)),
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        let (served, operation) = self.method(&call.path)?;
        match operation {
            Operation::List => list::list(&self.store, &served, decode(&call.message)?).await,
            Operation::Watch => watch::watch(&self.store, &served, decode(&call.message)?).await,
            // gRPC lets a client read a single answer as a stream.
            _ => {
                let answer = self.unary(call).await?;
                Ok(futures::stream::iter([Ok(answer)]).boxed())
            }
        }
    }
}

fn decode<M: Message + Default>(message: &[u8]) -> Result<M, CallError> {
    M::decode(message).map_err(|error| answer::malformed(&error.to_string()))
}
