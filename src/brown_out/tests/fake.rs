//! A backend in memory that comes and goes, and a client that asks for its machines through the verbs.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use http::{HeaderMap, Method, StatusCode};
use kubridge_bridge::{
    caller::{BackendStatus, Call, CallError, Caller, Code, Ran, TransportError, TransportKind},
    env::Env,
    model::{Api, Resource, Rules, Schema},
    object,
    proto::{DeleteRequest, GetRequest, ListMeta, ListRequest, ObjectMeta},
    request_info::RequestInfo,
    status::ApiError,
    verbs::{self, Body},
    wire,
};
use prost::Message as _;
use tokio::time::sleep;

use super::super::{Asked, Policy, StandIn, Terminating, Told};

/// The inventory's API, without its Watch, with other methods where `change` says so.
pub(super) fn api(change: impl Fn(&mut Resource)) -> Arc<Api> {
    let mut schema = Schema::from_descriptor_set(inventory::DESCRIPTORS, Rules::default()).unwrap();
    let mut api = Arc::into_inner(schema.apis.remove(0)).unwrap();
    for resource in &mut api.resources {
        change(Arc::get_mut(resource).unwrap());
    }
    Arc::new(api)
}

pub(super) fn machines(api: &Api) -> Arc<Resource> {
    Arc::clone(api.resources.iter().find(|resource| resource.plural == "machines").unwrap())
}

/// How calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Status(Code),
    Transport(TransportKind, Ran),
    /// After the answer's headers.
    Breaks,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    /// The wire of each, by namespace and name.
    objects: BTreeMap<(String, String), Bytes>,
    /// How many objects are in a page; 0: all.
    page: usize,
    fails: Option<Fault>,
    takes: Duration,
    calls: Vec<String>,
}

/// Clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Backend(Arc<Mutex<State>>);

impl Backend {
    pub(super) fn put(&self, namespace: &str, name: &str, labels: &[(&str, &str)], rack: &str) {
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        let meta = ObjectMeta {
            name: name.into(),
            namespace: namespace.into(),
            uid: format!("u-{namespace}-{name}"),
            generation: 1,
            resource_version: state.version.to_string(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..ObjectMeta::default()
        };
        let (mut object, mut spec) = (Vec::new(), Vec::new());
        wire::put_bytes(&mut object, object::METADATA, &meta.encode_to_vec());
        wire::put_bytes(&mut spec, 2, rack.as_bytes());
        wire::put_bytes(&mut object, 2, &spec);
        state.objects.insert((namespace.into(), name.into()), object.into());
    }

    pub(super) fn page(&self, objects: usize) {
        self.0.lock().unwrap().page = objects;
    }

    pub(super) fn fail(&self, fails: impl Into<Option<Fault>>) {
        self.0.lock().unwrap().fails = fails.into();
    }

    pub(super) fn take(&self, takes: Duration) {
        self.0.lock().unwrap().takes = takes;
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().objects.len()
    }

    /// The methods that were called since the last time.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    async fn begin(&self, call: &Call) -> (String, Option<Fault>) {
        let method = call.path.rsplit('/').next().unwrap().to_owned();
        let (fails, takes) = {
            let mut state = self.0.lock().unwrap();
            state.calls.push(method.clone());
            (state.fails, state.takes)
        };
        sleep(takes).await;
        (method, fails)
    }

    fn list(&self, message: Bytes) -> Bytes {
        let state = self.0.lock().unwrap();
        let request = ListRequest::decode(message).unwrap();
        let options = request.options.unwrap_or_default();
        let first: usize = options.r#continue.parse().unwrap_or_default();
        let page = if state.page == 0 { usize::MAX } else { state.page };
        let all = state
            .objects
            .iter()
            .filter(|((namespace, _), _)| request.namespace.is_empty() || *namespace == request.namespace);
        let all: Vec<&Bytes> = all.map(|(_, object)| object).collect();
        let told: Vec<_> = all.iter().skip(first).take(page).collect();
        let next = first + told.len();
        let meta = ListMeta {
            resource_version: state.version.to_string(),
            r#continue: if next < all.len() { next.to_string() } else { String::new() },
            ..ListMeta::default()
        };
        let mut out = Vec::new();
        wire::put_bytes(&mut out, object::METADATA, &meta.encode_to_vec());
        for object in told {
            wire::put_bytes(&mut out, object::ITEMS, object);
        }
        out.into()
    }
}

pub(super) fn error(fault: Fault) -> CallError {
    let message = "a test".to_owned();
    match fault {
        Fault::Status(code) => {
            CallError::Status(Box::new(BackendStatus { code, message, details: Vec::new() }))
        }
        Fault::Transport(kind, ran) => CallError::Transport(Box::new(TransportError { ran, kind, message })),
        Fault::Breaks => error(Fault::Transport(TransportKind::Broken, Ran::Unknown)),
    }
}

