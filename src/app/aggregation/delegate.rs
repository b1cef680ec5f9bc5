//! The kube-apiserver behind us: its connections, and what it serves beside what is claimed here.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use kubridge_bridge::openapi_doc::V2Document;
use rustls::{
    client::ResolvesClientCert,
    crypto::ring::default_provider,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::sync::watch;

use super::look::Look;
use crate::{
    config::{self, DelegateIdentity, Kubeconfig, Token},
    last_known_good::LastKnownGood,
    proxy,
    registry::Protocol,
    upstream::{
        Asker, Backend, Documents, DocumentsPace, DocumentsWatcher, Endpoint, GroupVersion, KeepDocuments,
        Options, TlsOptions, VersionDocuments, Wanted,
    },
};

/// A new CustomResourceDefinition is seen this soon. What has not changed is answered with 304.
const EVERY: Duration = Duration::from_secs(2);
/// The rank of a group-version that the delegate serves without an APIService that we may read.
const UNRANKED: (i32, i32) = (1000, 1);

/// The delegate.
#[derive(Debug)]
pub(crate) struct Delegate {
    route: proxy::Forward,
    documents: watch::Receiver<Arc<Documents>>,
}

/// A group and version that the delegate serves and nobody claims here.
pub(super) struct Served {
    pub(super) version: GroupVersion,
    pub(super) priorities: (i32, i32),
    pub(super) look: Look,
    pub(super) confirmed_at: Option<SystemTime>,
}

impl Delegate {
    /// Reads the kubeconfig and takes up what was last known. The watcher is to be run.
    pub(in crate::app) async fn new(
        config: &config::Delegate,
        front_proxy: Arc<dyn ResolvesClientCert>,
        kept: LastKnownGood,
    ) -> anyhow::Result<(Self, DocumentsWatcher)> {
        let setting = || format!("--delegate-kubeconfig {}", config.kubeconfig.display());
        let kubeconfig = Kubeconfig::read(&config.kubeconfig).with_context(setting)?;
        let (backend, url) = connect(&kubeconfig, config.identity, front_proxy).with_context(setting)?;
        let asker = match config.identity {
            DelegateIdentity::FrontProxy => Asker::FrontProxy,
            DelegateIdentity::Impersonate => Asker::Own(kubeconfig.token.clone()),
        };
        let keep = KeepDocuments { store: kept, backend: url };
        let pace = DocumentsPace { every: EVERY, ..DocumentsPace::default() };
        let (watcher, documents) =
            DocumentsWatcher::new(backend.clone(), asker, Wanted::All, Some(keep), pace);
        let watcher = watcher.restore().await;
        backend.connect();
        let route = proxy::Forward::to_delegate(backend, identity(config.identity, kubeconfig.token));
        Ok((Self { route, documents }, watcher))
    }

    /// Where requests that nobody claims go.
    pub(super) fn route(&self) -> proxy::Forward {
        self.route.clone()
    }

    /// Whether anything is known of what it serves.
    pub(super) fn is_known(&self) -> bool {
        !self.documents.borrow().versions.is_empty()
    }

    /// What is known of it, as it changes.
    pub(super) fn documents(&self) -> watch::Receiver<Arc<Documents>> {
        self.documents.clone()
    }

    /// All that it serves, but for what is claimed here.
    pub(super) fn serves(&self, is_claimed: impl Fn(&GroupVersion) -> bool) -> Vec<Served> {
        let documents = Arc::clone(&self.documents.borrow());
        let unclaimed = documents.versions.iter().filter(|(version, _)| !is_claimed(version));
        unclaimed
            .map(|(version, known)| Served {
                version: version.clone(),
                priorities: documents.priorities.get(version).copied().unwrap_or(UNRANKED),
                look: Look::delegated(Some(known)),
                confirmed_at: known.error.as_ref().and(known.confirmed_at),
            })
            .collect()
    }

    /// Its whole OpenAPI v2 document.
    pub(super) fn v2(&self) -> Option<Arc<V2Document>> {
        self.documents.borrow().v2.clone()
    }

    /// What it says of one group and version.
    pub(super) fn version(&self, version: &GroupVersion) -> Option<VersionDocuments> {
        let versions: &BTreeMap<_, _> = &self.documents.borrow().versions;
        versions.get(version).cloned()
    }
}

fn identity(identity: DelegateIdentity, token: Option<Token>) -> proxy::Identity {
    match identity {
        DelegateIdentity::FrontProxy => proxy::Identity::Remote,
        DelegateIdentity::Impersonate => proxy::Identity::Impersonate(token),
    }
}

fn connect(
    kubeconfig: &Kubeconfig,
    identity: DelegateIdentity,
    front_proxy: Arc<dyn ResolvesClientCert>,
) -> anyhow::Result<(Backend, String)> {
    let Kubeconfig { host, port, .. } = kubeconfig;
    let endpoint = Endpoint::new(Protocol::Https, host, *port)?;
    let url = endpoint.to_string();
    let own = kubeconfig.client_certificate.as_ref();
    let identity = match identity {
        DelegateIdentity::FrontProxy => Some(front_proxy),
        DelegateIdentity::Impersonate => own.map(|(cert, key)| certificate(cert, key)).transpose()?,
    };
    let tls = TlsOptions {
        ca: kubeconfig.ca.clone(),
        server_name: kubeconfig.tls_server_name.clone(),
        identity,
        insecure_skip_tls_verify: kubeconfig.insecure_skip_tls_verify,
    };
    Ok((Backend::new(endpoint, &tls, Options::default())?, url))
}

/// The kubeconfig's certificate, for every connection.
pub(in crate::app) fn certificate(cert: &[u8], key: &[u8]) -> anyhow::Result<Arc<dyn ResolvesClientCert>> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .context("its client certificate is no PEM")?;
    let key = PrivateKeyDer::from_pem_slice(key).context("its client key is no PEM")?;
    let certified = CertifiedKey::from_der(chain, key, &default_provider())
        .context("its client certificate and key do not fit together")?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}
