//! Objects are made, changed and removed, or it is only tried.

use http::Method;
use serde_json::{Value, json};

use super::{JSON_PATCH, MERGE_PATCH, Scene, names, refused, version};
use crate::support::Exchange;

pub async fn creates(scene: &Scene<'_>) {
    let (subject, client) = (scene.subject, scene.client);
    let empty = client.get(&scene.collection()).await.expect(200).json();
    assert_eq!(empty["kind"], format!("{}List", subject.kind), "{empty}");
    assert_eq!((&empty["apiVersion"], &empty["items"]), (&json!(scene.api_version()), &json!([])));
    version(&empty);

    let made = scene.create("one").await;
    assert_eq!((&made["apiVersion"], &made["kind"]), (&json!(scene.api_version()), &json!(subject.kind)));
    let metadata = &made["metadata"];
    assert_eq!(
        (&metadata["name"], &metadata["namespace"]),
        (&json!("one"), &json!(subject.namespaces[0])),
        "{made}"
    );
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36, "{made}");
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'), "{made}");
    assert_eq!(metadata["generation"], 1, "{made}");
    for (field, value) in scene.object("one")["spec"].as_object().unwrap() {
        assert_eq!(&made["spec"][field], value, "{made}");
    }
    assert_eq!(client.get(&scene.path("one")).await.expect(200).json(), made);
    let list = client.get(&scene.everywhere()).await.expect(200).json();
    assert_eq!(names(&list), ["one"]);
    assert_eq!(list["items"][0]["metadata"], made["metadata"]);
    assert!(version(&list) >= version(&made), "{list}");

    let mut noted = scene.labelled("noted", json!({"tier": "gold"}));
    noted["metadata"]["annotations"] = json!({"example.com/note": "read it"});
    let noted = client.post(&scene.collection(), &noted).await.expect(201).json();
    let read = client.get(&scene.path("noted")).await.expect(200).json();
    for object in [&noted, &read] {
        assert_eq!(object["metadata"]["labels"], json!({"tier": "gold"}), "{object}");
        assert_eq!(object["metadata"]["annotations"]["example.com/note"], "read it", "{object}");
    }

    let mut unnamed = scene.object("unnamed");
    unnamed["metadata"] = json!({"generateName": "any-"});
    let [first, second] = [
        client.post(&scene.collection(), &unnamed).await.expect(201).json(),
        client.post(&scene.collection(), &unnamed).await.expect(201).json(),
    ];
    let [first, second] = [&first, &second].map(|made| made["metadata"]["name"].as_str().unwrap());
    assert!(first.starts_with("any-") && second.starts_with("any-") && first != second, "{first} {second}");
    client.get(&scene.path(first)).await.expect(200);
    scene.clear().await;
}

pub async fn updates(scene: &Scene<'_>) {
    let (subject, client) = (scene.subject, scene.client);
    let made = scene.create("one").await;
    let path = scene.path("one");
    let mut wanted = made.clone();
    wanted["spec"][subject.number] = json!(5);
    let fresh = client.put(&path, &wanted).await.expect(200).json();
    assert_eq!(scene.number(&fresh), &json!(5));
    assert!(version(&fresh) > version(&made), "{fresh}");
    for same in ["uid", "creationTimestamp", "name", "namespace"] {
        assert_eq!(fresh["metadata"][same], made["metadata"][same], "{fresh}");
    }
    let generation = if subject.generation { 2 } else { 1 };
    assert_eq!(fresh["metadata"]["generation"], generation, "{fresh}");

    // The version that was read first is not the present one any more.
    wanted["spec"][subject.number] = json!(6);
    let conflict = refused(client.put(&path, &wanted).await, 409, "Conflict");
    assert_eq!(conflict["details"], scene.details("one"), "{conflict}");
    assert_eq!(client.get(&path).await.expect(200).json(), fresh, "nothing was written");

    let idle = client.put(&path, &fresh).await.expect(200).json();
    assert_eq!(idle, fresh, "nothing is changed, nothing is written");
    wanted["metadata"] = json!({"name": "one"});
    let blind = refused(client.put(&path, &wanted).await, 422, "Invalid");
    // Of this one Kubernetes tells the resource, not the kind.
    let mut details = scene.details("one");
    details["causes"] = json!([{
        "reason": "FieldValueInvalid", "field": "metadata.resourceVersion",
        "message": "Invalid value: 0: must be specified for an update",
    }]);
    assert_eq!(blind["details"], details, "{blind}");

    wanted["metadata"] = json!({"name": "one", "uid": "00000000-0000-4000-8000-000000000000"});
    wanted["metadata"]["resourceVersion"] = fresh["metadata"]["resourceVersion"].clone();
    let conflict = refused(client.put(&path, &wanted).await, 409, "Conflict");
    assert_eq!(conflict["details"], scene.details("one"), "{conflict}");
    scene.clear().await;
}

