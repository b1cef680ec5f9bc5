//! Who asks: a client certificate (CN is the user, each O a group), or a bearer token of the token file.
//!
//! What a client says of itself in `X-Remote-*` headers is never looked at.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use http::{HeaderMap, header::AUTHORIZATION};
use kubridge_bridge::proto::{ExtraValue, UserInfo};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

mod tokens;

pub use tokens::{TokenFileError, TokenTable};

/// The user of requests without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of everyone who is known.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Knows the token file, and reads certificates that TLS has verified.
#[derive(Debug)]
pub struct Authenticator {
    tokens: ArcSwap<TokenTable>,
    token_file: Option<PathBuf>,
    anonymous: Arc<UserInfo>,
}

/// The user of a verified client certificate. Made once per connection.
#[derive(Debug, Clone)]
pub struct CertificateUser {
    user: Arc<UserInfo>,
    not_after: SystemTime,
}

/// There are credentials, and they are not good. The text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No such token.
    #[error("unknown bearer token")]
    UnknownToken,
    /// The certificate was good when the connection began.
    #[error("the client certificate has expired")]
    CertificateExpired,
}

impl Authenticator {
    /// Reads the token file, if there is one. Every fault of the file at once.
    pub fn new(token_file: Option<PathBuf>) -> Result<Self, TokenFileError> {
        let tokens = token_file.as_deref().map(TokenTable::read).transpose()?.unwrap_or_default();
        let anonymous = UserInfo {
            username: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..UserInfo::default()
        };
        Ok(Self { tokens: ArcSwap::from_pointee(tokens), token_file, anonymous: Arc::new(anonymous) })
    }

    /// Who asks. No credentials: `system:anonymous`. `certificate` is the connection's.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&CertificateUser>,
        now: SystemTime,
    ) -> Result<Arc<UserInfo>, Rejected> {
        let mut rejected = None;
        if let Some(certificate) = certificate {
            if now <= certificate.not_after {
                return Ok(certificate.user.clone());
            }
            rejected = Some(Rejected::CertificateExpired);
        }
        if let Some(token) = bearer(headers) {
            return self.tokens.load().find(token).cloned().ok_or(Rejected::UnknownToken);
        }
        rejected.map_or_else(|| Ok(self.anonymous.clone()), Err)
    }

    /// Reads the token file again if it has changed; whether it had. On an error the old tokens stay good.
    pub fn reload(&self) -> Result<bool, TokenFileError> {
        let Some(file) = &self.token_file else { return Ok(false) };
        let fresh = TokenTable::read(file)?;
        if *self.tokens.load_full() == fresh {
            return Ok(false);
        }
        self.tokens.store(Arc::new(fresh));
        Ok(true)
    }
}

impl CertificateUser {
    /// The user of a certificate that TLS has verified; `None` when it has no common name, or cannot be read.
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

// Whoever is known belongs to system:authenticated, and to it only once.
fn authenticated(mut user: UserInfo) -> UserInfo {
    if !user.groups.iter().any(|g| g == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
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
