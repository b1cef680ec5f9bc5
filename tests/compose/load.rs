//! A minute of load while a container is killed or paused each five seconds. It prints the tables of
//! docs/reliability.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    api::{Answer, Api, LIMIT},
    engine::{Container, setting},
    outage::{Outage, TARGETS, Target},
    stack::{DISCOVERED, Stack},
};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
/// A container is taken away this often, and for as long.
const EACH: Duration = Duration::from_secs(5);
const AWAY: Duration = Duration::from_secs(2);
/// Discovery is asked for this often, and everything else by as many clients, each this long after its last answer.
const DISCOVERY_PACE: Duration = Duration::from_millis(20);
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(20);

/// What is asked of whom, and what became of it.
#[derive(Debug)]
struct Asked {
    what: &'static str,
    service: &'static str,
    answer: Answer,
}

/// One outage, as it was seen.
#[derive(Debug)]
struct Happened {
    second: u64,
    outage: Outage,
    service: String,
    /// From when it was taken away until its reads were answered again.
    period: (Instant, Instant),
    recovery: Duration,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and needs a container engine: tests/compose/run --load"]
async fn a_minute_of_load() {
    let commands = setting("KUBRIDGE_TEST_COMPOSE");
    let stack = Stack::up(commands.split(',').next().unwrap()).await;
    stack.furnish();
    let targets: Vec<&'static Target> = TARGETS.iter().filter(|target| stack.has(target.service)).collect();
    for target in &targets {
        stack.api.until_ok(target.read, Duration::from_secs(60)).await;
    }

    let (stop, stopped) = watch::channel(());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(stack.api.clone(), number, targets.clone(), stopped.clone()));
    }
    clients.spawn(discovery(stack.api.clone(), targets.iter().map(|t| t.discovery).collect(), stopped));
    let happened = disturb(&stack, &targets).await;
    drop(stop);
    let asked: Vec<Asked> = clients.join_all().await.into_iter().flatten().collect();

    report(&asked, &happened);
    let made: BTreeSet<&str> =
        asked.iter().filter(|asked| asked.what == "create a machine").filter_map(made).collect();
    let all = stack.api.get(MACHINES).await.body;
    let there: BTreeSet<&str> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect();
    let lost: Vec<_> = made.difference(&there).collect();
    println!("\n{} machines were created, {} of them are lost.", made.len(), lost.len());
    assert!(lost.is_empty(), "told to be created, and not there: {lost:?}");
    stack.down();
}

/// The name of the machine that this answer says was created.
fn made(asked: &Asked) -> Option<&str> {
    asked.answer.is_ok().then(|| asked.answer.body["metadata"]["name"].as_str()).flatten()
}

/// Reads what each backend has, and writes machines, one after the other.
async fn client(
    api: Api,
    number: usize,
    targets: Vec<&'static Target>,
    stopped: watch::Receiver<()>,
) -> Vec<Asked> {
    let mut asked = Vec::new();
    for turn in 0.. {
        let (what, service, answer) = match turn % 4 {
            0 => {
                let name = format!("load-{number}-{turn}");
                let machine = json!({
                    "apiVersion": "inventory.example.com/v1", "kind": "Machine", "metadata": {"name": name},
                    "spec": {"serial": name, "rack": "local", "cpus": 1, "memory": "1Gi"},
                });
                ("create a machine", "inventory", api.send(Method::POST, MACHINES, Some(&machine)).await)
            }
            1 => {
                let change = json!({"metadata": {"labels": {"turn": turn.to_string()}}});
                (
                    "patch a machine",
                    "inventory",
                    api.send(Method::PATCH, &format!("{MACHINES}/atlas"), Some(&change)).await,
                )
            }
            2 => ("list of machines", "inventory", api.get(&format!("{MACHINES}?limit=50")).await),
            _ => {
                let target = targets[turn / 4 % targets.len()];
                (target.read_as, target.service, api.get(target.read).await)
            }
        };
        asked.push(Asked { what, service, answer });
        if stopped.has_changed().is_err() {
            break;
        }
        sleep(PAUSE).await;
    }
    asked
}

async fn discovery(api: Api, groups: Vec<&'static str>, stopped: watch::Receiver<()>) -> Vec<Asked> {
    let mut asked = Vec::new();
    for path in groups.iter().copied().chain(["/apis", "/openapi/v3"]).cycle() {
        asked.push(Asked { what: "discovery", service: "kubridge", answer: api.get(path).await });
        if stopped.has_changed().is_err() {
            break;
        }
        sleep(DISCOVERY_PACE).await;
    }
    asked
}

