#![allow(clippy::unwrap_used)]

use futures::future::join_all;
use http::header::AUTHORIZATION;
use serde_json::json;
use tokio::time::advance;

use super::*;
use crate::{
    authn::{AUTHENTICATED, Authenticator},
    cluster::review::scripted::{ApiServer, answered},
};

/// Knows the token "good".
fn server() -> ApiServer {
    ApiServer::new(|review| {
        let status = match review["spec"]["token"].as_str().unwrap() {
            "good" => json!({"authenticated": true, "user": {
                "username": "system:serviceaccount:default:robot", "uid": "u-1", "groups": ["system:serviceaccounts"],
                "extra": {"pod": ["a", "b"]},
            }}),
            "nameless" => json!({"authenticated": true, "user": {}}),
            "silent" => json!({}),
            _ => json!({"authenticated": false, "error": "invalid bearer token"}),
        };
        answered(review, &status)
    })
}

fn authenticator(server: &ApiServer) -> Authenticator {
    let (_, config) = watch::channel(Arc::default());
    Authenticator::in_cluster(server.client(), config)
}

async fn by(authenticator: &Authenticator, token: &str) -> Result<Arc<UserInfo>, Refused> {
    let headers = [(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())].into_iter().collect();
    authenticator.authenticate(&headers, None, SystemTime::now()).await
}

#[tokio::test(start_paused = true)]
async fn whose_a_token_is() {
    let server = server();
    let authenticator = authenticator(&server);
    let user = by(&authenticator, "good").await.unwrap();
    assert_eq!((user.username.as_str(), user.uid.as_str()), ("system:serviceaccount:default:robot", "u-1"));
    assert_eq!(user.groups, ["system:serviceaccounts", AUTHENTICATED]);
    assert_eq!(user.extra["pod"].items, ["a", "b"]);
    assert_eq!(
        by(&authenticator, "bad").await.unwrap_err(),
        Rejected::Token("invalid bearer token".into()).into()
    );
    for unknown in ["nameless", "silent"] {
        assert_eq!(by(&authenticator, unknown).await.unwrap_err(), Rejected::UnknownToken.into());
    }
    let nobody = authenticator.authenticate(&HeaderMap::new(), None, SystemTime::now()).await.unwrap();
    assert_eq!(nobody.username, "system:anonymous");
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_about_once_in_a_while() {
    let server = server();
    let authenticator = authenticator(&server);
    for token in ["good", "bad"] {
        let before = server.asked().len();
        let all = join_all((0..100).map(|_| by(&authenticator, token))).await;
        assert!(all.iter().all(|known| known.is_ok() == (token == "good")));
        assert_eq!(server.asked().len(), before + 1);
        advance(GOOD).await;
        let _ = by(&authenticator, token).await;
        assert_eq!(server.asked().len(), before + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_api_server_a_token_is_nobodys_and_not_even_nobody() {
    let server = server();
    let authenticator = authenticator(&server);
    by(&authenticator, "good").await.unwrap();
    server.fail();
    by(&authenticator, "good").await.unwrap();
    advance(GOOD).await;
    assert!(matches!(by(&authenticator, "good").await, Err(Refused::Unanswered(_))));
}

#[tokio::test(start_paused = true)]
async fn a_browser_has_its_token_among_the_protocols_of_a_websocket() {
    let server = server();
    let authenticator = authenticator(&server);
    let who = async |upgrade: &str, protocols: &str| {
        let headers = [(UPGRADE, upgrade), (SEC_WEBSOCKET_PROTOCOL, protocols)];
        let headers = headers.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect();
        let known = authenticator.authenticate(&headers, None, SystemTime::now()).await;
        known.map(|user| user.username.clone()).unwrap_or_default()
    };
    let good = format!("{WEBSOCKET_BEARER}{}", URL_SAFE_NO_PAD.encode("good"));
    let robot = "system:serviceaccount:default:robot";
    assert_eq!(who("WebSocket", &format!("v5.channel.k8s.io, {good}")).await, robot);
    assert_eq!(who("websocket", "v5.channel.k8s.io").await, "system:anonymous");
    assert_eq!(who("spdy/3.1", &good).await, "system:anonymous");
    for bad in [&format!("{good}==, x"), &format!("{good},{good}"), WEBSOCKET_BEARER] {
        assert_eq!(who("websocket", bad).await, "", "{bad}");
    }
}
