//! TLS: 1.2 and later, HTTP/2 and HTTP/1.1 by ALPN, a client certificate if the client has one.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::CertificateDer,
    server::{VerifierBuilderError, WebPkiClientVerifier},
};

use crate::pki::ServingCertificate;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A client CA is no certificate.
    #[error("a client CA cannot be used: {0} (see --client-ca-file)")]
    ClientCa(#[source] rustls::Error),
    /// No verifier can be made of the client CAs.
    #[error("client certificates cannot be verified: {0} (see --client-ca-file)")]
    Verifier(#[from] VerifierBuilderError),
    /// The versions and the provider do not fit.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// The settings of every connection.
pub(super) fn server_config(
    serving: Arc<ServingCertificate>,
    client_roots: &[CertificateDer<'static>],
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for root in client_roots {
        roots.add(root.clone()).map_err(TlsError::ClientCa)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
