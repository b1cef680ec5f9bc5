//! Who asks is said by the aggregator alone, however a client spells it.

use http::Version;
use http_body_util::BodyExt as _;
use kubridge_bridge::identity;
use tokio::sync::mpsc;

use crate::support::{
    Ca, Frames, Hostile, Options, Outcome, Stack, block,
    extension::{ECHO, Extension, Seen, Speaks, json, soon},
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, get},
    https::{TOKENS, Wire, bench, stack},
};

/// Who `bench` is, in headers.
const BENCH: [&str; 4] = [
    "x-remote-group: devs",
    "x-remote-group: system:authenticated",
    "x-remote-uid: uid-bench",
    "x-remote-user: bench",
];

/// Names under which clients have tried to say who they are.
const SPOOFS: [(&str, &str); 22] = [
    ("X-Remote-User", "root"),
    ("x-remote-user", "root"),
    ("X-REMOTE-USER", "root"),
    ("X_Remote_User", "root"),
    ("x_remote-user", "root"),
    ("X-Remote_User", "root"),
    ("X-Remote-User", "root"),
    ("X-Remote-Uid", "0"),
    ("X_REMOTE_UID", "0"),
    ("X-Remote-Group", "system:masters"),
    ("X-Remote-Group", "system:masters"),
    ("X_Remote_Group", "system:masters"),
    ("X-Remote-Groups", "system:masters"),
    ("X-Remote-Extra-Scopes", "all"),
    ("X-Remote-Extra-a%2fb", "all"),
    ("X_Remote_Extra_Scopes", "all"),
    ("X-Remote-", "root"),
    ("Impersonate_User", "root"),
    ("Impersonate_Group", "system:masters"),
    ("Kubridge-User-Bin", "CgRyb290Eg5zeXN0ZW06bWFzdGVycw"),
    ("Kubridge_User_Bin", "CgRyb290Eg5zeXN0ZW06bWFzdGVycw"),
    ("KUBRIDGE-USER-BIN", "CgRyb290Eg5zeXN0ZW06bWFzdGVycw"),
];

