//! Authorization is decided on the path that the backend gets: what can be read in two ways is either passed on just as
//! it was judged, or not at all.

use crate::support::{
    Ca, Frames, Options, Outcome, Stack,
    extension::{Extension, Speaks},
    frames,
    https::{Wire, api_service, register},
};

/// What `bench` may not, in the words of the refusal; and whether the path reaches the backend when they may.
const PATHS: &[(&str, &str, bool)] = &[
    ("/apis/echo.example.com/v1/echoes/one", ECHOES, true),
    ("/apis/echo.example.com/v1/echoes/one/", ECHOES, true),
    ("//apis/echo.example.com/v1/echoes/one", ECHOES, true),
    // Escapes are read once, before the path is split.
    ("/apis/echo%2Eexample%2ecom/v1/echoes/one", ECHOES, true),
    ("/%61pis/echo.example.com/%76%31/ech%6Fes/one", ECHOES, true),
    ("/apis/echo.example.com%2Fv1%2Fechoes/one", ECHOES, true),
    ("/apis%2fecho.example.com/v1/echoes/one", ECHOES, true),
    ("/apis/echo.example.com/v1/echoes/one%3Fwatch=1", ECHOES, true),
    ("/apis/echo.example.com/v1/echoes/a%2Fb", "cannot get resource \"echoes/b\"", true),
    ("/apis/echo.example.com/v1/echoes/a/b/..%20/c", "cannot get resource \"echoes/b\"", true),
    (
        "/apis/echo.example.com/v1/namespaces/n%2Fsecrets/echoes",
        "cannot get resource \"secrets\" in API group \"echo.example.com\" in the namespace \"n\"",
        true,
    ),
    // Another group, another version.
    ("/apis/echo.example.com./v1/echoes/one", "API group \"echo.example.com.\"", false),
    ("/apis/ECHO.example.com/v1/echoes/one", "API group \"ECHO.example.com\"", false),
    ("/apis/echo.example.com%00/v1/echoes/one", "cannot get resource", false),
    ("/apis/echo.example.com/v1./echoes/one", ECHOES, false),
    ("/apis/echo.example.com/v1;a=b/echoes/one", ECHOES, false),
    ("/apis/echo.example.com/V1/echoes/one", ECHOES, false),
    ("/apis/%20echo.example.com/v1/echoes/one", "cannot get resource", false),
    // Dot segments, empty ones, and what becomes one when it is decoded twice.
    ("/apis/echo.example.com/v1/..%2f..", "cannot get resource \"..", false),
    ("/apis/echo.example.com/v1/%2e%2e/v1/echoes/one", "cannot get resource \"..", false),
    ("/apis/echo.example.com/v1/namespaces/mine/../theirs/echoes", "in the namespace \"mine\"", false),
    (
        "/apis/echo.example.com/v1/namespaces/mine/echoes/..%2F..%2Ftheirs%2Fechoes",
        "namespace \"mine\"",
        false,
    ),
    ("/apis/echo.example.com/v1/echoes/one/proxy/../../two", "cannot get resource \"echoes/proxy\"", false),
    ("/apis/echo.example.com/v1/echoes/%252e%252e", ECHOES, false),
    ("/apis/echo.example.com/v1/./echoes/one", "cannot get resource \".", false),
    ("/apis/echo.example.com/v1//echoes/one", "cannot get resource", false),
    ("/apis/echo.example.com/v1/namespaces//mine/echoes", "cannot get resource \"mine\"", false),
    ("/apis/echo.example.com//v1/echoes/one", "cannot get resource", false),
    ("/apis//echo.example.com/v1/echoes/one", "cannot get resource", false),
    ("/apis/other/../echo.example.com/v1/echoes/one", "cannot get resource", false),
    ("/api/../apis/echo.example.com/v1/echoes/one", "cannot get resource", false),
    ("/version/../apis/echo.example.com/v1/echoes/one", "cannot get path", false),
    ("/livez/../apis/echo.example.com/v1/echoes/one", "cannot get path", false),
    ("/healthz/..%2fapis/echo.example.com/v1/echoes/one", "cannot get path", false),
    ("/apis/echo.example.com/v1/watch/../echoes/one", "cannot watch resource \"..", false),
];

const ECHOES: &str = "cannot get resource \"echoes\"";

/// Everybody may discover, and what is there is not this.
const DISCOVERY: [&str; 3] = [
    "/openapi/v3/../../apis/echo.example.com/v1/echoes/one",
    "/openapi/v2%2f..%2f..%2fapis/echo.example.com/v1/echoes/one",
    "/apis/echo.example.com/v1/..",
];

