#![allow(clippy::unwrap_used)]
use std::time::Duration;

use http::{HeaderMap, Method};
use kubridge_bridge::{discovery_doc::VersionDocument, request_info::RequestInfo};
use serde_json::json;

use super::*;
use crate::telemetry::Phases;

const GROUP: &str = "inventory.example.com";

/// Each with its subresources.
fn document(resources: &[(&str, &[&str])]) -> Arc<VersionDocument> {
    let resources: Vec<_> = resources
        .iter()
        .map(|(name, subresources)| {
            let subresources: Vec<_> = subresources.iter().map(|name| json!({"subresource": name})).collect();
            json!({"resource": name, "scope": "Namespaced", "subresources": subresources})
        })
        .collect();
    Arc::new(serde_json::from_value(json!({"resources": resources})).unwrap())
}

/// These versions, each with machines.
fn know(metrics: &Metrics, versions: &[&str]) {
    let machines = document(&[("machines", &["status"])]);
    metrics.know(versions.iter().map(|version| Known { group: GROUP, version, document: Some(&machines) }));
}

fn tally(metrics: &Metrics, method: &Method, path: &str, query: &str) -> Tally {
    let info = RequestInfo::new(method, path, query);
    metrics.tally(&Asked::new(&info, method, query, &HeaderMap::new()))
}

fn count(metrics: &Metrics, method: &Method, path: &str, code: u16) {
    tally(metrics, method, path, "").done(code, Duration::from_millis(7), None);
}

fn path(rest: &str) -> String {
    format!("/apis/{GROUP}/v1/namespaces/default/{rest}")
}

/// The samples of one family.
fn samples(metrics: &Metrics, family: &str) -> Vec<String> {
    let text = metrics.text();
    let of_family =
        |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ', '_']));
    text.lines().filter(of_family).map(str::to_owned).collect()
}

