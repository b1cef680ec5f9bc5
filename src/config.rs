//! What is true: the settings after they were checked. What was typed lives in [`crate::cli`].

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

mod kubeconfig;
mod parse;
mod service_rules;

pub use kubeconfig::{Kubeconfig, KubeconfigError, Token};
pub(crate) use parse::refused;
pub use parse::{AdvertiseUrl, BackendUrl, ParseFault, San, listen_address, parse_duration};
pub use service_rules::{Places, ServiceRule, ServiceRules};

use crate::telemetry::{LogFormat, TraceSettings};

/// Everything that `kubridge serve` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Port 0: any free one.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are served without TLS and to anybody; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where traces go; `None`: nowhere.
    pub traces: Option<Traces>,
    /// Keys, certificates, the store.
    pub data_dir: PathBuf,
    /// Backends whose schema is read and whose APIs are claimed.
    pub backends: Vec<BackendUrl>,
    /// Backends may claim groups that end with `.k8s.io`.
    pub allow_k8s_io_claims: bool,
    /// Manifests that are applied at the start and again when they change.
    pub manifests: Option<PathBuf>,
    /// Schemas for backends that cannot tell theirs.
    pub descriptor_sets: BTreeMap<BackendUrl, PathBuf>,
    /// Mapping files: how services are Kubernetes APIs that do not say so themselves.
    pub mappings: Vec<PathBuf>,
    /// Where the Services are that APIServices name.
    pub service_rules: ServiceRules,
    /// How many requests to one backend may be in flight, watches and other streams apart.
    pub max_backend_requests_inflight: usize,
    /// Keys and certificates.
    pub tls: Tls,
    /// Static bearer tokens, in Kubernetes' CSV format.
    pub token_auth_file: Option<PathBuf>,
    /// Who may do what.
    pub authorization_mode: AuthorizationMode,
    /// What clients write into their kubeconfig; `None`: `https://127.0.0.1:PORT`.
    pub advertise_url: Option<AdvertiseUrl>,
    /// After this long a request that is not long-running is answered with 504.
    pub request_timeout: Duration,
    /// Who gets what nobody claims.
    pub delegate: Option<Delegate>,
    /// The cluster whose kube-apiserver sends its requests here; `None`: standalone.
    pub cluster: Option<Cluster>,
    /// For how long a backend that is away is described by what it last said of itself. After that its discovery is
    /// Stale, which clients take for unknown.
    pub discovery_max_age: Duration,
    /// How long requests in flight may take when the server stops.
    pub shutdown_grace: Duration,
    /// How long the server goes on serving when it stops, with `/readyz` failing.
    pub shutdown_delay: Duration,
}

/// Where traces go and which.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// The collector, and how many requests are sampled.
    pub settings: TraceSettings,
    /// What an `https` collector is verified against, PEM.
    pub ca_file: Option<PathBuf>,
}

/// The cluster whose kube-apiserver sends its requests here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// How its API server is reached; `None`: as the service account of the pod that this is.
    pub kubeconfig: Option<PathBuf>,
    /// This process, as APIServices name it.
    pub service: ServiceName,
    /// What signed the serving certificate, where one is given: the APIServices' trust in it.
    pub tls_ca_file: Option<PathBuf>,
    /// The zone that this process runs in.
    pub zone: Option<String>,
    /// What the names of Services end with after `svc`.
    pub domain: String,
    /// Whether who may is decided here where the cluster's Roles allow it.
    pub local_rbac: bool,
}

/// A Service of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The port that kube-apiserver is to call it at.
    pub port: u16,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A kube-apiserver that gets what nobody claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegate {
    /// Where it is, and how we prove who we are: see [`Kubeconfig`].
    pub kubeconfig: PathBuf,
    /// How it learns who asks.
    pub identity: DelegateIdentity,
}

/// How a delegate learns who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DelegateIdentity {
    /// `Impersonate-*` headers, which the kubeconfig's user must have the right to.
    Impersonate,
    /// `X-Remote-*` headers, believed because of our client certificate.
    FrontProxy,
}

/// Keys and certificates: which are made, and which are given.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Names that the serving certificate has beside the usual ones.
    pub sans: Vec<San>,
    /// The serving certificate, where one is given.
    pub own: Option<OwnCertificate>,
    /// Who signs client certificates, beside the server's own CA.
    pub client_ca_file: Option<PathBuf>,
    /// What the certificates of `grpcs://` [`Config::backends`] are verified against, PEM.
    pub backend_ca_file: Option<PathBuf>,
    /// The certificate that `grpcs://` backends are shown, where one is given.
    pub backend_client: Option<OwnCertificate>,
    /// The certificate that HTTPS backends are shown, where one is given.
    pub proxy_client: Option<OwnCertificate>,
}

/// A certificate that somebody else looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The certificate and its intermediates, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
}

/// Who may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthorizationMode {
    /// Only the group system:masters may do anything; others may find out what there is and who they are.
    #[default]
    SystemMasters,
    /// Everyone who is authenticated may do everything.
    AlwaysAllow,
}

/// How the process logs. It is set up before anything else, so it is no part of [`Config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// In tracing's filter syntax.
    pub filter: String,
}

/// One setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// As it is typed: `--listen`.
    pub setting: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub mend: String,
}

/// All of them at once. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}: {}; {}", fault.setting, fault.problem, fault.mend)?;
        }
        Ok(())
    }
}
