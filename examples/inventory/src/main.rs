//! `inventory`: machines and racks in SQLite, served by gRPC.

use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::Parser;
use inventory::{Options, Server, Tls};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Machines and racks in SQLite, served by gRPC: an example backend for Kubridge.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Where to listen; port 0 takes any that is free.
    #[arg(long, default_value = "127.0.0.1:50051", value_name = "ADDR")]
    listen: SocketAddr,
    /// Ask the inventory that serves at ADDR for its health, and exit with 0 or 1.
    #[arg(
        long,
        value_name = "ADDR",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:50051",
        conflicts_with = "tls_cert"
    )]
    health_check: Option<SocketAddr>,
    /// The database's file; ":memory:" keeps nothing.
    #[arg(long, default_value = "inventory.db", value_name = "FILE")]
    db: PathBuf,
    /// How many changes are kept for watches and pages to continue from.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    log_limit: u64,
    /// How large the database may become, in bytes. Default: as the disk allows.
    #[arg(long, value_name = "BYTES")]
    max_size: Option<u64>,
    /// Seconds between the bookmarks of a quiet watch.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    bookmark_interval: u64,
    /// Seconds that calls in flight get to finish when it stops.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    grace: u64,
    /// The server's certificate (PEM). With --tls-key and --client-ca: mutual TLS.
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "client_ca"])]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The CA whose clients are let in (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
}

/// A server that is well answers in milliseconds.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    if let Some(addr) = cli.health_check {
        return inventory::check_health(addr, HEALTH_TIMEOUT).await;
    }
    let tls = match (&cli.tls_cert, &cli.tls_key, &cli.client_ca) {
        (Some(certificate), Some(key), Some(client_ca)) => {
            Some(Tls { certificate: pem(certificate)?, key: pem(key)?, client_ca: pem(client_ca)? })
        }
        _ => None,
    };
    if tls.is_none() {
        tracing::warn!("without mutual TLS: the users in the log are what any caller claims");
    }
    let mut stop = Stop::new()?;
    let mut running = Server::start(Options {
        listen: cli.listen,
        database: cli.db,
        log_limit: cli.log_limit,
        max_bytes: cli.max_size,
        bookmark_every: Duration::from_secs(cli.bookmark_interval),
        grace: Duration::from_secs(cli.grace),
        first_machine: true,
        tls,
        descriptors: None,
    })
    .await?;
    #[allow(clippy::print_stdout, reason = "the one line that scripts read")]
    {
        println!("listening on {}", running.addr);
    }
    tokio::select! {
        () = stop.asked() => {}
        error = running.failed() => bail!("{error}"),
    }
    tracing::info!("stopping; once more aborts");
    tokio::select! {
        finished = running.stop() => if !finished { tracing::warn!("calls in flight were cut off") },
        () = stop.asked() => bail!("aborted"),
    }
    Ok(())
}

fn pem(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// SIGXFSZ. Listened to, it no longer kills: a file size limit is an error of the write, and is answered.
    _file_size: Option<Signal>,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        let file_size = if cfg!(target_os = "linux") { signal(SignalKind::from_raw(25)).ok() } else { None };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: file_size,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
