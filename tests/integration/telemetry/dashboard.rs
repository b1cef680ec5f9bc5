//! The dashboard's queries, run by a real Prometheus over what the aggregator says.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use kubridge::metrics::FAMILIES;
use serde_json::Value;
use tempfile::TempDir;

use super::{MACHINES, page, with};
use crate::support::machine;

/// Families that say nothing as long as nothing goes wrong, or of which nobody tells yet. Their queries must be
/// understood; all others must answer.
const SILENT: [&str; 10] = [
    "aggregator_unavailable_apiservice_total",
    // The inventory has a Watch of its own.
    "kubridge_made_watch_pollers",
    "kubridge_made_watch_polls_total",
    "kubridge_made_watch_poll_duration_seconds",
    "kubridge_made_watch_changes_total",
    "kubridge_made_watch_events_total",
    "kubridge_made_watch_expired_total",
    // Nobody says what is to be answered while it is away.
    "kubridge_snapshot_age_seconds",
    "kubridge_snapshot_objects",
    "kubridge_brown_out_requests_total",
];

/// A Prometheus of its own, which ends with the test.
struct Prometheus {
    process: Child,
    url: String,
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    fn start(target: &str) -> Self {
        let program = std::env::var_os("KUBRIDGE_TEST_PROMETHEUS").expect(
            "KUBRIDGE_TEST_PROMETHEUS names a prometheus; ./test --install gets one, and `--skip prometheus` leaves this out",
        );
        let dir = TempDir::new().unwrap();
        let config = dir.path().join("prometheus.yml");
        let scrape = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: kubridge, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        fs::write(&config, scrape).unwrap();
        let mut process = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log
            .by_ref()
            .map_while(Result::ok)
            .filter(|line| line.contains("Listening on"))
            .find_map(|line| line.split_once("address=").map(|(_, rest)| rest.trim_matches('"').to_owned()))
            .expect("it says where it listens");
        // What nobody reads would block it.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        Self { process, url: format!("http://{address}/api/v1/query"), _dir: dir }
    }

    /// How many series a query has. The error: it is no query.
    async fn series(&self, query: &str) -> Result<usize, String> {
        let request = reqwest::Client::new().post(&self.url);
        let form = format!("query={}", percent(query));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        match answer["data"]["result"].as_array() {
            // NaN is what no data divided by no data is.
            Some(found) => Ok(found.iter().filter(|series| series["value"][1] != "NaN").count()),
            None => Err(answer.to_string()),
        }
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Every query of the dashboard, as Grafana would send it.
fn queries() -> Vec<String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/grafana/kubridge.json");
    let dashboard: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries.map(|query| query.replace("$__rate_interval", "5s").replace("$instance", ".*")).collect()
}

/// The families that a query names. Words that look like one and are none: a panic.
fn families(query: &str) -> Vec<&'static str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| {
        ["apiserver_", "aggregator_", "kubridge_", "process_"].iter().any(|start| word.starts_with(start))
    });
    ours.map(|word| {
        let of = |end: &str| word.strip_suffix(end).unwrap_or(word);
        let named = |name: &str| FAMILIES.iter().find(|family| family.name == name);
        let found = named(word).or_else(|| named(of("_bucket")));
        found.unwrap_or_else(|| panic!("{word} in {query} is no family")).name
    })
    .collect()
}

#[test]
fn the_dashboard_shows_every_family() {
    let shown: BTreeSet<_> = queries().iter().flat_map(|query| families(query)).collect();
    let all: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(shown, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_answers_every_query_of_the_dashboard() {
    let stack = with(&["--metrics-listen=127.0.0.1:0"]).await;
    let prometheus = Prometheus::start(&stack.metrics_address().to_string());
    let watch = stack.watch(&format!("{MACHINES}?watch=true")).await;
    let mut open: Vec<String> = queries();
    let may_be_silent = |query: &String| families(query).iter().all(|family| SILENT.contains(family));
    let mut faults = Vec::new();
    for round in 0..30 {
        stack.client.post(MACHINES, &machine(&format!("m{round}"))).await.expect(201);
        stack.client.get(MACHINES).await.expect(200);
        // The interval of the scrapes: there is no event to wait for.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut left = Vec::new();
        for query in open {
            match prometheus.series(&query).await {
                Err(error) => faults.push(error),
                Ok(0) => left.push(query),
                Ok(_) => {}
            }
        }
        open = left;
        if open.iter().all(may_be_silent) {
            break;
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    let unanswered: Vec<_> = open.iter().filter(|query| !may_be_silent(query)).collect();
    let seen = page(&stack).await;
    assert!(unanswered.is_empty(), "{unanswered:#?}\n{seen}");
    // What speaks is no exception any more.
    let spoke: Vec<_> = SILENT.iter().filter(|family| seen.contains(&format!("# TYPE {family} "))).collect();
    assert!(spoke.is_empty(), "{spoke:?} are not silent");
    drop(watch);
}
