//! `kubridge serve`: its settings as they are typed, and what becomes of them.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{
    backend_tls::BackendTlsArgs, check::Check, cluster::ClusterArgs, delegate::DelegateArgs,
    observe::ObserveArgs,
};
use crate::{
    config::{
        AuthorizationMode, BackendUrl, Config, Faults, Log, OwnCertificate, San, ServiceRules, Tls,
        listen_address, parse_duration,
    },
    telemetry::{LogFormat, check_filter},
};

/// The settings of `kubridge serve`, as typed. Each can be given by the environment variable that its help names.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where to listen: IP:PORT, or :PORT for all addresses. Port 0: any free one.
    #[arg(long, env = "KUBRIDGE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:6443")]
    pub listen: String,

    /// Where keys, certificates, APIServices and admin.kubeconfig are kept. Made if it is not there.
    #[arg(long, env = "KUBRIDGE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// A backend whose APIs are served: grpc://HOST:PORT, or grpcs:// for TLS. Repeatable.
    #[arg(long = "backend", env = "KUBRIDGE_BACKEND", value_name = "URL", value_delimiter = ',')]
    pub backends: Vec<String>,

    /// Let Backends claim groups that end with .k8s.io, which Kubernetes keeps for itself: metrics.k8s.io, for one.
    #[arg(long, env = "KUBRIDGE_ALLOW_K8S_IO_CLAIMS")]
    pub allow_k8s_io_claims: bool,

    /// A directory of APIService and Mapping manifests, applied at the start and whenever they change.
    #[arg(long, env = "KUBRIDGE_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,

    /// The schema of a backend that cannot tell its own: a FileDescriptorSet file. Repeatable.
    #[arg(
        long = "descriptor-set",
        env = "KUBRIDGE_DESCRIPTOR_SET",
        value_name = "URL=FILE",
        value_delimiter = ','
    )]
    pub descriptor_sets: Vec<String>,

    /// How a service is a Kubernetes API that does not say so itself: a mapping file (docs/aip.md). Repeatable.
    #[arg(long = "mapping", env = "KUBRIDGE_MAPPING", value_name = "FILE", value_delimiter = ',')]
    pub mappings: Vec<PathBuf>,

    /// Where a Service is that an APIService names: {name}.{namespace}.svc, {name}:PORT, NAMESPACE/NAME=HOST:PORT or NAMESPACE/NAME:PORT=HOST:PORT,
    /// several places with + between them. Repeatable: the first that resolves is used [default: {name}.{namespace}.svc, then {name}].
    #[arg(
        long = "service-resolution",
        env = "KUBRIDGE_SERVICE_RESOLUTION",
        value_name = "RULE",
        value_delimiter = ','
    )]
    pub service_resolution: Vec<String>,

    /// How many requests to one backend may be in flight; more get 429. Watches are counted apart.
    #[arg(
        long,
        env = "KUBRIDGE_MAX_BACKEND_REQUESTS_INFLIGHT",
        value_name = "NUMBER",
        default_value_t = 1024
    )]
    pub max_backend_requests_inflight: usize,

    /// One more name or IP address of the serving certificate. Repeatable.
    #[arg(
        long = "tls-san",
        env = "KUBRIDGE_TLS_SAN",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "TLS"
    )]
    pub tls_sans: Vec<String>,

    /// Serve with this certificate (PEM, intermediates after it) in place of one made here.
    #[arg(long, env = "KUBRIDGE_TLS_CERT_FILE", value_name = "FILE", help_heading = "TLS")]
    pub tls_cert_file: Option<PathBuf>,

    /// The private key of --tls-cert-file (PEM).
    #[arg(long, env = "KUBRIDGE_TLS_PRIVATE_KEY_FILE", value_name = "FILE", help_heading = "TLS")]
    pub tls_private_key_file: Option<PathBuf>,

    /// The URL that admin.kubeconfig names [default: https://127.0.0.1:PORT].
    #[arg(long, env = "KUBRIDGE_ADVERTISE_URL", value_name = "URL", help_heading = "TLS")]
    pub advertise_url: Option<String>,

    /// TLS to backends.
    #[command(flatten)]
    pub backend_tls: BackendTlsArgs,

    /// The kube-apiserver behind us.
    #[command(flatten)]
    pub delegate: DelegateArgs,

    /// The cluster that is served.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// The certificate that HTTPS backends are shown (PEM, intermediates after it) [default: as gRPC backends].
    /// Read again when it changes.
    #[arg(
        long,
        env = "KUBRIDGE_PROXY_CLIENT_CERT_FILE",
        value_name = "FILE",
        help_heading = "TLS to backends"
    )]
    pub proxy_client_cert_file: Option<PathBuf>,

    /// The private key of --proxy-client-cert-file (PEM; it may be the same file).
    #[arg(
        long,
        env = "KUBRIDGE_PROXY_CLIENT_KEY_FILE",
        value_name = "FILE",
        help_heading = "TLS to backends"
    )]
    pub proxy_client_key_file: Option<PathBuf>,

    /// Believe client certificates that these CAs signed too (PEM): CN is the user, each O a group.
    #[arg(long, env = "KUBRIDGE_CLIENT_CA_FILE", value_name = "FILE", help_heading = "Who may")]
    pub client_ca_file: Option<PathBuf>,

    /// Bearer tokens, a line each: token,user,uid,"group1,group2". Read again when it changes.
    #[arg(long, env = "KUBRIDGE_TOKEN_AUTH_FILE", value_name = "FILE", help_heading = "Who may")]
    pub token_auth_file: Option<PathBuf>,

    /// What those may who are not in the group system:masters.
    #[arg(
        long,
        env = "KUBRIDGE_AUTHORIZATION_MODE",
        value_name = "MODE",
        default_value = "SystemMasters",
        help_heading = "Who may"
    )]
    pub authorization_mode: String,

    /// How long a request may take; watches and other streams may take longer.
    #[arg(
        long,
        env = "KUBRIDGE_REQUEST_TIMEOUT",
        value_name = "DURATION",
        default_value = "60s",
        help_heading = "Time"
    )]
    pub request_timeout: String,

    /// While a backend is away: for how long what it last said of itself counts as Current in discovery.
    #[arg(
        long,
        env = "KUBRIDGE_DISCOVERY_MAX_AGE",
        value_name = "DURATION",
        default_value = "24h",
        help_heading = "Time"
    )]
    pub discovery_max_age: String,

    /// At a stop: how long requests in flight may take.
    #[arg(
        long,
        env = "KUBRIDGE_SHUTDOWN_GRACE",
        value_name = "DURATION",
        default_value = "30s",
        help_heading = "Time"
    )]
    pub shutdown_grace: String,

    /// At a stop: how long to go on serving with /readyz failing, so that load balancers notice.
    #[arg(
        long,
        env = "KUBRIDGE_SHUTDOWN_DELAY",
        value_name = "DURATION",
        default_value = "0s",
        help_heading = "Time"
    )]
    pub shutdown_delay: String,

    /// Metrics and traces.
    #[command(flatten)]
    pub observe: ObserveArgs,

    /// How log lines look.
    #[arg(long, env = "KUBRIDGE_LOG_FORMAT", value_enum, default_value_t = Format::Text, help_heading = "Log")]
    pub log_format: Format,

    /// What is logged: error, warn, info, debug, trace, or a filter such as info,kubridge=debug [default: info].
    #[arg(long, env = "KUBRIDGE_LOG_LEVEL", value_name = "LEVEL", help_heading = "Log")]
    pub log_level: Option<String>,

    /// Log more, whatever --log-level says: -v debug, -vv trace.
    #[arg(short, action = clap::ArgAction::Count, help_heading = "Log")]
    pub verbose: u8,
}

