#![allow(clippy::unwrap_used)]

mod fake;
mod versions;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use kubridge_bridge::{
    caller::{Call, CallError, Caller as _, Class, Code},
    ledger::Limits,
    model::{MADE_WATCH, Resource},
    object::MetaView,
    proto::{Event, EventType, ListOptions, WatchRequest},
};
use prost::Message as _;
use tokio::time::{Instant, sleep, timeout};

use super::{MadeWatch, Watched};
use crate::metrics::Metrics;
use fake::{Backend, machines};

/// A backend, and what is remembered of it.
struct Stack {
    backend: Backend,
    made: MadeWatch,
    metrics: Arc<Metrics>,
    resource: Arc<Resource>,
}

impl Stack {
    fn new(versioned: bool) -> Self {
        Self::with(versioned, Limits::default())
    }

    fn with(versioned: bool, limits: Limits) -> Self {
        let metrics = Metrics::new();
        let (made, run) = MadeWatch::with_limits(Arc::clone(&metrics), limits);
        tokio::spawn(run);
        Self { backend: Backend::new(versioned), made, metrics, resource: machines(versioned) }
    }

    fn caller(&self) -> Watched<Backend, Backend> {
        self.made.caller(&self.resource, self.backend.clone(), self.backend.clone())
    }

    async fn try_watch(&self, options: ListOptions) -> Result<Watch, CallError> {
        let request = WatchRequest { namespace: String::new(), options: Some(options) };
        let call =
            Call { path: MADE_WATCH.into(), message: request.encode_to_vec().into(), class: Class::Read };
        Ok(Watch(self.caller().stream(call).await?))
    }

    /// What is later than a version.
    async fn watch(&self, version: u64) -> Watch {
        let options = ListOptions { resource_version: version.to_string(), ..ListOptions::default() };
        self.try_watch(options).await.unwrap()
    }

    /// The present state, read up to its end: and its version.
    async fn present(&self) -> (Watch, Vec<String>, u64) {
        let options = ListOptions { send_initial_events: Some(true), ..ListOptions::default() };
        let mut watch = self.try_watch(options).await.unwrap();
        let mut told = Vec::new();
        loop {
            let event = watch.event().await.unwrap();
            if event.r#type() == EventType::Synced {
                return (watch, told, event.resource_version.parse().unwrap());
            }
            told.push(line(&event));
        }
    }

    fn counted(&self, line: &str) -> bool {
        let labels = r#"{group="inventory.example.com",version="v1",resource="machines""#;
        let line = line.replace('{', labels);
        self.metrics.text().lines().any(|found| found == line)
    }
}

struct Watch(BoxStream<'static, Result<Bytes, CallError>>);

impl Watch {
    async fn event(&mut self) -> Result<Event, CallError> {
        let next = timeout(Duration::from_secs(3600), self.0.next()).await.expect("something comes");
        next.expect("the watch goes on").map(|message| Event::decode(message).unwrap())
    }

    /// "ADDED a". Bookmarks are passed over.
    async fn told(&mut self) -> String {
        loop {
            let event = self.event().await.unwrap();
            if event.r#type() != EventType::Bookmark {
                return line(&event);
            }
        }
    }

    /// How it ends.
    async fn end(&mut self) -> Code {
        loop {
            match self.event().await {
                Ok(_) => {}
                Err(CallError::Status(status)) => return status.code,
                Err(CallError::Transport(failure)) => panic!("{failure:?}"),
            }
        }
    }
}

