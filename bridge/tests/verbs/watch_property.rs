//! Random writes, random breaks, random selectors: what the client knows by its events is what the backend has.

use std::collections::BTreeMap;

use kubridge_bridge::caller::Ran;
use proptest::prelude::*;
use serde_json::json;

use crate::{
    fake::gone,
    support::{Client, ROBOTS, robots},
    watches::Events,
};

#[derive(Debug, Clone)]
enum Step {
    /// Makes the object, or gives it another label.
    Write {
        name: u8,
        label: u8,
    },
    Delete {
        name: u8,
    },
    /// All streams break, and so many attempts to open the next one fail: never so many that the watch gives up.
    Cut {
        clean: bool,
        refusals: usize,
    },
    /// The client reads what is there.
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u8, 0..3_u8).prop_map(|(name, label)| Step::Write { name, label }),
        2 => (0..4_u8).prop_map(|name| Step::Delete { name }),
        2 => (any::<bool>(), 0..4_usize).prop_map(|(clean, refusals)| Step::Cut { clean, refusals }),
        2 => Just(Step::Read),
    ]
}

#[derive(Debug, Clone, Copy)]
enum From {
    Present,
    Version,
}

/// What the client knows: name -> version.
#[derive(Default)]
struct View {
    objects: BTreeMap<String, u64>,
    last: u64,
    live: bool,
}

impl View {
    fn take(&mut self, event: &serde_json::Value) {
        let metadata = &event["object"]["metadata"];
        let version: u64 = metadata["resourceVersion"].as_str().unwrap_or("0").parse().unwrap();
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        let kind = event["type"].as_str().unwrap();
        if kind == "BOOKMARK" {
            self.live = true;
            assert!(version >= self.last, "a bookmark of the past");
            self.last = version;
            return;
        }
        assert!(!self.live || version > self.last, "{kind} {name} {version} after {}", self.last);
        self.last = self.last.max(version);
        match kind {
            "ADDED" => assert_eq!(self.objects.insert(name.clone(), version), None, "{name} was added twice"),
            "MODIFIED" => assert!(self.objects.insert(name.clone(), version).is_some(), "{name} was unknown"),
            "DELETED" => assert!(self.objects.remove(&name).is_some(), "{name} was unknown"),
            other => panic!("{other}: {event}"),
        }
    }
}

fn write(client: &Client, name: u8, label: u8) {
    let meta = kubridge_bridge::proto::ObjectMeta {
        name: format!("r{name}"),
        namespace: "ns".into(),
        uid: "u".into(),
        generation: 1,
        labels: [("t".to_owned(), label.to_string())].into(),
        ..Default::default()
    };
    let mut object = Vec::new();
    kubridge_bridge::wire::put_bytes(&mut object, 1, &prost::Message::encode_to_vec(&meta));
    client.fake.put(&object);
}

async fn run(before: Vec<(u8, u8)>, steps: Vec<Step>, selector: Option<u8>, from: From) {
    let client = robots();
    for (name, label) in before {
        write(&client, name, label);
    }
    let mut view = View::default();
    let labels = selector.map(|label| format!("&labelSelector=t%3D{label}")).unwrap_or_default();
    let start = match from {
        From::Present => String::new(),
        From::Version => {
            let list = client.get(&format!("{ROBOTS}?{}", labels.trim_start_matches('&'))).await.json();
            for item in list["items"].as_array().unwrap() {
                view.take(&json!({"type": "ADDED", "object": item}));
            }
            view.live = true;
            let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            view.last = version.parse().unwrap();
            format!("&resourceVersion={version}")
        }
    };
    // Version 0 is no version: with nothing written yet a watch starts with the present.
    let query = format!("allowWatchBookmarks=true&timeoutSeconds=1000{labels}{start}");
    let mut events = Events::open(&client, &query).await;
    let mut synced = matches!(from, From::Version) && view.last > 0;
    while !synced {
        let event = events.next().await.unwrap();
        view.take(&event);
        synced = event["type"] == "BOOKMARK";
    }
    for step in steps {
        match step {
            Step::Write { name, label } => write(&client, name, label),
            Step::Delete { name } => client.fake.state().remove("ns", &format!("r{name}")),
            Step::Cut { clean, refusals } => {
                let error = gone(Ran::Unknown);
                client.fake.cut((!clean).then_some(&error));
                client.fake.refuse("WatchRobots", refusals, &gone(Ran::No));
            }
            Step::Read => {
                let quiet = std::time::Duration::from_secs(11);
                while let Ok(event) = tokio::time::timeout(quiet, events.next()).await {
                    view.take(&event.unwrap());
                }
            }
        }
    }
    while let Some(event) = events.next().await {
        view.take(&event);
    }
    let expected: BTreeMap<String, u64> = client
        .fake
        .state()
        .objects
        .iter()
        .map(|((_, name), object)| (name.clone(), crate::fake::meta(object)))
        .filter(|(_, meta)| selector.is_none_or(|label| meta.labels["t"] == label.to_string()))
        .map(|(name, meta)| (name, meta.resource_version.parse().unwrap()))
        .collect();
    assert_eq!(view.objects, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_event_is_lost_or_doubled(
        before in prop::collection::vec((0..4_u8, 0..3_u8), 0..6),
        steps in prop::collection::vec(step(), 0..40),
        selector in prop::option::of(0..3_u8),
        from in prop_oneof![Just(From::Present), Just(From::Version)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(before, steps, selector, from));
    }
}
