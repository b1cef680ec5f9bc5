//! Bodies in both directions: as they come, never whole, and never with an end that is none.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream_shim::stream;

use crate::support::{
    Ca,
    extension::{Body, ECHO, Extension, Speaks, json as object, soon},
    https::{Wire, bench, stack},
};

/// A body that the test writes.
mod tokio_stream_shim {
    use super::*;

    pub(super) type Part = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    pub(super) fn stream(parts: mpsc::Receiver<Part>) -> Body {
        let parts = futures::stream::unfold(parts, |mut parts| async { Some((parts.recv().await?, parts)) });
        StreamBody::new(parts.map(|part| part.map(Frame::data))).boxed_unsync()
    }
}

use tokio_stream_shim::Part;

/// A backend whose answers the test writes while they are read. It hands out what writes the next answer, and the
/// request's body.
async fn scripted(ca: &Ca, speaks: Speaks) -> (Extension, mpsc::Receiver<(Incoming, mpsc::Sender<Part>)>) {
    let (told, tells) = mpsc::channel(8);
    let backend = Extension::start(ca, speaks, move |request| {
        let told = told.clone();
        Box::pin(async move {
            let (writes, parts) = mpsc::channel(8);
            told.send((request.into_body(), writes)).await.unwrap();
            Response::builder().header("content-type", "application/json").body(stream(parts)).unwrap()
        })
    })
    .await;
    (backend, tells)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_at_once_in_both_directions() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let (backend, mut exchanges) = scripted(&ca, speaks).await;
        let stack = stack(backend.addr, &ca).await;
        // With a length, and without.
        for length in [true, false] {
            let mut wire = Wire::http1(&stack).await;
            let head = format!("POST {ECHO}/echoes HTTP/1.1\nContent-Type: application/json");
            let (framing, first, last) = match length {
                true => ("Content-Length: 10", &b"hello"[..], &b"world"[..]),
                false => {
                    ("Transfer-Encoding: chunked", &b"5\r\nhello\r\n"[..], &b"5\r\nworld\r\n0\r\n\r\n"[..])
                }
            };
            wire.request(&format!("{head}\n{framing}"), first).await;
            let (mut body, writes) = soon(exchanges.recv()).await.unwrap();
            let data = soon(body.frame()).await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, "hello", "before the end is sent");
            writes.send(Ok("{\"a\":".into())).await.unwrap();
            let head = wire.head().await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            wire.until("{\"a\":").await;
            wire.send(last).await;
            let data = soon(body.frame()).await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, "world");
            while let Some(rest) = soon(body.frame()).await {
                assert!(rest.unwrap().into_data().unwrap().is_empty(), "nothing but the end");
            }
            writes.send(Ok("1}".into())).await.unwrap();
            wire.until("1}").await;
            drop(writes);
            wire.until("0\r\n\r\n").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_stops_the_backend() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let (backend, mut exchanges) = scripted(&ca, speaks).await;
        let stack = stack(backend.addr, &ca).await;
        let mut wire = Wire::http1(&stack).await;
        wire.request(&format!("GET {ECHO}/echoes/big HTTP/1.1"), b"").await;
        let (_, writes) = soon(exchanges.recv()).await.unwrap();
        wire.head().await;
        let chunk = Bytes::from(vec![b'x'; 1 << 20]);
        let mut written = 0;
        // Sockets and windows fill up; then nothing more is taken.
        while tokio::time::timeout(Duration::from_secs(1), writes.send(Ok(chunk.clone()))).await.is_ok() {
            written += 1;
            assert!(written < 64, "it is buffered without a bound");
        }
        // A client that goes away is the end for the backend, too.
        drop(wire);
        soon(writes.closed()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_cancels_a_waiting_request() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let dropped = Arc::new(Mutex::new(Vec::new()));
        let (told, mut tells) = mpsc::channel::<()>(8);
        let backend = Extension::start(&ca, speaks, {
            let dropped = Arc::clone(&dropped);
            move |_| {
                // Its receiver ends when the handler is dropped.
                let (alive, ends) = tokio::sync::oneshot::channel::<()>();
                dropped.lock().unwrap().push(ends);
                let told = told.clone();
                Box::pin(async move {
                    told.send(()).await.unwrap();
                    let _alive = alive;
                    std::future::pending().await
                })
            }
        })
        .await;
        let stack = stack(backend.addr, &ca).await;
        let mut wire = Wire::http1(&stack).await;
        wire.request(&format!("GET {ECHO}/echoes/slow HTTP/1.1"), b"").await;
        soon(tells.recv()).await.unwrap();
        drop(wire);
        let ends = dropped.lock().unwrap().pop().unwrap();
        assert!(soon(ends).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_has_no_clean_end() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let (backend, mut exchanges) = scripted(&ca, speaks).await;
        let stack = stack(backend.addr, &ca).await;
        let path = format!("{ECHO}/echoes/cut");
        let request = bench(&stack).request(Method::GET, &path).send();
        let begins = async {
            let (_, writes) = soon(exchanges.recv()).await.unwrap();
            writes.send(Ok("{\"half\":".into())).await.unwrap();
            writes
        };
        let (answer, writes) = tokio::join!(request, begins);
        let mut body = answer.unwrap().bytes_stream();
        assert!(soon(body.next()).await.unwrap().is_ok());
        writes.send(Err("broken".into())).await.unwrap();
        let rest = soon(async {
            while let Some(part) = body.next().await {
                part?;
            }
            Ok::<_, reqwest::Error>(())
        });
        assert!(rest.await.is_err());
        // Nothing of it is repeated: the client has seen the beginning.
        assert_eq!(backend.seen().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_never_runs_twice_and_a_read_may() {
    let ca = Ca::new("backends");
    // It dies with each request.
    let dies =
        |_| -> futures::future::BoxFuture<'static, Response<Body>> { Box::pin(async { panic!("it dies") }) };
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let backend = Extension::start(&ca, speaks, dies).await;
        let stack = stack(backend.addr, &ca).await;
        let client = bench(&stack);
        let answer = client.post(&format!("{ECHO}/echoes"), &json!({"kind": "Echo"})).await.expect(504);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("the outcome is unknown; read the object first"), "{message}");
        assert_eq!(answer.header("retry-after"), "");
        assert_eq!(backend.seen().len(), 1, "a write runs once");
        let answer = client.get(&format!("{ECHO}/echoes/one")).await.expect(503);
        assert_eq!(answer.header("retry-after"), "1");
        assert!(answer.json()["message"].as_str().unwrap().contains("APIService v1.echo.example.com"));
        let reads = backend.seen().iter().filter(|seen| seen.method == Method::GET).count();
        assert!((2..=3).contains(&reads), "a read is tried again: {reads}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_and_used_again() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let backend = Extension::echo(&ca, speaks).await;
        let stack = stack(backend.addr, &ca).await;
        let client = bench(&stack);
        let before = backend.connections();
        for n in 0..20 {
            client.get(&format!("{ECHO}/echoes/{n}")).await.expect(200);
            let posted = client.post(&format!("{ECHO}/echoes"), &json!({"n": n})).await.expect(200);
            assert!(posted.json()["read"].as_i64().unwrap() > 0);
        }
        assert_eq!(backend.seen().len(), 40);
        assert!(backend.connections() <= before + 1, "{} after {before}", backend.connections());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_have_a_connection_each_in_http1() {
    let ca = Ca::new("backends");
    let arrived = Arc::new(tokio::sync::Barrier::new(12));
    let backend = Extension::start(&ca, Speaks::http1(), {
        let arrived = Arc::clone(&arrived);
        move |_| {
            let arrived = Arc::clone(&arrived);
            Box::pin(async move {
                // Nobody is answered before all are there.
                arrived.wait().await;
                object("{}")
            })
        }
    })
    .await;
    let stack = stack(backend.addr, &ca).await;
    let client = bench(&stack);
    let paths: Vec<String> = (0..12).map(|n| format!("{ECHO}/echoes/{n}")).collect();
    let answers = soon(futures::future::join_all(paths.iter().map(|path| client.get(path)))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_passes_events_at_once_and_a_stop_ends_it_cleanly() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let (backend, mut exchanges) = scripted(&ca, speaks).await;
        let mut stack = stack(backend.addr, &ca).await;
        let path = format!("{ECHO}/echoes?watch=1");
        let (mut watch, exchange) = tokio::join!(stack.watch(&path), soon(exchanges.recv()));
        let (_, writes) = exchange.unwrap();
        for n in 0..3 {
            let event = json!({"type": "ADDED", "object": {"n": n}});
            writes.send(Ok(format!("{event}\n").into())).await.unwrap();
            assert_eq!(soon(watch.next()).await.unwrap(), event);
        }
        let (stopped, end) = tokio::join!(soon(stack.stop()), soon(watch.next()));
        assert_eq!((stopped, end), ((), None));
        soon(writes.closed()).await;
    }
}
