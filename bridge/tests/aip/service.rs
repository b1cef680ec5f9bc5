//! A service in the style of Google's AIPs, in memory: standard methods of whatever its proto declares, on dynamic
//! messages. Tests can make it as lax, strict, slow or forgetful as services are.

#![allow(dead_code, reason = "every test binary uses its part")]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream, stream::BoxStream};
use kubridge_bridge::caller::{BackendStatus, Call, CallError, Caller, Code, Detail, FieldViolation};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, MethodDescriptor,
    ReflectMessage as _, Value,
};

/// What the service is like.
pub struct State {
    pool: DescriptorPool,
    pub objects: BTreeMap<String, DynamicMessage>,
    clock: i64,
    /// The methods that were called, with their requests.
    pub calls: Vec<(String, DynamicMessage)>,
    faults: HashMap<String, VecDeque<CallError>>,
    hooks: HashMap<String, VecDeque<Hook>>,
    /// How it takes the parent `-`.
    pub any_parent: AnyParent,
    /// The largest page.
    pub page: usize,
    /// Page tokens of before are refused from now on.
    pub forgets_tokens: bool,
    /// What a wrong etag is answered with.
    pub wrong_etag: Code,
    /// Operations are done at once, or when a test says so.
    pub slow: bool,
    /// WaitOperation is there.
    pub waits: bool,
    pub operations: BTreeMap<String, DynamicMessage>,
    /// What an operation does when it is done, and on what.
    pending: BTreeMap<String, Vec<u8>>,
    /// What the next lists could not reach.
    pub unreachable: Vec<String>,
    /// Answers in the place of the standard methods.
    answers: Option<Answers>,
}

type Answers = fn(&mut State, &MethodDescriptor, &DynamicMessage) -> Answer;

type Hook = Box<dyn FnOnce(&mut State) + Send>;

/// How a service takes the parent `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyParent {
    /// It lists the children of all (AIP-159).
    Lists,
    /// There is no such parent.
    IsUnknown,
    /// It has no children.
    IsEmpty,
}

/// Clones share the state.
#[derive(Clone)]
pub struct Service(Arc<Mutex<State>>);

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

type Answer = Result<DynamicMessage, CallError>;

