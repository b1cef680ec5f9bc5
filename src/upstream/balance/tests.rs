#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 50051))
}

fn balancer(count: u8) -> Balancer {
    let mut balancer = Balancer::new(7);
    balancer.set(&(1..=count).map(at).collect::<Vec<_>>());
    balancer
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn choose(balancer: &mut Balancer, now: Instant) -> SocketAddr {
    balancer.choose(now, |_| true, |_| false).unwrap()
}

/// How often each address is chosen in 10,000 tries, none of which lasts.
fn shares(balancer: &mut Balancer, now: Instant) -> HashMap<SocketAddr, usize> {
    let mut shares = HashMap::new();
    for _ in 0..10_000 {
        *shares.entry(choose(balancer, now)).or_default() += 1;
    }
    shares
}

/// Fails until it is ejected; whether it is.
fn eject(balancer: &mut Balancer, address: SocketAddr, now: Instant) -> bool {
    (0..FAILURES).any(|_| balancer.record(address, Outcome::Failed, now))
}

#[test]
fn the_least_loaded_address_is_taken_and_ties_are_broken_at_random() {
    let now = Instant::now();
    let mut balancer = balancer(3);
    for _ in 0..9 {
        let chosen = choose(&mut balancer, now);
        balancer.begin(chosen);
    }
    assert!(balancer.entries.iter().all(|entry| entry.in_flight == 3), "{balancer:?}");
    balancer.end(at(2));
    assert_eq!(choose(&mut balancer, now), at(2));
    balancer.begin(at(2));
    let shares = shares(&mut balancer, now);
    assert!((1..=3).all(|n| (3000..3700).contains(&shares[&at(n)])), "{shares:?}");
}

#[test]
fn where_a_call_has_been_is_the_last_resort_and_what_cannot_take_it_is_none() {
    let now = Instant::now();
    let mut balancer = balancer(3);
    balancer.begin(at(3));
    assert_eq!(balancer.choose(now, |_| true, |address| address != at(3)), Some(at(3)));
    assert_eq!(balancer.choose(now, |address| address == at(2), |_| true), Some(at(2)));
    assert_eq!(balancer.choose(now, |_| false, |_| false), None);
    // An ejected one goes before one where the call has just failed.
    assert!(eject(&mut balancer, at(1), now));
    assert_eq!(balancer.choose(now, |address| address != at(3), |address| address == at(2)), Some(at(1)));
}

#[test]
fn only_failures_in_a_row_eject() {
    let now = Instant::now();
    let mut balancer = balancer(2);
    for _ in 0..20 {
        for _ in 1..FAILURES {
            assert!(!balancer.record(at(1), Outcome::Failed, now));
        }
        assert!(!balancer.record(at(1), Outcome::Answered, now));
    }
    assert!(eject(&mut balancer, at(1), now));
    assert_eq!(shares(&mut balancer, now), HashMap::from([(at(2), 10_000)]));
    // Nothing better is there.
    assert_eq!(balancer.choose(now, |address| address == at(1), |_| false), Some(at(1)));
    assert_eq!(balancer.choose(now, |_| true, |address| address == at(2)), Some(at(1)));
}

#[test]
fn at_most_half_are_ejected() {
    let now = Instant::now();
    assert!(!eject(&mut balancer(1), at(1), now), "the only one");
    for count in 2..9 {
        let mut balancer = balancer(count);
        let ejected = (1..=count).filter(|n| eject(&mut balancer, at(*n), now)).count();
        assert_eq!(ejected, usize::from(count) / 2, "of {count}");
    }
    // Addresses that DNS no longer has do not count.
    let mut four = balancer(4);
    four.begin(at(3));
    four.begin(at(4));
    four.set(&[at(1), at(2)]);
    assert!(!eject(&mut four, at(3), now), "it is drained");
    assert!(eject(&mut four, at(1), now));
    assert!(!eject(&mut four, at(2), now));
    // Room comes back when the ejection is over.
    assert!(eject(&mut four, at(2), now + EJECTION));
}

#[test]
fn what_comes_of_calls_during_an_ejection_changes_nothing() {
    let now = Instant::now();
    let mut balancer = balancer(2);
    assert!(eject(&mut balancer, at(1), now));
    let during = now + EJECTION / 2;
    assert!(!eject(&mut balancer, at(1), during), "once is enough");
    balancer.record(at(1), Outcome::Answered, during);
    balancer.returned(at(1), during);
    assert_eq!(shares(&mut balancer, now + EJECTION - Duration::from_millis(1))[&at(2)], 10_000);
    assert!(shares(&mut balancer, now + EJECTION).contains_key(&at(1)), "not for longer, either");
}

#[test]
fn ejections_become_longer_up_to_a_limit_and_are_forgotten_one_by_one() {
    let mut now = Instant::now();
    let mut balancer = balancer(2);
    let mut lasts = |now: Instant| {
        assert!(eject(&mut balancer, at(1), now));
        balancer.entries[0].back_at.unwrap() - now
    };
    for n in 1..=12 {
        let lasted = lasts(now);
        assert_eq!(lasted, seconds(5 * n));
        now += lasted;
    }
    for _ in 0..3 {
        let lasted = lasts(now);
        assert_eq!(lasted, LONGEST);
        now += lasted;
    }
    // 15 so far. Not quite ten minutes of good behaviour undo nine.
    now += FORGET * 10 - seconds(1);
    let lasted = lasts(now);
    assert_eq!(lasted, seconds(5 * 7));
    now += lasted + FORGET * 1000;
    assert_eq!(lasts(now), EJECTION, "all is forgotten");
}

#[test]
fn the_share_of_an_address_that_is_back_grows() {
    let begin = Instant::now();
    let mut ejected = balancer(2);
    assert!(eject(&mut ejected, at(1), begin));
    let mut returned = balancer(2);
    returned.returned(at(1), begin + EJECTION);
    for balancer in [&mut ejected, &mut returned] {
        // With as many in flight on both, it is passed over except for its share.
        for (after, low, high) in [(0, 400, 600), (5, 2500, 3000), (10, 4700, 5300), (60, 4700, 5300)] {
            let share = shares(balancer, begin + EJECTION + seconds(after))[&at(1)];
            assert!((low..high).contains(&share), "{share} of 10000 after {after} s");
        }
    }
    let entry = &ejected.entries[0];
    let weight = |after| entry.weight(begin + EJECTION + after);
    assert_eq!(entry.weight(begin + EJECTION - Duration::from_millis(1)), None);
    assert_eq!(weight(Duration::ZERO), Some(FIRST_SHARE));
    assert!((weight(RAMP / 2).unwrap() - 0.55).abs() < 1e-9);
    assert_eq!(weight(RAMP), Some(1.0));
}

#[test]
fn an_address_that_is_back_is_as_loaded_as_its_share_allows() {
    let now = Instant::now();
    let mut balancer = balancer(2);
    balancer.returned(at(1), now);
    for _ in 0..110 {
        let chosen = choose(&mut balancer, now + RAMP / 9 * 4);
        balancer.begin(chosen);
    }
    // Half the weight, half the load.
    let [first, second] = [0, 1].map(|n| balancer.entries[n].in_flight);
    assert!(first * 3 < second * 2 && first > 10, "{first} and {second}");
}

#[test]
fn drained_addresses_finish_and_go() {
    let now = Instant::now();
    let mut balancer = balancer(3);
    balancer.begin(at(1));
    balancer.begin(at(1));
    assert!(eject(&mut balancer, at(2), now));
    balancer.set(&[at(2), at(4)]);
    let known = |balancer: &Balancer| balancer.entries.iter().map(|e| e.address).collect::<Vec<_>>();
    assert_eq!(known(&balancer), [at(1), at(2), at(4)], "what is idle goes at once");
    assert_eq!(
        shares(&mut balancer, now),
        HashMap::from([(at(4), 10_000)]),
        "no new calls; ejected stays so"
    );
    balancer.end(at(1));
    assert_eq!(known(&balancer), [at(1), at(2), at(4)]);
    balancer.end(at(1));
    assert_eq!(known(&balancer), [at(2), at(4)]);
    // Late news of an address that is gone.
    balancer.end(at(1));
    balancer.returned(at(1), now);
    assert!(!balancer.record(at(1), Outcome::Failed, now));
    // One that comes back while it is drained goes on as it was.
    balancer.begin(at(4));
    balancer.set(&[at(2)]);
    balancer.set(&[at(2), at(4)]);
    assert_eq!((balancer.entries[1].in_flight, balancer.entries[1].draining), (1, false));
}

#[derive(Debug, Clone)]
enum Step {
    Set(Vec<u8>),
    Call { open: u8, avoid: u8 },
    End(usize),
    Record(u8, bool),
    Return(u8),
    Wait(u64),
}

/// Calls and failures are most of what happens.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = 0_u8..6;
    let step = prop_oneof![
        1 => proptest::collection::vec(n.clone(), 0..6).prop_map(Step::Set),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(open, avoid)| Step::Call { open: open | 1, avoid }),
        3 => any::<usize>().prop_map(Step::End),
        8 => (n.clone(), proptest::bool::weighted(0.1)).prop_map(|(n, good)| Step::Record(n, good)),
        1 => n.prop_map(Step::Return),
        2 => (0_u64..30_000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..200)
}

