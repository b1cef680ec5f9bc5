//! Keys and certificates: made at the first start, kept at a restart, renewed before they end.
//!
//! `DATA_DIR/pki/` holds `ca.pem`, `serving.pem`, `admin.pem` and `backend-client.pem`, each a certificate and its
//! private key in one file, so that there is no moment at which one is there without the other. `ca.crt` is the CA's
//! certificate alone, for backends to trust, and `DATA_DIR/admin.kubeconfig` is made from the rest: both are written
//! again whenever they differ.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

mod bundle;
mod issue;
mod kubeconfig;
mod shared;

pub use bundle::{Audience, Outgoing, verify_server};
pub use shared::{SharedCa, SharedCaError, Trust};

use crate::{
    config::{OwnCertificate, San, Tls},
    data_dir::{DataDir, DataDirError, create_private_dir, read_text, write_private},
};
use issue::{Authority, Purpose};

/// Leaves are renewed when they have less than this left.
pub const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The keys and certificates of a running server.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
    /// Where the administrator's kubeconfig is, and the server that it names; `None`: there is no administrator of ours.
    administrator: Option<(PathBuf, String)>,
    tls: Tls,
    sans: Vec<San>,
    serving: Arc<ServingCertificate>,
    client: Arc<ClientCertificate>,
    proxy_client: Arc<ClientCertificate>,
    client_roots: Vec<CertificateDer<'static>>,
}

/// The serving certificate of the moment: replaced while connections are served.
#[derive(Debug)]
pub struct ServingCertificate(ArcSwap<CertifiedKey>);

/// The certificate of the moment that backends are shown: replaced while connections stand.
#[derive(Debug)]
pub struct ClientCertificate(ArcSwap<CertifiedKey>);

/// What [`Pki::refresh`] replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refreshed {
    /// The serving certificate.
    pub serving: bool,
    /// There is a new serving certificate, which somebody would not take yet who takes the present one.
    pub serving_waits: bool,
    /// The certificate that gRPC backends are shown.
    pub client: bool,
    /// The certificate that HTTPS backends are shown.
    pub proxy_client: bool,
}

/// What is put into certificates and the kubeconfig.
#[derive(Debug, Clone)]
pub struct Names {
    /// Names of the serving certificate, beside `localhost`, `127.0.0.1` and `::1`.
    pub sans: Vec<San>,
    /// The server of the kubeconfig.
    pub server_url: Option<String>,
}

/// Why there are no usable keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] DataDirError),
    /// A file is there and is not what it must be. It is never overwritten.
    #[error("{} {problem}: {mend}", .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        mend: &'static str,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The key is of no kind that TLS can use.
    #[error("cannot use the private key of {}: {source}", .file.display())]
    Key {
        /// Where it is from.
        file: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
}

impl Pki {
    /// Opens what is in the data directory, makes what is missing, renews what is due at `now`.
    pub fn open(data_dir: &DataDir, tls: &Tls, names: Names, now: SystemTime) -> Result<Self, PkiError> {
        let dir = data_dir.join("pki");
        create_private_dir(&dir)?;
        let mut sans = names.sans;
        sans.extend([
            San::Dns("localhost".into()),
            San::Ip([127, 0, 0, 1].into()),
            San::Ip(std::net::Ipv6Addr::LOCALHOST.into()),
        ]);
        sans.sort();
        sans.dedup();
        let authority = load_authority(&dir, now)?;
        let serving = certificate(&dir, &authority, &Purpose::Serving(&sans), tls.own.as_ref(), now)?;
        let client = certificate(&dir, &authority, &Purpose::Backends, tls.backend_client.as_ref(), now)?;
        let proxy_client = proxy_client(&client, tls)?;
        let mut client_roots = vec![authority.certificate().clone()];
        if let Some(file) = &tls.client_ca_file {
            client_roots.extend(certificates(file)?);
        }
        let pki = Self {
            dir,
            administrator: names.server_url.map(|url| (data_dir.join("admin.kubeconfig"), url)),
            tls: tls.clone(),
            sans,
            serving: Arc::new(ServingCertificate(ArcSwap::from_pointee(serving))),
            client: Arc::new(ClientCertificate(ArcSwap::from_pointee(client))),
            proxy_client: Arc::new(ClientCertificate(ArcSwap::from_pointee(proxy_client))),
            client_roots,
        };
        pki.write_derived(&authority, now)?;
        Ok(pki)
    }

