//! What was typed. Everything is checked here at once and becomes a [`crate::config::Config`].

use std::{ffi::OsString, io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{ArgGroup, Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use tokio::{sync::mpsc, task::JoinHandle};

mod backend_tls;
mod check;
mod delegate;
mod healthcheck;
mod observe;
mod serve;

use backend_tls::BackendTlsArgs;
use check::Check;
use healthcheck::HealthcheckArgs;

pub use serve::ServeArgs;

use crate::{
    app::{App, LintSource, LintTls, lint},
    config::{BackendUrl, Faults},
    lifecycle::Signals,
    server::Version,
    telemetry,
};

/// A Kubernetes API aggregation layer whose extension backends speak gRPC.
///
/// An annotated protobuf service becomes a Kubernetes API that kubectl, client-go and controllers use.
#[derive(Debug, Parser)]
#[command(name = "kubridge", version, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 what was typed cannot be used.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve Kubernetes APIs from gRPC backends.
    Serve(Box<ServeArgs>),
    /// Say what a schema would serve, or every fault of it; exit 1 if there is one.
    Lint(LintArgs),
    /// Say whether a server on this machine is ready, by its --metrics-listen; exit 1 if it is not.
    Healthcheck(HealthcheckArgs),
    /// Print shell completions. Bash: source <(kubridge completions bash)
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true))]
struct LintArgs {
    /// A file with a FileDescriptorSet, imports and comments included:
    /// `buf build -o FILE`, or `protoc --include_imports --include_source_info -o FILE`.
    #[arg(long, value_name = "FILE", group = "source")]
    descriptor_set: Option<PathBuf>,
    /// A running backend: its Schema service, else its reflection.
    #[arg(long, value_name = "URL", group = "source")]
    backend: Option<String>,
    #[command(flatten)]
    tls: BackendTlsArgs,
}

/// What was typed is wrong.
const USAGE: u8 = 2;

/// Runs the command; the result is the process's exit code.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve(&args),
        Command::Lint(args) => run_lint(args),
        Command::Healthcheck(args) => healthcheck(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kubridge", &mut script);
            print(&script)
        }
        Command::Version => print(format!("{}\n", Version::new().git_version).as_bytes()),
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let (config, log) = match args.check() {
        Ok(checked) => checked,
        Err(faults) => return Ok(usage("serve", &faults.to_string())),
    };
    telemetry::init(log.format, &log.filter).map_err(|error| {
        anyhow::anyhow!("cannot set up the log: {}", telemetry::error_chain(error.as_ref()))
    })?;
    runtime()?.block_on(async {
        // Before the first file is written: a stop must be in order from the beginning.
        let signals = Signals::os().context("cannot catch signals")?;
        let bound = App::build(config).await?;
        bound.run(signals).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Starts `kubridge serve ARGS` inside this process, for tests and examples. It logs nothing, and stops with
/// [`Running::stop`].
pub async fn start(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> anyhow::Result<Running> {
    let Command::Serve(args) = Cli::try_parse_from(args)?.command else {
        anyhow::bail!("only `serve` can be started");
    };
    let (config, _log) = args.check()?;
    let bound = App::build(config).await?;
    let (address, metrics_address) = (bound.address(), bound.metrics_address());
    let (signal, signals) = mpsc::channel(1);
    Ok(Running {
        address,
        metrics_address,
        signal,
        server: tokio::spawn(bound.run(Signals::Channel(signals))),
    })
}

/// A server in this process.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    signal: mpsc::Sender<()>,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is to be had without TLS, if anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Stops it in order, as a first SIGTERM would.
    pub async fn stop(self) -> anyhow::Result<()> {
        let _ = self.signal.send(()).await;
        self.server.await?
    }
}

fn run_lint(args: LintArgs) -> anyhow::Result<ExitCode> {
    let source = match (args.descriptor_set, args.backend) {
        (Some(file), _) => LintSource::DescriptorSet(file),
        (None, backend) => match lint_backend(&backend.unwrap_or_default(), args.tls) {
            Ok(source) => source,
            Err(faults) => return Ok(usage("lint", &faults.to_string())),
        },
    };
    let report = runtime()?.block_on(lint(source))?;
    let code = print(report.text.as_bytes())?;
    Ok(if report.passed { code } else { ExitCode::FAILURE })
}

fn healthcheck(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    match args.check() {
        Ok(healthcheck) => {
            print(format!("{}\n", runtime()?.block_on(healthcheck.run())?.trim_end()).as_bytes())
        }
        Err(faults) => Ok(usage("healthcheck", &faults.to_string())),
    }
}

fn lint_backend(url: &str, tls: BackendTlsArgs) -> Result<LintSource, Faults> {
    let mut check = Check::default();
    let url = check.parsed("--backend", url.parse::<BackendUrl>());
    let client = tls.check(url.as_slice(), &mut check);
    match url {
        Some(url) if check.0.is_empty() => {
            Ok(LintSource::Backend(url, LintTls { ca_file: tls.backend_ca_file, client }))
        }
        _ => Err(Faults(check.0)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

#[allow(clippy::print_stderr, reason = "this is the command line")]
fn usage(command: &str, faults: &str) -> ExitCode {
    for fault in faults.lines() {
        eprintln!("error: {fault}");
    }
    eprintln!("\nFor all settings: kubridge {command} --help");
    ExitCode::from(USAGE)
}

fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text) {
        // `kubridge completions bash | head` is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn code(words: &[&str]) -> String {
        let cli = Cli::try_parse_from(["kubridge"].iter().chain(words)).unwrap();
        format!("{:?}", run(cli).unwrap())
    }

    #[test]
    fn what_cannot_be_used_is_a_usage_error() {
        let usage = format!("{:?}", ExitCode::from(2));
        assert_eq!(code(&["serve", "--data-dir=d", "--listen=nowhere"]), usage);
        assert_eq!(code(&["lint", "--backend=localhost"]), usage);
        assert_eq!(code(&["lint", "--backend=grpcs://localhost:1"]), usage, "no CA");
        assert!(Cli::try_parse_from(["kubridge", "lint"]).is_err_and(|error| error.exit_code() == 2));
        assert!(
            Cli::try_parse_from(["kubridge", "serve", "--nope"]).is_err_and(|error| error.exit_code() == 2)
        );
    }
}
