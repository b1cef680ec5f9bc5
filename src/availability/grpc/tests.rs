#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;

use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{
    ServingStatus,
    pb::{
        HealthCheckRequest, HealthCheckResponse,
        health_server::{Health, HealthServer},
    },
    server::HealthReporter,
};

use super::*;
use crate::{
    availability::{Cause, Verdict},
    upstream::{Endpoint, FailureReason, Options, TlsOptions},
};

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    reporter: HealthReporter,
}

/// A server with nothing but its health, or without even that.
async fn serve(address: SocketAddr, says: Option<ServingStatus>) -> Running {
    let incoming = loop {
        // The port of a server that was just stopped.
        if let Ok(incoming) = TcpIncoming::bind(address) {
            break incoming;
        }
        tokio::task::yield_now().await;
    };
    let address = incoming.local_addr().unwrap();
    let (reporter, health) = tonic_health::server::health_reporter();
    if let Some(status) = says {
        reporter.set_service_status("", status).await;
    }
    let other = tonic_reflection::server::Builder::configure().build_v1().unwrap();
    let router = Server::builder().add_service(other);
    let router = if says.is_some() { router.add_service(health) } else { router };
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        router.serve_with_incoming_shutdown(incoming, stopped).await.unwrap();
    });
    Running { address, stop, task, reporter }
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

fn watched(address: SocketAddr) -> (Availability, Backend) {
    let endpoint = Endpoint::parse(&format!("grpc://{address}")).unwrap();
    let options = Options {
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..Options::default()
    };
    let backend = Backend::new(endpoint, &TlsOptions::default(), options).unwrap();
    let settings = Settings { reconnect: Duration::from_millis(50), ..Settings::default() };
    let (availability, run) = Availability::grpc(backend.clone(), settings);
    tokio::spawn(run);
    backend.connect();
    (availability, backend)
}

async fn becomes(availability: &Availability, wanted: impl Fn(&Verdict) -> bool) {
    let mut verdict = availability.verdict();
    let waited = tokio::time::timeout(Duration::from_secs(20), verdict.wait_for(wanted)).await;
    assert!(waited.is_ok(), "{:?}", availability.verdict().borrow());
}

fn is_available(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Available { .. })
}

fn is(wanted: Cause) -> impl Fn(&Verdict) -> bool {
    move |verdict| matches!(verdict, Verdict::Unavailable { cause, .. } if *cause == wanted)
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn a_backend_is_as_it_says() {
    let server = serve(ANY, Some(ServingStatus::Serving)).await;
    let (availability, _backend) = watched(server.address);
    becomes(&availability, is_available).await;
    server.reporter.set_service_status("", ServingStatus::NotServing).await;
    becomes(&availability, is(Cause::NotServing)).await;
    server.reporter.set_service_status("", ServingStatus::Serving).await;
    becomes(&availability, is_available).await;
}

#[tokio::test]
async fn a_backend_without_health_is_available_when_it_answers_and_while_its_connection_stands() {
    let server = serve(ANY, None).await;
    let (availability, _backend) = watched(server.address);
    becomes(&availability, is_available).await;
    let address = server.address;
    server.stop().await;
    becomes(&availability, is(Cause::Connect(FailureReason::Refused))).await;
    // What comes back may be another version, one that tells.
    let server = serve(address, Some(ServingStatus::NotServing)).await;
    becomes(&availability, is(Cause::NotServing)).await;
    server.reporter.set_service_status("", ServingStatus::Serving).await;
    becomes(&availability, is_available).await;
}

/// Two replicas behind one address: the one that is watched stops, the one that is asked does not.
struct Replicas;

#[tonic::async_trait]
impl Health for Replicas {
    type WatchStream = futures::stream::BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: 1 }))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let says = stream::iter([Ok(HealthCheckResponse { status: 2 })]).chain(stream::pending());
        Ok(Response::new(says.boxed()))
    }
}

#[tokio::test]
async fn a_replica_that_stops_is_no_outage_while_others_serve() {
    let incoming = TcpIncoming::bind(ANY).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(HealthServer::new(Replicas)).serve_with_incoming(incoming));
    let (availability, backend) = watched(address);
    becomes(&availability, is_available).await;
    let (tell, _told) = tokio::sync::mpsc::channel(8);
    assert!(matches!(watch_health(&backend, &tell).await, Ended::Contradicted));

    let server = serve(ANY, Some(ServingStatus::NotServing)).await;
    let endpoint = Endpoint::parse(&format!("grpc://{}", server.address)).unwrap();
    let backend = Backend::new(endpoint, &TlsOptions::default(), Options::default()).unwrap();
    assert!(!others_serve(&backend).await);
}

#[tokio::test]
async fn what_clients_requests_tell_is_heard() {
    use crate::upstream::fetch;

    let server = serve(ANY, Some(ServingStatus::Serving)).await;
    let (availability, backend) = watched(server.address);
    becomes(&availability, is_available).await;
    // Our own questions are no traffic: what they tell is told already.
    assert!(!backend.traffic().take().answered);
    // This server has reflection and no schema: it answers.
    let _refused = fetch(&backend, None, "").await;
    assert!(backend.traffic().take().answered);
}
