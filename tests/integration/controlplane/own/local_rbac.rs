//! Who may, decided by the cluster's Roles in Kubridge: the kube-apiserver says in its metrics how often it was asked.

use std::time::Duration;

use http::Method;
use kubridge::{
    authz::{Attributes, Authorizer, Settings},
    cluster::{self, Rbac},
};
use kubridge_bridge::{proto::UserInfo, request_info::RequestInfo};
use tokio::time::{Instant, sleep};

use crate::support::{ControlPlane, cluster::Cluster};

const RIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/components/local-rbac/rbac.yaml");
const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
/// Less than an answer of the kube-apiserver is remembered.
const SOON: Duration = Duration::from_secs(5);

/// How many SubjectAccessReviews the kube-apiserver was asked for.
async fn asked(plane: &ControlPlane) -> u64 {
    let metrics = plane.client().request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let of_reviews = metrics.lines().filter(|line| {
        line.starts_with("apiserver_request_total{") && line.contains(r#"resource="subjectaccessreviews""#)
    });
    of_reviews.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kube_apiserver_is_asked_only_about_what_no_role_allows() {
    let mut cluster = Cluster::without_kubridge().await;
    cluster.kubectl.run(&["apply", "-f", RIGHTS]).await.ok();
    let port = cluster.start_kubridge(&["--local-rbac"]).await.port();
    cluster.point_at(port).await;
    cluster.claim(port).await;
    cluster.available().await;
    let kubectl = &cluster.kubectl;
    kubectl.run(&["create", "serviceaccount", "looker", "-n", "default"]).await.ok();
    let role = [
        "create",
        "role",
        "looker",
        "-n",
        "default",
        "--verb=get",
        "--resource=machines.inventory.example.com",
    ];
    kubectl.run(&role).await.ok();
    let bind = [
        "create",
        "rolebinding",
        "looker",
        "-n",
        "default",
        "--role=looker",
        "--serviceaccount=default:looker",
    ];
    let token = kubectl.run(&["create", "token", "looker", "-n", "default"]).await.ok();
    let kubridge =
        cluster.direct_as(0, None).with_header("authorization", &format!("Bearer {}", token.trim()));
    let status = async |method: Method, name: &str| {
        kubridge.request(method, &format!("{MACHINES}/{name}")).send().await.unwrap().status().as_u16()
    };
    let until = async |name: &str, expected: u16| {
        let begun = Instant::now();
        while status(Method::GET, name).await != expected {
            assert!(begun.elapsed() < SOON, "{expected} does not come");
            sleep(Duration::from_millis(10)).await;
        }
    };

    // What was denied is remembered, and nevertheless allowed as soon as it is.
    assert_eq!(status(Method::GET, "none").await, 403);
    kubectl.run(&bind).await.ok();
    until("none", 404).await;
    // Every kind is known now: nobody else gave that right yet, or will.
    let begun = Instant::now();
    let mut before = asked(cluster.plane).await;
    for number in 0.. {
        assert_eq!(status(Method::GET, &format!("first-{number}")).await, 404);
        let now = asked(cluster.plane).await;
        if now == before {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it is always asked");
        before = now;
    }
    for number in 0..20 {
        assert_eq!(status(Method::GET, &format!("next-{number}")).await, 404);
    }
    assert_eq!(asked(cluster.plane).await, before, "Roles allow it");
    let refused = kubridge.request(Method::DELETE, &format!("{MACHINES}/none")).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let refused = refused.text().await.unwrap();
    assert!(refused.contains(r#"looker\" cannot delete resource \"machines\""#), "{refused}");
    assert_eq!(status(Method::DELETE, "none").await, 403);
    assert_eq!(asked(cluster.plane).await, before + 1, "asked once, and remembered");

    assert_eq!(status(Method::GET, "last").await, 404);
    kubectl.run(&["delete", "rolebinding", "looker", "-n", "default"]).await.ok();
    until("last", 403).await;

    kubectl.run(&["delete", "role", "looker", "-n", "default"]).await.ok();
    kubectl.run(&["delete", "serviceaccount", "looker", "-n", "default"]).await.ok();
    kubectl.run(&["delete", "-f", RIGHTS]).await.ok();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_believed_while_the_kube_apiserver_is_heard_and_ten_seconds_longer_at_most() {
    let plane = ControlPlane::start(&[]).await;
    let client = cluster::Cluster::connect(Some(&plane.is.kubeconfig), None).await.unwrap().client();
    let (rbac, follow) = Rbac::new(client.clone());
    let follow = tokio::spawn(follow);
    let authorizer = Authorizer::in_cluster(client, Settings::default(), Some(rbac.clone()));
    let user = UserInfo {
        username: "somebody".into(),
        groups: vec!["system:authenticated".into()],
        ..UserInfo::default()
    };
    // What the kube-apiserver's own system:discovery gives to everybody.
    let info = RequestInfo::new(&Method::GET, "/apis", "");
    let what = Attributes::from(&info);
    let is_known = async |from: Duration| {
        let begun = Instant::now();
        while rbac.current().is_none() || begun.elapsed() < from {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is known");
            sleep(Duration::from_millis(10)).await;
        }
    };
    is_known(Duration::ZERO).await;
    let why = r#"RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated""#;
    assert_eq!(authorizer.authorize(&user, &what).await.unwrap().reason.as_str(), why);
    // Longer than a list is believed: watches show that it is so still.
    is_known(cluster::rbac::GOOD + Duration::from_secs(2)).await;

    plane.is.kube_apiserver.signal("STOP");
    let begun = Instant::now();
    let mut last = Duration::ZERO;
    while let Ok(decision) = authorizer.authorize(&user, &what).await {
        assert_eq!((decision.allowed, decision.reason.as_str()), (true, why));
        last = begun.elapsed();
        sleep(Duration::from_millis(10)).await;
    }
    assert!(last < cluster::rbac::GOOD, "believed for {last:?}");
    authorizer.authorize(&user, &what).await.unwrap_err();

    plane.is.kube_apiserver.signal("CONT");
    is_known(Duration::ZERO).await;
    assert_eq!(authorizer.authorize(&user, &what).await.unwrap().reason.as_str(), why);
    let info = RequestInfo::new(&Method::GET, "/metrics", "");
    let decision = authorizer.authorize(&user, &Attributes::from(&info)).await.unwrap();
    assert!(!decision.allowed, "nobody gave that: {decision:?}");
    follow.abort();
}
