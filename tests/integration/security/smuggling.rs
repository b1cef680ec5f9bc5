//! Requests whose end two servers may see in two places: either one well-formed request reaches the backend, or none.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::{
    Ca, Frames, Outcome, Recorder, Stack, block,
    extension::{ECHO, Extension, Speaks, soon},
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, get},
    https::{Wire, stack},
    recorder::Recorded,
};

/// What must not be taken for a request: nobody has said who asks for it.
const INNER: &str =
    "GET /apis/echo.example.com/v1/echoes/inner HTTP/1.1\r\nHost: x\r\nX-Remote-User: root\r\n\r\n";

/// Both kinds of backends, each behind an aggregator.
struct Backends {
    http1: (Stack, Recorder),
    http2: (Stack, Extension),
}

impl Backends {
    async fn start() -> Self {
        let ca = Ca::new("backends");
        let recorder = Recorder::start(&ca).await;
        let extension = Extension::echo(&ca, Speaks::http2()).await;
        Self {
            http1: (stack(recorder.addr, &ca).await, recorder),
            http2: (stack(extension.addr, &ca).await, extension),
        }
    }

    fn stacks(&self) -> [&Stack; 2] {
        [&self.http1.0, &self.http2.0]
    }

    /// What has come: at most one request, its framing said once, and by us who asks. The number of requests.
    #[track_caller]
    fn check(&self, what: &str) -> usize {
        let seen = self.http2.1.seen();
        self.http2.1.forget();
        for seen in &seen {
            assert_eq!(seen.target, format!("{ECHO}/echoes/outer"), "{what}");
            assert_eq!(seen.values("x-remote-user"), ["bench"], "{what}");
            assert!(seen.values("content-length").len() <= 1, "{what}: {seen:?}");
            assert!(seen.values("transfer-encoding").is_empty(), "{what}: {seen:?}");
        }
        let recorded = self.http1.1.take();
        for recorded in &recorded {
            well_formed(what, recorded);
        }
        assert!(seen.len() <= 1 && recorded.len() <= 1, "{what}: {seen:?} {recorded:?}");
        seen.len() + recorded.len()
    }
}

#[track_caller]
fn well_formed(what: &str, recorded: &Recorded) {
    let [method, target, version] = recorded.head[0].split(' ').collect::<Vec<_>>()[..] else {
        panic!("{what}: {recorded:?}")
    };
    assert!(["GET", "POST"].contains(&method), "{what}: {recorded:?}");
    assert_eq!((target, version), (format!("{ECHO}/echoes/outer").as_str(), "HTTP/1.1"), "{what}");
    for line in &recorded.head[1..] {
        let name = line.split_once(": ").map_or("", |(name, _)| name);
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.%".contains(&b);
        assert!(!name.is_empty() && name.bytes().all(token), "{what}: {line:?}");
        assert!(!line.contains(['\r', '\n', '\0']), "{what}: {line:?}");
    }
    assert_eq!(recorded.values("x-remote-user"), ["bench"], "{what}: {recorded:?}");
    assert_eq!(recorded.values("host"), ["echo.wardle.svc"], "{what}: {recorded:?}");
    let framings = recorded.values("content-length").len() + recorded.values("transfer-encoding").len();
    assert!(framings <= 1, "{what}: {recorded:?}");
}

/// How a request begins that is well-formed up to here.
fn outer(method: &str) -> String {
    format!(
        "{method} {ECHO}/echoes/outer HTTP/1.1\r\nHost: kubridge\r\nAuthorization: Bearer bench-token\r\n"
    )
}

/// Writes bytes over HTTP/1.1, and reads so many good answers to them; then until the other side ends the connection, or
/// says nothing more: it waits for more bytes then.
async fn say(stack: &Stack, bytes: &[u8], answers: usize) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut wire = Wire::http1(stack).await;
    // It may have answered and gone before all is written.
    let _ = wire.stream.write_all(bytes).await;
    let _ = wire.stream.flush().await;
    let mut heard = String::new();
    for _ in 0..answers {
        heard += &wire.until("HTTP/1.1 200 OK\r\n").await;
    }
    let quiet = Duration::from_millis(150);
    while let Ok(Ok(read)) = timeout(quiet, wire.stream.read_buf(&mut wire.read)).await {
        if read == 0 {
            break;
        }
    }
    heard + &String::from_utf8_lossy(&wire.read)
}

