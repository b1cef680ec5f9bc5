//! Why a connection could not be made, in words that name the mend.

use std::io;

use rustls::AlertDescription;

use super::super::{endpoint::Endpoint, pulse, tls::Tls};
use crate::registry::Protocol;

/// What to do when a backend does not take our certificate.
pub(super) fn refused(https: bool) -> &'static str {
    match https {
        false => {
            "if it asks for a client certificate, it must trust the CA of Kubridge's: \
             DATA_DIR/pki/ca.crt, or what signed --backend-client-cert-file"
        }
        true => {
            "if it asks for a client certificate, it must trust the CA of Kubridge's: \
             DATA_DIR/pki/ca.crt, or what signed --proxy-client-cert-file"
        }
    }
}

/// What the backend's last word means.
pub(super) fn alert(alert: AlertDescription, https: bool) -> String {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired
        | Alert::NoCertificate
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError => {
            format!("it refuses our client certificate (alert {alert:?}): {}", refused(https))
        }
        Alert::NoApplicationProtocol if https => {
            "it offers neither HTTP/2 nor HTTP/1.1 over TLS (ALPN h2, http/1.1): is this an API server?"
                .to_owned()
        }
        Alert::NoApplicationProtocol => {
            "it does not offer HTTP/2 (ALPN h2) over TLS: is this a gRPC server?".to_owned()
        }
        _ => format!("it ended the TLS connection (alert {alert:?}): its log says why"),
    }
}

/// Why the handshake failed.
pub(super) fn tls(error: &io::Error, tls: &Tls, endpoint: &Endpoint) -> String {
    use rustls::{CertificateError, Error};
    if let Some(found) = pulse::alert(error) {
        return alert(found, endpoint.protocol() == Protocol::Https);
    }
    let name = tls.name.to_str();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "its certificate is not signed by the CA that was given: give the PEM bundle of the CA that signed it"
                .to_owned()
        }
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => {
            format!("its certificate is not for {name:?}: use a name that it has, or set the server name")
        }
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "its certificate has expired: renew it".to_owned()
        }
        Some(Error::InvalidCertificate(CertificateError::Other(other)))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "its certificate is one of a CA: give it one with basicConstraints CA:FALSE".to_owned()
        }
        Some(Error::InvalidMessage(_)) if (endpoint.protocol() == Protocol::Https) => {
            "it does not speak TLS, and nothing else is spoken to it: give it a certificate, or the right port".to_owned()
        }
        Some(Error::InvalidMessage(_)) => "it does not speak TLS: write grpc:// for plain text".to_owned(),
        _ => format!("TLS: {error}"),
    }
}

/// An error with its causes, each once.
pub(in super::super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    // rustls adds the address of its manual.
    let said = |error: &(dyn std::error::Error + 'static)| {
        let text = error.to_string();
        text.find(": https://docs.rs/rustls/").map_or(text.clone(), |end| text[..end].to_owned())
    };
    let mut text = said(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = said(cause);
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