impl Caller for Backend {
    type Stream = BoxStream<'static, Result<Bytes, CallError>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        let (method, fails) = self.begin(&call).await;
        if let Some(fault) = fails {
            return Err(error(fault));
        }
        match method.as_str() {
            "GetMachine" => {
                let GetRequest { namespace, name, .. } = GetRequest::decode(call.message).unwrap();
                let object = self.0.lock().unwrap().objects.get(&(namespace, name)).cloned();
                object.ok_or_else(|| error(Fault::Status(Code::NotFound)))
            }
            "DeleteMachine" => {
                let DeleteRequest { namespace, name, .. } = DeleteRequest::decode(call.message).unwrap();
                self.0.lock().unwrap().objects.remove(&(namespace, name));
                Ok(Bytes::new())
            }
            "ListMachines" => Ok(self.list(call.message)),
            "DeleteMachines" => {
                self.0.lock().unwrap().objects.clear();
                Ok(Bytes::new())
            }
            other => panic!("{other}"),
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        let (method, fails) = self.begin(&call).await;
        match fails {
            Some(Fault::Breaks) => return Ok(stream::iter([Err(error(Fault::Breaks))]).boxed()),
            Some(fault) => return Err(error(fault)),
            None => {}
        }
        let answer = if method == "ListRacks" { Bytes::new() } else { self.list(call.message) };
        Ok(stream::iter([Ok(answer)]).boxed())
    }
}

/// It is always the same time, and every namespace is there.
#[derive(Debug, Clone)]
struct Still;

impl Env for Still {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        sleep(duration)
    }

    fn random(&self) -> u128 {
        7
    }
}

/// What a client was told.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) body: String,
    pub(super) told: Option<Told>,
}

impl Answer {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(super) fn names(&self) -> Vec<String> {
        let json = self.json();
        let items = json["items"].as_array().unwrap_or_else(|| panic!("no list: {json}"));
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Why nothing was answered in the backend's place.
    #[track_caller]
    pub(super) fn why_not(&self) -> &str {
        match &self.told {
            Some(Told::Unanswered(why)) if self.code == StatusCode::SERVICE_UNAVAILABLE => why,
            _ => panic!("{self:?}"),
        }
    }

    #[track_caller]
    pub(super) fn warning(&self) -> &str {
        match &self.told {
            Some(Told::Answered { warning, .. }) if self.code == StatusCode::OK => warning,
            _ => panic!("{self:?}"),
        }
    }
}

/// Asks for machines.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) backend: Backend,
    pub(super) resource: Arc<Resource>,
    pub(super) policy: Policy,
    pub(super) user: &'static str,
    /// The namespaces that are being deleted; none: there is no cluster.
    pub(super) terminating: Option<&'static [&'static str]>,
}

impl Client {
    /// `path`: below the group and version, with its query.
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "application/json").await
    }

    pub(super) async fn ask(&self, method: Method, path: &str, accept: &str) -> Answer {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/apis/inventory.example.com/v1/{path}");
        let info = RequestInfo::new(&method, &path, query);
        let asked =
            Asked { user: self.user, verb: &info.verb, namespace: &info.namespace, name: &info.name, query };
        let namespace = info.namespace.clone();
        let terminating = || {
            let all = self.terminating?;
            let is = all.contains(&namespace.as_str());
            let ask: Terminating = Box::new(move || std::future::ready(is).boxed());
            Some(ask)
        };
        let plan = self.policy.plan(asked, &self.resource, terminating);
        let headers: HeaderMap = [(http::header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
        let request = verbs::Request {
            info,
            method,
            query: query.to_owned(),
            headers,
            body: Bytes::new(),
            user: Arc::default(),
        };
        let (result, told) = match plan {
            None => (verbs::serve(&self.resource, &self.backend, &Still, request).await, None),
            Some(plan) => {
                let caller = StandIn::new(self.backend.clone(), plan);
                let result = verbs::serve(&self.resource, &caller, &Still, request).await;
                (result, caller.told().cloned())
            }
        };
        let (code, body) = match result {
            Ok(reply) => (reply.status, read(reply.body).await),
            Err(error) => (error.code(), Ok(error.status.message.clone().into())),
        };
        let body = body.unwrap_or_else(|error| panic!("the stream broke: {error}"));
        Answer { code, body: String::from_utf8_lossy(&body).into_owned(), told }
    }
}

async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    match body {
        Body::Whole(bytes) => Ok(bytes.to_vec()),
        Body::Stream(stream) => Ok(stream.try_collect::<Vec<Bytes>>().await?.concat()),
    }
}
