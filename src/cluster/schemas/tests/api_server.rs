//! An API server of a test that has ConfigMaps and nothing else: it makes, replaces, deletes, lists and watches them, with
//! the preconditions of a real one.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::watch;

pub(super) const NAMESPACE: &str = "kubridge-system";
const PATH: &str = "/api/v1/namespaces/kubridge-system/configmaps";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct ApiServer(Arc<Inner>);

struct Inner {
    kept: Mutex<Kept>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Value>,
    version: u64,
    /// What happened to which object, by version.
    events: Vec<(u64, &'static str, Value)>,
    /// "POST name", in order; reads are left out.
    writes: Vec<String>,
    /// "POST" or "LIST", say: 403.
    forbidden: Vec<&'static str>,
}

impl ApiServer {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { kept: Mutex::default(), version: watch::Sender::new(0) }))
    }

    pub(super) fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.respond(request).await) }
        });
        Client::new(service, "default")
    }

    /// From now on these are refused, and all else is not.
    pub(super) fn forbid(&self, what: &[&'static str]) {
        self.0.kept.lock().unwrap().forbidden = what.to_vec();
    }

    /// The objects, by name.
    pub(super) fn objects(&self) -> BTreeMap<String, Value> {
        self.0.kept.lock().unwrap().objects.clone()
    }

    /// What was written since the last time.
    pub(super) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.kept.lock().unwrap().writes)
    }

    /// Waits until there is something about the objects.
    pub(super) async fn until(&self, so: impl Fn(&BTreeMap<String, Value>) -> bool) {
        let mut version = self.0.version.subscribe();
        let waiting = version.wait_for(|_| so(&self.objects()));
        tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.unwrap().unwrap();
    }

    /// Somebody else changes, makes or removes (`None`) an object.
    pub(super) fn meddle(&self, name: &str, change: impl FnOnce(Option<Value>) -> Option<Value>) {
        let mut kept = self.0.kept.lock().unwrap();
        let before = kept.objects.get(name).cloned();
        match (before, change(kept.objects.get(name).cloned())) {
            (_, Some(object)) => drop(kept.put(name, object)),
            (Some(_), None) => drop(kept.remove(name)),
            (None, None) => {}
        }
        self.0.version.send_replace(kept.version);
    }

    async fn respond(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let accept = head.headers.get("accept").map(|value| value.to_str().unwrap().to_owned());
        let metadata_only = accept.is_some_and(|accept| accept.contains("PartialObjectMeta"));
        let name = head.uri.path().strip_prefix(PATH).unwrap().trim_start_matches('/').to_owned();
        if name.is_empty() && head.method == Method::GET {
            assert!(
                query.contains(
                    "labelSelector=kubridge.io%2Fbackend%2Capp.kubernetes.io%2Fmanaged-by%3Dkubridge"
                )
            );
            assert!(metadata_only, "contents are not watched");
        }
        let mut kept = self.0.kept.lock().unwrap();
        let verb = if name.is_empty() && head.method == Method::GET { "LIST" } else { head.method.as_str() };
        if kept.forbidden.contains(&verb) {
            return failure(403, "configmaps is forbidden: it may not");
        }
        if head.method == Method::GET && name.is_empty() {
            if query.contains("watch=true") {
                let since = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
                drop(kept);
                return self.watch(since.unwrap().parse().unwrap());
            }
            let items: Vec<Value> = kept.objects.values().map(metadata).collect();
            return document(
                200,
                &json!({
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "items": items,
                    "metadata": {"resourceVersion": kept.version.to_string()},
                }),
            );
        }
        if head.method == Method::GET {
            return kept
                .objects
                .get(&name)
                .map_or_else(|| failure(404, "not found"), |object| document(200, object));
        }
        let sent: Value = serde_json::from_slice(&body).unwrap();
        let target =
            if name.is_empty() { sent["metadata"]["name"].as_str().unwrap().to_owned() } else { name };
        kept.writes.push(format!("{} {target}", head.method));
        let answer = kept.write(&head.method, &target, sent);
        self.0.version.send_replace(kept.version);
        answer
    }

    fn watch(&self, since: u64) -> Answer {
        let (inner, changes) = (Arc::clone(&self.0), self.0.version.subscribe());
        let events = stream::unfold((inner, changes, since), |(inner, mut changes, since)| async move {
            changes.wait_for(|version| *version > since).await.ok()?;
            let mut lines = Vec::new();
            let until = {
                let kept = inner.kept.lock().unwrap();
                for (version, kind, object) in &kept.events {
                    if *version > since {
                        let line = json!({"type": kind, "object": metadata(object)});
                        lines.extend_from_slice(format!("{line}\n").as_bytes());
                    }
                }
                kept.version
            };
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(lines))), (inner, changes, until)))
        });
        respond(200, StreamBody::new(events).boxed_unsync())
    }
}

impl Kept {
    fn write(&mut self, method: &Method, name: &str, sent: Value) -> Answer {
        let present = self.objects.get(name).cloned();
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        match (method.as_str(), present) {
            ("POST", Some(_)) => failure(409, "already exists"),
            ("POST", None) => document(201, &self.put(name, sent)),
            ("PUT", Some(present)) if version(&present) != version(&sent) => {
                failure(409, "has been modified")
            }
            ("PUT", Some(present)) if present["immutable"] == true => failure(422, "is immutable"),
            ("PUT", Some(_)) => document(200, &self.put(name, sent)),
            ("DELETE", Some(present)) => {
                let wanted = &sent["preconditions"]["uid"];
                if !wanted.is_null() && *wanted != present["metadata"]["uid"] {
                    return failure(409, "the uid is another");
                }
                self.remove(name);
                document(200, &present)
            }
            (_, None) => failure(404, "not found"),
            (method, _) => panic!("{method}"),
        }
    }

    fn put(&mut self, name: &str, mut object: Value) -> Value {
        self.version += 1;
        let before = self.objects.get(name).map(|before| before["metadata"]["uid"].clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let metadata = &mut object["metadata"];
        metadata["name"] = name.into();
        metadata["namespace"] = NAMESPACE.into();
        metadata["uid"] = before.unwrap_or_else(|| format!("uid-{}", self.version).into());
        metadata["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(name.to_owned(), object.clone());
        self.events.push((self.version, kind, object.clone()));
        object
    }

    fn remove(&mut self, name: &str) -> Option<Value> {
        self.version += 1;
        let mut object = self.objects.remove(name)?;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.events.push((self.version, "DELETED", object.clone()));
        Some(object)
    }
}

fn metadata(object: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}

fn failure(code: u16, message: &str) -> Answer {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "Invalid",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code,
    });
    document(code, &status)
}

fn document(code: u16, document: &Value) -> Answer {
    respond(code, Full::from(document.to_string()).boxed_unsync())
}

fn respond(code: u16, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}
