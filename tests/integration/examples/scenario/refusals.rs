//! Every error, each as the Status that Kubernetes has for it.

use http::Method;
use serde_json::{Value, json};

use super::{JSON, JSON_PATCH, MERGE_PATCH, Pages, Scene, reads, refused, version};
use crate::support::Exchange;

/// More than the limit of 3 MiB.
const TOO_LONG: usize = 3 * 1024 * 1024 + 1;

/// A version that no backend reaches in the time of a test.
const FUTURE: u64 = 9_000_000_000_000_000_000;

/// 404 and 405.
pub async fn nothing_there(scene: &Scene<'_>) {
    let client = scene.client;
    let path = scene.path("none");
    for answer in [
        client.get(&path).await,
        client.put(&path, &scene.object("none")).await,
        client.patch(&path, MERGE_PATCH, &scene.with_number(5)).await,
        client.delete(&path).await,
    ] {
        let status = refused(answer, 404, "NotFound");
        assert_eq!(status["details"], scene.details("none"), "{status}");
        let what = format!("{}.{} \"none\" not found", scene.subject.plural, scene.subject.group);
        assert_eq!(status["message"], what);
    }
    let unknown = [
        format!("{}/namespaces/default/nonsense", scene.api()),
        format!("{}/nonsense/none", scene.path("none")),
        format!("/apis/{}/v9/{}", scene.subject.group, scene.subject.plural),
    ];
    for path in unknown {
        let status = refused(client.get(&path).await, 404, "NotFound");
        assert_eq!(status["details"], json!({}), "{path}: {status}");
    }
    let nowhere = scene.collection_in("nowhere");
    assert_eq!(scene.names(&nowhere).await, [""; 0], "a namespace without objects");
    if !scene.subject.parents.is_empty() {
        refused(client.post(&nowhere, &scene.object("none")).await, 404, "NotFound");
    }
    for answer in [
        client.put(&scene.collection(), &scene.object("none")).await,
        client.patch(&scene.collection(), MERGE_PATCH, &json!({})).await,
        client.post(&path, &scene.object("none")).await,
        client.post(&scene.everywhere(), &scene.object("none")).await,
    ] {
        refused(answer, 405, "MethodNotAllowed");
    }
}

