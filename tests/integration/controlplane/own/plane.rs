//! The control plane itself, without Kubridge: what the other tests here build on.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{ControlPlane, Server};

const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

#[tokio::test(flavor = "multi_thread")]
async fn kube_apiserver_answers_and_aggregates() {
    let plane = ControlPlane::shared().await;
    let client = plane.client();
    let version = client.get("/version").await.expect(200).json();
    assert_eq!(version["major"], "1", "{version}");
    let services = client.get("/apis/apiregistration.k8s.io/v1/apiservices").await.expect(200).json();
    let names: Vec<_> =
        services["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["name"]).collect();
    assert!(names.iter().any(|name| *name == "v1alpha1.wardle.example.com"), "{names:?}");
    // Unchecked: it passes on headers that it has already written, so that they come twice.
    let flunders = client.request(http::Method::GET, FLUNDERS).send().await.unwrap();
    assert_eq!(flunders.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sample_apiserver_believes_the_front_proxy_and_nobody_else() {
    let plane = ControlPlane::shared().await;
    let asked = |client: crate::support::Client, user: &str, groups: &str| {
        client.with_header("x-remote-user", user).with_header("x-remote-group", groups)
    };
    let proxy = plane.sample_client(0, &plane.is.front_proxy);
    asked(proxy.clone(), "alice", "system:masters").get(FLUNDERS).await.expect(200);
    let refused = asked(proxy, "alice", "system:authenticated").get(FLUNDERS).await.expect(403);
    assert!(refused.text().contains(r#"User \"alice\""#), "{}", refused.text());
    // A user of the cluster who is not the front proxy is who the certificate says: the administrator.
    let admin = plane.sample_client(0, &plane.is.admin);
    asked(admin, "alice", "system:authenticated").get(FLUNDERS).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_dies_alone_and_comes_back() {
    let mut plane = ControlPlane::start(&["--sample-apiservers=2"]).await;
    let [first, second] = [0, 1].map(|i| plane.is.sample_apiservers[i].clone());
    first.signal("KILL");
    until(|| !first.runs() && !listens(&first)).await;
    serves(&plane, 1).await;
    let again = plane.start_again(&first.name);
    assert_eq!(again.address, first.address);
    assert_ne!(again.pid, first.pid);
    serves(&plane, 0).await;

    // All end with the control plane, a stopped one too.
    second.signal("STOP");
    let servers: Vec<Server> = plane.servers().cloned().chain([again]).collect();
    let dir = plane.is.dir.clone();
    drop(plane);
    assert!(!servers.iter().any(|server| server.runs() || listens(server)));
    assert!(!dir.exists(), "its files are gone too");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_outlives_a_killed_control_plane() {
    let mut plane = ControlPlane::start(&[]).await;
    assert!(plane.servers().all(Server::runs));
    plane.kill();
    until(|| !plane.servers().any(Server::runs)).await;
    std::fs::remove_dir_all(&plane.is.dir).unwrap();
}

fn listens(server: &Server) -> bool {
    TcpStream::connect(server.address).is_ok()
}

/// Waits until a sample-apiserver knows the CA of its clients: it is ready before that.
async fn serves(plane: &ControlPlane, number: usize) {
    let client = plane.sample_client(number, &plane.is.admin);
    let begin = Instant::now();
    while client.get(FLUNDERS).await.status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(15), "it does not serve");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until something is so, which nothing tells of; fails after fifteen seconds.
async fn until(so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < Duration::from_secs(15), "it does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
