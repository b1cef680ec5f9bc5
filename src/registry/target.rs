//! Who serves an APIService, as its spec and annotations say.

use http::Uri;

use super::proto::apiregistration::ApiService;

/// Annotation: where the gRPC backend is, `grpc://HOST:PORT` or `grpcs://HOST:PORT`.
pub const BACKEND: &str = "kubridge.io/backend";
/// Annotation: how `spec.service` is spoken to where [`BACKEND`] is absent, `grpc` or `https` (the default).
pub const PROTOCOL: &str = "kubridge.io/protocol";
/// Annotation: PEM, what the backend's certificate is verified against, where `spec.caBundle` is the
/// kube-apiserver's trust in us.
pub const BACKEND_CA: &str = "kubridge.io/backend-ca";

/// Who serves a group and version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// This process.
    Local,
    /// A gRPC backend.
    Grpc {
        /// `grpc://HOST:PORT` or `grpcs://HOST:PORT`.
        url: String,
    },
    /// A classic extension API server behind a Service.
    Https {
        /// The Service's namespace.
        namespace: String,
        /// The Service's name.
        name: String,
        /// The Service's port.
        port: i32,
    },
}

/// Who serves `service`.
pub fn target(service: &ApiService) -> Target {
    let annotation =
        |name: &str| service.metadata.as_ref().and_then(|metadata| metadata.annotations.get(name));
    if let Some(url) = annotation(BACKEND) {
        return Target::Grpc { url: url.clone() };
    }
    let Some(reference) = service.spec.as_ref().and_then(|spec| spec.service.as_ref()) else {
        return Target::Local;
    };
    let port = reference.port.unwrap_or(443);
    if annotation(PROTOCOL).is_some_and(|protocol| protocol == "grpc") {
        return Target::Grpc { url: format!("grpc://{}.{}.svc:{port}", reference.name, reference.namespace) };
    }
    Target::Https { namespace: reference.namespace.clone(), name: reference.name.clone(), port }
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
