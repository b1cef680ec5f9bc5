//! Objects: made, read, changed, removed.

use std::io::Read as _;

use http::Method;
use serde_json::json;

use super::{MACHINES, RACKS};
use crate::support::{Stack, machine};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_made_managed_and_removed() {
    let stack = Stack::start().await;
    let made = stack.client.post(MACHINES, &machine("m1")).await.expect(201).json();
    let meta = &made["metadata"];
    assert_eq!(
        (&meta["name"], &meta["namespace"], &meta["generation"]),
        (&json!("m1"), &json!("default"), &json!(1))
    );
    assert_eq!(meta["uid"].as_str().unwrap().len(), 36);
    assert!(meta["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 0);

    let read = stack.client.get(&format!("{MACHINES}/m1")).await.expect(200).json();
    assert_eq!(read, made);
    let gone = stack.client.delete(&format!("{MACHINES}/m1")).await.expect(200).json();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    let missing = stack.client.get(&format!("{MACHINES}/m1")).await.expect(404).json();
    assert_eq!(
        missing["details"],
        json!({"name": "m1", "group": "inventory.example.com", "kind": "machines"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_machine_is_the_host() {
    let stack = Stack::with(crate::support::Options { seed: true, ..Default::default() }).await;
    let list = stack.client.get(MACHINES).await.expect(200).json();
    let host = &list["items"][0];
    assert!(host["spec"]["cpus"].as_u64().unwrap() >= 1, "{host}");
    assert_eq!(host["metadata"]["uid"].as_str().unwrap().len(), 36, "born outside, it still has a uid");
    assert_eq!(host["metadata"]["generation"], 1);
    let again = stack.client.get(MACHINES).await.expect(200).json();
    assert_eq!(again["items"][0]["metadata"]["uid"], host["metadata"]["uid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_conflict() {
    let stack = Stack::start().await;
    let made = stack.client.post(MACHINES, &machine("m1")).await.expect(201).json();
    let path = format!("{MACHINES}/m1");
    let mut one = made.clone();
    one["spec"]["cpus"] = json!(3);
    stack.client.put(&path, &one).await.expect(200);
    let conflict = stack.client.put(&path, &one).await.expect(409).json();
    assert_eq!(conflict["reason"], "Conflict");
    let named =
        json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "spec": {"cpus": 4}});
    stack.client.patch(&path, "application/merge-patch+json", &named).await.expect(409);
    let blind = json!({"spec": {"cpus": 4}});
    stack.client.patch(&path, "application/merge-patch+json", &blind).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_patches_at_once_all_land() {
    let stack = Stack::start().await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    let path = format!("{MACHINES}/m1");
    let patches = (0..4).map(|n| {
        let (client, path) = (stack.client.clone(), path.clone());
        async move {
            let body = json!({"spec": {"attributes": {format!("a{n}"): "x"}}});
            client.patch(&path, "application/merge-patch+json", &body).await.expect(200);
        }
    });
    futures::future::join_all(patches).await;
    let read = stack.client.get(&path).await.json();
    assert_eq!(read["spec"]["attributes"].as_object().unwrap().len(), 4, "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_spec_are_written_apart() {
    let stack = Stack::start().await;
    let mut rack = stack
        .client
        .post(RACKS, &json!({"metadata": {"name": "r1"}, "spec": {"units": 42}, "status": {"freeUnits": 9}}))
        .await
        .expect(201)
        .json();
    assert!(rack.get("status").is_none(), "status is not made with the object: {rack}");
    rack["spec"]["units"] = json!(1);
    rack["status"] = json!({"freeUnits": 40});
    let path = format!("{RACKS}/r1");
    let written = stack.client.put(&format!("{path}/status"), &rack).await.expect(200).json();
    assert_eq!((&written["status"]["freeUnits"], &written["spec"]["units"]), (&json!(40), &json!(42)));
    assert_eq!(written["metadata"]["generation"], 1);
    let mut rack = written;
    rack["spec"]["units"] = json!(20);
    rack["status"]["freeUnits"] = json!(1);
    let written = stack.client.put(&path, &rack).await.expect(200).json();
    assert_eq!((&written["status"]["freeUnits"], &written["spec"]["units"]), (&json!(40), &json!(20)));
    assert_eq!(written["metadata"]["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_runs() {
    let stack = Stack::start().await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    let path = format!("{MACHINES}/m1/powercycle");
    let dry = stack.client.post(&format!("{path}?dryRun=All"), &json!({"offFor": "3s"})).await;
    assert!(dry.status.is_success(), "{}", dry.text());
    let answer = stack.client.post(&path, &json!({"offFor": "3s"})).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["powerCycles"], 1, "{answer}: the dry run did not count");
    assert_eq!(answer["kind"], "PowerCycleMachineResponse");
    stack.client.get(&path).await.expect(405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_many_megabytes_is_whole() {
    let stack = Stack::start().await;
    let blob = "x".repeat(60_000);
    for n in 0..100 {
        let mut body = machine(&format!("m{n:03}"));
        body["spec"]["attributes"] = json!({"blob": blob});
        stack.client.post(MACHINES, &body).await.expect(201);
    }
    let whole = stack.client.get(MACHINES).await.expect(200);
    assert!(whole.body.len() > 6_000_000, "{}", whole.body.len());
    let list = whole.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 100);
    assert!(list["metadata"]["resourceVersion"].is_string());

    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page =
            stack.client.get(&format!("{MACHINES}?limit=30&continue={token}")).await.expect(200).json();
        names.extend(page["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].clone()));
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = next.replace('+', "%2B").replace('=', "%3D"),
            _ => break,
        }
    }
    let expected: Vec<_> = (0..100).map(|n| json!(format!("m{n:03}"))).collect();
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_with_the_place() {
    let stack = Stack::start().await;
    let send = |body: Vec<u8>, content_type: &'static str| {
        let request =
            stack.client.request(Method::POST, MACHINES).header("content-type", content_type).body(body);
        stack.client.send(request)
    };
    let json = "application/json";
    let truncated = send(br#"{"metadata":{"name":"#.to_vec(), json).await.expect(400).json();
    assert!(truncated["message"].as_str().unwrap().contains("line 1"), "{truncated}");
    let deep = format!("{{\"spec\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    send(deep.into_bytes(), json).await.expect(400);
    let utf8 = [br#"{"metadata":{"name":""#.as_slice(), &[0xff, 0xfe], br#""}}"#].concat();
    send(utf8, json).await.expect(400);
    send(vec![b' '; 3 * 1024 * 1024 + 1], json).await.expect(413);
    send(Vec::new(), json).await.expect(400);
    send(b"<machine/>".to_vec(), "application/xml").await.expect(415);
    let mut wrong = machine("m1");
    wrong["kind"] = json!("Rack");
    stack.client.post(MACHINES, &wrong).await.expect(400);
    let mut wrong = machine("m1");
    wrong["apiVersion"] = json!("inventory.example.com/v2");
    stack.client.post(MACHINES, &wrong).await.expect(400);
    let mut wrong = machine("m1");
    wrong["metadata"]["namespace"] = json!("elsewhere");
    stack.client.post(MACHINES, &wrong).await.expect(400);
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    stack.client.put(&format!("{MACHINES}/m1"), &machine("m2")).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_warn_or_fail_as_asked() {
    let stack = Stack::start().await;
    let mut body = machine("m1");
    body["spec"]["cpu"] = json!(1);
    let made = stack.client.post(&format!("{MACHINES}?dryRun=All"), &body).await.expect(201);
    assert_eq!(made.warnings(), [r#"299 - "unknown field \"spec.cpu\"""#]);
    let strict =
        stack.client.post(&format!("{MACHINES}?fieldValidation=Strict"), &body).await.expect(400).json();
    assert!(strict["message"].as_str().unwrap().contains(r#"unknown field "spec.cpu""#), "{strict}");
    let quiet = stack.client.post(&format!("{MACHINES}?fieldValidation=Ignore"), &body).await.expect(201);
    assert!(quiet.warnings().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_of_itself_is_not_believed() {
    let stack = Stack::start().await;
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let client =
        stack.client.clone().with_header("x-remote-user", "root").with_header("x-remote-group", "gods");
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = client.post(path, &review).await.expect(201).json();
    assert_eq!(answer["status"]["userInfo"]["username"], "kubridge-admin");
    assert!(!answer["status"]["userInfo"]["groups"].to_string().contains("gods"), "{answer}");
    let anonymous = stack.anonymous().with_header("x-remote-user", "root");
    anonymous.post(path, &review).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_shapes_of_an_object() {
    let stack = Stack::start().await;
    stack.client.post(MACHINES, &machine("m1")).await.expect(201);
    let table = stack
        .client
        .get_as(MACHINES, "application/json;as=Table;v=v1;g=meta.k8s.io")
        .await
        .expect(200)
        .json();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"][0]["cells"][0], "m1");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = stack.client.get_as(MACHINES, accept).await.expect(200).json();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"][0].get("spec").is_none(), "{list}");
    let yaml = stack.client.get_as(&format!("{MACHINES}/m1"), "application/yaml").await.expect(200);
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(yaml.text().contains("kind: Machine\n"), "{}", yaml.text());
    stack.client.get_as(MACHINES, "application/vnd.kubernetes.protobuf").await.expect(406);
    let pretty = stack.client.get(&format!("{MACHINES}/m1?pretty=true")).await.expect(200).text();
    assert!(pretty.contains("\n  \"kind\": \"Machine\""), "{pretty}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_compressed_for_who_reads_gzip() {
    let stack = Stack::start().await;
    stack.client.post(MACHINES, &machine("m0")).await.expect(201);
    let gzip = stack.client.clone().with_header("accept-encoding", "gzip");
    for path in [MACHINES.to_owned(), format!("{MACHINES}/m0")] {
        let short = gzip.get(&path).await.expect(200);
        assert!(!short.headers.contains_key("content-encoding"), "{path}");
        assert_eq!(short.header("content-length"), short.body.len().to_string(), "{path}");
        short.json();
    }
    let blob = "x".repeat(60_000);
    for n in 1..10 {
        let mut body = machine(&format!("m{n}"));
        body["spec"]["attributes"] = json!({"blob": blob, "more": blob, "most": blob});
        stack.client.post(MACHINES, &body).await.expect(201);
    }
    // Streamed, whole, and one object.
    for path in [MACHINES.to_owned(), format!("{MACHINES}?pretty=1"), format!("{MACHINES}/m1")] {
        let plain = stack.client.get(&path).await.expect(200);
        assert!(!plain.headers.contains_key("content-encoding"));
        let long = gzip.get(&path).await.expect(200);
        assert_eq!(
            (long.header("content-encoding"), long.header("vary")),
            ("gzip", "Accept-Encoding"),
            "{path}"
        );
        assert!(long.body.len() * 10 < plain.body.len(), "{path}: {}", long.body.len());
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&long.body[..]).read_to_end(&mut read).unwrap();
        assert!(read == plain.body, "{path}");
    }
    let watch =
        gzip.request(Method::GET, &format!("{MACHINES}?watch=1&timeoutSeconds=1")).send().await.unwrap();
    assert!(!watch.headers().contains_key("content-encoding"), "events must not wait for each other");
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_come_with_errors_too() {
    let stack = Stack::start().await;
    let refused = stack.client.post(MACHINES, &json!({"Metadata": {"name": "a"}})).await.expect(422);
    assert_eq!(refused.warnings(), [r#"299 - "unknown field \"Metadata\"""#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_show_what_kubernetes_shows() {
    let stack = Stack::start().await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    for query in ["", "?dryRun=All"] {
        let review = stack.client.post(&format!("{path}{query}"), &json!({})).await.expect(201).json();
        let metadata = review["metadata"].as_object().unwrap();
        assert_eq!(metadata.keys().collect::<Vec<_>>(), ["creationTimestamp"], "{review}");
        assert_eq!(review["status"]["userInfo"]["username"], "kubridge-admin", "{review}");
    }
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let spec = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "machines"}}});
    let review = stack.client.post(path, &spec).await.expect(201).json();
    assert_eq!(review["metadata"], json!({}), "{review}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_core_group_can_be_claimed() {
    let stack = Stack::start().await;
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1."},
        "spec": {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1,
                 "service": {"name": "s", "namespace": "n"}, "insecureSkipTLSVerify": true},
    });
    stack.client.post("/apis/apiregistration.k8s.io/v1/apiservices", &service).await.expect(201);
    stack.client.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_a_backend_flag_comes_back_when_it_is_deleted() {
    let stack = Stack::start().await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.inventory.example.com";
    let first = stack.client.get(path).await.expect(200).json();
    stack.client.delete(path).await.expect(200);
    let begin = std::time::Instant::now();
    loop {
        let now = stack.client.get(path).await;
        if now.status == 200 {
            assert_ne!(now.json()["metadata"]["uid"], first["metadata"]["uid"], "it was deleted");
            break;
        }
        assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{}", now.text());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_announces_too_much_is_not_waited_for() {
    let stack = Stack::start().await;
    let never = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let request = stack
        .client
        .request(Method::POST, MACHINES)
        .header("content-type", "application/json")
        .header("content-length", 100_000_000)
        .body(reqwest::Body::wrap_stream(never));
    let answer = tokio::time::timeout(std::time::Duration::from_secs(10), stack.client.send(request));
    answer.await.expect("it is answered at once").expect(413);
}
