//! Which connection a call takes, and how a backend goes and comes back.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures::{StreamExt as _, future::join_all};
use http::HeaderMap;
use kubridge_bridge::caller::{Caller as _, Ran, TransportKind};
use tokio::{net::TcpListener, sync::Barrier};

use super::{
    super::{ConnectionState, FailureReason, Options},
    support::{
        Exchange, backend, call, caller, framed, grpc_headers, options, send, serve, serve_connection,
        status, transport,
    },
};

/// Answers when `wanted` calls have come in; returns the address and the connections that they came on.
async fn meets(builder: h2::server::Builder, wanted: usize) -> (SocketAddr, Arc<Mutex<HashSet<usize>>>) {
    let used = Arc::new(Mutex::new(HashSet::new()));
    let (seen, barrier) = (Arc::clone(&used), Arc::new(Barrier::new(wanted)));
    let address = serve(builder, move |exchange: Exchange| {
        let (seen, barrier) = (Arc::clone(&seen), Arc::clone(&barrier));
        async move {
            seen.lock().unwrap().insert(exchange.connection);
            barrier.wait().await;
            exchange.ok(&[b"met"]).await;
        }
    })
    .await;
    (address, used)
}

#[tokio::test]
async fn who_is_answered_without_a_call_has_it_looked_whether_the_backend_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let minute = std::time::Duration::from_secs(60);
    let patient =
        Options { backoff_min: minute, backoff_max: minute, fresh: std::time::Duration::ZERO, ..options() };
    let backend = backend(address, patient);
    let mut state = backend.state();
    backend.connect();
    state.wait_for(|state| matches!(state, ConnectionState::Failed { .. })).await.unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let answers = |exchange: Exchange| async move { exchange.ok(&[b"ok"]).await };
        serve_connection(tcp, 0, h2::server::Builder::new(), answers).await;
    });
    // By itself it would look in half a minute.
    backend.knock();
    let back = state.wait_for(|state| *state == ConnectionState::Ready);
    tokio::time::timeout(std::time::Duration::from_secs(10), back).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_peers_limit_opens_further_connections() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(4);
    // Three calls on each of four connections: one stream of each is kept for the health check.
    let (address, used) = meets(builder, 12).await;
    let caller = caller(address);
    let outcomes = join_all((0..12).map(|_| caller.unary(call(b"x")))).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == "met"));
    assert_eq!(used.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn beyond_all_limits_calls_wait_for_room() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(2);
    let address = serve(builder, |exchange: Exchange| async move { exchange.ok(&[b"ok"]).await }).await;
    let narrow = Options { max_connections: 1, ..options() };
    let caller = backend(address, narrow).caller(HeaderMap::new(), None);
    let outcomes = join_all((0..50).map(|_| caller.unary(call(b"x")))).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
}

#[tokio::test]
async fn many_calls_spread_over_connections() {
    let (address, used) = meets(h2::server::Builder::new(), 20).await;
    let spread = Options { streams_per_connection: 5, ..options() };
    let caller = backend(address, spread).caller(HeaderMap::new(), None);
    let outcomes = join_all((0..20).map(|_| caller.unary(call(b"x")))).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
    assert!(used.lock().unwrap().len() <= 4);
    let (address, used) = meets(h2::server::Builder::new(), 1).await;
    let caller = super::support::caller(address);
    for _ in 0..20 {
        caller.unary(call(b"x")).await.unwrap();
    }
    assert_eq!(used.lock().unwrap().len(), 1, "calls one after the other need one connection");
}

#[tokio::test]
async fn goaway_lets_calls_in_flight_finish_and_new_ones_move() {
    let address = serve(h2::server::Builder::new(), |mut exchange: Exchange| async move {
        if exchange.connection > 0 {
            return exchange.ok(&[b"new"]).await;
        }
        let mut stream = exchange.respond.send_response(grpc_headers(), false).unwrap();
        send(&mut stream, framed(b"going")).await;
        exchange.go_away.notify_one();
        // The body arrives last: the client asks for it by the next call.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        send(&mut stream, framed(b"gone")).await;
        stream.send_trailers(status(0)).unwrap();
    })
    .await;
    let caller = caller(address);
    let mut old = caller.stream(call(b"x")).await.unwrap();
    assert_eq!(old.next().await.unwrap().unwrap(), "going");
    // The second message proves that the GOAWAY, sent before it, has been read.
    assert_eq!(old.next().await.unwrap().unwrap(), "gone");
    assert_eq!(caller.unary(call(b"x")).await.unwrap(), "new");
    assert!(old.next().await.is_none());
}

#[tokio::test]
async fn a_backend_fails_fast_while_down_and_comes_back_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let backend = backend(address, options());
    let (mut state, mut returns) = (backend.state(), backend.returns());
    assert_eq!(*state.borrow(), ConnectionState::Idle);
    let caller = backend.caller(HeaderMap::new(), None);
    for _ in 0..20 {
        let error = transport(caller.unary(call(b"x")).await);
        assert_eq!((error.ran, error.kind), (Ran::No, TransportKind::Unavailable));
    }
    let refused = |state: &ConnectionState| {
        matches!(state, ConnectionState::Failed { reason: FailureReason::Refused, .. })
    };
    state.wait_for(refused).await.unwrap();

    let listener = TcpListener::bind(address).await.unwrap();
    let answer = |exchange: Exchange| async move { exchange.ok(&[b"back"]).await };
    let served = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        drop(listener);
        serve_connection(tcp, 0, h2::server::Builder::new(), answer).await;
    });
    // Nobody calls: it is noticed all the same.
    returns.changed().await.unwrap();
    state.wait_for(|state| *state == ConnectionState::Ready).await.unwrap();
    assert_eq!(caller.unary(call(b"x")).await.unwrap(), "back");

    served.abort();
    state.wait_for(refused).await.unwrap();
    let address = {
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(serve_connection(tcp, 0, h2::server::Builder::new(), answer));
            }
        });
        address
    };
    returns.changed().await.unwrap();
    assert_eq!(caller.unary(call(b"x")).await.unwrap(), "back", "{address}");
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // Only IPv4 listens; `localhost` may name ::1 first.
    let address =
        serve(h2::server::Builder::new(), |exchange: Exchange| async move { exchange.ok(&[b"ok"]).await })
            .await;
    let endpoint = super::super::Endpoint::parse(&format!("grpc://localhost:{}", address.port())).unwrap();
    let backend =
        super::super::Backend::new(endpoint, &super::super::TlsOptions::default(), options()).unwrap();
    assert_eq!(backend.caller(HeaderMap::new(), None).unary(call(b"x")).await.unwrap(), "ok");
}