pub async fn patches(scene: &Scene<'_>) {
    let client = scene.client;
    let made = scene.create("one").await;
    let path = scene.path("one");
    let merged = client.patch(&path, MERGE_PATCH, &scene.with_number(5)).await.expect(200).json();
    assert_eq!(scene.number(&merged), &json!(5));
    assert!(version(&merged) > version(&made));
    let number = format!("/spec/{}", scene.subject.number);
    let operations = |expected: u64| {
        json!([
            {"op": "test", "path": number, "value": expected},
            {"op": "replace", "path": number, "value": 7},
            {"op": "add", "path": "/metadata/labels", "value": {"tier": "gold", "era": "classic"}},
        ])
    };
    let patched = client.patch(&path, JSON_PATCH, &operations(5)).await.expect(200).json();
    assert_eq!(
        (scene.number(&patched), &patched["metadata"]["labels"]["tier"]),
        (&json!(7), &json!("gold")),
        "{patched}"
    );
    refused(client.patch(&path, JSON_PATCH, &operations(5)).await, 422, "Invalid");
    let removal = json!({"metadata": {"labels": {"tier": null}}});
    let removed = client.patch(&path, MERGE_PATCH, &removal).await.expect(200).json();
    assert_eq!(removed["metadata"]["labels"], json!({"era": "classic"}), "{removed}");

    let mut dated = scene.with_number(8);
    dated["metadata"] = json!({"resourceVersion": made["metadata"]["resourceVersion"]});
    let conflict = refused(client.patch(&path, MERGE_PATCH, &dated).await, 409, "Conflict");
    assert_eq!(conflict["details"], scene.details("one"), "{conflict}");
    dated["metadata"] = json!({"resourceVersion": removed["metadata"]["resourceVersion"]});
    client.patch(&path, MERGE_PATCH, &dated).await.expect(200);
    let read = client.get(&path).await.expect(200).json();
    assert_eq!(scene.number(&read), &json!(8));
    scene.clear().await;
}

