//! Whom a cluster lets vouch for callers: the ConfigMap `kube-system/extension-apiserver-authentication`, watched.
//!
//! Every kube-apiserver writes its CAs and header names there for the extension API servers.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt as _};
use http::HeaderName;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::sync::watch;

use super::Pauses;

/// Where the ConfigMap is.
pub const NAMESPACE: &str = "kube-system";
/// Its name.
pub const NAME: &str = "extension-apiserver-authentication";
const CLIENT_CA: &str = "client-ca-file";
const FRONT_PROXY_CA: &str = "requestheader-client-ca-file";
const ALLOWED_NAMES: &str = "requestheader-allowed-names";
const USERNAME_HEADERS: &str = "requestheader-username-headers";
const UID_HEADERS: &str = "requestheader-uid-headers";
const GROUP_HEADERS: &str = "requestheader-group-headers";
const EXTRA_PREFIXES: &str = "requestheader-extra-headers-prefix";

/// What the cluster last said. Each change is another one behind another `Arc`.
#[derive(Debug, Clone, Default)]
pub struct AuthenticationConfig {
    /// Whether the cluster has said anything yet. Until then nobody can say what a certificate is worth.
    pub is_known: bool,
    /// Who signs the certificates of clients.
    pub clients: Option<Authority>,
    /// Who may speak for others, and how.
    pub front_proxy: Option<FrontProxy>,
}

/// The front proxies: kube-apiservers that forward requests and say in headers whose they are.
#[derive(Debug, Clone)]
pub struct FrontProxy {
    /// Who signs their certificates.
    pub authority: Authority,
    /// The common names that they may have. Empty: any.
    pub allowed_names: Vec<String>,
    /// The first that is there and not empty names the user. Empty: no front proxy is believed.
    pub username_headers: Vec<HeaderName>,
    /// The first that is there and not empty is the user's uid.
    pub uid_headers: Vec<HeaderName>,
    /// Every value is a group.
    pub group_headers: Vec<HeaderName>,
    /// In lower case. What follows one of them in a header's name is a key, percent-encoded, of the user's extra.
    pub extra_prefixes: Vec<String>,
}

/// CAs of one purpose.
#[derive(Clone)]
pub struct Authority {
    certificates: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// A value of the ConfigMap that cannot be used.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    key: &'static str,
    problem: String,
}

/// What the cluster says from now on. The second one must be run: before it has, nothing is known.
pub fn follow(
    client: Client,
) -> (watch::Receiver<Arc<AuthenticationConfig>>, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = watch::channel(Arc::default());
    let api = Api::<ConfigMap>::namespaced(client, NAMESPACE);
    let objects = watcher::watch_object(api, NAME).backoff(Pauses::default());
    (receiver, publish(objects, sender))
}

async fn publish(
    objects: impl Stream<Item = watcher::Result<Option<ConfigMap>>>,
    sender: watch::Sender<Arc<AuthenticationConfig>>,
) {
    let mut objects = std::pin::pin!(objects);
    let mut last = None;
    let mut is_away = false;
    while let Some(object) = objects.next().await {
        let object = match object {
            Ok(object) => object,
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(
                        %error,
                        "the ConfigMap {NAMESPACE}/{NAME} cannot be watched: what it last said stays good (where this \
                         stays, bind the Role extension-apiserver-authentication-reader to Kubridge's service account)"
                    );
                }
                continue;
            }
        };
        is_away = false;
        let Some(object) = object else {
            // kube-apiserver deletes it to make it anew: what it said stays good.
            tracing::warn!(
                "there is no ConfigMap {NAMESPACE}/{NAME}: kube-apiserver makes it when it is given --client-ca-file or \
                 --requestheader-client-ca-file"
            );
            sender.send_if_modified(|config| {
                let is_news = !config.is_known;
                if is_news {
                    *config = Arc::new(AuthenticationConfig { is_known: true, ..Default::default() });
                }
                is_news
            });
            continue;
        };
        let data = object.data.unwrap_or_default();
        if last.as_ref() == Some(&data) {
            continue;
        }
        let (config, faults) = AuthenticationConfig::parse(&data, &sender.borrow());
        for Fault { key, problem } in faults {
            tracing::error!(
                key,
                problem,
                "a value of the ConfigMap {NAMESPACE}/{NAME} cannot be used, what it last said stays good: give \
                 kube-apiserver what belongs there"
            );
        }
        config.warn_of_one_for_both();
        sender.send_replace(Arc::new(config));
        last = Some(data);
        tracing::info!("who vouches for callers was read from the ConfigMap {NAMESPACE}/{NAME}");
    }
}

