//! Bundles of authorities in PEM: whom they have somebody take, and how one follows another.
//!
//! A certificate and the bundle that it is verified by are in two places, and never change in the same moment. So a new
//! certificate waits until every bundle has it taken ([`Audience`]), and an authority that is not wanted any more stays in
//! bundles for a while ([`Outgoing`]).

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::issue;

/// So long an authority stays trusted that is not wanted any more. Mounted files change on one node minutes before they do
/// on another, and whoever has the new ones waits to be trusted.
const KEPT: Duration = Duration::from_secs(3600);

/// Whether a server that is called `name` and shows `chain` (the leaf first) is taken by who trusts `bundle`.
///
/// # Errors
/// Why it is not.
pub fn verify_server(
    chain: &[CertificateDer<'_>],
    bundle: &[u8],
    name: &str,
    now: SystemTime,
) -> Result<(), Error> {
    let nobody = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(bundle));
    let Some((leaf, between)) = chain.split_first().filter(|_| !roots.is_empty()) else {
        return Err(nobody);
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
    let verifier = verifier.build().map_err(|error| Error::General(error.to_string()))?;
    let name = ServerName::try_from(name).map_err(|error| Error::General(error.to_string()))?;
    let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    verifier.verify_server_cert(leaf, between, &name, &[], now).map(drop)
}

/// Who verifies the serving certificate.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    /// What this server is called.
    pub name: String,
    /// What each of them trusts, PEM.
    pub bundles: Arc<[Vec<u8>]>,
}

impl Audience {
    /// Whether somebody who takes `present` would not take `new`.
    pub(super) fn would_lose(
        &self,
        present: &[CertificateDer<'_>],
        new: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> bool {
        let takes = |bundle: &[u8], chain: &[CertificateDer<'_>]| {
            // Unlike webpki, Go takes a certificate that is itself among those that are trusted.
            verify_server(chain, bundle, &self.name, now).is_ok()
                || certificates(bundle).any(|trusted| chain.first() == Some(&trusted))
        };
        self.bundles.iter().any(|bundle| takes(bundle, present) && !takes(bundle, new))
    }
}

/// Authorities that are trusted somewhere and not wanted any more, and since when they are known to be so.
#[derive(Debug, Default)]
pub struct Outgoing(HashMap<CertificateDer<'static>, Instant>);

impl Outgoing {
    /// What is to take the place of each of the bundles in `present`: `wanted`, and what else that one had until now, unless
    /// it has been outgoing for an hour.
    pub fn follow(&mut self, wanted: &str, present: &[&[u8]], now: Instant) -> Vec<String> {
        let stay: Vec<_> = certificates(wanted.as_bytes()).collect();
        let mut outgoing = HashMap::new();
        let follow = |bundle: &&[u8]| {
            let mut text = wanted.to_owned();
            for certificate in certificates(bundle).filter(|certificate| !stay.contains(certificate)) {
                let since = self.0.get(&certificate).copied().unwrap_or(now);
                if now.duration_since(since) < KEPT {
                    if !text.ends_with('\n') {
                        text.push('\n');
                    }
                    text.push_str(&issue::pem("CERTIFICATE", &certificate));
                }
                outgoing.insert(certificate, since);
            }
            text
        };
        let followed = present.iter().map(follow).collect();
        self.0 = outgoing;
        followed
    }
}

/// What can be read of a bundle.
fn certificates(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        super::issue::{Authority, Purpose},
        *,
    };

    const NAME: &str = "kubridge.kubridge-system.svc";
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// An authority in PEM, and what it signed for [`NAME`].
    fn made(now: SystemTime) -> (String, Vec<CertificateDer<'static>>) {
        let (authority, _) = Authority::make(now).unwrap();
        let (leaf, _) = authority.issue(&Purpose::Serving(&[NAME.parse().unwrap()]), now).unwrap();
        (authority.certificate_pem(), vec![leaf.certificate])
    }

    #[test]
    fn a_new_certificate_waits_for_those_who_take_the_present_one_and_for_nobody_else() {
        let now = SystemTime::now();
        let ((old_ca, old), (new_ca, new), (other_ca, _)) = (made(now), made(now), made(now));
        let both = old_ca.clone() + &new_ca;
        let loses = |bundles: &[&str], at: SystemTime| {
            let bundles = bundles.iter().map(|bundle| bundle.as_bytes().to_vec()).collect();
            Audience { name: NAME.into(), bundles }.would_lose(&old, &new, at)
        };
        assert!(loses(&[&old_ca], now));
        assert!(loses(&[&both, &old_ca], now), "one of them does not know it yet");
        assert!(!loses(&[&both], now));
        assert!(!loses(&[&new_ca], now));
        assert!(!loses(&[], now), "nobody verifies it");
        assert!(!loses(&[&other_ca, "garbage", ""], now), "who takes neither is not lost");
        assert!(!loses(&[&old_ca], now + 366 * DAY), "the present one has expired");

        let audience =
            |name: &str, ca: &str| Audience { name: name.into(), bundles: [ca.as_bytes().to_vec()].into() };
        assert!(!audience("other.default.svc", &old_ca).would_lose(&old, &new, now), "not by that name");
        let itself = issue::pem("CERTIFICATE", &old[0]);
        assert!(audience(NAME, &itself).would_lose(&old, &new, now), "it is trusted itself");
    }

    #[test]
    fn an_authority_goes_an_hour_after_another_has_taken_its_place() {
        let now = SystemTime::now();
        let ((old, _), (new, _)) = (made(now), made(now));
        let both = new.clone() + &old;
        let (begun, mut outgoing) = (Instant::now(), Outgoing::default());
        let mut follow = |wanted: &str, present: &[&str], after: Duration| {
            let present: Vec<&[u8]> = present.iter().map(|bundle| bundle.as_bytes()).collect();
            outgoing.follow(wanted, &present, begun + after)
        };
        assert_eq!(follow(&old, &[&old, ""], Duration::ZERO), [old.as_str(), &old]);
        let half = KEPT / 2;
        assert_eq!(follow(&new, &[&old, "", "garbage"], half), [both.as_str(), &new, &new]);
        assert_eq!(follow(new.trim_end(), &[&both], half), [both.as_str()], "each begins a line");
        let nearly = half + KEPT - Duration::from_secs(1);
        assert_eq!(follow(&new, &[&both, &new], nearly), [both.as_str(), &new]);
        assert_eq!(follow(&new, &[&both], half + KEPT), [new.as_str()]);
        assert_eq!(follow(&new, &[&both], half + KEPT), [new.as_str()], "also where it could not be written");
        assert_eq!(follow(&new, &[&new], half + KEPT), [new.as_str()]);
        assert_eq!(follow(&new, &[&both], half + KEPT), [both.as_str()], "somebody has put it there anew");
    }
}
