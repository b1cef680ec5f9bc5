#![allow(clippy::unwrap_used)]

mod fake;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use kubridge_bridge::{
    caller::{Code, Ran, TransportKind},
    model::{Api, Method as Bound, Resource},
};
use proptest::prelude::*;
use tokio::{sync::watch, time::sleep};

use super::{Away, Policy, Snapshots, Sweeps, Told, is_unreachable, keeper::Pace};
use crate::metrics::Metrics;
use fake::{Backend, Client, Fault, api, error, machines};

const GONE: Fault = Fault::Transport(TransportKind::Unavailable, Ran::No);
const ALL: &str = "machines";
const DEFAULT: &str = "namespaces/default/machines";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";
const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

/// A backend whose lists are kept.
struct Kept {
    client: Client,
    snapshots: Snapshots,
    away: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    knocks: Arc<AtomicUsize>,
}

impl Kept {
    fn start() -> Self {
        Self::with(64 << 20, |_| {})
    }

    fn with(limit: usize, change: impl Fn(&mut Resource)) -> Self {
        let (away, is_away) = watch::channel(false);
        let pace = Pace { every: Duration::from_secs(30) };
        let metrics = Metrics::new();
        let knocks = Arc::new(AtomicUsize::new(0));
        let knocked = Arc::clone(&knocks);
        let is_away = Away::new(is_away, move || _ = knocked.fetch_add(1, Ordering::Relaxed));
        let (snapshots, run) = Snapshots::with("fleet", is_away, &metrics, limit, pace);
        tokio::spawn(run);
        let (backend, api) = (Backend::default(), api(change));
        let kept = Self {
            client: Client {
                backend,
                resource: machines(&api),
                policy: Policy::Snapshot(snapshots.clone()),
                user: "alice",
                terminating: None,
            },
            snapshots,
            away,
            metrics,
            knocks,
        };
        kept.serve(&api);
        kept
    }

    fn serve(&self, api: &Api) {
        let backend = self.client.backend.clone();
        self.snapshots.serve(api, move |_| backend.clone());
    }

    fn backend(&self) -> &Backend {
        &self.client.backend
    }

    /// Waits until everything that is due is listed.
    async fn listed(&self) {
        sleep(Duration::from_secs(1)).await;
        self.backend().calls();
    }

    fn as_user(&self, user: &'static str) -> Client {
        Client { user, ..self.client.clone() }
    }
}

