//! A backend that can be broken in every way of the matrix, and mended. It counts what it does.

mod child;
mod conduct;
mod http1;
mod http2;
mod server;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use self::{
    child::Child,
    conduct::{Conduct, Deed, Record},
    server::{Server, Setup},
};
use super::row::Fault;
use crate::support::Ca;

pub use conduct::GROUP;

/// Where its objects are.
pub const MACHINES: &str = "/apis/hazardous.example.com/v1/namespaces/default/machines";
/// Its APIService.
pub const NAME: &str = "v1.hazardous.example.com";
/// The name in its certificate.
const SERVER_NAME: &str = "victim.wardle.svc";

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Grpc,
    Https2,
    Https1,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Grpc, Self::Https2, Self::Https1];

    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "gRPC",
            Self::Https2 => "HTTPS",
            Self::Https1 => "HTTPS/1.1",
        }
    }
}

/// What a victim was seen to do.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    writes: Arc<Mutex<HashMap<String, usize>>>,
    questions: Arc<AtomicUsize>,
}

impl Ledger {
    /// How often a write was done, by the name of its object.
    pub fn runs(&self, name: &str) -> usize {
        self.writes.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// How often it was asked for what no client asks for.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }

    fn record(&self) -> Record {
        let this = self.clone();
        Arc::new(move |deed| match deed {
            Deed::Write(name) => *this.writes.lock().unwrap().entry(name.to_owned()).or_default() += 1,
            Deed::Question => drop(this.questions.fetch_add(1, Ordering::SeqCst)),
        })
    }
}

enum Node {
    Here(Server),
    Child(Child),
}

/// See the module.
pub struct Victim {
    pub ledger: Ledger,
    fault: Fault,
    kind: Kind,
    /// PEM, where it speaks TLS.
    ca: Option<String>,
    /// The first is the one that is broken.
    nodes: Vec<Node>,
    flapping: Option<JoinHandle<(Server, Instant)>>,
}

impl Victim {
    /// A backend in working order that `fault` can be done to.
    pub async fn start(fault: Fault, kind: Kind) -> Self {
        let ledger = Ledger::default();
        let tls = (kind != Kind::Grpc || fault == Fault::WrongCertificate).then(|| {
            let [ca, other] = [Ca::new("victims"), Ca::new("others")];
            (ca.pem(), ca.server_pem(&[SERVER_NAME]), other.server_pem(&[SERVER_NAME]))
        });
        let setup = Setup::new(kind, tls.as_ref().map(|(_, own, other)| [own, other]), ledger.record());
        let mut nodes = Vec::new();
        if fault.stops() {
            let own = tls.as_ref().map(|(_, own, _)| own);
            nodes.push(Node::Child(Child::start(kind, own, ledger.record()).await));
        } else {
            nodes.push(Node::Here(Server::start(setup.clone())));
        }
        if fault == Fault::BothStopped {
            let own = tls.as_ref().map(|(_, own, _)| own);
            nodes.push(Node::Child(Child::start(kind, own, ledger.record()).await));
        }
        if fault.is_half() {
            nodes.push(Node::Here(Server::start(setup)));
        }
        Self { ledger, fault, kind, ca: tls.map(|(ca, ..)| ca), nodes, flapping: None }
    }

    /// The rule that says where it is.
    pub fn rule(&self) -> String {
        let places = self.nodes.iter().map(|node| match node {
            Node::Here(server) => server.addr.to_string(),
            Node::Child(child) => child.addr.to_string(),
        });
        format!("--service-resolution=wardle/victim={}", places.collect::<Vec<_>>().join("+"))
    }

    /// Its APIService.
    pub fn api_service(&self) -> Value {
        let protocol = match (self.kind, &self.ca) {
            (Kind::Grpc, None) => "grpc",
            (Kind::Grpc, Some(_)) => "grpcs",
            (Kind::Https1 | Kind::Https2, _) => "https",
        };
        let mut spec = json!({
            "group": GROUP, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
            "service": {"namespace": "wardle", "name": "victim", "port": 443},
        });
        if let Some(ca) = &self.ca {
            spec["caBundle"] = BASE64_STANDARD.encode(ca).into();
        }
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": NAME, "annotations": {"kubridge.io/protocol": protocol}}, "spec": spec,
        })
    }

    /// Does the fault to it.
    pub async fn harm(&mut self) {
        for node in &self.nodes {
            if let Node::Child(child) = node {
                child.stop().await;
            }
        }
        if self.fault.stops() {
            return;
        }
        let Node::Here(server) = self.nodes.remove(0) else { unreachable!("no process is stopped") };
        match self.fault {
            Fault::Flapping => self.flapping = Some(tokio::spawn(flap(server))),
            fault => self.nodes.insert(0, Node::Here(harmed(server, fault).await)),
        }
    }

    /// Takes the fault away. When this returns it is back; says when it began to be.
    pub async fn mend(&mut self) -> Instant {
        if let Some(flapping) = self.flapping.take() {
            // It comes back by itself.
            let (server, mending_at) = flapping.await.unwrap();
            self.nodes.insert(0, Node::Here(server));
            return mending_at;
        }
        let mending_at = Instant::now();
        for node in &mut self.nodes {
            match node {
                Node::Child(child) => child.go_on().await,
                Node::Here(_) if self.fault.stops() => {}
                Node::Here(server) if self.fault.is_of_requests() => server.behave(Conduct::Well),
                Node::Here(server) => server.revive().await,
            }
            // The first is the one that was broken.
            if self.fault.is_half() {
                break;
            }
        }
        mending_at
    }

    /// Ends it. Nothing more is done from now on.
    pub async fn end(self) -> Ledger {
        for node in self.nodes {
            match node {
                Node::Here(mut server) => server.kill().await,
                Node::Child(child) => child.end().await,
            }
        }
        self.ledger
    }
}

async fn harmed(mut server: Server, fault: Fault) -> Server {
    match fault {
        Fault::Refused | Fault::HalfRefused => server.kill().await,
        Fault::BlackHoled => server.swallow().await,
        Fault::Silent => server.restart(Conduct::Silent).await,
        Fault::WrongCertificate => server.restart(Conduct::Disguised).await,
        Fault::Babbles => server.restart(Conduct::Babbles).await,
        Fault::TurnedAway => server.restart(Conduct::TurnsAway).await,
        // In HTTP/1.1 a connection is reset, and is made for it.
        Fault::Reset => server.restart(Conduct::Resets).await,
        Fault::Slow => server.behave(Conduct::Slow(Fault::SLOW)),
        Fault::DiesMidAnswer => server.behave(Conduct::Dies),
        Fault::Goodbye => server.behave(Conduct::SaysGoodbye),
        Fault::StreamRefused => server.behave(Conduct::Refuses),
        Fault::Scrambles => server.behave(Conduct::Scrambles),
        Fault::Stopped | Fault::BothStopped | Fault::HalfStopped | Fault::Flapping => {
            unreachable!("done elsewhere")
        }
    }
    server
}

/// Goes and comes back, a second each, and stays at last.
async fn flap(mut server: Server) -> (Server, Instant) {
    const SECOND: Duration = Duration::from_secs(1);
    for _ in 0..Fault::FLAPS {
        server.kill().await;
        tokio::time::sleep(SECOND).await;
        server.revive().await;
        tokio::time::sleep(SECOND).await;
    }
    server.kill().await;
    tokio::time::sleep(SECOND).await;
    let mending_at = Instant::now();
    server.revive().await;
    (server, mending_at)
}
