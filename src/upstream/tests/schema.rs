//! Where schemas come from, and how they are kept.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kubridge_bridge::proto::{DESCRIPTORS, GetSchemaRequest, GetSchemaResponse};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool,
    prost_types::{FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use super::{
    super::{
        FetchError, FetchedSchema, KeepSchema, Options, Rejected, SchemaHandle, SchemaPace, SchemaSource,
        SchemaState, SchemaWatcher, fetch,
    },
    support::{Exchange, backend, options, serve},
};
use crate::{last_known_good::LastKnownGood, registry::backend::Origin};

/// `a.proto` with a service imports `b.proto`, which imports a file that the server does not give.
fn builder(missing: &str) -> tonic_reflection::server::Builder<'static> {
    let file = |name: &str, imports: &[&str]| FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some("test".to_owned()),
        dependency: imports.iter().map(|&import| import.to_owned()).collect(),
        ..FileDescriptorProto::default()
    };
    let mut a = file("a.proto", &["b.proto"]);
    a.service =
        vec![ServiceDescriptorProto { name: Some("A".to_owned()), ..ServiceDescriptorProto::default() }];
    let set = FileDescriptorSet { file: vec![a, file("b.proto", &[missing])] };
    tonic_reflection::server::Builder::configure().register_file_descriptor_set(set)
}

async fn reflecting(v1: bool, missing: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpIncoming::from(listener);
    if v1 {
        let service = builder(missing).build_v1().unwrap();
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    } else {
        let service = builder(missing).build_v1alpha().unwrap();
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    }
    address
}

#[tokio::test]
async fn reflection_gives_all_files_in_both_versions() {
    for (v1, source) in [(true, SchemaSource::ReflectionV1), (false, SchemaSource::ReflectionV1Alpha)] {
        let backend = backend(reflecting(v1, "google/protobuf/timestamp.proto").await, options());
        let schema = fetch(&backend, None, "").await.unwrap().unwrap();
        assert_eq!(schema.source, source);
        let pool = DescriptorPool::decode(&schema.bytes[..]).unwrap();
        assert!(pool.get_service_by_name("test.A").is_some());
        let set = FileDescriptorSet::decode(&schema.bytes[..]).unwrap();
        let names: Vec<_> =
            set.file.iter().map(|file| file.name()).filter(|name| !name.contains("reflection")).collect();
        assert_eq!(
            names,
            ["google/protobuf/timestamp.proto", "b.proto", "a.proto"],
            "imports first, each once"
        );
    }
    let error = fetch(&backend(reflecting(true, "lost.proto").await, options()), None, "").await.unwrap_err();
    assert!(matches!(&error, FetchError::MissingFile(name) if name == "lost.proto"), "{error}");
}

/// Answers the Schema service from `schema` and counts the questions; all else is UNIMPLEMENTED.
pub(super) async fn schema_server(
    schema: Arc<Mutex<(Vec<u8>, String)>>,
    asked: Arc<AtomicUsize>,
) -> SocketAddr {
    serve(h2::server::Builder::new(), move |mut exchange: Exchange| {
        let (schema, asked) = (Arc::clone(&schema), Arc::clone(&asked));
        async move {
            if exchange.path() != "/kubridge.v1.Schema/Get" {
                return exchange.error(12, "unknown service");
            }
            asked.fetch_add(1, Ordering::SeqCst);
            let request = GetSchemaRequest::decode(&exchange.body().await[5..]).unwrap();
            let (bytes, etag) = schema.lock().unwrap().clone();
            let not_modified = request.etag == etag;
            let file_descriptor_set = if not_modified { Vec::new() } else { bytes };
            let answer = GetSchemaResponse { file_descriptor_set, etag, not_modified };
            exchange.ok(&[&answer.encode_to_vec()]).await;
        }
    })
    .await
}

/// What [`schema_server`] answers with, for as long as nobody changes it.
pub(super) fn shared(bytes: &[u8], etag: &str) -> Arc<Mutex<(Vec<u8>, String)>> {
    Arc::new(Mutex::new((bytes.to_vec(), etag.to_owned())))
}

#[tokio::test]
async fn the_schema_service_comes_first_and_knows_its_etag() {
    let backend = backend(schema_server(shared(DESCRIPTORS, "e1"), Arc::default()).await, options());
    let schema = fetch(&backend, None, "").await.unwrap().unwrap();
    assert_eq!((schema.source, schema.etag.as_str()), (SchemaSource::Service, "e1"));
    assert!(schema.bytes == DESCRIPTORS, "in the bytes that came");
    assert!(fetch(&backend, None, "e1").await.unwrap().is_none());
    assert!(fetch(&backend, None, "e0").await.unwrap().is_some());
}

