//! TLS: a CA of our own, and what is said when something does not fit.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use kubridge_bridge::caller::{Caller as _, Ran, TransportKind};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::CertificateDer,
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;

use super::{
    super::{Backend, ConnectionState, Endpoint, FailureReason, TlsOptions},
    support::{Exchange, call, options, serve_connection, transport},
};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(ca: &Ca, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap(), key)
}

/// A TLS server for `localhost`; with `clients`, only their CA's clients.
async fn serve(ca: &Ca, clients: Option<&Ca>, alpn: &[&[u8]]) -> Endpoint {
    serve_and_tell(ca, clients, alpn, mpsc::channel(8).0).await
}

/// The same; `shown` gets the client certificate of each connection. A connection ends after its first call.
async fn serve_and_tell(
    ca: &Ca,
    clients: Option<&Ca>,
    alpn: &[&[u8]],
    shown: mpsc::Sender<CertificateDer<'static>>,
) -> Endpoint {
    let (certificate, key) = leaf(ca, "localhost", ExtendedKeyUsagePurpose::ServerAuth);
    serve_as(certificate.der().clone(), &key, clients, alpn, shown).await
}

async fn serve_as(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    clients: Option<&Ca>,
    alpn: &[&[u8]],
    shown: mpsc::Sender<CertificateDer<'static>>,
) -> Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = key.serialize_der().try_into().unwrap();
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, shown) = (acceptor.clone(), shown.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                if let Some(certificate) = stream.get_ref().1.peer_certificates().map(|chain| &chain[0]) {
                    let _nobody_asks = shown.try_send(certificate.clone().into_owned());
                }
                let answer = |exchange: Exchange| async move {
                    exchange.go_away.notify_one();
                    exchange.ok(&[b"secret"]).await;
                };
                serve_connection(stream, 0, h2::server::Builder::new(), answer).await;
            });
        }
    });
    Endpoint::parse(&format!("grpcs://127.0.0.1:{port}")).unwrap()
}

fn trusting(ca: &Ca) -> TlsOptions {
    TlsOptions {
        ca: Some(ca.pem().into_bytes()),
        server_name: Some("localhost".to_owned()),
        ..TlsOptions::default()
    }
}

fn identity(clients: &Ca) -> Arc<CertifiedKey> {
    let (certificate, key) = leaf(clients, "kubridge", ExtendedKeyUsagePurpose::ClientAuth);
    let provider = rustls::crypto::ring::default_provider();
    let key = key.serialize_der().try_into().unwrap();
    Arc::new(CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider).unwrap())
}

fn showing(ca: &Ca, identity: Arc<CertifiedKey>) -> TlsOptions {
    TlsOptions { identity: Some(Arc::new(SingleCertAndKey::from(identity))), ..trusting(ca) }
}

async fn fails(endpoint: &Endpoint, tls: &TlsOptions, reason: FailureReason) -> String {
    let backend = Backend::new(endpoint.clone(), tls, options()).unwrap();
    let error = transport(backend.caller(HeaderMap::new(), None).unary(call(b"x")).await);
    assert_eq!((error.ran, error.kind), (Ran::No, TransportKind::Unavailable));
    let state = backend.state().borrow().clone();
    assert!(matches!(state, ConnectionState::Failed { reason: found, .. } if found == reason), "{state:?}");
    error.message
}

#[tokio::test]
async fn a_call_over_tls_with_our_ca() {
    let ca = ca();
    let endpoint = serve(&ca, None, &[b"h2"]).await;
    let backend = Backend::new(endpoint, &trusting(&ca), options()).unwrap();
    assert_eq!(backend.caller(HeaderMap::new(), None).unary(call(b"x")).await.unwrap(), "secret");
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let (ca, clients) = (ca(), ca());
    let endpoint = serve(&ca, Some(&clients), &[b"h2"]).await;
    let tls = showing(&ca, identity(&clients));
    let backend = Backend::new(endpoint.clone(), &tls, options()).unwrap();
    assert_eq!(backend.caller(HeaderMap::new(), None).unary(call(b"x")).await.unwrap(), "secret");
    // Both CAs have the same name, so the other one's signature is what fails. In TLS 1.3 the refusal comes when the handshake is over for the client.
    for (tls, alert) in
        [(trusting(&ca), "alert CertificateRequired"), (showing(&ca, identity(&ca)), "alert DecryptError")]
    {
        let message = fails(&endpoint, &tls, FailureReason::Tls).await;
        assert!(message.contains(alert) && message.contains("must trust the CA"), "{message}");
    }
}

#[derive(Debug)]
struct Rotating(ArcSwap<CertifiedKey>);

impl ResolvesClientCert for Rotating {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_new_connection_shows_the_certificate_of_the_moment() {
    let (ca, clients) = (ca(), ca());
    let (shown, mut seen) = mpsc::channel(8);
    let endpoint = serve_and_tell(&ca, Some(&clients), &[b"h2"], shown).await;
    let (old, new) = (identity(&clients), identity(&clients));
    let rotating = Arc::new(Rotating(ArcSwap::new(Arc::clone(&old))));
    let tls = TlsOptions { identity: Some(rotating.clone()), ..trusting(&ca) };
    let backend = Backend::new(endpoint, &tls, options()).unwrap();
    backend.connect();
    assert_eq!(seen.recv().await.unwrap(), old.cert[0]);
    rotating.0.store(Arc::clone(&new));
    // The server ends the connection, and the next one is made at once.
    assert_eq!(backend.caller(HeaderMap::new(), None).unary(call(b"x")).await.unwrap(), "secret");
    assert_eq!(seen.recv().await.unwrap(), new.cert[0], "nothing of the old session is resumed");
}

#[tokio::test]
async fn what_does_not_fit_is_named_with_its_mend() {
    let (right, wrong) = (ca(), ca());
    let endpoint = serve(&right, None, &[b"h2"]).await;
    let message = fails(&endpoint, &trusting(&wrong), FailureReason::Tls).await;
    assert!(message.contains("not signed by the CA that was given"), "{message}");
    let misnamed = TlsOptions { server_name: Some("elsewhere".to_owned()), ..trusting(&right) };
    let message = fails(&endpoint, &misnamed, FailureReason::Tls).await;
    assert!(message.contains("not for \"elsewhere\""), "{message}");
    let nobody = mpsc::channel(8).0;
    let endpoint = serve_as(right.der().clone(), right.key(), None, &[b"h2"], nobody).await;
    let message = fails(&endpoint, &trusting(&right), FailureReason::Tls).await;
    assert!(message.contains("CA:FALSE"), "{message}");
    let endpoint = serve(&right, None, &[]).await;
    let message = fails(&endpoint, &trusting(&right), FailureReason::NotHttp2).await;
    assert!(message.contains("ALPN h2"), "{message}");
    let plain =
        super::support::serve(h2::server::Builder::new(), |exchange: Exchange| exchange.ok(&[])).await;
    let endpoint = Endpoint::parse(&format!("grpcs://{plain}")).unwrap();
    let message = fails(&endpoint, &trusting(&right), FailureReason::Tls).await;
    assert!(message.contains("TLS") || message.contains("tls"), "{message}");
}