/// How log lines look, as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl ServeArgs {
    /// The settings, or every fault of them.
    pub fn check(&self) -> Result<(Config, Log), Faults> {
        let mut check = Check::default();
        let listen = check.parsed("--listen", listen_address(&self.listen));
        let metrics_listen = self.observe.metrics_listen(&mut check);
        let traces = self.observe.traces(&mut check);
        let data_dir = self.data_dir.clone().filter(|dir| !dir.as_os_str().is_empty());
        if data_dir.is_none() {
            check.fault(
                "--data-dir",
                "it is missing",
                "name a directory, such as --data-dir ./kubridge-data",
            );
        }
        let mut backends: Vec<BackendUrl> =
            written(&self.backends).filter_map(|text| check.parsed("--backend", text.parse())).collect();
        let mut known = std::collections::BTreeSet::new();
        backends.retain(|url| known.insert(url.clone()));
        let descriptor_sets = check.descriptor_sets(&self.descriptor_sets, &backends);
        let service_rules = written(&self.service_resolution)
            .filter_map(|text| check.parsed("--service-resolution", text.parse()));
        let service_rules = ServiceRules::new(service_rules.collect());
        if self.max_backend_requests_inflight == 0 {
            let setting = "--max-backend-requests-inflight";
            check.fault(setting, "no request would reach a backend", "write 1024, for example");
        }
        let tls = Tls {
            sans: check.sans(&self.tls_sans),
            own: check.own_certificate(self),
            client_ca_file: self.client_ca_file.clone(),
            backend_ca_file: self.backend_tls.backend_ca_file.clone(),
            backend_client: self.backend_tls.check(&backends, &mut check),
            proxy_client: check.pair(
                ("--proxy-client-cert-file", self.proxy_client_cert_file.as_ref()),
                ("--proxy-client-key-file", self.proxy_client_key_file.as_ref()),
            ),
        };
        let advertise_url =
            self.advertise_url.as_deref().and_then(|text| check.parsed("--advertise-url", text.parse()));
        let authorization_mode = check.mode(&self.authorization_mode);
        let request_timeout = check.duration("--request-timeout", &self.request_timeout);
        if request_timeout.is_zero() && parse_duration(&self.request_timeout).is_some() {
            check.fault(
                "--request-timeout",
                "no request could be answered in no time",
                "write 60s, for example",
            );
        }
        let delegate = self.delegate.check(&mut check);
        let cluster = self.cluster.check(&mut check, &self.standalone());
        let discovery_max_age = check.duration("--discovery-max-age", &self.discovery_max_age);
        let shutdown_grace = check.duration("--shutdown-grace", &self.shutdown_grace);
        let shutdown_delay = check.duration("--shutdown-delay", &self.shutdown_delay);
        let log = check.log(self);
        check.directory("--manifests", self.manifests.as_ref());
        let mappings: Vec<PathBuf> =
            self.mappings.iter().filter(|file| !file.as_os_str().is_empty()).cloned().collect();
        mappings.iter().for_each(|file| check.file("--mapping", Some(file)));
        check.file("--token-auth-file", self.token_auth_file.as_ref());
        check.file("--client-ca-file", self.client_ca_file.as_ref());
        match (listen, data_dir) {
            (Some(listen), Some(data_dir)) if check.0.is_empty() => Ok((
                Config {
                    listen,
                    metrics_listen,
                    traces,
                    data_dir,
                    backends,
                    manifests: self.manifests.clone(),
                    allow_k8s_io_claims: self.allow_k8s_io_claims,
                    descriptor_sets,
                    mappings,
                    service_rules,
                    max_backend_requests_inflight: self.max_backend_requests_inflight,
                    tls,
                    token_auth_file: self.token_auth_file.clone(),
                    authorization_mode,
                    advertise_url,
                    request_timeout,
                    delegate,
                    cluster,
                    discovery_max_age,
                    shutdown_grace,
                    shutdown_delay,
                },
                log,
            )),
            _ => Err(Faults(check.0)),
        }
    }
}

