//! Requests under way: how many one backend may have, how long they may take, and what becomes of them when the client
//! goes away.

use std::time::Duration;

use http::Method;
use tokio::sync::mpsc;

use crate::support::{
    Ca, Client, Options, Scripted, ScriptedCall, Stack,
    extension::{self, ECHO, Extension, Speaks, soon},
    https::{self, TOKENS, Wire, bench},
    machine,
};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
const APISERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// A Machine `m1` in `default`.
const M1: &[u8] = b"\x0a\x0d\x0a\x02m1\x1a\x07default";

async fn scripted(args: &[&str]) -> (Stack, Scripted) {
    let backend = Scripted::start().await;
    let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
    args.push("--authorization-mode=AlwaysAllow".into());
    let options = Options { backend: Some(backend.addr), tokens: TOKENS.into(), args, ..Options::default() };
    (Stack::with(options).await, backend)
}

/// The next call, which is a stream that has begun.
async fn opened(backend: &mut Scripted) -> ScriptedCall {
    let mut call = backend.next().await;
    call.open();
    call
}

fn spawn_get(client: &Client, path: &str) -> tokio::task::JoinHandle<u16> {
    let (client, path) = (client.clone(), path.to_owned());
    tokio::spawn(async move { client.get(&path).await.status.as_u16() })
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_of_a_grpc_backend_it_is_429() {
    let (stack, mut backend) = scripted(&["--max-backend-requests-inflight=2"]).await;
    let path = format!("{MACHINES}/m1");
    let gets = [spawn_get(&stack.client, &path), spawn_get(&stack.client, &path)];
    let [first, second]: [ScriptedCall; 2] = [backend.next().await, backend.next().await];
    let refused = stack.client.get(&path).await.expect(429);
    let status = refused.json();
    assert_eq!((status["reason"].as_str(), refused.header("retry-after")), (Some("TooManyRequests"), "1"));
    // It provably did not run, so that a write may be repeated, too.
    let refused = stack.client.post(MACHINES, &machine("m2")).await.expect(429);
    assert_eq!(refused.header("retry-after"), "1");
    backend.expect_nothing();
    // Watches are counted apart, and nobody else is held up.
    let watched = format!("{MACHINES}?watch=1");
    let (watch, call) = tokio::join!(stack.watch(&watched), opened(&mut backend));
    assert_eq!(call.method, "WatchMachines");
    stack.client.get(APISERVICES).await.expect(200);
    // One that ends makes room for another.
    first.answer(M1);
    let (answered, _, others) = futures::future::select_all(gets).await;
    assert_eq!(answered.unwrap(), 200);
    let (third, ()) = tokio::join!(stack.client.get(&path), async { backend.next().await.answer(M1) });
    third.expect(200);
    second.answer(M1);
    for get in others {
        assert_eq!(get.await.unwrap(), 200);
    }
    drop((watch, call));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_of_an_https_backend_it_is_429() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let (told, mut tells) = mpsc::channel(8);
        let backend = Extension::start(&ca, speaks, move |_| {
            let told = told.clone();
            Box::pin(async move {
                let (go, gone) = tokio::sync::oneshot::channel();
                told.send(go).await.unwrap();
                gone.await.unwrap();
                extension::json("{}")
            })
        })
        .await;
        let service = https::api_service(Some(&ca.pem()));
        let stack = https::stack_with(backend.addr, &service, &["--max-backend-requests-inflight=2"]).await;
        let path = format!("{ECHO}/echoes/one");
        let gets = [spawn_get(&stack.client, &path), spawn_get(&stack.client, &path)];
        let held = [soon(tells.recv()).await.unwrap(), soon(tells.recv()).await.unwrap()];
        let refused = stack.client.get(&path).await.expect(429);
        assert_eq!(refused.header("retry-after"), "1");
        let refused = stack.client.post(&format!("{ECHO}/echoes"), &machine("m2")).await.expect(429);
        assert_eq!(refused.header("retry-after"), "1", "it did not run");
        assert_eq!(backend.seen().len(), 2);
        for go in held {
            go.send(()).unwrap();
        }
        for get in gets {
            assert_eq!(get.await.unwrap(), 200);
        }
        let (last, ()) = tokio::join!(stack.client.get(&path), async {
            soon(tells.recv()).await.unwrap().send(()).unwrap();
        });
        last.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_a_request_may_take_is_told_to_the_backend() {
    let ms = Duration::from_millis;
    // The server's, the client's, and the shorter one.
    for (flag, query, limit) in
        [("60s", "?timeout=1s", ms(1000)), ("1s", "", ms(1000)), ("1100ms", "?timeout=1h", ms(1100))]
    {
        let (stack, mut backend) = scripted(&[&format!("--request-timeout={flag}")]).await;
        let told = |call: &ScriptedCall| {
            let timeout = call.timeout().expect("grpc-timeout");
            assert!(timeout <= limit && timeout > limit / 20, "{timeout:?} of {limit:?}");
        };
        let path = format!("{MACHINES}/m1{query}");
        let (answer, call) = tokio::join!(stack.client.get(&path), async {
            let call = backend.next().await;
            told(&call);
            call.cancelled().await
        });
        let status = answer.expect(504).json();
        assert_eq!((status["reason"].as_str(), call), (Some("Timeout"), h2::Reason::CANCEL));
        let (path, body) = (format!("{MACHINES}{query}"), machine("m2"));
        let (answer, call) = tokio::join!(stack.client.post(&path, &body), async {
            let call = backend.next().await;
            told(&call);
            call.cancelled().await
        });
        let answer = answer.expect(504);
        assert_eq!((answer.header("retry-after"), call), ("", h2::Reason::CANCEL));
        assert!(answer.text().contains("outcome is unknown"), "{}", answer.text());
        // A watch is not a request of that kind.
        let path = format!("{MACHINES}?watch=1");
        let (_watch, call) = tokio::join!(stack.watch(&path), opened(&mut backend));
        assert_eq!(call.timeout(), None);
        backend.expect_nothing();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_backend_that_takes_too_long_is_504() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let backend = Extension::start(&ca, speaks, |_| Box::pin(std::future::pending())).await;
        let stack = https::stack(backend.addr, &ca).await;
        let answer = bench(&stack).get(&format!("{ECHO}/echoes/one?timeout=1s")).await.expect(504);
        assert_eq!(answer.json()["reason"], "Timeout");
        let path = format!("{ECHO}/echoes?timeout=1s");
        let answer = bench(&stack).post(&path, &machine("m1")).await.expect(504);
        assert!(answer.text().contains("outcome is unknown"), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "");
        assert_eq!(backend.seen().len(), 2, "none is tried again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_calls_back() {
    let (stack, mut backend) = scripted(&[]).await;
    let requests = [
        ("GET", format!("{MACHINES}/m1"), "GetMachine"),
        ("GET", MACHINES.to_owned(), "ListMachines"),
        ("POST", MACHINES.to_owned(), "CreateMachine"),
        ("GET", format!("{MACHINES}?watch=1"), "WatchMachines"),
    ];
    for (method, path, called) in requests {
        // HTTP/2: the stream is reset, the connection goes on.
        let request = stack.client.request(Method::from_bytes(method.as_bytes()).unwrap(), &path);
        let request = if method == "POST" { request.json(&machine("m1")) } else { request };
        let asking = tokio::spawn(request.send());
        let call = backend.next().await;
        assert_eq!(call.method, called);
        asking.abort();
        assert_eq!(call.cancelled().await, h2::Reason::CANCEL, "{called}");
        // HTTP/1.1: the connection ends.
        let mut wire = Wire::http1(&stack).await;
        let body = machine("m1").to_string();
        let (more, body) = match method {
            "POST" => {
                (format!("\nContent-Type: application/json\nContent-Length: {}", body.len()), body.as_str())
            }
            _ => (String::new(), ""),
        };
        wire.request(&format!("{method} {path} HTTP/1.1{more}"), body.as_bytes()).await;
        let call = backend.next().await;
        assert_eq!(call.method, called);
        drop(wire);
        assert_eq!(call.cancelled().await, h2::Reason::CANCEL, "{called}");
    }
    // In the middle of a stream.
    let path = format!("{MACHINES}?watch=1");
    let (mut watch, mut call) = tokio::join!(stack.watch(&path), opened(&mut backend));
    // ADDED, the machine, version 1.
    let event = [b"\x08\x01\x12", &[M1.len() as u8][..], M1, b"\x22\x011"].concat();
    call.send(&event);
    assert_eq!(watch.next().await.unwrap()["object"]["metadata"]["name"], "m1");
    drop(watch);
    assert_eq!(call.cancelled().await, h2::Reason::CANCEL);
    backend.expect_nothing();
}
