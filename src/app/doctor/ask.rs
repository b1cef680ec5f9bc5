//! What the cluster is asked: each question once, with an answer within seconds, and nothing that changes anything. (A
//! SubjectAccessReview is created and never stored.)

use std::{fmt::Debug, time::Duration};

use http::{Request, header};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, Client, api::ListParams, client::Body};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::{cluster::review, telemetry::error_chain};

/// For an object.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read: an OpenAPI document of thousands of kinds.
const MAX_ANSWER: usize = 64 << 20;

/// What became of a question for an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked<T> {
    Found(T),
    Missing,
    /// Who asks may not; in the API server's words.
    Refused(String),
    /// No answer.
    Failed(String),
}

/// What became of a GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got {
    Answer(Answer),
    /// For so long.
    Silence(Duration),
    /// kube-apiserver itself cannot be asked.
    Away(String),
}

/// As it came through kube-apiserver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) took: Duration,
}

/// One object.
pub(super) async fn object<K>(api: &Api<K>, name: &str) -> Asked<K>
where
    K: Clone + DeserializeOwned + Debug,
{
    asked(api.get(name)).await
}

/// All objects that a selector of labels selects; none are found, too.
pub(super) async fn objects<K>(api: &Api<K>, labels: &str) -> Asked<Vec<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = ListParams { label_selector: Some(labels.to_owned()), ..ListParams::default() };
    asked(async { api.list(&params).await.map(|list| list.items) }).await
}

/// `GET path` in JSON, as kube-apiserver answers it.
pub(super) async fn get(client: &Client, path: &str, patience: Duration) -> Got {
    let begun = Instant::now();
    let answer = async {
        let request = Request::get(path).header(header::ACCEPT, "application/json").body(Body::empty());
        let response = client.send(request.map_err(|error| error.to_string())?).await;
        let (head, body) = response.map_err(|error| error_chain(&error))?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), body: body.to_vec(), took: begun.elapsed() })
    };
    match timeout(patience, answer).await {
        Ok(Ok(answer)) => Got::Answer(answer),
        Ok(Err(why)) => Got::Away(why),
        Err(_) => Got::Silence(patience),
    }
}

/// Whether somebody may do something; the error: nobody says, and why.
pub(super) async fn may(client: &Client, spec: SubjectAccessReviewSpec) -> Result<bool, String> {
    let question = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let review =
        review::ask(client, "SubjectAccessReview", &question).await.map_err(|error| match error {
            review::Unanswered::Refused { why, .. } => why.to_string(),
            away @ review::Unanswered::Away { .. } => away.to_string(),
        })?;
    Ok(review.status.is_some_and(|status| status.allowed))
}

impl Answer {
    /// The message of a Status, else the text as it is.
    pub(super) fn message(&self) -> String {
        let status: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let message = status.as_ref().and_then(|status| status.get("message")?.as_str());
        match message {
            Some(message) => message.to_owned(),
            None => String::from_utf8_lossy(&self.body[..self.body.len().min(500)]).trim().to_owned(),
        }
    }

    /// Whether it is a Kubernetes Status. kube-apiserver's own failures to forward a request are plain text: a Status that
    /// says 503 is another's, most often Kubridge's.
    pub(super) fn is_status(&self) -> bool {
        let body: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        body.is_some_and(|body| body["kind"] == "Status")
    }
}

async fn asked<T>(question: impl Future<Output = kube::Result<T>>) -> Asked<T> {
    match timeout(PATIENCE, question).await {
        Ok(Ok(found)) => Asked::Found(found),
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 => Asked::Missing,
            401 | 403 => Asked::Refused(status.message.clone()),
            code => Asked::Failed(format!("{code} {}", status.message)),
        },
        Ok(Err(error)) => Asked::Failed(error_chain(&error)),
        Err(_) => Asked::Failed(format!("no answer within {}s", PATIENCE.as_secs())),
    }
}
