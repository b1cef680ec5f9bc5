//! From the creation of an APIService until discovery shows it, in a running aggregator that has a thousand.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tempfile::TempDir;

use crate::load::{self, Client};

const APISERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const CLAIMS: usize = 1000;
const ROUNDS: usize = 20;

pub async fn run() -> anyhow::Result<()> {
    let dir = TempDir::new()?;
    let args = [
        "kubridge".to_owned(),
        "serve".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        format!("--data-dir={}", dir.path().display()),
    ];
    let running = kubridge::cli::start(args).await?;
    let client = load::connect(&dir.path().join("admin.kubeconfig"), running.address().port()).await?;
    // A port that nobody listens on: the first of them the system has just given back.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let begin = Instant::now();
    for n in 0..CLAIMS {
        create(&client, n, &format!("grpc://{nobody}")).await?;
    }
    let created = begin.elapsed();
    until_shown(&client, CLAIMS - 1).await?;
    println!(
        "visible: {CLAIMS} APIServices created over REST in {created:.1?}, the last one shown {:.1?} after its answer",
        begin.elapsed().saturating_sub(created)
    );
    let mut times = Vec::with_capacity(ROUNDS);
    for n in CLAIMS..CLAIMS + ROUNDS {
        create(&client, n, &format!("grpc://{nobody}")).await?;
        let begin = Instant::now();
        until_shown(&client, n).await?;
        times.push(begin.elapsed());
    }
    let most = times.iter().max().copied().unwrap_or_default();
    println!(
        "visible: one more: median {:.1?}, longest {most:.1?} of {ROUNDS}   (bar: 1 s)",
        crate::median(times)
    );
    running.stop().await
}

fn group(n: usize) -> String {
    format!("g{n:04}.example.com")
}

async fn create(client: &Client, n: usize, backend: &str) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": { "name": format!("v1.{}", group(n)), "annotations": { "kubridge.io/backend": backend } },
        "spec": { "group": group(n), "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10 },
    });
    let body = send(client, Method::POST, APISERVICES, "application/json", object.to_string()).await?;
    anyhow::ensure!(body.starts_with(b"{\"kind\":\"APIService\"") || !body.is_empty(), "no answer");
    Ok(())
}

/// As a client that asks for the aggregated document again and again.
async fn until_shown(client: &Client, n: usize) -> anyhow::Result<()> {
    let name = format!("\"{}\"", group(n));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        let document = send(client, Method::GET, "/apis", crate::AGGREGATED, String::new()).await?;
        if std::str::from_utf8(&document)?.contains(&name) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    anyhow::bail!("discovery does not show {name}")
}

async fn send(
    client: &Client,
    method: Method,
    path: &str,
    accept: &str,
    body: String,
) -> anyhow::Result<Bytes> {
    let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    request = request.header(header::ACCEPT, accept).header(header::CONTENT_TYPE, "application/json");
    let response = client.clone().send_request(request.body(Full::from(body))?).await.context("no answer")?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    anyhow::ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(body)
}
