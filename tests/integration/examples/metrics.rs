//! `examples/metrics`: `kubectl top` prints what /proc says.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{registered, rows};
use crate::support::{Kubectl, Program, Stack, signal};

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";
const LIMIT: Duration = Duration::from_secs(60);

/// The metrics of this host, measured each 0.3 s since they began. There are no cgroups to see, so that every process
/// group is a Pod, on any machine.
async fn measured() -> (TempDir, Program) {
    let dir = TempDir::new().unwrap();
    let mut command = Program::named_by("KUBRIDGE_TEST_METRICS");
    command.args(["--listen=127.0.0.1:0", "--interval=0.3", "--window=3600", "--node-name=here"]);
    command.arg("--cgroup").arg(dir.path()).arg("--db").arg(dir.path().join("history.db"));
    (dir, Program::start(command).await)
}

/// A process that works when it is told to. It ends with the test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Worker {
    fn start() -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "read line; while :; do :; done"]).stdin(Stdio::piped()).process_group(0);
        Self(command.spawn().unwrap())
    }

    fn pod(&self) -> String {
        format!("sh-{}", self.0.id())
    }

    /// Seconds of processor time.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let columns: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        (number(columns[11]) + number(columns[12])) / ticks()
    }

    /// Resident bytes.
    fn memory(&self) -> f64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.0.id())).unwrap();
        number(statm.split(' ').nth(1).unwrap()) * getconf("PAGESIZE")
    }

    /// Works for so many seconds of processor time, and stands still for good.
    async fn work(&mut self, seconds: f64) {
        drop(self.0.stdin.take());
        let begin = Instant::now();
        while self.cpu() < seconds {
            assert!(begin.elapsed() < LIMIT, "it gets no processor");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        signal(self.0.id(), "STOP");
    }
}

fn number(text: &str) -> f64 {
    text.trim().parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn getconf(name: &str) -> f64 {
    number(&String::from_utf8(Command::new("getconf").arg(name).output().unwrap().stdout).unwrap())
}

fn ticks() -> f64 {
    getconf("CLK_TCK")
}

/// What all processors have worked, in seconds.
fn host_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let columns: Vec<f64> = stat.lines().next().unwrap().split_whitespace().skip(1).map(number).collect();
    [0, 1, 2, 5, 6, 7].iter().map(|column| columns[*column]).sum::<f64>() / ticks()
}

/// A line of /proc/meminfo, in bytes.
fn meminfo(name: &str) -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    number(line.split_whitespace().next().unwrap()) * 1024.0
}

fn host_memory() -> f64 {
    meminfo("MemTotal") - meminfo("MemFree") - meminfo("Inactive(file)")
}

/// A Quantity as a number.
fn quantity(text: &str) -> f64 {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let scale = match &text[at..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        other => panic!("{other} in {text}"),
    };
    number(&text[..at]) * scale
}

/// A duration in Go's form, as far as it comes here: "1m2.5s", "900ms".
fn seconds(text: &str) -> f64 {
    if let Some(milliseconds) = text.strip_suffix("ms") {
        return number(milliseconds) / 1e3;
    }
    let text = text.strip_suffix('s').unwrap();
    let (minutes, seconds) = text.split_once('m').unwrap_or(("0", text));
    number(minutes) * 60.0 + number(seconds)
}

/// One answer of the metrics API.
struct Reading {
    sample: u64,
    /// Seconds.
    window: f64,
    /// Seconds of processor time in the window.
    worked: f64,
    /// Bytes.
    memory: f64,
}

impl Reading {
    fn of(object: &Value, usage: &Value) -> Self {
        let window = seconds(object["window"].as_str().unwrap());
        Self {
            sample: object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap(),
            window,
            worked: quantity(usage["cpu"].as_str().unwrap()) * window,
            memory: quantity(usage["memory"].as_str().unwrap()),
        }
    }

    async fn node(stack: &Stack) -> Self {
        let node = stack.client.get(&format!("{METRICS}/nodes/here")).await.expect(200).json();
        assert_eq!(
            (&node["kind"], &node["apiVersion"]),
            (&"NodeMetrics".into(), &"metrics.k8s.io/v1beta1".into())
        );
        Self::of(&node, &node["usage"])
    }

    /// None: it has not been measured yet.
    async fn pod(stack: &Stack, name: &str) -> Option<Self> {
        let answer = stack.client.get(&format!("{METRICS}/namespaces/default/pods/{name}")).await;
        if answer.status == 404 {
            return None;
        }
        let pod = answer.expect(200).json();
        assert_eq!(pod["containers"][0]["name"], "sh");
        Some(Self::of(&pod, &pod["containers"][0]["usage"]))
    }

