//! The forms that settings are written in. Every error text is `problem`, then `mend`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use http::Uri;

/// What is wrong, and what to write instead.
pub type ParseFault = (String, String);

/// `text` cannot be used: what is wrong with it, and what to write instead.
pub(crate) fn refused(text: &str, problem: &str, mend: &str) -> ParseFault {
    (format!("{text:?} {problem}"), mend.to_owned())
}

/// `grpc://HOST:PORT` or `grpcs://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendUrl {
    tls: bool,
    host: String,
    port: u16,
}

impl BackendUrl {
    /// Whether the connection is TLS (`grpcs`).
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The host name or IP address; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT`, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "grpcs" } else { "grpc" }, self.authority())
    }
}

impl FromStr for BackendUrl {
    type Err = ParseFault;

    fn from_str(text: &str) -> Result<Self, ParseFault> {
        const MEND: &str = "write grpc://HOST:PORT, or grpcs://HOST:PORT for TLS";
        let (scheme, _) = text.split_once("://").ok_or_else(|| refused(text, "has no scheme", MEND))?;
        let tls = match scheme {
            "grpc" => false,
            "grpcs" => true,
            _ => return Err(refused(text, "is not a gRPC address", MEND)),
        };
        let uri: Uri = text.parse().map_err(|_| refused(text, "is not a URL", MEND))?;
        let host = bare_host(&uri);
        if host.is_empty() {
            return Err(refused(text, "has no host", MEND));
        }
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(refused(text, "names a user, which gRPC does not know", MEND));
        }
        if uri.path_and_query().is_some_and(|p| !matches!(p.as_str(), "" | "/")) {
            return Err(refused(text, "has a path, which gRPC does not know", MEND));
        }
        let port = uri.port_u16().filter(|port| *port != 0);
        let port = port.ok_or_else(|| refused(text, "has no port", MEND))?;
        Ok(Self { tls, host: host.to_ascii_lowercase(), port })
    }
}

/// `https://HOST[:PORT][/PREFIX]`: what clients write into their kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertiseUrl {
    url: String,
    host: San,
}

impl AdvertiseUrl {
    /// As it was written, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The host: the serving certificate has to have it.
    pub fn host(&self) -> &San {
        &self.host
    }
}

impl FromStr for AdvertiseUrl {
    type Err = ParseFault;

    fn from_str(text: &str) -> Result<Self, ParseFault> {
        const MEND: &str = "write https://HOST:PORT";
        let uri: Uri = text.parse().map_err(|_| refused(text, "is not a URL", MEND))?;
        if uri.scheme_str() != Some("https") {
            return Err(refused(text, "is not an https URL", MEND));
        }
        if uri.query().is_some() || text.contains(['@', '#']) {
            return Err(refused(text, "has more than a host, a port and a path", MEND));
        }
        let host = bare_host(&uri);
        let host = host.parse().map_err(|_: ParseFault| refused(text, "has no usable host", MEND))?;
        Ok(Self { url: text.trim_end_matches('/').to_owned(), host })
    }
}

/// A name that a certificate is good for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum San {
    /// A DNS name, lower case; its first label may be `*`.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl FromStr for San {
    type Err = ParseFault;

    fn from_str(text: &str) -> Result<Self, ParseFault> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Ip(ip));
        }
        let labels = text.strip_prefix("*.").unwrap_or(text);
        let label_is_valid = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // What looks like an IPv4 address and is none must not pass for a name.
        let numeric_end = labels.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if text.len() > 253 || numeric_end || !labels.split('.').all(label_is_valid) {
            let mend = "write a DNS name such as api.example.com, or an IP address";
            return Err(refused(text, "is neither a DNS name nor an IP address", mend));
        }
        Ok(Self::Dns(text.to_ascii_lowercase()))
    }
}

/// `IP:PORT`, `localhost:PORT`, or `:PORT` for all addresses.
pub fn listen_address(text: &str) -> Result<SocketAddr, ParseFault> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = |text: &str| text.parse::<u16>().ok();
    if let Some(port) = text.strip_prefix(':').and_then(port) {
        return Ok((Ipv6Addr::UNSPECIFIED, port).into());
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let mend = "write IP:PORT such as 127.0.0.1:6443, or :6443 for all addresses";
    Err(refused(text, "is no address to listen on", mend))
}

/// A duration as Go writes it: `1h`, `1m30s`, `1.5s`, `250ms`, `0`. Not negative.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = tail;
    }
    Some(total)
}

fn bare_host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn backends() {
        let url: BackendUrl = "grpc://Fleet.default.svc:50051/".parse().unwrap();
        assert_eq!((url.tls(), url.host(), url.port()), (false, "fleet.default.svc", 50051));
        assert_eq!(url.to_string(), "grpc://fleet.default.svc:50051");
        let url: BackendUrl = "grpcs://[::1]:1".parse().unwrap();
        assert_eq!((url.host(), url.to_string().as_str()), ("::1", "grpcs://[::1]:1"));
        for bad in [
            "localhost:50051",
            "http://a:1",
            "grpc://a",
            "grpc://a:0",
            "grpc://:1",
            "grpc://a:1/x",
            "grpc://u@a:1",
            "",
        ] {
            let (problem, mend) = bad.parse::<BackendUrl>().unwrap_err();
            assert!(problem.starts_with(&format!("{bad:?}")) && mend.contains("grpc://HOST:PORT"));
        }
    }

    #[test]
    fn advertised_urls() {
        let url: AdvertiseUrl = "https://API.example.com:6443/".parse().unwrap();
        assert_eq!(url.as_str(), "https://API.example.com:6443");
        assert_eq!(*url.host(), San::Dns("api.example.com".into()));
        assert_eq!(
            *"https://[::1]:1".parse::<AdvertiseUrl>().unwrap().host(),
            San::Ip(Ipv6Addr::LOCALHOST.into())
        );
        for bad in ["http://a", "a:1", "https://a?b", "https://u@a", "https://a_b", ""] {
            assert!(bad.parse::<AdvertiseUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_a_certificate() {
        assert_eq!("10.0.0.1".parse(), Ok(San::Ip(Ipv4Addr::new(10, 0, 0, 1).into())));
        assert_eq!("*.Example.com".parse(), Ok(San::Dns("*.example.com".into())));
        for bad in ["", "a b", "a..b", "-a", "1.2.3", "a*.b", "a_b"] {
            assert!(bad.parse::<San>().is_err(), "{bad}");
        }
    }

    #[test]
    fn listen_addresses() {
        assert_eq!(listen_address(":6443").unwrap().to_string(), "[::]:6443");
        assert_eq!(listen_address("localhost:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(listen_address("[::1]:1").unwrap().to_string(), "[::1]:1");
        for bad in ["6443", "host:1", ":x", ":70000", ""] {
            assert!(listen_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [("0", 0), ("60s", 60_000), ("1m30s", 90_000), ("1.5s", 1500), ("250ms", 250)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "s", "-1s", "1d", "1e400h", "1..s", "99999999999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
