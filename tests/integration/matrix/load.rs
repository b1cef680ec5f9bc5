//! Clients that go on asking through a fault, each request in a task of its own, and what they were told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, header};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    row::Answer,
    victim::{GROUP, MACHINES},
};
use crate::support::{
    Client,
    client::{Exchange, faults},
    extension::ECHO,
};

/// What aggregated discovery is asked for with.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// What a machine of the healthy gRPC backend is asked for.
const NEIGHBOURS: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";

/// Who asks for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// The broken backend for an object.
    Get,
    /// The broken backend to create one.
    Post,
    /// A healthy gRPC backend.
    GrpcNeighbour,
    /// A healthy HTTPS backend.
    HttpsNeighbour,
    /// `/apis`, aggregated.
    Aggregated,
    /// `/apis/GROUP/VERSION` of the broken backend.
    GroupVersion,
}

impl Asks {
    /// How often.
    const ALL: [(Self, Duration); 6] = [
        (Self::Get, Duration::from_millis(250)),
        (Self::Post, Duration::from_millis(500)),
        (Self::GrpcNeighbour, Duration::from_millis(500)),
        (Self::HttpsNeighbour, Duration::from_millis(500)),
        (Self::Aggregated, Duration::from_millis(500)),
        (Self::GroupVersion, Duration::from_millis(500)),
    ];

    /// What goes on whatever happens to the broken backend.
    pub const UNCONCERNED: [Self; 4] =
        [Self::GrpcNeighbour, Self::HttpsNeighbour, Self::Aggregated, Self::GroupVersion];

    /// Whether it is about what the broken backend serves, and not about the others.
    pub fn is_discovery(self) -> bool {
        matches!(self, Self::Aggregated | Self::GroupVersion)
    }
}

/// One request, and how it ended.
#[derive(Debug, Clone)]
pub struct Sample {
    pub asks: Asks,
    pub begun: Instant,
    pub took: Duration,
    pub answer: Answer,
    /// What was not as it should be.
    pub detail: String,
    /// The object that a POST was to make.
    pub name: String,
}

impl Sample {
    pub fn ended(&self) -> Instant {
        self.begun + self.took
    }
}

/// See the module.
pub struct Load {
    asker: Arc<Asker>,
    clients: JoinSet<()>,
}

struct Asker {
    client: Client,
    samples: Mutex<Vec<Sample>>,
    posts: AtomicUsize,
    /// What discovery said at first: body and ETag.
    documents: [(Vec<u8>, String); 2],
    /// Requests under way.
    requests: Mutex<JoinSet<()>>,
}

