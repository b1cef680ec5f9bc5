//! A silent backend is found out; a slow one is left alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use http::HeaderMap;
use kubridge_bridge::caller::{Call, Caller as _, Class, Ran, TransportKind};
use tokio::{net::TcpListener, time::Instant};

use super::{
    super::{Backend, Endpoint, Options, Serving, TlsOptions, check},
    raw::Raw,
    support::{
        Exchange, backend, call, caller, framed, grpc_headers, options, send, serve, status, transport,
    },
};
use crate::{config::ServiceRules, registry::Protocol};

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
async fn a_call_that_begins_with_a_check_is_found_out_as_soon_as_any() {
    let (told, mut checked) = tokio::sync::mpsc::channel(8);
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    let address = serve(h2::server::Builder::new(), move |exchange: Exchange| {
        let (told, stopped) = (told.clone(), Arc::clone(&stop));
        async move {
            let checked = exchange.path() == "/grpc.health.v1.Health/Check";
            if stopped.load(Ordering::SeqCst) || !checked {
                let _held = exchange;
                return std::future::pending().await;
            }
            exchange.error(12, "unknown service");
            let _ = told.send(()).await;
        }
    })
    .await;
    let caller = backend(address, impatient()).caller(HeaderMap::new(), None);
    let mut watch = std::pin::pin!(caller.stream(call(b"watch")));
    // It waits, and is asked about less and less often: next after eight times 200 ms.
    for _ in 0..3 {
        tokio::select! {
            _ = &mut watch => panic!("it has no answer"),
            checked = checked.recv() => checked.unwrap(),
        }
    }
    stopped.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let error = transport(caller.unary(call(b"get")).await);
    assert!(error.message.contains("silent"), "{}", error.message);
    assert!(begun.elapsed() < Duration::from_millis(1200), "{:?}", begun.elapsed());
}

fn read(message: &'static [u8]) -> Call {
    Call { path: "/test.Test/Get".into(), message: message.into(), class: Class::Read }
}

/// Answers until it is told to be silent; then it says nothing, to checks neither.
async fn silenced() -> (std::net::SocketAddr, Arc<AtomicBool>) {
    let silent = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&silent);
    let address = serve(h2::server::Builder::new(), move |exchange: Exchange| {
        let silent = Arc::clone(&told);
        async move {
            if silent.load(Ordering::SeqCst) {
                let _held = exchange;
                return std::future::pending().await;
            }
            // Long enough for two calls to be under way at once.
            tokio::time::sleep(Duration::from_millis(50)).await;
            exchange.ok(&[b"ok"]).await;
        }
    })
    .await;
    (address, silent)
}

#[tokio::test]
async fn who_is_silent_on_one_connection_is_not_waited_for_on_the_others() {
    let (address, silent) = silenced().await;
    let options = Options { streams_per_connection: 1, silence: Duration::from_secs(1), ..impatient() };
    let backend = backend(address, options);
    let caller = backend.caller(HeaderMap::new(), None);
    while backend.stats().connections() < 2 {
        let outcomes = futures::future::join_all((0..4).map(|_| caller.unary(read(b"x")))).await;
        assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
    }
    silent.store(true, Ordering::SeqCst);
    let (begun, dials) = (Instant::now(), backend.stats().dials());
    let error = transport(caller.unary(read(b"x")).await);
    assert_eq!((error.kind, error.ran), (TransportKind::Broken, Ran::Unknown), "{}", error.message);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(2), "once, not twice: {took:?}");
    assert!(backend.stats().dials() > dials, "it is connected to anew, for none of the others is good");
}

#[tokio::test]
async fn a_read_on_a_silent_address_is_answered_by_another_or_fails_in_time() {
    let [(one, first), (other, second)] = [silenced().await, silenced().await];
    let rules = ServiceRules::new(vec![format!("s/n={one}+{other}").parse().unwrap()]);
    let endpoint = Endpoint::service(Protocol::Grpc, "s", "n", 1, &rules).unwrap();
    let options = Options { silence: Duration::from_secs(1), ..impatient() };
    let backend = Backend::new(endpoint, &TlsOptions::default(), options).unwrap();
    let caller = backend.caller(HeaderMap::new(), None);
    let both = async || {
        backend.connect();
        while backend.stats().connections() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    both().await;
    first.store(true, Ordering::SeqCst);
    let answers = futures::future::join_all((0..4).map(|_| caller.unary(read(b"x")))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == "ok"));
    first.store(false, Ordering::SeqCst);
    both().await;
    for silent in [&first, &second] {
        silent.store(true, Ordering::SeqCst);
    }
    let begun = Instant::now();
    let error = transport(caller.unary(read(b"x")).await);
    assert_eq!((error.kind, error.ran), (TransportKind::Broken, Ran::Unknown), "{}", error.message);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(2), "one silence, not two: {took:?}");
}

#[tokio::test]
async fn a_stream_tells_at_its_end_how_it_went() {
    let read = Arc::new(tokio::sync::Notify::new());
    let go_on = Arc::clone(&read);
    let address = serve(h2::server::Builder::new(), move |mut exchange: Exchange| {
        let go_on = Arc::clone(&go_on);
        async move {
            let mut stream = exchange.respond.send_response(grpc_headers(), false).unwrap();
            send(&mut stream, framed(b"one")).await;
            let body = exchange.body().await;
            go_on.notified().await;
            match &body[5..] {
                b"whole" => stream.send_trailers(status(0)).unwrap(),
                b"broken" => stream.send_reset(h2::Reason::INTERNAL_ERROR),
                _ => std::future::pending().await,
            }
        }
    })
    .await;
    let backend = backend(address, options());
    let traffic = backend.traffic();
    let caller = backend.caller(HeaderMap::new(), Some(Instant::now() + Duration::from_secs(60)));
    for (message, failures) in [(b"whole".as_slice(), 0), (b"broken", 1), (b"dropped", 0)] {
        let mut answer = caller.stream(call(message)).await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap(), "one");
        assert!(!traffic.take().answered, "it is not over");
        read.notify_one();
        if message != b"dropped" {
            let _end = answer.next().await;
        }
        drop(answer);
        let results = traffic.take();
        assert_eq!((results.failures, results.answered), (failures, failures == 0));
    }
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