    /// A sample that began after now.
    async fn after_now(stack: &Stack) -> Self {
        let now = Self::node(stack).await.sample;
        let begin = Instant::now();
        loop {
            let reading = Self::node(stack).await;
            // The next one may be under way.
            if reading.sample >= now + 2 {
                return reading;
            }
            assert!(begin.elapsed() < LIMIT, "samples end at {now}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Fails unless `low <= value <= high`.
#[track_caller]
fn between(what: &str, low: f64, value: f64, high: f64) {
    assert!(low <= value && value <= high, "{what}: {value} is not from {low} to {high}");
}

/// The one line of `kubectl top ARGS` that begins with a name: millicores, and MiB.
async fn top(kubectl: &Kubectl, args: &[&str], name: &str) -> Vec<f64> {
    let table = kubectl.run(&[&["top"], args].concat()).await.ok();
    let rows = rows(&table);
    let row = rows.iter().find(|row| row.contains(&name)).unwrap_or_else(|| panic!("{name}: {table}"));
    let numbers = row
        .iter()
        .filter_map(|word| word.strip_suffix("Mi").or(word.strip_suffix('m')).or(word.strip_suffix('%')));
    numbers.map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_top_prints_what_the_host_says() {
    let before = host_cpu();
    let (_dir, program) = measured().await;
    let (stack, kubectl) = registered("metrics", &program, &[METRICS, "/api/v1"]).await;
    stack.until(async |stack: &Stack| stack.serves(&format!("{METRICS}/nodes/here")).await).await;
    let begun = host_cpu();

    let from = host_cpu();
    let first = Reading::after_now(&stack).await;
    let shown = top(&kubectl, &["nodes"], "here").await;
    let second = Reading::after_now(&stack).await;
    let to = host_cpu();
    // Some ticks are on no line of /proc/stat yet, and what is printed is rounded.
    let slack = 0.1;
    between("cpu", from - begun - slack, first.worked, to - before + slack);
    between("cpu", from - begun - slack, second.worked, to - before + slack);
    between(
        "kubectl's millicores",
        first.worked / second.window * 1e3 - 2.0,
        shown[0],
        second.worked / first.window * 1e3 + 2.0,
    );
    let cores = getconf("_NPROCESSORS_ONLN");
    between("kubectl's per cent", shown[0] / cores / 10.0 - 1.0, shown[1], shown[0] / cores / 10.0 + 1.0);

    // Others build and test on this machine: memory comes and goes.
    let slack = meminfo("MemTotal") / 5.0;
    between("memory", host_memory() - slack, second.memory, host_memory() + slack);
    let mebibytes = shown[2] * 1024.0 * 1024.0;
    between("kubectl's MiB", host_memory() - slack, mebibytes, host_memory() + slack);
    between(
        "kubectl's per cent",
        mebibytes / meminfo("MemTotal") * 100.0 - 1.0,
        shown[3],
        mebibytes / meminfo("MemTotal") * 100.0 + 1.0,
    );

    let table = kubectl.run(&["get", "nodes", "--no-headers"]).await.ok();
    let memory = rows(&table)[0][3];
    assert_eq!(rows(&table)[0][..2], ["here", "True"], "{table}");
    between("capacity", meminfo("MemTotal"), quantity(memory), meminfo("MemTotal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_top_prints_what_a_process_says() {
    let (_dir, program) = measured().await;
    let mut worker = Worker::start();
    let (stack, kubectl) = registered("metrics", &program, &[METRICS, "/api/v1"]).await;
    let name = worker.pod();
    stack
        .until(async |stack: &Stack| stack.serves(&format!("{METRICS}/namespaces/default/pods/{name}")).await)
        .await;
    let rested = worker.cpu();
    worker.work(1.0).await;
    Reading::after_now(&stack).await;

    let worked = worker.cpu() - rested;
    let first = Reading::pod(&stack, &name).await.unwrap();
    let shown = top(&kubectl, &["pods"], &name).await;
    let all = top(&kubectl, &["pods", "-A", "-l", "app.kubernetes.io/name=sh", "--containers"], &name).await;
    let second = Reading::pod(&stack, &name).await.unwrap();
    for reading in [&first, &second] {
        // Two ticks, and what it took to start.
        between("cpu", worked - 0.03, reading.worked, worker.cpu() + 0.03);
        between("memory", worker.memory(), reading.memory, worker.memory());
    }
    for shown in [shown, all] {
        between(
            "kubectl's millicores",
            first.worked / second.window * 1e3 - 2.0,
            shown[0],
            first.worked / first.window * 1e3 + 2.0,
        );
        between(
            "kubectl's MiB",
            first.memory / 1024.0 / 1024.0 - 1.0,
            shown[1],
            first.memory / 1024.0 / 1024.0,
        );
    }
    let phase = ["get", "pod", &name, "-o", "jsonpath={.status.phase} {.spec.nodeName}"];
    assert_eq!(kubectl.run(&phase).await.ok(), "Running here");
    drop(worker);
    stack.until(async |stack: &Stack| Reading::pod(stack, &name).await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_metrics_and_says_when_nobody_measures() {
    let (_dir, program) = measured().await;
    let (stack, kubectl) = registered("metrics", &program, &[METRICS, "/api/v1"]).await;
    for service in ["v1.", "v1beta1.metrics.k8s.io"] {
        kubectl.run(&["wait", "--for=condition=Available", &format!("apiservice/{service}")]).await.ok();
    }
    let text = kubectl.run(&["explain", "pod.spec.containers"]).await.ok();
    assert!(text.contains("VERSION:    v1") && text.contains("Unique within the Pod"), "{text}");
    let table = kubectl.run(&["api-resources", "--no-headers"]).await.ok();
    let found: Vec<_> = rows(&table).into_iter().filter(|row| row.contains(&"v1")).collect();
    assert_eq!(found, [vec!["nodes", "no", "v1", "false", "Node"], vec!["pods", "po", "v1", "true", "Pod"]]);
    let complaint = kubectl.run(&["delete", "pod", "x"]).await.fails();
    assert!(complaint.contains("MethodNotAllowed") || complaint.contains("NotFound"), "{complaint}");

    stack.until(async |stack: &Stack| stack.serves(&format!("{METRICS}/nodes/here")).await).await;
    assert!(program.stop().await.success());
    let complaint = kubectl.run(&["top", "nodes"]).await.fails();
    assert!(
        complaint.contains("ServiceUnavailable") || complaint.contains("Metrics API not available"),
        "{complaint}"
    );
    let table = kubectl.run(&["get", "apiservices", "v1.", "--no-headers"]).await.ok();
    assert!(table.contains("False"), "{table}");
}