    /// For rustls: always the certificate of the moment.
    pub fn serving(&self) -> Arc<ServingCertificate> {
        self.serving.clone()
    }

    /// For rustls: what gRPC backends are shown, always the certificate of the moment.
    pub fn client(&self) -> Arc<ClientCertificate> {
        self.client.clone()
    }

    /// For rustls: what HTTPS backends are shown, always the certificate of the moment.
    pub fn proxy_client(&self) -> Arc<ClientCertificate> {
        self.proxy_client.clone()
    }

    /// Who may sign client certificates.
    pub fn client_roots(&self) -> &[CertificateDer<'static>] {
        &self.client_roots
    }

    /// Where the kubeconfig is.
    pub fn kubeconfig(&self) -> Option<&Path> {
        self.administrator.as_ref().map(|(kubeconfig, _)| kubeconfig.as_path())
    }

    /// Renews what is due at `now` and reads given certificates again. On an error the present ones stay in use;
    /// a given one that cannot be used does not keep the others from being renewed. The present serving certificate stays
    /// in use, too, while it is good and somebody of the audience would not take the new one.
    pub fn refresh(&self, now: SystemTime, audience: &Audience) -> Result<Refreshed, PkiError> {
        let authority = load_authority(&self.dir, now)?;
        let (own, client) = (self.tls.own.as_ref(), self.tls.backend_client.as_ref());
        let serving = certificate(&self.dir, &authority, &Purpose::Serving(&self.sans), own, now);
        let serving = serving.map(|new| {
            let waits = audience.would_lose(&self.serving.0.load().cert, &new.cert, now);
            (!waits && replace(&self.serving.0, new), waits)
        });
        let client = certificate(&self.dir, &authority, &Purpose::Backends, client, now);
        let proxy_client = match (&client, &self.tls.proxy_client) {
            (Err(_), None) => Ok(false),
            (_, Some(own)) => given_certificate(own).map(|new| replace(&self.proxy_client.0, new)),
            (Ok(new), None) => Ok(replace(&self.proxy_client.0, new.clone())),
        };
        let client = client.map(|new| replace(&self.client.0, new));
        self.write_derived(&authority, now)?;
        let (serving, serving_waits) = serving?;
        Ok(Refreshed { serving, serving_waits, client: client?, proxy_client: proxy_client? })
    }

