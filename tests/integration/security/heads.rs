//! Heads that are too large: a Status where one can be sent, a bound on what is read in any case.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    Ca, Frames, Outcome, Stack, block,
    extension::{ECHO, Extension, Speaks},
    frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, frame, get},
    https::{Wire, stack},
};

async fn before() -> (Stack, Extension) {
    let ca = Ca::new("backends");
    let backend = Extension::echo(&ca, Speaks::http2()).await;
    (stack(backend.addr, &ca).await, backend)
}

fn line() -> String {
    format!("GET {ECHO}/echoes/one HTTP/1.1")
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_head_is_431_with_a_status_and_the_connection_goes_on() {
    let (stack, backend) = before().await;
    let large = format!("X-Large: {}", "x".repeat(70_000));
    let many = (0..1700).map(|n| format!("X-{n}: {n}")).collect::<Vec<_>>().join("\n");
    let empty = "A:\n".repeat(1990);
    let mut wire = Wire::http1(&stack).await;
    for lines in [large.as_str(), &many, empty.trim_end()] {
        wire.request(&format!("{}\n{lines}", line()), b"").await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        let body = wire.until("}\n").await;
        assert!(body.contains("\"kind\":\"Status\"") && body.contains("\"code\":431"), "{body}");
        assert!(body.contains("send fewer or shorter ones"), "{body}");
    }
    assert!(backend.seen().is_empty());
    // As many as hyper takes by default, and again.
    let some = (0..200).map(|n| format!("X-{n}: {n}")).collect::<Vec<_>>().join("\n");
    wire.request(&format!("{}\n{some}", line()), b"").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200 "), "the same connection");
    assert_eq!(backend.take().values("x-199"), ["199"]);

    let (path, value) = (format!("{ECHO}/echoes/one"), "x".repeat(70_000));
    let names: Vec<String> = (0..2000).map(|n| format!("x-{n}")).collect();
    let mut frames = Frames::connect(&stack).await;
    for more in [
        vec![("x-large", value.as_bytes())],
        names.iter().map(|name| (name.as_str(), b"".as_slice())).collect(),
    ] {
        let mut headers = get(&path);
        headers.extend(more);
        let stream = frames.stream();
        // Frames of at most 16 KiB.
        let whole = block(&headers);
        let mut parts = whole.chunks(16_000);
        frames.write(HEADERS, END_STREAM, stream, parts.next().unwrap()).await;
        for part in parts {
            frames.write(CONTINUATION, 0, stream, part).await;
        }
        frames.write(CONTINUATION, END_HEADERS, stream, b"").await;
        let Outcome::Answered(body) = frames.outcome(stream).await else { panic!("no answer") };
        assert!(body.contains("\"kind\":\"Status\"") && body.contains("\"code\":431"), "{body}");
    }
    assert!(backend.seen().is_empty());
    assert!(frames.request(&get(&path), None).await.is_served(), "the same connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_is_read_ends_the_connection_and_costs_no_memory() {
    let (stack, backend) = before().await;
    // One header without an end, headers without an end, a request line without an end.
    for (begin, part) in [
        (format!("{}\r\nHost: x\r\nX-Endless: ", line()), "x".repeat(1 << 16)),
        (format!("{}\r\nHost: x\r\n", line()), "X-More: 0123456789\r\n".repeat(3000)),
        (format!("GET {ECHO}/echoes/"), "x".repeat(1 << 16)),
    ] {
        let mut wire = Wire::http1(&stack).await;
        wire.send(begin.as_bytes()).await;
        let (mut read, mut write) = tokio::io::split(wire.stream);
        let writes = async {
            let mut written = 0;
            // Sockets hold some of it, too.
            while written < 64 << 20 && write.write_all(part.as_bytes()).await.is_ok() {
                written += part.len();
            }
            written
        };
        let mut answer = Vec::new();
        let reads = async {
            let _ = read.read_to_end(&mut answer).await;
        };
        let (written, ()) = crate::support::extension::soon(async { tokio::join!(writes, reads) }).await;
        assert!(written < 32 << 20, "{written} bytes were taken");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(backend.seen().is_empty());
    Frames::connect(&stack).await.request(&get(&format!("{ECHO}/echoes/one")), None).await;
    assert_eq!(backend.seen().len(), 1, "nobody else notices");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_continuations_ends_the_connection() {
    let (stack, backend) = before().await;
    let path = format!("{ECHO}/echoes/one");
    let begin = block(&get(&path));
    // Empty ones, ones of a byte, large ones; none is the last.
    let header = block(&[("x-more", b"0123456789")]);
    for part in [Vec::new(), vec![0], header.repeat(800)] {
        let mut frames = Frames::connect(&stack).await;
        let stream = frames.stream();
        assert!(frames.write(HEADERS, END_STREAM, stream, &begin).await);
        let part = frame(CONTINUATION, 0, stream, &part);
        let some = part.repeat((1 << 16) / part.len());
        let mut written = 0;
        while written < 64 << 20 && frames.write_all(&some).await {
            written += some.len();
        }
        assert!(written < 32 << 20, "{written} bytes were taken");
        assert_eq!(frames.outcome(stream).await, Outcome::Closed);
    }
    assert!(backend.seen().is_empty());
    assert!(Frames::connect(&stack).await.request(&get(&path), None).await.is_served());
}
