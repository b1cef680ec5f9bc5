//! Where a Service is dialled: rules, in order. Kubernetes has DNS for it; a laptop or docker-compose has other names.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use http::uri::Authority;

use super::{ParseFault, parse::refused};

/// Hosts and ports: a backend that has several addresses. A host is a name or an IP address (IPv6 without brackets).
pub type Places = Vec<(String, u16)>;

/// How the host and port of a Service are found. The first rule of which a host resolves is used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceRules(Vec<ServiceRule>);

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServiceRule {
    /// A host made of a Service's name and namespace.
    Template {
        /// With `{name}`, maybe `{namespace}`.
        host: String,
        /// `None`: the Service's own.
        port: Option<u16>,
    },
    /// One Service is somewhere else, or in several places.
    Static {
        /// The Service's namespace.
        namespace: String,
        /// The Service's name.
        name: String,
        /// Only for this port of it; `None`: for each.
        port: Option<u16>,
        /// Where it is. Never empty.
        places: Places,
    },
}

impl ServiceRules {
    /// These rules; none: the default ones.
    pub fn new(rules: Vec<ServiceRule>) -> Self {
        if rules.is_empty() { Self::default() } else { Self(rules) }
    }

    /// Where a Service may be, the likeliest first. Never empty with a template among the rules.
    pub fn candidates(&self, namespace: &str, name: &str, port: u16) -> Vec<Places> {
        self.0.iter().filter_map(|rule| rule.candidate(namespace, name, port)).collect()
    }
}

impl Default for ServiceRules {
    /// As in a cluster; then as in docker-compose, where a container's name is its host's.
    fn default() -> Self {
        let template = |host: &str| ServiceRule::Template { host: host.to_owned(), port: None };
        Self(vec![template("{name}.{namespace}.svc"), template("{name}")])
    }
}

impl ServiceRule {
    fn candidate(&self, namespace: &str, name: &str, port: u16) -> Option<Places> {
        match self {
            Self::Template { host, port: fixed } => {
                let host = host.replace("{name}", name).replace("{namespace}", namespace);
                Some(vec![(host, fixed.unwrap_or(port))])
            }
            Self::Static { namespace: in_namespace, name: of, port: only, places } => {
                let applies = in_namespace == namespace && of == name && only.is_none_or(|only| only == port);
                applies.then(|| places.clone())
            }
        }
    }
}

impl FromStr for ServiceRule {
    type Err = ParseFault;

    fn from_str(text: &str) -> Result<Self, ParseFault> {
        match text.split_once('=') {
            Some((service, places)) => fixed(service.trim(), places.trim()),
            None => template(text.trim()),
        }
        .ok_or_else(|| {
            let mend = "write a host such as {name}.{namespace}.svc or {name}:8443, or NAMESPACE/NAME=HOST:PORT, \
                        several places with + between them";
            refused(text, "is no rule", mend)
        })
    }
}

impl fmt::Display for ServiceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template { host, port: None } => f.write_str(host),
            Self::Template { host, port: Some(port) } => write!(f, "{host}:{port}"),
            Self::Static { namespace, name, port, places } => {
                write!(f, "{namespace}/{name}")?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                for (number, (host, to)) in places.iter().enumerate() {
                    let v6 = host.parse::<Ipv6Addr>().is_ok();
                    let (open, close) = if v6 { ("[", "]") } else { ("", "") };
                    write!(f, "{}{open}{host}{close}:{to}", if number == 0 { '=' } else { '+' })?;
                }
                Ok(())
            }
        }
    }
}

fn template(text: &str) -> Option<ServiceRule> {
    let (host, port) = match text.rsplit_once(':') {
        None => (text, None),
        Some((host, "{port}")) => (host, None),
        Some((host, port)) => (host, Some(number(port)?)),
    };
    // Without the name every Service would be at one host.
    let sample = host.replace("{name}", "n").replace("{namespace}", "s");
    (host.contains("{name}") && is_dns(&sample))
        .then(|| ServiceRule::Template { host: host.to_owned(), port })
}