/// Every service in turn, killed and paused in turn, and as many of these as there is time for.
async fn disturb(stack: &Stack, targets: &[&'static Target]) -> Vec<Happened> {
    let length = Duration::from_secs(setting("KUBRIDGE_TEST_COMPOSE_SECONDS").parse().unwrap());
    // After `metrics`, which must measure before it answers, comes one that it does not need.
    let services: Vec<(Container, &Target)> = ["inventory", "library", "kubridge", "metrics", "postgres"]
        .into_iter()
        .filter(|service| stack.has(service))
        .map(|service| {
            let by = if service == "postgres" { "library" } else { service };
            let target = targets.iter().find(|target| target.service == by).unwrap_or(&targets[0]);
            (stack.container(service), *target)
        })
        .collect();
    let begin = Instant::now();
    let mut happened = JoinSet::new();
    for turn in 0.. {
        let due = EACH * turn;
        if due + EACH > length {
            break;
        }
        sleep((begin + due).saturating_duration_since(Instant::now())).await;
        let turn = turn as usize;
        let (container, target) = services[turn % services.len()].clone();
        // With an even number of services each would meet the same fate forever.
        let fate = turn + turn / services.len() * (services.len() + 1);
        let outage = if fate.is_multiple_of(2) { Outage::Killed } else { Outage::Paused };
        let away = Instant::now();
        outage.begin(&container);
        sleep(AWAY).await;
        let back = outage.end(&container);
        let api = stack.api.clone();
        // The next one does not wait for it.
        happened.spawn(async move {
            api.until_ok(target.read, Duration::from_secs(60)).await;
            Happened {
                second: (away - begin).as_secs(),
                outage,
                service: container.service,
                period: (away, Instant::now()),
                recovery: back.elapsed(),
            }
        });
    }
    sleep((begin + length).saturating_duration_since(Instant::now())).await;
    let mut happened = happened.join_all().await;
    happened.sort_by_key(|outage| outage.period.0);
    happened
}

fn report(asked: &[Asked], happened: &[Happened]) {
    let during = |answer: &Answer, outage: &Happened| {
        answer.begun + answer.took > outage.period.0 && answer.begun < outage.period.1
    };
    println!("\n| | requests | answered with 2xx | slowest | otherwise |");
    println!("|---|---|---|---|---|");
    let reads = TARGETS.map(|target| target.read_as);
    for what in
        ["discovery", "list of machines", "create a machine", "patch a machine"].into_iter().chain(reads)
    {
        let all: Vec<_> =
            asked.iter().filter(|asked| asked.what == what).map(|asked| &asked.answer).collect();
        if all.is_empty() {
            continue;
        }
        let mut kinds = BTreeMap::<String, usize>::new();
        for answer in all.iter().filter(|answer| !answer.is_ok()) {
            *kinds.entry(answer.kind()).or_default() += 1;
        }
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let ok = all.iter().filter(|answer| answer.is_ok()).count();
        let slowest = all.iter().map(|answer| answer.took).max().unwrap_or_default();
        println!("| {what} | {} | {ok} | {:.2} s | {} |", all.len(), slowest.as_secs_f64(), kinds.join(", "));
    }
    println!("\n| second | container | | requests without 2xx | slowest discovery | answered again after |");
    println!("|---|---|---|---|---|---|");
    for outage in happened {
        let near: Vec<_> = asked.iter().filter(|asked| during(&asked.answer, outage)).collect();
        let failed = near.iter().filter(|asked| !asked.answer.is_ok()).count();
        let discovery =
            near.iter().filter(|asked| asked.what == "discovery").map(|asked| asked.answer.took).max();
        println!(
            "| {} | `{}` | {} | {failed} of {} | {:.3} s | {:.2} s |",
            outage.second,
            outage.service,
            outage.outage,
            near.len(),
            discovery.unwrap_or_default().as_secs_f64(),
            outage.recovery.as_secs_f64()
        );
    }
    for Asked { what, service, answer } in asked {
        // Whatever it needs was there from its first moment to its last.
        let undisturbed = !happened.iter().any(|outage| {
            let needed = outage.service == *service
                || outage.service == "kubridge"
                || (outage.service == "postgres" && *service == "library");
            needed && during(answer, outage)
        });
        let (what, limit) = match *what {
            "discovery" => ("discovery while the aggregator was there", DISCOVERED),
            _ => (*what, LIMIT),
        };
        if undisturbed {
            assert!(answer.is_ok(), "{what}, and no outage concerned it: {answer:?}");
            assert!(answer.took < limit, "{what}, and no outage concerned it: {answer:?}");
        }
    }
}
