//! One row, from a backend in working order to one that is in working order again.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::{
    load::{Asks, Load, Sample},
    row::{Answer, Row},
    victim::{Kind, Ledger, MACHINES, NAME, Victim},
};
use crate::support::{
    Ca, Options, Stack,
    extension::{Extension, Speaks},
    https::{api_service, register},
};

/// How long everything is well before the fault.
const BEFORE: Duration = Duration::from_millis(1500);
/// A fault is found out in this time.
const FOUND_OUT: Duration = Duration::from_secs(3);
/// The first good answer comes within this time of the backend's return.
const RECOVERS: Duration = Duration::from_secs(1);
/// What a fault of another backend would cost who waited for it; a busy machine costs less.
const HICCUP: Duration = Duration::from_secs(1);
/// A broken backend may be asked for its schema, documents and health so often in a second.
const QUESTIONS: f64 = 5.0;
/// The condition may change so often in a second of a fault.
const CHANGES: u32 = 1;

/// The healthy backends beside each broken one.
pub struct Neighbours {
    grpc: inventory::Running,
    https: Extension,
    ca: Ca,
}

impl Neighbours {
    pub async fn start() -> Self {
        let options =
            inventory::Options { listen: ([127, 0, 0, 1], 0).into(), ..inventory::Options::default() };
        let ca = Ca::new("neighbours");
        let https = Extension::echo(&ca, Speaks::http2()).await;
        Self { grpc: inventory::Server::start(options).await.unwrap(), https, ca }
    }
}

/// `Available` as it was written: when, and status, reason and message.
type Conditions = Vec<(Instant, [String; 3])>;

/// What was seen of one row.
pub struct Seen {
    pub samples: Vec<Sample>,
    pub conditions: Conditions,
    /// When the fault began to be done, and when it was.
    pub harming_at: Instant,
    pub harmed_at: Instant,
    /// When it began to be taken away, and when it was.
    pub mending_at: Instant,
    pub mended_at: Instant,
    /// The first good answers after that, to a GET and to a POST.
    pub good_at: [Option<Instant>; 2],
    pub ledger: Ledger,
}

impl Seen {
    /// What was asked, and begun in the time between.
    pub fn between(&self, asks: Asks, from: Instant, to: Instant) -> impl Iterator<Item = &Sample> + Clone {
        self.samples.iter().filter(move |s| s.asks == asks && s.begun >= from && s.begun < to)
    }

    /// What was asked while the fault lasted.
    pub fn harmed(&self, asks: Asks) -> impl Iterator<Item = &Sample> + Clone {
        self.between(asks, self.harmed_at, self.mended_at)
    }

    /// Whether a request was under way when the fault was taken away, and its answer is for that.
    pub fn outlasted(&self, sample: &Sample) -> bool {
        sample.ended() >= self.mending_at
            && matches!(sample.answer, Answer::Good | Answer::Unavailable | Answer::Unknown)
    }

    /// The condition when the fault was taken away.
    pub fn available(&self) -> [String; 3] {
        let mut before = self.conditions.iter().filter(|(at, _)| *at <= self.mending_at);
        before.next_back().map(|(_, said)| said.clone()).unwrap_or_default()
    }

    /// When the condition became what it was in the end; `None`: it never changed.
    pub fn available_since(&self) -> Option<Instant> {
        let said = self.available();
        let harmed =
            self.conditions.iter().filter(|(at, _)| *at >= self.harming_at && *at <= self.mending_at);
        harmed.filter(|(_, then)| then[..2] == said[..2]).map(|(at, _)| *at).next()
    }

    /// When the condition was True for good.
    pub fn settled_at(&self) -> Option<Instant> {
        let mut settled = Some(self.mended_at);
        for (at, [status, ..]) in &self.conditions {
            match (status.as_str(), settled) {
                ("True", None) => settled = Some(*at),
                ("True", Some(_)) => {}
                _ => settled = None,
            }
        }
        settled.map(|at| at.max(self.mended_at))
    }
}

