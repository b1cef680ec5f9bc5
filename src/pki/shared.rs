//! The CA that all replicas in a cluster share: kept in a Secret, followed by a new one before it expires.
//!
//! The Secret has `ca.pem` (the authority that signs: certificate and key), `ca.crt` (every authority to be trusted) and,
//! while one follows the other, `next.pem`. Nothing is signed by an authority that is not trusted everywhere yet: a new
//! one is first trusted, then signs.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{
    PkiError,
    issue::{self, Authority},
};
use crate::data_dir::{DataDir, create_private_dir, read_text, write_private};

const SIGNS: &str = "ca.pem";
const TRUSTED: &str = "ca.crt";
const NEXT: &str = "next.pem";
/// A new authority is made so long before the present one expires.
const FOLLOW_BEFORE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How often a Secret that somebody else writes at the same time is read again.
const ATTEMPTS: usize = 5;

/// The Secret, and the file that [`super::Pki`] signs with.
#[derive(Clone)]
pub struct SharedCa {
    api: Api<Secret>,
    name: String,
    file: PathBuf,
}

/// What kube-apiserver must trust to trust this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// PEM: every authority that has signed a certificate that is shown somewhere, or is about to.
    pub bundle: String,
    /// A new authority waits for everybody to trust [`Self::bundle`]: then tell [`SharedCa::sync`].
    pub is_awaited: bool,
}

/// Why the shared CA is not there.
#[derive(Debug, thiserror::Error)]
pub enum SharedCaError {
    /// The API server does not answer, or does not allow it.
    #[error(
        "the Secret {0} cannot be read or written: {1} (the service account needs get, create and update on secrets in \
         its namespace)"
    )]
    Api(String, #[source] Box<kube::Error>),
    /// Somebody else wrote it each time.
    #[error("the Secret {0} is written by somebody else all the time")]
    Contended(String),
    /// What it holds cannot be used.
    #[error(
        "the Secret {name} {problem}: restore it, or delete it to have a new CA made (gRPC backends that trust the old \
         one then need the new ca.crt)"
    )]
    Corrupt {
        /// The Secret.
        name: String,
        /// Which key, and what is wrong.
        problem: String,
    },
    /// The file cannot be written, or no authority can be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

type Data = BTreeMap<String, ByteString>;

impl SharedCa {
    /// Of the Secret `namespace`/`name`.
    ///
    /// # Errors
    /// The directory of the file cannot be made.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        data_dir: &DataDir,
    ) -> Result<Self, SharedCaError> {
        let dir = data_dir.join("pki");
        create_private_dir(&dir).map_err(PkiError::from)?;
        Ok(Self { api: Api::namespaced(client, namespace), name: name.to_owned(), file: dir.join(SIGNS) })
    }

    /// Brings the Secret up to date where there is something to do, and the file to what the Secret says. `spread`: the
    /// bundle that everybody is known to trust.
    ///
    /// # Errors
    /// See [`SharedCaError`]. The file stays as it was.
    pub async fn sync(&self, spread: &str, now: SystemTime) -> Result<Trust, SharedCaError> {
        let failed = |error| SharedCaError::Api(self.name.clone(), Box::new(error));
        for _ in 0..ATTEMPTS {
            let secret = self.api.get_opt(&self.name).await.map_err(failed)?;
            let data = secret.as_ref().and_then(|secret| secret.data.clone()).unwrap_or_default();
            let Some(new) = turn(&data, spread, now).map_err(|fault| self.told(fault))? else {
                return self.take(&data);
            };
            let written = match secret {
                None => self.api.create(&PostParams::default(), &self.made(new.clone())).await,
                Some(secret) => {
                    let secret = Secret { data: Some(new.clone()), ..secret };
                    self.api.replace(&self.name, &PostParams::default(), &secret).await
                }
            };
            match written {
                Ok(_) => return self.take(&new),
                // Another replica was first: what it wrote is ours.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(SharedCaError::Contended(self.name.clone()))
    }

    /// The file becomes what the Secret says.
    fn take(&self, data: &Data) -> Result<Trust, SharedCaError> {
        let signs = text(data, SIGNS).map_err(|problem| self.told(Fault::Corrupt(problem)))?;
        if read_text(&self.file).map_err(PkiError::from)?.as_deref() != Some(signs) {
            write_private(&self.file, signs.as_bytes()).map_err(PkiError::from)?;
            tracing::info!(secret = self.name, "took over the cluster's certificate authority");
        }
        let bundle = text(data, TRUSTED).map_err(|problem| self.told(Fault::Corrupt(problem)))?.to_owned();
        Ok(Trust { bundle, is_awaited: data.contains_key(NEXT) })
    }

    fn made(&self, data: Data) -> Secret {
        Secret {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            type_: Some("Opaque".to_owned()),
            data: Some(data),
            ..Secret::default()
        }
    }

    fn told(&self, fault: Fault) -> SharedCaError {
        match fault {
            Fault::Corrupt(problem) => SharedCaError::Corrupt { name: self.name.clone(), problem },
            Fault::Issue(error) => SharedCaError::Pki(error.into()),
        }
    }
}

impl std::fmt::Debug for SharedCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedCa").field("name", &self.name).field("file", &self.file).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Fault {
    Corrupt(String),
    Issue(rcgen::Error),
}

