//! Who kubectl is, and what it may.

use std::os::unix::fs::PermissionsExt as _;

use super::Place;
use crate::support::{Kubectl, Stack};

pub async fn auth_says_who_and_what(place: &Place) {
    let kubectl = &place.kubectl;
    let who = kubectl.run(&["auth", "whoami"]).await.ok();
    assert!(who.contains(place.administrator) && who.contains("system:masters"), "{who}");
    assert_eq!(kubectl.run(&["auth", "can-i", "delete", "machines"]).await.ok(), "yes\n");
    assert_eq!(kubectl.run(&["auth", "can-i", "get", "/metrics"]).await.ok(), "yes\n");
}

pub async fn a_plain_user_is_told_what_it_may_not(place: &Place) {
    let kubectl = place.with_token(&place.plain.token).await;
    let plain = &place.plain;
    let who = kubectl.run(&[
        "auth",
        "whoami",
        "-o",
        "jsonpath={.status.userInfo.username}/{.status.userInfo.groups}",
    ]);
    assert_eq!(who.await.ok(), format!("{}/{}", plain.name, plain.groups));
    let can = kubectl.run(&["auth", "can-i", "list", "machines"]).await;
    assert_eq!((can.code, can.stdout.trim()), (1, "no"));
    let forbidden = |verb: &str, scope: &str| {
        format!(
            "is forbidden: User \"{}\" cannot {verb} resource \"machines\" in API group \
             \"inventory.example.com\" {scope}",
            plain.name
        )
    };
    for (args, verb, scope) in [
        (&["get", "machines"][..], "list", "in the namespace \"default\""),
        (&["get", "machines", "-A"], "list", "at the cluster scope"),
        (&["get", "machine", "atlas", "-n", "lab"], "get", "in the namespace \"lab\""),
        (&["delete", "machine", "atlas", "--dry-run=server"], "delete", "in the namespace \"default\""),
    ] {
        let complaint = kubectl.run(args).await.fails();
        assert!(complaint.contains(&forbidden(verb, scope)), "{complaint}");
    }
    kubectl.run(&["api-resources"]).await.ok();
}

pub async fn a_wrong_token_is_turned_away(place: &Place) {
    let wrong = place.with_token("guessed").await;
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
