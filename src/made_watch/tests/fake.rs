//! A backend in memory without a Watch, with or without versions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream, stream::BoxStream};
use kubridge_bridge::{
    caller::{BackendStatus, Call, CallError, Caller, Class, Code},
    model::{Resource, Rules, Schema},
    object,
    proto::{DeleteRequest, GetRequest, ListMeta, ObjectMeta},
    wire,
};
use prost::Message as _;
use tokio::time::sleep;

use crate::made_watch::Polls;

/// Machines of the inventory, without its Watch.
pub(super) fn machines(versioned: bool) -> Arc<Resource> {
    let mut schema = Schema::from_descriptor_set(inventory::DESCRIPTORS, Rules::default()).unwrap();
    let api = Arc::into_inner(schema.apis.remove(0)).unwrap();
    let machines = api.resources.into_iter().find(|resource| resource.plural == "machines").unwrap();
    let mut machines = Arc::into_inner(machines).unwrap();
    machines.methods.watch = None;
    machines.versioned = versioned;
    Arc::new(machines)
}

#[derive(Debug, Default)]
struct State {
    versioned: bool,
    version: u64,
    /// The state, and its version.
    objects: BTreeMap<String, (u64, u64)>,
    lists: usize,
    takes: Duration,
    fails: Option<Code>,
}

/// Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Backend(Arc<Mutex<State>>);

fn error(code: Code) -> CallError {
    CallError::Status(Box::new(BackendStatus { code, message: String::new(), details: Vec::new() }))
}

impl State {
    fn token(&self, version: u64) -> String {
        if self.versioned { version.to_string() } else { format!("etag-{:x}", version * 0x9e37) }
    }

    fn wire(&self, name: &str) -> Option<Bytes> {
        let (state, version) = self.objects.get(name)?;
        let meta = ObjectMeta {
            name: name.into(),
            namespace: "default".into(),
            uid: format!("u-{name}"),
            generation: 1,
            resource_version: self.token(*version),
            labels: [("state".to_owned(), state.to_string())].into(),
            ..ObjectMeta::default()
        };
        let mut out = Vec::new();
        wire::put_bytes(&mut out, object::METADATA, &meta.encode_to_vec());
        Some(out.into())
    }

    fn put(&mut self, name: &str, state: u64) {
        self.version += 1;
        self.objects.insert(name.to_owned(), (state, self.version));
    }

    fn list(&mut self) -> Bytes {
        let version = if self.versioned { self.version.to_string() } else { String::new() };
        let meta = ListMeta { resource_version: version, ..ListMeta::default() };
        let mut out = Vec::new();
        wire::put_bytes(&mut out, object::METADATA, &meta.encode_to_vec());
        for name in self.objects.keys() {
            wire::put_bytes(&mut out, object::ITEMS, &self.wire(name).unwrap());
        }
        out.into()
    }

    /// Writes an object if its version is the present one, or there is none.
    fn update(&mut self, message: &[u8]) -> Result<Bytes, CallError> {
        let wire = wire::message_field(message, 1).unwrap();
        let meta = ObjectMeta::decode(&*wire::message_field(&wire, object::METADATA).unwrap()).unwrap();
        let Some((_, version)) = self.objects.get(&meta.name) else { return Err(error(Code::NotFound)) };
        if !meta.resource_version.is_empty() && meta.resource_version != self.token(*version) {
            return Err(error(Code::Aborted));
        }
        let state = meta.labels.get("state").map_or(0, |state| state.parse().unwrap());
        self.put(&meta.name, state);
        Ok(self.wire(&meta.name).unwrap())
    }

    fn delete(&mut self, request: DeleteRequest) -> Result<Bytes, CallError> {
        let Some((_, version)) = self.objects.get(&request.name) else { return Err(error(Code::NotFound)) };
        let preconditions = request.options.and_then(|options| options.preconditions).unwrap_or_default();
        if preconditions.resource_version.is_some_and(|asked| asked != self.token(*version)) {
            return Err(error(Code::Aborted));
        }
        self.objects.remove(&request.name);
        self.version += 1;
        Ok(Bytes::new())
    }
}

impl Backend {
    pub(super) fn new(versioned: bool) -> Self {
        Self(Arc::new(Mutex::new(State { versioned, ..State::default() })))
    }

    pub(super) fn put(&self, name: &str, state: u64) {
        self.0.lock().unwrap().put(name, state);
    }

    pub(super) fn remove(&self, name: &str) {
        let mut state = self.0.lock().unwrap();
        state.objects.remove(name).unwrap();
        state.version += 1;
    }

    /// The state of an object.
    pub(super) fn state(&self, name: &str) -> Option<u64> {
        self.0.lock().unwrap().objects.get(name).map(|(state, _)| *state)
    }

    pub(super) fn version(&self) -> u64 {
        self.0.lock().unwrap().version
    }

    /// How often it was listed.
    pub(super) fn lists(&self) -> usize {
        self.0.lock().unwrap().lists
    }

    /// How long a List takes.
    pub(super) fn take(&self, takes: Duration) {
        self.0.lock().unwrap().takes = takes;
    }

    /// What every List is answered with.
    pub(super) fn fail(&self, fails: Option<Code>) {
        self.0.lock().unwrap().fails = fails;
    }
}

impl Polls for Backend {
    type Caller = Self;

    fn caller(&self) -> Self {
        self.clone()
    }
}

impl Caller for Backend {
    type Stream = BoxStream<'static, Result<Bytes, CallError>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        let mut state = self.0.lock().unwrap();
        match call.path.rsplit('/').next().unwrap() {
            "GetMachine" => {
                let request = GetRequest::decode(call.message).unwrap();
                assert_eq!(request.options.unwrap_or_default().resource_version, "", "it has no such thing");
                state.wire(&request.name).ok_or_else(|| error(Code::NotFound))
            }
            "CreateMachine" => {
                let wire = wire::message_field(&call.message, 1).unwrap().into_owned();
                let meta = object::MetaView::of(&wire).unwrap();
                state.put(meta.name, 0);
                Ok(state.wire(meta.name).unwrap())
            }
            "UpdateMachine" => state.update(&call.message),
            "DeleteMachine" => state.delete(DeleteRequest::decode(call.message).unwrap()),
            other => panic!("{other}"),
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        assert!(call.path.ends_with("/ListMachines"), "{}", call.path);
        let takes = {
            let mut state = self.0.lock().unwrap();
            state.lists += 1;
            state.takes
        };
        sleep(takes).await;
        let mut state = self.0.lock().unwrap();
        match state.fails {
            Some(code) => Err(error(code)),
            None => Ok(stream::iter([Ok(state.list())]).boxed()),
        }
    }
}

fn with_object(name: &str, state: u64, version: &str, path: &str) -> Call {
    let meta = ObjectMeta {
        name: name.into(),
        namespace: "default".into(),
        resource_version: version.into(),
        labels: [("state".to_owned(), state.to_string())].into(),
        ..ObjectMeta::default()
    };
    let (mut machine, mut message) = (Vec::new(), Vec::new());
    wire::put_bytes(&mut machine, object::METADATA, &meta.encode_to_vec());
    wire::put_bytes(&mut message, 1, &machine);
    Call { path: path.into(), message: message.into(), class: Class::Write }
}

pub(super) fn create(name: &str) -> Call {
    with_object(name, 0, "", "/inventory.v1.Machines/CreateMachine")
}

pub(super) fn update(name: &str, state: u64) -> Call {
    with_object(name, state, "", "/inventory.v1.Machines/UpdateMachine")
}