impl ServeArgs {
    /// What has no meaning where a cluster is served, whether it is given, and what there is in its place.
    fn standalone(&self) -> [(&'static str, bool, &'static str); 7] {
        let apply = "kubectl apply an APIService with the annotation kubridge.io/backend";
        let by_cluster = "drop it: the cluster knows who its users are and what they may do";
        let has = |typed: &[String]| written(typed).next().is_some();
        [
            ("--backend", has(&self.backends), apply),
            ("--manifests", self.manifests.is_some(), apply),
            (
                "--service-resolution",
                has(&self.service_resolution),
                "drop it: the cluster knows where Services are",
            ),
            ("--client-ca-file", self.client_ca_file.is_some(), by_cluster),
            ("--token-auth-file", self.token_auth_file.is_some(), by_cluster),
            ("--authorization-mode", self.authorization_mode != "SystemMasters", by_cluster),
            (
                "--delegate-kubeconfig",
                self.delegate.delegate_kubeconfig.is_some(),
                "drop it: requests come from the kube-apiserver, and what it serves itself it does not send here",
            ),
        ]
    }
}

/// The items of a list. An empty environment variable is an empty list.
fn written(typed: &[String]) -> impl Iterator<Item = &str> {
    typed.iter().map(|text| text.trim()).filter(|text| !text.is_empty())
}

