use std::time::Duration;

use inventory::{
    Options,
    contract::{EventType, ListOptions},
};
use tonic::Code;

use crate::support::{machine, meta, next, options, start, start_with, version};

#[tokio::test]
async fn tells_each_change_with_what_was_before() {
    let bench = start().await;
    let mut stream = bench.watch_from(&bench.head().await).await.unwrap();
    let made = bench.create(machine("a")).await.unwrap();
    let mut changed = made.clone();
    changed.spec.as_mut().unwrap().rack = "r1".into();
    let changed = bench.update(changed).await.unwrap();
    bench.delete("a").await.unwrap();

    let added = next(&mut stream).await;
    assert_eq!(
        (added.r#type(), added.object.as_ref(), added.previous),
        (EventType::Added, Some(&made), None)
    );
    let modified = next(&mut stream).await;
    assert_eq!((modified.r#type(), modified.object.as_ref()), (EventType::Modified, Some(&changed)));
    assert_eq!(modified.previous.as_ref(), Some(&made));
    let deleted = next(&mut stream).await;
    assert_eq!((deleted.r#type(), deleted.previous.as_ref()), (EventType::Deleted, Some(&changed)));
    let last = deleted.object.unwrap();
    assert_eq!((version(&last), &last.spec), (version(&changed) + 1, &changed.spec));
    assert_eq!(deleted.resource_version, (version(&changed) + 1).to_string());

    let mut resumed = bench.watch_from(&added.resource_version).await.unwrap();
    assert_eq!(next(&mut resumed).await.resource_version, modified.resource_version);
    assert_eq!(next(&mut resumed).await.resource_version, deleted.resource_version);
}

#[tokio::test]
async fn starts_with_the_present_state_and_says_when_it_is_complete() {
    let bench = start().await;
    for name in ["a", "b"] {
        bench.create(machine(name)).await.unwrap();
    }
    for version in ["", "0"] {
        let mut stream = bench.watch_from(version).await.unwrap();
        for name in ["a", "b"] {
            let event = next(&mut stream).await;
            assert_eq!(
                (event.r#type(), meta(&event.object.unwrap()).name.as_str()),
                (EventType::Added, name)
            );
        }
        bench.create(machine(&format!("c{version}"))).await.unwrap();
        assert_eq!(meta(&next(&mut stream).await.object.unwrap()).name, format!("c{version}"));
        bench.delete(&format!("c{version}")).await.unwrap();
    }
    let initial = ListOptions { send_initial_events: Some(true), ..Default::default() };
    let mut stream = bench.watch(initial).await.unwrap();
    assert_eq!(next(&mut stream).await.r#type(), EventType::Added);
    assert_eq!(next(&mut stream).await.r#type(), EventType::Added);
    let synced = next(&mut stream).await;
    assert_eq!((synced.r#type(), synced.resource_version), (EventType::Synced, bench.head().await));
}

#[tokio::test]
async fn loses_nothing_and_repeats_nothing_while_many_write() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let dir = tempfile::tempdir().unwrap();
    let bench = start_with(Options { database: dir.path().join("i.db"), ..options() }).await;
    let from = bench.head().await;
    let write = |writer: usize| {
        let bench = &bench;
        async move {
            let mut machine = bench.create(machine(&format!("w{writer}"))).await.unwrap();
            for i in 1..EACH {
                machine.spec.as_mut().unwrap().cpus = i64::try_from(i).unwrap();
                machine = bench.update(machine).await.unwrap();
            }
        }
    };
    // Read with a break after every few events, each time from the last version seen.
    let read = async {
        let (mut versions, mut at) = (Vec::new(), from.clone());
        while versions.len() < WRITERS * EACH {
            let mut stream = bench.watch_from(&at).await.unwrap();
            for _ in 0..(WRITERS * EACH - versions.len()).min(7) {
                at = next(&mut stream).await.resource_version;
                versions.push(at.parse::<u64>().unwrap());
            }
        }
        versions
    };
    let write = async {
        let (a, b, c, d, e, f, g, h) =
            (write(0), write(1), write(2), write(3), write(4), write(5), write(6), write(7));
        tokio::join!(a, b, c, d, e, f, g, h)
    };
    let (versions, _) = tokio::join!(read, write);
    let first: u64 = from.parse().unwrap();
    let all: Vec<_> = (first + 1..=first + (WRITERS * EACH) as u64).collect();
    assert_eq!(versions, all);
}

#[tokio::test]
async fn a_forgotten_version_is_out_of_range_at_once() {
    let bench = start_with(Options { log_limit: 5, ..options() }).await;
    let start = bench.head().await;
    for i in 0..6 {
        bench.create(machine(&format!("m{i}"))).await.unwrap();
    }
    assert_eq!(bench.watch_from(&start).await.unwrap_err().code(), Code::OutOfRange);
    let kept = start.parse::<u64>().unwrap() + 1;
    assert_eq!(
        next(&mut bench.watch_from(&kept.to_string()).await.unwrap()).await.r#type(),
        EventType::Added
    );
    assert_eq!(
        bench.watch_from("1").await.unwrap_err().code(),
        Code::OutOfRange,
        "another database's version"
    );
    assert_eq!(bench.watch_from("x").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_watch_that_falls_behind_the_log_ends_with_an_error() {
    let bench = start_with(Options { log_limit: 2, ..options() }).await;
    let mut stream = bench.watch_from(&bench.head().await).await.unwrap();
    // More than the queue and the connection hold, while nobody reads.
    let mut last = machine("m");
    last.spec.as_mut().unwrap().cpu_model = "x".repeat(64 << 10);
    let mut last = bench.create(last).await.unwrap();
    for i in 1..200 {
        last.spec.as_mut().unwrap().cpus = i;
        last = bench.update(last).await.unwrap();
    }
    let mut versions = Vec::new();
    let error = loop {
        let event = next(&mut stream).await;
        match event.r#type() {
            EventType::Error => break event.error.unwrap(),
            _ => versions.push(event.resource_version.parse::<u64>().unwrap()),
        }
    };
    assert_eq!(error.code, Code::OutOfRange as i32);
    assert!(versions.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap before the error: {versions:?}");
    assert_eq!(stream.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_later_version_is_waited_for() {
    let bench = start().await;
    let head: u64 = bench.head().await.parse().unwrap();
    let mut stream = bench.watch_from(&(head + 1).to_string()).await.unwrap();
    bench.create(machine("a")).await.unwrap();
    bench.create(machine("b")).await.unwrap();
    assert_eq!(meta(&next(&mut stream).await.object.unwrap()).name, "b");
}

#[tokio::test]
async fn bookmarks_where_they_are_wanted_and_an_end_when_the_time_is_up() {
    let bench = start_with(Options { bookmark_every: Duration::from_millis(20), ..options() }).await;
    let options = ListOptions {
        resource_version: bench.head().await,
        allow_watch_bookmarks: true,
        timeout_seconds: Some(1),
        ..Default::default()
    };
    let mut stream = bench.watch(options).await.unwrap();
    let bookmark = next(&mut stream).await;
    assert_eq!((bookmark.r#type(), bookmark.resource_version), (EventType::Bookmark, bench.head().await));
    while let Some(event) = stream.message().await.unwrap() {
        assert_eq!(event.r#type(), EventType::Bookmark);
    }
}

#[tokio::test]
async fn what_leaves_the_selection_is_told() {
    let bench = start().await;
    let mut inside = machine("a");
    inside.spec.as_mut().unwrap().rack = "r1".into();
    let options = ListOptions {
        resource_version: bench.head().await,
        field_selector: "spec.rack=r1".into(),
        ..Default::default()
    };
    let mut stream = bench.watch(options).await.unwrap();
    bench.create(machine("other")).await.unwrap();
    let mut made = bench.create(inside).await.unwrap();
    made.spec.as_mut().unwrap().rack = "r2".into();
    let left = bench.update(made.clone()).await.unwrap();
    assert_eq!(meta(&next(&mut stream).await.object.unwrap()).name, "a");
    assert_eq!(next(&mut stream).await.object.unwrap(), left);
}
