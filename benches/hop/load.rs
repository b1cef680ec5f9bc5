//! The load: N streams on one HTTP/2 connection over TLS, each with one request in flight.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What one run gave.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// CPU time of the server per request.
    pub cpu: Duration,
}

/// A connection of the administrator.
pub type Client = SendRequest<Full<Bytes>>;

/// A client connection of the administrator of a kubeconfig, which has all certificates in it.
pub async fn connect(kubeconfig: &Path, port: u16) -> anyhow::Result<Client> {
    let text = fs::read_to_string(kubeconfig)?;
    let pem = |name: &str| {
        let line = text.lines().find_map(|l| l.trim().strip_prefix(&format!("{name}: "))).unwrap_or_default();
        BASE64_STANDARD.decode(line.trim().trim_matches('"')).unwrap_or_default()
    };
    let identity = Identity {
        ca: pem("certificate-authority-data"),
        certificate: pem("client-certificate-data"),
        key: pem("client-key-data"),
    };
    identity.connect(([127, 0, 0, 1], port).into(), "localhost").await
}

/// Who connects, and whom he believes: PEM.
pub struct Identity {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl Identity {
    /// A connection to the server that has `name` in its certificate.
    pub async fn connect(&self, address: SocketAddr, name: &'static str) -> anyhow::Result<Client> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.ca) {
            roots.add(certificate?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)?;
        let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from(name)?, socket).await?;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Gets `path` over and over for `time`; `pid` is the server whose CPU time is taken.
pub async fn run(
    sender: &Client,
    path: &str,
    accept: &'static str,
    streams: usize,
    time: Duration,
    pid: u32,
) -> anyhow::Result<Figures> {
    let before = cpu_time(pid)?;
    let begin = Instant::now();
    let workers = (0..streams).map(|_| {
        let (mut sender, uri) = (sender.clone(), format!("https://localhost{path}"));
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(1 << 16);
            while begin.elapsed() < time {
                let sent = Instant::now();
                let request = Request::get(&uri).header("accept", accept).body(Full::default())?;
                let response = sender.send_request(request).await?;
                anyhow::ensure!(response.status() == 200, "{}", response.status());
                let body = response.into_body().collect().await?.to_bytes();
                anyhow::ensure!(!body.is_empty(), "an empty body");
                latencies.push(sent.elapsed());
            }
            Ok(latencies)
        })
    });
    let mut latencies = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        latencies.extend(worker.await??);
    }
    let elapsed = begin.elapsed();
    let cpu = cpu_time(pid)?.saturating_sub(before);
    latencies.sort_unstable();
    let requests = latencies.len().max(1);
    let at = |share: f64| latencies[((requests - 1) as f64 * share) as usize];
    Ok(Figures {
        per_second: requests as f64 / elapsed.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        cpu: cpu / u32::try_from(requests)?,
    })
}

/// User and system time of a process, from /proc (100 ticks a second).
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