async fn before(ca: &Ca, group: &str, speaks: Speaks) -> (Stack, Extension) {
    let backend = Extension::echo(ca, speaks).await;
    let options = Options {
        backend_down: true,
        tokens: format!("bench-token,bench,uid-bench,\"{group}\"\n"),
        args: vec![format!("--service-resolution=wardle/echo={}", backend.addr)],
        ..Options::default()
    };
    let stack = Stack::with(options).await;
    register(&stack, &api_service(Some(&ca.pem()))).await;
    stack.until(|stack| stack.serves("/apis/echo.example.com/v1/echoes/ready")).await;
    (stack, backend)
}

/// The answers to a GET over HTTP/1.1 and over HTTP/2.
async fn get(stack: &Stack, path: &str) -> [String; 2] {
    let mut wire = Wire::http1(stack).await;
    wire.request(&format!("GET {path} HTTP/1.1\nConnection: close"), b"").await;
    let first = wire.rest().await;
    match Frames::connect(stack).await.request(&frames::get(path), None).await {
        Outcome::Answered(second) => [first, second],
        other => panic!("{path}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_is_refused_however_the_path_is_written() {
    let ca = Ca::new("backends");
    let (stack, backend) = before(&ca, "devs", Speaks::http1()).await;
    for (path, refusal, _) in PATHS {
        for answer in get(&stack, path).await {
            let refusal = refusal.replace('"', "\\\"");
            assert!(answer.contains("\"code\":403") && answer.contains(&refusal), "{path}: {answer}");
        }
    }
    for path in DISCOVERY {
        for answer in get(&stack, path).await {
            assert!(answer.contains("\"code\":404") || answer.contains("\"code\":403"), "{path}: {answer}");
        }
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_judged_is_what_arrives() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http1(), Speaks::http2()] {
        let (stack, backend) = before(&ca, "system:masters", speaks).await;
        for (path, _, arrives) in PATHS.iter().copied().chain(DISCOVERY.map(|path| (path, "", false))) {
            let answers = get(&stack, path).await;
            let seen = backend.seen();
            backend.forget();
            let targets: Vec<&str> = seen.iter().map(|seen| seen.target.as_str()).collect();
            assert_eq!(targets, if arrives { vec![path; 2] } else { vec![] }, "{answers:?}");
            let refused = |answer: &String| answer.contains("\"code\":40");
            assert_eq!(answers.iter().any(refused), !arrives, "{path}: {answers:?}");
            assert!(seen.iter().all(|seen| seen.values("x-forwarded-uri") == [path]), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_host_and_no_header_leads_elsewhere() {
    let ca = Ca::new("backends");
    let (stack, backend) = before(&ca, "system:masters", Speaks::http1()).await;
    let path = "/apis/echo.example.com/v1/echoes/one";
    for (target, more) in [
        (format!("https://evil.example.com{path}"), ""),
        (format!("http://echo.example.com:1{path}"), ""),
        (format!("{path}#/../secret"), ""),
        (path.to_owned(), "X-Original-Url: /apis/echo.example.com/v1/echoes/secret"),
        (path.to_owned(), "X-Rewrite-Url: /apis/echo.example.com/v1/echoes/secret"),
        (path.to_owned(), "X-HTTP-Method-Override: DELETE"),
        (path.to_owned(), "X-HTTP-Method: DELETE"),
        (path.to_owned(), "X-Method-Override: DELETE"),
        (path.to_owned(), "X-Forwarded-Uri: /apis/echo.example.com/v1/echoes/secret"),
        (path.to_owned(), "X-Forwarded-Host: evil.example.com"),
    ] {
        let mut wire = Wire::http1(&stack).await;
        wire.request(format!("GET {target} HTTP/1.1\nConnection: close\n{more}").trim_end(), b"").await;
        let answer = wire.rest().await;
        let seen = backend.seen();
        backend.forget();
        if answer.starts_with("HTTP/1.1 400 ") {
            assert!(seen.is_empty() && more.is_empty(), "{target} {more}: {seen:?}");
            continue;
        }
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target} {more}: {answer}");
        let [seen] = &seen[..] else { panic!("{target} {more}: {seen:?}") };
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str(), seen.host.as_str()),
            ("GET", path, "echo.wardle.svc")
        );
        assert_eq!(seen.values("x-forwarded-uri"), [path]);
        let lines = seen.lines().join("\n");
        assert!(!lines.contains("secret") && !lines.contains("DELETE"), "{lines}");
        assert_eq!(seen.values("x-forwarded-host").len(), 1, "{lines}");
    }
}
