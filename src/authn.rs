//! Who asks.
//!
//! Standalone: a client certificate (CN is the user, each O a group), or a bearer token of the token file. What a client
//! says of itself in `X-Remote-*` headers is never looked at.
//!
//! In a cluster: a front proxy speaks for somebody in the headers that the cluster has agreed on, a client certificate of
//! the cluster's CA is a user, and the API server knows whose a bearer token is.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use kube::Client;
use kubridge_bridge::proto::UserInfo;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

mod certificate;
mod delegated;
mod front_proxy;
mod tokens;

pub use certificate::{CertificateUser, ClientCertificate};
pub use tokens::{TokenFileError, TokenTable};

use crate::cluster::{AuthenticationConfig, Unanswered};
use delegated::Delegated;

/// The user of requests without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of everyone who is known.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Finds out who asks.
#[derive(Debug)]
pub struct Authenticator {
    means: Means,
    anonymous: Arc<UserInfo>,
}

#[derive(Debug)]
enum Means {
    Standalone(Standalone),
    Cluster(Box<Delegated>),
}

/// Knows the token file, and reads certificates that TLS has verified.
#[derive(Debug)]
struct Standalone {
    tokens: ArcSwap<TokenTable>,
    token_file: Option<PathBuf>,
}

/// Why it is not known who asks. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are credentials, and they are not good.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The API server knows, and does not say.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// There is a certificate, and nobody has said yet whose CA is to be believed.
    #[error(
        "which CAs the cluster trusts is not known yet: its extension-apiserver-authentication was not read"
    )]
    CasUnknown,
}

/// There are credentials, and they are not good. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No such token.
    #[error("unknown bearer token")]
    UnknownToken,
    /// The API server does not know it.
    #[error("the API server refuses the bearer token: {0}")]
    Token(Arc<str>),
    /// The certificate was good when the connection began.
    #[error("the client certificate has expired")]
    CertificateExpired,
    /// Nobody whom the cluster trusts says whose it is; why.
    #[error("{0}")]
    Certificate(Arc<str>),
    /// A front proxy's header cannot be read.
    #[error("the front proxy's header {0} is not UTF-8")]
    Header(HeaderName),
}

impl Authenticator {
    /// Standalone. Reads the token file, if there is one. Every fault of the file at once.
    pub fn new(token_file: Option<PathBuf>) -> Result<Self, TokenFileError> {
        let tokens = token_file.as_deref().map(TokenTable::read).transpose()?.unwrap_or_default();
        Ok(Self::by(Means::Standalone(Standalone { tokens: ArcSwap::from_pointee(tokens), token_file })))
    }

    /// In a cluster: `config` is what it says of CAs and front proxies, the API server behind `client` knows tokens.
    pub fn in_cluster(client: Client, config: watch::Receiver<Arc<AuthenticationConfig>>) -> Self {
        Self::by(Means::Cluster(Box::new(Delegated::new(client, config))))
    }

    fn by(means: Means) -> Self {
        let anonymous = UserInfo {
            username: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..UserInfo::default()
        };
        Self { means, anonymous: Arc::new(anonymous) }
    }

    /// Whether it verifies certificates: TLS then takes any of which the client has the key. Otherwise TLS has to.
    pub fn verifies_certificates(&self) -> bool {
        matches!(self.means, Means::Cluster(_))
    }

    /// The certificate that a connection has shown, the client's own first; `None` when there is none, or when it names
    /// nobody.
    pub fn certificate(&self, chain: &[CertificateDer<'_>]) -> Option<ClientCertificate> {
        let own = chain.first()?;
        match self.means {
            Means::Standalone(_) => CertificateUser::new(own).map(ClientCertificate::verified),
            Means::Cluster(_) => Some(ClientCertificate::shown(chain)),
        }
    }

    /// Who asks. No credentials: `system:anonymous`. `certificate` is the connection's.
    ///
    /// # Errors
    /// The credentials are not good, or the cluster does not say whether they are.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<Arc<UserInfo>, Refused> {
        let known = match &self.means {
            Means::Standalone(standalone) => standalone.authenticate(headers, certificate, now)?,
            Means::Cluster(cluster) => cluster.authenticate(headers, certificate, now).await?,
        };
        Ok(known.unwrap_or_else(|| self.anonymous.clone()))
    }

    /// Removes what says who asks, or might to somebody else, and the secret that it was proved with.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let config = match &self.means {
            Means::Standalone(_) => None,
            Means::Cluster(cluster) => Some(cluster.config()),
        };
        let proxy = config.as_ref().and_then(|config| config.front_proxy.as_ref());
        let is_about_caller = |name: &HeaderName| {
            *name == AUTHORIZATION
                || name.as_str().starts_with("x-remote-")
                || proxy.is_some_and(|proxy| front_proxy::is_about_caller(proxy, name))
        };
        let said: Vec<HeaderName> = headers.keys().filter(|name| is_about_caller(name)).cloned().collect();
        for name in said {
            headers.remove(name);
        }
    }

    /// Reads the token file again if it has changed; whether it had. On an error the old tokens stay good.
    pub fn reload(&self) -> Result<bool, TokenFileError> {
        match &self.means {
            Means::Standalone(standalone) => standalone.reload(),
            Means::Cluster(_) => Ok(false),
        }
    }
}

impl Standalone {
    fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<Option<Arc<UserInfo>>, Rejected> {
        let mut rejected = None;
        if let Some(certificate) = certificate.and_then(ClientCertificate::user) {
            if now <= certificate.not_after {
                return Ok(Some(certificate.user.clone()));
            }
            rejected = Some(Rejected::CertificateExpired);
        }
        if let Some(token) = bearer(headers) {
            return self.tokens.load().find(token).cloned().map(Some).ok_or(Rejected::UnknownToken);
        }
        rejected.map_or(Ok(None), Err)
    }

    fn reload(&self) -> Result<bool, TokenFileError> {
        let Some(file) = &self.token_file else { return Ok(false) };
        let fresh = TokenTable::read(file)?;
        if *self.tokens.load_full() == fresh {
            return Ok(false);
        }
        self.tokens.store(Arc::new(fresh));
        Ok(true)
    }
}

// Whoever is known belongs to system:authenticated, and to it only once.
fn authenticated(mut user: UserInfo) -> UserInfo {
    if !user.groups.iter().any(|g| g == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

// Somebody else says who it is: it may be somebody who is not known there either.
fn known_elsewhere(user: UserInfo) -> UserInfo {
    let is_unknown = user.username == ANONYMOUS || user.groups.iter().any(|g| g == UNAUTHENTICATED);
    if is_unknown { user } else { authenticated(user) }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?;
    // A token that is not text is a token that nobody has.
    let Ok(value) = value.to_str() else { return Some("\u{fffd}") };
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim_start().split(' ').next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests;
