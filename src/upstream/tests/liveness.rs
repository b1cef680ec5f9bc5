//! A silent backend is found out; a slow one is left alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use http::HeaderMap;
use kubridge_bridge::caller::{Caller as _, Ran, TransportKind};
use tokio::{net::TcpListener, time::Instant};

use super::{
    super::{Options, Serving, check},
    raw::Raw,
    support::{
        Exchange, backend, call, caller, framed, grpc_headers, options, send, serve, status, transport,
    },
};

fn impatient() -> Options {
    Options { silence: Duration::from_millis(200), silence_grace: Duration::from_millis(100), ..options() }
}

#[tokio::test]
async fn a_silent_connection_is_found_out_and_all_its_calls_fail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = backend(listener.local_addr().unwrap(), impatient());
    let peer = tokio::spawn(async move {
        let mut raw = Raw::accept(&listener).await;
        let stream = raw.request().await;
        raw.answer_headers(stream).await;
        // From now on it is as if the host were gone: the socket stays open, nothing is read or sent.
        (raw, listener)
    });
    let caller = backend.caller(HeaderMap::new(), None);
    let mut watch = caller.stream(call(b"watch")).await.unwrap();
    let kept = peer.await.unwrap();
    let begun = Instant::now();
    let (first, second) = tokio::join!(caller.unary(call(b"get")), watch.next());
    for error in [transport(first), transport(second.unwrap())] {
        assert_eq!((error.kind, error.ran), (TransportKind::Broken, Ran::Unknown));
        assert!(error.message.contains("silent"), "{}", error.message);
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(3), "{took:?}");
    drop(kept);
}

#[tokio::test]
async fn an_answered_check_proves_life_even_when_unimplemented() {
    let checks = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&checks);
    let address = serve(h2::server::Builder::new(), move |exchange: Exchange| {
        let checks = Arc::clone(&counter);
        async move {
            if exchange.path() == "/grpc.health.v1.Health/Check" {
                checks.fetch_add(1, Ordering::SeqCst);
                exchange.error(12, "unknown service");
            } else {
                // A slow answer: as many checks as it takes.
                while checks.load(Ordering::SeqCst) < 2 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                exchange.ok(&[b"slow"]).await;
            }
        }
    })
    .await;
    let caller = backend(address, impatient()).caller(HeaderMap::new(), None);
    assert_eq!(caller.unary(call(b"x")).await.unwrap(), "slow");
    assert!(checks.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_backend_that_talks_is_not_asked() {
    let checks = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&checks);
    let address = serve(h2::server::Builder::new(), move |mut exchange: Exchange| {
        let checks = Arc::clone(&counter);
        async move {
            if exchange.path() != "/test.Test/Call" {
                checks.fetch_add(1, Ordering::SeqCst);
                return exchange.error(12, "unknown service");
            }
            let mut stream = exchange.respond.send_response(grpc_headers(), false).unwrap();
            for _ in 0..12 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                send(&mut stream, framed(b"tick")).await;
            }
            stream.send_trailers(status(0)).unwrap();
        }
    })
    .await;
    let patient = Options { silence: Duration::from_millis(500), ..impatient() };
    let caller = backend(address, patient).caller(HeaderMap::new(), None);
    let ticks = caller.stream(call(b"x")).await.unwrap().count().await;
    assert_eq!((ticks, checks.load(Ordering::SeqCst)), (12, 0));
}

#[tokio::test]
async fn health_is_asked_of_a_real_server() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("down", tonic_health::ServingStatus::NotServing).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
    );
    let caller = caller(address);
    assert_eq!(check(&caller, "").await.unwrap(), Serving::Serving);
    assert_eq!(check(&caller, "down").await.unwrap(), Serving::NotServing);
    assert!(check(&caller, "nobody").await.is_err());
}