/// Does it all.
pub async fn run(row: &Row, kind: Kind, neighbours: &Neighbours) -> Seen {
    let mut victim = Victim::start(row.fault, kind).await;
    let stack = Stack::with(Options {
        backend: Some(neighbours.grpc.addr),
        args: vec![victim.rule(), format!("--service-resolution=wardle/echo={}", neighbours.https.addr)],
        ..Options::default()
    })
    .await;
    register(&stack, &api_service(Some(&neighbours.ca.pem()))).await;
    register(&stack, &victim.api_service()).await;
    let conditions: Arc<Mutex<Conditions>> = Arc::default();
    let watching = watch(&stack, Arc::clone(&conditions)).await;
    let object = format!("{MACHINES}/one");
    stack.until(|stack| stack.serves(&object)).await;
    stack.until(async |stack| stack.available("v1.echo.example.com").await[0] == "True").await;
    stack
        .until(async |_| conditions.lock().unwrap().last().is_some_and(|(_, said)| said[1] == "Passed"))
        .await;

    let load = Load::start(&stack.client).await;
    load.crowd();
    tokio::time::sleep(BEFORE).await;
    load.crowd();
    let harming_at = Instant::now();
    victim.harm().await;
    let harmed_at = Instant::now();
    for asks in [Asks::Get, Asks::Post] {
        load.ask(asks);
    }
    tokio::time::sleep(row.lasts.saturating_sub(harmed_at.elapsed())).await;
    let mending_at = victim.mend().await;
    let mended_at = Instant::now();
    let good_at = [load.good_since(Asks::Get, mended_at).await, load.good_since(Asks::Post, mended_at).await];
    let settled = || conditions.lock().unwrap().last().is_some_and(|(_, said)| said[0] == "True");
    while !settled() && mended_at.elapsed() < row.settles {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let samples = load.stop().await;
    watching.abort();
    drop(stack);
    let conditions = std::mem::take(&mut *conditions.lock().unwrap());
    Seen {
        samples,
        conditions,
        harming_at,
        harmed_at,
        mending_at,
        mended_at,
        good_at,
        ledger: victim.end().await,
    }
}

/// Writes down the condition as it changes.
async fn watch(stack: &Stack, conditions: Arc<Mutex<Conditions>>) -> JoinHandle<()> {
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let mut watch = stack.watch(&format!("{path}?watch=1&fieldSelector=metadata.name%3D{NAME}")).await;
    tokio::spawn(async move {
        while let Some(event) = watch.whenever().await {
            let said = available(&event["object"]);
            let mut conditions = conditions.lock().unwrap();
            if conditions.last().is_none_or(|(_, last)| *last != said) {
                conditions.push((Instant::now(), said));
            }
        }
    })
}

fn available(service: &Value) -> [String; 3] {
    let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let condition = conditions.into_iter().find(|c| c["type"] == "Available").unwrap_or_default();
    ["status", "reason", "message"].map(|field| condition[field].as_str().unwrap_or_default().to_owned())
}

/// What of a row was not as it says.
pub fn judge(row: &Row, seen: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    judge_the_unconcerned(seen, &mut faults);
    for (asks, expected) in [(Asks::Get, row.get), (Asks::Post, row.post)] {
        let found_out = seen.harmed_at + FOUND_OUT;
        let phases = [
            ("at first", seen.harmed_at, found_out, expected.first),
            ("then", found_out, seen.mended_at, expected.then),
        ];
        for (phase, from, to, answers) in phases {
            for sample in seen.between(asks, from, to) {
                if !answers.contains(&sample.answer) && !seen.outlasted(sample) {
                    faults.push(format!("{phase}, wanted {answers:?}: {}", told(sample, seen.harmed_at)));
                }
                if sample.took > row.longest {
                    faults.push(format!("{phase}, too late: {}", told(sample, seen.harmed_at)));
                }
            }
        }
        if seen.harmed(asks).next().is_none() {
            faults.push(format!("{asks:?}: nobody asked"));
        }
        judge_recovery(asks, row, seen, &mut faults);
    }
    for sample in seen.samples.iter().filter(|sample| sample.asks == Asks::Post) {
        let runs = seen.ledger.runs(&sample.name);
        let right = match sample.answer {
            Answer::Good | Answer::Internal | Answer::Broken => runs == 1,
            Answer::Unavailable => runs == 0,
            Answer::Unknown | Answer::Other => runs <= 1,
        };
        if !right {
            faults.push(format!("it ran {runs} times: {}", told(sample, seen.harmed_at)));
        }
    }
    judge_conditions(row, seen, &mut faults);
    let seconds = (seen.mended_at - seen.harmed_at + BEFORE).as_secs_f64();
    if seen.ledger.questions() as f64 > 20.0 + QUESTIONS * seconds {
        faults.push(format!("it was asked {} questions in {seconds:.1} s", seen.ledger.questions()));
    }
    faults
}

/// Discovery and the other backends: as before, and as quick as before.
fn judge_the_unconcerned(seen: &Seen, faults: &mut Vec<String>) {
    for asks in Asks::UNCONCERNED {
        let all = || seen.samples.iter().filter(|sample| sample.asks == asks);
        for sample in all().filter(|sample| sample.answer != Answer::Good) {
            faults.push(format!("touched: {}", told(sample, seen.harmed_at)));
        }
        let (before, after): (Vec<_>, Vec<_>) = all().partition(|sample| sample.begun < seen.harming_at);
        let [before, after] = [before, after].map(|samples| times(samples.into_iter()));
        let (Some([usual, most]), Some([median, longest])) = (before, after) else {
            faults.push(format!("{asks:?}: nobody asked"));
            continue;
        };
        if longest > HICCUP.max(most * 4) || median > usual * 3 + HICCUP / 10 {
            faults.push(format!(
                "{asks:?} took {median:?}, at most {longest:?}; before the fault {usual:?}, at most {most:?}"
            ));
        }
    }
}

fn judge_recovery(asks: Asks, row: &Row, seen: &Seen, faults: &mut Vec<String>) {
    let [get, post] = seen.good_at;
    let (first, expected) = if asks == Asks::Get { (get, row.get) } else { (post, row.post) };
    let Some(first) = first else {
        return faults.push(format!("{asks:?}: no good answer after the backend's return"));
    };
    // The first POST is sent when a GET has been answered.
    let since = if asks == Asks::Get { Some(seen.mended_at) } else { get };
    if since.is_some_and(|since| first.saturating_duration_since(since) > RECOVERS) {
        let late = first - seen.mended_at;
        faults.push(format!("{asks:?}: the first good answer came {late:?} after the backend's return"));
    }
    for sample in seen.samples.iter().filter(|sample| sample.asks == asks) {
        let allowed = match sample.begun {
            begun if begun < seen.harmed_at => {
                // Under way when the fault began.
                sample.ended() >= seen.harming_at && expected.first.contains(&sample.answer)
            }
            begun if begun < seen.mended_at => true,
            begun if begun < first => {
                matches!(sample.answer, Answer::Unavailable | Answer::Unknown)
                    || expected.then.contains(&sample.answer)
            }
            _ => false,
        };
        if sample.answer != Answer::Good && !allowed {
            faults.push(format!("wanted a good answer: {}", told(sample, seen.harmed_at)));
        }
    }
}

fn judge_conditions(row: &Row, seen: &Seen, faults: &mut Vec<String>) {
    let said = seen.available();
    let [status, reason, part] = row.available;
    if said[0] != status || said[1] != reason || !said[2].contains(part) {
        faults.push(format!("wanted Available={status}, {reason}: ...{part}...; it is {said:?}"));
    }
    let changes = seen.conditions.iter().filter(|(at, _)| *at >= seen.harming_at && *at <= seen.mended_at);
    let (changes, lasted) = (changes.collect::<Vec<_>>(), seen.mended_at - seen.harmed_at);
    if changes.len() as f64 > lasted.as_secs_f64() * f64::from(CHANGES) {
        faults.push(format!("the condition changed {} times in {lasted:?}: {changes:#?}", changes.len()));
    }
    match seen.settled_at() {
        None => faults.push(format!("it is not available again: {:?}", seen.conditions.last())),
        Some(at) if at - seen.mended_at > row.settles => {
            faults.push(format!("it was available again only after {:?}", at - seen.mended_at));
        }
        Some(_) => {}
    }
}

fn told(sample: &Sample, harmed_at: Instant) -> String {
    let Sample { asks, begun, took, answer, detail, name } = sample;
    let at = match begun.checked_duration_since(harmed_at) {
        Some(after) => format!("{after:?} after the fault"),
        None => format!("{:?} before the fault", harmed_at - *begun),
    };
    format!("{asks:?} {name} {at} took {took:?}: {answer:?} {detail}")
}

/// The median and the longest; none of nothing.
pub fn times<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<[Duration; 2]> {
    let mut times: Vec<Duration> = samples.map(|sample| sample.took).collect();
    times.sort_unstable();
    Some([*times.get(times.len() / 2)?, *times.last()?])
}
