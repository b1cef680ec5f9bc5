//! TLS to backends: what a certificate is verified against, and what we show.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};

use super::endpoint::{Endpoint, EndpointError};
use crate::registry::Protocol;

/// What a backend's certificate is checked with, and how we show who we are.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// The CAs that may have signed the backend's certificate, PEM. `None`: the system's, for HTTPS only.
    pub ca: Option<Vec<u8>>,
    /// Take any certificate: `spec.insecureSkipTLSVerify`.
    pub insecure_skip_tls_verify: bool,
    /// The name in the backend's certificate, when it is another than the endpoint says.
    pub server_name: Option<String>,
    /// Our certificate; each new connection asks for it.
    pub identity: Option<Arc<dyn ResolvesClientCert>>,
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("ca", &self.ca.is_some())
            .field("insecure_skip_tls_verify", &self.insecure_skip_tls_verify)
            .field("server_name", &self.server_name)
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// TLS for one endpoint, ready to connect.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// Offers what the endpoint's protocol is spoken over.
    pub(super) config: Arc<ClientConfig>,
    /// Offers HTTP/1.1 only: HTTP/2 has no upgrades.
    pub(super) http1: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl Tls {
    /// `None` for a plain-text endpoint.
    pub(super) fn new(endpoint: &Endpoint, options: &TlsOptions) -> Result<Option<Self>, EndpointError> {
        if !endpoint.is_tls() {
            let none = options.ca.is_none() && options.server_name.is_none() && options.identity.is_none();
            let none = none && !options.insecure_skip_tls_verify;
            return if none { Ok(None) } else { Err(EndpointError::PlainWithTls(endpoint.to_string())) };
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3");
        let builder = match (&options.ca, options.insecure_skip_tls_verify) {
            (Some(_), true) => return Err(EndpointError::CaUnused(endpoint.to_string())),
            (None, true) => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            }
            (Some(ca), false) => builder.with_root_certificates(roots(ca)?),
            (None, false) if endpoint.protocol() == Protocol::Https => {
                let system = system_roots().ok_or_else(|| EndpointError::NoSystemCa(endpoint.to_string()))?;
                builder.with_root_certificates(system)
            }
            (None, false) => return Err(EndpointError::NoCa(endpoint.to_string())),
        };
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::clone(identity)),
        };
        // A resumed session would show the certificate of the one before, and connections are few and long.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = match endpoint.protocol() {
            Protocol::Grpc | Protocol::Grpcs => vec![b"h2".to_vec()],
            Protocol::Https => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let name = options.server_name.as_deref().unwrap_or(endpoint.server_name());
        let name = ServerName::try_from(name.to_owned()).map_err(|_| EndpointError::Host(name.to_owned()))?;
        let mut http1 = config.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { config: Arc::new(config), http1: Arc::new(http1), name }))
    }
}

/// Whether backends can be checked with a CA bundle, in PEM.
pub fn check_ca(pem: &[u8]) -> Result<(), EndpointError> {
    roots(pem).map(drop)
}

/// The certificates of a CA bundle, in PEM: at least one, and each good for checking others.
fn roots(pem: &[u8]) -> Result<RootCertStore, EndpointError> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let unusable = |why: String| EndpointError::Ca(format!("its certificate {}: {why}", number + 1));
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(EndpointError::Ca("it has no BEGIN CERTIFICATE block".to_owned()));
    }
    Ok(roots)
}

/// The CAs that the system trusts, read once. `None`: it has none.
fn system_roots() -> Option<Arc<RootCertStore>> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Some(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "CA certificates of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    // Systems have certificates that are no X.509 v3: the others are good all the same.
    roots.add_parsable_certificates(found.certs);
    (!roots.is_empty()).then(|| Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

/// Takes every certificate whose owner has its key.
#[derive(Debug)]
pub struct AnyCertificate(Arc<CryptoProvider>);

impl Default for AnyCertificate {
    fn default() -> Self {
        Self(Arc::new(rustls::crypto::ring::default_provider()))
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tls_needs_a_ca_and_plain_text_takes_none() {
        let tls = Endpoint::parse("grpcs://fleet:1").unwrap();
        let error = Tls::new(&tls, &TlsOptions::default()).unwrap_err();
        assert_eq!(error, EndpointError::NoCa("grpcs://fleet:1".to_owned()));
        let options = TlsOptions { ca: Some(b"garbage".to_vec()), ..TlsOptions::default() };
        assert!(Tls::new(&tls, &options).unwrap_err().to_string().contains("no BEGIN CERTIFICATE"));
        let plain = Endpoint::parse("grpc://fleet:1").unwrap();
        assert!(matches!(Tls::new(&plain, &options), Err(EndpointError::PlainWithTls(_))));
        let skip = TlsOptions { insecure_skip_tls_verify: true, ..TlsOptions::default() };
        assert!(matches!(Tls::new(&plain, &skip), Err(EndpointError::PlainWithTls(_))));
        assert!(Tls::new(&tls, &skip).unwrap().is_some());
        let both = TlsOptions { insecure_skip_tls_verify: true, ..options };
        assert!(matches!(Tls::new(&tls, &both), Err(EndpointError::CaUnused(_))));
    }
}
