//! DNS is a script here, and time is paused: what is asked, when, and what is made of the answers.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Semaphore;

use super::*;
use crate::{config::ServiceRules, registry::Protocol};

const PATIENCE: Duration = Duration::from_secs(2);

/// Answers by name, and what was asked when.
#[derive(Debug, Clone)]
struct Dns {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<(Duration, String)>>>,
    begun: Instant,
}

#[derive(Debug, Clone)]
enum Answer {
    Addresses(Vec<SocketAddr>),
    /// These, when a permit is added.
    Slow(Arc<Semaphore>, Vec<SocketAddr>),
}

impl Dns {
    fn new() -> Self {
        Self { answers: Arc::default(), asked: Arc::default(), begun: Instant::now() }
    }

    fn answer(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), Answer::Addresses(addresses));
    }

    fn answer_slowly(&self, name: &str, addresses: &[&str]) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), Answer::Slow(Arc::clone(&gate), addresses));
        gate
    }

    fn forget(&self, name: &str) {
        self.answers.lock().unwrap().remove(name);
    }

    /// Whom it was asked for since the last time, after how many milliseconds.
    fn asked(&self) -> Vec<(u128, String)> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.into_iter().map(|(after, name)| (after.as_millis(), name)).collect()
    }

    fn lookup(&self) -> Lookup {
        let dns = self.clone();
        Arc::new(move |host, port| {
            assert_eq!(port, 50051);
            dns.asked.lock().unwrap().push((dns.begun.elapsed(), host.clone()));
            let answer = dns.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&host).cloned();
            Box::pin(async move {
                match answer {
                    Some(Answer::Addresses(addresses)) => Ok(addresses),
                    Some(Answer::Slow(gate, addresses)) => {
                        gate.acquire().await.unwrap().forget();
                        Ok(addresses)
                    }
                    None => Err(io::Error::other("no such name")),
                }
            })
        })
    }
}

/// Looks the candidates up, each at port 50051, until the test ends.
fn look_up(dns: &Dns, candidates: &[&str]) -> (watch::Receiver<Known>, Arc<Notify>) {
    follow(dns, &candidates.iter().map(|host| format!("{host}:50051")).collect::<Vec<_>>())
}

/// Looks up the places of each candidate.
fn follow(dns: &Dns, candidates: &[impl std::fmt::Display]) -> (watch::Receiver<Known>, Arc<Notify>) {
    let rules = candidates.iter().map(|places| format!("b/a={places}").parse().unwrap()).collect();
    let endpoint = Endpoint::service(Protocol::Grpc, "b", "a", 50051, &ServiceRules::new(rules)).unwrap();
    assert_eq!(endpoint.candidates().len(), candidates.len());
    let again = Arc::new(Notify::new());
    let addresses = Addresses::new(&endpoint, None, dns.lookup(), PATIENCE, Arc::clone(&again));
    let known = addresses.watch();
    tokio::spawn(addresses.run());
    (known, again)
}

/// What the next lookup ends with.
async fn next(known: &mut watch::Receiver<Known>) -> (Vec<String>, String) {
    known.changed().await.unwrap();
    let known = known.borrow_and_update();
    let addresses = known.addresses.iter().map(ToString::to_string).collect();
    (addresses, known.error.as_deref().unwrap_or_default().to_owned())
}

fn good(addresses: &[&str]) -> (Vec<String>, String) {
    (addresses.iter().map(ToString::to_string).collect(), String::new())
}

/// How long each of `rounds` pauses is, in milliseconds.
async fn pauses(known: &mut watch::Receiver<Known>, rounds: usize) -> Vec<u128> {
    let mut pauses = Vec::new();
    for _ in 0..rounds {
        let before = Instant::now();
        known.changed().await.unwrap();
        pauses.push(before.elapsed().as_millis());
    }
    known.mark_unchanged();
    pauses
}