impl Service {
    pub fn new(descriptors: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(State {
            pool: DescriptorPool::decode(descriptors).unwrap(),
            objects: BTreeMap::new(),
            clock: 1_700_000_000,
            calls: Vec::new(),
            faults: HashMap::new(),
            hooks: HashMap::new(),
            any_parent: AnyParent::Lists,
            page: 1000,
            forgets_tokens: false,
            wrong_etag: Code::Aborted,
            slow: false,
            waits: true,
            operations: BTreeMap::new(),
            pending: BTreeMap::new(),
            unreachable: Vec::new(),
            answers: None,
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Something else answers every call.
    pub fn answer(&self, answers: Answers) {
        self.state().answers = Some(answers);
    }

    /// The next call of `method` fails.
    pub fn fail(&self, method: &str, code: Code, message: &str) {
        self.fail_with(method, status(code, message));
    }

    pub fn fail_with(&self, method: &str, error: CallError) {
        self.state().faults.entry(method.into()).or_default().push_back(error);
    }

    /// Just before the next call of `method` something happens.
    pub fn before(&self, method: &str, hook: impl FnOnce(&mut State) + Send + 'static) {
        self.state().hooks.entry(method.into()).or_default().push_back(Box::new(hook));
    }

    /// How often `method` was called.
    pub fn count(&self, method: &str) -> usize {
        self.state().calls.iter().filter(|(name, _)| name == method).count()
    }

    /// The last request of `method`.
    pub fn last(&self, method: &str) -> DynamicMessage {
        let state = self.state();
        state.calls.iter().rev().find(|(name, _)| name == method).map(|(_, m)| m.clone()).unwrap()
    }

    /// Stores an object as it is: of this message, in the text format.
    pub fn put(&self, message: &str, text: &str) {
        self.state().put(message, text);
    }

    pub fn object(&self, name: &str) -> Option<DynamicMessage> {
        self.state().objects.get(name).cloned()
    }

    /// Ends an operation: well, or with an error.
    pub fn finish(&self, name: &str, error: Option<(Code, &str)>) {
        self.state().finish(name, error);
    }

    /// One call, as the network would bring it.
    pub fn call(&self, path: &str, message: &[u8]) -> Result<Vec<u8>, CallError> {
        let mut state = self.state();
        let (service, name) = path.trim_start_matches('/').split_once('/').unwrap();
        let unimplemented = || status(Code::Unimplemented, "no such method");
        let service = state.pool.get_service_by_name(service).ok_or_else(unimplemented)?;
        let method = service.methods().find(|method| method.name() == name).ok_or_else(unimplemented)?;
        let request = DynamicMessage::decode(method.input(), message).unwrap();
        state.calls.push((name.to_owned(), request.clone()));
        if let Some(error) = state.faults.get_mut(name).and_then(VecDeque::pop_front) {
            return Err(error);
        }
        if let Some(hook) = state.hooks.get_mut(name).and_then(VecDeque::pop_front) {
            hook(&mut state);
        }
        state.run(&method, &request).map(|answer| answer.encode_to_vec())
    }
}

pub fn status(code: Code, message: &str) -> CallError {
    CallError::Status(Box::new(BackendStatus { code, message: message.into(), details: Vec::new() }))
}

fn invalid(field: &str, description: &str) -> CallError {
    let violation =
        FieldViolation { field: field.into(), description: description.into(), reason: String::new() };
    CallError::Status(Box::new(BackendStatus {
        code: Code::InvalidArgument,
        message: description.into(),
        details: vec![Detail::FieldViolations(vec![violation])],
    }))
}

pub fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The paths of a request's mask.
pub fn mask(request: &DynamicMessage) -> Vec<String> {
    let Some(mask) = request.get_field_by_name("update_mask") else { return Vec::new() };
    let paths = mask.as_message().unwrap().get_field_by_name("paths").unwrap().into_owned();
    paths.as_list().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()).collect()
}

fn behaves(field: &FieldDescriptor, what: i32) -> bool {
    let pool = field.parent_pool();
    let Some(extension) = pool.get_extension_by_name("google.api.field_behavior") else { return false };
    let options = field.options();
    let said = options.get_extension(&extension);
    said.as_list().is_some_and(|list| list.iter().any(|v| v.as_enum_number() == Some(what)))
}

const REQUIRED: i32 = 2;
const OUTPUT_ONLY: i32 = 3;
const INPUT_ONLY: i32 = 4;

/// The patterns of a resource.
fn patterns(message: &MessageDescriptor) -> Vec<String> {
    let pool = message.parent_pool();
    let Some(extension) = pool.get_extension_by_name("google.api.resource") else { return Vec::new() };
    let options = message.options();
    let said = options.get_extension(&extension);
    let patterns = said.as_message().unwrap().get_field_by_name("pattern").unwrap().into_owned();
    patterns.as_list().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), name.split('/').collect());
    pattern.len() == name.len() && pattern.iter().zip(name).all(|(p, n)| p.starts_with('{') || *p == n)
}

impl State {
    /// See [`Service::put`].
    pub fn put(&mut self, message: &str, text: &str) {
        let descriptor = self.pool.get_message_by_name(&format!("example.library.v1.{message}")).unwrap();
        let object = DynamicMessage::parse_text_format(descriptor, text).unwrap();
        let object = self.stamped(object, true);
        self.objects.insert(self::text(&object, "name"), object);
    }

    /// See [`Service::finish`].
    pub fn finish(&mut self, name: &str, error: Option<(Code, &str)>) {
        let mut operation = self.operations.remove(name).unwrap();
        operation.set_field_by_name("done", Value::Bool(true));
        let done = self.pending.remove(name).unwrap();
        if let Some((code, message)) = error {
            let descriptor = self.pool.get_message_by_name("google.rpc.Status").unwrap();
            let mut status = DynamicMessage::new(descriptor);
            status.set_field_by_name("code", Value::I32(code.number()));
            status.set_field_by_name("message", Value::String(message.into()));
            operation.set_field_by_name("error", Value::Message(status));
        } else {
            let response = self.pool.get_message_by_name("google.protobuf.Any").unwrap();
            let response = DynamicMessage::decode(response, done.as_slice()).unwrap();
            self.settle(&response);
            operation.set_field_by_name("response", Value::Message(response));
        }
        self.operations.insert(name.into(), operation);
    }

