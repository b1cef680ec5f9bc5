#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::Mutex,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use kubridge_bridge::proto::UserInfo;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::advance};

use super::*;

const KINDS: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];

type Line = mpsc::Sender<Value>;

/// An API server that lists and watches the four kinds.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    /// The page of each kind that begins after so many objects.
    objects: HashMap<&'static str, Vec<Value>>,
    /// Objects of a page; 0: all are on one.
    page: usize,
    /// A failure of everything.
    failure: Option<Value>,
    is_silent: bool,
    /// Kind and version of each watch, and what it is told by.
    watches: Vec<(&'static str, String, Line)>,
    lists: usize,
}

impl Server {
    fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move {
                if this.inside(|inside| inside.is_silent) {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(this.respond(&request))
            }
        });
        Client::new(service, "default")
    }

    fn inside<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn respond(&self, request: &Request<Body>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let kind = request.uri().path().rsplit_once('/').unwrap().1;
        let kind = *KINDS.iter().find(|known| **known == kind).unwrap();
        let query = request.uri().query().unwrap_or_default().split('&');
        let query: BTreeMap<_, _> = query.filter_map(|pair| pair.split_once('=')).collect();
        self.inside(|inside| {
            let full = |code: u16, document: &Value| {
                let body = Full::from(document.to_string()).boxed_unsync();
                Response::builder()
                    .status(code)
                    .header("content-type", "application/json")
                    .body(body)
                    .unwrap()
            };
            if let Some(failure) = &inside.failure {
                return full(failure["code"].as_u64().unwrap().try_into().unwrap(), failure);
            }
            if query.get("watch") != Some(&"true") {
                inside.lists += 1;
                let objects = inside.objects.get(kind).cloned().unwrap_or_default();
                let from = query.get("continue").map_or(0, |token| token.parse().unwrap());
                let size = if inside.page == 0 { objects.len().max(1) } else { inside.page };
                let (items, rest) = objects[from..].split_at(size.min(objects.len() - from));
                let next = (!rest.is_empty()).then(|| (from + size).to_string());
                return full(
                    200,
                    &json!({
                        "kind": "List", "apiVersion": "rbac.authorization.k8s.io/v1",
                        "metadata": {"resourceVersion": "10", "continue": next}, "items": items,
                    }),
                );
            }
            assert_eq!(query["allowWatchBookmarks"], "true");
            assert_eq!(query["timeoutSeconds"], "3");
            let (line, said) = mpsc::channel::<Value>(16);
            inside.watches.push((kind, query["resourceVersion"].to_owned(), line));
            let lines = stream::unfold(said, async |mut said| {
                let line: Value = said.recv().await?;
                Some((Ok(Frame::data(Bytes::from(format!("{line}\n")))), said))
            });
            Response::new(StreamBody::new(lines.boxed()).boxed_unsync())
        })
    }

    /// The watches that were opened since the last time, by kind: each with its version.
    async fn watches(&self) -> HashMap<&'static str, (String, Line)> {
        settle().await;
        let watches = self.inside(|inside| std::mem::take(&mut inside.watches));
        watches.into_iter().map(|(kind, version, line)| (kind, (version, line))).collect()
    }
}

