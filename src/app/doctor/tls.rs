//! TLS from kube-apiserver to Kubridge: the CA that it trusts, and the certificate that it is shown.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::future::select_all;
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::verdict::Verdict;
use crate::{cluster::Place, pki::verify_server, telemetry::error_chain, upstream::AnyCertificate};

/// For a connection, and then for the handshake.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of the endpoints of a Service, so many are tried.
const TRIED: usize = 4;
/// A certificate that ends sooner should have been renewed.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);

/// A connection to where a Service leads.
pub(super) struct Reached {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
}

/// What was shown there.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) address: SocketAddr,
    /// The leaf first. An error: there is no TLS.
    pub(super) chain: Result<Vec<CertificateDer<'static>>, String>,
}

/// Connects to the first that accepts, of where a Service is. The error: what each of them did instead, a line each.
pub(super) async fn reach(place: &Place) -> Result<Reached, String> {
    let addresses: Vec<SocketAddr> = match place {
        Place::Endpoints(addresses) => addresses.clone(),
        Place::External(host, port) => {
            lookup_host((host.as_str(), *port)).await.map_err(|error| format!("{host}: {error}"))?.collect()
        }
    };
    let mut trying: Vec<_> = addresses
        .into_iter()
        .take(TRIED)
        .map(|address| {
            Box::pin(async move {
                match timeout(PATIENCE, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => Ok(Reached { stream, address }),
                    Ok(Err(error)) => Err(format!("{address}: {error}")),
                    Err(_) => Err(format!("{address}: no answer within {}s", PATIENCE.as_secs())),
                }
            })
        })
        .collect();
    let mut failed = Vec::new();
    while !trying.is_empty() {
        let (tried, _, others) = select_all(trying).await;
        match tried {
            Ok(reached) => return Ok(reached),
            Err(why) => failed.push(why),
        }
        trying = others;
    }
    failed.sort();
    Err(failed.join("\n"))
}

/// Shakes hands as kube-apiserver would, whatever the certificate is worth.
pub(super) async fn shown(reached: Reached, name: &str) -> Shown {
    let Reached { stream, address } = reached;
    let handshake = async {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::default()))
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let connected = connected.map_err(|error| error_chain(&error))?;
        let chain = connected.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
    };
    let chain = timeout(PATIENCE, handshake).await;
    Shown {
        address,
        chain: chain.unwrap_or_else(|_| Err(format!("no answer within {}s", PATIENCE.as_secs()))),
    }
}

/// What `spec.caBundle` (PEM) is worth at `now`.
pub(super) fn judge_bundle(bundle: &[u8], insecure: bool, now: SystemTime) -> Verdict {
    if insecure {
        return Verdict::warning(
            "spec.insecureSkipTLSVerify: kube-apiserver sends requests to whoever answers",
            "set it to false: Kubridge's leader then writes spec.caBundle",
        );
    }
    if bundle.is_empty() {
        return Verdict::broken(
            "spec.caBundle is empty: kube-apiserver trusts only the CAs of its own system",
            "see that a replica of Kubridge runs that may patch apiservices (its leader writes spec.caBundle), or that \
             cert-manager's cainjector does",
        );
    }
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
    let mend = "put the CA of Kubridge's certificate there, in PEM (remove spec.caBundle, and Kubridge's leader writes it)";
    let cas = match parsed {
        Ok(cas) if !cas.is_empty() => cas,
        Ok(_) => return Verdict::broken("spec.caBundle has no certificate in PEM", mend),
        Err(error) => {
            return Verdict::broken(format!("spec.caBundle is no PEM, or is cut off: {error}"), mend);
        }
    };
    let lives: Vec<Life> = cas.iter().filter_map(|ca| Life::of(ca)).collect();
    let Some(last) = lives.iter().max_by_key(|life| life.not_after) else {
        return Verdict::broken("spec.caBundle has no certificate that can be read", mend);
    };
    let ended = lives.iter().filter(|life| life.not_after <= now).count();
    if ended == lives.len() {
        return Verdict::broken(format!("every CA in spec.caBundle has expired, the last at {last}"), mend);
    }
    let count = cas.len();
    let verdict = Verdict::ok(format!("spec.caBundle has {count} CA{}", if count == 1 { "" } else { "s" }));
    let verdict = if last.not_after <= now + SOON {
        Verdict::warning(format!("the last CA in spec.caBundle expires at {last}"), mend)
    } else {
        verdict
    };
    match ended {
        0 => verdict,
        ended => verdict.detail(format!("{ended} of the CAs in spec.caBundle expired")),
    }
}

