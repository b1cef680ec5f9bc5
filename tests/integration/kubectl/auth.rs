//! Who kubectl is, and what it may.

use std::os::unix::fs::PermissionsExt as _;

use super::furnished;
use crate::support::{Kubectl, Options, Stack};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_auth_says_who_and_what() {
    let (_stack, kubectl) = furnished().await;
    let who = kubectl.run(&["auth", "whoami"]).await.ok();
    assert!(who.contains("kubridge-admin") && who.contains("system:masters"), "{who}");
    assert_eq!(kubectl.run(&["auth", "can-i", "delete", "machines"]).await.ok(), "yes\n");
    assert_eq!(kubectl.run(&["auth", "can-i", "get", "/metrics"]).await.ok(), "yes\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_of_a_plain_user_is_told_what_it_may_not() {
    let stack =
        Stack::with(Options { tokens: "s3cret,ann,1001,\"dev,ops\"\n".into(), ..Options::default() }).await;
    let kubectl = stack.kubectl_with_token("s3cret").await;
    let who = kubectl.run(&[
        "auth",
        "whoami",
        "-o",
        "jsonpath={.status.userInfo.username}/{.status.userInfo.groups}",
    ]);
    assert_eq!(who.await.ok(), r#"ann/["dev","ops","system:authenticated"]"#);
    let can = kubectl.run(&["auth", "can-i", "list", "machines"]).await;
    assert_eq!((can.code, can.stdout.trim()), (1, "no"));
    let complaint = kubectl.run(&["get", "machines"]).await.fails();
    assert!(
        complaint.contains(
            "machines.inventory.example.com is forbidden: User \"ann\" cannot list resource \"machines\" \
             in API group \"inventory.example.com\" in the namespace \"default\""
        ),
        "{complaint}"
    );
    kubectl.run(&["api-resources"]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_with_a_wrong_token_is_turned_away() {
    let (stack, _) = furnished().await;
    let wrong = stack.kubectl_with_token("guessed").await;
    let complaint = wrong.run(&["get", "machines"]).await.fails();
    assert!(complaint.contains("You must be logged in to the server"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_takes_the_kubeconfig_as_it_was_written() {
    let stack = Stack::start().await;
    let file = stack.kubeconfig();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kubectl = Kubectl::direct(file);
    kubectl.run(&["get", "machines"]).await.ok();
}
