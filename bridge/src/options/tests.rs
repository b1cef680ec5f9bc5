#![allow(clippy::unwrap_used)]

use super::*;
use crate::status::golden;

#[test]
fn bad_values_as_kube_apiserver_says_it() {
    let list = |query| ListOptions::parse(query, false).unwrap_err();
    let watch = |query| ListOptions::parse(query, true).unwrap_err();
    let write = |kind, query| WriteOptions::parse(kind, query).unwrap_err();
    for (file, error) in [
        ("070-page-limit-bad", list("limit=abc")),
        ("077-rv-match-without-rv", list("resourceVersionMatch=NotOlderThan")),
        ("079-rv-match-bad", list("resourceVersionMatch=Foo&resourceVersion=863")),
        ("080-rv-bad", list("resourceVersion=abc")),
        ("080-rv-bad", watch("watch=true&resourceVersion=abc&timeoutSeconds=2")),
        ("080-rv-bad", get_options("resourceVersion=abc").unwrap_err()),
        ("235-watchlist-no-match", watch("watch=true&sendInitialEvents=true&allowWatchBookmarks=true")),
        ("237-sendInitialEvents-on-list", list("sendInitialEvents=true&resourceVersionMatch=NotOlderThan")),
        ("238-watch-match-without-sie", watch("resourceVersionMatch=NotOlderThan&resourceVersion=879")),
        ("152-create-fieldValidation-bad", write(WriteKind::Create, "fieldValidation=Foo")),
        ("158-dryrun-bad", write(WriteKind::Create, "dryRun=Some")),
        ("127-force-on-merge", write(WriteKind::Patch, "force=true")),
    ] {
        assert_eq!(*error.status, golden(file), "{file}");
    }
}

#[test]
fn lists_and_watches() {
    let o = ListOptions::parse(
        "limit=-1&labelSelector=a+in+(b,c)&fieldSelector=metadata.name%3Dx&foo=bar",
        false,
    );
    let o = o.unwrap();
    assert_eq!((o.wire.limit, o.labels.requirements().len()), (0, 1));
    assert_eq!(o.fields.requires_exact_match("metadata.name"), Some("x"));
    let o = ListOptions::parse(
        "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&resourceVersion=0&timeoutSeconds=7",
        true,
    )
    .unwrap();
    assert!(o.wants_initial_events() && o.wire.allow_watch_bookmarks && o.wire.watch);
    assert_eq!((o.version, o.wire.timeout_seconds), (0, Some(7)));
    assert!(ListOptions::parse("continue=x&resourceVersion=0", false).is_ok());
    for (query, watch) in [
        ("continue=x&resourceVersion=5", false),
        ("continue=x&resourceVersion=5&resourceVersionMatch=Exact", false),
        ("resourceVersion=0&resourceVersionMatch=Exact", false),
        ("resourceVersion=18446744073709551616", false),
        ("resourceVersion=%2B5", false),
        ("limit=", false),
        ("limit=9223372036854775808", false),
        ("labelSelector=a+b", false),
        ("fieldSelector=a", true),
        ("sendInitialEvents=true&resourceVersionMatch=Exact", true),
    ] {
        assert!(ListOptions::parse(query, watch).is_err(), "{query}");
    }
}

#[test]
fn writes() {
    let o =
        WriteOptions::parse(WriteKind::Update, "dryRun=All&fieldManager=me&fieldValidation=Strict").unwrap();
    assert_eq!(o.field_validation, FieldValidation::Strict);
    assert_eq!(o.update().dry_run, ["All"]);
    assert_eq!((o.create().field_manager.as_str(), o.patch().field_validation.as_str()), ("me", "Strict"));
    let o = WriteOptions::parse(WriteKind::Create, "").unwrap();
    assert_eq!((o.dry_run, o.field_validation), (false, FieldValidation::Warn));
    let long = format!("fieldManager={}", "x".repeat(129));
    for query in [long.as_str(), "fieldManager=a%0Ab", "dryRun=All&dryRun=x", "dryRun="] {
        assert_eq!(
            WriteOptions::parse(WriteKind::Create, query).unwrap_err().code().as_u16(),
            422,
            "{query}"
        );
    }
}

#[test]
fn deletes() {
    let parse = |query: &str, body: &str| DeleteOptions::parse(query, body.as_bytes(), "g.io");
    let o = parse("gracePeriodSeconds=-5&propagationPolicy=Foreground&dryRun=All", " \n").unwrap();
    assert_eq!(o.wire.grace_period_seconds, Some(1));
    assert_eq!(o.wire.propagation_policy.as_deref(), Some("Foreground"));
    assert!(o.dry_run);
    let body = r#"{"kind":"DeleteOptions","apiVersion":"APIV","preconditions":{"uid":"u","resourceVersion":"5"},"unknown":1}"#;
    for version in ["v1", "meta.k8s.io/v1", "g.io/v1beta1"] {
        let o = parse("dryRun=All", &body.replace("APIV", version)).unwrap();
        let preconditions = o.wire.preconditions.unwrap();
        assert_eq!(
            (preconditions.uid.as_deref(), preconditions.resource_version.as_deref()),
            (Some("u"), Some("5"))
        );
        // kube-apiserver forgets the query where there is a body: it would delete.
        assert!(o.dry_run);
    }
    for (query, body, code) in [
        ("", body.replace("APIV", "other.io/v1").as_str(), 400),
        ("", r#"{"kind":"Pod","apiVersion":"v1"}"#, 400),
        ("", "[]x", 400),
        ("", r#"{"gracePeriodSeconds":"x"}"#, 400),
        ("gracePeriodSeconds=x", "", 400),
        ("propagationPolicy=Never", "", 422),
        ("propagationPolicy=Orphan&orphanDependents=true", "", 422),
        ("", r#"{"dryRun":["Some"]}"#, 422),
    ] {
        assert_eq!(parse(query, body).unwrap_err().code().as_u16(), code, "{query} {body}");
    }
}

#[test]
fn timeouts() {
    for (query, want) in [
        ("timeout=30s", Some(30_000)),
        ("timeout=1m1.5s", Some(61_500)),
        ("timeout=100ms", Some(100)),
        ("timeout=0", None),
        ("timeout=", None),
        ("", None),
    ] {
        assert_eq!(request_timeout(query).unwrap(), want.map(Duration::from_millis), "{query}");
    }
    for query in ["timeout=5", "timeout=-5s", "timeout=s", "timeout=1x", "timeout=1..s", "timeout=1e400h"] {
        assert_eq!(request_timeout(query).unwrap_err().code().as_u16(), 400, "{query}");
    }
}

#[test]
fn queries_are_read_as_go_reads_them() {
    let query = Query::parse("a=1&a=2&b&c=%zz&d=x;y&e=%41+b&f=%C3%A9&g=%ff");
    assert_eq!(
        (query.get("a"), query.get("b"), query.get("c"), query.get("d")),
        (Some("1"), Some(""), None, None)
    );
    assert_eq!(
        (query.get("e"), query.get("f"), query.get("g")),
        (Some("A b"), Some("\u{e9}"), Some("\u{fffd}"))
    );
    assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
}
