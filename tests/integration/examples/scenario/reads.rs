//! Lists of some, lists in pages, and what happens later.

use serde_json::{Value, json};

use super::{MERGE_PATCH, Scene, names, version};
use crate::support::Watch;

pub async fn selectors(scene: &Scene<'_>) {
    let client = scene.client;
    let (here, elsewhere, everywhere) = (scene.collection(), scene.elsewhere(), scene.everywhere());
    for (collection, name, labels) in [
        (&here, "a", json!({"tier": "gold"})),
        (&here, "b", json!({"tier": "silver"})),
        (&here, "c", json!({})),
        (&elsewhere, "d", json!({"tier": "gold"})),
    ] {
        client.post(collection, &scene.labelled(name, labels)).await.expect(201);
    }
    assert_eq!(scene.names(&here).await, ["a", "b", "c"]);
    assert_eq!(scene.names(&elsewhere).await, ["d"]);
    assert_eq!(scene.names(&everywhere).await, ["a", "b", "c", "d"]);
    let by_labels: [(&str, &[&str]); 6] = [
        ("tier%3Dgold", &["a", "d"]),
        ("tier!%3Dgold", &["b", "c"]),
        ("tier", &["a", "b", "d"]),
        ("!tier", &["c"]),
        ("tier%20in%20(gold,silver)", &["a", "b", "d"]),
        ("tier%20notin%20(gold),tier", &["b"]),
    ];
    for (selector, expected) in by_labels {
        let found = scene.names(&format!("{everywhere}?labelSelector={selector}")).await;
        assert_eq!(found, expected, "{selector}");
    }
    assert_eq!(scene.names(&format!("{here}?labelSelector=tier%3Dgold")).await, ["a"]);
    for (path, selector, expected) in [
        (&here, "metadata.name%3Db", "b"),
        (&everywhere, "metadata.name%3Db", "b"),
        (&everywhere, &format!("metadata.namespace%3D{}", scene.subject.namespaces[1]), "d"),
    ] {
        let found = scene.names(&format!("{path}?fieldSelector={selector}")).await;
        assert_eq!(found, [expected], "{selector}");
    }
    let none = scene.names(&format!("{here}?fieldSelector=metadata.name%3Dd")).await;
    assert!(none.is_empty(), "{none:?}");
    let field = scene.subject.selectable.unwrap_or(scene.subject.required);
    let selected = format!("{here}?fieldSelector=spec.{field}%3Danother");
    if scene.subject.selectable.is_some() {
        let another = json!({"spec": {field: "another"}});
        client.patch(&scene.path("b"), MERGE_PATCH, &another).await.expect(200);
        assert_eq!(scene.names(&selected).await, ["b"]);
    } else {
        super::refused(client.get(&selected).await, 400, "BadRequest");
    }
    scene.clear().await;
}

pub async fn pages(scene: &Scene<'_>) {
    let client = scene.client;
    for n in 0..5 {
        let tier = if n % 3 == 0 { "gold" } else { "silver" };
        let object = scene.labelled(&format!("p{n}"), json!({"tier": tier}));
        client.post(&scene.collection(), &object).await.expect(201);
    }
    client.post(&scene.elsewhere(), &scene.object("p5")).await.expect(201);
    let found = paged(scene, &format!("{}?limit=2", scene.collection()), 2).await;
    assert_eq!(found, ["p0", "p1", "p2", "p3", "p4"]);
    let found = paged(scene, &format!("{}?limit=4", scene.everywhere()), 4).await;
    assert_eq!(found, ["p0", "p1", "p2", "p3", "p4", "p5"]);
    let gold = format!("{}?limit=1&labelSelector=tier%3Dgold", scene.collection());
    assert_eq!(paged(scene, &gold, 1).await, ["p0", "p3"]);
    scene.clear().await;
}

/// All that is listed page by page. Fails unless it is more than one page, each of at most `limit`, all of one version.
async fn paged(scene: &Scene<'_>, path: &str, limit: usize) -> Vec<String> {
    let (mut found, mut versions, mut pages) = (Vec::new(), Vec::new(), 0);
    let mut token = String::new();
    loop {
        let page = scene.client.get(&format!("{path}&continue={token}")).await.expect(200).json();
        let here = names(&page);
        assert!(here.len() <= limit, "{page}");
        found.extend(here);
        versions.push(version(&page));
        pages += 1;
        token = continued(&page);
        if token.is_empty() {
            break;
        }
    }
    assert!(pages > 1 && pages < 10, "{path}: {pages} pages");
    versions.dedup();
    assert_eq!(versions.len(), 1, "{path}: {versions:?}");
    found
}