impl AuthenticationConfig {
    /// What the data of the ConfigMap says, and what of it cannot be used: each with its key.
    pub fn read(data: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let (config, faults) = Self::parse(data, &Self::default());
        (config, faults.into_iter().map(|Fault { key, problem }| format!("{key}: {problem}")).collect())
    }

    /// What the ConfigMap says. Of what it says of clients, or of front proxies, all is good or the last one stays: header
    /// names of today and a CA of yesterday are nothing that anybody has said.
    fn parse(data: &BTreeMap<String, String>, last: &Self) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let clients = match data.get(CLIENT_CA).map(|pem| Authority::parse(pem)) {
            None => None,
            Some(Ok(authority)) => Some(authority),
            Some(Err(problem)) => {
                faults.push(Fault { key: CLIENT_CA, problem });
                last.clients.clone()
            }
        };
        let front_proxy = match data.get(FRONT_PROXY_CA) {
            None => None,
            Some(pem) => FrontProxy::parse(pem, data, &mut faults).or_else(|| last.front_proxy.clone()),
        };
        (Self { is_known: true, clients, front_proxy }, faults)
    }

    fn warn_of_one_for_both(&self) {
        let (Some(clients), Some(front_proxy)) = (&self.clients, &self.front_proxy) else { return };
        let is_shared = front_proxy.authority.certificates.iter().any(|ca| clients.certificates.contains(ca));
        if is_shared && front_proxy.allowed_names.is_empty() {
            tracing::warn!(
                "{CLIENT_CA} and {FRONT_PROXY_CA} have a CA in common, and any name is allowed: every client with a \
                 certificate of it may say that it is somebody else (give kube-apiserver a --requestheader-client-ca-file \
                 of its own, or --requestheader-allowed-names)"
            );
        }
    }
}

impl FrontProxy {
    fn parse(pem: &str, data: &BTreeMap<String, String>, faults: &mut Vec<Fault>) -> Option<Self> {
        let before = faults.len();
        let authority =
            Authority::parse(pem).map_err(|problem| faults.push(Fault { key: FRONT_PROXY_CA, problem })).ok();
        let mut list = |key: &'static str| match strings(data.get(key)) {
            Ok(list) => list,
            Err(problem) => {
                faults.push(Fault { key, problem });
                Vec::new()
            }
        };
        let allowed_names = list(ALLOWED_NAMES);
        let lists =
            [USERNAME_HEADERS, UID_HEADERS, GROUP_HEADERS, EXTRA_PREFIXES].map(|key| (key, list(key)));
        let [username_headers, uid_headers, group_headers, extra_prefixes] =
            lists.map(|(key, names)| headers(key, &names, faults));
        let extra_prefixes = extra_prefixes.iter().map(|prefix| prefix.as_str().to_owned()).collect();
        let authority = authority.filter(|_| faults.len() == before)?;
        Some(Self { authority, allowed_names, username_headers, uid_headers, group_headers, extra_prefixes })
    }
}

impl Authority {
    /// CAs in PEM. One that cannot be used is left out as long as there are others.
    ///
    /// # Errors
    /// What is wrong with it, and the mend.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let certificates = found.map_err(|error| format!("not PEM, or cut off: {error}"))?;
        let mut roots = RootCertStore::empty();
        let mut left_out = None;
        for certificate in &certificates {
            if let Err(error) = roots.add(certificate.clone()) {
                left_out = Some(error);
            }
        }
        if roots.is_empty() {
            let why = left_out.map_or_else(String::new, |error| format!(": {error}"));
            return Err(format!("no certificate of a CA is in it{why}"));
        }
        if let Some(error) = left_out {
            tracing::warn!(%error, "a CA of the ConfigMap {NAMESPACE}/{NAME} cannot be used and is left out");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { certificates, verifier })
    }

    /// The CAs.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Whether one of these CAs says at this moment whose client certificate the first one is; the others may lie between.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<(), rustls::Error> {
        let Some((leaf, between)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        let since: Duration = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.verifier.verify_client_cert(leaf, between, UnixTime::since_unix_epoch(since)).map(drop)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({} certificates)", self.certificates.len())
    }
}

/// A JSON array of strings; what is not there is an empty one.
fn strings(value: Option<&String>) -> Result<Vec<String>, String> {
    match value.map(String::as_str) {
        None | Some("") => Ok(Vec::new()),
        Some(text) => {
            serde_json::from_str(text).map_err(|error| format!("no JSON array of strings: {error}"))
        }
    }
}

fn headers(key: &'static str, names: &[String], faults: &mut Vec<Fault>) -> Vec<HeaderName> {
    let mut good = Vec::new();
    for name in names {
        match HeaderName::from_str(name) {
            Ok(name) => good.push(name),
            Err(_) => faults.push(Fault { key, problem: format!("{name:?} is no name of an HTTP header") }),
        }
    }
    good
}

#[cfg(test)]
mod tests;