impl Check {
    fn sans(&mut self, typed: &[String]) -> Vec<San> {
        written(typed).filter_map(|text| self.parsed("--tls-san", text.parse())).collect()
    }

    pub(super) fn descriptor_sets(
        &mut self,
        typed: &[String],
        backends: &[BackendUrl],
    ) -> BTreeMap<BackendUrl, PathBuf> {
        let setting = "--descriptor-set";
        let mut sets = BTreeMap::new();
        for text in written(typed) {
            let Some((url, file)) = text.split_once('=') else {
                self.fault(setting, format!("{text:?} is not URL=FILE"), "write grpc://HOST:PORT=FILE");
                continue;
            };
            let Some(url) = self.parsed(setting, url.trim().parse::<BackendUrl>()) else { continue };
            let file = PathBuf::from(file);
            self.file(setting, Some(&file));
            // An APIService may name a backend that no flag names: only a likely slip is a fault.
            if !backends.is_empty()
                && !backends.contains(&url)
                && backends.iter().any(|b| b.host() == url.host())
            {
                let known: Vec<_> = backends.iter().map(ToString::to_string).collect();
                self.fault(
                    setting,
                    format!("{url} is no --backend"),
                    format!("write one of {}", known.join(", ")),
                );
            }
            if sets.insert(url.clone(), file).is_some() {
                self.fault(setting, format!("{url} has two files"), "give one file with everything");
            }
        }
        sets
    }

    fn own_certificate(&mut self, args: &ServeArgs) -> Option<OwnCertificate> {
        let own = self.pair(
            ("--tls-cert-file", args.tls_cert_file.as_ref()),
            ("--tls-private-key-file", args.tls_private_key_file.as_ref()),
        )?;
        if !args.tls_sans.is_empty() {
            let mend = "drop it, or let the certificate be made here";
            self.fault("--tls-san", "the certificate of --tls-cert-file has its own names", mend);
        }
        Some(own)
    }

    fn mode(&mut self, text: &str) -> AuthorizationMode {
        match text {
            "SystemMasters" => AuthorizationMode::SystemMasters,
            "AlwaysAllow" => AuthorizationMode::AlwaysAllow,
            _ => {
                let mend = "write SystemMasters or AlwaysAllow";
                self.fault("--authorization-mode", format!("{text:?} is no mode"), mend);
                AuthorizationMode::default()
            }
        }
    }

