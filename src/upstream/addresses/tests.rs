#![allow(clippy::unwrap_used, reason = "tests")]

use std::{collections::HashMap, sync::Mutex};

use super::*;
use crate::{config::ServiceRules, registry::Protocol};

/// A resolver that knows what the test has written down.
#[derive(Clone, Default)]
struct Dns(Arc<Mutex<HashMap<&'static str, &'static [&'static str]>>>);

impl Dns {
    fn set(&self, name: &'static str, addresses: &'static [&'static str]) {
        self.0.lock().unwrap().insert(name, addresses);
    }

    fn forget(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }

    fn lookup(&self) -> Lookup {
        let names = Arc::clone(&self.0);
        Arc::new(move |host, port| {
            let found = names.lock().unwrap().get(host.as_str()).map(|addresses| {
                addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect()
            });
            Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
        })
    }
}

/// The addresses of the Service `n` in the namespace `s`, of which every lookup is asked for by hand.
struct Asked {
    known: watch::Receiver<Known>,
    again: Arc<Notify>,
}

impl Asked {
    fn new(dns: &Dns, rules: &[&str]) -> Self {
        let rules = ServiceRules::new(rules.iter().map(|rule| rule.parse().unwrap()).collect());
        let endpoint = Endpoint::service(Protocol::Https, "s", "n", 443, &rules).unwrap();
        let again = Arc::new(Notify::new());
        let looking = Addresses::new(&endpoint, dns.lookup(), Duration::from_secs(2), Arc::clone(&again));
        let known = looking.watch();
        tokio::spawn(looking.run());
        Self { known, again }
    }

    /// What the next lookup finds: addresses, and the error where there was one.
    async fn next(&mut self) -> (Vec<String>, Option<String>) {
        self.again.notify_one();
        self.known.changed().await.unwrap();
        let known = self.known.borrow_and_update();
        let addresses = known.addresses.iter().map(ToString::to_string).collect();
        (addresses, known.error.as_deref().map(str::to_owned))
    }
}

fn found(addresses: &[&str]) -> (Vec<String>, Option<String>) {
    (addresses.iter().map(ToString::to_string).collect(), None)
}

#[tokio::test(start_paused = true)]
async fn all_places_of_a_rule_are_used_and_one_that_is_unknown_for_now_stays() {
    let dns = Dns::default();
    dns.set("a", &["10.0.0.2", "10.0.0.1"]);
    dns.set("b", &["10.0.0.3"]);
    let mut asked = Asked::new(&dns, &["s/n=a:1+b:2+10.0.0.9:3"]);
    let all = found(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:2", "10.0.0.9:3"]);
    assert_eq!(asked.next().await, all);
    dns.forget("b");
    for _ in 1..MISSES {
        assert_eq!(asked.next().await, all);
    }
    assert_eq!(asked.next().await, found(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.9:3"]));
    dns.set("b", &["10.0.0.4"]);
    assert_eq!(asked.next().await, found(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.4:2", "10.0.0.9:3"]));
}

#[tokio::test(start_paused = true)]
async fn addresses_that_need_no_dns_are_known_at_once() {
    let mut asked = Asked::new(&Dns::default(), &["s/n=127.0.0.2:2+127.0.0.1:1"]);
    assert_eq!(asked.next().await, found(&["127.0.0.2:2", "127.0.0.1:1"]));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_good_gives_way_only_after_a_while() {
    let dns = Dns::default();
    dns.set("n.s.svc", &["10.0.0.1"]);
    dns.set("n", &["10.0.0.2"]);
    let mut asked = Asked::new(&dns, &[]);
    assert_eq!(asked.next().await, found(&["10.0.0.1:443"]));
    dns.forget("n.s.svc");
    for _ in 1..MISSES {
        let (addresses, error) = asked.next().await;
        assert_eq!(addresses, ["10.0.0.1:443"], "those that were good stay");
        assert!(error.unwrap().contains("looking up \"n.s.svc\": no such name"));
    }
    assert_eq!(asked.next().await, found(&["10.0.0.2:443"]));
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_is_an_error_that_names_the_host() {
    let dns = Dns::default();
    dns.set("a", &[]);
    let (addresses, error) = Asked::new(&dns, &["s/n=a:1"]).next().await;
    assert!(addresses.is_empty());
    assert_eq!(error.as_deref(), Some("looking up \"a\": it has no address"));
}
