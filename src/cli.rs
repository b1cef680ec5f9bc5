//! What was typed. Everything is checked here at once and becomes a [`crate::config::Config`].

use std::{ffi::OsString, io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use tokio::{sync::mpsc, task::JoinHandle};

mod backend_tls;
mod check;
mod cluster;
mod delegate;
mod describe;
mod doctor;
mod healthcheck;
mod kubeconfig;
mod manifests;
mod observe;
mod register;
mod schema;
mod serve;

use check::Check;
use describe::{DescribeArgs, Output};
use doctor::DoctorArgs;
use healthcheck::HealthcheckArgs;
use manifests::ManifestsArgs;
use register::RegisterArgs;
use schema::SchemaArgs;

pub use serve::ServeArgs;

use crate::{
    app::{
        App, LintReport, describe as describe_api, doctor as examine, lint, manifests as all_manifests,
        protos, register as register_backend,
    },
    config::Faults,
    lifecycle::Signals,
    server::Version,
    telemetry,
};

/// A Kubernetes API aggregation layer whose extension backends speak gRPC.
///
/// An annotated protobuf service becomes a Kubernetes API that kubectl, client-go and controllers use.
#[derive(Debug, Parser)]
#[command(name = "kubridge", version, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 what was typed cannot be used.\n\
    Every fault that a schema can have, and its mend: docs/errors.md")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve Kubernetes APIs from gRPC backends.
    #[command(after_help = "\
Examples:
  kubridge serve --data-dir ./data --backend grpc://localhost:50051
  kubectl --kubeconfig ./data/admin.kubeconfig api-resources")]
    Serve(Box<ServeArgs>),
    /// Say what a schema would serve, or every fault of it.
    ///
    /// Each fault with its place, its mend and its code; exit 1 if there is one. docs/errors.md lists them all.
    #[command(after_help = "\
Examples:
  kubridge lint --backend grpc://localhost:50051
  buf build -o schema.bin && kubridge lint --descriptor-set schema.bin")]
    Lint(LintArgs),
    /// Show an API on one page: who does what for its resources, their columns and fields.
    ///
    /// Of a backend: which method does what, and what Kubridge would make. Of a server: the same where it is
    /// Kubridge, what its documents tell elsewhere, and the conditions of its APIServices.
    #[command(after_help = "\
Examples:
  kubridge describe --backend grpc://localhost:50051
  kubridge describe inventory.example.com/v1 --kubeconfig ./data/admin.kubeconfig
  kubridge describe apps -o json")]
    Describe(DescribeArgs),
    /// Print or apply the APIServices of a backend.
    ///
    /// One for each group and version that its schema declares; the versions of a group in Kubernetes' order.
    #[command(after_help = "\
Examples:
  kubridge register --backend grpc://inventory:50051 > apiservices.yaml
  kubridge register --backend grpc://inventory:50051 --apply --kubeconfig ./data/admin.kubeconfig
  kubridge register --backend grpc://inventory.default.svc:50051 --descriptor-set schema.bin \\
    --service kubridge/kubridge --service-ca-file ca.crt --apply")]
    Register(Box<RegisterArgs>),
    /// Print what a cluster needs to run Kubridge, and the APIServices of its backends.
    ///
    /// Namespace, rights, Service, Deployment, PodDisruptionBudget and NetworkPolicy: what deploy/manifests has.
    #[command(after_help = "\
Examples:
  kubridge manifests --image registry.example.com/kubridge:0.1.0 | kubectl apply -f -
  kubridge manifests --backend grpc://inventory.default.svc:50051 \\
    --descriptor-set grpc://inventory.default.svc:50051=inventory.bin > kubridge.yaml")]
    Manifests(ManifestsArgs),
    /// Say which hop from a cluster's kube-apiserver to a backend is broken, and what to do.
    ///
    /// For each APIService that names Kubridge's Service: what kube-apiserver does to reach it, hop by hop, with the rights of
    /// the kubeconfig (in a pod: of its service account). Changes nothing; exit 1 if a hop is broken.
    #[command(after_help = "\
Examples:
  kubridge doctor
  kubridge doctor v1.inventory.example.com -o json
  kubectl exec -n kubridge-system deploy/kubridge -- kubridge doctor")]
    Doctor(Box<DoctorArgs>),
    /// Write the contract's protos, which a backend's own proto imports.
    ///
    /// kubridge/v1/*.proto and google/rpc/status.proto, as they are in this program.
    #[command(after_help = "\
Examples:
  kubridge protos --out third_party
  protoc -I third_party -I proto --include_imports -o schema.bin proto/a.proto")]
    Protos(ProtosArgs),
    /// Say whether a server on this machine is ready, by its --metrics-listen; exit 1 if it is not.
    Healthcheck(HealthcheckArgs),
    /// Print shell completions.
    #[command(after_help = "\
Examples:
  source <(kubridge completions bash)
  kubridge completions zsh > \"${fpath[1]}/_kubridge\"
  kubridge completions fish > ~/.config/fish/completions/kubridge.fish")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
struct LintArgs {
    #[command(flatten)]
    schema: SchemaArgs,
}

#[derive(Debug, Args)]
struct ProtosArgs {
    /// The directory to write to: the import root, made if it is not there.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: PathBuf,
    /// Replace files that say something else.
    #[arg(long)]
    force: bool,
}

/// What was typed is wrong.
const USAGE: u8 = 2;

/// Runs the command; the result is the process's exit code.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve(&args),
        Command::Lint(args) => run_lint(args),
        Command::Describe(args) => run_describe(args),
        Command::Register(args) => run_register(*args),
        Command::Manifests(args) => run_manifests(args),
        Command::Doctor(args) => run_doctor(&args),
        Command::Protos(args) => print(protos(&args.out, args.force)?.as_bytes()),
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
    let mut check = Check::default();
    let source = match args.schema.check(&mut check) {
        Some(source) if check.0.is_empty() => source,
        _ => return Ok(usage("lint", &Faults(check.0).to_string())),
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

fn run_describe(args: DescribeArgs) -> anyhow::Result<ExitCode> {
    let as_json = args.output == Output::Json;
    let source = match args.check() {
        Ok(source) => source,
        Err(faults) => return Ok(usage("describe", &faults.to_string())),
    };
    match runtime()?.block_on(describe_api(source, as_json))? {
        Ok(text) => print(text.as_bytes()),
        Err(report) => Ok(rejected(&report)),
    }
}

fn run_doctor(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let options = match args.check() {
        Ok(options) => options,
        Err(faults) => return Ok(usage("doctor", &faults.to_string())),
    };
    let report = runtime()?.block_on(examine(options))?;
    let text = match args.output {
        doctor::Output::Text => report.text(),
        doctor::Output::Json => report.json(),
    };
    let code = print(text.as_bytes())?;
    Ok(if report.passed { code } else { ExitCode::FAILURE })
}

fn run_register(args: RegisterArgs) -> anyhow::Result<ExitCode> {
    let (registration, apply) = match args.check() {
        Ok(checked) => checked,
        Err(faults) => return Ok(usage("register", &faults.to_string())),
    };
    let registered = match runtime()?.block_on(register_backend(registration, apply))? {
        Ok(registered) => registered,
        Err(report) => return Ok(rejected(&report)),
    };
    let code = print(registered.text.as_bytes())?;
    Ok(if registered.refused.is_empty() { code } else { failed(&registered.refused) })
}

fn run_manifests(args: ManifestsArgs) -> anyhow::Result<ExitCode> {
    let installation = match args.check() {
        Ok(installation) => installation,
        Err(faults) => return Ok(usage("manifests", &faults.to_string())),
    };
    match runtime()?.block_on(all_manifests(installation))? {
        Ok(text) => print(text.as_bytes()),
        Err(report) => Ok(rejected(&report)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// A schema with faults: standard output is for what was asked for.
#[allow(clippy::print_stderr, reason = "this is the command line")]
fn rejected(report: &LintReport) -> ExitCode {
    eprint!("{}", report.text);
    ExitCode::FAILURE
}

#[allow(clippy::print_stderr, reason = "this is the command line")]
fn failed(why: &[String]) -> ExitCode {
    for why in why {
        eprintln!("error: {why}");
    }
    ExitCode::FAILURE
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
        assert_eq!(code(&["doctor", "--service=nowhere"]), usage);
        assert_eq!(code(&["lint", "--backend=grpcs://localhost:1"]), usage, "no CA");
        assert!(Cli::try_parse_from(["kubridge", "lint"]).is_err_and(|error| error.exit_code() == 2));
        assert!(
            Cli::try_parse_from(["kubridge", "serve", "--nope"]).is_err_and(|error| error.exit_code() == 2)
        );
    }
}
