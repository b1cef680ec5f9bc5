//! An API server of a test: it answers by a function.

#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::{Client, client::Body};
use serde_json::{Value, json};

type Answer = dyn Fn(&Value) -> Option<(u16, Value)> + Send + Sync;

/// What is asked of it, and how it answers.
#[derive(Clone)]
pub(crate) struct ApiServer {
    answer: Arc<Mutex<Arc<Answer>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl ApiServer {
    /// Answers a review (JSON) with a code and a document, or not at all.
    pub(crate) fn new(answer: impl Fn(&Value) -> Option<(u16, Value)> + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(Mutex::new(Arc::new(answer))), asked: Arc::default() }
    }

    /// From now on.
    pub(crate) fn answer(&self, answer: impl Fn(&Value) -> Option<(u16, Value)> + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    /// It is away from now on.
    pub(crate) fn fail(&self) {
        self.answer(|_| Some((503, status(503, "the server is currently unable to handle the request"))));
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.respond(request).await) }
        });
        Client::new(service, "default")
    }

    async fn respond(&self, request: Request<Body>) -> Response<Full<Bytes>> {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let review: Value = serde_json::from_slice(&body).unwrap();
        self.asked.lock().unwrap().push(review.clone());
        let answer = Arc::clone(&self.answer.lock().unwrap());
        let Some((code, document)) = answer(&review) else { return pending().await };
        let body = Full::from(document.to_string());
        Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
    }
}

/// A `metav1.Status` of a failure.
pub(crate) fn status(code: u16, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "Whatever", "code": code,
    })
}

/// A review with its status.
pub(crate) fn answered(review: &Value, status: &Value) -> Option<(u16, Value)> {
    let mut review = review.clone();
    review["status"] = status.clone();
    Some((201, review))
}
