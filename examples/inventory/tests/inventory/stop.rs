use std::time::Duration;

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::start;

#[tokio::test]
async fn a_stop_is_told_and_waits_for_nobody_who_watches() {
    let bench = start().await;
    let mut events = bench.watch_from(&bench.head().await).await.unwrap();
    let mut health = HealthClient::new(bench.channel.clone());
    let request = HealthCheckRequest { service: "inventory.v1.Machines".to_owned() };
    let mut health = health.watch(request).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    assert!(bench.running.stop().await, "watches must not hold up the stop");
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(health.message().await.unwrap(), None);
    assert_eq!(events.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn its_health_is_asked_for_by_the_program_itself() {
    let bench = start().await;
    let addr = bench.running.addr;
    let second = Duration::from_secs(5);
    inventory::check_health(addr, second).await.unwrap();
    assert!(bench.running.stop().await);
    let error = inventory::check_health(addr, second).await.unwrap_err().to_string();
    assert_eq!(error, format!("nobody serves at {addr}"));
}
