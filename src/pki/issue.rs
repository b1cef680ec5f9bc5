//! Certificates: made, read back, and judged.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::RENEW_BEFORE;
use crate::config::San;

const DAY: Duration = Duration::from_secs(24 * 3600);
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clients' clocks may be behind.
const SKEW: Duration = Duration::from_secs(3600);

/// The CA: it signs the leaves.
pub(super) struct Authority {
    certificate: CertificateDer<'static>,
    not_after: SystemTime,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(super) struct Leaf {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key_pem: String,
}

/// What a leaf is for.
pub(super) enum Purpose<'a> {
    /// The server, under these names (sorted).
    Serving(&'a [San]),
    /// The client of `admin.kubeconfig`.
    Admin,
    /// The aggregator as a client of its backends.
    Backends,
}

impl Purpose<'_> {
    pub(super) fn file(&self) -> &'static str {
        match self {
            Self::Serving(_) => "serving.pem",
            Self::Admin => "admin.pem",
            Self::Backends => "backend-client.pem",
        }
    }
}

impl Authority {
    /// A new one, and its file.
    pub(super) fn make(now: SystemTime) -> Result<(Self, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("kubridge-ca", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.not_before = (now - DAY).into();
        params.not_after = (now + CA_LIFE).into();
        let certificate = params.self_signed(&key)?;
        let text = certificate.pem() + &key.serialize_pem();
        let certificate = certificate.der().clone();
        Ok((Self { certificate, not_after: now + CA_LIFE, issuer: Issuer::new(params, key) }, text))
    }

    /// Reads the file back; the error is what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let leaf = Leaf::parse(text)?;
        let key =
            KeyPair::from_pem(&leaf.key_pem).map_err(|e| format!("has an unusable private key ({e})"))?;
        let (_, parsed) = read(&leaf.certificate)?;
        if !parsed.is_ca() {
            return Err("is not the certificate of an authority".into());
        }
        let not_after = parsed.validity().not_after.to_datetime().into();
        let issuer = Issuer::from_ca_cert_der(&leaf.certificate, key)
            .map_err(|e| format!("has an unusable certificate ({e})"))?;
        Ok(Self { certificate: leaf.certificate, not_after, issuer })
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    pub(super) fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Signs a new leaf; the leaf and its file.
    pub(super) fn issue(
        &self,
        purpose: &Purpose<'_>,
        now: SystemTime,
    ) -> Result<(Leaf, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - SKEW).into();
        params.not_after = (now + LEAF_LIFE).min(self.not_after).into();
        match purpose {
            Purpose::Serving(sans) => {
                params.distinguished_name = name("kubridge", None);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = sans
                    .iter()
                    .map(|san| match san {
                        San::Dns(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
                        San::Ip(ip) => Ok(SanType::IpAddress(*ip)),
                    })
                    .collect::<Result<_, rcgen::Error>>()?;
            }
            Purpose::Admin => {
                params.distinguished_name = name("kubridge-admin", Some("system:masters"));
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
            // No group: whoever has its key may do nothing here.
            Purpose::Backends => {
                params.distinguished_name = name("kubridge", None);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        let certificate = params.signed_by(&key, &self.issuer)?;
        let leaf = Leaf { certificate: certificate.der().clone(), key_pem: key.serialize_pem() };
        let text = certificate.pem() + &leaf.key_pem;
        Ok((leaf, text))
    }
}

impl Leaf {
    /// Reads a file of one certificate and its key; the error is what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|_| "has no complete certificate in PEM")?;
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| "has no complete private key in PEM")?;
        let key_pem = pem("PRIVATE KEY", key.secret_pkcs8_der());
        let pair = KeyPair::from_pem(&key_pem).map_err(|e| format!("has an unusable private key ({e})"))?;
        let (_, parsed) = read(&certificate)?;
        if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
            return Err("has a certificate and a private key that do not belong together".into());
        }
        Ok(Self { certificate, key_pem })
    }

    /// Why it has to be replaced; `None`: it is good.
    pub(super) fn fault(
        &self,
        authority: &Authority,
        purpose: &Purpose<'_>,
        now: SystemTime,
    ) -> Option<&'static str> {
        let Ok((_, parsed)) = read(&self.certificate) else { return Some("it could not be read") };
        let not_after: SystemTime = parsed.validity().not_after.to_datetime().into();
        // An authority that ends soon cannot give more time: then there is no use in trying daily.
        if not_after < now + RENEW_BEFORE && not_after < authority.not_after {
            return Some("it was about to end");
        }
        if let Purpose::Serving(wanted) = purpose
            && sans(&parsed) != *wanted
        {
            return Some("the names have changed");
        }
        (!self.is_signed_by(authority, purpose, now)).then_some("it was not signed by the present authority")
    }

    fn is_signed_by(&self, authority: &Authority, purpose: &Purpose<'_>, now: SystemTime) -> bool {
        let mut roots = RootCertStore::empty();
        if roots.add(authority.certificate.clone()).is_err() {
            return false;
        }
        let (roots, provider) = (roots.into(), std::sync::Arc::new(rustls::crypto::ring::default_provider()));
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        match purpose {
            Purpose::Serving(_) => {
                rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .is_ok_and(|verifier| {
                        let localhost = rustls::pki_types::ServerName::from(std::net::Ipv4Addr::LOCALHOST);
                        use rustls::client::danger::ServerCertVerifier as _;
                        verifier.verify_server_cert(&self.certificate, &[], &localhost, &[], now).is_ok()
                    })
            }
            Purpose::Admin | Purpose::Backends => {
                rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .is_ok_and(|verifier| verifier.verify_client_cert(&self.certificate, &[], now).is_ok())
            }
        }
    }
}

/// PEM (RFC 7468).
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem + &format!("-----END {label}-----\n")
}

/// Whether a certificate is good for nothing any more. What cannot be read is not.
pub(super) fn has_expired(certificate: &CertificateDer<'_>, now: SystemTime) -> bool {
    read(certificate)
        .map_or(true, |(_, parsed)| SystemTime::from(parsed.validity().not_after.to_datetime()) <= now)
}

fn read<'a>(certificate: &'a CertificateDer<'_>) -> Result<(&'a [u8], X509Certificate<'a>), String> {
    X509Certificate::from_der(certificate).map_err(|e| format!("has an unreadable certificate ({e})"))
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common);
    name
}

fn sans(certificate: &X509Certificate<'_>) -> Vec<San> {
    let mut sans: Vec<San> = certificate
        .extensions()
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        })
        .flatten()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(San::Dns((*name).to_owned())),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| San::Ip(b.into())),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| San::Ip(b.into())),
            },
            _ => None,
        })
        .collect();
    sans.sort();
    sans
}
