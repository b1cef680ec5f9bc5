//! How an HTTPS backend is: asked for its resource list as kube-aggregator asks, but by one probe instead of five, and
//! only while no traffic tells.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use http::{HeaderValue, Request, StatusCode, header};
use tokio::{sync::watch, time::timeout};

use super::{
    probe::{Availability, Senses},
    tracker::{Outcome, Settings},
};
use crate::upstream::Backend;

/// How long an answer may take: kube-aggregator's 5 s.
const PATIENCE: Duration = Duration::from_secs(5);

impl Availability {
    /// Watches over an HTTPS backend. The future is the loop: to be spawned, and dropped with the backend.
    ///
    /// `url` is the backend's as conditions name it (`https://api.wardle.svc:443`); `path` where the resource list is
    /// that is asked for ([`probe_path`]), of any APIService of the backend. `ask` sends a request, drains the answer's
    /// body and gives its status; the error is for conditions. What it sends must not count as traffic.
    pub fn https<F, A>(
        backend: &Backend,
        url: String,
        path: watch::Receiver<String>,
        ask: F,
        settings: Settings,
    ) -> (Self, impl Future<Output = ()> + Send + use<F, A>)
    where
        F: Fn(Request<()>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<StatusCode, String>> + Send + 'static,
    {
        let senses = Senses {
            state: backend.state(),
            traffic: backend.traffic(),
            // It says nothing by itself.
            health: stream::pending().boxed(),
            probe: Box::new(move || {
                let path = path.borrow().clone();
                let asked: Arc<str> = format!("{url}{path}").into();
                match request(&path) {
                    Ok(request) => {
                        let answer = ask(request);
                        Box::pin(async move { outcome(&asked, timeout(PATIENCE, answer).await.ok()) })
                    }
                    Err(error) => Box::pin(async move { Outcome::Failed(error.to_string().into()) }),
                }
            }),
        };
        Self::new(senses, settings)
    }
}

/// Where the resource list of a group and version is; the core group's name is empty.
pub fn probe_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// As kube-aggregator asks: backends' authorization knows this user.
fn request(path: &str) -> Result<Request<()>, http::Error> {
    Request::get(path)
        .header("x-remote-user", HeaderValue::from_static("system:kube-aggregator"))
        .header("x-remote-group", HeaderValue::from_static("system:masters"))
        .header(header::USER_AGENT, HeaderValue::from_static(concat!("kubridge/", env!("CARGO_PKG_VERSION"))))
        .body(())
}

/// In kube-aggregator's words. Not in time: none.
fn outcome(asked: &str, answer: Option<Result<StatusCode, String>>) -> Outcome {
    match answer {
        Some(Ok(status)) if status.is_success() => Outcome::Ok,
        Some(Ok(status)) => Outcome::Failed(format!("bad status from {asked}: {}", status.as_u16()).into()),
        Some(Err(error)) => Outcome::Failed(error.into()),
        None => Outcome::Failed(format!("timed out waiting for {asked}").into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::{sync::mpsc, time::Instant};

    use super::*;
    use crate::{
        availability::{Cause, Verdict},
        upstream::{Endpoint, Options, TlsOptions},
    };

    #[test]
    fn a_probe_is_kube_aggregators() {
        assert_eq!(probe_path("wardle.example.com", "v1"), "/apis/wardle.example.com/v1");
        assert_eq!(probe_path("", "v1"), "/api/v1");
        let request = request("/apis/a.b/v1").unwrap();
        assert_eq!((request.method().as_str(), request.uri().path()), ("GET", "/apis/a.b/v1"));
        assert_eq!(request.headers()["x-remote-user"], "system:kube-aggregator");
        assert_eq!(
            request.headers().get_all("x-remote-group").iter().collect::<Vec<_>>(),
            ["system:masters"]
        );
        assert!(!request.headers().contains_key("accept"));
    }

    #[test]
    fn only_2xx_is_an_answer_of_a_backend_in_working_order() {
        let failed = |text: &str| Outcome::Failed(text.into());
        for (answer, wanted) in [
            (Some(Ok(StatusCode::OK)), Outcome::Ok),
            (Some(Ok(StatusCode::NO_CONTENT)), Outcome::Ok),
            (Some(Ok(StatusCode::FOUND)), failed("bad status from https://h:1/apis/a.b/v1: 302")),
            (Some(Ok(StatusCode::NOT_FOUND)), failed("bad status from https://h:1/apis/a.b/v1: 404")),
            (Some(Err("reset".into())), failed("reset")),
            (None, failed("timed out waiting for https://h:1/apis/a.b/v1")),
        ] {
            assert_eq!(outcome("https://h:1/apis/a.b/v1", answer), wanted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_of_the_path_of_the_moment_and_none_waits_for_ever() {
        let endpoint = Endpoint::parse("grpc://127.0.0.1:1").unwrap();
        let backend = Backend::new(endpoint, &TlsOptions::default(), Options::default()).unwrap();
        let (to, path) = watch::channel(probe_path("a.b", "v1"));
        let (tell, mut asked) = mpsc::channel(16);
        let (answer, answers) = watch::channel(None);
        let ask = move |request: Request<()>| {
            tell.try_send(request.uri().path().to_owned()).unwrap();
            let answer: Option<u16> = *answers.borrow();
            async move {
                match answer {
                    Some(status) => Ok(StatusCode::from_u16(status).unwrap()),
                    None => std::future::pending().await,
                }
            }
        };
        let settings = Settings::default();
        let (availability, run) = Availability::https(&backend, "https://h:1".into(), path, ask, settings);
        tokio::spawn(run);
        let mut verdict = availability.verdict();
        let start = Instant::now();
        assert_eq!(asked.recv().await.unwrap(), "/apis/a.b/v1");
        to.send_replace(probe_path("a.b", "v2"));
        assert_eq!(asked.recv().await.unwrap(), "/apis/a.b/v2");
        assert_eq!(start.elapsed().as_secs(), 6, "5 s without an answer, and a second's pause");
        let said = verdict.wait_for(Verdict::is_unavailable).await.unwrap().clone();
        let Verdict::Unavailable { cause, message, .. } = said else { panic!() };
        assert_eq!((cause, &*message), (Cause::Probe, "timed out waiting for https://h:1/apis/a.b/v2"));
        answer.send_replace(Some(200));
        verdict.wait_for(|verdict| matches!(verdict, Verdict::Available { .. })).await.unwrap();
    }
}