#[tokio::test]
async fn a_backend_is_asked_only_as_it_is_to_be() {
    let only = |schema| Options { schema, ..options() };
    let service = schema_server(shared(DESCRIPTORS, "e1"), Arc::default()).await;
    let fetched = fetch(&backend(service, only(Origin::SchemaService)), None, "").await.unwrap().unwrap();
    assert_eq!(fetched.source, SchemaSource::Service);
    let error = fetch(&backend(service, only(Origin::Reflection)), None, "").await.unwrap_err();
    assert!(matches!(error, FetchError::NoSource), "{error}");

    let reflection = reflecting(true, "google/protobuf/timestamp.proto").await;
    let fetched = fetch(&backend(reflection, only(Origin::Reflection)), None, "").await.unwrap().unwrap();
    assert_eq!(fetched.source, SchemaSource::ReflectionV1);
    let error = fetch(&backend(reflection, only(Origin::SchemaService)), None, "").await.unwrap_err();
    assert!(matches!(error, FetchError::Call { .. }), "{error}");
}

#[tokio::test]
async fn a_file_wins_and_its_faults_are_named() {
    let backend = backend(schema_server(shared(DESCRIPTORS, "e1"), Arc::default()).await, options());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.bin");
    let error = fetch(&backend, Some(&path), "").await.unwrap_err().to_string();
    assert!(error.contains("set.bin"), "{error}");
    std::fs::write(&path, b"").unwrap();
    assert!(fetch(&backend, Some(&path), "").await.unwrap_err().to_string().contains("empty"));
    std::fs::write(&path, b"anything").unwrap();
    let schema = fetch(&backend, Some(&path), "").await.unwrap().unwrap();
    assert_eq!((&schema.bytes[..], schema.source), (&b"anything"[..], SchemaSource::File(path)));
}

#[tokio::test]
async fn a_backend_without_any_source_is_told_what_to_do() {
    let address =
        serve(h2::server::Builder::new(), |exchange: Exchange| async { exchange.error(12, "no") }).await;
    let error = fetch(&backend(address, options()), None, "").await.unwrap_err();
    assert!(matches!(error, FetchError::NoSource));
    assert!(error.to_string().contains("give a descriptor-set file"));
}

/// "Compiles" a schema to its length; one that starts with `bad` is rejected.
pub(super) fn compile(schema: &FetchedSchema) -> Result<Arc<usize>, Rejected> {
    let FetchedSchema { bytes, .. } = schema;
    match bytes.starts_with(b"bad") {
        true => Err(Rejected { faults: vec!["it is bad".to_owned()] }),
        false => Ok(Arc::new(bytes.len())),
    }
}

fn watcher(address: SocketAddr) -> (SchemaHandle<usize>, CancellationToken) {
    let pace = SchemaPace {
        retry_min: Duration::from_millis(5),
        suspect: Duration::from_millis(10),
        every: Duration::from_secs(300),
        ..SchemaPace::default()
    };
    let (watcher, handle) = SchemaWatcher::new(backend(address, options()), None, None, pace, compile);
    let cancel = CancellationToken::new();
    tokio::spawn(watcher.run(cancel.clone()));
    (handle, cancel)
}

pub(super) async fn until(
    handle: &SchemaHandle<usize>,
    wanted: impl FnMut(&SchemaState<usize>) -> bool,
) -> SchemaState<usize> {
    tokio::time::timeout(Duration::from_secs(10), handle.state().wait_for(wanted))
        .await
        .unwrap()
        .unwrap()
        .clone()
}

#[tokio::test]
async fn a_bad_schema_keeps_the_good_one_and_a_same_one_is_not_published_again() {
    let schema = shared(b"good", "e1");
    let asked = Arc::new(AtomicUsize::new(0));
    let address = schema_server(Arc::clone(&schema), Arc::clone(&asked)).await;
    let (handle, cancel) = watcher(address);
    let first = until(&handle, |state| state.current.is_some()).await;
    assert_eq!((first.current.as_deref(), first.source), (Some(&4), Some(SchemaSource::Service)));

    *schema.lock().unwrap() = (b"bad".to_vec(), "e2".to_owned());
    handle.suspect();
    let rejected = until(&handle, |state| state.rejected.is_some()).await;
    assert_eq!(rejected.current.as_deref(), Some(&4), "the good one stays");
    assert_eq!(rejected.rejected.unwrap().faults, ["it is bad"]);

    let mut changes = handle.state();
    changes.mark_unchanged();
    let before = asked.load(Ordering::SeqCst);
    handle.suspect();
    while asked.load(Ordering::SeqCst) == before {
        tokio::task::yield_now().await;
    }
    *schema.lock().unwrap() = (b"better".to_vec(), "e3".to_owned());
    handle.suspect();
    changes.changed().await.unwrap();
    let better = changes.borrow().clone();
    assert_eq!(better.current.as_deref(), Some(&6), "the first change is the new schema");
    assert!(better.rejected.is_none());
    cancel.cancel();
}

