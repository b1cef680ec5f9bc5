//! Answers of hostile backends: no client takes a part of one for the answer to another request, and nobody is led away.

use http::Response;

use crate::support::{
    Ca,
    extension::{ECHO, Extension, Speaks, empty},
    https::{Wire, bench, stack},
    recorder::{self, Recorder},
};

/// What would be taken for the answer to the next request.
const INNER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";

fn hostile(line: &str) -> Vec<u8> {
    let with = |head: &str, rest: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{rest}").into_bytes();
    match line.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default() {
        "both-framings" => {
            with("Content-Length: 5\r\nTransfer-Encoding: chunked", &format!("0\r\n\r\n{INNER}"))
        }
        "other-way-round" => {
            with("Transfer-Encoding: chunked\r\nContent-Length: 60", &format!("0\r\n\r\n{INNER}"))
        }
        "two-lengths" => with("Content-Length: 2\r\nContent-Length: 60", &format!("{{}}{INNER}")),
        "no-length" => with("Content-Length: x", INNER),
        "too-short" => with("Content-Length: 2", &format!("{{}}{INNER}")),
        "unknown-coding" => with("Transfer-Encoding: x", INNER),
        "folded" => with("X-Folded: a\r\n b\r\nContent-Length: 2", "{}"),
        "bare-cr" => with("X-Bare: a\rX: b\r\nContent-Length: 2", "{}"),
        "nul" => with("X-Nul: a\0b\r\nContent-Length: 2", "{}"),
        "no-content" => format!("HTTP/1.1 204 No Content\r\nContent-Length: 60\r\n\r\n{INNER}").into_bytes(),
        "not-modified" => {
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 60\r\n\r\n{INNER}").into_bytes()
        }
        "head" => with("Content-Length: 60", INNER),
        _ => recorder::ok(r#"{"kind":"Echo"}"#),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_ends_where_it_ends() {
    let ca = Ca::new("backends");
    let backend = Recorder::answering(&ca, hostile).await;
    let stack = stack(backend.addr, &ca).await;
    for (method, path) in [
        ("GET", "both-framings"),
        ("GET", "other-way-round"),
        ("GET", "two-lengths"),
        ("GET", "no-length"),
        ("GET", "too-short"),
        ("GET", "unknown-coding"),
        ("GET", "folded"),
        ("GET", "bare-cr"),
        ("GET", "nul"),
        ("GET", "no-content"),
        ("GET", "not-modified"),
        ("HEAD", "head"),
    ] {
        let mut wire = Wire::http1(&stack).await;
        // Two requests on one connection; whatever the first answer is, the second is the second's.
        wire.request(&format!("{method} {ECHO}/echoes/{path} HTTP/1.1"), b"").await;
        wire.request(&format!("GET {ECHO}/echoes/good HTTP/1.1\nConnection: close"), b"").await;
        let heard = wire.rest().await;
        assert!(heard.starts_with("HTTP/1.1 "), "{path}: {heard}");
        let answers: Vec<&str> = heard.split("HTTP/1.1 ").skip(1).collect();
        if answers.len() == 2 {
            assert!(
                answers[1].starts_with("200 ") && answers[1].ends_with("{\"kind\":\"Echo\"}"),
                "{path}: {heard}"
            );
            assert!(!answers[0].contains("EVIL"), "{path}: {heard}");
        }
        // What comes without a framing that is understood ends with the connection, on both sides.
        assert!(answers.len() == 2 || !heard.contains("\"kind\":\"Echo\""), "{path}: {heard}");
        for answer in answers {
            let head = answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
            let framings =
                head.matches("\r\ncontent-length:").count() + head.matches("\r\ntransfer-encoding:").count();
            assert!(framings <= 1, "{path}: {head}");
        }
        // Nor does anybody else get it.
        for _ in 0..3 {
            let answer = bench(&stack).get(&format!("{ECHO}/echoes/good")).await.expect(200);
            assert_eq!(answer.text(), "{\"kind\":\"Echo\"}", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_is_followed_or_passed_on() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let backend = Extension::start(&ca, speaks, |request| {
            let (code, to) = request.uri().path().rsplit('/').next().unwrap().split_once('-').unwrap();
            let mut response =
                Response::builder().status(code.parse::<u16>().unwrap()).body(empty()).unwrap();
            let to = match to {
                "away" => "https://evil.example.com/",
                "here" => "/apis/echo.example.com/v1/echoes/other",
                "relative" => "other",
                "blank" => "",
                _ => return Box::pin(async { response }),
            };
            response.headers_mut().insert("location", to.parse().unwrap());
            Box::pin(async { response })
        })
        .await;
        let stack = stack(backend.addr, &ca).await;
        let client = bench(&stack);
        for code in [300, 301, 302, 303, 307, 308] {
            for to in ["away", "here", "relative"] {
                let answer = client.get(&format!("{ECHO}/echoes/{code}-{to}")).await.expect(502);
                assert_eq!(answer.header("location"), "", "{code} {to}");
                assert!(answer.text().contains("redirect"), "{}", answer.text());
                assert!(!answer.text().contains("evil"), "{}", answer.text());
            }
            // Without a place it leads nowhere, and is an answer as any other.
            for to in ["blank", "none"] {
                let path = format!("{ECHO}/echoes/{code}-{to}");
                let answer = client.request(http::Method::GET, &path).send().await.unwrap();
                assert_eq!(answer.status().as_u16(), code, "{to}");
            }
        }
        // 201 says where the new object is.
        let answer = client.get(&format!("{ECHO}/echoes/201-here")).await.expect(201);
        assert_eq!(answer.header("location"), "/apis/echo.example.com/v1/echoes/other");
        assert_eq!(backend.seen().len(), 6 * 5 + 1, "each is asked for once");
        assert!(backend.seen().iter().all(|seen| !seen.target.ends_with("/other")));
    }
}