fn line(event: &Event) -> String {
    let meta = MetaView::of(&event.object).unwrap();
    format!("{} {}", event.r#type().as_str_name(), meta.name)
}

#[tokio::test(start_paused = true)]
async fn the_present_state_and_what_comes_after_it() {
    for versioned in [true, false] {
        let stack = Stack::new(versioned);
        stack.backend.put("b", 1);
        stack.backend.put("a", 1);
        let (mut watch, told, version) = stack.present().await;
        assert_eq!(told, ["ADDED a", "ADDED b"]);
        stack.backend.put("a", 2);
        assert_eq!(watch.told().await, "MODIFIED a");
        stack.backend.remove("b");
        stack.backend.put("c", 1);
        let mut two = [watch.told().await, watch.told().await];
        two.sort();
        assert_eq!(two, ["ADDED c", "DELETED b"]);
        // From the version of the beginning it is the same once more.
        let mut again = stack.watch(version).await;
        assert_eq!(again.told().await, "MODIFIED a");
        assert!(stack.counted("kubridge_made_watch_pollers{} 1"), "{}", stack.metrics.text());
    }
}

#[tokio::test(start_paused = true)]
async fn one_poller_for_all_as_often_as_things_change_and_none_when_nobody_watches() {
    let stack = Stack::new(true);
    stack.backend.put("a", 1);
    let (first, _, version) = stack.present().await;
    let mut watches = vec![first];
    for _ in 0..99 {
        watches.push(stack.watch(version).await);
    }
    sleep(Duration::from_secs(60)).await;
    let polls = |stack: &Stack| stack.backend.lists();
    let before = polls(&stack);
    sleep(Duration::from_secs(60)).await;
    let idle = polls(&stack) - before;
    assert!((11..=13).contains(&idle), "{idle} polls in a quiet minute, whoever watches");
    // Things change all the time.
    let before = polls(&stack);
    for state in 0..600 {
        stack.backend.put("a", state + 2);
        sleep(Duration::from_millis(100)).await;
    }
    let busy = polls(&stack) - before;
    assert!((250..=330).contains(&busy), "{busy} polls in a busy minute");
    for watch in &mut watches {
        assert_eq!(watch.told().await, "MODIFIED a");
    }
    assert!(stack.counted("kubridge_made_watch_expired_total{} 0"));
    drop(watches);
    sleep(Duration::from_secs(20)).await;
    let after = polls(&stack);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(polls(&stack), after, "nobody watches");
    assert!(stack.counted("kubridge_made_watch_pollers{} 0"));

    // Somebody comes back: what happened meanwhile is told.
    let now = stack.backend.version();
    stack.backend.put("b", 1);
    let mut watch = stack.watch(now).await;
    assert_eq!(watch.told().await, "ADDED b");
    assert!(stack.counted("kubridge_made_watch_pollers{} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_write_through_us_is_told_at_once() {
    let stack = Stack::new(true);
    let (mut watch, ..) = stack.present().await;
    sleep(Duration::from_secs(60)).await;
    let begin = Instant::now();
    stack.caller().unary(fake::create("a")).await.unwrap();
    assert_eq!(watch.told().await, "ADDED a");
    assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_costly_list_is_not_asked_for_often() {
    let stack = Stack::new(true);
    stack.backend.put("a", 1);
    let (mut watch, ..) = stack.present().await;
    stack.backend.take(Duration::from_secs(1));
    let before = stack.backend.lists();
    // Writes without end do not change that.
    for state in 0..1000 {
        stack.caller().unary(fake::update("a", state + 2)).await.unwrap();
        sleep(Duration::from_millis(500)).await;
    }
    let polls = stack.backend.lists() - before;
    assert!((40..=56).contains(&polls), "{polls} polls of a second each in 500 s");
    assert_eq!(watch.told().await, "MODIFIED a");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_away_for_a_moment_goes_unnoticed() {
    let stack = Stack::new(true);
    stack.backend.put("a", 1);
    let (mut watch, _, version) = stack.present().await;
    sleep(Duration::from_secs(20)).await;
    stack.backend.fail(Some(Code::Unavailable));
    sleep(Duration::from_secs(9)).await;
    stack.backend.fail(None);
    stack.backend.put("b", 1);
    assert_eq!(watch.told().await, "ADDED b");
    // For longer it is told.
    stack.backend.fail(Some(Code::Unavailable));
    let begin = Instant::now();
    assert_eq!(watch.end().await, Code::Unavailable);
    assert!((10..20).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    let failed = stack.backend.lists();
    let mut late = stack.watch(version).await;
    assert_eq!(late.end().await, Code::Unavailable, "whoever comes now hears it too");
    stack.backend.fail(None);
    let mut watch = stack.watch(version).await;
    assert_eq!(watch.told().await, "ADDED b");
    assert!(failed < 40, "{failed} lists");
    // What is no passing state is told at once.
    stack.backend.fail(Some(Code::PermissionDenied));
    let begin = Instant::now();
    assert_eq!(watch.end().await, Code::PermissionDenied);
    assert!(begin.elapsed() < Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_lists_again_and_holds_nobody_up() {
    let limits = Limits { objects: 100, changes: 10, bytes: 1 << 20 };
    let stack = Stack::with(true, limits);
    stack.backend.put("a", 1);
    let (mut quick, _, version) = stack.present().await;
    let mut slow = stack.watch(version).await;
    for state in 0..30 {
        stack.backend.put("a", state + 2);
        assert_eq!(quick.told().await, "MODIFIED a");
    }
    assert_eq!(slow.end().await, Code::OutOfRange);
    assert!(stack.counted("kubridge_made_watch_expired_total{} 1"));
}

#[tokio::test(start_paused = true)]
async fn more_objects_than_are_remembered_cannot_be_watched() {
    let stack = Stack::with(true, Limits { objects: 10, changes: 10, bytes: 1 << 20 });
    for number in 0..20 {
        stack.backend.put(&format!("o{number}"), 1);
    }
    let options = ListOptions { resource_version: "1".into(), ..ListOptions::default() };
    let Err(CallError::Status(status)) = stack.try_watch(options).await.map(drop) else {
        panic!("it is watched")
    };
    assert_eq!(status.code, Code::ResourceExhausted);
    assert!(status.message.contains("more than 10 objects"), "{}", status.message);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_nothing_but_what_comes() {
    let stack = Stack::new(false);
    stack.backend.put("a", 1);
    let options = ListOptions { send_initial_events: Some(false), ..ListOptions::default() };
    let mut watch = stack.try_watch(options).await.unwrap();
    stack.backend.put("b", 1);
    assert_eq!(watch.told().await, "ADDED b");
}
