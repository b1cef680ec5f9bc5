//! A backend in memory that keeps the contract: versions, conflicts, streamed lists, watches with `previous`.
//! Tests can make it fail at chosen places.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::{StreamExt as _, channel::mpsc, stream, stream::BoxStream};
use kubridge_bridge::{
    caller::{BackendStatus, Call, CallError, Caller, Class, Code, Ran, TransportError, TransportKind},
    proto::{
        CreateOptions, DeleteCollectionRequest, DeleteRequest, Event, EventType, GetRequest, ListMeta,
        ListRequest, ObjectMeta, UpdateOptions, WatchRequest,
    },
    wire,
};
use prost::Message as _;

type Key = (String, String);
type Watcher = mpsc::UnboundedSender<Result<Bytes, CallError>>;
type Hook = Box<dyn FnOnce(&mut State) + Send>;

/// What a fault does to a call.
pub enum Fault {
    /// The call fails.
    Fail(CallError),
    /// Something happens just before the call runs.
    Before(Hook),
    /// The stream breaks after so many messages.
    BreakAfter(usize, CallError),
}

#[derive(Default)]
pub struct State {
    pub version: u64,
    pub objects: BTreeMap<Key, Bytes>,
    pub log: Vec<(u64, Event)>,
    /// Versions up to this are forgotten.
    pub compacted: u64,
    watchers: Vec<(String, Watcher)>,
    faults: HashMap<String, VecDeque<Fault>>,
    /// The methods that were called, with their requests.
    pub calls: Vec<(String, Bytes)>,
    /// Objects that were written or removed.
    pub writes: usize,
    /// `previous` is left out of events.
    pub forgetful: bool,
    /// The headers of a watch come with its first message, as those of most gRPC servers do.
    pub silent: bool,
    /// Items in a chunk of a streamed list.
    pub chunk: usize,
    /// A list's metadata comes in the last chunk.
    pub metadata_last: bool,
    /// A list's metadata beside the version.
    pub remaining: Option<i64>,
}

/// Clones share the state.
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next call of `method` meets `fault`; several queue up.
    pub fn fault(&self, method: &str, fault: Fault) {
        self.state().faults.entry(method.into()).or_default().push_back(fault);
    }

    /// Exactly the next `times` calls of `method` fail.
    pub fn refuse(&self, method: &str, times: usize, error: &CallError) {
        let faults = (0..times).map(|_| Fault::Fail(error.clone())).collect();
        self.state().faults.insert(method.into(), faults);
    }

    pub fn fail(&self, method: &str, code: Code, message: &str) {
        self.fault(method, Fault::Fail(status(code, message)));
    }

    /// How many objects were written or removed.
    pub fn writes(&self) -> usize {
        self.state().writes
    }

    /// How often `method` was called.
    pub fn count(&self, method: &str) -> usize {
        self.state().calls.iter().filter(|(name, _)| name == method).count()
    }

    /// The last request of `method`.
    pub fn last(&self, method: &str) -> Bytes {
        let state = self.state();
        state.calls.iter().rev().find(|(name, _)| name == method).map(|(_, m)| m.clone()).unwrap()
    }

    /// Stores an object as it is, with a new version.
    pub fn put(&self, object: &[u8]) -> u64 {
        self.state().put(object, &[]).unwrap();
        self.state().version
    }

    /// Cuts all open watches.
    pub fn cut(&self, error: Option<&CallError>) {
        for (_, watcher) in std::mem::take(&mut self.state().watchers) {
            if let Some(error) = error {
                let _ = watcher.unbounded_send(Err(error.clone()));
            }
        }
    }

    /// Sends a message to all open watches.
    pub fn send(&self, message: &Event) {
        for (_, watcher) in &self.state().watchers {
            let _ = watcher.unbounded_send(Ok(message.encode_to_vec().into()));
        }
    }

    pub fn watchers(&self) -> usize {
        let mut state = self.state();
        state.watchers.retain(|(_, watcher)| !watcher.is_closed());
        state.watchers.len()
    }
}

pub fn status(code: Code, message: &str) -> CallError {
    CallError::Status(Box::new(BackendStatus { code, message: message.into(), details: Vec::new() }))
}

pub fn gone(ran: Ran) -> CallError {
    CallError::Transport(Box::new(TransportError {
        ran,
        kind: TransportKind::Broken,
        message: "10.0.0.7:50051: connection reset".into(),
    }))
}

pub fn meta(object: &[u8]) -> ObjectMeta {
    ObjectMeta::decode(&*wire::message_field(object, 1).unwrap()).unwrap()
}

impl State {
    /// Writes an object. `read`: the version that it must have; empty: it must not exist... unless forced.
    fn put(&mut self, object: &[u8], _read: &[u8]) -> Result<Bytes, CallError> {
        let mut m = meta(object);
        self.version += 1;
        self.writes += 1;
        m.resource_version = self.version.to_string();
        let unknown: Vec<u8> = wire::fields(&wire::message_field(object, 1).unwrap())
            .map(Result::unwrap)
            .filter(|field| field.number > 100)
            .flat_map(|field| field.raw.to_vec())
            .collect();
        let mut stored = Vec::new();
        wire::put_bytes(&mut stored, 1, &[m.encode_to_vec(), unknown].concat());
        stored.extend(wire::without(object, |number| number == 1).unwrap());
        let stored = Bytes::from(stored);
        let previous = self.objects.insert((m.namespace.clone(), m.name), stored.clone());
        let kind = if previous.is_some() { EventType::Modified } else { EventType::Added };
        self.tell(kind, &m.namespace, stored.clone(), previous);
        Ok(stored)
    }

