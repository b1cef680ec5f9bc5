//! Calls that a server answers, well or badly.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Response};
use kubridge_bridge::caller::{CallError, Caller as _, Code, Detail, FieldViolation, Ran, TransportKind};
use tokio::{sync::mpsc, time::Instant};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    super::Options,
    support::{
        Exchange, backend, call, caller, framed, grpc_headers, options, send, serve, status, transport,
    },
};

fn server() -> h2::server::Builder {
    h2::server::Builder::new()
}

fn backend_status(outcome: Result<Bytes, CallError>) -> kubridge_bridge::caller::BackendStatus {
    match outcome {
        Err(CallError::Status(status)) => *status,
        other => panic!("not a status: {other:?}"),
    }
}

#[tokio::test]
async fn unary_carries_message_metadata_and_answer() {
    let (tell, mut told) = mpsc::channel(16);
    let address = serve(server(), move |mut exchange: Exchange| {
        let tell = tell.clone();
        async move {
            let body = exchange.body().await;
            tell.send((exchange.request.uri().clone(), exchange.request.headers().clone(), body))
                .await
                .unwrap();
            exchange.ok(&[b"pong"]).await;
        }
    })
    .await;
    let mut metadata = HeaderMap::new();
    metadata.insert("audit-id", "42".parse().unwrap());
    metadata.insert("te", "deflate".parse().unwrap());
    let caller = backend(address, options()).caller(metadata, Some(Instant::now() + Duration::from_secs(60)));
    assert_eq!(caller.unary(call(b"ping")).await.unwrap(), "pong");
    let (uri, headers, body) = told.recv().await.unwrap();
    assert_eq!(uri.to_string(), format!("http://{address}/test.Test/Call"));
    assert_eq!(body, framed(b"ping"));
    assert_eq!(headers["te"], "trailers");
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers["audit-id"], "42");
    assert!(!headers.contains_key("grpc-accept-encoding") && !headers.contains_key("content-length"));
    let timeout = headers["grpc-timeout"].to_str().unwrap();
    let micros: u64 = timeout.strip_suffix('u').unwrap().parse().unwrap();
    assert!((50_000_000..60_000_000).contains(&micros), "{timeout}");
}

#[tokio::test]
async fn statuses_come_with_their_details() {
    let address = serve(server(), |mut exchange: Exchange| async move {
        let mut details = ErrorDetails::with_bad_request_violation("spec.size", "must be positive");
        details.set_error_info("TOO_SMALL", "inventory.example.com", []);
        details.set_retry_info(Some(Duration::from_millis(2500)));
        details.add_precondition_failure_violation("UID", "m1", "was replaced");
        details.add_quota_failure_violation("user", "no more machines");
        let status = tonic::Status::with_error_details(tonic::Code::InvalidArgument, "für 100%", details);
        let (head, ()) = status.into_http::<()>().into_parts();
        if exchange.path().ends_with("Call") {
            exchange.respond.send_response(Response::from_parts(head, ()), true).unwrap();
        } else {
            let mut trailers = head.headers;
            trailers.remove("content-type");
            exchange.respond.send_response(grpc_headers(), false).unwrap().send_trailers(trailers).unwrap();
        }
    })
    .await;
    let caller = caller(address);
    for path in ["/test.Test/Call", "/test.Test/InTrailers"] {
        let mut call = call(b"");
        call.path = path.into();
        let status = backend_status(caller.unary(call).await);
        assert_eq!((status.code, status.message.as_str()), (Code::InvalidArgument, "für 100%"), "{path}");
        for detail in [
            Detail::FieldViolations(vec![FieldViolation {
                field: "spec.size".into(),
                description: "must be positive".into(),
                reason: String::new(),
            }]),
            Detail::ErrorInfo { reason: "TOO_SMALL".into(), domain: "inventory.example.com".into() },
            Detail::RetryAfter(Duration::from_millis(2500)),
            Detail::QuotaViolations(vec!["no more machines".into()]),
        ] {
            assert!(status.details.contains(&detail), "{detail:?} in {:?}", status.details);
        }
        assert!(
            status
                .details
                .iter()
                .any(|d| matches!(d, Detail::PreconditionViolations(v) if v[0].kind == "UID"))
        );
    }
}

#[tokio::test]
async fn streams_end_only_with_status_ok() {
    let address = serve(server(), |mut exchange: Exchange| async move {
        let mut request = exchange.body().await;
        let mut stream = exchange.respond.send_response(grpc_headers(), false).unwrap();
        for message in [&b"one"[..], b"", b"three"] {
            send(&mut stream, framed(message)).await;
        }
        match request.pop() {
            Some(b'k') => stream.send_trailers(status(0)).unwrap(),
            Some(b'a') => stream.send_trailers(status(10)).unwrap(),
            Some(b'n') => stream.send_trailers(HeaderMap::new()).unwrap(),
            Some(b't') => {
                stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), false).unwrap();
                stream.send_trailers(status(0)).unwrap();
            }
            _ => stream.send_data(Bytes::new(), true).unwrap(),
        }
    })
    .await;
    let caller = caller(address);
    for (ask, end) in [(b'k', None), (b'a', Some(None)), (b'n', Some(Some(TransportKind::Protocol)))]
        .into_iter()
        .chain([(b't', Some(Some(TransportKind::Protocol))), (b'e', Some(Some(TransportKind::Broken)))])
    {
        let mut stream = caller.stream(call(&[ask])).await.unwrap();
        for expected in ["one", "", "three"] {
            assert_eq!(stream.next().await.unwrap().unwrap(), expected);
        }
        match (stream.next().await, end) {
            (None, None) => {}
            (Some(Err(CallError::Status(status))), Some(None)) => assert_eq!(status.code, Code::Aborted),
            (Some(Err(CallError::Transport(error))), Some(Some(kind))) => {
                assert_eq!((error.kind, error.ran), (kind, Ran::Unknown));
            }
            (got, _) => panic!("{}: {got:?}", char::from(ask)),
        }
        assert!(stream.next().await.is_none(), "nothing after the end");
    }
}

