//! Questions that a cluster's API server answers at once: its reviews of tokens and of access.

use std::{fmt::Debug, sync::Arc, time::Duration};

use kube::{Api, Client, Resource, api::PostParams, core::ClusterResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{sleep, timeout};

use crate::telemetry::error_chain;

/// How long a review may take, attempts that failed included.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Before the second attempt and before the third. A review changes nothing: it may be sent again.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// The API server did not answer a review. The text is for the log, and names the mend where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It cannot be reached, or fails.
    #[error("the API server does not answer a {kind}: {why}")]
    Away {
        /// "TokenReview".
        kind: &'static str,
        /// Of the last attempt.
        why: Arc<str>,
    },
    /// It answers that we may not ask.
    #[error(
        "the API server refuses a {kind}: {why} (bind the ClusterRole system:auth-delegator to Kubridge's service account)"
    )]
    Refused {
        /// "SubjectAccessReview".
        kind: &'static str,
        /// In its words.
        why: Arc<str>,
    },
}

/// Asks the API server, and again when it is away for a moment.
///
/// # Errors
/// It has not answered within [`PATIENCE`], or not with a review.
pub async fn ask<K>(client: &Client, kind: &'static str, review: &K) -> Result<K, Unanswered>
where
    K: Resource<Scope = ClusterResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api = Api::<K>::all(client.clone());
    let asked = async {
        let mut pauses = PAUSES.into_iter();
        loop {
            let error = match api.create(&PostParams::default(), review).await {
                Ok(review) => return Ok(review),
                Err(error) => error,
            };
            let why = Arc::from(why(&error));
            if let kube::Error::Api(status) = &error
                && matches!(status.code, 401 | 403)
            {
                return Err(Unanswered::Refused { kind, why });
            }
            match pauses.next().filter(|_| passes(&error)) {
                Some(pause) => sleep(pause).await,
                None => return Err(Unanswered::Away { kind, why }),
            }
        }
    };
    let too_late =
        |_| Err(Unanswered::Away { kind, why: format!("no answer within {}s", PATIENCE.as_secs()).into() });
    timeout(PATIENCE, asked).await.unwrap_or_else(too_late)
}

fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.message),
        error => error_chain(error),
    }
}

/// Whether it may be another answer a moment later.
fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;