fn fixed(service: &str, places: &str) -> Option<ServiceRule> {
    let (namespace, service) = service.split_once('/')?;
    let (name, port) = match service.split_once(':') {
        None => (service, None),
        Some((name, port)) => (name, Some(number(port)?)),
    };
    let places = places.split('+').map(|written| place(written.trim())).collect::<Option<Places>>()?;
    let labels = !name.is_empty() && is_label(namespace) && is_label(name);
    labels.then(|| ServiceRule::Static {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        port,
        places,
    })
}

/// HOST:PORT.
fn place(written: &str) -> Option<(String, u16)> {
    let authority = Authority::from_str(written).ok().filter(|_| !written.contains('@'))?;
    let port = authority.port_u16().filter(|port| *port != 0)?;
    let host = authority.host();
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok()?.to_string(),
        None if is_dns(host) => host.to_owned(),
        None => return None,
    };
    Some((host, port))
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// A DNS name or an IPv4 address.
fn is_dns(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    !host.is_empty() && host.len() <= 253 && host.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(texts: &[&str]) -> ServiceRules {
        ServiceRules::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn the_default_is_a_clusters_then_composes() {
        assert_eq!(
            rules(&[]).candidates("kube-system", "metrics-server", 443),
            [[("metrics-server.kube-system.svc".to_owned(), 443)], [("metrics-server".to_owned(), 443)]]
        );
    }

    #[test]
    fn rules_apply_in_order_and_only_where_they_are_meant() {
        let rules =
            rules(&["a/b:1=127.0.0.1:10", "a/b=[::1]:20", "{name}.{namespace}.svc:{port}", "{name}-x:30"]);
        let hosts = |namespace, name, port| {
            let found = rules.candidates(namespace, name, port);
            found.iter().flatten().map(|(host, port)| format!("{host} {port}")).collect::<Vec<_>>()
        };
        assert_eq!(hosts("a", "b", 1), ["127.0.0.1 10", "::1 20", "b.a.svc 1", "b-x 30"]);
        assert_eq!(hosts("a", "b", 2), ["::1 20", "b.a.svc 2", "b-x 30"]);
        assert_eq!(hosts("b", "a", 1), ["a.b.svc 1", "a-x 30"]);
    }

    #[test]
    fn a_service_may_be_in_several_places_at_once() {
        let rules = rules(&["a/b=127.0.0.1:10 + [::1]:20+h.example.com:30", "{name}"]);
        let place = |host: &str, port| (host.to_owned(), port);
        assert_eq!(
            rules.candidates("a", "b", 1),
            [vec![place("127.0.0.1", 10), place("::1", 20), place("h.example.com", 30)], vec![place("b", 1)]]
        );
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in [
            "{name}.{namespace}.svc",
            "{name}:8443",
            "a/b=h.example.com:1",
            "a/b:443=[::1]:65535",
            "a/b=127.0.0.1:1+[::1]:2+h:3",
        ] {
            assert_eq!(text.parse::<ServiceRule>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "localhost",
            "{namespace}.svc",
            "{name}:0",
            "{name}:x",
            "{name}.{other}",
            "{name} x",
            "a=h:1",
            "a/b=h",
            "a/b=h:0",
            "/b=h:1",
            "a/=h:1",
            "a/b:0=h:1",
            "a/b=u@h:1",
            "a/b=[1.2.3.4]:1",
            "a/b=-h:1",
            "a/b=h/p:1",
            "a/b=h:1+",
            "a/b=+h:1",
            "a/b=h:1+i",
        ] {
            let (problem, mend) = bad.parse::<ServiceRule>().unwrap_err();
            assert!(problem.contains("is no rule") && mend.contains("{name}.{namespace}.svc"), "{bad}");
        }
    }
}