    fn log(&mut self, args: &ServeArgs) -> Log {
        let filter = match args.verbose {
            0 => args.log_level.as_deref().filter(|level| !level.is_empty()).unwrap_or("info"),
            // The libraries' own debug lines hide ours.
            1 => "info,kubridge=debug,kubridge_bridge=debug,access=debug",
            _ => "trace",
        }
        .to_owned();
        if let Err(problem) = check_filter(&filter) {
            self.fault("--log-level", problem, "write error, warn, info, debug or trace");
        }
        let format = match args.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
        Log { format, filter }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::cli::Cli;
    use clap::{CommandFactory as _, Parser};

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn check(words: &[&str]) -> Result<(Config, Log), Faults> {
        Typed::try_parse_from(["serve"].iter().chain(words)).unwrap().args.check()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn little_needs_to_be_typed() {
        let (config, log) =
            check(&["--data-dir", "d", "--backend", "grpc://a:1", "--backend", "grpc://b:2"]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:6443");
        assert_eq!(config.backends.len(), 2);
        assert_eq!(config.request_timeout, Duration::from_secs(60));
        assert_eq!(config.shutdown_grace, Duration::from_secs(30));
        assert_eq!(config.shutdown_delay, Duration::ZERO);
        assert_eq!(config.authorization_mode, AuthorizationMode::SystemMasters);
        assert_eq!(log.filter, "info");
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_mend() {
        let Faults(faults) = check(&[
            "--listen=nowhere",
            "--metrics-listen=nowhere",
            "--otlp-endpoint=collector:4318",
            "--otlp-ca-file=/nonexistent",
            "--trace-ratio=2",
            "--backend=http://a:1",
            "--descriptor-set=x",
            "--service-resolution=nowhere",
            "--max-backend-requests-inflight=0",
            "--tls-san=a b",
            "--tls-cert-file=/nonexistent",
            "--backend-ca-file=/nonexistent",
            "--backend-client-key-file=/nonexistent",
            "--advertise-url=http://a",
            "--authorization-mode=RBAC",
            "--request-timeout=0s",
            "--shutdown-grace=5",
            "--log-level=kubridge=loud",
            "--manifests=/nonexistent",
            "--token-auth-file=/nonexistent",
        ])
        .unwrap_err();
        let settings: Vec<_> = faults.iter().map(|fault| fault.setting).collect();
        assert_eq!(
            settings,
            [
                "--listen",
                "--metrics-listen",
                "--trace-ratio",
                "--otlp-ca-file",
                "--otlp-endpoint",
                "--data-dir",
                "--backend",
                "--descriptor-set",
                "--service-resolution",
                "--max-backend-requests-inflight",
                "--tls-san",
                "--tls-private-key-file",
                "--backend-ca-file",
                "--backend-client-cert-file",
                "--advertise-url",
                "--authorization-mode",
                "--request-timeout",
                "--shutdown-grace",
                "--log-level",
                "--manifests",
                "--token-auth-file",
            ]
        );
        assert!(faults.iter().all(|fault| !fault.mend.is_empty()));
        assert_eq!(Faults(faults).to_string().lines().count(), 21);
    }

    #[test]
    fn a_descriptor_set_belongs_to_a_backend() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = |url: &str| format!("--descriptor-set={url}={}", file.path().display());
        let base = ["--data-dir=d", "--backend=grpc://a:1"];
        let (config, _) = check(&[&base[..], &[&set("grpc://a:1")]].concat()).unwrap();
        assert_eq!(config.descriptor_sets.len(), 1);
        assert!(check(&[&base[..], &[&set("grpc://other:9")]].concat()).is_ok(), "an APIService may name it");
        let slip = check(&[&base[..], &[&set("grpc://a:2")]].concat()).unwrap_err();
        assert!(slip.to_string().contains("write one of grpc://a:1"), "{slip}");
        let twice = check(&[&base[..], &[&set("grpc://a:1"), &set("grpc://a:1")]].concat()).unwrap_err();
        assert!(twice.to_string().contains("two files"), "{twice}");
    }
}