#[tokio::test]
async fn answers_that_are_no_grpc() {
    let address = serve(server(), |mut exchange: Exchange| async move {
        let request = exchange.body().await;
        let response = match request.last() {
            Some(b'4') => Response::builder().status(404).body(()).unwrap(),
            Some(b'5') => Response::builder().status(503).body(()).unwrap(),
            Some(b'w') => {
                Response::builder().header("content-type", "application/grpc-web").body(()).unwrap()
            }
            Some(b'h') => Response::builder().header("content-type", "text/html").body(()).unwrap(),
            Some(b's') => {
                let mut response = Response::builder().status(503).body(()).unwrap();
                response.headers_mut().extend(status(7));
                response
            }
            Some(b'c') => {
                let mut stream = exchange.respond.send_response(grpc_headers(), false).unwrap();
                return stream.send_data(Bytes::from_static(&[1, 0, 0, 0, 1, 0]), true).unwrap();
            }
            Some(b'2') => return exchange.ok(&[b"a", b"b"]).await,
            _ => return exchange.ok(&[]).await,
        };
        exchange.respond.send_response(response, true).unwrap();
    })
    .await;
    let caller = caller(address);
    for (ask, code) in
        [(b'4', Code::Unimplemented), (b'5', Code::Unavailable), (b's', Code::PermissionDenied)]
    {
        assert_eq!(backend_status(caller.unary(call(&[ask])).await).code, code);
    }
    for (ask, part) in [
        (b'w', "content-type"),
        (b'h', "content-type"),
        (b'c', "compressed"),
        (b'2', "more than one"),
        (b'0', "without a message"),
    ] {
        let error = transport(caller.unary(call(&[ask])).await);
        assert_eq!((error.kind, error.ran), (TransportKind::Protocol, Ran::Unknown));
        assert!(error.message.contains(part), "{}", error.message);
    }
}

#[tokio::test]
async fn large_messages_go_both_ways_and_have_a_limit() {
    let address = serve(server(), |mut exchange: Exchange| async move {
        let echo = exchange.body().await;
        exchange.ok(&[&echo[5..]]).await;
    })
    .await;
    let message: Vec<u8> = (0..10 << 20).map(|i| (i * 31 % 251) as u8).collect();
    assert!(caller(address).unary(call(&message)).await.unwrap() == message);
    let small =
        backend(address, Options { max_message: 1 << 20, ..options() }).caller(HeaderMap::new(), None);
    let error = transport(small.unary(call(&message)).await);
    assert_eq!(error.kind, TransportKind::Protocol);
    assert!(error.message.contains("the limit is 1048576"), "{}", error.message);
    assert_eq!(small.unary(call(b"small")).await.unwrap(), "small", "the connection goes on");
}

/// Answers nothing, and tells when the client has reset the stream.
async fn never_answers(tell: mpsc::Sender<h2::Reason>, headers_first: bool) -> std::net::SocketAddr {
    serve(server(), move |mut exchange: Exchange| {
        let tell = tell.clone();
        async move {
            let reset = if headers_first {
                let mut stream = exchange.respond.send_response(grpc_headers(), false).unwrap();
                send(&mut stream, framed(b"first")).await;
                std::future::poll_fn(|cx| stream.poll_reset(cx)).await
            } else {
                std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await
            };
            tell.send(reset.unwrap()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_deadline_ends_the_call_here_and_there() {
    for headers_first in [false, true] {
        let (tell, mut told) = mpsc::channel(16);
        let backend = backend(never_answers(tell, headers_first).await, options());
        let soon = || Some(Instant::now() + Duration::from_millis(60));
        let error = transport(backend.caller(HeaderMap::new(), soon()).unary(call(b"x")).await);
        assert_eq!((error.kind, error.ran), (TransportKind::Deadline, Ran::Unknown));
        assert_eq!(told.recv().await, Some(h2::Reason::CANCEL));
        if headers_first {
            let mut stream = backend.caller(HeaderMap::new(), soon()).stream(call(b"x")).await.unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap(), "first");
            assert_eq!(transport(stream.next().await.unwrap()).kind, TransportKind::Deadline);
            assert_eq!(told.recv().await, Some(h2::Reason::CANCEL));
        }
    }
}

#[tokio::test]
async fn dropping_a_call_cancels_it_at_the_server() {
    let (tell, mut told) = mpsc::channel(16);
    let caller_ = caller(never_answers(tell, false).await);
    let unary = caller_.unary(call(b"x"));
    assert!(tokio::time::timeout(Duration::from_millis(60), unary).await.is_err());
    assert_eq!(told.recv().await, Some(h2::Reason::CANCEL));

    let (tell, mut told) = mpsc::channel(16);
    let caller_ = caller(never_answers(tell, true).await);
    let mut stream = caller_.stream(call(b"x")).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "first");
    drop(stream);
    assert_eq!(told.recv().await, Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn a_deadline_that_passes_before_anything_is_sent_did_not_run() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = backend(listener.local_addr().unwrap(), options());
    let caller = backend.caller(HeaderMap::new(), Some(Instant::now() + Duration::from_millis(30)));
    let error = transport(caller.unary(call(b"x")).await);
    assert_eq!((error.kind, error.ran), (TransportKind::Deadline, Ran::No));
}