/// Lets everybody do what can be done now.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn bookmark(version: &str) -> Value {
    let types = json!({"kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"resourceVersion": version}});
    json!({"type": "BOOKMARK", "object": types})
}

fn reader() -> Value {
    json!({
        "kind": "ClusterRole", "metadata": {"name": "reader", "resourceVersion": "3"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
    })
}

fn binding(name: &str, version: &str) -> Value {
    json!({
        "kind": "RoleBinding", "metadata": {"namespace": "a", "name": name, "resourceVersion": version},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": name}],
    })
}

fn follow(server: &Server) -> (Rbac, JoinHandle<()>) {
    let (rbac, follow) = Rbac::new(server.client());
    (rbac, tokio::spawn(follow))
}

/// How many rules who is called so has in the namespace `a`; `None`: nothing is known.
fn rules(rbac: &Rbac, name: &str) -> Option<usize> {
    let user = UserInfo { username: name.into(), ..UserInfo::default() };
    rbac.current().map(|policy| policy.grants(&user, "a").map(|(_, rules)| rules.len()).sum())
}

#[tokio::test(start_paused = true)]
async fn what_is_listed_is_known_page_by_page_and_what_changes_at_once() {
    let server = Server::default();
    let names: Vec<String> = (0..5).map(|number| format!("user-{number}")).collect();
    server.inside(|inside| {
        inside.page = 2;
        inside.objects.insert("clusterroles", vec![reader()]);
        inside.objects.insert("rolebindings", names.iter().map(|name| binding(name, "4")).collect());
    });
    let (rbac, task) = follow(&server);
    assert_eq!(rules(&rbac, "user-0"), None);
    let watches = server.watches().await;
    assert_eq!(server.inside(|inside| inside.lists), 6, "three pages of bindings");
    assert!(watches.values().all(|(version, _)| version == "10"));
    assert!(names.iter().all(|name| rules(&rbac, name) == Some(1)));
    assert!(rbac.is_settling());
    advance(SETTLING).await;
    assert!(!rbac.is_settling());

    let (_, line) = &watches["rolebindings"];
    line.try_send(json!({"type": "DELETED", "object": binding("user-0", "11")})).unwrap();
    line.try_send(json!({"type": "ADDED", "object": binding("new", "12")})).unwrap();
    settle().await;
    assert_eq!(
        (rules(&rbac, "user-0"), rules(&rbac, "user-1"), rules(&rbac, "new")),
        (Some(0), Some(1), Some(1))
    );
    assert!(rbac.is_settling());
    let (_, line) = &watches["clusterroles"];
    let empty = json!({"kind": "ClusterRole", "metadata": {"name": "reader", "resourceVersion": "13"}});
    line.try_send(json!({"type": "MODIFIED", "object": empty})).unwrap();
    settle().await;
    assert_eq!(rules(&rbac, "new"), Some(0));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_known_before_every_kind_is() {
    let server = Server::default();
    let refused = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403, "message": "no"});
    server.inside(|inside| inside.failure = Some(refused));
    let (rbac, task) = follow(&server);
    settle().await;
    advance(Duration::from_secs(60)).await;
    settle().await;
    assert_eq!(rules(&rbac, "x"), None);
    server.inside(|inside| inside.failure = None);
    advance(Duration::from_secs(10)).await;
    settle().await;
    assert_eq!(rules(&rbac, "x"), Some(0));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_is_as_good_as_the_moment_when_its_watch_began() {
    let server = Server::default();
    let (rbac, task) = follow(&server);
    let watches = server.watches().await;
    advance(Duration::from_secs(2)).await;
    for (_, line) in watches.values() {
        line.try_send(bookmark("20")).unwrap();
    }
    settle().await;
    advance(Duration::from_secs(2)).await;
    // In order: the server ends them, and the next ones begin where they ended.
    drop(watches);
    let watches = server.watches().await;
    assert_eq!(watches.len(), 4);
    assert!(watches.values().all(|(version, _)| version == "20"));
    advance(Duration::from_millis(5_999)).await;
    assert_eq!(rules(&rbac, "x"), Some(0));
    // All but one: that one is silent.
    for kind in &KINDS[1..] {
        watches[kind].1.try_send(bookmark("21")).unwrap();
    }
    settle().await;
    advance(Duration::from_millis(1)).await;
    assert_eq!(rules(&rbac, "x"), None, "10 s after the first watch began");
    watches[KINDS[0]].1.try_send(bookmark("21")).unwrap();
    settle().await;
    assert_eq!(rules(&rbac, "x"), Some(0));
    advance(Duration::from_millis(3_999)).await;
    assert_eq!(rules(&rbac, "x"), Some(0));
    advance(Duration::from_millis(1)).await;
    assert_eq!(rules(&rbac, "x"), None, "10 s after the second watch began");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_lasts_its_time_is_as_good_as_a_bookmark_and_a_shorter_one_is_not() {
    let server = Server::default();
    let (rbac, task) = follow(&server);
    for _ in 0..4 {
        let watches = server.watches().await;
        assert_eq!(watches.len(), 4);
        advance(Duration::from_secs(3)).await;
        drop(watches);
    }
    // The last of them began 9 s after the first.
    let watches = server.watches().await;
    assert_eq!(watches.len(), 4);
    advance(Duration::from_millis(2_999)).await;
    drop(watches);
    settle().await;
    assert_eq!(rules(&rbac, "x"), Some(0));
    advance(Duration::from_secs(4)).await;
    assert_eq!(rules(&rbac, "x"), Some(0));
    advance(Duration::from_millis(1)).await;
    assert_eq!(rules(&rbac, "x"), None);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn events_alone_do_not_say_that_nothing_is_missing() {
    let server = Server::default();
    let (rbac, task) = follow(&server);
    let watches = server.watches().await;
    for second in 0..9 {
        let version = (30 + second).to_string();
        watches["rolebindings"].1.try_send(json!({"type": "ADDED", "object": binding("x", &version)})).ok();
        settle().await;
        advance(Duration::from_secs(1)).await;
    }
    assert!(rules(&rbac, "x").is_some());
    advance(Duration::from_secs(1)).await;
    assert_eq!(rules(&rbac, "x"), None);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_given_up_and_taken_up_again() {
    let server = Server::default();
    let (rbac, task) = follow(&server);
    let first = server.watches().await;
    server.inside(|inside| inside.is_silent = true);
    advance(Duration::from_secs(9)).await;
    settle().await;
    advance(Duration::from_secs(60)).await;
    settle().await;
    assert_eq!(rules(&rbac, "x"), None);
    assert!(first.values().all(|(_, line)| line.is_closed()), "nobody reads them any more");
    server.inside(|inside| inside.is_silent = false);
    // What hangs is given up, and a pause.
    for _ in 0..20 {
        advance(Duration::from_secs(1)).await;
        settle().await;
    }
    let again = server.watches().await;
    assert_eq!(again.len(), 4);
    for (version, line) in again.values() {
        assert_eq!(version, "10", "nothing was missed: it is not listed again");
        line.try_send(bookmark("50")).unwrap();
    }
    settle().await;
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_to_be_watched_is_listed_again() {
    let server = Server::default();
    server.inside(|inside| {
        inside.objects.insert("clusterroles", vec![reader()]);
        inside.objects.insert("rolebindings", vec![binding("old", "4")]);
    });
    let (rbac, task) = follow(&server);
    let watches = server.watches().await;
    assert_eq!(rules(&rbac, "old"), Some(1));
    server.inside(|inside| inside.objects.insert("rolebindings", vec![binding("new", "40")]));
    let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version"});
    watches["rolebindings"].1.try_send(json!({"type": "ERROR", "object": gone})).unwrap();
    settle().await;
    advance(Duration::from_millis(250)).await;
    settle().await;
    assert_eq!((rules(&rbac, "old"), rules(&rbac, "new")), (Some(0), Some(1)));
    assert_eq!(server.inside(|inside| inside.lists), 5);
    task.abort();
}
