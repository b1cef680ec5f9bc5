//! What is tried again after a failure: the table of `attempts.rs`, row by row.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use h2::Reason;
use http::HeaderMap;
use kubridge_bridge::caller::{BackendStatus, Call, CallError, Caller as _, Class, Code, Ran, TransportKind};
use tokio::{net::TcpListener, time::Instant};

use super::{
    super::{
        Backend, Options, RetryReason,
        attempts::{Attempts, Failure},
        call::transport as broken_off,
        limit::Kind,
    },
    raw::Raw,
    several::{several, stand},
    support::{Exchange, backend, call, options, serve, serve_connection, transport},
};

/// A server that is only ever connected to.
async fn idle() -> SocketAddr {
    serve(h2::server::Builder::new(), |exchange: Exchange| async move { exchange.ok(&[b"ok"]).await }).await
}

fn attempts(backend: &Backend, class: Class) -> Attempts {
    backend.attempts(class, Kind::Request, None).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Never,
    /// On another connection, be it to the same address.
    Again(RetryReason),
    /// On another address, where there is one.
    Elsewhere(RetryReason),
}

#[tokio::test]
async fn what_follows_which_failure() {
    use Class::{Read, Write};
    use Failure::{Answer, Transport, Unavailable};
    use Then::{Again, Elsewhere, Never};
    let rows = [
        (Transport(Ran::No, TransportKind::Broken), Read, Again(RetryReason::NotRun)),
        (Transport(Ran::No, TransportKind::Broken), Write, Again(RetryReason::NotRun)),
        (Transport(Ran::No, TransportKind::Unavailable), Write, Again(RetryReason::NotRun)),
        (Transport(Ran::Unknown, TransportKind::Broken), Read, Again(RetryReason::ReadFailed)),
        (Transport(Ran::Unknown, TransportKind::Broken), Write, Never),
        (Transport(Ran::Unknown, TransportKind::Protocol), Read, Elsewhere(RetryReason::ReadFailed)),
        (Transport(Ran::Unknown, TransportKind::Protocol), Write, Never),
        (Transport(Ran::Unknown, TransportKind::Deadline), Read, Never),
        (Transport(Ran::Unknown, TransportKind::Cancelled), Read, Never),
        (Unavailable, Read, Elsewhere(RetryReason::Unavailable)),
        (Unavailable, Write, Never),
        (Answer, Read, Never),
        (Answer, Write, Never),
    ];
    for servers in [vec![idle().await], vec![idle().await, idle().await]] {
        let backend = several(&servers, options());
        stand(&backend, servers.len()).await;
        for (failure, class, then) in rows {
            let row = format!("{failure:?}, {class:?}, {} addresses", servers.len());
            let before = RetryReason::ALL.map(|reason| backend.stats().retries(reason));
            let mut attempts = attempts(&backend, class);
            let first = attempts.first().await.unwrap().visited();
            let next = attempts.next(first, failure).await.map(|place| place.visited());
            let retried = match then {
                Never => None,
                Elsewhere(_) if servers.len() == 1 => None,
                Again(reason) | Elsewhere(reason) => Some(reason),
            };
            let counted: Vec<u64> = RetryReason::ALL
                .iter()
                .zip(before)
                .map(|(reason, before)| backend.stats().retries(*reason) - before)
                .collect();
            let want: Vec<u64> =
                RetryReason::ALL.iter().map(|reason| u64::from(retried == Some(*reason))).collect();
            assert_eq!((next.is_some(), counted), (retried.is_some(), want), "{row}");
            if let Some(next) = next {
                assert_ne!(next.connection, first.connection, "{row}");
                // An address where it has not been is better in any case.
                assert_eq!(next.address != first.address, servers.len() == 2, "{row}");
            }
        }
    }
}

#[tokio::test]
async fn two_retries_and_no_more() {
    let backend = several(&[idle().await], options());
    let mut attempts = attempts(&backend, Class::Write);
    let mut visited = attempts.first().await.unwrap().visited();
    let not_run = Failure::Transport(Ran::No, TransportKind::Broken);
    for _ in 0..2 {
        visited = attempts.next(visited, not_run).await.unwrap().visited();
    }
    assert!(attempts.next(visited, not_run).await.is_none());
}

