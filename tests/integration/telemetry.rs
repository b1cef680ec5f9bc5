//! What can be seen of the program from outside: metrics, traces, where a request's time went.

mod dashboard;
mod otlp;

use std::{process::Stdio, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::support::{Ca, Hostile, Options, Stack, administrator, machine};
use otlp::{Collector, attribute};

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
const APISERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.inventory.example.com";
const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn with(args: &[&str]) -> Stack {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    Stack::with(Options { args, ..Options::default() }).await
}

/// The page of `--metrics-listen`.
async fn page(stack: &Stack) -> String {
    let url = format!("http://{}/metrics", stack.metrics_address());
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    response.text().await.unwrap()
}

/// The value of a series that begins like this and has these labels.
fn value(page: &str, family: &str, labels: &[&str]) -> Option<f64> {
    let has = |line: &&str| {
        line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    page.lines().find(has)?.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_under_kubernetes_names() {
    let stack = with(&["--metrics-listen=127.0.0.1:0"]).await;
    stack.client.post(MACHINES, &machine("a")).await.expect(201);
    stack.client.get(MACHINES).await.expect(200);
    stack.client.get(&format!("{MACHINES}/none")).await.expect(404);
    stack.client.get("/apis/nobody.example.com/v1/things").await.expect(404);
    let watch = stack.watch(&format!("{MACHINES}?watch=true")).await;
    let seen = page(&stack).await;
    let group = r#"group="inventory.example.com",version="v1""#;
    for (family, labels, want) in [
        ("apiserver_request_total", [r#"verb="POST""#, r#"code="201""#, group], 1.0),
        ("apiserver_request_total", [r#"verb="LIST""#, r#"scope="namespace""#, group], 1.0),
        ("apiserver_request_total", [r#"verb="GET""#, r#"code="404""#, group], 1.0),
        ("apiserver_request_duration_seconds_count", [r#"verb="POST""#, r#"scope="resource""#, group], 1.0),
        ("apiserver_kube_aggregator_request_total", [r#"verb="POST""#, r#"code="201""#, group], 1.0),
        ("apiserver_longrunning_requests", [r#"verb="WATCH""#, r#"resource="machines""#, group], 1.0),
        ("kubridge_watch_clients", [r#"resource="machines""#, "", group], 1.0),
        ("aggregator_unavailable_apiservice", [r#"name="v1.inventory.example.com""#, "", ""], 0.0),
    ] {
        assert_eq!(value(&seen, family, &labels), Some(want), "{family} {labels:?}\n{seen}");
    }
    assert!(!seen.contains("nobody.example.com"), "a client's words are no label");
    assert!(value(&seen, "aggregator_discovery_aggregation_count_total", &[]) >= Some(1.0), "{seen}");
    let upstream = [r#"api_service="v1.inventory.example.com""#, r#"phase="upstream""#];
    assert!(value(&seen, "kubridge_backend_request_duration_seconds_sum", &upstream) > Some(0.0), "{seen}");
    drop(watch);
    let ended = |page: &str| value(page, "kubridge_watch_clients", &[r#"resource="machines""#]) == Some(0.0);
    stack.until(async |stack| ended(&page(stack).await)).await;

    // The same, to whoever may ask, where the API is.
    assert!(stack.client.get("/metrics").await.expect(200).text().contains("apiserver_request_total{"));
    stack.anonymous().get("/metrics").await.expect(401);
    let plain = format!("http://{}", stack.metrics_address());
    assert_eq!(reqwest::get(format!("{plain}/readyz")).await.unwrap().status(), 200);
    let status = reqwest::get(format!("{plain}{MACHINES}")).await.unwrap();
    assert_eq!(status.status(), 404, "only those who look after the process are served here");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_claimed_is_forgotten() {
    let dir = tempfile::TempDir::new().unwrap();
    let backend = Hostile::start().await;
    let manifest = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {
            "name": "v1.inventory.example.com",
            "annotations": {"kubridge.io/backend": format!("grpc://{}", backend.addr())},
        },
        "spec": {"group": "inventory.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15},
    });
    let file = dir.path().join("apiservice.yaml");
    std::fs::write(&file, manifest.to_string()).unwrap();
    let manifests = format!("--manifests={}", dir.path().display());
    let args = vec!["--metrics-listen=127.0.0.1:0".to_owned(), manifests];
    let stack = Stack::with(Options { backend_down: true, args, ..Options::default() }).await;
    stack.until(|stack| stack.serves("/apis/inventory.example.com/v1")).await;
    stack.client.get(&format!("{MACHINES}/a")).await;
    let counted = async |stack: &Stack| page(stack).await.contains("inventory.example.com");
    stack.until(counted).await;
    std::fs::remove_file(&file).unwrap();
    stack.until(async |stack| stack.client.get(APISERVICE).await.status == 404).await;
    stack.until(async |stack| !counted(stack).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_in_and_out() {
    let collector = Collector::start().await;
    let hostile = Hostile::start().await;
    let endpoint = format!("--otlp-endpoint={}", collector.url());
    let args = vec![endpoint, "--trace-ratio=0".to_owned()];
    let mut stack = Stack::with(Options { backend: Some(hostile.addr()), args, ..Options::default() }).await;
    hostile.answer_with(&[]);
    let request = |given: &str| {
        let request = stack.client.request(Method::GET, &format!("{MACHINES}/a"));
        request.header("traceparent", given).header("tracestate", "vendor=x")
    };
    let answer = stack.client.send(request(GIVEN)).await;
    let told = hostile.asked();
    let sent = told["traceparent"].to_str().unwrap().to_owned();
    assert_eq!((&sent[..36], &sent[52..]), (&GIVEN[..36], "-01"), "the trace goes on");
    assert_ne!(&sent[36..52], &GIVEN[36..52], "the call has a span of its own");
    assert_eq!(told["tracestate"], "vendor=x");

    // Not to be recorded: the backend is told so, and the collector nothing.
    stack.client.send(request(&GIVEN.replace("-01", "-00"))).await;
    let quiet = hostile.asked()["traceparent"].to_str().unwrap().to_owned();
    assert_eq!((&quiet[..36], &quiet[52..]), (&GIVEN[..36], "-00"));
    // Nobody has decided, and none in a hundred is sampled; still the backend can tell requests apart.
    stack.client.get(&format!("{MACHINES}/a")).await;
    assert!(hostile.asked()["traceparent"].to_str().unwrap().ends_with("-00"));

    stack.stop().await;
    let (resource, spans) = collector.spans();
    assert_eq!(attribute(&resource, "service.name"), "kubridge");
    assert_eq!(spans.len(), 2, "{spans:?}");
    let find = |id: &str| spans.iter().find(|span| otlp::hex(&span.span_id) == id).unwrap();
    let client = find(&sent[36..52]);
    let server = find(&otlp::hex(&client.parent_span_id));
    assert_eq!((client.kind(), server.kind()), (otlp::Kind::Client, otlp::Kind::Server));
    assert_eq!(otlp::hex(&server.parent_span_id), GIVEN[36..52]);
    assert!(spans.iter().all(|span| otlp::hex(&span.trace_id) == GIVEN[3..35]));
    assert_eq!(server.name, "GET /apis/inventory.example.com/v1/namespaces/{namespace}/machines/{name}");
    assert_eq!(
        attribute(&server.attributes, "http.response.status_code"),
        answer.status.as_u16().to_string()
    );
    assert_eq!(attribute(&server.attributes, "kubridge.audit_id"), answer.header("audit-id"));
    assert_eq!(attribute(&client.attributes, "server.address"), format!("grpc://{}", stack.backend_addr()));
    let [begin, sent, answered, end] = [
        server.start_time_unix_nano,
        client.start_time_unix_nano,
        client.end_time_unix_nano,
        server.end_time_unix_nano,
    ];
    assert!(begin <= sent && sent < answered && answered <= end, "{spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_trace_passes_through() {
    let hostile = Hostile::start().await;
    let stack = Stack::with(Options { backend: Some(hostile.addr()), ..Options::default() }).await;
    let request = stack.client.request(Method::GET, &format!("{MACHINES}/a")).header("traceparent", GIVEN);
    stack.client.send(request.header("tracestate", "vendor=x")).await;
    let told = hostile.asked();
    assert_eq!(
        (told["traceparent"].to_str().unwrap(), &told["tracestate"]),
        (GIVEN, &"vendor=x".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_nothing_up() {
    let gone = Collector::start().await.stopped();
    let mut stack = with(&[&format!("--otlp-endpoint={gone}"), "--trace-ratio=1"]).await;
    stack.client.post(MACHINES, &machine("a")).await.expect(201);
    let stopped = tokio::time::timeout(Duration::from_secs(10), stack.stop()).await;
    stopped.expect("a stop waits a few seconds at most for the last spans");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_verified() {
    let (right, wrong) = (Ca::new("right"), Ca::new("wrong"));
    let collector = Collector::start_tls(&right).await;
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("ca.pem");
    let args = [
        &format!("--otlp-endpoint={}", collector.url()),
        &format!("--otlp-ca-file={}", file.display()),
        "--trace-ratio=1",
    ];
    for (ca, taken) in [(wrong, false), (right, true)] {
        std::fs::write(&file, ca.pem()).unwrap();
        let mut stack = with(&args).await;
        stack.client.post(MACHINES, &machine("a")).await.expect(201);
        stack.stop().await;
        assert_eq!(collector.spans().1.is_empty(), !taken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_goes_away_is_counted() {
    let stack = with(&["--metrics-listen=127.0.0.1:0"]).await;
    stack.relay.mute();
    let request = stack.client.request(Method::GET, MACHINES).send();
    tokio::time::timeout(Duration::from_millis(300), request).await.expect_err("nobody answers");
    let gone = [r#"verb="LIST""#, r#"code="499""#];
    let counted = |page: &str| value(page, "apiserver_request_total", &gone) == Some(1.0);
    stack.until(async |stack| counted(&page(stack).await)).await;
    let running = [r#"request_kind="readOnly""#];
    let idle = |page: &str| value(page, "apiserver_current_inflight_requests", &running) == Some(0.0);
    stack.until(async |stack| idle(&page(stack).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_line_of_the_log() {
    let hostile = Hostile::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_kubridge"))
        .args(["serve", "--listen=127.0.0.1:0", "--log-format=json"])
        .arg(format!("--data-dir={}", dir.path().display()))
        .arg(format!("--backend=grpc://{}", hostile.addr()))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("it serves").contains("kubeconfig") {}
    let (_, _, client) = administrator(dir.path());
    while client.get("/apis/inventory.example.com/v1").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let path = format!("{MACHINES}/a");
    let request = client.request(Method::GET, &format!("{path}?pretty=true")).header("traceparent", GIVEN);
    let answer = client.send(request).await;
    client.get("/version").await.expect(200);
    let mut found: Vec<Value> = Vec::new();
    loop {
        let line: Value = serde_json::from_str(&lines.next_line().await.unwrap().expect("it logs")).unwrap();
        let done = line["path"] == "/version";
        found.extend((line["target"] == "access" && line["path"] == *path).then_some(line));
        if done {
            break;
        }
    }
    let [line] = &found[..] else { panic!("one line: {found:?}") };
    for (field, want) in [
        ("method", json!("GET")),
        ("verb", json!("get")),
        ("code", json!(answer.status.as_u16())),
        ("bytes", json!(answer.body.len())),
        ("backend", json!(format!("grpc://{}", hostile.addr()))),
        ("user", json!("kubridge-admin")),
        ("audit_id", json!(answer.header("audit-id"))),
    ] {
        assert_eq!(line[field], want, "{field}: {line}");
    }
    let (upstream, latency) = (line["upstream_ms"].as_f64().unwrap(), line["latency_ms"].as_f64().unwrap());
    assert!(0.0 < upstream && upstream <= latency, "{line}");
    process.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_time_went_is_told_to_who_asks() {
    let stack = Stack::start().await;
    let asking = stack.client.clone().with_header("kubridge-timing", "true");
    let answer = asking.post(MACHINES, &machine("a")).await.expect(201);
    let timing = answer.header("server-timing");
    let phases: Vec<(&str, f64)> = timing
        .split(", ")
        .map(|phase| {
            let (name, duration) = phase.split_once(";dur=").unwrap();
            (name, duration.parse().unwrap())
        })
        .collect();
    let names: Vec<_> = phases.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["authn", "authz", "resolve", "upstream", "translate", "total"]);
    let (total, parts) = (phases[5].1, phases[..5].iter().map(|(_, duration)| duration).sum::<f64>());
    assert!(phases[3].1 > 0.0 && parts <= total + 0.01 && total - parts < 5.0, "{timing}");
    assert_eq!(stack.client.get(MACHINES).await.header("server-timing"), "", "nobody asked");
    let nobody = stack.anonymous().with_header("kubridge-timing", "true");
    assert_eq!(nobody.get(MACHINES).await.expect(401).header("server-timing"), "");
}
