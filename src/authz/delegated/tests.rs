#![allow(clippy::unwrap_used)]

use futures::future::join_all;
use kubridge_bridge::{proto::ExtraValue, request_info::RequestInfo};
use serde_json::{Value, json};
use tokio::time::advance;

use super::*;
use crate::{
    authz::{Authorizer, forbidden_message},
    cluster::{
        rbac::Policy,
        review::scripted::{ApiServer, answered},
    },
};

const MACHINE: &str = "/apis/inventory.example.com/v1/namespaces/default/machines/falcon/status";

fn alice() -> UserInfo {
    let extra = [("scopes", vec!["a", "b"]), ("another", vec!["c"])].into_iter().map(|(key, items)| {
        (key.to_owned(), ExtraValue { items: items.into_iter().map(str::to_owned).collect() })
    });
    UserInfo {
        username: "alice".into(),
        uid: "u-1".into(),
        groups: vec!["dev".into(), "system:authenticated".into()],
        extra: extra.collect(),
    }
}

/// Lets in whoever asks to get.
fn server() -> ApiServer {
    ApiServer::new(|review| {
        let spec = &review["spec"];
        let verb = &spec["resourceAttributes"]["verb"];
        let allowed = verb == "get" || spec["nonResourceAttributes"]["verb"] == "get";
        answered(
            review,
            &json!({"allowed": allowed, "reason": if allowed { "RBAC: a binding" } else { "RBAC: no" }}),
        )
    })
}

fn authorizer(server: &ApiServer) -> Authorizer {
    Authorizer::in_cluster(
        server.client(),
        Settings { denied: Duration::from_secs(5), ..Settings::default() },
        None,
    )
}

async fn may(
    authorizer: &Authorizer,
    user: &UserInfo,
    method: http::Method,
    path: &str,
) -> Result<Decision, Unanswered> {
    authorizer.authorize(user, &Attributes::from(&RequestInfo::new(&method, path, ""))).await
}