#[tokio::test]
async fn suspicion_is_rate_limited() {
    let asked = Arc::new(AtomicUsize::new(0));
    let address = schema_server(shared(b"good", "e1"), Arc::clone(&asked)).await;
    let pace = SchemaPace { suspect: Duration::from_secs(60), ..SchemaPace::default() };
    let (watcher, handle) = SchemaWatcher::new(backend(address, options()), None, None, pace, compile);
    let cancel = CancellationToken::new();
    let run = tokio::spawn(watcher.run(cancel.clone()));
    until(&handle, |state| state.current.is_some()).await;
    for _ in 0..20 {
        handle.suspect();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    cancel.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn the_schema_is_read_when_the_backend_appears_and_when_it_returns() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (handle, _cancel) = watcher(address);
    let failed = until(&handle, |state| state.last_error.is_some()).await;
    assert!(failed.current.is_none());

    for (bytes, length) in [(&b"one"[..], 3), (b"other", 5)] {
        let listener = TcpListener::bind(address).await.unwrap();
        let answer = GetSchemaResponse {
            file_descriptor_set: bytes.to_vec(),
            etag: String::new(),
            not_modified: false,
        };
        let answer = answer.encode_to_vec();
        let served = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            drop(listener);
            let handler = move |exchange: Exchange| {
                let answer = answer.clone();
                async move { exchange.ok(&[&answer]).await }
            };
            super::support::serve_connection(tcp, 0, h2::server::Builder::new(), handler).await;
        });
        until(&handle, |state| state.current.as_deref() == Some(&length) && state.last_error.is_none()).await;
        served.abort();
    }
}

#[tokio::test]
async fn the_last_good_schema_outlives_the_process() {
    let temp = tempfile::tempdir().unwrap();
    let keep =
        KeepSchema { store: LastKnownGood::open(temp.path()).unwrap(), subject: "grpc://fleet:1".to_owned() };
    let schema = shared(b"good", "e1");
    let address = schema_server(Arc::clone(&schema), Arc::default()).await;
    let start = |address, keep: &KeepSchema| {
        let pace = SchemaPace { suspect: Duration::from_millis(10), ..SchemaPace::default() };
        let keep = Some(keep.clone());
        let (watcher, handle) = SchemaWatcher::new(backend(address, options()), None, keep, pace, compile);
        let cancel = CancellationToken::new();
        let run = async move { watcher.restore().await.run(cancel).await };
        (tokio::spawn(run), handle)
    };
    let (first, handle) = start(address, &keep);
    let known = until(&handle, |state| state.current.is_some()).await;
    assert_eq!(known.source, Some(SchemaSource::Service));
    // What is not accepted is not kept.
    *schema.lock().unwrap() = (b"bad".to_vec(), "e2".to_owned());
    handle.suspect();
    until(&handle, |state| state.rejected.is_some()).await;
    first.abort();

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (second, handle) = start(nobody, &keep);
    let restored = until(&handle, |state| state.last_error.is_some()).await;
    assert_eq!((restored.current.as_deref(), restored.source), (Some(&4), Some(SchemaSource::Kept)));
    assert!(restored.confirmed_at.is_some());
    second.abort();

    // The backend's own word, even where it is the same.
    *schema.lock().unwrap() = (b"good".to_vec(), "e1".to_owned());
    let (third, handle) = start(address, &keep);
    until(&handle, |state| state.source == Some(SchemaSource::Service)).await;
    third.abort();
}

#[tokio::test]
async fn a_kept_schema_is_compiled_again_while_the_backend_is_away() {
    let temp = tempfile::tempdir().unwrap();
    let store = LastKnownGood::open(temp.path()).unwrap();
    let parts = [("descriptors".to_owned(), b"good".to_vec()), ("etag".to_owned(), b"e1".to_vec())];
    store.write("grpc://fleet:1", &crate::last_known_good::Entry { parts: parts.into() }).unwrap();
    let keep = KeepSchema { store, subject: "grpc://fleet:1".to_owned() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);

    // What it is compiled with: nothing yet.
    let with = Arc::new(AtomicUsize::new(0));
    let present = Arc::clone(&with);
    let compile = move |schema: &FetchedSchema| match present.load(Ordering::SeqCst) {
        0 => Err(Rejected { faults: vec!["nothing to compile it with".to_owned()] }),
        with => Ok(Arc::new(schema.bytes.len() * with)),
    };
    let (watcher, handle) =
        SchemaWatcher::new(backend(address, options()), None, Some(keep), SchemaPace::default(), compile);
    let watcher = watcher.restore().await;
    let restored = handle.state().borrow().clone();
    assert!(restored.current.is_none());
    assert_eq!(restored.rejected.unwrap().faults, ["nothing to compile it with"]);
    let cancel = CancellationToken::new();
    tokio::spawn(watcher.run(cancel.clone()));
    until(&handle, |state| state.last_error.is_some()).await;

    for factor in [1, 3] {
        with.store(factor, Ordering::SeqCst);
        handle.compile_again();
        let good = until(&handle, |state| state.current.as_deref() == Some(&(4 * factor))).await;
        assert!(good.rejected.is_none() && good.last_error.is_some(), "nobody was asked");
        assert_eq!(good.confirmed_at, restored.confirmed_at, "nor has anybody confirmed it");
        assert_eq!(good.source, Some(SchemaSource::Kept));
    }
    // Not there any more: the good one stays.
    with.store(0, Ordering::SeqCst);
    handle.compile_again();
    let stale = until(&handle, |state| state.rejected.is_some()).await;
    assert_eq!(stale.current.as_deref(), Some(&12));
    cancel.cancel();
}
