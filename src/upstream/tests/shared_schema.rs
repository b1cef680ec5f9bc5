//! A schema that several replicas share: who reads the backend, and what is in use.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    super::{KeepSchema, SchemaHandle, SchemaPace, SchemaSource, SchemaState, SchemaWatcher},
    schema::{compile, schema_server, shared, until},
    support::{backend, options},
};
use crate::{
    cluster::schemas::{Accepted, Offer, Script, Shared, Sharing, digest},
    last_known_good::{Entry, LastKnownGood},
};

type Served = Arc<Mutex<(Vec<u8>, String)>>;

/// A watcher whose backend and whose other replicas are the test's.
struct Rig {
    handle: SchemaHandle<usize>,
    script: Script,
    served: Served,
    asked: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn accepted(bytes: &[u8], etag: &str) -> Arc<Accepted> {
    Arc::new(Accepted {
        bytes: bytes.to_vec().into(),
        etag: etag.to_owned(),
        source: "kubridge.v1.Schema".to_owned(),
        accepted_at: at(0),
    })
}

fn all_serve(schema: &Arc<Accepted>, confirmed_at: SystemTime) -> Shared {
    Shared {
        is_known: true,
        schema: Some(Arc::clone(schema)),
        confirmed_at: Some(confirmed_at),
        ..Shared::default()
    }
}

fn nothing() -> Shared {
    Shared { is_known: true, ..Shared::default() }
}

impl Rig {
    async fn start(bytes: &[u8], etag: &str, shared_by_all: Shared, leads: bool) -> Self {
        Self::with(bytes, etag, shared_by_all, leads, None).await
    }

    async fn with(
        bytes: &[u8],
        etag: &str,
        shared_by_all: Shared,
        leads: bool,
        keep: Option<KeepSchema>,
    ) -> Self {
        let (served, asked) = (shared(bytes, etag), Arc::new(AtomicUsize::new(0)));
        let address = schema_server(Arc::clone(&served), Arc::clone(&asked)).await;
        let pace = SchemaPace {
            retry_min: Duration::from_millis(5),
            suspect: Duration::from_millis(10),
            ..SchemaPace::default()
        };
        let (sharing, script) = Sharing::scripted();
        script.shared.send_replace(shared_by_all);
        script.leads.send_replace(leads);
        let (watcher, handle) = SchemaWatcher::new(backend(address, options()), None, keep, pace, compile);
        let watcher = watcher.share(sharing).restore().await;
        let running = tokio::spawn(watcher.run(CancellationToken::new()));
        Self { handle, script, served, asked, running }
    }