/// Malformed: none arrives, and the answer, if there is one, is 400 or another refusal.
#[tokio::test(flavor = "multi_thread")]
async fn over_http1_what_is_malformed_does_not_arrive() {
    let backends = Backends::start().await;
    let post = outer("POST");
    let with = |headers: &str, rest: &str| format!("{post}{headers}\r\n\r\n{rest}");
    let requests = [
        ("two lengths", with("Content-Length: 5\r\nContent-Length: 6", "{\"a\"}x")),
        ("two lengths in one", with("Content-Length: 5, 6", "{\"a\"}x")),
        ("a length that is none", with("Content-Length: x", INNER)),
        ("a signed length", with("Content-Length: +5", "{\"a\"}")),
        ("a negative length", with("Content-Length: -1", INNER)),
        ("a hexadecimal length", with("Content-Length: 0x5", "{\"a\"}")),
        ("an endless length", with("Content-Length: 99999999999999999999999", "{}")),
        ("a length with a space in it", with("Content-Length: 5 0", "{}")),
        ("another coding", with("Transfer-Encoding: xchunked", INNER)),
        ("identity", with("Transfer-Encoding: identity", INNER)),
        ("chunked, then another coding", with("Transfer-Encoding: chunked, identity", "0\r\n\r\n")),
        (
            "another coding in a second line",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "0\r\n\r\n"),
        ),
        ("gzip before chunked", with("Transfer-Encoding: gzip, chunked", "0\r\n\r\n")),
        ("chunked twice", with("Transfer-Encoding: chunked, chunked", "0\r\n\r\n")),
        ("a quoted coding", with("Transfer-Encoding: \"chunked\"", "0\r\n\r\n")),
        ("a vertical tab in the coding", with("Transfer-Encoding: \u{b}chunked", "0\r\n\r\n")),
        ("a space before the colon", with("Content-Length : 5", "{\"a\"}")),
        ("a space before another colon", with("Transfer-Encoding : chunked", "0\r\n\r\n")),
        ("a folded line", with("X-Folded: a\r\n Content-Length: 5", "{\"a\"}")),
        ("a folded line by a tab", with("Transfer-Encoding:\r\n\tchunked", "0\r\n\r\n")),
        ("a line that begins with a space", format!("POST {ECHO}/echoes/outer HTTP/1.1\r\n Host: x\r\n\r\n")),
        ("a bare CR in a value", with("X-Bare: a\rX-Remote-User: root", "")),
        ("a NUL in a value", with("X-Nul: a\0b", "")),
        ("a NUL in a name", with("X-Nu\0l: ab", "")),
        ("a line without a colon", with("Content-Length", "")),
        ("an empty name", with(": x", "")),
        ("two hosts", with("Host: evil.example.com", "")),
        ("no host", post.replace("Host: kubridge\r\n", "") + "\r\n"),
        (
            "a coding in HTTP/1.0",
            with("Transfer-Encoding: chunked", "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
        ),
        ("HTTP/2.0 in words", post.replace("HTTP/1.1", "HTTP/2.0") + "\r\n"),
        ("HTTP/1.2", post.replace("HTTP/1.1", "HTTP/1.2") + "\r\n"),
        ("HTTP/0.9", format!("GET {ECHO}/echoes/outer\r\n\r\n")),
        ("spaces in the path", post.replace("/outer", "/outer /x") + "\r\n"),
        ("a CR in the path", post.replace("/outer", "/outer\r/x") + "\r\n"),
        ("a path without a slash", post.replace(&format!("{ECHO}/"), &format!("{}/", &ECHO[1..])) + "\r\n"),
        ("a method with a colon", post.replace("POST", "PO:ST") + "\r\n"),
        ("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ];
    for (what, request) in &requests {
        for stack in backends.stacks() {
            let heard = say(stack, request.as_bytes(), 0).await;
            assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 4"), "{what}: {heard}");
            assert!(heard.matches("HTTP/1.1 ").count() <= 1, "{what}: {heard}");
        }
        assert_eq!(backends.check(what), 0, "{what}");
    }
}

/// Strange, and known what it means: one request arrives in each case, newly framed.
#[tokio::test(flavor = "multi_thread")]
async fn over_http1_what_is_strange_arrives_as_one_request() {
    let backends = Backends::start().await;
    let with = |method: &str, headers: &str, rest: &str| format!("{}{headers}\r\n\r\n{rest}", outer(method));
    let chunk = format!("{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len());
    let length = INNER.len();
    let requests = [
        // The chunks count (RFC 9112, 6.3); what follows them is nothing, for the connection ends.
        (
            "both framings",
            with("POST", "Content-Length: 6\r\nTransfer-Encoding: chunked", &format!("0\r\n\r\n{INNER}")),
        ),
        (
            "both, the other way round",
            with("POST", "Transfer-Encoding: chunked\r\nContent-Length: 6", &format!("0\r\n\r\n{INNER}")),
        ),
        ("the inner one in a chunk", with("POST", "Content-Length: 0\r\nTransfer-Encoding: chunked", &chunk)),
        ("the same length twice", with("POST", "Content-Length: 2\r\nContent-Length: 2", "{}")),
        ("the inner one as a body", with("POST", &format!("Content-Length: {length}"), INNER)),
        ("the body of a GET", with("GET", &format!("Content-Length: {length}"), INNER)),
        ("the chunks of a GET", with("GET", "Transfer-Encoding: chunked", &chunk)),
        ("the coding in capitals", with("POST", "TRANSFER-ENCODING: CHUNKED", &chunk)),
        ("chunk extensions", with("POST", "Transfer-Encoding: chunked", "2;a=\"b\"\r\n{}\r\n0;x\r\n\r\n")),
        (
            "trailers that frame",
            with(
                "POST",
                "Transfer-Encoding: chunked",
                "2\r\n{}\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: x\r\n\r\n",
            ),
        ),
        ("lines that end with LF alone", with("POST", "Content-Length: 2", "{}").replace("\r\n", "\n")),
        (
            "headers that differ in a dash",
            with("POST", "Content_Length: 9\r\nTransfer_Encoding: chunked\r\nContent-Length: 2", "{}"),
        ),
        (
            "Connection names the length",
            with("POST", "Content-Length: 2\r\nConnection: close, Content-Length", "{}"),
        ),
        ("an empty line first", format!("\r\n{}", with("POST", "Content-Length: 2", "{}"))),
        ("an expectation", with("POST", "Expect: 100-continue\r\nContent-Length: 2", "{}")),
        ("a request behind it that nobody has signed", with("GET", "Connection: keep-alive", INNER)),
    ];
    for (what, request) in &requests {
        for stack in backends.stacks() {
            let heard = say(stack, request.as_bytes(), 1).await;
            let answers = heard.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
            assert!(answers.starts_with("HTTP/1.1 200 "), "{what}: {heard}");
            // Whoever is behind it is asked who they are.
            assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 1, "{what}: {heard}");
        }
        assert_eq!(backends.check(what), 2, "{what}");
    }
}

/// A body that goes wrong on its way: what arrives has no end that is none.
#[tokio::test(flavor = "multi_thread")]
async fn over_http1_a_broken_body_is_no_whole_request() {
    let backends = Backends::start().await;
    let with = |headers: &str, rest: &str| format!("{}{headers}\r\n\r\n{rest}", outer("POST"));
    let requests = [
        ("a chunk size that is none", with("Transfer-Encoding: chunked", "x\r\n\r\n")),
        ("a signed chunk size", with("Transfer-Encoding: chunked", "+2\r\n{}\r\n0\r\n\r\n")),
        ("a chunk size with a prefix", with("Transfer-Encoding: chunked", "0x2\r\n{}\r\n0\r\n\r\n")),
        ("an endless chunk size", with("Transfer-Encoding: chunked", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n")),
        ("a chunk that is longer than it says", with("Transfer-Encoding: chunked", "2\r\n{}x\r\n0\r\n\r\n")),
        ("a chunk size that ends with LF alone", with("Transfer-Encoding: chunked", "2\n{}\r\n0\r\n\r\n")),
        ("a chunk that ends with LF alone", with("Transfer-Encoding: chunked", "2\r\n{}\n0\r\n\r\n")),
        ("an extension with LF alone", with("Transfer-Encoding: chunked", "2;x\n{}\r\n0\r\n\r\n")),
    ];
    for (what, request) in &requests {
        for stack in backends.stacks() {
            let heard = say(stack, request.as_bytes(), 0).await;
            assert!(!heard.starts_with("HTTP/1.1 2"), "{what}: {heard}");
        }
        let whole = backends.http1.1.take().into_iter().filter(|recorded| recorded.whole).count();
        assert_eq!(whole, 0, "{what}");
        backends.http2.1.forget();
    }
}

type Headers<'a> = Vec<(&'a str, &'a [u8])>;

/// A GET or POST of the outer path as `bench`, with some headers in place of the usual ones.
fn headers<'a>(method: &'a str, more: &[(&'a str, &'a [u8])]) -> Headers<'a> {
    let mut usual: Headers<'a> = get("/apis/echo.example.com/v1/echoes/outer");
    usual[0].1 = method.as_bytes();
    let replaced = |name: &str| name.starts_with(':') && more.iter().any(|(other, _)| *other == name);
    let (pseudo, rest): (Vec<_>, Vec<_>) = more.iter().copied().partition(|(name, _)| name.starts_with(':'));
    let (usual_pseudo, usual): (Vec<_>, Vec<_>) =
        usual.into_iter().filter(|(name, _)| !replaced(name)).partition(|(name, _)| name.starts_with(':'));
    [usual_pseudo, pseudo, usual, rest].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_what_is_malformed_does_not_arrive() {
    let backends = Backends::start().await;
    let inner = INNER.as_bytes();
    let split = format!("x\r\n\r\n{INNER}");
    let path = format!("{ECHO}/echoes/outer HTTP/1.1\r\nX-Remote-User: root\r\nX: ");
    let requests: Vec<(&str, Headers<'_>)> = vec![
        ("Transfer-Encoding", headers("POST", &[("transfer-encoding", b"chunked")])),
        ("Connection", headers("POST", &[("connection", b"x-remote-user")])),
        ("Keep-Alive", headers("POST", &[("keep-alive", b"timeout=5")])),
        ("Proxy-Connection", headers("POST", &[("proxy-connection", b"keep-alive")])),
        ("Upgrade", headers("POST", &[("upgrade", b"websocket")])),
        ("TE", headers("POST", &[("te", b"gzip")])),
        ("a length that is none", headers("POST", &[("content-length", b"x")])),
        ("too short a length", headers("POST", &[("content-length", b"1")])),
        ("too long a length", headers("POST", &[("content-length", b"999")])),
        ("CRLF in a value", headers("POST", &[("x-split", split.as_bytes())])),
        ("LF in a value", headers("POST", &[("x-split", b"a\nx-remote-user: root")])),
        ("CR in a value", headers("POST", &[("x-split", b"a\rb")])),
        ("NUL in a value", headers("POST", &[("x-split", b"a\0b")])),
        ("CRLF in a name", headers("POST", &[("x\r\nx-remote-user", b"root")])),
        ("a colon in a name", headers("POST", &[("x-remote-user: root\r\nx", b"x")])),
        ("a space in a name", headers("POST", &[("x remote", b"x")])),
        ("an empty name", headers("POST", &[("", b"x")])),
        ("capitals in a name", headers("POST", &[("X-Remote-User", b"root")])),
        ("CRLF in :path", headers("POST", &[(":path", path.as_bytes())])),
        (
            "a space in :path",
            headers("POST", &[(":path", b"/apis/echo.example.com/v1/echoes/outer HTTP/1.1")]),
        ),
        ("an empty :path", headers("POST", &[(":path", b"")])),
        ("a :path without a slash", headers("POST", &[(":path", b"apis/echo.example.com/v1/echoes/outer")])),
        ("a URL as :path", headers("POST", &[(":path", b"https://x/apis/echo.example.com/v1/echoes/outer")])),
        ("CRLF in :method", headers("POST / HTTP/1.1\r\nX-Remote-User: root\r\n\r\nGET", &[])),
        ("a space in :method", headers("GET /x", &[])),
        ("CRLF in :authority", headers("POST", &[(":authority", b"x\r\nx-remote-user: root")])),
        ("a path in :authority", headers("POST", &[(":authority", b"x/apis/secret")])),
        ("CRLF in :scheme", headers("POST", &[(":scheme", b"https\r\nx-remote-user: root")])),
        ("a pseudo-header that is none", headers("POST", &[(":x-remote-user", b"root")])),
        ("a status", headers("POST", &[(":status", b"200")])),
        ("CONNECT to a protocol", headers("CONNECT", &[(":protocol", b"websocket")])),
        ("a second :path", [headers("POST", &[]), vec![(":path", b"/")]].concat()),
        ("a pseudo-header behind others", [headers("POST", &[]), vec![(":authority", b"x")]].concat()),
        ("no :method", headers("POST", &[]).into_iter().filter(|(name, _)| *name != ":method").collect()),
        ("no :path", headers("POST", &[]).into_iter().filter(|(name, _)| *name != ":path").collect()),
        ("no :scheme", headers("POST", &[]).into_iter().filter(|(name, _)| *name != ":scheme").collect()),
    ];
    for (what, headers) in &requests {
        for stack in backends.stacks() {
            let outcome = Frames::connect(stack).await.request(headers, Some(inner)).await;
            assert!(!outcome.is_served(), "{what}: {outcome:?}");
        }
        // A body of another length than the one that was announced has begun to arrive, and has no end.
        if what.contains("length") {
            let whole = backends.http1.1.take().into_iter().filter(|recorded| recorded.whole).count();
            assert_eq!(whole, 0, "{what}");
            backends.http2.1.forget();
        } else {
            assert_eq!(backends.check(what), 0, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_what_is_strange_arrives_as_one_request() {
    let backends = Backends::start().await;
    let inner = INNER.as_bytes();
    let length = INNER.len().to_string();
    let requests: Vec<(&str, Headers<'_>)> = vec![
        ("the inner one as a body", headers("POST", &[])),
        ("the same with its length", headers("POST", &[("content-length", length.as_bytes())])),
        ("the body of a GET", headers("GET", &[])),
        ("another host", headers("POST", &[("host", b"evil.example.com")])),
        ("two other hosts", headers("POST", &[("host", b"evil.example.com"), ("host", b"x")])),
        ("another authority", headers("POST", &[(":authority", b"evil.example.com")])),
        ("a scheme that is not ours", headers("POST", &[(":scheme", b"http")])),
        ("trailers", headers("POST", &[("te", b"trailers"), ("trailer", b"x-remote-user")])),
        ("an expectation", headers("POST", &[("expect", b"100-continue")])),
    ];
    for (what, headers) in &requests {
        let mut served = 0;
        for stack in backends.stacks() {
            let outcome = Frames::connect(stack).await.request(headers, Some(inner)).await;
            served += usize::from(outcome.is_served());
            let refused = matches!(&outcome, Outcome::Answered(body) if body.contains("\"code\":400"));
            assert!(outcome.is_served() || refused, "{what}: {outcome:?}");
        }
        assert_eq!(backends.check(what), served, "{what}");
        assert_eq!(served, if *what == "two other hosts" { 0 } else { 2 }, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_the_backend_is_not_used_again_after_half_a_request() {
    let backends = Backends::start().await;
    for stack in backends.stacks() {
        // The body stops in the middle: the client resets the stream, or goes away.
        let mut frames = Frames::connect(stack).await;
        let stream = frames.stream();
        let head = block(&headers("POST", &[("content-length", b"100")]));
        frames.write(HEADERS, END_HEADERS, stream, &head).await;
        frames.write(DATA, 0, stream, b"half").await;
        frames.write(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
        let mut wire = Wire::http1(stack).await;
        wire.send(format!("{}Content-Length: 100\r\n\r\nhalf", outer("POST")).as_bytes()).await;
        drop(wire);
        // Whoever comes next is not its rest.
        for _ in 0..5 {
            let outcome = Frames::connect(stack).await.request(&headers("GET", &[]), None).await;
            assert!(outcome.is_served(), "{outcome:?}");
        }
    }
    let recorded = backends.http1.1.take();
    for recorded in &recorded {
        well_formed("half a request", recorded);
        assert!(recorded.body.is_empty() || !recorded.whole, "{recorded:?}");
    }
    assert_eq!(recorded.iter().filter(|recorded| recorded.whole).count(), 5, "{recorded:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_in_one_piece_are_two() {
    let backends = Backends::start().await;
    for stack in backends.stacks() {
        let mut frames = Frames::connect(stack).await;
        let streams = [frames.stream(), frames.stream()];
        for stream in streams {
            frames.write(HEADERS, END_HEADERS | END_STREAM, stream, &block(&headers("GET", &[]))).await;
        }
        // The control: what these tests count is counted.
        let mut ends = 0;
        soon(async {
            while ends < 2 {
                let frame = frames.read().await.unwrap();
                ends += usize::from(frame.kind <= HEADERS && frame.flags & END_STREAM != 0);
            }
        })
        .await;
        let twice = format!("{}\r\n", outer("GET")).repeat(2);
        assert_eq!(say(stack, twice.as_bytes(), 2).await.matches("HTTP/1.1 200 ").count(), 2);
    }
    assert_eq!(backends.http1.1.take().len(), 4);
    assert_eq!(backends.http2.1.seen().len(), 4);
}
