//! Where a backend is: `grpc://host:port` or `grpcs://host:port`, and what TLS needs.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use http::uri::Authority;
use rustls::{
    ClientConfig, RootCertStore,
    client::{ResolvesClientCert, Resumption},
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};

/// What is wrong with a backend's address or TLS settings, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No or another scheme.
    #[error("{0:?} is no gRPC endpoint: write grpc://HOST:PORT, or grpcs://HOST:PORT for TLS")]
    Scheme(String),
    /// The port is missing.
    #[error("{0:?} has no port: gRPC has no usual one, write {0}:PORT")]
    Port(String),
    /// A path, a query or a user name.
    #[error("{url:?} has {what}: a gRPC endpoint is a host and a port only")]
    Extra {
        /// What was written.
        url: String,
        /// What is too much.
        what: &'static str,
    },
    /// The host is none.
    #[error("{0:?} has no valid host: write a DNS name, an IPv4 address or an IPv6 address in brackets")]
    Host(String),
    /// TLS without roots.
    #[error(
        "{0} is grpcs:// but there is no CA to check its certificate with: give the PEM bundle of the CA that signed it"
    )]
    NoCa(String),
    /// Plain text with TLS settings.
    #[error("{0} is grpc:// (plain text) but has TLS settings: write grpcs://, or remove them")]
    PlainWithTls(String),
    /// A CA bundle that holds nothing usable.
    #[error("the CA bundle is unusable: {0}: give certificates in PEM")]
    Ca(String),
}

/// A backend's address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
    authority: Authority,
}

impl Endpoint {
    /// Parses `grpc://host:port` or `grpcs://host:port`.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let scheme = || EndpointError::Scheme(url.to_owned());
        let extra = |what| EndpointError::Extra { url: url.to_owned(), what };
        let (scheme_text, rest) = url.trim().split_once("://").ok_or_else(scheme)?;
        let tls = match scheme_text.to_ascii_lowercase().as_str() {
            "grpc" => false,
            "grpcs" => true,
            _ => return Err(scheme()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        for (sign, what) in [('?', "a query"), ('#', "a fragment"), ('/', "a path"), ('@', "a user name")] {
            if rest.contains(sign) {
                return Err(extra(what));
            }
        }
        let authority = Authority::from_str(rest).map_err(|_| EndpointError::Host(url.to_owned()))?;
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if ServerName::try_from(bare).is_err() {
            return Err(EndpointError::Host(url.to_owned()));
        }
        let host = bare.to_owned();
        let port = authority
            .port_u16()
            .filter(|port| *port != 0)
            .ok_or_else(|| EndpointError::Port(url.trim_end_matches(['/', ':']).to_owned()))?;
        Ok(Self { tls, host, port, authority })
    }

    /// Whether it is `grpcs://`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `:authority` says.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The address when the host is one, which needs no DNS.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "grpcs" } else { "grpc" }, self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a `grpcs://` backend is checked with, and how we show who we are.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// The CAs that may have signed the backend's certificate, PEM.
    pub ca: Option<Vec<u8>>,
    /// The name in the backend's certificate, when it is not the URL's host.
    pub server_name: Option<String>,
    /// Our certificate; each new connection asks for it.
    pub identity: Option<Arc<dyn ResolvesClientCert>>,
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("ca", &self.ca.is_some())
            .field("server_name", &self.server_name)
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// TLS for one endpoint, ready to connect.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl Tls {
    /// `None` for a plain-text endpoint.
    pub(super) fn new(endpoint: &Endpoint, options: &TlsOptions) -> Result<Option<Self>, EndpointError> {
        if !endpoint.is_tls() {
            let none = options.ca.is_none() && options.server_name.is_none() && options.identity.is_none();
            return if none { Ok(None) } else { Err(EndpointError::PlainWithTls(endpoint.to_string())) };
        }
        let ca = options.ca.as_deref().ok_or_else(|| EndpointError::NoCa(endpoint.to_string()))?;
        let roots = roots(ca)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .with_root_certificates(roots);
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::clone(identity)),
        };
        // A resumed session would show the certificate of the one before, and connections are few and long.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = options.server_name.as_deref().unwrap_or(endpoint.host());
        let name = ServerName::try_from(name.to_owned()).map_err(|_| EndpointError::Host(name.to_owned()))?;
        Ok(Some(Self { config: Arc::new(config), name }))
    }
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

/// Whether backends can be checked with a CA bundle, in PEM.
pub fn check_ca(pem: &[u8]) -> Result<(), EndpointError> {
    roots(pem).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn endpoints_parse() {
        for (url, tls, host, port, shown) in [
            (
                "grpc://fleet.default.svc:50051",
                false,
                "fleet.default.svc",
                50051,
                "grpc://fleet.default.svc:50051",
            ),
            ("grpcs://[::1]:443/", true, "::1", 443, "grpcs://[::1]:443"),
            ("GRPC://127.0.0.1:1", false, "127.0.0.1", 1, "grpc://127.0.0.1:1"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!((endpoint.is_tls(), endpoint.host(), endpoint.port()), (tls, host, port));
            assert_eq!(endpoint.to_string(), shown);
        }
    }

    #[test]
    fn faults_name_the_mend() {
        for (url, part) in [
            ("fleet:50051", "write grpc://HOST:PORT"),
            ("http://fleet:50051", "write grpc://HOST:PORT"),
            ("grpc://fleet", "write grpc://fleet:PORT"),
            ("grpc://fleet:", "write grpc://fleet:PORT"),
            ("grpc://fleet:0", "has no port"),
            ("grpc://fleet:99999", "has no"),
            ("grpc://fleet:1/path", "has a path"),
            ("grpc://u@fleet:1", "has a user name"),
            ("grpc://fleet:1?x=y", "has a query"),
            ("grpc://:1", "valid host"),
            ("grpc://a b:1", "valid host"),
        ] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(error.contains(part), "{url}: {error}");
        }
    }

    #[test]
    fn tls_needs_a_ca_and_plain_text_takes_none() {
        let tls = Endpoint::parse("grpcs://fleet:1").unwrap();
        let error = Tls::new(&tls, &TlsOptions::default()).unwrap_err();
        assert_eq!(error, EndpointError::NoCa("grpcs://fleet:1".to_owned()));
        let options = TlsOptions { ca: Some(b"garbage".to_vec()), ..TlsOptions::default() };
        assert!(Tls::new(&tls, &options).unwrap_err().to_string().contains("no BEGIN CERTIFICATE"));
        let plain = Endpoint::parse("grpc://fleet:1").unwrap();
        assert!(matches!(Tls::new(&plain, &options), Err(EndpointError::PlainWithTls(_))));
    }
}