    fn write_derived(&self, authority: &Authority, now: SystemTime) -> Result<(), PkiError> {
        write_if_different(&self.dir.join("ca.crt"), &authority.certificate_pem())?;
        let Some((kubeconfig, server_url)) = &self.administrator else { return Ok(()) };
        let admin = load_leaf(&self.dir, authority, &Purpose::Admin, now)?;
        let trust = match &self.tls.own {
            None => authority.certificate_pem(),
            Some(own) => trust_of(&certificates(&own.cert_file)?),
        };
        write_if_different(kubeconfig, &kubeconfig::document(server_url, &trust, &admin))
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ClientCertificate {
    /// One that is not renewed: given files.
    pub fn given(own: &OwnCertificate) -> Result<Self, PkiError> {
        Ok(Self(ArcSwap::from_pointee(given_certificate(own)?)))
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What HTTPS backends are shown: the one that is given for them, else the one for all.
fn proxy_client(client: &CertifiedKey, tls: &Tls) -> Result<CertifiedKey, PkiError> {
    match &tls.proxy_client {
        Some(own) => given_certificate(own),
        None => Ok(client.clone()),
    }
}

/// Whether it is another one.
fn replace(present: &ArcSwap<CertifiedKey>, new: CertifiedKey) -> bool {
    let changed = present.load().cert != new.cert;
    if changed {
        present.store(Arc::new(new));
    }
    changed
}

/// The one that is given, else the one that is made here.
fn certificate(
    dir: &Path,
    authority: &Authority,
    purpose: &Purpose<'_>,
    own: Option<&OwnCertificate>,
    now: SystemTime,
) -> Result<CertifiedKey, PkiError> {
    if let Some(own) = own {
        return given_certificate(own);
    }
    let leaf = load_leaf(dir, authority, purpose, now)?;
    let file = dir.join(purpose.file());
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes())
        .map_err(|_| corrupt(&file, "has no complete private key in PEM".into(), MEND_LEAF))?;
    certified_key(vec![leaf.certificate], key, &file)
}

fn given_certificate(own: &OwnCertificate) -> Result<CertifiedKey, PkiError> {
    certified_key(certificates(&own.cert_file)?, private_key(&own.key_file)?, &own.key_file)
}

const MEND_CA: &str = "restore it from a backup, or remove the whole pki directory and admin.kubeconfig to have new ones made (clients then need the new admin.kubeconfig)";
const MEND_LEAF: &str = "remove the file to have a new one made";
const MEND_OWN: &str = "give a PEM file";

fn load_authority(dir: &Path, now: SystemTime) -> Result<Authority, PkiError> {
    let file = dir.join("ca.pem");
    if let Some(text) = read_text(&file)? {
        let authority = Authority::parse(&text).map_err(|problem| corrupt(&file, problem, MEND_CA))?;
        if authority.not_after() <= now {
            return Err(corrupt(&file, "has expired".into(), MEND_CA));
        }
        return Ok(authority);
    }
    // The CA is written first: leaves without it mean that it got lost, and a new one would lock out every client.
    if ["serving.pem", "admin.pem", "backend-client.pem"].iter().any(|leaf| dir.join(leaf).exists()) {
        return Err(corrupt(&file, "is missing, but certificates that it signed are there".into(), MEND_CA));
    }
    let (authority, text) = Authority::make(now)?;
    write_private(&file, text.as_bytes())?;
    tracing::info!(file = %file.display(), "made a certificate authority");
    Ok(authority)
}

fn load_leaf(
    dir: &Path,
    authority: &Authority,
    purpose: &Purpose<'_>,
    now: SystemTime,
) -> Result<issue::Leaf, PkiError> {
    let file = dir.join(purpose.file());
    let why = match read_text(&file)? {
        None => "there was none",
        Some(text) => {
            let leaf = issue::Leaf::parse(&text).map_err(|problem| corrupt(&file, problem, MEND_LEAF))?;
            match leaf.fault(authority, purpose, now) {
                None => return Ok(leaf),
                Some(why) => why,
            }
        }
    };
    let (leaf, text) = authority.issue(purpose, now)?;
    write_private(&file, text.as_bytes())?;
    tracing::info!(file = %file.display(), why, "issued a certificate");
    Ok(leaf)
}

fn write_if_different(file: &Path, contents: &str) -> Result<(), PkiError> {
    // What cannot be read as text is not what we wrote, and everything in it can be made again.
    let present = std::fs::read(file).ok();
    if present.as_deref() != Some(contents.as_bytes()) {
        write_private(file, contents.as_bytes())?;
        tracing::info!(file = %file.display(), "written");
    }
    Ok(())
}

/// The text of a file of certificates in PEM.
///
/// # Errors
/// There is none in it, or something else.
pub fn read_bundle(file: &Path) -> Result<String, PkiError> {
    let text = given(file)?;
    parsed(&text, file)?;
    Ok(text)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    parsed(&given(file)?, file)
}

fn parsed(text: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| corrupt(file, "is not PEM, or is cut off".into(), MEND_OWN))?;
    if certificates.is_empty() {
        return Err(corrupt(file, "has no certificate".into(), MEND_OWN));
    }
    Ok(certificates)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PkiError> {
    PrivateKeyDer::from_pem_slice(given(file)?.as_bytes())
        .map_err(|_| corrupt(file, "has no complete private key in PEM".into(), MEND_OWN))
}

fn given(file: &Path) -> Result<String, PkiError> {
    read_text(file)?.ok_or_else(|| corrupt(file, "does not exist".into(), MEND_OWN))
}

fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    file: &Path,
) -> Result<CertifiedKey, PkiError> {
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
        .map_err(|source| PkiError::Key { file: file.to_owned(), source })
}

// What a client has to trust so that it accepts this chain: the issuers, or the certificate itself.
fn trust_of(chain: &[CertificateDer<'_>]) -> String {
    let issuers = if chain.len() > 1 { &chain[1..] } else { chain };
    issuers.iter().map(|der| issue::pem("CERTIFICATE", der)).collect()
}

fn corrupt(file: &Path, problem: String, mend: &'static str) -> PkiError {
    PkiError::Corrupt { file: file.to_owned(), problem, mend }
}

#[cfg(test)]
mod tests;