pub async fn dry_runs(scene: &Scene<'_>) {
    let client = scene.client;
    let made = scene.create("one").await;
    let path = scene.path("one");
    let tried =
        client.post(&format!("{}?dryRun=All", scene.collection()), &scene.object("two")).await.expect(201);
    assert_eq!(tried.json()["metadata"]["name"], "two");
    client.get(&scene.path("two")).await.expect(404);

    let path_dry = format!("{path}?dryRun=All");
    let mut wanted = made.clone();
    wanted["spec"][scene.subject.number] = json!(5);
    let tried = client.put(&path_dry, &wanted).await.expect(200).json();
    assert_eq!(scene.number(&tried), &json!(5));
    let tried = client.patch(&path_dry, MERGE_PATCH, &scene.with_number(6)).await.expect(200).json();
    assert_eq!(scene.number(&tried), &json!(6));
    client.delete(&path_dry).await.expect(200);
    client.delete(&format!("{}?dryRun=All", scene.collection())).await.expect(200);
    assert_eq!(client.get(&path).await.expect(200).json(), made, "nothing was done");

    // What would be refused is refused.
    let again = client.post(&format!("{}?dryRun=All", scene.collection()), &scene.object("one")).await;
    refused(again, 409, "AlreadyExists");
    let negative = client.patch(&path_dry, MERGE_PATCH, &scene.with_number(-1)).await;
    scene.expect_invalid(negative, "one", &scene.number_path(), "FieldValueInvalid");
    let written = client.put(&path, &wanted).await.expect(200).json();
    wanted["spec"][scene.subject.number] = json!(7);
    refused(client.put(&path_dry, &wanted).await, 409, "Conflict");
    assert_eq!(client.get(&path).await.expect(200).json(), written);
    refused(client.delete(&format!("{}?dryRun=All", scene.path("none"))).await, 404, "NotFound");
    scene.clear().await;
}

pub async fn deletes(scene: &Scene<'_>) {
    let client = scene.client;
    let made = scene.create("one").await;
    let path = scene.path("one");
    let now = client.patch(&path, MERGE_PATCH, &scene.with_number(5)).await.expect(200).json();
    let stale = json!({"resourceVersion": made["metadata"]["resourceVersion"]});
    let another = json!({"uid": "00000000-0000-4000-8000-000000000000"});
    for preconditions in [stale, another] {
        let conflict = refused(delete_if(scene, &path, &preconditions).await, 409, "Conflict");
        // Of these Kubernetes tells the kind, not the resource.
        let mut details = scene.details("one");
        details["kind"] = json!(scene.subject.kind);
        assert_eq!(conflict["details"], details, "{conflict}");
    }
    assert_eq!(client.get(&path).await.expect(200).json(), now);
    let preconditions = json!({
        "uid": now["metadata"]["uid"], "resourceVersion": now["metadata"]["resourceVersion"],
    });
    let gone = delete_if(scene, &path, &preconditions).await.expect(200).json();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    let mut details = scene.details("one");
    details["uid"] = made["metadata"]["uid"].clone();
    assert_eq!(gone["details"], details, "{gone}");
    refused(client.get(&path).await, 404, "NotFound");
    let again = scene.create("one").await;
    assert_ne!(again["metadata"]["uid"], made["metadata"]["uid"], "another object of that name");

    for (name, tier) in [("two", "gold"), ("three", "gold"), ("four", "silver")] {
        let object = scene.labelled(name, json!({"tier": tier}));
        client.post(&scene.collection(), &object).await.expect(201);
    }
    let gold = format!("{}?labelSelector=tier%3Dgold", scene.collection());
    let gone = client.delete(&gold).await.expect(200).json();
    assert_eq!(names(&gone), ["three", "two"], "{gone}");
    assert_eq!(scene.names(&scene.collection()).await, ["four", "one"]);
    scene.clear().await;
}

pub async fn finalizers(scene: &Scene<'_>) {
    let client = scene.client;
    let mut held = scene.object("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let answer = client.post(&scene.collection(), &held).await;
    if !scene.subject.finalizers {
        scene.expect_invalid(answer, "held", "metadata.finalizers", "FieldValueForbidden");
        client.get(&scene.path("held")).await.expect(404);
        return;
    }
    answer.expect(201);
    let path = scene.path("held");
    let marked = client.delete(&path).await.expect(200).json();
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    assert_eq!(client.get(&path).await.expect(200).json(), marked);
    let release = json!({"metadata": {"finalizers": null}});
    client.patch(&path, MERGE_PATCH, &release).await.expect(200);
    client.get(&path).await.expect(404);
}

async fn delete_if(scene: &Scene<'_>, path: &str, preconditions: &Value) -> Exchange {
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
    scene.client.send(scene.client.request(Method::DELETE, path).json(&options)).await
}