    /// An operation that made an object is done: the object is there.
    fn settle(&mut self, any: &DynamicMessage) {
        let url = self::text(any, "type_url");
        let name = url.rsplit('/').next().unwrap();
        if name.starts_with("google.") {
            return;
        }
        let descriptor = self.pool.get_message_by_name(name).unwrap();
        let value = any.get_field_by_name("value").unwrap().into_owned();
        let object = DynamicMessage::decode(descriptor, value.as_bytes().unwrap().as_ref()).unwrap();
        self.objects.insert(self::text(&object, "name"), object);
    }

    fn time(&self) -> Value {
        let descriptor = self.pool.get_message_by_name("google.protobuf.Timestamp").unwrap();
        let mut time = DynamicMessage::new(descriptor);
        time.set_field_by_name("seconds", Value::I64(self.clock));
        time.set_field_by_name("nanos", Value::I32(500_000_000));
        Value::Message(time)
    }

    /// With what the service writes itself.
    fn stamped(&mut self, mut object: DynamicMessage, new: bool) -> DynamicMessage {
        self.clock += 1;
        let set = |object: &mut DynamicMessage, field: &str, value: Value| {
            if object.descriptor().get_field_by_name(field).is_some() {
                object.set_field_by_name(field, value);
            }
        };
        if new {
            set(&mut object, "create_time", self.time());
            set(&mut object, "uid", Value::String(format!("u{}", self.clock)));
            set(&mut object, "state", Value::EnumNumber(1));
        }
        set(&mut object, "update_time", self.time());
        set(&mut object, "etag", Value::String(format!("\"{}\"", self.clock)));
        if let Some(revision) = object.get_field_by_name("revision").and_then(|v| v.as_i32()) {
            object.set_field_by_name("revision", Value::I32(revision + 1));
        }
        object
    }

    fn run(&mut self, method: &MethodDescriptor, request: &DynamicMessage) -> Answer {
        if let Some(answers) = self.answers {
            return answers(self, method, request);
        }
        let name = method.name().to_owned();
        match name.as_str() {
            "GetOperation" => return self.operation(&text(request, "name")),
            "WaitOperation" if !self.waits => return Err(status(Code::Unimplemented, "it cannot wait")),
            "WaitOperation" => return self.operation(&text(request, "name")),
            "ListOperations" => return Ok(self.list_operations(method)),
            "CountBooks" => return Err(status(Code::Unimplemented, "")),
            _ => {}
        }
        let resource = |verb: &str| {
            let kind = name.strip_prefix(verb)?;
            let kind = kind.strip_suffix('s').filter(|_| verb == "List").unwrap_or(kind);
            self.pool.get_message_by_name(&format!("{}.{kind}", method.parent_file().package_name()))
        };
        if name.starts_with("Get") {
            return self.get(&text(request, "name"));
        }
        if let Some(message) = resource("List") {
            return self.list(method, request, &message);
        }
        let answer = if let Some(message) = resource("Create") {
            self.create(request, &message)
        } else if let Some(message) = resource("Update") {
            self.update(request, &message)
        } else if resource("Delete").is_some() {
            self.delete(request)
        } else {
            self.custom(request)
        }?;
        let output = method.output();
        match output.full_name() {
            "google.longrunning.Operation" => {
                let gone = self.pool.get_message_by_name("google.protobuf.Empty").map(DynamicMessage::new);
                let result = gone.filter(|_| name.starts_with("Delete")).unwrap_or_else(|| answer.clone());
                Ok(self.begin(&output, &answer, &result))
            }
            "google.protobuf.Empty" => Ok(DynamicMessage::new(output)),
            _ => Ok(answer),
        }
    }