#[test]
fn requests_are_counted_with_kubernetes_labels() {
    let metrics = Metrics::new();
    know(&metrics, &["v1"]);
    count(&metrics, &Method::GET, &path("machines/a"), 200);
    count(&metrics, &Method::GET, &path("machines/b"), 200);
    count(&metrics, &Method::GET, &path("machines/a/status"), 404);
    assert_eq!(
        samples(&metrics, "apiserver_request_total"),
        [
            r#"apiserver_request_total{verb="GET",dry_run="",group="inventory.example.com",version="v1",resource="machines",subresource="",scope="resource",component="apiserver",code="200"} 2"#,
            r#"apiserver_request_total{verb="GET",dry_run="",group="inventory.example.com",version="v1",resource="machines",subresource="status",scope="resource",component="apiserver",code="404"} 1"#,
        ]
    );
    let durations = samples(&metrics, "apiserver_request_duration_seconds");
    let has =
        |end: &str| durations.iter().any(|line| line.contains("subresource=\"\"") && line.ends_with(end));
    assert!(
        has(r#"le="0.005"} 0"#) && has(r#"le="0.025"} 2"#) && has(r#"le="60"} 2"#) && has(r#"le="+Inf"} 2"#)
    );
    assert_eq!(durations.len(), 2 * (23 + 3));
}

#[test]
fn what_nobody_serves_makes_no_series() {
    let metrics = Metrics::new();
    know(&metrics, &["v1"]);
    for i in 0..100 {
        count(&metrics, &Method::GET, &path(&format!("r{i}/a")), 404);
        count(&metrics, &Method::GET, &path(&format!("machines/a/s{i}")), 404);
        count(&metrics, &Method::GET, &format!("/apis/g{i}/v1/machines/a"), 404);
        count(&metrics, &Method::GET, &format!("/apis/g{i}"), 404);
        count(&metrics, &Method::GET, &format!("/p{i}"), 404);
        count(&metrics, &Method::from_bytes(format!("M{i}").as_bytes()).unwrap(), "/version", 405);
    }
    // Known version without the resource; anything else with and without a scope; OPTIONS and the like on /version.
    assert_eq!(samples(&metrics, "apiserver_request_total").len(), 4);
}

#[test]
fn paths_without_a_resource_are_a_closed_set() {
    let metrics = Metrics::new();
    for path in ["/livez", "/livez/ping", "/readyz", "/apis", "/apis/", "/openapi/v3/apis/x/v1", "/"] {
        count(&metrics, &Method::GET, path, 200);
    }
    let subresources: Vec<_> = samples(&metrics, "apiserver_request_total")
        .iter()
        .map(|line| {
            let rest = line.split_once("subresource=\"").unwrap().1;
            format!("{} {}", rest.split_once('"').unwrap().0, line.rsplit(' ').next().unwrap())
        })
        .collect();
    assert_eq!(subresources, ["/ 1", "/apis 2", "/livez 2", "/openapi/v3 1", "/readyz 1"]);
}

#[test]
fn series_go_on_when_a_schema_changes_and_end_with_the_claim() {
    let metrics = Metrics::new();
    know(&metrics, &["v1", "v2"]);
    count(&metrics, &Method::GET, &path("machines/a"), 200);
    let more = document(&[("machines", &["status"]), ("racks", &[])]);
    metrics.know([Known { group: GROUP, version: "v1", document: Some(&more) }]);
    count(&metrics, &Method::GET, &path("machines/a"), 200);
    count(&metrics, &Method::GET, &path("racks/a"), 200);
    assert_eq!(samples(&metrics, "apiserver_request_total").len(), 2);
    assert!(samples(&metrics, "apiserver_request_total").iter().any(|line| line.ends_with(" 2")));
    // A request that is under way when its group and version go counts nowhere.
    let late = tally(&metrics, &Method::GET, &path("machines/a"), "");
    metrics.know([]);
    late.done(200, Duration::ZERO, Some(&Phases::default()));
    assert!(!metrics.text().contains(GROUP));
}

#[test]
fn what_runs_is_counted_while_it_runs() {
    let metrics = Metrics::new();
    know(&metrics, &["v1"]);
    let mut get = tally(&metrics, &Method::GET, &path("machines/a"), "");
    metrics.begin(&mut get, &Method::GET, Instant::now());
    let mut watch = tally(&metrics, &Method::GET, &path("machines"), "watch=true");
    watch.begin_long();
    let inflight = || samples(&metrics, "apiserver_current_inflight_requests");
    assert_eq!(
        inflight(),
        [
            r#"apiserver_current_inflight_requests{request_kind="mutating"} 0"#,
            r#"apiserver_current_inflight_requests{request_kind="readOnly"} 1"#,
        ]
    );
    let long = r#"apiserver_longrunning_requests{verb="WATCH",group="inventory.example.com",version="v1",resource="machines",subresource="",scope="namespace",component="apiserver"}"#;
    let clients = r#"kubridge_watch_clients{group="inventory.example.com",version="v1",resource="machines"}"#;
    assert_eq!(samples(&metrics, "apiserver_longrunning_requests"), [format!("{long} 1")]);
    assert_eq!(samples(&metrics, "kubridge_watch_clients"), [format!("{clients} 1")]);
    drop((get, watch));
    assert_eq!(samples(&metrics, "apiserver_longrunning_requests"), [format!("{long} 0")]);
    assert_eq!(samples(&metrics, "kubridge_watch_clients"), [format!("{clients} 0")]);
}

#[test]
fn what_was_sent_on_is_counted_by_phase() {
    let metrics = Metrics::new();
    know(&metrics, &["v1"]);
    let tally = tally(&metrics, &Method::GET, &path("machines/a"), "");
    let phases = Phases { upstream: Duration::from_millis(3), ..Phases::default() };
    tally.done(504, Duration::from_millis(4), Some(&phases));
    assert_eq!(
        samples(&metrics, "apiserver_kube_aggregator_request_total"),
        [
            r#"apiserver_kube_aggregator_request_total{verb="GET",group="inventory.example.com",version="v1",code="504"} 1"#
        ]
    );
    let sum = r#"kubridge_backend_request_duration_seconds_sum{api_service="v1.inventory.example.com",phase="upstream"} 0.003"#;
    assert!(metrics.text().contains(sum));
}

#[test]
fn availability_is_counted_in_edges() {
    let metrics = Metrics::new();
    metrics.set_available("v1.g", false, "SchemaNotReadYet");
    metrics.set_available("v1.g", true, "Passed");
    for reason in ["FailedDiscoveryCheck", "FailedDiscoveryCheck", "MissingEndpoints"] {
        metrics.set_available("v1.g", false, reason);
    }
    metrics.set_available("v1.g", true, "Passed");
    metrics.set_available("v1.g", false, "");
    metrics.set_available("v2.g", true, "Passed");
    assert_eq!(
        samples(&metrics, "aggregator_unavailable_apiservice{"),
        Vec::<String>::new(),
        "a family name is no prefix of a sample"
    );
    let text = metrics.text();
    for line in [
        r#"aggregator_unavailable_apiservice{name="v1.g"} 1"#,
        r#"aggregator_unavailable_apiservice{name="v2.g"} 0"#,
        r#"aggregator_unavailable_apiservice_total{name="v1.g",reason="FailedDiscoveryCheck"} 1"#,
        r#"aggregator_unavailable_apiservice_total{name="v1.g",reason="UnknownReason"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("MissingEndpoints") && !text.contains("SchemaNotReadYet"));
    metrics.set_discovery_age("v1.g", Some(Confirmed::At(SystemTime::now() - Duration::from_secs(90))));
    metrics.set_last_known_good("v1.g", Documents { discovery: true, openapi: false });
    let text = metrics.text();
    assert!(text.contains(r#"kubridge_discovery_age_seconds{api_service="v1.g"} 90."#), "{text}");
    assert!(
        text.contains(r#"kubridge_last_known_good_documents{api_service="v1.g",document="discovery"} 1"#)
    );
    metrics.keep(|name| name != "v2.g");
    metrics.forget("v1.g");
    assert!(!metrics.text().contains("v1.g") && !metrics.text().contains("v2.g"));
}

#[test]
fn reasons_are_few_whatever_somebody_writes_into_a_status() {
    let metrics = Metrics::new();
    for i in 0..1000 {
        metrics.set_available("v1.g", true, "Passed");
        metrics.set_available("v1.g", false, &format!("Reason{i}"));
    }
    let lines = samples(&metrics, "aggregator_unavailable_apiservice_total");
    assert_eq!(lines.len(), 33);
    let other = r#"aggregator_unavailable_apiservice_total{name="v1.g",reason="other"} 968"#;
    assert!(lines.iter().any(|line| line == other), "{lines:?}");
}

/// `UPDATE_GOLDEN=1` writes the table anew.
#[test]
fn the_documentation_lists_every_family() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let text = std::fs::read_to_string(file).unwrap();
    let (before, rest) = text.split_once("<!-- families -->\n").unwrap();
    let (table, after) = rest.split_once("<!-- end -->\n").unwrap();
    let rows = FAMILIES.iter().map(|family| {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", family.kind).to_lowercase();
        format!("| `{}` | {kind} | {} | {} |\n", family.name, labels.join(" "), family.help)
    });
    let want =
        format!("| family | kind | labels | what it says |\n|---|---|---|---|\n{}", rows.collect::<String>());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, [before, "<!-- families -->\n", &want, "<!-- end -->\n", after].concat())
            .unwrap();
    } else {
        assert_eq!(table, want, "docs/metrics.md: UPDATE_GOLDEN=1 writes it anew");
    }
}

#[test]
fn the_state_of_the_connections_is_read_at_each_scrape() {
    let metrics = Metrics::new();
    let sample = BackendSample {
        backend: "grpc://a:1".into(),
        requests_in_flight: 2,
        watches_in_flight: 1,
        retries: vec![("not_run", 3)],
        ejections: 4,
        dials: 5,
        failed_dials: 6,
        rejected: 7,
        retries_over_budget: 8,
        addresses: 9,
        connections: 10,
    };
    metrics.read_backends(move || vec![sample.clone(), sample.clone()]);
    let text = metrics.text();
    for line in [
        r#"kubridge_backend_requests_in_flight{backend="grpc://a:1"} 2"#,
        r#"kubridge_backend_watches_in_flight{backend="grpc://a:1"} 1"#,
        r#"kubridge_backend_retries_total{backend="grpc://a:1",reason="not_run"} 3"#,
        r#"kubridge_backend_ejections_total{backend="grpc://a:1"} 4"#,
        r#"kubridge_backend_dials_total{backend="grpc://a:1"} 5"#,
        r#"kubridge_backend_failed_dials_total{backend="grpc://a:1"} 6"#,
        r#"kubridge_backend_rejected_requests_total{backend="grpc://a:1"} 7"#,
        r#"kubridge_backend_retries_over_budget_total{backend="grpc://a:1"} 8"#,
        r#"kubridge_backend_addresses{backend="grpc://a:1"} 9"#,
        r#"kubridge_backend_connections{backend="grpc://a:1"} 10"#,
        r#"kubridge_backend_ejections_total{backend="grpc://a:1 (2)"} 4"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn who_is_stood_in_for_is_counted_as_long_as_that_may_be() {
    let metrics = Metrics::new();
    let counts = metrics.brown_outs(GROUP, "v1", "machines");
    let lines = |metrics: &Metrics| {
        let text = metrics.text();
        let ours =
            |line: &&str| line.starts_with("kubridge_snapshot_") || line.starts_with("kubridge_brown_out_");
        text.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&metrics).len(), 2, "nothing is kept: {:?}", lines(&metrics));
    counts.set_kept(Some((std::time::SystemTime::now() - Duration::from_secs(90), 7)));
    counts.asked(true);
    metrics.brown_outs(GROUP, "v1", "machines").asked(true);
    counts.asked(false);
    let labels = r#"group="inventory.example.com",version="v1",resource="machines""#;
    let said = lines(&metrics);
    assert!(said[0].starts_with(&format!("kubridge_snapshot_age_seconds{{{labels}}} 9")), "{said:?}");
    assert_eq!(
        said[1..],
        [
            format!("kubridge_snapshot_objects{{{labels}}} 7"),
            format!("kubridge_brown_out_requests_total{{{labels},result=\"answered\"}} 2"),
            format!("kubridge_brown_out_requests_total{{{labels},result=\"unanswered\"}} 1"),
        ]
    );
    drop(counts);
    assert!(lines(&metrics).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_described() {
    let metrics = Metrics::new();
    let text = metrics.text();
    for (name, least) in [
        ("process_open_fds", 3.0),
        ("process_max_fds", 3.0),
        ("process_resident_memory_bytes", 100_000.0),
        ("process_virtual_memory_bytes", 100_000.0),
        ("process_threads", 1.0),
        ("process_start_time_seconds", 1.6e9),
        ("process_cpu_seconds_total", 0.0),
    ] {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value >= least, "{line}");
    }
}

#[test]
fn families_are_named_by_the_rules() {
    for (at, family) in FAMILIES.iter().enumerate() {
        assert!(
            !FAMILIES[..at].iter().any(|other| other.name == family.name),
            "{} is there twice",
            family.name
        );
        assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
        assert!(family.help.ends_with('.'), "{}", family.name);
    }
}

/// What a request pays: microseconds would show in its cost, which is some 30 of them.
#[test]
fn counting_a_request_costs_next_to_nothing() {
    let metrics = Metrics::new();
    know(&metrics, &["v1"]);
    let (method, path, headers) = (Method::GET, path("machines/a"), HeaderMap::new());
    let info = RequestInfo::new(&method, &path, "");
    let now = Instant::now();
    let count = |times: u32| {
        let begun = Instant::now();
        for _ in 0..times {
            let mut tally = metrics.tally(&Asked::new(&info, &method, "", &headers));
            metrics.begin(&mut tally, &method, now);
            tally.done(200, Duration::from_millis(1), Some(&Phases::default()));
        }
        begun.elapsed() / times
    };
    count(1000);
    // The least of several: others may use the processor too.
    let each = (0..20).map(|_| count(1000)).min().unwrap();
    println!("{each:?} each");
    assert!(each < Duration::from_micros(10), "{each:?}, and that is with little optimization");
}