#[tokio::test]
async fn the_budget_is_a_fifth_of_the_requests_and_ten_more() {
    let not_run = Failure::Transport(Ran::No, TransportKind::Broken);
    let failed = Failure::Transport(Ran::Unknown, TransportKind::Broken);
    // The first repetition of what did not run is free; then all is within one budget.
    for (class, failure, free) in [(Class::Write, not_run, 50), (Class::Read, failed, 0)] {
        let backend = several(&[idle().await], options());
        for _ in 0..50 {
            let mut attempts = attempts(&backend, class);
            let mut visited = attempts.first().await.unwrap().visited();
            while let Some(place) = attempts.next(visited, failure).await {
                visited = place.visited();
            }
        }
        let retries: u64 = RetryReason::ALL.iter().map(|reason| backend.stats().retries(*reason)).sum();
        assert_eq!(retries, free + 10 + 50 / 5, "{failure:?}");
        assert!(backend.stats().over_budget() >= 30, "{}", backend.stats().over_budget());
        // Whoever has no place spends nothing.
        let spent = backend.stats().over_budget();
        let mut attempts = attempts(&backend, Class::Read);
        let visited = attempts.first().await.unwrap().visited();
        assert!(attempts.next(visited, Failure::Unavailable).await.is_none());
        assert_eq!(backend.stats().over_budget(), spent);
    }
}

#[tokio::test]
async fn nothing_is_tried_again_after_the_deadline() {
    let backend = several(&[idle().await, idle().await], options());
    stand(&backend, 2).await;
    let deadline = Instant::now() + Duration::from_millis(200);
    let mut attempts = backend.attempts(Class::Read, Kind::Request, Some(deadline)).unwrap();
    let visited = attempts.first().await.unwrap().visited();
    tokio::time::sleep_until(deadline).await;
    let not_run = Failure::Transport(Ran::No, TransportKind::Broken);
    assert!(attempts.next(visited, not_run).await.is_none());
}

#[tokio::test]
async fn who_has_waited_long_gets_what_stands_and_waits_no_longer() {
    let failed = Failure::Transport(Ran::Unknown, TransportKind::Broken);
    let wait = async || {
        tokio::time::pause();
        tokio::time::advance(Duration::from_millis(1500)).await;
        tokio::time::resume();
    };
    let backend = several(&[idle().await, idle().await], options());
    stand(&backend, 2).await;
    let mut attempts_ = attempts(&backend, Class::Read);
    let visited = attempts_.first().await.unwrap().visited();
    wait().await;
    assert!(attempts_.next(visited, failed).await.is_some());
    // The only connection there ever was.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        // The next one is accepted by the system, and never spoken to.
        let _held = listener;
        serve_connection(tcp, 0, h2::server::Builder::new(), |exchange: Exchange| exchange.ok(&[])).await;
    });
    let backend = several(&[address], options());
    stand(&backend, 1).await;
    let mut attempts_ = attempts(&backend, Class::Read);
    let visited = attempts_.first().await.unwrap().visited();
    wait().await;
    let begun = Instant::now();
    assert!(attempts_.next(visited, failed).await.is_none());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn more_than_the_limit_are_not_let_in() {
    let backend = several(&[idle().await], Options { max_requests: 2, max_watches: 1, ..options() });
    let held = [attempts(&backend, Class::Read), attempts(&backend, Class::Write)];
    let refused = |kind| backend.attempts(Class::Read, kind, None).map(|_| ());
    let error = transport(refused(Kind::Request));
    assert_eq!((error.ran, error.kind), (Ran::No, TransportKind::Overloaded));
    assert!(error.message.contains("2 calls are in flight already"), "{}", error.message);
    let watch = backend.attempts(Class::Read, Kind::Watch, None).unwrap();
    assert!(refused(Kind::Watch).is_err());
    refused(Kind::Own).unwrap();
    drop((held, watch));
    refused(Kind::Request).unwrap();
    refused(Kind::Watch).unwrap();
    assert_eq!(backend.stats().rejected(), 2);
}