/// What the Secret is to hold next; nothing: what it holds.
fn turn(data: &Data, spread: &str, now: SystemTime) -> Result<Option<Data>, Fault> {
    if data.is_empty() {
        let (authority, signs) = Authority::make(now).map_err(Fault::Issue)?;
        let pairs = [(SIGNS, signs), (TRUSTED, authority.certificate_pem())];
        return Ok(Some(pairs.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).into()));
    }
    let authority = |key: &str| {
        let parsed = Authority::parse(text(data, key).map_err(Fault::Corrupt)?);
        parsed.map_err(|problem| Fault::Corrupt(format!("has a {key} that {problem}")))
    };
    let signs = authority(SIGNS)?;
    let trusted = certificates(text(data, TRUSTED).map_err(Fault::Corrupt)?)?;
    let mut new = data.clone();
    // What has expired is trusted by nobody anyway.
    let mut kept: Vec<_> =
        trusted.iter().filter(|certificate| !issue::has_expired(certificate, now)).cloned().collect();
    if !kept.contains(signs.certificate()) {
        kept.push(signs.certificate().clone());
    }
    if data.contains_key(NEXT) {
        let next = authority(NEXT)?;
        if certificates(spread)?.contains(next.certificate()) {
            let next = new.remove(NEXT);
            new.extend(next.map(|next| (SIGNS.to_owned(), next)));
        } else if !kept.contains(next.certificate()) {
            kept.push(next.certificate().clone());
        }
    } else if signs.not_after() <= now + FOLLOW_BEFORE {
        let (next, text) = Authority::make(now).map_err(Fault::Issue)?;
        new.insert(NEXT.to_owned(), ByteString(text.into_bytes()));
        kept.push(next.certificate().clone());
    }
    if kept != trusted {
        let bundle: String = kept.iter().map(|certificate| issue::pem("CERTIFICATE", certificate)).collect();
        new.insert(TRUSTED.to_owned(), ByteString(bundle.into_bytes()));
    }
    Ok((new != *data).then_some(new))
}

fn text<'a>(data: &'a Data, key: &str) -> Result<&'a str, String> {
    let value = data.get(key).ok_or_else(|| format!("has no {key}"))?;
    std::str::from_utf8(&value.0).map_err(|_| format!("has a {key} that is no text"))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
    read.map_err(|_| Fault::Corrupt(format!("has a {TRUSTED} that is not PEM, or is cut off")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    fn bundle(data: &Data) -> Vec<CertificateDer<'static>> {
        certificates(text(data, TRUSTED).unwrap()).unwrap()
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_signs_and_the_old_one_until_it_expires() {
        let start = SystemTime::now();
        let first = turn(&Data::new(), "", start).unwrap().unwrap();
        assert_eq!(bundle(&first).len(), 1);
        assert_eq!(turn(&first, "", start).unwrap(), None, "nothing to do");
        assert_eq!(turn(&first, "", start + 8 * YEAR).unwrap(), None, "nothing to do yet");

        let late = start + 9 * YEAR + YEAR / 2;
        let followed = turn(&first, "", late).unwrap().unwrap();
        assert_eq!((followed.get(SIGNS), bundle(&followed).len()), (first.get(SIGNS), 2));
        let old = text(&first, TRUSTED).unwrap();
        assert_eq!(turn(&followed, old, late).unwrap(), None, "not everybody trusts it yet");

        let both = text(&followed, TRUSTED).unwrap();
        let turned = turn(&followed, both, late).unwrap().unwrap();
        assert_eq!(turned.get(SIGNS), followed.get(NEXT));
        assert_eq!(
            (turned.contains_key(NEXT), bundle(&turned).len()),
            (false, 2),
            "old certificates are still shown"
        );

        let over = turn(&turned, both, start + 10 * YEAR + YEAR / 2).unwrap().unwrap();
        assert_eq!(bundle(&over), bundle(&turned)[1..]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let good = turn(&Data::new(), "", SystemTime::now()).unwrap().unwrap();
        for (key, value, part) in [
            (SIGNS, Some(&b"garbage"[..]), "has a ca.pem that has no complete certificate in PEM"),
            (SIGNS, None, "has no ca.pem"),
            (TRUSTED, Some(&b"\xff"[..]), "has a ca.crt that is no text"),
            (TRUSTED, Some(b"-----BEGIN CERTIFICATE-----\nAA"), "has a ca.crt that is not PEM"),
            (NEXT, Some(b""), "has a next.pem that has no complete certificate"),
        ] {
            let mut data = good.clone();
            match value {
                Some(value) => drop(data.insert(key.to_owned(), ByteString(value.to_vec()))),
                None => drop(data.remove(key)),
            }
            match turn(&data, "", SystemTime::now()) {
                Err(Fault::Corrupt(problem)) => assert!(problem.contains(part), "{problem}"),
                other => panic!("{key}: {other:?}"),
            }
        }
    }
}
