//! Who may do what, without kubectl.

use serde_json::json;

use super::{MACHINES, RACKS};
use crate::support::{Options, Stack, machine};

const TOKENS: &str = "s3cret,ann,1001,\"dev,ops\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn always_allow_lets_everybody_with_a_name_do_everything() {
    let options = Options {
        tokens: TOKENS.into(),
        args: vec!["--authorization-mode=AlwaysAllow".into()],
        ..Options::default()
    };
    let stack = Stack::with(options).await;
    let ann = stack.anonymous().with_header("authorization", "Bearer s3cret");
    ann.post(MACHINES, &machine("m1")).await.expect(201);
    ann.get(RACKS).await.expect(200);
    ann.get("/apis/apiregistration.k8s.io/v1/apiservices").await.expect(200);
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "delete", "group": "inventory.example.com", "resource": "racks"}},
    });
    let answer = ann.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await.json();
    assert_eq!(answer["status"]["allowed"], true, "{answer}");
    stack.anonymous().get(MACHINES).await.expect(401);
    let guessed = stack.anonymous().with_header("authorization", "Bearer guessed");
    guessed.get(MACHINES).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_only_administrators_may() {
    let stack = Stack::with(Options { tokens: TOKENS.into(), ..Options::default() }).await;
    let ann = stack.anonymous().with_header("authorization", "Bearer s3cret");
    ann.get("/apis").await.expect(200);
    let answer = ann.post(MACHINES, &machine("m1")).await.expect(403).json();
    assert_eq!(answer["reason"], "Forbidden", "{answer}");
}