    pub fn store(&mut self, object: &[u8]) {
        self.put(object, &[]).unwrap();
    }

    pub fn remove(&mut self, namespace: &str, name: &str) {
        let Some(object) = self.objects.remove(&(namespace.into(), name.into())) else { return };
        self.version += 1;
        self.writes += 1;
        let last = kubridge_bridge::object::with_version(&object, &self.version.to_string()).unwrap();
        self.tell(EventType::Deleted, namespace, last.into(), Some(object));
    }

    fn tell(&mut self, kind: EventType, namespace: &str, object: Bytes, previous: Option<Bytes>) {
        let event = Event {
            r#type: kind.into(),
            object: object.into(),
            previous: previous.filter(|_| !self.forgetful).unwrap_or_default().into(),
            resource_version: self.version.to_string(),
            error: None,
        };
        self.log.push((self.version, event.clone()));
        for (watched, watcher) in &self.watchers {
            if watched.is_empty() || watched == namespace {
                let _ = watcher.unbounded_send(Ok(event.encode_to_vec().into()));
            }
        }
    }

    fn checked(&self, namespace: &str, name: &str, version: &str) -> Result<(), CallError> {
        match self.objects.get(&(namespace.into(), name.into())) {
            None => Err(status(Code::NotFound, "no such object")),
            Some(object) if !version.is_empty() && meta(object).resource_version != version => {
                Err(status(Code::Aborted, ""))
            }
            Some(_) => Ok(()),
        }
    }

    fn create(&mut self, message: &[u8]) -> Result<Bytes, CallError> {
        let object = wire::message_field(message, 1).unwrap().into_owned();
        let options = CreateOptions::decode(&*wire::message_field(message, 2).unwrap()).unwrap();
        let flag = wire::fields(message).map(Result::unwrap).any(|f| f.number == 3 && f.varint() == 1);
        let m = meta(&object);
        if self.objects.contains_key(&(m.namespace, m.name)) {
            return Err(status(Code::AlreadyExists, ""));
        }
        if flag || !options.dry_run.is_empty() {
            return Ok(object.into());
        }
        self.put(&object, &[])
    }

    fn update(&mut self, message: &[u8]) -> Result<Bytes, CallError> {
        let object = wire::message_field(message, 1).unwrap().into_owned();
        let options = UpdateOptions::decode(&*wire::message_field(message, 2).unwrap()).unwrap();
        let m = meta(&object);
        self.checked(&m.namespace, &m.name, &m.resource_version)?;
        if options.dry_run.is_empty() { self.put(&object, &[]) } else { Ok(object.into()) }
    }

    fn delete(&mut self, message: &[u8]) -> Result<Bytes, CallError> {
        let request = DeleteRequest::decode(message).unwrap();
        let options = request.options.unwrap_or_default();
        let preconditions = options.preconditions.unwrap_or_default();
        let version = preconditions.resource_version.unwrap_or_default();
        self.checked(&request.namespace, &request.name, &version)?;
        self.remove(&request.namespace, &request.name);
        Ok(Bytes::new())
    }

    fn list(&mut self, message: &[u8]) -> Vec<Bytes> {
        let request = ListRequest::decode(message).unwrap();
        let options = request.options.unwrap_or_default();
        let listed: Vec<Bytes> = self
            .objects
            .iter()
            .filter(|((namespace, _), _)| request.namespace.is_empty() || *namespace == request.namespace)
            .map(|(_, object)| object.clone())
            .collect();
        let start: usize = options.r#continue.parse().unwrap_or(0);
        let limit = usize::try_from(options.limit).unwrap();
        let end = if limit == 0 { listed.len() } else { (start + limit).min(listed.len()) };
        let meta = ListMeta {
            resource_version: self.version.to_string(),
            r#continue: if end < listed.len() { end.to_string() } else { String::new() },
            remaining_item_count: self.remaining,
            ..ListMeta::default()
        };
        let size = if self.chunk == 0 { usize::MAX } else { self.chunk };
        let mut chunks: Vec<Vec<u8>> = listed[start..end]
            .chunks(size.min(listed.len().max(1)))
            .map(|items| {
                let mut chunk = Vec::new();
                for item in items {
                    wire::put_bytes(&mut chunk, 2, item);
                }
                chunk
            })
            .collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        let at = if self.metadata_last { chunks.len() - 1 } else { 0 };
        wire::put_bytes(&mut chunks[at], 1, &meta.encode_to_vec());
        chunks.into_iter().map(Bytes::from).collect()
    }

