//! Paths, headers and who asks: byte for byte what the backend gets.

use http::{Method, Response, Version};

use crate::support::{
    Ca,
    extension::{ECHO, Extension, Speaks, empty, full, json},
    https::{Wire, bench, stack},
};

/// Headers that kube-apiserver 1.36 sent to a recording backend for this request (x-forwarded-host is ours: it names
/// what the client called us, not the backend; accept-encoding is the client's, which sent none).
const MEASURED: [&str; 13] = [
    "accept: */*",
    "audit-id: bcd0164f-b466-4346-8014-08fab01b18b6",
    "cookie: a=b",
    "te: trailers",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "user-agent: my-client/1.0",
    "x-custom: kept",
    "x-forwarded-for: 1.2.3.4, 127.0.0.1",
    "x-forwarded-host: kubridge",
    "x-forwarded-proto: https",
    "x-forwarded-uri: /apis/echo.example.com/v1/echoes/two",
    "x-remote-group: devs",
    "x-remote-group: system:authenticated",
];

const SPOOFED: &str = "GET /apis/echo.example.com/v1/echoes/two HTTP/1.1
User-Agent: my-client/1.0
Accept: */*
Audit-ID: bcd0164f-b466-4346-8014-08fab01b18b6
X-Remote-User: root
X-Remote-Group: system:masters
X_Remote_Group: system:masters
X-Remote-Uid: 0
X-Remote-Extra-Foo: bar
X-Forwarded-For: 1.2.3.4
X-Forwarded-Host: evil
X-Forwarded-Proto: http
Cookie: a=b
Connection: X-Drop, X-Remote-User, X-Remote-Group, Audit-Id, X-Forwarded-For
X-Drop: yes
Te: trailers
X-Custom: kept
Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_gets_the_measured_headers_and_nobody_else_says_who_asks() {
    let ca = Ca::new("backends");
    for (speaks, version) in [(Speaks::http2(), Version::HTTP_2), (Speaks::http1(), Version::HTTP_11)] {
        let backend = Extension::echo(&ca, speaks).await;
        let stack = stack(backend.addr, &ca).await;
        let mut wire = Wire::http1(&stack).await;
        wire.request(SPOOFED, b"").await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("audit-id: bcd0164f-b466-4346-8014-08fab01b18b6\r\n"), "{head}");
        let seen = backend.take();
        let mut want: Vec<String> = MEASURED.iter().map(ToString::to_string).collect();
        want.extend(["x-remote-uid: uid-bench".into(), "x-remote-user: bench".into()]);
        if version == Version::HTTP_11 {
            want.push("host: echo.wardle.svc".into());
        }
        // What Connection names is gone before ours is said.
        want.retain(|line| !line.starts_with("x-forwarded-for"));
        want.push("x-forwarded-for: 127.0.0.1".into());
        want.sort();
        assert_eq!((seen.version, seen.lines()), (version, want));
        assert_eq!((seen.host.as_str(), seen.sni.as_deref()), ("echo.wardle.svc", Some("echo.wardle.svc")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_proxies_grows_by_the_client() {
    let ca = Ca::new("backends");
    let backend = Extension::echo(&ca, Speaks::http2()).await;
    let stack = stack(backend.addr, &ca).await;
    let client = bench(&stack).with_header("x-forwarded-for", "1.2.3.4");
    client.get(&format!("{ECHO}/echoes/one")).await.expect(200);
    assert_eq!(backend.take().values("x-forwarded-for"), ["1.2.3.4, 127.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_queries_arrive_as_they_were_sent() {
    let ca = Ca::new("backends");
    let backend = Extension::echo(&ca, Speaks::http1()).await;
    let stack = stack(backend.addr, &ca).await;
    let mut wire = Wire::http1(&stack).await;
    for (method, rest) in [
        ("GET", "/echoes/path//double/./dots/%2Fenc%20sp/?x=%zz&b;c=1&a=%2Fx&a=2&b="),
        ("GET", "/echoes/one/"),
        ("GET", "/echoes/a%2Fb"),
        ("GET", "/echoes/a%0d%0aX-Remote-User:%20root?q=%0D%0AHost:evil"),
        ("GET", "/echoes?"),
        ("OPTIONS", "/echoes/one"),
        ("PUT", "/watch"),
        ("GET", "/watch/echoes"),
        ("DELETE", "/namespaces/n/echoes/x/sub/and/more"),
    ] {
        let target = format!("{ECHO}{rest}");
        wire.request(&format!("{method} {target} HTTP/1.1"), b"").await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{method} {target}: {head}");
        wire.until("}").await;
        let seen = backend.take();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, target.as_str()));
        assert_eq!(seen.values("x-remote-user"), ["bench"]);
        assert_eq!(seen.host, "echo.wardle.svc");
    }
    for method in ["TRACE", "CONNECT"] {
        let mut wire = Wire::http1(&stack).await;
        wire.request(&format!("{method} {ECHO}/echoes/one HTTP/1.1"), b"").await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 4"), "{head}");
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    // The group and version itself is answered from memory.
    let _ = stack.client.get(ECHO).await;
    assert!(backend.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backends_answer_passes_and_nothing_comes_twice() {
    let ca = Ca::new("backends");
    let answer = |request: http::Request<hyper::body::Incoming>| -> Response<_> {
        let mut response = json(r#"{"kind":"Echo"}"#);
        if request.uri().path().ends_with("/none") {
            *response.body_mut() = empty();
            *response.status_mut() = http::StatusCode::NO_CONTENT;
            response.headers_mut().remove("content-type");
            return response;
        }
        for (name, value) in [
            ("audit-id", "backend-audit-id"),
            ("cache-control", "max-age=60"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("warning", "299 - \"from backend\""),
            ("warning", "299 - \"and again\""),
            ("set-cookie", "a=b"),
            ("x-backend", "yes"),
            ("server", "echo"),
            ("retry-after", "7"),
        ] {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
        *response.body_mut() = full(r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","message":"theirs","code":429}"#.into());
        response
    };
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let backend = Extension::start(&ca, speaks, move |request| {
            let response = answer(request);
            Box::pin(async { response })
        })
        .await;
        let stack = stack(backend.addr, &ca).await;
        let answer = bench(&stack).get(&format!("{ECHO}/echoes/hdrs")).await.expect(429);
        assert_eq!(answer.json()["message"], "theirs");
        assert_eq!(answer.warnings(), ["299 - \"from backend\"", "299 - \"and again\""]);
        for (name, value) in [
            ("cache-control", "max-age=60"),
            ("set-cookie", "a=b"),
            ("x-backend", "yes"),
            ("server", "echo"),
            ("retry-after", "7"),
            ("access-control-allow-origin", ""),
            ("access-control-allow-credentials", ""),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert_ne!(answer.header("audit-id"), "backend-audit-id");
        assert_eq!(answer.headers.get_all("date").iter().count(), 1);
        let none = bench(&stack).get(&format!("{ECHO}/echoes/none")).await.expect(204);
        assert_eq!(none.header("cache-control"), "no-cache, private");
        // HEAD says the length of what it does not send.
        let path = format!("{ECHO}/echoes/hdrs");
        let head = bench(&stack).request(Method::HEAD, &path).send().await.unwrap();
        assert_eq!(head.status(), 429);
        assert_eq!(head.headers()["content-length"].to_str().unwrap(), answer.text().len().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed_and_not_passed_on() {
    let ca = Ca::new("backends");
    let backend = Extension::start(&ca, Speaks::http2(), |request| {
        let code = if request.uri().path().ends_with("/unchanged") { 304 } else { 302 };
        let mut response = Response::builder().status(code).body(empty()).unwrap();
        if code == 302 {
            response.headers_mut().insert("location", "https://evil.example.com/".parse().unwrap());
        }
        Box::pin(async { response })
    })
    .await;
    let stack = stack(backend.addr, &ca).await;
    let answer = bench(&stack).get(&format!("{ECHO}/echoes/redirect")).await.expect(502);
    let message = "the backend attempted to redirect this request, which is not permitted";
    assert_eq!(answer.json()["message"], message);
    assert_eq!(answer.header("location"), "");
    bench(&stack).get(&format!("{ECHO}/echoes/unchanged")).await.expect(304);
}