/// The `continue` of a page, for a query. Empty: it is the last one.
pub fn continued(page: &Value) -> String {
    let token = page["metadata"]["continue"].as_str().unwrap_or_default();
    percent_encoding::utf8_percent_encode(token, percent_encoding::NON_ALPHANUMERIC).to_string()
}

pub async fn watches(scene: &Scene<'_>) {
    let client = scene.client;
    let gold = json!({"tier": "gold"});
    scene.create("w-before").await;
    let list = client.get(&scene.everywhere()).await.expect(200).json();
    let from = format!("watch=1&resourceVersion={}", version(&list));
    let mut all = Events::open(scene, "w-", &format!("{}?{from}", scene.everywhere())).await;
    client.post(&scene.elsewhere(), &scene.object("w-far")).await.expect(201);
    all.expect("ADDED", "w-far").await;

    // What was gone by then is told, if it is at all: a watch that selects is not expired by it any more.
    let list = client.get(&scene.collection()).await.expect(200).json();
    let from = format!("watch=1&resourceVersion={}", version(&list));
    let mut here = Events::open(scene, "w-", &format!("{}?{from}", scene.collection())).await;
    let selected = format!("{}?{from}&labelSelector=tier%3Dgold", scene.collection());
    let mut selected = Events::open(scene, "w-", &selected).await;
    let made = scene.create("w-one").await;
    let added = here.expect("ADDED", "w-one").await;
    assert_eq!(added, made, "nothing of elsewhere, nothing from before");
    all.expect("ADDED", "w-one").await;

    let path = scene.path("w-one");
    let changed = client.patch(&path, MERGE_PATCH, &scene.with_number(5)).await.expect(200).json();
    assert_eq!(here.expect("MODIFIED", "w-one").await, changed);
    all.expect("MODIFIED", "w-one").await;
    let label = json!({"metadata": {"labels": gold}});
    let labelled = client.patch(&path, MERGE_PATCH, &label).await.expect(200).json();
    assert_eq!(here.expect("MODIFIED", "w-one").await, labelled);
    assert_eq!(selected.expect("ADDED", "w-one").await, labelled, "it is selected now");
    let label = json!({"metadata": {"labels": {"tier": "silver"}}});
    client.patch(&path, MERGE_PATCH, &label).await.expect(200);
    selected.expect("DELETED", "w-one").await;
    here.expect("MODIFIED", "w-one").await;

    client.delete(&path).await.expect(200);
    let last = here.expect("DELETED", "w-one").await;
    assert_eq!(scene.number(&last), &json!(5), "the last state");
    assert!(version(&last) > version(&labelled), "the version of the deletion");
    client.post(&scene.collection(), &scene.labelled("w-two", gold)).await.expect(201);
    selected.expect("ADDED", "w-two").await;

    // From where another one was.
    let resume = format!("{}?watch=1&resourceVersion={}", scene.collection(), version(&last));
    Events::open(scene, "w-", &resume).await.expect("ADDED", "w-two").await;
    scene.clear().await;
}

pub async fn initial_events(scene: &Scene<'_>) {
    scene.create("i-one").await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let path = format!("{}?{query}&timeoutSeconds=3", scene.collection());
    // What went before is not in the present state, and nobody is told of it.
    let mut events = Events { watch: scene.stack.watch(&path).await, ours: "i-", late_deletions: false };
    events.expect("ADDED", "i-one").await;
    let bookmark = events.next().await.expect("the watch goes on");
    let kind = (&bookmark["type"], &bookmark["object"]["kind"]);
    assert_eq!(kind, (&json!("BOOKMARK"), &json!(scene.subject.kind)), "{bookmark}");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    scene.create("i-two").await;
    events.expect("ADDED", "i-two").await;
    while let Some(event) = events.next().await {
        assert_eq!(event["type"], "BOOKMARK", "timeoutSeconds ends it: {event}");
    }
    scene.clear().await;
}

/// What a watch tells of the objects whose names begin with `ours`.
struct Events {
    watch: Watch,
    ours: &'static str,
    late_deletions: bool,
}

impl Events {
    async fn open(scene: &Scene<'_>, ours: &'static str, path: &str) -> Self {
        let late_deletions = scene.subject.late_deletions;
        Self { watch: scene.stack.watch(path).await, ours, late_deletions }
    }

    /// The next event, but for deletions from before, where there may be some.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let event = self.watch.next().await?;
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
            if !(self.late_deletions && event["type"] == "DELETED" && !name.starts_with(self.ours)) {
                return Some(event);
            }
        }
    }

    /// The next event's object. Fails unless it is of this type and about the object of this name.
    async fn expect(&mut self, kind: &str, name: &str) -> Value {
        let event = self.next().await.expect("the watch goes on");
        let told = (&event["type"], &event["object"]["metadata"]["name"]);
        assert_eq!(told, (&json!(kind), &json!(name)), "{event}");
        event["object"].clone()
    }
}
