//! Who serves an APIService, as its spec and annotations say.

use std::{fmt, str::FromStr};

use http::Uri;
use kubridge_bridge::validation::dns1123_subdomain;

use super::proto::apiregistration::ApiService;

/// Annotation: where the gRPC backend is, `grpc://HOST:PORT` or `grpcs://HOST:PORT`; or the name of a Backend object,
/// which says it.
pub const BACKEND: &str = "kubridge.io/backend";
/// Annotation: how `spec.service` is spoken to where [`BACKEND`] is absent: a [`Protocol`], `https` by default.
pub const PROTOCOL: &str = "kubridge.io/protocol";
/// Annotation: PEM, what the backend's certificate is verified against, where `spec.caBundle` is the
/// kube-apiserver's trust in us.
pub const BACKEND_CA: &str = "kubridge.io/backend-ca";

/// Annotation: the `metadata.name` of the Mapping by which a gRPC backend is served, where several could be meant or none
/// of those that are there says which backend it is for.
pub const MAPPING: &str = "kubridge.io/mapping";

/// Who serves a group and version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// This process, or its delegate.
    Local,
    /// A gRPC backend at an address.
    Grpc {
        /// `grpc://HOST:PORT` or `grpcs://HOST:PORT`.
        url: String,
    },
    /// A backend behind a Service. With TLS its certificate is for `NAME.NAMESPACE.svc`, wherever it is dialled.
    Service {
        /// How it is spoken to.
        protocol: Protocol,
        /// The Service's namespace.
        namespace: String,
        /// The Service's name.
        name: String,
        /// The Service's port.
        port: i32,
    },
    /// A Backend object. In a snapshot it is replaced by what that object says.
    Named {
        /// Its name.
        name: String,
    },
    /// There is no such Backend, or what it says cannot be used.
    Unresolved {
        /// Why, and the mend.
        why: String,
    },
    /// In a cluster the Service is this process, and the annotation [`BACKEND`] is missing.
    Unnamed,
    /// The annotation [`PROTOCOL`] says something else. Admission refuses it; what a cluster stores was not asked.
    UnknownProtocol {
        /// What it says.
        protocol: String,
    },
}

/// How a Service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// gRPC in plain text.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
    /// A classic extension API server: Kubernetes' REST protocol over TLS.
    Https,
}

impl Protocol {
    /// All of them, as the annotation [`PROTOCOL`] writes them.
    pub const NAMES: [&str; 3] = ["grpc", "grpcs", "https"];

    /// As the annotation [`PROTOCOL`] and URLs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => Self::NAMES[0],
            Self::Grpcs => Self::NAMES[1],
            Self::Https => Self::NAMES[2],
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        [Self::Grpc, Self::Grpcs, Self::Https]
            .into_iter()
            .find(|protocol| protocol.as_str() == text)
            .ok_or(UnknownProtocol)
    }
}

/// No [`Protocol`] has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be grpc, grpcs or https")]
pub struct UnknownProtocol;

impl Target {
    /// Where it is, as conditions and the log name it: the URL of a gRPC backend, `https://NAME.NAMESPACE.svc:PORT` of
    /// a Service. `None` for what is in this process or cannot be spoken to.
    pub fn url(&self) -> Option<String> {
        match self {
            Self::Local
            | Self::Named { .. }
            | Self::Unresolved { .. }
            | Self::Unnamed
            | Self::UnknownProtocol { .. } => None,
            Self::Grpc { url } => Some(url.clone()),
            Self::Service { protocol, namespace, name, port } => {
                Some(format!("{protocol}://{name}.{namespace}.svc:{port}"))
            }
        }
    }
}

/// Who serves `service`.
pub fn target(service: &ApiService) -> Target {
    let annotation =
        |name: &str| service.metadata.as_ref().and_then(|metadata| metadata.annotations.get(name));
    if let Some(text) = annotation(BACKEND) {
        return match is_name(text) {
            true => Target::Named { name: text.clone() },
            false => Target::Grpc { url: text.clone() },
        };
    }
    let Some(reference) = service.spec.as_ref().and_then(|spec| spec.service.as_ref()) else {
        return Target::Local;
    };
    let protocol = match annotation(PROTOCOL).map(|text| (text, text.parse())) {
        None => Protocol::Https,
        Some((_, Ok(protocol))) => protocol,
        Some((text, Err(UnknownProtocol))) => return Target::UnknownProtocol { protocol: text.clone() },
    };
    Target::Service {
        protocol,
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        port: reference.port.unwrap_or(443),
    }
}

/// The Mapping that `service` chooses; an empty name is none.
pub(super) fn mapping(service: &ApiService) -> Option<String> {
    let name = service.metadata.as_ref()?.annotations.get(MAPPING)?;
    (!name.is_empty()).then(|| name.clone())
}

/// What the backend's certificate is verified against, in PEM; empty: the system's authorities.
pub fn ca_bundle(service: &ApiService) -> Vec<u8> {
    let annotations = service.metadata.as_ref().map(|metadata| &metadata.annotations);
    let ours = annotations.and_then(|annotations| annotations.get(BACKEND_CA));
    let annotated = annotations.is_some_and(|annotations| annotations.contains_key(BACKEND));
    match (ours, &service.spec) {
        (Some(pem), _) => pem.clone().into_bytes(),
        // In a cluster spec.service is this process, and the bundle the kube-apiserver's trust in it.
        (None, Some(spec)) if annotated && spec.service.is_some() => Vec::new(),
        (None, Some(spec)) => spec.ca_bundle.clone(),
        (None, None) => Vec::new(),
    }
}

/// Whether the backend's certificate is not verified.
pub(super) fn insecure_skip_tls_verify(service: &ApiService) -> bool {
    let annotated =
        service.metadata.as_ref().is_some_and(|metadata| metadata.annotations.contains_key(BACKEND));
    // With both, it is the kube-apiserver's trust in this process.
    service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.insecure_skip_tls_verify && !(annotated && spec.service.is_some()))
}

/// Whether `text` is what the annotation [`BACKEND`] may say; if not, what is wrong and what to write.
pub(super) fn check_backend(text: &str) -> Result<(), String> {
    if is_name(text) {
        return Ok(());
    }
    check_backend_url(text).map_err(|fault| format!("{fault}; or name a Backend"))
}

/// Whether the text of the annotation [`BACKEND`] names a Backend object.
pub fn is_name(text: &str) -> bool {
    dns1123_subdomain(text).is_empty()
}

/// Whether `url` names a gRPC backend; if not, what is wrong and what to write.
pub fn check_backend_url(url: &str) -> Result<(), String> {
    const FORM: &str = "must be grpc://HOST:PORT or grpcs://HOST:PORT";
    let uri: Uri = url.parse().map_err(|error| format!("{FORM}: {error}"))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if scheme != "grpc" && scheme != "grpcs" {
        return Err(format!("{FORM}: the scheme is {scheme:?}"));
    }
    let Some(authority) = uri.authority() else { return Err(format!("{FORM}: the host is missing")) };
    if authority.as_str().contains('@') {
        return Err(format!("{FORM}: credentials do not belong here"));
    }
    if authority.host().is_empty() || authority.port_u16().is_none_or(|port| port == 0) {
        return Err(format!("{FORM}: the host or the port is missing"));
    }
    // The whole of it: a path or a query would be dropped silently.
    let rest = url.splitn(4, '/').nth(3).unwrap_or_default();
    if !rest.is_empty() || url.contains(['?', '#']) {
        return Err(format!("{FORM}: nothing may follow the port"));
    }
    Ok(())
}