    fn get(&self, name: &str) -> Answer {
        let mut found = self.objects.get(name).cloned().ok_or_else(|| status(Code::NotFound, name))?;
        for field in found.descriptor().fields().filter(|field| behaves(field, INPUT_ONLY)) {
            found.clear_field(&field);
        }
        Ok(found)
    }

    fn create(&mut self, request: &DynamicMessage, message: &MessageDescriptor) -> Answer {
        let body =
            request.descriptor().fields().find(|f| f.kind() == Kind::Message(message.clone())).unwrap();
        let mut object = request.get_field(&body).as_message().unwrap().clone();
        let parent = text(request, "parent");
        if !parent.is_empty() && !self.objects.contains_key(&parent) {
            return Err(status(Code::NotFound, &format!("there is no {parent}")));
        }
        let id =
            request.descriptor().fields().find(|f| f.name().ends_with("_id") && f.name() != "request_id");
        let mut id = id.map(|field| text(request, field.name())).unwrap_or_default();
        if id.is_empty() {
            id = format!("made{}", self.clock);
        }
        let name = patterns(message)
            .iter()
            .map(|pattern| {
                let collection = pattern.rsplit('/').nth(1).unwrap();
                let separator = if parent.is_empty() { "" } else { "/" };
                (pattern.clone(), format!("{parent}{separator}{collection}/{id}"))
            })
            .find(|(pattern, name)| matches(pattern, name))
            .map(|(_, name)| name)
            .ok_or_else(|| status(Code::InvalidArgument, "no pattern matches"))?;
        check_required(&object, body.name())?;
        if self.objects.contains_key(&name) {
            return Err(status(Code::AlreadyExists, &name));
        }
        for field in message.fields().filter(|field| behaves(field, OUTPUT_ONLY)) {
            object.clear_field(&field);
        }
        object.set_field_by_name("name", Value::String(name.clone()));
        let object = self.stamped(object, true);
        if !flag(request, "validate_only") && !self.slow {
            self.objects.insert(name, object.clone());
        }
        Ok(object)
    }

    fn update(&mut self, request: &DynamicMessage, message: &MessageDescriptor) -> Answer {
        let body =
            request.descriptor().fields().find(|f| f.kind() == Kind::Message(message.clone())).unwrap();
        let new = request.get_field(&body).as_message().unwrap().clone();
        let name = text(&new, "name");
        let stored = self.objects.get(&name).cloned().ok_or_else(|| status(Code::NotFound, &name))?;
        self.check_etag(&stored, &text(&new, "etag"))?;
        check_required(&new, body.name())?;
        let mut updated = stored.clone();
        if request.descriptor().get_field_by_name("update_mask").is_some() {
            for path in mask(request) {
                let path: Vec<&str> = path.split('.').collect();
                take(&mut updated, &new, &path)?;
            }
        } else {
            for field in message.fields().filter(|field| !behaves(field, OUTPUT_ONLY)) {
                move_field(&mut updated, &new, &field);
            }
        }
        let updated = self.stamped(updated, false);
        if !flag(request, "validate_only") {
            self.objects.insert(name, updated.clone());
        }
        Ok(updated)
    }

    fn check_etag(&self, stored: &DynamicMessage, etag: &str) -> Result<(), CallError> {
        if etag.is_empty() || text(stored, "etag") == etag {
            return Ok(());
        }
        Err(status(self.wrong_etag, "the etag is not the present one"))
    }

    fn delete(&mut self, request: &DynamicMessage) -> Answer {
        let name = text(request, "name");
        let stored = self.objects.get(&name).cloned().ok_or_else(|| status(Code::NotFound, &name))?;
        self.check_etag(&stored, &text(request, "etag"))?;
        let children = format!("{name}/");
        if self.objects.keys().any(|other| other.starts_with(&children)) && !flag(request, "force") {
            return Err(status(Code::FailedPrecondition, "it has children"));
        }
        if stored.descriptor().get_field_by_name("delete_time").is_some() {
            let mut deleted = stored;
            deleted.set_field_by_name("delete_time", self.time());
            self.objects.insert(name, deleted.clone());
            return Ok(deleted);
        }
        self.objects.remove(&name);
        Ok(stored)
    }

