//! TLS: 1.2 and later, HTTP/2 and HTTP/1.1 by ALPN, a client certificate if the client has one.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
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

/// Which client certificates end no handshake.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clients<'a> {
    /// Those of these CAs.
    SignedBy(&'a [CertificateDer<'static>]),
    /// All: the client has its key, and whose it is will be found out. Which CAs are good changes while connections
    /// live, and who has a bad one is to be told so with a 401.
    HoldersOfKeys,
}

/// The settings of every connection.
pub(super) fn server_config(
    serving: Arc<ServingCertificate>,
    clients: Clients<'_>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match clients {
        Clients::SignedBy(client_roots) => {
            let mut roots = RootCertStore::empty();
            for root in client_roots {
                roots.add(root.clone()).map_err(TlsError::ClientCa)?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()?
        }
        Clients::HoldersOfKeys => Arc::new(AnyHolder(provider.clone())),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Takes any certificate of which the client has the key.
#[derive(Debug)]
struct AnyHolder(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyHolder {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: some clients show no certificate when its CA is not among them, and that one may be about to be.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
