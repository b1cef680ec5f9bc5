//! How "did not run" is told apart: each way in which a call can fail, made by hand.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::StreamExt as _;
use h2::Reason;
use http::HeaderMap;
use kubridge_bridge::caller::{Caller as _, Ran, TransportError, TransportKind};
use tokio::net::TcpListener;

use super::{
    raw::{Raw, SETTINGS},
    support::{backend, call, caller, options, serve, transport},
};

/// Calls a peer that plays `script` on every connection; returns the failure and the number of requests it saw.
async fn fails<F, W>(script: F) -> (TransportError, usize)
where
    F: Fn(Raw, u32) -> W + Send + 'static,
    W: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let mut raw = Raw::accept(&listener).await;
            let stream = raw.request().await;
            counter.fetch_add(1, Ordering::SeqCst);
            script(raw, stream).await;
        }
    });
    let error = transport(caller(address).unary(call(b"x")).await);
    (error, seen.load(Ordering::SeqCst))
}

#[tokio::test]
async fn connection_refused_did_not_run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = transport(caller(address).unary(call(b"x")).await);
    assert_eq!((error.ran, error.kind), (Ran::No, TransportKind::Unavailable));
    assert!(error.message.contains("connection refused") && error.message.contains(&address.to_string()));
}

#[tokio::test]
async fn refused_stream_did_not_run_and_is_tried_three_times() {
    let (error, seen) = fails(|mut raw: Raw, stream| async move {
        raw.reset(stream, Reason::REFUSED_STREAM).await;
        tokio::spawn(async move { raw.request().await });
    })
    .await;
    assert_eq!((error.ran, error.kind, seen), (Ran::No, TransportKind::Broken, 3), "{}", error.message);
}

#[tokio::test]
async fn a_stream_beyond_goaway_did_not_run() {
    for reason in [Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM] {
        let (error, seen) = fails(move |mut raw: Raw, _| async move { raw.go_away(0, reason).await }).await;
        assert_eq!((error.ran, error.kind, seen), (Ran::No, TransportKind::Broken, 3), "{}", error.message);
    }
}

#[tokio::test]
async fn a_stream_before_goaway_may_have_run() {
    let (error, seen) =
        fails(|mut raw: Raw, stream| async move { raw.go_away(stream, Reason::NO_ERROR).await }).await;
    assert_eq!((error.ran, error.kind, seen), (Ran::Unknown, TransportKind::Broken, 1), "{}", error.message);
}

#[tokio::test]
async fn any_other_reset_may_have_run() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM] {
        let (error, seen) =
            fails(move |mut raw: Raw, stream| async move { raw.reset(stream, reason).await }).await;
        assert_eq!(
            (error.ran, error.kind, seen),
            (Ran::Unknown, TransportKind::Broken, 1),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_may_have_run() {
    let (error, seen) = fails(|raw: Raw, _| async { raw.abort() }).await;
    assert_eq!((error.ran, error.kind, seen), (Ran::Unknown, TransportKind::Broken, 1), "{}", error.message);
    let (error, seen) = fails(|raw: Raw, _| async { drop(raw) }).await;
    assert_eq!((error.ran, error.kind, seen), (Ran::Unknown, TransportKind::Broken, 1), "{}", error.message);
}

#[tokio::test]
async fn after_the_headers_even_a_refusal_may_have_run() {
    for reset in [true, false] {
        let (error, seen) = fails(move |mut raw: Raw, stream| async move {
            raw.answer_headers(stream).await;
            if reset {
                raw.reset(stream, Reason::REFUSED_STREAM).await;
            } else {
                raw.go_away(0, Reason::NO_ERROR).await;
            }
        })
        .await;
        assert_eq!(
            (error.ran, error.kind, seen),
            (Ran::Unknown, TransportKind::Broken, 1),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn a_listener_that_never_speaks_got_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let short = super::super::Options { connect_timeout: std::time::Duration::from_millis(100), ..options() };
    let silent = backend(listener.local_addr().unwrap(), short).caller(HeaderMap::new(), None);
    let error = transport(silent.unary(call(b"x")).await);
    assert_eq!((error.ran, error.kind), (Ran::No, TransportKind::Unavailable));
    assert!(error.message.contains("SETTINGS"), "{}", error.message);
}

#[tokio::test]
async fn what_speaks_another_protocol_got_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
        }
    });
    let error = transport(caller(address).unary(call(b"x")).await);
    assert_eq!((error.ran, error.kind), (Ran::No, TransportKind::Unavailable), "{}", error.message);
    assert!(error.message.contains("is this a gRPC server?"), "{}", error.message);
}

#[tokio::test]
async fn a_refused_write_succeeds_on_another_connection() {
    let address = serve(h2::server::Builder::new(), |mut exchange| async move {
        match exchange.connection {
            0 => exchange.respond.send_reset(Reason::REFUSED_STREAM),
            _ => exchange.ok(&[b"done"]).await,
        }
    })
    .await;
    assert_eq!(caller(address).unary(call(b"x")).await.unwrap(), "done");
}

#[tokio::test]
async fn a_connection_that_ended_while_idle_costs_no_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let mut first = Raw::accept(&listener).await;
        let stream = first.request().await;
        first.answer_headers(stream).await;
        // Trailers: grpc-status 0, end of stream.
        first.write(super::raw::HEADERS, 5, stream, b"\x00\x0bgrpc-status\x010").await;
        first.go_away(stream, Reason::NO_ERROR).await;
        let mut second = Raw::accept(&listener).await;
        let stream = second.request().await;
        second.write(SETTINGS, 0, 0, &[]).await;
        second.answer_headers(stream).await;
        second.write(super::raw::HEADERS, 5, stream, b"\x00\x0bgrpc-status\x010").await;
        // Kept: a socket closed with unread bytes resets the connection.
        (first, second)
    });
    let caller = caller(address);
    for _ in 0..2 {
        let mut stream = caller.stream(call(b"x")).await.unwrap();
        assert!(stream.next().await.is_none());
    }
    served.await.unwrap();
}