impl Load {
    /// What discovery says now, it must say all the time.
    pub async fn start(client: &Client) -> Self {
        let mut documents = Vec::new();
        for asks in [Asks::Aggregated, Asks::GroupVersion] {
            let (path, accept) = document(asks);
            let answer = client.get_as(&path, accept).await.expect(200);
            documents.push((answer.body.to_vec(), answer.header("etag").to_owned()));
        }
        let asker = Arc::new(Asker {
            client: client.clone(),
            samples: Mutex::default(),
            posts: AtomicUsize::new(0),
            documents: documents.try_into().unwrap(),
            requests: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for (asks, pause) in Asks::ALL {
            let asker = Arc::clone(&asker);
            clients.spawn(async move {
                let mut ticks = tokio::time::interval(pause);
                loop {
                    ticks.tick().await;
                    ask(&asker, asks);
                }
            });
        }
        Self { asker, clients }
    }

    /// So many at once, that a backend of HTTP/1.1 has several connections.
    pub fn crowd(&self) {
        for _ in 0..8 {
            self.ask(Asks::Get);
        }
    }

    /// One more request, now.
    pub fn ask(&self, asks: Asks) {
        ask(&self.asker, asks);
    }

    /// When the first good answer came to such a request that was begun at or after `since`; waits for it, and asks
    /// often. `None`: not within ten seconds.
    pub async fn good_since(&self, asks: Asks, since: Instant) -> Option<Instant> {
        while since.elapsed() < Duration::from_secs(10) {
            self.ask(asks);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let samples = self.asker.samples.lock().unwrap();
            let good =
                samples.iter().filter(|s| s.asks == asks && s.answer == Answer::Good && s.begun >= since);
            if let Some(first) = good.map(Sample::ended).min() {
                return Some(first);
            }
        }
        None
    }

    /// Asks no more, waits for the answers, and hands out what was seen, in the order of the beginnings.
    pub async fn stop(mut self) -> Vec<Sample> {
        self.clients.shutdown().await;
        let requests = std::mem::take(&mut *self.asker.requests.lock().unwrap());
        requests.join_all().await;
        let mut samples = std::mem::take(&mut *self.asker.samples.lock().unwrap());
        samples.sort_by_key(|sample| sample.begun);
        samples
    }
}

fn ask(asker: &Arc<Asker>, asks: Asks) {
    let mut requests = asker.requests.lock().unwrap();
    while requests.try_join_next().is_some_and(|ended| ended.is_ok()) {}
    let asker = Arc::clone(asker);
    requests.spawn(async move {
        let name = match asks {
            Asks::Post => format!("p{}", asker.posts.fetch_add(1, Ordering::Relaxed)),
            _ => String::new(),
        };
        let begun = Instant::now();
        let (answer, detail) = exchange(&asker, asks, &name).await;
        let took = begun.elapsed();
        asker.samples.lock().unwrap().push(Sample { asks, begun, took, answer, detail, name });
    });
}

fn document(asks: Asks) -> (String, &'static str) {
    match asks {
        Asks::Aggregated => ("/apis".to_owned(), AGGREGATED),
        _ => (format!("/apis/{GROUP}/v1"), "application/json"),
    }
}

async fn exchange(asker: &Asker, asks: Asks, name: &str) -> (Answer, String) {
    let client = &asker.client;
    let (what, request) = match asks {
        Asks::Get => ("GET", client.request(Method::GET, &format!("{MACHINES}/one"))),
        Asks::Post => {
            let mut machine = crate::support::machine(name);
            machine["apiVersion"] = json!(format!("{GROUP}/v1"));
            ("POST", client.request(Method::POST, MACHINES).json(&machine))
        }
        Asks::GrpcNeighbour => ("GET", client.request(Method::GET, NEIGHBOURS)),
        Asks::HttpsNeighbour => ("GET", client.request(Method::GET, &format!("{ECHO}/echoes/one"))),
        Asks::Aggregated | Asks::GroupVersion => {
            let (path, accept) = document(asks);
            ("GET", client.request(Method::GET, &path).header(header::ACCEPT, accept))
        }
    };
    let response = match request.send().await {
        Ok(response) => response,
        // The head may be lost with what came of the body.
        Err(error) if is_reset(&error) => return (Answer::Broken, String::new()),
        Err(error) => return (Answer::Other, format!("no answer: {error:?}")),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(_) if status.is_success() => return (Answer::Broken, String::new()),
        Err(error) => return (Answer::Other, format!("{status} that breaks off: {error:?}")),
    };
    let exchange = Exchange { status, headers, body };
    let broken = faults(what, &exchange);
    if !broken.is_empty() {
        return (Answer::Other, broken.join("; "));
    }
    let answer = match asks {
        Asks::Aggregated => judge_document(&exchange, &asker.documents[0]),
        Asks::GroupVersion => judge_document(&exchange, &asker.documents[1]),
        Asks::GrpcNeighbour | Asks::HttpsNeighbour if status == 200 => Answer::Good,
        Asks::GrpcNeighbour | Asks::HttpsNeighbour => Answer::Other,
        Asks::Get => judge(&exchange, 200, "one"),
        Asks::Post => judge(&exchange, 201, name),
    };
    let detail = match answer {
        Answer::Other => format!("{status} {:?}: {}", exchange.headers, exchange.text()),
        _ => String::new(),
    };
    (answer, detail)
}

/// Whether the aggregator has reset the stream.
fn is_reset(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_reset() && error.is_remote();
        }
        cause = error.source();
    }
    false
}

fn judge_document(exchange: &Exchange, (body, etag): &(Vec<u8>, String)) -> Answer {
    let same = exchange.status == 200 && exchange.body == body[..] && exchange.header("etag") == etag;
    if same { Answer::Good } else { Answer::Other }
}

fn judge(exchange: &Exchange, success: u16, name: &str) -> Answer {
    let body: Value = serde_json::from_slice(&exchange.body).unwrap_or_default();
    let retry = exchange.header("retry-after");
    let message = body["message"].as_str().unwrap_or_default();
    match (exchange.status.as_u16(), body["reason"].as_str().unwrap_or_default(), retry) {
        (status, ..) if status == success && body["metadata"]["name"] == name => Answer::Good,
        (503, "ServiceUnavailable", "1") => Answer::Unavailable,
        // Clients repeat any verb that carries Retry-After.
        (504, "Timeout", "") if message.contains("the outcome is unknown") => Answer::Unknown,
        (500, "InternalError", "") => Answer::Internal,
        _ => Answer::Other,
    }
}