/// What the certificate that is shown is worth to who trusts `bundle` and calls the server `name`.
pub(super) fn judge_shown(
    shown: &Shown,
    bundle: &[u8],
    insecure: bool,
    name: &str,
    now: SystemTime,
) -> Verdict {
    let Shown { address, chain } = shown;
    let chain = match chain.as_ref().map(Vec::as_slice) {
        Ok([]) => return Verdict::broken(format!("{address} shows no certificate"), OTHER_SERVER),
        Ok(chain) => chain,
        Err(why) => return Verdict::broken(format!("{address} does not speak TLS: {why}"), OTHER_SERVER),
    };
    let names = format!("{address} shows a certificate for {}", names(&chain[0]).join(", "));
    let Some(life) = Life::of(&chain[0]) else {
        return Verdict::broken("its certificate cannot be read", OTHER_SERVER).detail(names);
    };
    let vouched = if insecure { Ok(()) } else { verify(chain, bundle, name, now) };
    let verdict = match vouched {
        Err(why) => {
            let mend = match why {
                Worthless::Expired => "renew it, or have Kubridge make its own (without --tls-cert-file)".to_owned(),
                Worthless::Names => {
                    format!("have it issued for {name}, the name that kube-apiserver calls the Service by")
                }
                Worthless::Signer | Worthless::Other(_) => {
                    "put the CA that signed it into spec.caBundle: Kubridge's leader does unless the APIService is \
                     annotated for cert-manager"
                        .to_owned()
                }
            };
            Verdict::broken(format!("the certificate at {address} {why}"), mend)
        }
        Ok(()) if life.not_after <= now + SOON => {
            let what = format!("the certificate at {address} expires at {life}");
            Verdict::warning(what, "see why it is not renewed (the log of Kubridge, or of cert-manager)")
        }
        Ok(()) if insecure => Verdict::ok(format!("{address} speaks TLS")),
        Ok(()) => Verdict::ok(format!("the certificate at {address} is good for {name} until {life}")),
    };
    verdict.detail(names)
}

const OTHER_SERVER: &str = "see that the Service leads to Kubridge's port of --listen";

/// Why a certificate is worth nothing to kube-apiserver.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Worthless {
    Signer,
    Names,
    Expired,
    Other(String),
}

impl fmt::Display for Worthless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signer => f.write_str("is signed by no CA of spec.caBundle"),
            Self::Names => f.write_str("is for other names"),
            Self::Expired => f.write_str("has expired"),
            Self::Other(why) => write!(f, "does not verify: {why}"),
        }
    }
}

fn verify(chain: &[CertificateDer<'_>], bundle: &[u8], name: &str, now: SystemTime) -> Result<(), Worthless> {
    verify_server(chain, bundle, name, now).map_err(|error| match error {
        rustls::Error::InvalidCertificate(error) => match error {
            rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature => {
                Worthless::Signer
            }
            rustls::CertificateError::NotValidForName
            | rustls::CertificateError::NotValidForNameContext { .. } => Worthless::Names,
            rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. } => {
                Worthless::Expired
            }
            error => Worthless::Other(error.to_string()),
        },
        error => Worthless::Other(error.to_string()),
    })
}

/// Until when a certificate is good.
pub(super) struct Life {
    pub(super) not_after: SystemTime,
    shown: String,
}

