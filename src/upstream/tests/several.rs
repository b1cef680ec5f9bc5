//! A backend of several addresses: who gets the calls, who is ejected, and how addresses come and go.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use http::HeaderMap;
use kubridge_bridge::caller::{Call, CallError, Caller as _, Code, Ran, TransportKind};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    super::{
        Backend, ConnectionState, Endpoint, FailureReason, Options,
        addresses::Lookup,
        limit::{Kind, Limit},
        pool::{Patience, Pool},
        stats::Stats,
    },
    support::{
        Exchange, call, framed, grpc_headers, options, send, serve, serve_connection, status, transport,
    },
};

/// A backend whose name has these addresses.
pub(super) fn several(addresses: &[SocketAddr], options: Options) -> Backend {
    let addresses = addresses.to_vec();
    looked_up(
        Arc::new(move |_, _| {
            let addresses = addresses.clone();
            Box::pin(async move { Ok(addresses) })
        }),
        options,
    )
}

fn looked_up(lookup: Lookup, options: Options) -> Backend {
    let endpoint = Endpoint::parse("grpc://backend.example.com:50051").unwrap();
    let stats = Arc::new(Stats::default());
    let pool = Pool::with_lookup(endpoint, None, options, Arc::clone(&stats), lookup);
    Backend::over(pool, stats)
}

/// Connects, and waits until that many connections stand.
pub(super) async fn stand(backend: &Backend, connections: usize) {
    backend.connect();
    until(|| backend.stats().connections() == connections).await;
}

/// What is counted comes without an event.
async fn until(so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not come");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Says its own name to every call.
async fn named(name: &'static str) -> SocketAddr {
    serve(h2::server::Builder::new(), move |exchange: Exchange| async move {
        exchange.ok(&[name.as_bytes()]).await;
    })
    .await
}

/// Where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn the_busier_address_is_left_alone() {
    // Each answers when it is told to.
    let gate = Arc::new(Semaphore::new(0));
    let counts: [Arc<AtomicUsize>; 2] = Default::default();
    let mut addresses = Vec::new();
    for count in &counts {
        let (gate, count) = (Arc::clone(&gate), Arc::clone(count));
        let server = serve(h2::server::Builder::new(), move |exchange: Exchange| {
            let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                exchange.ok(&[b"ok"]).await;
            }
        });
        addresses.push(server.await);
    }
    let backend = several(&addresses, options());
    stand(&backend, 2).await;
    let caller = backend.caller(HeaderMap::new(), None);
    let calls = futures::future::join_all((0..20).map(|_| caller.unary(call(b"x"))));
    let opened = async {
        until(|| counts.iter().map(|count| count.load(Ordering::SeqCst)).sum::<usize>() == 20).await;
        gate.add_permits(20);
    };
    let (answers, ()) = tokio::join!(calls, opened);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(counts.map(|count| count.load(Ordering::SeqCst)), [10, 10]);
}

#[tokio::test]
async fn an_address_that_fails_again_and_again_is_ejected() {
    let ill = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ill);
    let bad = serve(h2::server::Builder::new(), move |exchange: Exchange| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { exchange.error(14, "starting") }
    })
    .await;
    let backend = several(&[named("good").await, bad], options());
    stand(&backend, 2).await;
    let caller = backend.caller(HeaderMap::new(), None);
    let mut answers = 0;
    while backend.stats().ejections() == 0 {
        match caller.unary(call(b"x")).await {
            Ok(_) => answers += 1,
            Err(CallError::Status(status)) => assert_eq!(status.code, Code::Unavailable),
            Err(other) => panic!("{other:?}"),
        }
        assert!(answers < 1000, "half of the calls should have failed");
    }
    assert_eq!(ill.load(Ordering::SeqCst), 5, "five in a row, and no more");
    for _ in 0..50 {
        assert_eq!(caller.unary(call(b"x")).await.unwrap(), "good");
    }
    assert_eq!((ill.load(Ordering::SeqCst), backend.stats().ejections()), (5, 1));
    // The only one is never ejected.
    let alone = several(&[bad], options());
    let caller = alone.caller(HeaderMap::new(), None);
    for _ in 0..10 {
        caller.unary(call(b"x")).await.unwrap_err();
    }
    assert_eq!(alone.stats().ejections(), 0);
}

#[tokio::test]
async fn a_dead_address_costs_no_call() {
    let backend = several(&[named("good").await, nobody().await], options());
    let caller = backend.caller(HeaderMap::new(), None);
    for _ in 0..20 {
        assert_eq!(caller.unary(call(b"x")).await.unwrap(), "good");
    }
    assert_eq!(*backend.state().borrow(), ConnectionState::Ready);
}

