//! Who asks, as the cluster knows it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    HeaderMap,
    header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo as ReviewedUser};
use kube::Client;
use kubridge_bridge::proto::{ExtraValue, UserInfo};
use tokio::sync::watch;

use super::{ClientCertificate, Refused, Rejected, bearer, certificate::Chain, front_proxy, known_elsewhere};
use crate::{
    cluster::{AuthenticationConfig, Unanswered, review},
    memo::{Hasher, Memo},
};

/// How long the API server's word on a token is good, whatever it is (as in Kubernetes).
const GOOD: Duration = Duration::from_secs(10);
/// So many tokens.
const CAPACITY: usize = 4096;
/// Before a token, in base64url without padding.
const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// Asks the cluster.
pub(super) struct Delegated {
    client: Client,
    config: watch::Receiver<Arc<AuthenticationConfig>>,
    tokens: Memo<Result<Arc<UserInfo>, Rejected>, Unanswered>,
}

impl std::fmt::Debug for Delegated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delegated").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Delegated {
    pub(super) fn new(client: Client, config: watch::Receiver<Arc<AuthenticationConfig>>) -> Self {
        Self { client, config, tokens: Memo::new(CAPACITY) }
    }

    /// The first of a front proxy's word, a client certificate and a token that is good. `None`: there is none of them.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<Option<Arc<UserInfo>>, Refused> {
        let mut refused = None;
        if let Some(chain) = certificate.and_then(ClientCertificate::chain) {
            match self.by_certificate(headers, chain, now) {
                Ok(user) => return Ok(Some(user)),
                Err(why) => refused = Some(why),
            }
        }
        if let Some(token) = bearer(headers) {
            return Ok(Some(self.by_token(token).await?));
        }
        if let Some(token) = websocket_bearer(headers) {
            let token = token.ok_or(Rejected::UnknownToken)?;
            return Ok(Some(self.by_token(&token).await?));
        }
        refused.map_or(Ok(None), Err)
    }

    /// What the cluster says of CAs and front proxies now.
    pub(super) fn config(&self) -> Arc<AuthenticationConfig> {
        self.config.borrow().clone()
    }

    fn by_certificate(
        &self,
        headers: &HeaderMap,
        chain: &Chain,
        now: SystemTime,
    ) -> Result<Arc<UserInfo>, Refused> {
        let config = self.config();
        if !config.is_known {
            return Err(Refused::CasUnknown);
        }
        let judgement = chain.judge(&config, now);
        if let (Ok(()), Some(proxy)) = (&judgement.front_proxy, &config.front_proxy)
            && let Some(user) = front_proxy::user(proxy, headers)?
        {
            return Ok(Arc::new(user));
        }
        judgement.client.clone().map_err(|_| judgement.rejected().into())
    }

    async fn by_token(&self, token: &str) -> Result<Arc<UserInfo>, Refused> {
        let mut hasher = Hasher::default();
        hasher.part(token.as_bytes());
        let ask = || {
            let (client, token) = (self.client.clone(), token.to_owned());
            async move { Ok((review(&client, token).await?, GOOD)) }
        };
        Ok(self.tokens.get(hasher.key(), ask).await??)
    }
}

/// The token of a browser, which cannot send an Authorization header with a WebSocket: one of the protocols that it asks
/// for. `Some(None)`: there is one that cannot be read, or there are two.
fn websocket_bearer(headers: &HeaderMap) -> Option<Option<String>> {
    headers.get(UPGRADE).filter(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))?;
    let asked = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut tokens =
        asked.flat_map(|value| value.split(',')).filter_map(|one| one.trim().strip_prefix(WEBSOCKET_BEARER));
    let token = tokens.next()?;
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|_| tokens.next().is_none());
    Some(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|token| !token.is_empty()))
}

/// Whose token it is.
async fn review(client: &Client, token: String) -> Result<Result<Arc<UserInfo>, Rejected>, Unanswered> {
    let spec = TokenReviewSpec { token: Some(token), audiences: None };
    let review = TokenReview { spec, ..TokenReview::default() };
    let status = review::ask(client, "TokenReview", &review).await?.status.unwrap_or_default();
    let user = status.user.filter(|_| status.authenticated == Some(true)).map(user);
    let user = user.filter(|user| !user.username.is_empty());
    Ok(user.map(|user| Arc::new(known_elsewhere(user))).ok_or_else(|| {
        let why = status.error.filter(|why| !why.is_empty());
        why.map_or(Rejected::UnknownToken, |why| Rejected::Token(why.into()))
    }))
}

fn user(reviewed: ReviewedUser) -> UserInfo {
    let extra = reviewed.extra.unwrap_or_default();
    let extra: HashMap<_, _> = extra.into_iter().map(|(key, items)| (key, ExtraValue { items })).collect();
    UserInfo {
        username: reviewed.username.unwrap_or_default(),
        uid: reviewed.uid.unwrap_or_default(),
        groups: reviewed.groups.unwrap_or_default(),
        extra,
    }
}

#[cfg(test)]
mod tests;