fn has(set: u8, address: SocketAddr) -> bool {
    (0..6).any(|n| at(n) == address && set & (1 << n) != 0)
}

proptest! {
    #[test]
    fn invariants(seed: u64, steps in steps()) {
        let mut balancer = Balancer::new(seed);
        let mut now = Instant::now();
        let mut standing: Vec<SocketAddr> = Vec::new();
        let mut calls: Vec<SocketAddr> = Vec::new();
        for step in steps {
            match step {
                Step::Set(addresses) => {
                    standing = addresses.into_iter().map(at).collect();
                    balancer.set(&standing);
                }
                Step::Call { open, avoid } => {
                    let chosen = balancer.choose(now, |a| has(open, a), |a| has(avoid, a));
                    let possible: Vec<_> = standing.iter().filter(|a| has(open, **a)).collect();
                    prop_assert_eq!(chosen.is_some(), !possible.is_empty(), "whoever can is found");
                    if let Some(chosen) = chosen {
                        prop_assert!(possible.contains(&&chosen), "one that stands and can");
                        let fresh = possible.iter().any(|a| !has(avoid, **a));
                        prop_assert!(!(fresh && has(avoid, chosen)), "nowhere twice while there are others");
                        let ejected = |a: SocketAddr| {
                            balancer.entries.iter().any(|entry| entry.address == a && entry.is_ejected(now))
                        };
                        let better = possible.iter().any(|a| !has(avoid, **a) && !ejected(**a));
                        prop_assert!(!(better && ejected(chosen)), "an ejected one only for want of others");
                        balancer.begin(chosen);
                        calls.push(chosen);
                    }
                }
                Step::End(n) if !calls.is_empty() => {
                    let ended = calls.swap_remove(n % calls.len());
                    balancer.end(ended);
                }
                Step::End(_) => {}
                Step::Record(n, good) => {
                    let outcome = if good { Outcome::Answered } else { Outcome::Failed };
                    if balancer.record(at(n), outcome, now) {
                        let stand = balancer.entries.iter().filter(|entry| !entry.draining);
                        let (ejected, all) = (stand.clone().filter(|e| e.is_ejected(now)).count(), stand.count());
                        prop_assert!(ejected * 2 <= all, "{} of {} are ejected", ejected, all);
                        prop_assert!(!good);
                    }
                }
                Step::Return(n) => balancer.returned(at(n), now),
                Step::Wait(millis) => now += Duration::from_millis(millis),
            }
            for entry in &balancer.entries {
                let in_flight = calls.iter().filter(|call| **call == entry.address).count();
                prop_assert_eq!(entry.in_flight, in_flight);
                prop_assert_eq!(entry.draining, !standing.contains(&entry.address));
                prop_assert!(!entry.draining || in_flight > 0, "who is drained and idle is gone");
                prop_assert!(entry.weight(now).is_none_or(|w| (FIRST_SHARE..=1.0).contains(&w)));
                prop_assert!(entry.back_at.is_none_or(|at| at <= now + LONGEST));
            }
            for address in standing.iter().chain(&calls) {
                let known = balancer.entries.iter().filter(|entry| entry.address == *address).count();
                prop_assert_eq!(known, 1);
            }
        }
    }
}