#[tokio::test(start_paused = true)]
async fn reads_are_answered_from_what_was_last_listed() {
    let kept = Kept::start();
    kept.backend().put("default", "falcon", &[("tier", "db")], "r1");
    kept.backend().put("default", "kestrel", &[], "r2");
    kept.backend().put("lab", "falcon", &[], "r1");
    kept.listed().await;
    kept.backend().fail(GONE);

    let list = kept.client.get(ALL).await;
    assert_eq!(list.names(), ["falcon", "kestrel", "falcon"]);
    assert_eq!(list.json()["metadata"]["resourceVersion"], "3");
    let warning = list.warning();
    assert!(
        warning.starts_with(
            "the backend \"fleet\" cannot be reached: this is what it listed of machines.inventory.example.com at 20"
        ),
        "{warning}"
    );
    let falcon = kept.client.get(&format!("{DEFAULT}/falcon")).await;
    assert_eq!(falcon.json()["metadata"]["uid"], "u-default-falcon");
    falcon.warning();
    assert_eq!(kept.client.get(DEFAULT).await.names(), ["falcon", "kestrel"]);
    assert_eq!(kept.client.get(&format!("{ALL}?labelSelector=tier%3Ddb")).await.names(), ["falcon"]);
    assert_eq!(
        kept.client.get(&format!("{DEFAULT}?fieldSelector=spec.rack%3Dr2")).await.names(),
        ["kestrel"]
    );
    assert_eq!(kept.backend().calls().len(), 5, "each time it was tried");

    kept.backend().fail(None);
    let live = kept.client.get(ALL).await;
    assert_eq!((live.code, live.told.clone()), (StatusCode::OK, None));
    let counted = kept.metrics.text();
    let labels = r#"{group="inventory.example.com",version="v1",resource="machines""#;
    for line in [
        format!("kubridge_snapshot_objects{labels}}} 3"),
        format!("kubridge_brown_out_requests_total{labels},result=\"answered\"}} 5"),
        format!("kubridge_brown_out_requests_total{labels},result=\"unanswered\"}} 0"),
    ] {
        assert!(counted.lines().any(|found| found == line), "{line}\n{counted}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_backend_that_is_known_to_be_away() {
    let kept = Kept::start();
    kept.backend().put("default", "falcon", &[], "");
    kept.listed().await;
    kept.away.send_replace(true);
    kept.client.get(ALL).await.warning();
    kept.client.get(&format!("{DEFAULT}/falcon")).await.warning();
    assert_eq!(kept.backend().calls(), [""; 0]);
    assert_eq!(kept.knocks.load(Ordering::Relaxed), 2, "its return is looked for, as if it were called");
    // What cannot be answered is tried all the same.
    assert_eq!(kept.client.get(&format!("{DEFAULT}/other")).await.code, StatusCode::NOT_FOUND);
    assert_eq!(kept.backend().calls(), ["GetMachine"]);
}

#[tokio::test(start_paused = true)]
async fn only_a_backend_that_cannot_be_reached_is_stood_in_for() {
    let unreachable = [
        GONE,
        Fault::Breaks,
        Fault::Transport(TransportKind::Broken, Ran::Unknown),
        Fault::Transport(TransportKind::Deadline, Ran::No),
        Fault::Status(Code::Unavailable),
    ];
    let kept = Kept::start();
    kept.backend().put("default", "falcon", &[], "");
    kept.listed().await;
    for fault in unreachable {
        assert!(is_unreachable(&error(fault)), "{fault:?}");
        kept.backend().fail(fault);
        assert_eq!(kept.client.get(ALL).await.names(), ["falcon"], "{fault:?}");
    }
    let others = [
        (Fault::Transport(TransportKind::Deadline, Ran::Unknown), 504),
        (Fault::Transport(TransportKind::Overloaded, Ran::No), 429),
        (Fault::Transport(TransportKind::Protocol, Ran::Unknown), 500),
        (Fault::Status(Code::Internal), 500),
        (Fault::Status(Code::PermissionDenied), 403),
        (Fault::Status(Code::ResourceExhausted), 429),
        (Fault::Status(Code::DeadlineExceeded), 504),
        (Fault::Status(Code::Unimplemented), 405),
    ];
    for (fault, code) in others {
        kept.backend().fail(fault);
        let answer = kept.client.get(ALL).await;
        assert_eq!((answer.code.as_u16(), &answer.told), (code, &None), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_it_is_not_said_to_be_missing() {
    let without = |resource: &mut Resource| resource.methods.get = None;
    for change in [&(|_: &mut Resource| {}) as &dyn Fn(&mut Resource), &without] {
        let kept = Kept::with(64 << 20, change);
        kept.backend().put("default", "falcon", &[], "");
        kept.listed().await;
        kept.backend().put("default", "kestrel", &[], "");
        kept.backend().fail(GONE);
        assert_eq!(kept.client.get(&format!("{DEFAULT}/falcon")).await.json()["metadata"]["name"], "falcon");
        let why = kept.client.get(&format!("{DEFAULT}/kestrel")).await;
        assert!(why.why_not().starts_with("\"kestrel\" is not in what it last listed, at 20"), "{why:?}");
        kept.client.get("namespaces/lab/machines/falcon").await.why_not();
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_less_than_they_know() {
    let kept = Kept::start();
    kept.backend().put("default", "falcon", &[], "");
    kept.backend().put("default", "falcon", &[], "");
    kept.listed().await;
    kept.backend().fail(GONE);
    for version in ["", "0", "1", "2"] {
        let query = format!("resourceVersion={version}");
        kept.client.get(&format!("{ALL}?{query}")).await.warning();
        kept.client.get(&format!("{DEFAULT}/falcon?{query}")).await.warning();
    }
    kept.client.get(&format!("{ALL}?resourceVersion=2&resourceVersionMatch=Exact")).await.warning();
    for query in ["resourceVersion=3", "resourceVersion=1&resourceVersionMatch=Exact"] {
        let refused = kept.client.get(&format!("{ALL}?{query}")).await;
        assert!(refused.why_not().contains("is not of the resourceVersion that is asked for"), "{refused:?}");
    }
    kept.client.get(&format!("{DEFAULT}/falcon?resourceVersion=3")).await.why_not();
}

#[tokio::test(start_paused = true)]
async fn pages_are_of_one_snapshot_and_go_on_when_the_backend_is_back() {
    let kept = Kept::start();
    for name in ["a", "b", "c", "d", "e"] {
        kept.backend().put("default", name, &[], "");
        kept.backend().put("lab", name, &[], "");
    }
    // It has pages of its own.
    kept.backend().page(3);
    kept.listed().await;
    kept.backend().fail(GONE);
    let token = |answer: &fake::Answer| answer.json()["metadata"]["continue"].as_str().map(str::to_owned);
    let first = kept.client.get(&format!("{DEFAULT}?limit=2")).await;
    assert_eq!(
        (first.names(), &first.json()["metadata"]["remainingItemCount"]),
        (vec!["a".into(), "b".into()], &3.into())
    );
    let next = token(&first).unwrap();
    kept.backend().fail(None);
    let second = kept.client.get(&format!("{DEFAULT}?limit=2&continue={next}")).await;
    assert_eq!(second.names(), ["c", "d"]);
    second.warning();
    let last = kept.client.get(&format!("{DEFAULT}?continue={}", token(&second).unwrap())).await;
    assert_eq!((last.names(), token(&last)), (vec!["e".to_owned()], None));
    assert_eq!(last.json()["metadata"]["resourceVersion"], "10");

    // A page of the backend's own list does not go on in ours.
    kept.backend().fail(GONE);
    let refused = kept.client.get(&format!("{DEFAULT}?limit=2&continue=3")).await;
    assert!(refused.why_not().contains("is not continued"), "{refused:?}");
    // Nor one of an earlier snapshot in the next.
    kept.backend().fail(None);
    sleep(Duration::from_secs(40)).await;
    let expired = kept.client.get(&format!("{DEFAULT}?limit=2&continue={next}")).await;
    assert_eq!(expired.code, StatusCode::GONE, "{expired:?}");
    let forged = kept.client.get(&format!("{DEFAULT}?continue=kubridge-snapshot.zz.1")).await;
    assert_eq!(forged.code, StatusCode::GONE, "{forged:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_one_message_and_one_that_cannot_be_paged() {
    let list = |resource: &mut Resource, change: fn(&mut Bound)| {
        change(resource.methods.list.as_mut().and_then(Arc::get_mut).unwrap());
    };
    let unary: fn(&mut Bound) = |list| list.streaming = false;
    let whole: fn(&mut Bound) = |list| list.request.clear();
    for (change, told) in [(unary, 1), (whole, 2)] {
        let kept = Kept::with(64 << 20, |resource| list(resource, change));
        kept.backend().put("default", "a", &[], "");
        kept.backend().put("default", "b", &[], "");
        kept.listed().await;
        kept.backend().fail(GONE);
        let list = kept.client.get(&format!("{DEFAULT}?limit=1")).await;
        assert_eq!(list.names().len(), told);
        list.warning();
    }
}

#[tokio::test(start_paused = true)]
async fn writes_and_watches_fail_as_ever() {
    let kept = Kept::start();
    kept.backend().put("default", "falcon", &[], "");
    kept.listed().await;
    kept.backend().fail(GONE);
    for (method, path) in [
        (Method::DELETE, "namespaces/default/machines/falcon"),
        (Method::DELETE, "namespaces/default/machines"),
        (Method::GET, "machines?watch=1"),
        (Method::GET, "machines?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
    ] {
        let failed = kept.client.ask(method.clone(), path, "application/json").await;
        assert_eq!((failed.code, failed.told), (StatusCode::SERVICE_UNAVAILABLE, None), "{method} {path}");
    }
    assert_eq!(kept.backend().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn controllers_that_delete_by_what_they_are_told_are_not_told_the_past() {
    let kept = Kept::start();
    kept.backend().put("default", "falcon", &[], "");
    kept.listed().await;
    kept.backend().fail(GONE);
    let refused = kept.as_user(NAMESPACE_CONTROLLER).get(DEFAULT).await;
    assert!(refused.why_not().contains("controllers that delete"), "{refused:?}");
    kept.as_user(GARBAGE_COLLECTOR).get(&format!("{DEFAULT}/falcon")).await.why_not();
    kept.as_user(GARBAGE_COLLECTOR).get(ALL).await.warning();
}

#[tokio::test(start_paused = true)]
async fn it_is_listed_at_first_now_and_then_and_when_it_is_back_and_never_while_it_is_away() {
    let kept = Kept::start();
    let lists = |kept: &Kept| kept.backend().calls().iter().filter(|call| *call == "ListMachines").count();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(lists(&kept), 1);
    sleep(Duration::from_secs(320)).await;
    let regular = lists(&kept);
    assert!((9..=11).contains(&regular), "every 30 s and a bit: {regular}");
    kept.away.send_replace(true);
    sleep(Duration::from_secs(300)).await;
    assert_eq!(lists(&kept), 0);
    kept.away.send_replace(false);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(lists(&kept), 1, "at once");

    // What is served as before is left alone, what is served anew is listed.
    let same = api(|_| {});
    kept.serve(&same);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(lists(&kept), 1, "another schema");
    kept.serve(&same);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(lists(&kept), 0, "the same");
    kept.snapshots.retain(|_, version| version != "v1");
    sleep(Duration::from_secs(300)).await;
    assert_eq!(lists(&kept), 0, "no longer claimed");

    // Who takes long is listed seldom.
    kept.backend().take(Duration::from_secs(20));
    kept.serve(&same);
    sleep(Duration::from_secs(801)).await;
    let slow = lists(&kept);
    assert!((4..=5).contains(&slow), "a tenth of the time: {slow}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_is_said() {
    let kept = Kept::start();
    kept.backend().fail(GONE);
    let not_yet = kept.client.get(ALL).await;
    assert_eq!(not_yet.why_not(), "it was not listed yet since Kubridge started");
    assert_eq!(not_yet.body, "the backend of machines.inventory.example.com is not available at the moment");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(kept.client.get(ALL).await.why_not(), "it could not be listed; see Kubridge's log");
    // It is tried again soon.
    kept.backend().fail(None);
    sleep(Duration::from_secs(31)).await;
    kept.backend().fail(GONE);
    kept.client.get(ALL).await.warning();
    // A failure takes nothing away.
    sleep(Duration::from_secs(300)).await;
    kept.client.get(ALL).await.warning();

    let small = Kept::with(2 << 20, |_| {});
    small.backend().put("default", "falcon", &[], "");
    small.listed().await;
    small.backend().fail(GONE);
    small.client.get(ALL).await.warning();
    small.backend().fail(None);
    small.backend().put("default", "huge", &[], &"x".repeat(2 << 20));
    sleep(Duration::from_secs(40)).await;
    small.backend().fail(GONE);
    assert_eq!(small.client.get(ALL).await.why_not(), "there is more of it than the 2 MiB that are kept");

    let mine = Kept::with(64 << 20, |resource| resource.per_user = true);
    mine.listed().await;
    mine.backend().fail(GONE);
    assert_eq!(mine.client.get(ALL).await.why_not(), "what it lists depends on who asks");
    assert_eq!(mine.backend().calls(), ["ListMachines"], "for the client alone");
}

#[tokio::test(start_paused = true)]
async fn the_answer_says_how_old_it_is() {
    let kept = Kept::start();
    kept.listed().await;
    kept.backend().fail(GONE);
    let Some(Told::Answered { age: Some(age), .. }) = kept.client.get(ALL).await.told else {
        panic!("no age")
    };
    // The wall clock is not paused.
    assert!(age < Duration::from_secs(60), "{age:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is asked: the snapshot says what the backend said when it was taken.
    #[test]
    fn the_snapshot_says_what_the_backend_said(
        objects in prop::collection::vec(("[a-c]", "[a-z]{1,3}", "[xyz]", "r[0-2]"), 0..40),
        namespace in "[a-d]",
        label in "[xyz]",
        rack in "r[0-2]",
        page in 0_usize..7,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let kept = Kept::start();
            for (namespace, name, label, rack) in &objects {
                kept.backend().put(namespace, name, &[("tier", label)], rack);
            }
            kept.backend().page(page);
            kept.listed().await;
            kept.backend().page(0);
            let paths = [
                ALL.to_owned(),
                format!("namespaces/{namespace}/machines"),
                format!("machines?labelSelector=tier%3D{label}"),
                format!("machines?fieldSelector=spec.rack%3D{rack}"),
                format!("namespaces/{namespace}/machines?labelSelector=tier%21%3D{label}&fieldSelector=spec.rack%3D{rack}"),
                "namespaces/a/machines?fieldSelector=metadata.name%3Dab".to_owned(),
            ];
            let single = objects.iter().map(|(namespace, name, ..)| format!("namespaces/{namespace}/machines/{name}"));
            for path in paths.into_iter().chain(single) {
                for accept in ["application/json", TABLE, PARTIAL, "application/yaml", "application/cbor"] {
                    kept.backend().fail(None);
                    let live = kept.client.ask(Method::GET, &path, accept).await;
                    kept.backend().fail(GONE);
                    let past = kept.client.ask(Method::GET, &path, accept).await;
                    assert_eq!((live.code, &live.body), (past.code, &past.body), "{path} {accept}");
                    assert!(live.told.is_none());
                    if past.code == StatusCode::OK {
                        past.warning();
                    }
                }
            }
        });
    }
}

/// A backend whose objects are assumed to be gone.
fn assuming(change: impl Fn(&mut Resource)) -> (Client, watch::Sender<bool>) {
    let (away, is_away) = watch::channel(false);
    let backend = Backend::default();
    backend.put("leaving", "falcon", &[], "");
    let client = Client {
        backend,
        resource: machines(&api(change)),
        policy: Policy::AssumeEmpty(Sweeps::new("fleet", Away::new(is_away, || ()), &Metrics::new())),
        user: NAMESPACE_CONTROLLER,
        terminating: Some(&["leaving"]),
    };
    (client, away)
}

const LEAVING: &str = "namespaces/leaving/machines";

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_being_deleted_is_swept_without_its_backend() {
    let native = |resource: &mut Resource| {
        if resource.plural == "machines" {
            let (input, output) = {
                let delete = resource.methods.delete.as_ref().unwrap();
                (delete.input.clone(), delete.output.clone())
            };
            let path = "/inventory.v1.Machines/DeleteMachines".into();
            let method = Bound { path, streaming: false, request: Vec::new(), input, output };
            resource.methods.delete_collection = Some(Arc::new(method));
            resource.managed = false;
        }
    };
    for (client, away) in [assuming(|_| {}), assuming(native)] {
        for known in [false, true] {
            away.send_replace(known);
            client.backend.fail(GONE);
            client.backend.calls();
            for user in [NAMESPACE_CONTROLLER, "system:kube-controller-manager"] {
                let client = Client { user, ..client.clone() };
                let deleted = client.ask(Method::DELETE, LEAVING, "application/json").await;
                assert_eq!(
                    deleted.warning(),
                    "the backend \"fleet\" cannot be reached: namespace \"leaving\" is taken to have no \
                     machines.inventory.example.com; objects may remain in the backend"
                );
                let listed = client.ask(Method::GET, LEAVING, PARTIAL).await;
                assert_eq!(listed.names(), [""; 0]);
                assert_eq!(listed.json()["kind"], "PartialObjectMetadataList");
                listed.warning();
            }
            assert_eq!(client.backend.calls().is_empty(), known, "nobody waits for who is known to be away");
        }
        // While it is there it is asked, and nothing is assumed.
        away.send_replace(false);
        client.backend.fail(None);
        assert_eq!(client.get(LEAVING).await.names(), ["falcon"]);
        let deleted = client.ask(Method::DELETE, LEAVING, "application/json").await;
        assert_eq!((deleted.code, deleted.told), (StatusCode::OK, None));
        assert_eq!(client.backend.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_assumed_for_anybody_else() {
    let (client, away) = assuming(|_| {});
    client.backend.fail(GONE);
    away.send_replace(true);
    let failed = async |client: &Client, method: Method, path: &str| {
        let failed = client.ask(method, path, "application/json").await;
        assert_eq!(failed.code, StatusCode::SERVICE_UNAVAILABLE, "{path}: {failed:?}");
        failed
    };
    for user in ["alice", "system:admin", GARBAGE_COLLECTOR] {
        let other = Client { user, ..client.clone() };
        assert_eq!(failed(&other, Method::GET, LEAVING).await.told, None);
        assert_eq!(failed(&other, Method::DELETE, LEAVING).await.told, None);
    }
    failed(&client, Method::GET, ALL).await;
    failed(&client, Method::GET, &format!("{LEAVING}/falcon")).await;
    failed(&client, Method::DELETE, &format!("{LEAVING}/falcon")).await;
    let active = failed(&client, Method::GET, DEFAULT).await;
    assert_eq!(active.why_not(), "it is assumed empty only in a namespace that is being deleted");
    failed(&client, Method::DELETE, DEFAULT).await;
    // Without a cluster no namespace is ever deleted.
    let standalone = Client { terminating: None, ..client.clone() };
    assert_eq!(failed(&standalone, Method::GET, LEAVING).await.told, None);
    // An answer of the backend's own is no absence.
    away.send_replace(false);
    client.backend.fail(Fault::Status(Code::Internal));
    let internal = client.get(LEAVING).await;
    assert_eq!((internal.code.as_u16(), internal.told), (500, None));
}
