#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use tokio::time::{advance, sleep};

use super::*;

const GOOD: Duration = Duration::from_secs(10);
const SLOW: Duration = Duration::from_secs(1);

struct Asked {
    memo: Arc<Memo<usize, &'static str>>,
    times: Arc<AtomicUsize>,
}

impl Asked {
    fn new(capacity: usize) -> Self {
        Self { memo: Arc::new(Memo::new(capacity)), times: Arc::default() }
    }

    /// Asks slowly: the answer is how often was asked.
    async fn get(&self, key: &str) -> Result<usize, &'static str> {
        let times = Arc::clone(&self.times);
        let ask = || async move {
            let number = times.fetch_add(1, Ordering::SeqCst) + 1;
            sleep(SLOW).await;
            Ok((number, GOOD))
        };
        self.memo.get(of(key), ask).await
    }

    fn times(&self) -> usize {
        self.times.load(Ordering::SeqCst)
    }
}

fn of(text: &str) -> Key {
    let mut hasher = Hasher::default();
    hasher.part(text.as_bytes());
    hasher.key()
}

#[test]
fn parts_are_not_glued_together() {
    let key = |parts: &[&str]| {
        let mut hasher = Hasher::default();
        for part in parts {
            hasher.part(part.as_bytes());
        }
        hasher.key()
    };
    assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
    assert_ne!(key(&["a", "b"]), key(&["ab", ""]));
    assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_good_until_its_end() {
    let asked = Asked::new(10);
    assert_eq!(asked.get("a").await, Ok(1));
    advance(GOOD - Duration::from_millis(1)).await;
    assert_eq!(asked.get("a").await, Ok(1));
    assert_eq!(asked.get("b").await, Ok(2), "another question");
    advance(Duration::from_millis(1)).await;
    assert_eq!(asked.get("a").await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_who_want_to_know_ask_once() {
    let asked = Asked::new(10);
    let answers = join_all((0..100).map(|_| asked.get("a"))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(1)), "{answers:?}");
    assert_eq!(asked.times(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_takes_no_answer_with_them() {
    let asked = Asked::new(10);
    let mut first = Box::pin(asked.get("a"));
    assert!(futures::poll!(first.as_mut()).is_pending());
    let mut second = Box::pin(asked.get("a"));
    assert!(futures::poll!(second.as_mut()).is_pending());
    drop(first);
    assert_eq!(second.await, Ok(1));
    assert_eq!(asked.times(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_waits_for_any_more_is_not_kept() {
    let asked = Asked::new(10);
    let mut only = Box::pin(asked.get("a"));
    assert!(futures::poll!(only.as_mut()).is_pending());
    drop(only);
    assert!(lock(&asked.memo.table).asked.is_empty());
    assert_eq!(asked.get("a").await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_and_not_remembered() {
    let memo = Memo::<u8, &str>::new(10);
    let fail = || memo.get(of("a"), || async { Err("away") });
    let both = join_all([fail(), fail()]).await;
    assert_eq!(both, [Err("away"), Err("away")]);
    assert_eq!(memo.get(of("a"), || async { Ok((1, GOOD)) }).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_than_fit() {
    let asked = Asked::new(3);
    for key in ["a", "b", "c", "d"] {
        asked.get(key).await.unwrap();
    }
    let known = |asked: &Asked| {
        let table = lock(&asked.memo.table);
        (table.known.len(), table.order.len(), table.asked.len())
    };
    assert_eq!(known(&asked), (3, 3, 0));
    assert_eq!(asked.get("d").await, Ok(4), "the newest stays");
    assert_eq!(asked.get("a").await, Ok(5), "the oldest went");
    advance(GOOD * 2).await;
    asked.get("e").await.unwrap();
    assert_eq!(known(&asked), (1, 1, 0), "what is over goes with the next that comes");
}
