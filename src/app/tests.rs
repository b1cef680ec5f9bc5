#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::*;
use crate::config::{AuthorizationMode, ServiceRules, Tls};

fn config(data_dir: &Path) -> Config {
    Config {
        allow_k8s_io_claims: false,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data_dir: data_dir.to_owned(),
        metrics_listen: None,
        traces: None,
        backends: Vec::new(),
        manifests: None,
        descriptor_sets: BTreeMap::new(),
        mappings: Vec::new(),
        service_rules: ServiceRules::default(),
        max_backend_requests_inflight: 1024,
        tls: Tls::default(),
        token_auth_file: None,
        authorization_mode: AuthorizationMode::SystemMasters,
        advertise_url: None,
        request_timeout: Duration::from_secs(60),
        shutdown_grace: Duration::from_secs(30),
        delegate: None,
        cluster: None,
        discovery_max_age: Duration::from_secs(60),
        shutdown_delay: Duration::from_secs(5),
    }
}

#[tokio::test]
async fn the_data_directory_is_held_until_the_end() {
    let temp = tempfile::tempdir().unwrap();
    let bound = App::build(config(temp.path())).await.unwrap();
    let url = format!("server: \"https://127.0.0.1:{}\"", bound.address().port());
    assert!(std::fs::read_to_string(bound.kubeconfig().unwrap()).unwrap().contains(&url));
    let second = App::build(config(temp.path())).await.unwrap_err().to_string();
    assert!(second.contains("in use by another kubridge"), "{second}");
    let (stop, signals) = mpsc::channel(2);
    stop.send(()).await.unwrap();
    stop.send(()).await.unwrap();
    bound.run(Signals::Channel(signals)).await.unwrap();
    App::build(config(temp.path())).await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let error = App::build(Config { listen, ..config(temp.path()) }).await.unwrap_err().to_string();
    assert!(error.contains(&listen.to_string()) && error.contains("--listen"), "{error}");
}

#[tokio::test]
async fn a_stop_goes_through_its_phases() {
    let (stop_sender, signals) = mpsc::channel(1);
    let lifecycle = Lifecycle::new();
    let (delay, grace) = (Duration::from_millis(30), Duration::from_millis(40));
    let task = tokio::spawn(stop(lifecycle.clone(), Signals::Channel(signals), delay, grace));
    assert!(lifecycle.is_ready());
    let began = tokio::time::Instant::now();
    stop_sender.send(()).await.unwrap();
    let drain = lifecycle.drain();
    while lifecycle.is_ready() {
        tokio::task::yield_now().await;
    }
    assert!(began.elapsed() >= delay || !drain.is_draining(), "readyz fails first");
    drain.draining().await;
    assert!(began.elapsed() >= delay);
    lifecycle.aborted().await;
    assert!(began.elapsed() >= delay + grace);
    task.await.unwrap();
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (stop_sender, signals) = mpsc::channel(2);
    let lifecycle = Lifecycle::new();
    let long = Duration::from_secs(3600);
    stop_sender.send(()).await.unwrap();
    stop_sender.send(()).await.unwrap();
    stop(lifecycle.clone(), Signals::Channel(signals), long, long).await;
    lifecycle.aborted().await;
}