/// Everything in a request that says who asks, whatever the receiver takes for a dash.
fn said(seen: &Seen) -> Vec<String> {
    let lines = seen.lines().into_iter().filter(|line| {
        let line = line.replace('_', "-");
        ["x-remote", "impersonate", "kubridge-user", "authorization"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_identity_passes() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let backend = Extension::echo(&ca, speaks).await;
        let stack = stack(backend.addr, &ca).await;
        let mut wire = Wire::http1(&stack).await;
        let line = format!("GET {ECHO}/echoes/one HTTP/1.1");
        let all: Vec<String> = SPOOFS.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        for lines in all.iter().chain([&all.join("\n")]) {
            wire.request(&format!("{line}\n{lines}"), b"").await;
            let head = wire.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{lines}: {head}");
            wire.until("}").await;
            assert_eq!(said(&backend.take()), BENCH, "{lines}");
        }
        let mut frames = Frames::connect(&stack).await;
        let lower: Vec<(String, &str)> =
            SPOOFS.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
        let path = format!("{ECHO}/echoes/one");
        let mut headers = get(&path);
        headers.extend(lower.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        assert!(frames.request(&headers, None).await.is_served());
        assert_eq!(said(&backend.take()), BENCH);
        // HTTP/2 has no upper case.
        for (name, value) in SPOOFS.iter().filter(|(name, _)| name.bytes().any(|b| b.is_ascii_uppercase())) {
            let mut headers = get(&path);
            headers.push((name, value.as_bytes()));
            let outcome = Frames::connect(&stack).await.request(&headers, None).await;
            assert!(!outcome.is_served(), "{name}: {outcome:?}");
        }
        assert!(backend.seen().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_takes_nothing_of_ours_away() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let backend = Extension::echo(&ca, speaks).await;
        let stack = stack(backend.addr, &ca).await;
        let mut wire = Wire::http1(&stack).await;
        for named in [
            "X-Remote-User",
            "x-remote-user, x-remote-group, x-remote-uid",
            "X-Remote-Group\nConnection: keep-alive, X-Remote-User",
            "authorization",
            "Authorization, Host, :authority, Te",
            "content-length",
            "transfer-encoding",
            "audit-id, x-forwarded-for, x-forwarded-host, x-forwarded-proto, x-forwarded-uri",
            "keep-alive, ,, X-Remote-User ,\t x-remote-group",
        ] {
            let head = format!("POST {ECHO}/echoes HTTP/1.1\nContent-Length: 7\nConnection: {named}");
            wire.request(&head, b"{\"a\":1}").await;
            let head = wire.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{named}: {head}");
            assert!(wire.until("}").await.ends_with("\"read\":7}"), "the body arrives");
            let seen = backend.take();
            assert_eq!(said(&seen), BENCH, "{named}");
            assert_eq!(seen.host, "echo.wardle.svc");
            for name in
                ["audit-id", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-uri"]
            {
                assert_eq!(seen.values(name).len(), 1, "{named}: {name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_say_nothing_of_who_asks() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let (told, mut tells) = mpsc::channel(8);
        let backend = Extension::start(&ca, speaks, move |request| {
            let told = told.clone();
            Box::pin(async move {
                let whole = request.into_body().collect().await.unwrap();
                told.send(whole.trailers().cloned().unwrap_or_default()).await.unwrap();
                json("{}")
            })
        })
        .await;
        let stack = stack(backend.addr, &ca).await;
        let spoofs: Vec<(String, &str)> = SPOOFS
            .iter()
            .chain(&[
                ("Host", "evil"),
                ("Content-Length", "9"),
                ("Authorization", "Bearer x"),
                ("Cookie", "a=b"),
            ])
            .chain(&[("Audit-Id", "theirs"), ("X-Checksum", "kept")])
            .map(|(name, value)| (name.to_ascii_lowercase(), *value))
            .collect();
        let expect = |trailers: http::HeaderMap| {
            let names: Vec<&str> = trailers.keys().map(http::HeaderName::as_str).collect();
            // HTTP/1.1 sends only those that were announced.
            assert!(names.is_empty() || names == ["x-checksum"], "{names:?}");
        };
        let mut wire = Wire::http1(&stack).await;
        let lines: String = spoofs.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("POST {ECHO}/echoes HTTP/1.1\nTransfer-Encoding: chunked\nTrailer: X-Remote-User");
        wire.request(&head, format!("2\r\n{{}}\r\n0\r\n{lines}\r\n").as_bytes()).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        expect(soon(tells.recv()).await.unwrap());
        assert_eq!(said(&backend.take()), BENCH);

        let mut frames = Frames::connect(&stack).await;
        let path = format!("{ECHO}/echoes");
        let mut headers = get(&path);
        headers[0].1 = b"POST";
        let stream = frames.stream();
        frames.write(HEADERS, END_HEADERS, stream, &block(&headers)).await;
        frames.write(DATA, 0, stream, b"{}").await;
        let trailers: Vec<(&str, &[u8])> =
            spoofs.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let trailers = block(&trailers);
        frames.write(HEADERS, END_HEADERS | END_STREAM, stream, &trailers).await;
        assert_ne!(frames.outcome(stream).await, Outcome::Closed);
        if let Ok(trailers) = tells.try_recv() {
            expect(trailers);
            assert_eq!(said(&backend.take()), BENCH);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_backend_gets_our_metadata_and_nothing_of_the_clients() {
    let backend = Hostile::start().await;
    let options = Options {
        backend: Some(backend.addr()),
        tokens: TOKENS.into(),
        args: vec!["--authorization-mode=AlwaysAllow".into()],
        ..Options::default()
    };
    let stack = Stack::with(options).await;
    let path = "/apis/inventory.example.com/v1/namespaces/default/machines/m1";
    let hostile = [
        ("te", "trailers"),
        ("grpc-timeout", "1n"),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip"),
        ("grpc-status", "0"),
        ("grpc-message", "x"),
        ("grpc-previous-rpc-attempts", "9"),
        ("content-type", "application/grpc-web"),
        ("user-agent", "grpc-evil/1"),
        ("x-custom-bin", "AAAA"),
        ("x-custom", "1"),
        ("cookie", "a=b"),
        ("host", "evil.example.com"),
        ("x-forwarded-for", "1.2.3.4"),
        ("tracestate", "a=b"),
    ];
    let spoofs = SPOOFS.map(|(name, value)| (name.to_ascii_lowercase(), value));
    let mut frames = Frames::connect(&stack).await;
    let mut headers = get(path);
    headers.extend(hostile.iter().map(|(name, value)| (*name, value.as_bytes())));
    headers.extend(spoofs.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
    let outcome = frames.request(&headers, None).await;
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    check(&backend);
    let mut wire = Wire::http1(&stack).await;
    let lines: Vec<String> = hostile
        .iter()
        .filter(|(name, _)| *name != "host")
        .map(|(name, value)| format!("{name}: {value}"))
        .chain(SPOOFS.iter().map(|(name, value)| format!("{name}: {value}")))
        .collect();
    let named = "Connection: kubridge-user-bin, grpc-timeout, te, x-remote-user";
    wire.request(&format!("GET {path} HTTP/1.1\n{}\n{named}", lines.join("\n")), b"").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 "));
    check(&backend);
}

#[track_caller]
fn check(backend: &Hostile) {
    let asked = backend.asked();
    let mut names: Vec<&str> = asked.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let ours = [
        "audit-id",
        "content-type",
        "grpc-timeout",
        "kubridge-user-bin",
        "te",
        "user-agent",
        "x-remote-user",
    ];
    assert_eq!(names, ours);
    assert_eq!(asked.len(), ours.len(), "each once: {asked:?}");
    let user = identity::read(&asked).unwrap();
    assert_eq!((user.username.as_str(), asked["x-remote-user"].to_str().unwrap()), ("bench", "bench"));
    assert_eq!(user.groups, ["devs", "system:authenticated"]);
    assert_eq!(
        (&asked["te"], &asked["content-type"]),
        (&"trailers".parse().unwrap(), &"application/grpc".parse().unwrap())
    );
    assert!(asked["user-agent"].to_str().unwrap().starts_with("kubridge/"));
    assert_ne!(asked["grpc-timeout"], "1n");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_impersonates_anybody_through_us() {
    let ca = Ca::new("backends");
    let backend = Extension::echo(&ca, Speaks::http2()).await;
    let stack = stack(backend.addr, &ca).await;
    for (name, value) in [
        ("impersonate-user", "root"),
        ("impersonate-group", "system:masters"),
        ("impersonate-uid", "0"),
        ("impersonate-extra-scopes", "all"),
    ] {
        let path = format!("{ECHO}/echoes/one");
        let answer = bench(&stack).with_header(name, value).get(&path).await.expect(403);
        assert!(answer.text().contains("impersonation is not supported here"), "{}", answer.text());
    }
    assert!(backend.seen().is_empty());
    // By name in `Connection` it is neither hidden nor let through.
    let mut wire = Wire::http1(&stack).await;
    let head =
        format!("GET {ECHO}/echoes/one HTTP/1.1\nConnection: Impersonate-User\nImpersonate-User: root");
    wire.request(&head, b"").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 403 "));
    assert!(backend.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_no_header_helps() {
    let ca = Ca::new("backends");
    let backend = Extension::echo(&ca, Speaks::http2()).await;
    let stack = stack(backend.addr, &ca).await;
    let path = format!("{ECHO}/echoes/one");
    for (name, value) in SPOOFS {
        let mut wire = Wire::http1(&stack).await;
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\n\r\n").as_bytes()).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{name}: {head}");
    }
    assert!(backend.seen().is_empty());
    let answer = bench(&stack).get(&path).await.expect(200);
    assert_eq!(backend.take().version, Version::HTTP_2, "{}", answer.text());
}