#[tokio::test]
async fn an_address_that_dns_no_longer_has_finishes_its_calls_and_gets_no_new_ones() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let old = serve(h2::server::Builder::new(), move |mut exchange: Exchange| {
        let wait = Arc::clone(&wait);
        async move {
            let mut stream = exchange.respond.send_response(grpc_headers(), false).unwrap();
            send(&mut stream, framed(b"first")).await;
            wait.notified().await;
            send(&mut stream, framed(b"last")).await;
            stream.send_trailers(status(0)).unwrap();
        }
    })
    .await;
    let (new, dead) = (named("new").await, nobody().await);
    // Nobody is at the second address, so that DNS is asked again soon; what it then says waits for its turn.
    let turn = Arc::new(Semaphore::new(1));
    let answers = Arc::new(Mutex::new(vec![vec![new], vec![old, dead]]));
    let gate = Arc::clone(&turn);
    let backend = looked_up(
        Arc::new(move |_, _| {
            let (gate, answers) = (Arc::clone(&gate), Arc::clone(&answers));
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                Ok(answers.lock().unwrap().pop().unwrap())
            })
        }),
        options(),
    );
    let caller = backend.caller(HeaderMap::new(), None);
    let mut stream = caller.stream(call(b"x")).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "first");
    assert_eq!(backend.stats().addresses(), 2);
    turn.add_permits(1);
    until(|| backend.stats().addresses() == 1).await;
    for _ in 0..10 {
        assert_eq!(caller.unary(call(b"x")).await.unwrap(), "new");
    }
    go_on.notify_one();
    assert_eq!(stream.next().await.unwrap().unwrap(), "last");
    assert!(stream.next().await.is_none(), "a clean end");
}

#[tokio::test]
async fn a_name_that_is_unknown_is_said_to_be_at_once_and_found_when_it_appears() {
    let found: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    let says = Arc::clone(&found);
    let backend = looked_up(
        Arc::new(move |_, _| {
            let addresses = says.lock().unwrap().clone();
            Box::pin(async move {
                match addresses.is_empty() {
                    true => Err(std::io::Error::other("no such name")),
                    false => Ok(addresses),
                }
            })
        }),
        options(),
    );
    let caller = backend.caller(HeaderMap::new(), None);
    let error = transport(caller.unary(call(b"x")).await);
    assert_eq!((error.ran, error.kind), (Ran::No, TransportKind::Unavailable));
    let said = "grpc://backend.example.com:50051: looking up \"backend.example.com\": no such name";
    assert_eq!(error.message, said);
    let state = backend.state().borrow().clone();
    assert!(matches!(state, ConnectionState::Failed { reason: FailureReason::Dns, .. }), "{state:?}");
    let server = named("here").await;
    found.lock().unwrap().push(server);
    let mut state = backend.state();
    state.wait_for(|state| *state == ConnectionState::Ready).await.unwrap();
    assert_eq!(caller.unary(call(b"x")).await.unwrap(), "here");
    // Addresses that were good are likelier to be than none.
    found.lock().unwrap().clear();
    assert_eq!(caller.unary(call(b"x")).await.unwrap(), "here");
}

#[tokio::test]
async fn an_error_names_some_of_the_addresses() {
    let mut addresses = Vec::new();
    let mut listeners = Vec::new();
    for _ in 0..5 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        listeners.push(listener);
    }
    drop(listeners);
    let backend = several(&addresses, options());
    let caller = backend.caller(HeaderMap::new(), None);
    let refused = |state: &ConnectionState| {
        matches!(state, ConnectionState::Failed { reason: FailureReason::Refused, .. })
    };
    caller.unary(call(b"x")).await.unwrap_err();
    backend.state().wait_for(refused).await.unwrap();
    let error = transport(caller.unary(call(b"x")).await);
    assert_eq!(error.message.matches("connection refused").count(), 3, "{}", error.message);
    assert!(error.message.ends_with("; and 2 more"), "{}", error.message);
}

#[tokio::test]
async fn an_address_that_is_back_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let backend = several(&[named("always").await, address], options());
    stand(&backend, 1).await;
    let caller = backend.caller(HeaderMap::new(), None);
    assert_eq!(caller.unary(call(b"x")).await.unwrap(), "always");
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let answer = |exchange: Exchange| async move { exchange.ok(&[b"back"]).await };
            tokio::spawn(serve_connection(tcp, 0, h2::server::Builder::new(), answer));
        }
    });
    until(|| backend.stats().connections() == 2).await;
    // Its share is small at first.
    let mut tries = 0;
    while caller.unary(call(b"x")).await.unwrap() != "back" {
        tries += 1;
        assert!(tries < 1000, "a tenth and more should go there");
    }
}

#[tokio::test]
async fn a_place_is_never_on_a_connection_where_the_call_has_been() {
    let stats = Arc::new(Stats::default());
    let endpoint = Endpoint::parse(&format!("grpc://{}", named("one").await)).unwrap();
    let pool = Pool::new(endpoint, None, options(), Arc::clone(&stats));
    let permit = Arc::new(Limit::new(1, 1, Arc::clone(&stats)).admit(Kind::Own).unwrap());
    let first = pool.place(&[], Patience::Connect, &permit).await.unwrap().visited();
    let second = pool.place(&[first], Patience::Connect, &permit).await.unwrap().visited();
    assert!(first.address == second.address && first.connection != second.connection);
    let third = pool.place(&[first, second], Patience::Connect, &permit).await.unwrap().visited();
    assert!(![first.connection, second.connection].contains(&third.connection));
    // Elsewhere is another address, now or never.
    assert!(pool.place(&[first], Patience::Elsewhere, &permit).await.is_err());
    // Connections that are there are used again.
    for _ in 0..10 {
        pool.place(&[], Patience::Connect, &permit).await.unwrap();
    }
    assert_eq!(stats.dials(), 3);
}

#[tokio::test]
async fn a_call_that_names_no_method_is_refused_before_it_is_sent() {
    let backend = several(&[named("one").await], options());
    let bad = Call { path: "no slash\n".into(), ..call(b"x") };
    let error = transport(backend.caller(HeaderMap::new(), None).unary(bad).await);
    assert_eq!((error.ran, error.kind), (Ran::No, TransportKind::Protocol), "{}", error.message);
}
