//! Streams that are opened and reset at once (CVE-2023-44487): the connection ends, few calls reach a backend, and nobody
//! else notices.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::support::{
    Ca, Frames, Stack, block,
    extension::{ECHO, Extension, Speaks, json},
    frames::{END_HEADERS, END_STREAM, HEADERS, RST_STREAM, frame, get},
    https::{bench, stack},
};

const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
/// For a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many streams are opened at most.
const STREAMS: usize = 10_000;

async fn slow_backend() -> (Stack, Extension) {
    let ca = Ca::new("backends");
    let backend = Extension::start(&ca, Speaks::http2(), |request| {
        let slow = request.uri().path().ends_with("/slow");
        Box::pin(async move {
            if slow {
                std::future::pending::<()>().await;
            }
            json(r#"{"kind":"Echo"}"#)
        })
    })
    .await;
    (stack(backend.addr, &ca).await, backend)
}

fn opens(stream: u32) -> Vec<u8> {
    let path = format!("{ECHO}/echoes/slow");
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get(&path)))
}

/// Opens and resets streams, `at_once` of them before it waits for the server to have seen them. How many were opened
/// before the server ended the connection.
async fn flood(stack: &Stack, at_once: usize, waits: bool) -> usize {
    let mut frames = Frames::connect(stack).await;
    let mut opened = 0;
    while opened < STREAMS {
        let streams: Vec<u32> = (0..at_once).map(|_| frames.stream()).collect();
        opened += streams.len();
        let open: Vec<u8> = streams.iter().flat_map(|stream| opens(*stream)).collect();
        let reset: Vec<u8> =
            streams.iter().flat_map(|stream| frame(RST_STREAM, 0, *stream, &CANCEL)).collect();
        let goes_on = if waits {
            frames.write_all(&open).await && frames.synced().await && frames.write_all(&reset).await
        } else {
            frames.write_all(&[open, reset].concat()).await
        };
        if !goes_on || !frames.synced().await {
            break;
        }
    }
    opened
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_the_connection_and_nobody_else_notices() {
    let (stack, backend) = slow_backend().await;
    let client = bench(&stack);
    let path = format!("{ECHO}/echoes/quick");
    for (at_once, waits) in [(1000, false), (100, false), (20, false), (20, true), (200, true)] {
        let good = async {
            let mut slowest = Duration::ZERO;
            for _ in 0..50 {
                let begun = Instant::now();
                client.get(&path).await.expect(200);
                slowest = slowest.max(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            slowest
        };
        let flood = flood(&stack, at_once, waits);
        let (opened, slowest) =
            timeout(PATIENCE, Box::pin(async { tokio::join!(flood, good) })).await.unwrap();
        assert!(opened < STREAMS, "{at_once} at once: the connection goes on");
        let calls = backend.seen().iter().filter(|seen| seen.target.ends_with("/slow")).count();
        assert!(calls < 1000, "{at_once} at once: {calls} calls reached the backend");
        assert!(slowest < Duration::from_secs(5), "{at_once} at once: others waited for {slowest:?}");
        backend.forget();
    }
    // Whoever comes back behaves.
    client.get(&path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cancels_some_requests_keeps_its_connection() {
    let (stack, backend) = slow_backend().await;
    let mut frames = Frames::connect(&stack).await;
    for _ in 0..8 {
        let streams: Vec<u32> = (0..20).map(|_| frames.stream()).collect();
        for stream in &streams {
            assert!(frames.write_all(&opens(*stream)).await);
        }
        assert!(frames.synced().await);
        for stream in &streams {
            assert!(frames.write(RST_STREAM, 0, *stream, &CANCEL).await);
        }
        assert!(frames.synced().await);
    }
    let path = format!("{ECHO}/echoes/quick");
    let outcome = frames.request(&get(&path), None).await;
    assert!(outcome.is_served(), "{outcome:?}");
    assert!(backend.seen().len() <= 161);
}