    fn watch(&mut self, message: &[u8]) -> Result<BoxStream<'static, Result<Bytes, CallError>>, CallError> {
        let request = WatchRequest::decode(message).unwrap();
        let options = request.options.unwrap_or_default();
        let here = |namespace: &str| request.namespace.is_empty() || namespace == request.namespace;
        let initial = options.send_initial_events == Some(true)
            || (options.resource_version.is_empty() && options.send_initial_events.is_none());
        let mut first = Vec::new();
        if initial {
            for ((namespace, _), object) in &self.objects {
                if here(namespace) {
                    first.push(Event {
                        r#type: EventType::Added.into(),
                        object: object.to_vec(),
                        ..Event::default()
                    });
                }
            }
            first.push(Event {
                r#type: EventType::Synced.into(),
                resource_version: self.version.to_string(),
                ..Event::default()
            });
        } else if !options.resource_version.is_empty() {
            let from: u64 = options.resource_version.parse().unwrap();
            if from < self.compacted {
                return Err(status(Code::OutOfRange, "compacted"));
            }
            let later = self.log.iter().filter(|(version, _)| *version > from);
            first.extend(later.filter(|(_, e)| here(&meta(&e.object).namespace)).map(|(_, e)| e.clone()));
        }
        let (sender, receiver) = mpsc::unbounded();
        self.watchers.push((request.namespace, sender));
        let first = first.into_iter().map(|event| Ok(Bytes::from(event.encode_to_vec())));
        Ok(stream::iter(first).chain(receiver).boxed())
    }
}

impl Caller for Fake {
    type Stream = BoxStream<'static, Result<Bytes, CallError>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        tokio::task::yield_now().await;
        let method = call.path.rsplit('/').next().unwrap().to_owned();
        let mut state = self.state();
        state.enter(&method, &call)?;
        match method.as_str() {
            "GetRobot" | "GetDrone" => {
                let request = GetRequest::decode(call.message).unwrap();
                let object = state.objects.get(&(request.namespace, request.name)).cloned();
                object.ok_or_else(|| status(Code::NotFound, "no such object"))
            }
            "CreateRobot" | "CreateDrone" => state.create(&call.message),
            "UpdateRobot" | "UpdateDrone" => state.update(&call.message),
            "DeleteRobot" | "DeleteDrone" => state.delete(&call.message),
            "ListDocks" | "ListDrones" => Ok(state.list(&call.message).concat().into()),
            "DeleteCollectionDrones" => {
                let request = DeleteCollectionRequest::decode(call.message).unwrap();
                if request.options.unwrap_or_default().dry_run.is_empty() {
                    let all: Vec<Key> = state.objects.keys().cloned().collect();
                    for (namespace, name) in all {
                        state.remove(&namespace, &name);
                    }
                }
                Ok(Bytes::new())
            }
            "WaveRobot" => {
                let times = wire::fields(&call.message).map(Result::unwrap).find(|f| f.number == 3);
                let mut out = Vec::new();
                let said = format!("waved {} times", times.map_or(0, |f| f.varint()));
                wire::put_bytes(&mut out, 1, said.as_bytes());
                Ok(out.into())
            }
            _ => Err(status(Code::Unimplemented, "")),
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        tokio::task::yield_now().await;
        let method = call.path.rsplit('/').next().unwrap().to_owned();
        let (silent, messages) = self.messages(&method, &call)?;
        if !silent {
            return Ok(messages);
        }
        let mut messages = messages.peekable();
        std::pin::Pin::new(&mut messages).peek().await;
        Ok(messages.boxed())
    }
}

impl Fake {
    fn messages(
        &self,
        method: &str,
        call: &Call,
    ) -> Result<(bool, BoxStream<'static, Result<Bytes, CallError>>), CallError> {
        let mut state = self.state();
        let cut = state.enter(method, call)?;
        let messages = match method {
            "ListRobots" => stream::iter(state.list(&call.message)).map(Ok).boxed(),
            "WatchRobots" => state.watch(&call.message)?,
            "LogRobot" => {
                let line = |text: &str| {
                    let mut out = Vec::new();
                    wire::put_bytes(&mut out, 1, text.as_bytes());
                    Ok(Bytes::from(out))
                };
                stream::iter([line("booting"), line("ready")]).boxed()
            }
            _ => return Err(status(Code::Unimplemented, "")),
        };
        let messages = match cut {
            Some((after, error)) => {
                messages.take(after).chain(stream::once(async move { Err(error) })).boxed()
            }
            None => messages,
        };
        Ok((state.silent && method == "WatchRobots", messages))
    }
}

impl State {
    fn enter(&mut self, method: &str, call: &Call) -> Result<Option<(usize, CallError)>, CallError> {
        let reads = ["Get", "List", "Watch", "Log"].iter().any(|verb| method.starts_with(verb));
        assert_eq!(call.class == Class::Read, reads, "{method}: the class of the call");
        self.calls.push((method.into(), call.message.clone()));
        match self.faults.get_mut(method).and_then(VecDeque::pop_front) {
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::BreakAfter(after, error)) => Ok(Some((after, error))),
            Some(Fault::Before(hook)) => {
                hook(self);
                Ok(None)
            }
            None => Ok(None),
        }
    }
}
