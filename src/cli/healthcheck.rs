//! `kubridge healthcheck`: whether the server of this machine is ready. A container's health check is this: its image
//! needs no HTTP client beside it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use super::check::Check;
use crate::config::{Faults, listen_address};

/// An answer is a line for each condition of readiness.
const MAX_ANSWER: usize = 64 << 10;

/// Where to ask, as typed.
#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    /// What the server has as --metrics-listen: IP:PORT, or :PORT.
    #[arg(long, env = "KUBRIDGE_METRICS_LISTEN", value_name = "ADDR")]
    metrics_listen: Option<String>,

    /// How long the answer may take.
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    timeout: String,
}

/// Where to ask, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Healthcheck {
    /// Tried in this order.
    addresses: Vec<SocketAddr>,
    limit: Duration,
}

impl HealthcheckArgs {
    /// What was typed, or every fault of it.
    pub(super) fn check(&self) -> Result<Healthcheck, Faults> {
        let mut check = Check::default();
        let setting = "--metrics-listen";
        let limit = check.duration("--timeout", &self.timeout);
        let listen = match self.metrics_listen.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => check.parsed(setting, listen_address(text)),
            None => {
                check.fault(
                    setting,
                    "it is missing",
                    "give it as `kubridge serve` has it, :9090 for example",
                );
                None
            }
        };
        match listen {
            Some(listen) if check.0.is_empty() => Ok(Healthcheck { addresses: reached_by(listen), limit }),
            _ => Err(Faults(check.0)),
        }
    }
}

impl Healthcheck {
    /// Asks for `/readyz`; what it said. An error unless it is ready.
    pub(super) async fn run(&self) -> anyhow::Result<String> {
        let asked = timeout(self.limit, self.ask()).await;
        let (status, text) = asked.with_context(|| format!("no answer within {:?}", self.limit))??;
        if status != StatusCode::OK {
            bail!("not ready: {status}\n{}", text.trim_end());
        }
        Ok(text)
    }

    async fn ask(&self) -> anyhow::Result<(StatusCode, String)> {
        let stream = TcpStream::connect(&self.addresses[..]).await.with_context(|| {
            let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
            format!(
                "nothing listens on {} (the server needs the same --metrics-listen)",
                addresses.join(" or ")
            )
        })?;
        let host = stream.peer_addr()?.to_string();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its end is the end of the answer, or an error that the sender tells too.
        let mut background = JoinSet::new();
        background.spawn(connection);
        let request = Request::get("/readyz").header(header::HOST, &host).body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await.with_context(|| format!("http://{host}/readyz"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("http://{host}/readyz: {error}"))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Who listens on all addresses is reached by loopback's.
fn reached_by(listen: SocketAddr) -> Vec<SocketAddr> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let addresses = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![v4],
        // `[::]` is IPv4 too, on most machines.
        IpAddr::V6(ip) if ip.is_unspecified() => vec![v4, v6],
        ip => vec![ip],
    };
    addresses.into_iter().map(|ip| SocketAddr::new(ip, listen.port())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    fn typed(metrics_listen: &str) -> Result<Healthcheck, Faults> {
        HealthcheckArgs { metrics_listen: Some(metrics_listen.into()), timeout: "3s".into() }.check()
    }

    #[test]
    fn it_asks_by_loopback_who_listens_everywhere() {
        let of = |text| typed(text).unwrap().addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of(":9090"), ["127.0.0.1:9090", "[::1]:9090"]);
        assert_eq!(of("0.0.0.0:1"), ["127.0.0.1:1"]);
        assert_eq!(of("192.0.2.7:9090"), ["192.0.2.7:9090"]);
    }

    #[test]
    fn faults_are_told_together() {
        let args = HealthcheckArgs { metrics_listen: None, timeout: "soon".into() };
        let faults = args.check().unwrap_err().to_string();
        assert!(faults.contains("--timeout: \"soon\" is no duration"), "{faults}");
        assert!(faults.contains("--metrics-listen: it is missing; give it as `kubridge serve`"), "{faults}");
        assert!(typed("nowhere").is_err());
    }

    /// What is made of a server that answers like this, or that never answers.
    async fn told(answer: Option<&'static str>) -> Result<String, String> {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            assert!(head[..length].starts_with(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1:"));
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        let check = Healthcheck { addresses: vec![address], limit: Duration::from_secs(3) };
        let said = check.run().await.map_err(|error| format!("{error:#}"));
        server.abort();
        said
    }

    #[tokio::test]
    async fn only_ready_is_healthy() {
        assert_eq!(told(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")).await.unwrap(), "ok");
        let not = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 20\r\n\r\n[-]shutdown failed: \n";
        let error = told(Some(not)).await.unwrap_err();
        assert!(error.contains("not ready: 500") && error.contains("[-]shutdown failed"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_waited_for() {
        let error = told(None).await.unwrap_err();
        assert!(error.starts_with("no answer within 3s"), "{error}");
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_mend() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let check =
            Healthcheck { addresses: vec![socket.local_addr().unwrap()], limit: Duration::from_secs(3) };
        drop(socket);
        let error = format!("{:#}", check.run().await.unwrap_err());
        assert!(
            error.contains("nothing listens on 127.0.0.1:") && error.contains("--metrics-listen"),
            "{error}"
        );
    }
}