/// A server that does with every call what `answer` says, and counts.
async fn counting<W>(answer: impl Fn(Exchange) -> W + Clone + Send + Sync + 'static) -> (SocketAddr, Counter)
where
    W: Future<Output = ()> + Send + 'static,
{
    let counter = Counter::default();
    let counts = counter.clone();
    let address = serve(h2::server::Builder::new(), move |exchange: Exchange| {
        counts.add();
        answer(exchange)
    })
    .await;
    (address, counter)
}

#[derive(Debug, Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

fn read() -> Call {
    Call { class: Class::Read, ..call(b"x") }
}

#[tokio::test]
async fn a_read_that_one_address_cannot_serve_is_served_by_another() {
    let (good, served) = counting(|exchange: Exchange| async move { exchange.ok(&[b"good"]).await }).await;
    let (ill, refused) = counting(|exchange: Exchange| async move { exchange.error(14, "starting") }).await;
    let (odd, garbled) = counting(|mut exchange: Exchange| async move {
        let page = http::Response::builder().header("content-type", "text/html").body(()).unwrap();
        exchange.respond.send_response(page, true).unwrap();
    })
    .await;
    for (bad, counter) in [(ill, refused), (odd, garbled)] {
        let backend = several(&[good, bad], options());
        stand(&backend, 2).await;
        let caller = backend.caller(HeaderMap::new(), None);
        let mut tried = 0;
        while tried < 3 {
            assert_eq!(caller.unary(read()).await.unwrap(), "good");
            tried += counter.take();
        }
        // A write may have run there.
        loop {
            let outcome = caller.unary(call(b"x")).await;
            served.take();
            if counter.take() == 1 {
                outcome.unwrap_err();
                assert_eq!(served.take(), 0);
                break;
            }
            outcome.unwrap();
        }
        // With nobody else to ask, the answer stands.
        let alone = several(&[bad], options()).caller(HeaderMap::new(), None);
        alone.unary(read()).await.unwrap_err();
        assert_eq!(counter.take(), 1);
    }
}

/// A peer that plays `script` to every request, and counts them.
async fn plays<F, W>(script: F) -> (SocketAddr, Counter)
where
    F: Fn(Raw, u32) -> W + Send + 'static,
    W: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counter = Counter::default();
    let counts = counter.clone();
    tokio::spawn(async move {
        loop {
            let mut raw = Raw::accept(&listener).await;
            let stream = raw.request().await;
            counts.add();
            script(raw, stream).await;
        }
    });
    (address, counter)
}

#[tokio::test]
async fn nothing_is_tried_again_after_the_first_byte_of_an_answer() {
    let (address, counter) = plays(|mut raw: Raw, stream| async move {
        raw.answer_headers(stream).await;
        raw.reset(stream, Reason::REFUSED_STREAM).await;
    })
    .await;
    let caller = backend(address, options()).caller(HeaderMap::new(), None);
    let error = transport(caller.unary(read()).await);
    assert_eq!((error.ran, error.kind, counter.take()), (Ran::Unknown, TransportKind::Broken, 1));
}

#[tokio::test]
async fn a_read_whose_connection_breaks_is_tried_three_times_and_a_write_once() {
    let (address, counter) = plays(|raw: Raw, _| async { raw.abort() }).await;
    let caller = backend(address, options()).caller(HeaderMap::new(), None);
    for (call, times) in [(read(), 3), (call(b"x"), 1)] {
        let error = transport(caller.unary(call).await);
        assert_eq!((error.ran, error.kind, counter.take()), (Ran::Unknown, TransportKind::Broken, times));
    }
}

#[test]
fn what_a_call_says_of_its_failure() {
    let status = |code| {
        let status = BackendStatus { code, message: String::new(), details: vec![] };
        Failure::of(&CallError::Status(Box::new(status)))
    };
    assert_eq!(status(Code::Unavailable), Failure::Unavailable);
    assert_eq!(status(Code::Internal), Failure::Answer);
    let broken = broken_off(Ran::No, TransportKind::Broken, String::new());
    assert_eq!(Failure::of(&broken), Failure::Transport(Ran::No, TransportKind::Broken));
}
