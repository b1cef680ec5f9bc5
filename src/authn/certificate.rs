//! The certificate of a connection, and whose it is.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use kubridge_bridge::proto::{ExtraValue, UserInfo};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Rejected, authenticated};
use crate::cluster::AuthenticationConfig;

const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// A long connection's certificate is looked at again: one of those between it and the CA may have expired.
const GOOD: Duration = Duration::from_secs(60);

/// The certificate that a connection has shown. Made once per connection.
#[derive(Debug)]
pub struct ClientCertificate(Kind);

#[derive(Debug)]
enum Kind {
    /// TLS has verified it.
    Verified(CertificateUser),
    /// The client has its key; what it is worth is found out here.
    Shown(Chain),
}

/// The user of a verified client certificate.
#[derive(Debug, Clone)]
pub struct CertificateUser {
    pub(super) user: Arc<UserInfo>,
    pub(super) not_after: SystemTime,
}

/// A client's certificate and those that lie between it and a CA, and what was found of them.
#[derive(Debug)]
pub(super) struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    judgement: ArcSwapOption<Judgement>,
}

/// What a chain is worth to the cluster.
#[derive(Debug)]
pub(super) struct Judgement {
    config: Arc<AuthenticationConfig>,
    since: SystemTime,
    until: SystemTime,
    /// Whether it is a front proxy's; why not.
    pub(super) front_proxy: Result<(), String>,
    /// Which client's it is; why nobody's.
    pub(super) client: Result<Arc<UserInfo>, String>,
    common_name: String,
}

impl ClientCertificate {
    pub(super) fn verified(user: CertificateUser) -> Self {
        Self(Kind::Verified(user))
    }

    pub(super) fn shown(chain: &[CertificateDer<'_>]) -> Self {
        let certificates = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Self(Kind::Shown(Chain { certificates, judgement: ArcSwapOption::empty() }))
    }

    /// Of one that TLS has verified.
    pub(super) fn user(&self) -> Option<&CertificateUser> {
        match &self.0 {
            Kind::Verified(user) => Some(user),
            Kind::Shown(_) => None,
        }
    }

    /// Of one that TLS has not verified.
    pub(super) fn chain(&self) -> Option<&Chain> {
        match &self.0 {
            Kind::Verified(_) => None,
            Kind::Shown(chain) => Some(chain),
        }
    }
}

impl CertificateUser {
    /// The user of a verified certificate; `None` when it has no common name, or cannot be read.
    pub fn new(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let subject = parsed.subject();
        let username = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        if username.is_empty() {
            return None;
        }
        let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
        let digest: String = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect();
        let credential = ExtraValue { items: vec![format!("X509SHA256={digest}")] };
        let extra = [(CREDENTIAL_ID.to_owned(), credential)].into();
        let user = UserInfo { username, groups, extra, ..UserInfo::default() };
        let not_after = parsed.validity().not_after.to_datetime().into();
        Some(Self { user: Arc::new(authenticated(user)), not_after })
    }
}

impl Chain {
    /// What it is worth by this configuration at this moment. Found out anew when the configuration is another one, and
    /// after a while.
    pub(super) fn judge(&self, config: &Arc<AuthenticationConfig>, now: SystemTime) -> Arc<Judgement> {
        let last = self.judgement.load_full();
        if let Some(last) = last.filter(|last| last.holds(config, now)) {
            return last;
        }
        let fresh = Arc::new(Judgement::new(&self.certificates, config, now));
        if let (Err(_), Err(_)) = (&fresh.front_proxy, &fresh.client) {
            let reason = fresh.rejected().to_string();
            tracing::info!(
                common_name = fresh.common_name,
                reason,
                "a client certificate is worth nothing here"
            );
        }
        self.judgement.store(Some(Arc::clone(&fresh)));
        fresh
    }
}

impl Judgement {
    fn new(chain: &[CertificateDer<'static>], config: &Arc<AuthenticationConfig>, now: SystemTime) -> Self {
        let user = chain.first().and_then(CertificateUser::new);
        let common_name = user.as_ref().map(|user| user.user.username.clone()).unwrap_or_default();
        let front_proxy = match &config.front_proxy {
            None => Err("the cluster has no front proxies".to_owned()),
            Some(proxy) => match proxy.authority.verify(chain, now) {
                Err(error) => Err(error.to_string()),
                Ok(()) if proxy.allowed_names.is_empty() || proxy.allowed_names.contains(&common_name) => {
                    Ok(())
                }
                Ok(()) => Err(format!(
                    "its common name {common_name:?} is none of --requestheader-allowed-names {:?}",
                    proxy.allowed_names
                )),
            },
        };
        let client = match &config.clients {
            None => Err("the cluster has no CA of clients".to_owned()),
            Some(authority) => authority.verify(chain, now).map_err(|error| error.to_string()),
        };
        let not_after = user.as_ref().map(|user| user.not_after);
        let user = user.map(|user| user.user).ok_or_else(|| "it has no common name".to_owned());
        let soon = now + GOOD;
        Self {
            config: Arc::clone(config),
            since: now,
            // One that is over already stays so.
            until: not_after.filter(|end| now <= *end).map_or(soon, |end| soon.min(end)),
            front_proxy,
            client: client.and(user),
            common_name,
        }
    }

    fn holds(&self, config: &Arc<AuthenticationConfig>, now: SystemTime) -> bool {
        Arc::ptr_eq(&self.config, config) && self.since <= now && now <= self.until
    }

    /// Why it is worth nothing for a request.
    pub(super) fn rejected(&self) -> Rejected {
        let front_proxy = match &self.front_proxy {
            Ok(()) => "the front proxy's certificate is good, but the request names no user in its headers"
                .to_owned(),
            Err(why) => format!("the client certificate is no front proxy's: {why}"),
        };
        let client = self.client.as_ref().err().map_or("", String::as_str);
        Rejected::Certificate(format!("{front_proxy}; and no client's of the cluster: {client}").into())
    }
}
