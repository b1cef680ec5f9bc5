#![allow(clippy::unwrap_used)]

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use serde_json::json;
use tokio::time::Instant;

use super::{
    scripted::{ApiServer, answered, status},
    *,
};

fn review() -> TokenReview {
    let spec = TokenReviewSpec { token: Some("t".into()), audiences: None };
    TokenReview { spec, ..TokenReview::default() }
}

async fn put(server: &ApiServer) -> Result<TokenReview, Unanswered> {
    ask(&server.client(), "TokenReview", &review()).await
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_for_a_moment_is_asked_again() {
    let server = ApiServer::new(|_| Some((500, status(500, "not yet"))));
    let error = put(&server).await.unwrap_err();
    assert_eq!(error.to_string(), "the API server does not answer a TokenReview: 500 not yet");
    assert_eq!(server.asked().len(), 3);

    let (again, times) = (server.clone(), 5);
    server.answer(move |review| {
        if again.asked().len() < times {
            return Some((429, status(429, "slowly")));
        }
        answered(review, &json!({"authenticated": true}))
    });
    let review = put(&server).await.unwrap();
    assert_eq!(review.status.unwrap().authenticated, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_let_us_ask_is_asked_once_and_the_mend_is_told() {
    let server = ApiServer::new(|_| Some((403, status(403, "tokenreviews is forbidden"))));
    let error = put(&server).await.unwrap_err().to_string();
    assert!(
        error.contains("403 tokenreviews is forbidden (bind the ClusterRole system:auth-delegator"),
        "{error}"
    );
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_not_waited_for_long() {
    let server = ApiServer::new(|_| None);
    let begun = Instant::now();
    let error = put(&server).await.unwrap_err().to_string();
    assert!(error.contains("no answer within 5s"), "{error}");
    assert_eq!(begun.elapsed(), PATIENCE);
}