    fn serves(&self, bytes: &[u8], etag: &str) {
        *self.served.lock().unwrap() = (bytes.to_vec(), etag.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn until(&self, so: impl FnMut(&SchemaState<usize>) -> bool) -> SchemaState<usize> {
        until(&self.handle, so).await
    }

    /// Waits until these bytes are offered.
    async fn offered(&self, bytes: &[u8]) -> Offer {
        let is = |offer: &Option<Offer>| offer.as_ref().is_some_and(|offer| offer.schema.bytes == bytes);
        let mut offered = self.script.offered.clone();
        let offer = tokio::time::timeout(Duration::from_secs(10), offered.wait_for(is)).await;
        offer.unwrap().unwrap().clone().unwrap()
    }

    /// What the leader does when it is offered something: all serve it.
    fn store(&self, offer: &Offer) {
        self.script.shared.send_replace(all_serve(&offer.schema, offer.confirmed_at));
    }
}

#[tokio::test]
async fn a_replica_that_does_not_lead_serves_what_all_serve_and_asks_nobody() {
    let first = accepted(b"good", "e1");
    let rig = Rig::start(b"other", "e9", all_serve(&first, at(5)), false).await;
    let state = rig.handle.state().borrow().clone();
    assert_eq!(
        (state.current.as_deref(), state.source),
        (Some(&4), Some(SchemaSource::Shared)),
        "from the start"
    );
    assert_eq!(state.confirmed_at, Some(at(5)));

    // The leader says that it still is what the backend serves.
    rig.script.shared.send_replace(all_serve(&first, at(600)));
    while rig.handle.state().borrow().confirmed_at != Some(at(600)) {
        tokio::task::yield_now().await;
    }
    rig.script.shared.send_replace(all_serve(&accepted(b"better", "e2"), at(700)));
    let state = rig.until(|state| state.current.as_deref() == Some(&6)).await;
    assert_eq!((state.confirmed_at, state.rejected, state.last_error.is_none()), (Some(at(700)), None, true));
    assert_eq!(rig.asked(), 0);
    assert!(rig.script.offered.borrow().is_none());
}

#[tokio::test]
async fn until_anything_is_shared_each_serves_what_it_reads() {
    let rig = Rig::start(b"good", "e1", nothing(), false).await;
    let state = rig.until(|state| state.current.is_some()).await;
    assert_eq!(state.source, Some(SchemaSource::Service));
    assert!(rig.script.offered.borrow().is_none(), "it does not lead");
    let own = state.current.unwrap();

    rig.script.shared.send_replace(all_serve(&accepted(b"good", "e1"), at(5)));
    let state = rig.until(|state| state.source == Some(SchemaSource::Shared)).await;
    assert_eq!(state.current, Some(own));
    let before = rig.asked();
    rig.script.shared.send_replace(all_serve(&accepted(b"another", "e2"), at(5)));
    rig.until(|state| state.current.as_deref() == Some(&7)).await;
    assert_eq!(rig.asked(), before);
}

#[tokio::test]
async fn what_the_leader_accepts_is_in_use_when_it_is_stored() {
    let rig = Rig::start(b"good", "e1", nothing(), true).await;
    rig.until(|state| state.source == Some(SchemaSource::Service)).await;
    let offer = rig.offered(b"good").await;
    assert_eq!((offer.schema.etag.as_str(), offer.schema.source.as_str()), ("e1", "kubridge.v1.Schema"));
    rig.store(&offer);
    rig.until(|state| state.source == Some(SchemaSource::Shared)).await;

    rig.serves(b"better", "e2");
    rig.handle.suspect();
    let offer = rig.offered(b"better").await;
    assert_eq!(rig.handle.state().borrow().current.as_deref(), Some(&4), "not before all have it");
    rig.store(&offer);
    let state = rig.until(|state| state.current.as_deref() == Some(&6)).await;
    assert!(state.rejected.is_none());

    // A bad one goes nowhere.
    rig.serves(b"bad", "e3");
    rig.handle.suspect();
    let state = rig.until(|state| state.rejected.is_some()).await;
    assert_eq!(state.current.as_deref(), Some(&6));
    assert_eq!(rig.offered(b"better").await.schema, offer.schema, "what was good is to stay");
    // Nor does it count as confirmed.
    rig.script.shared.send_replace(all_serve(&offer.schema, offer.confirmed_at));
    assert!(rig.handle.state().borrow().rejected.is_some());
}

#[tokio::test]
async fn why_it_cannot_be_stored_is_said_until_it_can() {
    let first = accepted(b"good", "e1");
    let rig = Rig::start(b"better", "e2", all_serve(&first, at(5)), true).await;
    let offer = rig.offered(b"better").await;
    let why: Arc<str> = "the Role kubridge is missing".into();
    rig.script.shared.send_modify(|shared| shared.unshared = Some(Arc::clone(&why)));
    let state = rig.until(|state| state.rejected.is_some()).await;
    assert_eq!(
        state.rejected.unwrap().faults,
        ["it cannot be shared by all replicas: the Role kubridge is missing"]
    );
    assert_eq!(state.current.as_deref(), Some(&4));
    rig.store(&offer);
    let state = rig.until(|state| state.current.as_deref() == Some(&6)).await;
    assert!(state.rejected.is_none());
}

#[tokio::test]
async fn whoever_is_elected_asks_and_whoever_is_no_longer_has_nothing_to_say() {
    let first = accepted(b"good", "e1");
    let rig = Rig::start(b"good", "e1", all_serve(&first, at(5)), false).await;
    rig.script.leads.send_replace(true);
    let begun = SystemTime::now();
    let mut offered = rig.script.offered.clone();
    let confirmed = |offer: &Option<Offer>| offer.as_ref().is_some_and(|offer| offer.confirmed_at >= begun);
    let offer = tokio::time::timeout(Duration::from_secs(10), offered.wait_for(confirmed)).await;
    let offer = offer.unwrap().unwrap().clone().unwrap();
    assert!(Arc::ptr_eq(&offer.schema, &first), "the etag said that it is the same");
    assert_eq!(rig.asked(), 1);

    rig.serves(b"bad", "e2");
    rig.handle.suspect();
    rig.until(|state| state.rejected.is_some()).await;
    rig.script.leads.send_replace(false);
    let none = tokio::time::timeout(Duration::from_secs(10), offered.wait_for(Option::is_none)).await;
    assert!(none.unwrap().unwrap().is_none());
    // Another one that leads can use what the backend has now.
    rig.script.shared.send_replace(all_serve(&accepted(b"bad too", "e3"), at(9)));
    let told = |state: &SchemaState<usize>| {
        state.rejected.as_ref().is_some_and(|rejected| rejected.faults[0].contains("same version"))
    };
    let state = rig.until(told).await;
    assert_eq!(
        (state.current.as_deref(), state.source),
        (Some(&4), Some(SchemaSource::Shared)),
        "the last good one"
    );
    rig.script.shared.send_replace(all_serve(&accepted(b"good again", "e4"), at(10)));
    assert!(rig.until(|state| state.current.as_deref() == Some(&10)).await.rejected.is_none());
}

#[tokio::test]
async fn a_leader_whose_backend_is_down_has_what_all_serve_stay() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let first = accepted(b"good", "e1");
    let (sharing, script) = Sharing::scripted();
    script.shared.send_replace(all_serve(&first, at(5)));
    script.leads.send_replace(true);
    let pace = SchemaPace::default();
    let (watcher, handle) = SchemaWatcher::new(backend(nobody, options()), None, None, pace, compile);
    let watcher = watcher.share(sharing).restore().await;
    let running = tokio::spawn(watcher.run(CancellationToken::new()));
    let state = until(&handle, |state| state.last_error.is_some()).await;
    assert_eq!((state.current.as_deref(), state.confirmed_at), (Some(&4), Some(at(5))));
    let offer = script.offered.borrow().clone().unwrap();
    assert!(Arc::ptr_eq(&offer.schema, &first));
    assert_eq!(offer.confirmed_at, at(5), "nobody has confirmed it since");
    // It leads no longer: that the backend cannot be asked is another's concern.
    script.leads.send_replace(false);
    until(&handle, |state| state.last_error.is_none()).await;
    running.abort();
}

#[tokio::test]
async fn suspicion_anywhere_has_the_leader_ask() {
    let first = accepted(b"good", "e1");
    let rig = Rig::start(b"good", "e1", all_serve(&first, at(5)), false).await;
    rig.handle.suspect();
    while rig.asked() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(rig.script.doubted.borrow().is_none(), "the backend has no other one");
    rig.serves(b"better", "e2");
    let mut doubted = rig.script.doubted.clone();
    rig.handle.suspect();
    tokio::time::timeout(Duration::from_secs(10), doubted.changed()).await.unwrap().unwrap();
    assert_eq!(*doubted.borrow(), Some(digest(b"better")));
    assert_eq!(rig.handle.state().borrow().current.as_deref(), Some(&4), "it waits for the leader");

    let leader = Rig::start(b"good", "e1", all_serve(&first, at(5)), true).await;
    leader.offered(b"good").await;
    leader.serves(b"better", "e2");
    leader.script.shared.send_modify(|shared| shared.doubts += 1);
    leader.offered(b"better").await;
}

#[tokio::test(start_paused = true)]
async fn what_all_serve_goes_before_what_is_kept_and_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    let store = LastKnownGood::open(temp.path()).unwrap();
    let parts = [("descriptors".to_owned(), b"kept".repeat(3)), ("etag".to_owned(), b"e0".to_vec())];
    store.write("grpc://fleet:1", &Entry { parts: parts.into() }).unwrap();
    let keep = KeepSchema { store: store.clone(), subject: "grpc://fleet:1".to_owned() };

