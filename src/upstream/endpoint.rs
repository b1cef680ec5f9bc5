//! Where a backend is, and how it is spoken to.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use http::uri::Authority;
use rustls_pki_types::ServerName;

use crate::{
    config::{Places, ServiceRules},
    registry::Protocol,
};

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
    /// A CA bundle, and the wish not to use it.
    #[error("{0} has a CA bundle, but is not to be verified: remove one of the two")]
    CaUnused(String),
    /// No CA bundle, and the system has none.
    #[error(
        "{0} has no CA bundle, and this system has no CA certificates: give the PEM bundle of the CA that signed its certificate"
    )]
    NoSystemCa(String),
}

/// Where a backend is: one host and port, several at once, or several such of which the first that resolves is used.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    protocol: Protocol,
    candidates: Arc<[Places]>,
    authority: Authority,
    server_name: Arc<str>,
}

impl Endpoint {
    /// Parses `grpc://host:port` or `grpcs://host:port`.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let scheme = || EndpointError::Scheme(url.to_owned());
        let extra = |what| EndpointError::Extra { url: url.to_owned(), what };
        let (scheme_text, rest) = url.trim().split_once("://").ok_or_else(scheme)?;
        let protocol = match scheme_text.to_ascii_lowercase().as_str() {
            "grpc" => Protocol::Grpc,
            "grpcs" => Protocol::Grpcs,
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
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = authority
            .port_u16()
            .filter(|port| *port != 0)
            .ok_or_else(|| EndpointError::Port(url.trim_end_matches(['/', ':']).to_owned()));
        Self::checked(host, &authority, url)?;
        Ok(Self {
            protocol,
            candidates: Arc::new([vec![(host.to_owned(), port?)]]),
            server_name: host.into(),
            authority,
        })
    }

    /// A host and a port. `host`: a DNS name or an IP address, IPv6 without brackets.
    pub fn new(protocol: Protocol, host: &str, port: u16) -> Result<Self, EndpointError> {
        let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let authority = Authority::from_str(&shown).map_err(|_| EndpointError::Host(shown.clone()))?;
        Self::checked(host, &authority, &shown)?;
        Ok(Self {
            protocol,
            candidates: Arc::new([vec![(host.to_owned(), port)]]),
            server_name: host.into(),
            authority,
        })
    }

    /// A Service, dialled where `rules` say. Wherever that is, it is asked as `NAME.NAMESPACE.svc:PORT`, and its
    /// certificate must be for `NAME.NAMESPACE.svc`.
    pub fn service(
        protocol: Protocol,
        namespace: &str,
        name: &str,
        port: u16,
        rules: &ServiceRules,
    ) -> Result<Self, EndpointError> {
        let mut endpoint = Self::new(protocol, &format!("{name}.{namespace}.svc"), port)?;
        let candidates = rules.candidates(namespace, name, port);
        for (host, _) in candidates.iter().flatten() {
            if ServerName::try_from(host.as_str()).is_err() {
                return Err(EndpointError::Host(host.clone()));
            }
        }
        if !candidates.is_empty() {
            endpoint.candidates = candidates.into();
        }
        Ok(endpoint)
    }

    /// How it is spoken to.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        match self.protocol {
            Protocol::Grpc => false,
            Protocol::Grpcs | Protocol::Https => true,
        }
    }

    /// Where it may be, the likeliest first. The places of one candidate are all used.
    pub fn candidates(&self) -> &[Places] {
        &self.candidates
    }

    /// What `:authority` or `Host` says.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The name that its certificate must have.
    pub(super) fn server_name(&self) -> &str {
        &self.server_name
    }

    fn checked(host: &str, authority: &Authority, written: &str) -> Result<(), EndpointError> {
        // An authority takes more than what can be looked up.
        let usable = ServerName::try_from(host).is_ok() && !authority.as_str().contains('@');
        if usable { Ok(()) } else { Err(EndpointError::Host(written.to_owned())) }
    }
}

/// The address of a place that needs no DNS.
pub(super) fn literal((host, port): &(String, u16)) -> Option<SocketAddr> {
    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, *port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol.as_str(), self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
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
            assert_eq!(endpoint.is_tls(), tls);
            assert_eq!(endpoint.candidates(), [[(host.to_owned(), port)]]);
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
    fn a_service_is_asked_by_its_own_name_wherever_it_is() {
        let rules = ServiceRules::new(vec!["b/a=127.0.0.1:8443".parse().unwrap(), "{name}".parse().unwrap()]);
        let endpoint = Endpoint::service(Protocol::Https, "b", "a", 443, &rules).unwrap();
        assert_eq!(endpoint.to_string(), "https://a.b.svc:443");
        assert_eq!((endpoint.authority().as_str(), endpoint.server_name()), ("a.b.svc:443", "a.b.svc"));
        assert_eq!(endpoint.candidates(), [[("127.0.0.1".to_owned(), 8443)], [("a".to_owned(), 443)]]);
        assert_eq!(literal(&endpoint.candidates()[0][0]), Some("127.0.0.1:8443".parse().unwrap()));
        assert!(Endpoint::service(Protocol::Grpc, "b", "a b", 443, &rules).is_err());
        assert_eq!(Endpoint::new(Protocol::Https, "::1", 1).unwrap().to_string(), "https://[::1]:1");
    }
}