#[tokio::test(start_paused = true)]
async fn all_that_is_known_is_asked_about() {
    let server = server();
    let authorizer = authorizer(&server);
    let decision = may(&authorizer, &alice(), http::Method::GET, MACHINE).await.unwrap();
    assert!(decision.allowed);
    assert_eq!(decision.reason.as_str(), "RBAC: a binding");
    may(&authorizer, &alice(), http::Method::GET, "/apis").await.unwrap();
    let mut asked = server.asked();
    let attributes = asked[0]["spec"].as_object_mut().unwrap().remove("resourceAttributes").unwrap();
    assert_eq!(
        attributes,
        json!({
            "verb": "get", "group": "inventory.example.com", "version": "v1", "resource": "machines",
            "subresource": "status", "namespace": "default", "name": "falcon",
        })
    );
    let user = json!({
        "user": "alice", "uid": "u-1", "groups": ["dev", "system:authenticated"],
        "extra": {"scopes": ["a", "b"], "another": ["c"]},
    });
    assert_eq!(asked[0]["spec"], user);
    assert_eq!(asked[1]["spec"]["nonResourceAttributes"], json!({"verb": "get", "path": "/apis"}));
    assert_eq!(asked[1]["spec"]["resourceAttributes"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn why_not_is_told() {
    let (user, server) = (alice(), server());
    let info = RequestInfo::new(&http::Method::DELETE, "/apis/g/v1/racks/a", "");
    let what = Attributes::from(&info);
    let Decision { allowed, reason } = authorizer(&server).authorize(&user, &what).await.unwrap();
    assert!(!allowed);
    assert_eq!(
        forbidden_message(&user, &what, &reason),
        "User \"alice\" cannot delete resource \"racks\" in API group \"g\" at the cluster scope: RBAC: no"
    );
}

#[tokio::test(start_paused = true)]
async fn answers_are_good_for_a_while_each_for_its_own_question() {
    let server = server();
    let authorizer = authorizer(&server);
    let ask = |method: http::Method| {
        let authorizer = &authorizer;
        async move { may(authorizer, &alice(), method, MACHINE).await.unwrap().allowed }
    };
    let all = join_all((0..100).map(|_| ask(http::Method::GET))).await;
    assert!(all.iter().all(|allowed| *allowed));
    assert!(!ask(http::Method::PUT).await);
    assert_eq!(server.asked().len(), 2);
    advance(Duration::from_secs(5)).await;
    assert!(ask(http::Method::GET).await && !ask(http::Method::PUT).await);
    assert_eq!(server.asked().len(), 3, "the refusal is over, the permission is not");
    advance(Duration::from_secs(5)).await;
    assert!(ask(http::Method::GET).await);
    assert_eq!(server.asked().len(), 4);
    let others = [
        UserInfo { uid: "u-2".into(), ..alice() },
        UserInfo { groups: vec!["dev".into()], ..alice() },
        UserInfo { extra: Default::default(), ..alice() },
    ];
    for (i, other) in others.iter().enumerate() {
        may(&authorizer, other, http::Method::GET, MACHINE).await.unwrap();
        assert_eq!(server.asked().len(), 5 + i, "{other:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn masters_and_probes_do_not_need_the_api_server() {
    let server = server();
    server.fail();
    let authorizer = authorizer(&server);
    let master = UserInfo { groups: vec!["system:masters".into()], ..alice() };
    assert!(may(&authorizer, &master, http::Method::DELETE, MACHINE).await.unwrap().allowed);
    for path in ["/livez", "/readyz", "/healthz", "/version"] {
        assert!(may(&authorizer, &UserInfo::default(), http::Method::GET, path).await.unwrap().allowed);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_the_api_server_what_is_known_holds_until_its_end_and_then_nobody_may() {
    let server = server();
    let authorizer = authorizer(&server);
    let alice = alice();
    let ask = || may(&authorizer, &alice, http::Method::GET, MACHINE);
    assert!(ask().await.unwrap().allowed);
    server.fail();
    advance(Duration::from_secs(9)).await;
    assert!(ask().await.unwrap().allowed);
    advance(Duration::from_secs(1)).await;
    let error = ask().await.unwrap_err().to_string();
    assert!(error.contains("does not answer a SubjectAccessReview: 503"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_both_lets_nobody_in() {
    let server = ApiServer::new(|review| answered(review, &json!({"allowed": true, "denied": true})));
    assert!(!may(&authorizer(&server), &alice(), http::Method::GET, MACHINE).await.unwrap().allowed);
    server.answer(|review| Some((201, review.clone())));
    assert!(!may(&authorizer(&server), &alice(), http::Method::GET, MACHINE).await.unwrap().allowed);
}

/// A binding that lets alice get machines.
fn binding() -> Policy {
    let mut policy = Policy::default();
    policy.apply(&json!({
        "kind": "ClusterRole", "metadata": {"name": "reader"},
        "rules": [{"verbs": ["get"], "apiGroups": ["inventory.example.com"], "resources": ["machines/status"]}],
    }));
    policy.apply(&json!({
        "kind": "RoleBinding", "metadata": {"namespace": "default", "name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "alice"}],
    }));
    policy
}

fn with_rbac(server: &ApiServer) -> (Rbac, Authorizer) {
    let rbac = Rbac::default();
    (rbac.clone(), Authorizer::in_cluster(server.client(), Settings::default(), Some(rbac)))
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_about_what_a_role_allows() {
    let server = ApiServer::new(|review| answered(review, &json!({"allowed": false, "reason": "webhook"})));
    let (rbac, authorizer) = with_rbac(&server);
    rbac.know(&binding());
    let decision = may(&authorizer, &alice(), http::Method::GET, MACHINE).await.unwrap();
    let why = r#"RBAC: allowed by RoleBinding "readers/default" of ClusterRole "reader" to User "alice""#;
    assert_eq!((decision.allowed, decision.reason.as_str()), (true, why));
    assert!(server.asked().is_empty());
    let decision = may(&authorizer, &alice(), http::Method::PUT, MACHINE).await.unwrap();
    assert_eq!((decision.allowed, decision.reason.as_str()), (false, "webhook"));
    assert_eq!(server.asked().len(), 1);
    // Somebody else than RBAC may let them in.
    server.answer(|review| answered(review, &json!({"allowed": true, "reason": "webhook"})));
    assert!(may(&authorizer, &alice(), http::Method::DELETE, MACHINE).await.unwrap().allowed);
}

#[tokio::test(start_paused = true)]
async fn roles_are_believed_for_a_while_and_then_the_api_server_or_nobody() {
    let server = server();
    let (rbac, authorizer) = with_rbac(&server);
    let alice = alice();
    let ask = || may(&authorizer, &alice, http::Method::GET, MACHINE);
    assert_eq!(ask().await.unwrap().reason.as_str(), "RBAC: a binding", "nothing is known yet");
    assert_eq!(server.asked().len(), 1);
    rbac.know(&binding());
    server.fail();
    advance(Duration::from_millis(9_999)).await;
    assert!(ask().await.unwrap().reason.as_str().contains("readers/default"));
    advance(Duration::from_millis(1)).await;
    let error = ask().await.unwrap_err().to_string();
    assert!(error.contains("does not answer a SubjectAccessReview: 503"), "{error}");
    rbac.know(&binding());
    assert!(ask().await.unwrap().allowed);
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_allows_right_after_a_change_is_soon_asked_again() {
    let server = server();
    let (rbac, authorizer) = with_rbac(&server);
    let alice = alice();
    let ask = || may(&authorizer, &alice, http::Method::GET, MACHINE);
    rbac.know(&binding());
    ask().await.unwrap();
    // The binding is gone; the kube-apiserver has not heard of it.
    rbac.know(&Policy::default());
    assert!(ask().await.unwrap().allowed);
    server.answer(|review| answered(review, &json!({"allowed": false})));
    assert!(ask().await.unwrap().allowed, "remembered");
    advance(Duration::from_millis(500)).await;
    assert!(!ask().await.unwrap().allowed);
    assert_eq!(server.asked().len(), 2);
    // What is denied, and what is allowed later, is good as long as ever.
    advance(Duration::from_millis(9_999)).await;
    assert!(!ask().await.unwrap().allowed);
    assert_eq!(server.asked().len(), 2);
    server.answer(|review| answered(review, &json!({"allowed": true})));
    advance(Duration::from_millis(1)).await;
    assert!(ask().await.unwrap().allowed);
    advance(Duration::from_millis(9_999)).await;
    assert!(ask().await.unwrap().allowed);
    assert_eq!(server.asked().len(), 3);
}