/// 401 and 403.
pub async fn strangers(scene: &Scene<'_>) {
    let made = scene.create("one").await;
    let (collection, path) = (scene.collection(), scene.path("one"));
    let ann = scene.stack.anonymous().with_header("authorization", "Bearer s3cret");
    let wanted = scene.with_number(5);
    for (verb, name, answer) in [
        ("list", "", ann.get(&collection).await),
        ("watch", "", ann.get(&format!("{collection}?watch=1")).await),
        ("create", "", ann.post(&collection, &scene.object("two")).await),
        ("deletecollection", "", ann.delete(&collection).await),
        ("get", "one", ann.get(&path).await),
        ("update", "one", ann.put(&path, &made).await),
        ("patch", "one", ann.patch(&path, MERGE_PATCH, &wanted).await),
        ("delete", "one", ann.delete(&path).await),
    ] {
        let status = refused(answer, 403, "Forbidden");
        let mut details = scene.details(name);
        if name.is_empty() {
            details.as_object_mut().unwrap().remove("name");
        }
        assert_eq!(status["details"], details, "{status}");
        let message = status["message"].as_str().unwrap();
        for word in ["\"ann\"", verb, scene.subject.plural, scene.subject.group, scene.subject.namespaces[0]]
        {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    let nobody = scene.stack.anonymous();
    let guess = scene.stack.anonymous().with_header("authorization", "Bearer guessed");
    for client in [nobody, guess] {
        refused(client.get(&path).await, 401, "Unauthorized");
        refused(client.delete(&path).await, 401, "Unauthorized");
    }
    assert_eq!(scene.client.get(&path).await.expect(200).json(), made, "nothing was done");
    assert_eq!(scene.names(&collection).await, ["one"]);
    scene.clear().await;
}

/// 409 of a create. (Those of stale versions are where objects are written.)
pub async fn taken_names(scene: &Scene<'_>) {
    let client = scene.client;
    let made = scene.create("one").await;
    let again = client.post(&scene.collection(), &scene.object("one")).await;
    let status = refused(again, 409, "AlreadyExists");
    assert_eq!(status["details"], scene.details("one"), "{status}");
    let what = format!("{}.{} \"one\" already exists", scene.subject.plural, scene.subject.group);
    assert_eq!(status["message"], what);
    assert_eq!(client.get(&scene.path("one")).await.expect(200).json(), made);
    client.post(&scene.elsewhere(), &scene.object("one")).await.expect(201);
    scene.clear().await;
}

/// 422 with causes.
pub async fn invalid_objects(scene: &Scene<'_>) {
    let (subject, client) = (scene.subject, scene.client);
    let required = format!("spec.{}", subject.required);
    let create = async |name: &str, change: &dyn Fn(&mut Value)| {
        let mut object = scene.object(name);
        change(&mut object);
        client.post(&scene.collection(), &object).await
    };
    let answer = create("bad", &|o| o["spec"][subject.number] = json!(-1)).await;
    scene.expect_invalid(answer, "bad", &scene.number_path(), "FieldValueInvalid");
    let answer = create("bad", &|o| drop(o["spec"].as_object_mut().unwrap().remove(subject.required))).await;
    scene.expect_invalid(answer, "bad", &required, "FieldValueRequired");
    let answer = create("No_DNS", &|_| ()).await;
    scene.expect_invalid(answer, "No_DNS", "metadata.name", "FieldValueInvalid");
    let answer = create("", &|_| ()).await;
    scene.expect_invalid(answer, "", "metadata.name", "FieldValueRequired");
    let answer = create("bad", &|o| o["metadata"]["labels"] = json!({"tier": "no label"})).await;
    scene.expect_invalid(answer, "bad", "metadata.labels", "FieldValueInvalid");
    assert_eq!(scene.names(&scene.collection()).await, [""; 0]);

    let made = scene.create("one").await;
    let path = scene.path("one");
    let mut wanted = made.clone();
    wanted["spec"][subject.number] = json!(-1);
    let answer = client.put(&path, &wanted).await;
    scene.expect_invalid(answer, "one", &scene.number_path(), "FieldValueInvalid");
    let answer = client.patch(&path, MERGE_PATCH, &scene.with_number(-1)).await;
    scene.expect_invalid(answer, "one", &scene.number_path(), "FieldValueInvalid");
    let removal = json!({"spec": {subject.required: null}});
    let answer = client.patch(&path, MERGE_PATCH, &removal).await;
    scene.expect_invalid(answer, "one", &required, "FieldValueRequired");
    let other = json!({"metadata": {"uid": "00000000-0000-4000-8000-000000000000"}});
    let answer = client.patch(&path, MERGE_PATCH, &other).await;
    scene.expect_invalid(answer, "one", "metadata.uid", "FieldValueInvalid");
    if let Some((field, another)) = subject.immutable {
        let answer = client.patch(&path, MERGE_PATCH, &json!({"spec": {field: another}})).await;
        scene.expect_invalid(answer, "one", &format!("spec.{field}"), "FieldValueInvalid");
    }
    for option in ["dryRun=Some", "fieldValidation=Loud"] {
        let (field, _) = option.split_once('=').unwrap();
        let answer = client.put(&format!("{path}?{option}"), &made).await;
        let status = refused(answer, 422, "Invalid");
        let cause = &status["details"]["causes"][0];
        assert_eq!(
            (&cause["field"], &cause["reason"]),
            (&json!(field), &json!("FieldValueNotSupported")),
            "{status}"
        );
    }
    assert_eq!(client.get(&path).await.expect(200).json(), made, "nothing was written");
    scene.clear().await;
}

/// 400 and 413.
pub async fn bad_requests(scene: &Scene<'_>) {
    let (subject, client) = (scene.subject, scene.client);
    let bad = |answer: Exchange| refused(answer, 400, "BadRequest");
    let create = async |change: &dyn Fn(&mut Value)| {
        let mut object = scene.object("bad");
        change(&mut object);
        client.post(&scene.collection(), &object).await
    };
    for body in ["", "{\"metadata\":{\"name\":", "[]", "\"text\""] {
        bad(post(scene, JSON, body.as_bytes().to_vec()).await);
    }
    bad(post(scene, JSON, [br#"{"metadata":{"name":""#.as_slice(), &[0xff, 0xfe], br#""}}"#].concat()).await);
    bad(create(&|o| o["spec"][subject.number] = json!("many")).await);
    bad(create(&|o| o["spec"] = json!("text")).await);
    bad(create(&|o| o["kind"] = json!("Other")).await);
    bad(create(&|o| o["apiVersion"] = json!(format!("{}/v9", subject.group))).await);
    bad(create(&|o| o["metadata"]["namespace"] = json!(subject.namespaces[1])).await);
    bad(create(&|o| o["metadata"]["resourceVersion"] = json!("1")).await);
    assert_eq!(scene.names(&scene.collection()).await, [""; 0]);

    let made = scene.create("one").await;
    let path = scene.path("one");
    bad(client.put(&path, &scene.object("other")).await);
    bad(client.patch(&path, JSON_PATCH, &json!({"spec": {}})).await);
    bad(client.patch(&path, MERGE_PATCH, &json!([])).await);
    let collection = scene.collection();
    for query in [
        "limit=many",
        "labelSelector=tier%3D%3D%3D",
        "fieldSelector=spec.nonsense%3D1",
        "resourceVersion=new",
        "watch=1&resourceVersion=new",
    ] {
        bad(client.get(&format!("{collection}?{query}")).await);
    }
    let too_long = post(scene, JSON, vec![b' '; TOO_LONG]).await;
    refused(too_long, 413, "RequestEntityTooLarge");
    assert_eq!(client.get(&path).await.expect(200).json(), made, "nothing was written");
    scene.clear().await;
}

/// 400 of a create and an update, 422 of a patch; without it a warning, or nothing.
pub async fn strict_validation(scene: &Scene<'_>) {
    let client = scene.client;
    let collection = scene.collection();
    let unknown = "unknown field \"spec.nonsense\"";
    let warning = r#"299 - "unknown field \"spec.nonsense\"""#;
    let mut odd = scene.object("one");
    odd["spec"]["nonsense"] = json!(1);
    let said =
        |status: &Value, text: &str| assert!(status["message"].as_str().unwrap().contains(text), "{status}");

    let strict = client.post(&format!("{collection}?fieldValidation=Strict"), &odd).await;
    said(&refused(strict, 400, "BadRequest"), unknown);
    client.get(&scene.path("one")).await.expect(404);
    let warned = client.post(&collection, &odd).await.expect(201);
    assert_eq!(warned.warnings(), [warning]);
    let made = warned.json();
    assert!(made["spec"].get("nonsense").is_none(), "{made}");

    odd["metadata"] = made["metadata"].clone();
    let path = scene.path("one");
    let strict_path = format!("{path}?fieldValidation=Strict");
    let strict = client.put(&strict_path, &odd).await;
    said(&refused(strict, 400, "BadRequest"), unknown);
    let quiet = client.put(&format!("{path}?fieldValidation=Ignore"), &odd).await.expect(200);
    assert!(quiet.warnings().is_empty(), "{:?}", quiet.warnings());

    let patch = json!({"spec": {"nonsense": 1}});
    let strict = refused(client.patch(&strict_path, MERGE_PATCH, &patch).await, 422, "Invalid");
    said(&strict, unknown);
    assert_eq!(strict["details"]["causes"][0]["field"], "patch", "{strict}");
    let warned = client.patch(&path, MERGE_PATCH, &patch).await.expect(200);
    assert_eq!(warned.warnings(), [warning]);

    let number = scene.subject.number;
    let twice = scene.object("two").to_string().replacen('{', &format!(r#"{{"spec":{{"{number}":1}},"#), 1);
    let request = client.request(Method::POST, &format!("{collection}?fieldValidation=Strict"));
    let strict = client.send(request.header("content-type", JSON).body(twice)).await;
    said(&refused(strict, 400, "BadRequest"), "duplicate field \"spec\"");
    scene.clear().await;
}

/// 406 and 415.
pub async fn media_types(scene: &Scene<'_>) {
    let client = scene.client;
    scene.create("one").await;
    let path = scene.path("one");
    let protobuf = "application/vnd.kubernetes.protobuf";
    for path in [&path, &scene.collection(), &format!("{}?watch=1", scene.collection())] {
        refused(client.get_as(path, protobuf).await, 406, "NotAcceptable");
    }
    refused(post(scene, "application/xml", b"<object/>".to_vec()).await, 415, "UnsupportedMediaType");
    for patch in [JSON, "application/strategic-merge-patch+json"] {
        let answer = client.patch(&path, patch, &scene.with_number(5)).await;
        refused(answer, 415, "UnsupportedMediaType");
    }
    scene.clear().await;
}

/// 410 of versions and pages that the backend does not have (any more), and 504 of a version that is still to come.
pub async fn forgotten_versions(scene: &Scene<'_>) {
    let (subject, client) = (scene.subject, scene.client);
    let collection = scene.collection();
    scene.create("one").await;
    scene.create("two").await;
    let page = client.get(&format!("{collection}?limit=1")).await.expect(200).json();
    let token = reads::continued(&page);
    assert!(!token.is_empty(), "{page}");
    for number in 0..2 * super::REMEMBERED {
        client.patch(&scene.path("one"), MERGE_PATCH, &scene.with_number(number)).await.expect(200);
    }

    // Too old, or of another server: to whoever numbers no state so low it is foreign.
    let mut watch = scene.stack.watch(&format!("{collection}?watch=1&resourceVersion=1")).await;
    let event = watch.next().await.expect("an event");
    assert_eq!(event["type"], "ERROR", "{event}");
    let status = &event["object"];
    assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Failure")), "{event}");
    assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")), "{event}");
    assert!(watch.next().await.is_none(), "and the watch ends");
    let exact = format!("{collection}?resourceVersion=1&resourceVersionMatch=Exact");
    refused(client.get(&exact).await, 410, "Expired");

    let next = format!("{collection}?limit=1&continue={token}");
    match subject.pages {
        Pages::OfAVersion => drop(refused(client.get(&next).await, 410, "Expired")),
        Pages::OfARequest => {
            assert_eq!(scene.names(&next).await, ["two"]);
            let foreign = format!("{}?limit=1&continue={token}", scene.elsewhere());
            refused(client.get(&foreign).await, 400, "BadRequest");
        }
    }
    let (code, reason) = subject.unknown_continue;
    refused(client.get(&format!("{collection}?limit=1&continue=nonsense")).await, code, reason);

    let now = client.get(&collection).await.expect(200).json();
    let known = format!("{collection}?resourceVersion={}&resourceVersionMatch=NotOlderThan", version(&now));
    assert_eq!(scene.names(&known).await, ["one", "two"]);
    let future = client.get(&format!("{}?resourceVersion={FUTURE}", scene.path("one"))).await;
    let status = refused(future, 504, "Timeout");
    assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge", "{status}");
    scene.clear().await;
}

/// Posts a body as it is to the collection.
async fn post(scene: &Scene<'_>, content_type: &str, body: Vec<u8>) -> Exchange {
    let request = scene.client.request(Method::POST, &scene.collection());
    scene.client.send(request.header("content-type", content_type.to_owned()).body(body)).await
}