impl Life {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let end = parsed.validity().not_after;
        let seconds = u64::try_from(end.timestamp()).unwrap_or_default();
        Some(Self { not_after: UNIX_EPOCH + Duration::from_secs(seconds), shown: end.to_string() })
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The DNS names and addresses that a certificate is for.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return vec!["nobody".to_owned()] };
    let names = parsed.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let names = names.flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(ip) => match ip.len() {
            4 => <[u8; 4]>::try_from(*ip).ok().map(|ip| std::net::IpAddr::from(ip).to_string()),
            _ => <[u8; 16]>::try_from(*ip).ok().map(|ip| std::net::IpAddr::from(ip).to_string()),
        },
        _ => None,
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { vec!["nobody (it has no subject alternative names)".to_owned()] } else { names }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;
    use crate::app::doctor::verdict::State;

    const NAME: &str = "kubridge.kubridge-system.svc";
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A CA that lives until `ends`, and what it signed for `name`, which lives until then, too.
    fn made(name: &str, ends: SystemTime) -> (String, Shown) {
        let params = |names: Vec<String>| {
            let mut params = CertificateParams::new(names).unwrap();
            params.not_before = (SystemTime::now() - 400 * DAY).into();
            params.not_after = ends.into();
            params
        };
        let mut of_ca = params(Vec::new());
        of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(of_ca, KeyPair::generate().unwrap()).unwrap();
        let leaf = params(vec![name.to_owned(), "10.0.0.1".to_owned()]);
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &ca).unwrap();
        let shown = Shown { address: ([127, 0, 0, 1], 6443).into(), chain: Ok(vec![leaf.der().clone()]) };
        (ca.pem(), shown)
    }

    #[test]
    fn what_a_bundle_is_worth() {
        let now = SystemTime::now();
        let (good, _) = made(NAME, now + 100 * DAY);
        let (old, _) = made(NAME, now - DAY);
        let (late, _) = made(NAME, now + 2 * DAY);
        let judged = |bundle: &str, insecure| {
            let Verdict { state, summary, details, .. } = judge_bundle(bundle.as_bytes(), insecure, now);
            (state, format!("{summary} {}", details.join(" ")))
        };
        assert_eq!(judged(&good, false), (State::Ok, "spec.caBundle has 1 CA ".to_owned()));
        let both = judged(&(good + &old), false);
        assert_eq!(both.0, State::Ok);
        assert!(both.1.contains("2 CAs 1 of the CAs in spec.caBundle expired"), "{}", both.1);
        assert_eq!(judged(&late, false).0, State::Warning);
        for (bundle, says) in [
            (old.as_str(), "every CA in spec.caBundle has expired"),
            ("", "is empty"),
            ("garbage", "no certificate in PEM"),
            ("-----BEGIN CERTIFICATE-----\nAA", "is no PEM"),
        ] {
            let (state, text) = judged(bundle, false);
            assert_eq!(state, State::Broken, "{text}");
            assert!(text.contains(says), "{text}");
        }
        assert_eq!(judged("", true).0, State::Warning);
    }

    #[test]
    fn what_a_certificate_is_worth() {
        let now = SystemTime::now();
        let (ca, good) = made(NAME, now + 100 * DAY);
        let judged = |shown: &Shown, ca: &str| {
            let verdict = judge_shown(shown, ca.as_bytes(), false, NAME, now);
            (verdict.state, format!("{} {}", verdict.summary, verdict.details.join(" ")))
        };
        let (state, text) = judged(&good, &ca);
        assert_eq!(state, State::Ok, "{text}");
        assert!(text.contains("shows a certificate for kubridge.kubridge-system.svc, 10.0.0.1"), "{text}");
        let (other_ca, other) = made("kubridge.default.svc", now + 100 * DAY);
        let (late_ca, late) = made(NAME, now + 2 * DAY);
        let (old_ca, old) = made(NAME, now - DAY);
        assert_eq!(judged(&late, &late_ca).0, State::Warning);
        for (shown, ca, says) in [
            (&good, &other_ca, "is signed by no CA of spec.caBundle"),
            (&good, &"garbage".to_owned(), "is signed by no CA of spec.caBundle"),
            (&other, &other_ca, "is for other names"),
            (&old, &old_ca, "has expired"),
        ] {
            let (state, text) = judged(shown, ca);
            assert_eq!(state, State::Broken, "{text}");
            assert!(text.contains(says), "{text}");
        }
        assert_eq!(judge_shown(&other, b"", true, NAME, now).state, State::Ok, "nobody verifies it");
        let plain = Shown { chain: Err("corrupt message".to_owned()), ..good };
        assert!(judged(&plain, &ca).1.contains("127.0.0.1:6443 does not speak TLS: corrupt message"));
    }

    #[tokio::test]
    async fn where_nobody_listens_is_told_of_each_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let Err(why) = reach(&Place::Endpoints(vec![free])).await else { panic!("it is free") };
        assert!(why.starts_with(&format!("{free}: ")), "{why}");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reached =
            reach(&Place::Endpoints(vec![free, address])).await.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(reached.address, address);
    }
}