    /// Takes over what the request says of fields with the same names, and sets the book aside.
    fn custom(&mut self, request: &DynamicMessage) -> Answer {
        let name = text(request, "name");
        let mut object = self.objects.get(&name).cloned().ok_or_else(|| status(Code::NotFound, &name))?;
        for (field, value) in request.fields().filter(|(field, _)| field.name() != "name") {
            if object.descriptor().get_field_by_name(field.name()).is_some() {
                object.set_field_by_name(field.name(), value.clone());
            }
        }
        if request.descriptor().get_field_by_name("reader").is_some() {
            object.set_field_by_name("state", Value::EnumNumber(2));
        }
        let object = self.stamped(object, false);
        if !self.slow {
            self.objects.insert(name, object.clone());
        }
        Ok(object)
    }

    fn list(
        &mut self,
        method: &MethodDescriptor,
        request: &DynamicMessage,
        message: &MessageDescriptor,
    ) -> Answer {
        let parent = text(request, "parent");
        let mut any = parent.split('/').any(|id| id == "-");
        if any {
            match self.any_parent {
                AnyParent::Lists => {}
                AnyParent::IsUnknown => return Err(status(Code::NotFound, "there is no -")),
                AnyParent::IsEmpty => any = false,
            }
        } else if !parent.is_empty() && !self.objects.contains_key(&parent) {
            return Err(status(Code::NotFound, &parent));
        }
        let below = |name: &str| {
            let wanted = if parent.is_empty() { String::new() } else { format!("{parent}/") };
            let depth = wanted.matches('/').count();
            let start: Vec<&str> = name.split('/').take(depth).collect();
            let wanted: Vec<&str> = wanted.trim_end_matches('/').split('/').take(depth).collect();
            let fits = start.iter().zip(&wanted).all(|(have, want)| have == want || (any && *want == "-"));
            fits && name.split('/').count() == depth + 2
        };
        let found: Vec<DynamicMessage> = self
            .objects
            .iter()
            .filter(|(name, object)| object.descriptor() == *message && below(name))
            .map(|(name, _)| self.get(name).unwrap())
            .collect();
        let token = text(request, "page_token");
        if !token.is_empty() && self.forgets_tokens {
            return Err(status(Code::InvalidArgument, "the page token is too old"));
        }
        let start: usize =
            if token.is_empty() { 0 } else { token.trim_start_matches("page-").parse().unwrap() };
        let size = request.get_field_by_name("page_size").and_then(|v| v.as_i32()).unwrap_or(0);
        let size = if size == 0 { 50 } else { usize::try_from(size).unwrap() }.min(self.page);
        let end = (start + size).min(found.len());
        let output = method.output();
        let items = output.fields().find(|f| f.kind() == Kind::Message(message.clone())).unwrap();
        let mut answer = DynamicMessage::new(output);
        let page = found[start..end].iter().cloned().map(Value::Message).collect();
        answer.set_field(&items, Value::List(page));
        if end < found.len() {
            answer.set_field_by_name("next_page_token", Value::String(format!("page-{end}")));
        }
        if !self.unreachable.is_empty() {
            let names = self.unreachable.iter().cloned().map(Value::String).collect();
            answer.set_field_by_name("unreachable", Value::List(names));
        }
        Ok(answer)
    }

    fn begin(
        &mut self,
        descriptor: &MessageDescriptor,
        about: &DynamicMessage,
        result: &DynamicMessage,
    ) -> DynamicMessage {
        let name = format!("operations/{}", self.operations.len() + 1);
        let any = self.pool.get_message_by_name("google.protobuf.Any").unwrap();
        let mut response = DynamicMessage::new(any.clone());
        let url = format!("type.googleapis.com/{}", result.descriptor().full_name());
        response.set_field_by_name("type_url", Value::String(url));
        response.set_field_by_name("value", Value::Bytes(result.encode_to_vec().into()));
        let mut operation = DynamicMessage::new(descriptor.clone());
        operation.set_field_by_name("name", Value::String(name.clone()));
        operation.set_field_by_name("metadata", Value::Message(self.about(&any, about)));
        self.pending.insert(name.clone(), response.encode_to_vec());
        self.operations.insert(name.clone(), operation);
        if !self.slow {
            self.finish(&name, None);
        }
        self.operations[&name].clone()
    }