#[tokio::test(start_paused = true)]
async fn names_are_looked_up_again_and_again() {
    let dns = Dns::new();
    dns.answer("a", &["10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"]);
    let (mut known, _again) = look_up(&dns, &["a"]);
    assert_eq!(next(&mut known).await, good(&["10.0.0.1:1", "10.0.0.2:1"]), "sorted, each once");
    let first = Arc::clone(&known.borrow().addresses);
    dns.answer("a", &["10.0.0.2:1", "10.0.0.1:1"]);
    next(&mut known).await;
    assert!(Arc::ptr_eq(&first, &known.borrow().addresses), "the same ones stay the same");
    dns.answer("a", &["10.0.0.3:1"]);
    assert_eq!(next(&mut known).await, good(&["10.0.0.3:1"]));
    assert_eq!(dns.asked(), [0, 10_000, 20_000].map(|after| (after, "a".to_owned())));
    let many: Vec<String> = (0..300).map(|n| format!("10.0.{}.{}:1", n / 256, n % 256)).collect();
    dns.answer("a", &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(next(&mut known).await.0.len(), MAX_ADDRESSES);
}

#[tokio::test(start_paused = true)]
async fn failures_are_followed_by_longer_pauses_and_take_no_address_away() {
    let dns = Dns::new();
    let (mut known, _again) = look_up(&dns, &["a"]);
    let unknown = "looking up \"a\": no such name".to_owned();
    assert_eq!(next(&mut known).await, (vec![], unknown.clone()));
    assert_eq!(pauses(&mut known, 7).await, [250, 500, 1000, 2000, 4000, 5000, 5000]);
    dns.answer("a", &["10.0.0.1:1"]);
    assert_eq!(next(&mut known).await, good(&["10.0.0.1:1"]));
    dns.forget("a");
    assert_eq!(pauses(&mut known, 3).await, [10_000, 250, 500], "from the beginning");
    assert_eq!(next(&mut known).await, (vec!["10.0.0.1:1".to_owned()], unknown));
    // To have no address is a failure, too.
    dns.answer("a", &[]);
    assert_eq!(next(&mut known).await.1, "looking up \"a\": it has no address");
    assert_eq!(known.borrow().addresses.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_asks_has_names_looked_up_soon_but_not_all_the_time() {
    let dns = Dns::new();
    dns.answer("a", &["10.0.0.1:1"]);
    let (mut known, again) = look_up(&dns, &["a"]);
    next(&mut known).await;
    for _ in 0..5 {
        again.notify_one();
    }
    next(&mut known).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    again.notify_one();
    next(&mut known).await;
    let asked: Vec<u128> = dns.asked().into_iter().map(|(after, _)| after).collect();
    assert_eq!(asked, [0, 250, 3250], "not sooner than 250 ms after the last time began");
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_that_is_known_is_used() {
    let dns = Dns::new();
    dns.answer("b", &["10.0.0.2:1"]);
    let (mut known, _again) = look_up(&dns, &["a", "b", "c"]);
    assert_eq!(next(&mut known).await, good(&["10.0.0.2:1"]));
    let names = |dns: &Dns| dns.asked().into_iter().map(|(_, name)| name).collect::<String>();
    assert_eq!(names(&dns), "ab", "in order, and no further than needed");
    dns.answer("a", &["10.0.0.1:1"]);
    assert_eq!(next(&mut known).await, good(&["10.0.0.1:1"]), "an earlier one that appears is better");
    dns.answer("c", &["10.0.0.3:1"]);
    next(&mut known).await;
    assert_eq!(names(&dns), "aa");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_good_is_not_given_up_at_once() {
    let dns = Dns::new();
    dns.answer("a", &["10.0.0.1:1"]);
    dns.answer("b", &["10.0.0.2:1"]);
    let (mut known, _again) = look_up(&dns, &["a", "b"]);
    next(&mut known).await;
    dns.forget("a");
    for miss in 1..MISSES {
        let (addresses, error) = next(&mut known).await;
        assert_eq!(addresses, ["10.0.0.1:1"], "miss {miss}");
        assert!(error.contains("\"a\": no such name"), "{error}");
    }
    assert_eq!(next(&mut known).await, good(&["10.0.0.2:1"]), "the next one after {MISSES} misses");
    // What is good in between counts from the beginning.
    dns.answer("a", &["10.0.0.1:1"]);
    next(&mut known).await;
    dns.forget("a");
    next(&mut known).await;
    dns.answer("a", &["10.0.0.1:1"]);
    next(&mut known).await;
    dns.forget("a");
    assert_eq!(next(&mut known).await.0, ["10.0.0.1:1"]);
    assert_eq!(next(&mut known).await.0, ["10.0.0.1:1"]);
    assert_eq!(next(&mut known).await.0, ["10.0.0.2:1"]);
    // When all are unknown, all are said to be.
    dns.forget("b");
    let mut last = String::new();
    for _ in 0..MISSES {
        last = next(&mut known).await.1;
    }
    assert_eq!(last, "looking up \"a\": no such name; looking up \"b\": no such name");
}

#[tokio::test(start_paused = true)]
async fn a_slow_lookup_is_waited_for_and_not_doubled() {
    let dns = Dns::new();
    let gate = dns.answer_slowly("a", &["10.0.0.1:1"]);
    let (mut known, _again) = look_up(&dns, &["a"]);
    for _ in 0..4 {
        assert_eq!(next(&mut known).await.1, "looking up \"a\": no answer in time");
    }
    assert_eq!(dns.asked().len(), 1, "it holds a thread");
    gate.add_permits(1);
    assert_eq!(next(&mut known).await, good(&["10.0.0.1:1"]), "its answer is used, however late");
    gate.add_permits(1);
    next(&mut known).await;
    assert_eq!(dns.asked().len(), 1, "the next one is a new one");
    // One candidate that hangs holds up another for the patience only.
    let dns = Dns::new();
    let _hangs = dns.answer_slowly("a", &[]);
    dns.answer("b", &["10.0.0.2:1"]);
    let (mut known, _again) = look_up(&dns, &["a", "b"]);
    let begun = Instant::now();
    assert_eq!(next(&mut known).await, good(&["10.0.0.2:1"]));
    assert_eq!(begun.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn literal_addresses_need_no_dns() {
    let dns = Dns::new();
    let (mut known, again) = look_up(&dns, &["10.0.0.9"]);
    assert_eq!(next(&mut known).await, good(&["10.0.0.9:50051"]));
    again.notify_one();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(!known.has_changed().unwrap(), "for ever");
    let (mut known, _again) = look_up(&dns, &["a", "[::1]"]);
    assert_eq!(next(&mut known).await, good(&["[::1]:50051"]), "as a later candidate");
    assert_eq!(dns.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_places_of_a_candidate_are_used_and_one_that_is_unknown_for_now_stays() {
    let dns = Dns::new();
    dns.answer("a", &["10.0.0.2:1", "10.0.0.1:1"]);
    dns.answer("b", &["10.0.0.3:2"]);
    let (mut known, _again) = follow(&dns, &["a:50051+b:50051+10.0.0.9:3"]);
    let all = good(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:2", "10.0.0.9:3"]);
    assert_eq!(next(&mut known).await, all);
    dns.forget("b");
    for _ in 1..MISSES {
        assert_eq!(next(&mut known).await, all);
    }
    assert_eq!(next(&mut known).await, good(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.9:3"]));
    dns.answer("b", &["10.0.0.4:2"]);
    assert_eq!(next(&mut known).await, good(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.4:2", "10.0.0.9:3"]));
    // Without a name among them nobody is asked.
    let (mut known, _again) = follow(&dns, &["127.0.0.2:2+127.0.0.1:1"]);
    assert_eq!(next(&mut known).await, good(&["127.0.0.2:2", "127.0.0.1:1"]));
}