    // The API server is away: this does not wait for it forever.
    let rig = Rig::with(b"good", "e1", Shared::default(), false, Some(keep.clone())).await;
    assert_eq!(rig.handle.state().borrow().source, Some(SchemaSource::Kept));
    assert_eq!(rig.handle.state().borrow().current.as_deref(), Some(&12));
    drop(rig);

    // What this version cannot use is no reason to serve nothing.
    let newer = all_serve(&accepted(b"bad", "e2"), at(5));
    let rig = Rig::with(b"good", "e1", newer, false, Some(keep.clone())).await;
    let state = rig.handle.state().borrow().clone();
    assert_eq!((state.current.as_deref(), state.rejected.is_some()), (Some(&12), true));
    drop(rig);

    let good = accepted(b"good", "e1");
    let rig = Rig::with(b"good", "e1", all_serve(&good, at(5)), false, Some(keep)).await;
    assert_eq!(rig.handle.state().borrow().current.as_deref(), Some(&4));
    let kept = store.read("grpc://fleet:1").unwrap();
    assert_eq!((kept.entry.parts["descriptors"].as_slice(), kept.confirmed_at), (&b"good"[..], at(5)));
    rig.script.shared.send_replace(all_serve(&good, at(600)));
    while store.read("grpc://fleet:1").unwrap().confirmed_at != at(600) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_it_is_compiled_with_changes_what_is_in_use() {
    let with = Arc::new(AtomicUsize::new(1));
    let present = Arc::clone(&with);
    let compiled = move |schema: &super::super::FetchedSchema| match present.load(Ordering::SeqCst) {
        0 => Err(super::super::Rejected { faults: vec!["nothing to compile it with".to_owned()] }),
        with => Ok(Arc::new(schema.bytes.len() * with)),
    };
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (sharing, script) = Sharing::scripted();
    script.shared.send_replace(all_serve(&accepted(b"good", "e1"), at(5)));
    let pace = SchemaPace::default();
    let (watcher, handle) = SchemaWatcher::new(backend(nobody, options()), None, None, pace, compiled);
    let running = tokio::spawn(watcher.share(sharing).restore().await.run(CancellationToken::new()));
    for factor in [3, 0, 2] {
        with.store(factor, Ordering::SeqCst);
        handle.compile_again();
        let state = until(&handle, |state| match factor {
            0 => state.rejected.is_some(),
            _ => state.current.as_deref() == Some(&(4 * factor)),
        })
        .await;
        assert_eq!(state.rejected.is_some(), factor == 0);
        assert_eq!(state.current.as_deref(), Some(if factor == 2 { &8 } else { &12 }));
    }
    running.abort();
}