    /// The metadata of an operation: which object it is about.
    fn about(&self, any: &MessageDescriptor, result: &DynamicMessage) -> DynamicMessage {
        let book = result.descriptor().name() == "Book";
        let (metadata, field) =
            if book { ("ReprintBookMetadata", "book") } else { ("EditionMetadata", "target") };
        let descriptor = self.pool.get_message_by_name(&format!("example.library.v1.{metadata}")).unwrap();
        let mut about = DynamicMessage::new(descriptor);
        about.set_field_by_name(field, Value::String(text(result, "name")));
        let mut packed = DynamicMessage::new(any.clone());
        let url = format!("type.googleapis.com/example.library.v1.{metadata}");
        packed.set_field_by_name("type_url", Value::String(url));
        packed.set_field_by_name("value", Value::Bytes(about.encode_to_vec().into()));
        packed
    }

    fn operation(&self, name: &str) -> Answer {
        self.operations.get(name).cloned().ok_or_else(|| status(Code::NotFound, name))
    }

    fn list_operations(&self, method: &MethodDescriptor) -> DynamicMessage {
        let mut answer = DynamicMessage::new(method.output());
        let operations = self.operations.values().cloned().map(Value::Message).collect();
        answer.set_field_by_name("operations", Value::List(operations));
        answer
    }
}

fn flag(request: &DynamicMessage, field: &str) -> bool {
    request.get_field_by_name(field).and_then(|v| v.as_bool()).unwrap_or_default()
}

fn check_required(object: &DynamicMessage, body: &str) -> Result<(), CallError> {
    // What only the service writes no client is asked for.
    let asked = |field: &FieldDescriptor| behaves(field, REQUIRED) && !behaves(field, OUTPUT_ONLY);
    for field in object.descriptor().fields().filter(asked) {
        if !object.has_field(&field) {
            return Err(invalid(&format!("{body}.{}", field.name()), "it is missing"));
        }
    }
    if text(object, "title") == "forbidden" {
        return Err(invalid(&format!("{body}.title"), "no book is called so"));
    }
    Ok(())
}

/// Takes what `path` leads to from `new`.
fn take(old: &mut DynamicMessage, new: &DynamicMessage, path: &[&str]) -> Result<(), CallError> {
    let unknown = || status(Code::InvalidArgument, "the mask names what is not there");
    let (first, rest) = path.split_first().ok_or_else(unknown)?;
    let field = old.descriptor().get_field_by_name(first).ok_or_else(unknown)?;
    if rest.is_empty() {
        move_field(old, new, &field);
        return Ok(());
    }
    let (Some(inner), Some(from)) =
        (old.get_field_mut(&field).as_message_mut(), new.get_field(&field).as_message().cloned())
    else {
        return Err(unknown());
    };
    take(inner, &from, rest)
}

fn move_field(old: &mut DynamicMessage, new: &DynamicMessage, field: &FieldDescriptor) {
    if new.has_field(field) {
        old.set_field(field, new.get_field(field).into_owned());
    } else {
        old.clear_field(field);
    }
}

/// A value of a map.
pub fn entry(message: &DynamicMessage, field: &str, key: &str) -> Option<String> {
    let map = message.get_field_by_name(field)?.into_owned();
    map.as_map()?.get(&MapKey::String(key.into()))?.as_str().map(str::to_owned)
}

impl Caller for Service {
    type Stream = BoxStream<'static, Result<Bytes, CallError>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        tokio::task::yield_now().await;
        self.call(&call.path, &call.message).map(Bytes::from)
    }

    async fn stream(&self, _: Call) -> Result<Self::Stream, CallError> {
        let line = |text: &str| {
            let mut out = Vec::new();
            kubridge_bridge::wire::put_bytes(&mut out, 1, text.as_bytes());
            Ok(Bytes::from(out))
        };
        Ok(stream::iter([line("Call me"), line("Ishmael.")]).boxed())
    }
}
