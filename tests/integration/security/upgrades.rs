//! Upgrades: a tunnel opens after a 101 with the protocol that was asked for, and after nothing else; what a client sends
//! in hope of one reaches nobody.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Notify, mpsc},
};
use tokio_rustls::server::TlsStream;

use crate::support::{
    Ca, Options, Stack,
    extension::{ECHO, Speaks, listen, soon},
    https::{TOKENS, Wire, stack},
    recorder,
};

const SECRET: &str = "/apis/echo.example.com/v1/echoes/secret";

/// A connection to a backend that the test speaks on, after the head of the request that asks for an upgrade.
struct Asked {
    stream: TlsStream<TcpStream>,
    head: String,
    read: BytesMut,
}

impl Asked {
    async fn say(&mut self, bytes: &str) {
        self.stream.write_all(bytes.replace('\n', "\r\n").as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// What the other side sends until `end` has come.
    async fn until(&mut self, end: &str) -> String {
        soon(async {
            while !self.read.ends_with(end.as_bytes()) {
                let read = self.stream.read_buf(&mut self.read).await.unwrap();
                assert!(read > 0, "the end came before {end:?}: {:?}", self.read);
            }
            String::from_utf8_lossy(&self.read.split()).into_owned()
        })
        .await
    }

    /// Whatever else comes until the other side ends the connection.
    async fn rest(mut self) -> String {
        // A connection that is cut says so with an error.
        let _ = soon(self.stream.read_buf(&mut self.read)).await;
        while matches!(soon(self.stream.read_buf(&mut self.read)).await, Ok(read) if read > 0) {}
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

/// A backend that hands over connections on which an upgrade is asked for, and answers all other requests. If it sees a
/// request for [`SECRET`], that was smuggled.
async fn backend(ca: &Ca) -> (std::net::SocketAddr, mpsc::Receiver<Asked>, Arc<AtomicBool>) {
    let (tell, told) = mpsc::channel(8);
    let smuggled = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&smuggled);
    let (addr, _) = listen(ca, &Speaks::http1(), move |mut stream, _| {
        let (tell, seen) = (tell.clone(), Arc::clone(&seen));
        Box::pin(async move {
            let mut read = BytesMut::new();
            loop {
                while let Some(at) = read.windows(4).position(|part| part == b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&read.split_to(at + 4)).into_owned();
                    if head.to_ascii_lowercase().contains("\r\nupgrade: ") {
                        return tell.send(Asked { stream, head, read }).await.unwrap();
                    }
                    seen.fetch_or(head.contains(SECRET), Ordering::SeqCst);
                    let answer = match head.split(' ').nth(1) {
                        Some(ECHO) => recorder::ok(crate::support::extension::RESOURCES),
                        _ => recorder::ok("{}"),
                    };
                    if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
                if !matches!(stream.read_buf(&mut read).await, Ok(read) if read > 0) {
                    return;
                }
            }
        })
    })
    .await;
    (addr, told, smuggled)
}

fn asks(protocol: &str) -> String {
    format!("GET {ECHO}/echoes/one/exec HTTP/1.1\nConnection: Upgrade\nUpgrade: {protocol}")
}

/// What a client sends behind an upgrade that it hopes for.
fn hopes() -> String {
    format!(
        "GET {SECRET} HTTP/1.1\r\nHost: x\r\nX-Remote-User: root\r\nX-Remote-Group: system:masters\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_101_bytes_pass_both_ways_and_none_before() {
    let ca = Ca::new("backends");
    let (addr, mut told, smuggled) = backend(&ca).await;
    let stack = stack(addr, &ca).await;
    for (protocol, method) in [("websocket", "GET"), ("SPDY/3.1", "POST"), ("WebSocket", "GET")] {
        let mut wire = Wire::http1(&stack).await;
        let early = hopes();
        let head = asks(protocol).replace("GET", method);
        wire.request(&head, early.as_bytes()).await;
        let mut asked = soon(told.recv()).await.unwrap();
        assert!(
            asked.head.starts_with(&format!("{method} {ECHO}/echoes/one/exec HTTP/1.1\r\n")),
            "{}",
            asked.head
        );
        let lower = asked.head.to_ascii_lowercase();
        assert_eq!(lower.matches("upgrade: ").count(), 1);
        assert!(lower.contains(&format!("upgrade: {}\r\n", protocol.to_ascii_lowercase())), "{lower}");
        assert!(lower.contains("connection: upgrade\r\n") && lower.contains("x-remote-user: bench\r\n"));
        assert!(!lower.contains("authorization"), "{lower}");
        // Nothing behind the head, however long the backend waits.
        let waits = tokio::time::timeout(
            std::time::Duration::from_millis(200),
            asked.stream.read_buf(&mut asked.read),
        );
        assert!(waits.await.is_err() && asked.read.is_empty(), "{:?}", asked.read);
        // Bytes in the same segment as the 101 belong to the tunnel.
        let said = format!(
            "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: {protocol}\nX-Stream: 1\n\nfirst"
        );
        asked.say(&said).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let lower = head.to_ascii_lowercase();
        assert!(lower.contains("connection: upgrade\r\n") && lower.contains("x-stream: 1\r\n"), "{head}");
        assert_eq!(wire.until("first").await, "first");
        // What was sent too early is the tunnel's: the backend has switched, and reads no requests there.
        assert_eq!(asked.until(&early).await, early);
        wire.send(b"\x00\xff ping").await;
        asked.until("ping").await;
        asked.say("pong").await;
        assert_eq!(wire.until("pong").await, "pong");
        drop(wire);
        assert_eq!(asked.rest().await, "");
    }
    assert!(!smuggled.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_answer_opens_nothing_and_ends_both_connections() {
    let ca = Ca::new("backends");
    let (addr, mut told, smuggled) = backend(&ca).await;
    let stack = stack(addr, &ca).await;
    let body = "Content-Type: application/json\nContent-Length: 2\n\n{}";
    for (says, status, passes) in [
        (format!("HTTP/1.1 200 OK\n{body}"), 503, false),
        (format!("HTTP/1.1 200 OK\nConnection: Upgrade\nUpgrade: websocket\n{body}"), 503, false),
        ("HTTP/1.1 204 No Content\n\n".to_owned(), 503, false),
        (
            "HTTP/1.1 302 Found\nLocation: https://evil.example.com/\nContent-Length: 0\n\n".to_owned(),
            503,
            false,
        ),
        (format!("HTTP/1.1 400 Bad Request\n{body}"), 400, true),
        (format!("HTTP/1.1 403 Forbidden\nUpgrade: websocket\n{body}"), 403, true),
        (format!("HTTP/1.1 500 Internal Server Error\n{body}"), 500, true),
        // Another protocol, none, two.
        ("HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: h2c\n\n".to_owned(), 502, false),
        ("HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\n\n".to_owned(), 502, false),
        (
            "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: SPDY/3.1\n\n".to_owned(),
            502,
            false,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: websocket, h2c\n\n".to_owned(),
            502,
            false,
        ),
    ] {
        let mut wire = Wire::http1(&stack).await;
        wire.request(&asks("websocket"), hopes().as_bytes()).await;
        let mut asked = soon(told.recv()).await.unwrap();
        // The backend speaks on as if it had switched.
        asked.say(&format!("{says}FROM-THE-BACKEND")).await;
        let head = wire.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{says}: {head}");
        assert!(head.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{says}: {head}");
        assert!(!head.to_ascii_lowercase().contains("\r\nupgrade: "), "{says}: {head}");
        wire.send(hopes().as_bytes()).await;
        let rest = wire.rest().await;
        assert!(!rest.contains("FROM-THE-BACKEND"), "{says}: {rest}");
        assert_eq!(rest.matches("HTTP/1.1 ").count(), 0, "no second answer: {says}: {rest}");
        assert_eq!(rest.contains("\"kind\":\"Status\""), !passes, "{says}: {rest}");
        assert_eq!(asked.rest().await, "", "{says}");
    }
    assert!(!smuggled.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_question_is_over_is_no_tunnel() {
    let ca = Ca::new("backends");
    let (addr, mut told, _) = backend(&ca).await;
    let stack = stack(addr, &ca).await;
    let mut wire = Wire::http1(&stack).await;
    wire.request(&asks("websocket"), b"").await;
    let mut asked = soon(told.recv()).await.unwrap();
    asked.say("HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\n\n").await;
    asked.say("HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: websocket\n\nin").await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(wire.until("in").await, "in");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_websocket_and_spdy_are_asked_for() {
    let ca = Ca::new("backends");
    let (addr, mut told, smuggled) = backend(&ca).await;
    let stack = stack(addr, &ca).await;
    let get = format!("GET {ECHO}/echoes/one/exec HTTP/1.1");
    for asks in [
        "Connection: Upgrade\nUpgrade: h2c",
        "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Connection: Upgrade\nUpgrade: TLS/1.2",
        "Connection: Upgrade\nUpgrade: websocket, h2c",
        "Connection: Upgrade\nUpgrade: websocket\nUpgrade: h2c",
        "Connection: Upgrade\nUpgrade: websocket/13",
        "Connection: Upgrade\nUpgrade:",
        "Connection: Upgrade\nUpgrade: websocket\nContent-Length: 5",
        "Connection: Upgrade\nUpgrade: websocket\nTransfer-Encoding: chunked",
    ] {
        let mut wire = Wire::http1(&stack).await;
        wire.request(&format!("{get}\n{asks}"), b"").await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{asks}: {head}");
    }
    assert!(told.try_recv().is_err(), "the backend was asked");
    // Where nobody asks, nothing of it is passed on.
    for asks in ["Upgrade: websocket", "Connection: close\nUpgrade: websocket", "Connection: Upgrade"] {
        let mut wire = Wire::http1(&stack).await;
        wire.request(&format!("{get}\n{asks}"), b"").await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{asks}: {head}");
    }
    let mut wire = Wire::http1(&stack).await;
    wire.request(&format!("{}\nConnection: Upgrade\nUpgrade: websocket", get.replace("1.1", "1.0")), b"")
        .await;
    assert!(wire.head().await.starts_with("HTTP/1.0 200 "));
    assert!(told.try_recv().is_err(), "the backend was asked");
    assert!(!smuggled.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_forwarded_has_no_upgrades() {
    let options = Options {
        tokens: TOKENS.into(),
        args: vec!["--authorization-mode=AlwaysAllow".into()],
        ..Options::default()
    };
    let stack = Stack::with(options).await;
    for path in
        ["/apis/inventory.example.com/v1/namespaces/default/machines/m1", "/version", "/apis", "/none"]
    {
        let mut wire = Wire::http1(&stack).await;
        let head = format!("GET {path} HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket");
        wire.request(&head, b"").await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{path}: {head}");
        assert!(wire.until("}\n").await.contains("an upgrade to \\\"websocket\\\" is not possible here"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_nobody_asked_for_reaches_nobody() {
    let ca = Ca::new("backends");
    let cut = Arc::new(Notify::new());
    let told = Arc::clone(&cut);
    let (addr, _) = listen(&ca, &Speaks::http1(), move |mut stream, _| {
        let told = Arc::clone(&told);
        Box::pin(async move {
            let mut read = BytesMut::new();
            while matches!(stream.read_buf(&mut read).await, Ok(read) if read > 0) {
                let head = String::from_utf8_lossy(&read.split()).into_owned();
                let own = !head.contains("/echoes/one");
                let answer = match own {
                    true if head.contains(&format!("{ECHO} ")) => {
                        recorder::ok(crate::support::extension::RESOURCES)
                    }
                    true => recorder::ok("{}"),
                    false => b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nEVIL".to_vec(),
                };
                stream.write_all(&answer).await.unwrap();
                stream.flush().await.unwrap();
                if !own {
                    while matches!(stream.read_buf(&mut read).await, Ok(read) if read > 0) {}
                    return told.notify_one();
                }
            }
        })
    })
    .await;
    let stack = stack(addr, &ca).await;
    let mut wire = Wire::http1(&stack).await;
    wire.request(&format!("POST {ECHO}/echoes/one HTTP/1.1\nContent-Length: 0"), b"").await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert!(!wire.until("}\n").await.contains("EVIL"));
    soon(cut.notified()).await;
}
