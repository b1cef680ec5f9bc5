//! What is asked of an HTTPS backend, in whose name, how often, and what is made of bad answers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Response, header};
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Asker, Backend, DocumentError, Documents, DocumentsPace, DocumentsWatcher, Endpoint, GroupVersion,
        OpenApiState, TlsOptions, VersionDocuments, Wanted,
    },
    support::{Exchange, options, send, serve_connection},
};
use crate::registry::Protocol;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const JSON: &str = "application/json";
const V3: &str = "/openapi/v3/apis/echo.example.com/v1?hash=";

/// A page: its status, media type, ETag and text.
type Page = (u16, &'static str, &'static str, String);

/// An API server of pages, and what it was asked.
#[derive(Debug, Clone, Default)]
struct Pages {
    pages: Arc<Mutex<HashMap<String, Page>>>,
    asked: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl Pages {
    fn put(&self, path: &str, status: u16, media: &'static str, etag: &'static str, text: &str) {
        self.pages.lock().unwrap().insert(path.to_owned(), (status, media, etag, text.to_owned()));
    }

    fn remove(&self, path: &str) {
        self.pages.lock().unwrap().remove(path);
    }

    /// Paths, users and ETags since the last time.
    fn asked(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// How often it was asked for a path since the last time.
    fn count(&self, path: &str) -> usize {
        self.asked().into_iter().filter(|(asked, ..)| asked == path).count()
    }

    async fn answer(self, mut exchange: Exchange) {
        let head = |name: header::HeaderName| {
            let value = exchange.request.headers().get(name);
            value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        };
        let path = exchange.request.uri().path_and_query().unwrap().as_str().to_owned();
        let (user, tag) = (head("x-remote-user".parse().unwrap()), head(header::IF_NONE_MATCH));
        self.asked.lock().unwrap().push((path.clone(), user, tag.clone()));
        let page = self.pages.lock().unwrap().get(&path).cloned();
        let (status, media, etag, text) = page.unwrap_or((404, "text/plain", "", "404".into()));
        let same = !etag.is_empty() && tag == etag;
        let response = Response::builder().status(if same { 304 } else { status });
        let response = response.header("content-type", media).header("etag", etag).body(()).unwrap();
        let mut stream = exchange.respond.send_response(response, same).unwrap();
        if !same {
            send(&mut stream, text.into()).await;
            stream.send_data(bytes::Bytes::new(), true).unwrap();
        }
    }

    /// Serves it, and watches what it says of `echo.example.com/v1`; a round follows the other at once.
    async fn watch(&self) -> (watch::Receiver<Arc<Documents>>, impl Drop + use<>) {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.cert.der().clone()],
                own.signing_key.serialize_der().try_into().unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let pages = self.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, pages) = (acceptor.clone(), pages.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(tcp).await.unwrap();
                    let answer = move |exchange| pages.clone().answer(exchange);
                    serve_connection(stream, 0, h2::server::Builder::new(), answer).await;
                });
            }
        });
        let endpoint = Endpoint::new(Protocol::Https, "127.0.0.1", port).unwrap();
        let tls = TlsOptions { insecure_skip_tls_verify: true, ..TlsOptions::default() };
        let backend = Backend::new(endpoint, &tls, options()).unwrap();
        let soon = Duration::from_millis(2);
        let pace = DocumentsPace { retry_min: soon, retry_max: soon, every: soon };
        let (claims, claimed) = watch::channel(Arc::from([version()]));
        let (watcher, documents) =
            DocumentsWatcher::new(backend, Asker::FrontProxy, Wanted::Claimed(claimed), None, pace);
        let cancel = CancellationToken::new();
        let run = watcher.run(cancel.clone());
        tokio::spawn(async move {
            let _claims = claims;
            run.await;
        });
        (documents, cancel.drop_guard())
    }
}

fn version() -> GroupVersion {
    ("echo.example.com".into(), "v1".into())
}

fn aggregated(resource: &str) -> String {
    format!(
        r#"{{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{{}},"items":[
        {{"metadata":{{"name":"echo.example.com"}},"versions":[{{"version":"v1","freshness":"Current","resources":[
        {{"resource":"{resource}","responseKind":{{"group":"echo.example.com","version":"v1","kind":"Echo"}},
        "scope":"Cluster","singularResource":"echo","verbs":["get"]}}]}}]}}]}}"#
    )
}

fn plain() -> &'static str {
    r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"echo.example.com/v1","resources":[
    {"name":"echoes","singularName":"echo","namespaced":false,"kind":"Echo","verbs":["get"]}]}"#
}

fn index(hash: &str) -> String {
    format!(r#"{{"paths":{{"apis/echo.example.com/v1":{{"serverRelativeURL":"{V3}{hash}"}}}}}}"#)
}

/// Waits until what is known of the version is so.
async fn until(
    documents: &mut watch::Receiver<Arc<Documents>>,
    mut so: impl FnMut(&VersionDocuments) -> bool,
) -> VersionDocuments {
    let reached = documents.wait_for(|documents| documents.versions.get(&version()).is_some_and(&mut so));
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await.expect("it comes");
    reached.unwrap().versions[&version()].clone()
}

/// Lets at least one whole round pass.
async fn a_round(pages: &Pages) {
    for _ in 0..2 {
        let before = pages.asked.lock().unwrap().iter().filter(|(path, ..)| path == "/apis").count();
        let begun = tokio::time::Instant::now();
        while pages.asked.lock().unwrap().iter().filter(|(path, ..)| path == "/apis").count() == before {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not asked again");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn one_document_says_all_and_is_sent_once() {
    let pages = Pages::default();
    pages.put("/apis", 200, AGGREGATED, "\"1\"", &aggregated("echoes"));
    pages.put("/openapi/v2", 404, JSON, "", "");
    let (mut documents, _run) = pages.watch().await;
    let known = until(&mut documents, |known| known.discovery.is_some()).await;
    assert_eq!(known.discovery.as_ref().unwrap().resources[0].resource, "echoes");
    a_round(&pages).await;
    let asked = pages.asked();
    let of = |path: &str| asked.iter().filter(|(asked, ..)| asked == path).collect::<Vec<_>>();
    assert_eq!((of("/apis")[0].1.as_str(), of("/apis")[0].2.as_str()), ("system:kube-aggregator", ""));
    assert!(of("/apis")[1..].iter().all(|(_, _, tag)| tag == "\"1\""), "{asked:?}");
    assert!(of("/openapi/v3").iter().all(|(_, user, _)| user == "system:aggregator"), "{asked:?}");
    assert!(of("/apis/echo.example.com/v1").is_empty(), "nothing more is needed");
    let still = documents.borrow().versions[&version()].clone();
    assert!(Arc::ptr_eq(&known.discovery.unwrap(), &still.discovery.unwrap()), "nothing is made of it again");
    pages.put("/apis", 200, AGGREGATED, "\"2\"", &aggregated("others"));
    until(&mut documents, |known| {
        known.discovery.as_ref().is_some_and(|document| document.resources[0].resource == "others")
    })
    .await;
}

#[tokio::test]
async fn a_server_without_the_one_document_is_asked_for_each_version() {
    let pages = Pages::default();
    pages.put("/apis", 200, JSON, "", r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#);
    let (mut documents, _run) = pages.watch().await;
    let known = until(&mut documents, |known| known.error.is_some()).await;
    assert_eq!(known.error, Some(DocumentError::NotServed));
    pages.put("/apis/echo.example.com/v1", 200, JSON, "", plain());
    let known = until(&mut documents, |known| known.error.is_none()).await;
    assert_eq!(known.discovery.unwrap().resources[0].resource, "echoes");
    // 404 and 406 are answers of older servers.
    for status in [404, 406] {
        pages.put("/apis", status, JSON, "", "");
        pages.asked();
        a_round(&pages).await;
        assert!(pages.count("/apis/echo.example.com/v1") > 0);
        assert_eq!(documents.borrow().versions[&version()].error, None);
    }
}

#[tokio::test]
async fn what_cannot_be_read_now_stays_as_it_was() {
    let pages = Pages::default();
    pages.put("/apis", 200, AGGREGATED, "", &aggregated("echoes"));
    let (mut documents, _run) = pages.watch().await;
    until(&mut documents, |known| known.discovery.is_some()).await;
    for (status, media, text, why) in [
        (500, JSON, "", "bad status 500"),
        (403, JSON, "", "bad status 403"),
        (200, AGGREGATED, "{", "cannot be read"),
        (200, AGGREGATED, r#"{"kind":"Pod","apiVersion":"v1"}"#, "Pod"),
    ] {
        pages.put("/apis", status, media, "", text);
        let failed = |known: &VersionDocuments| match &known.error {
            Some(DocumentError::Failed(error)) => error.contains(why),
            _ => false,
        };
        let known = until(&mut documents, failed).await;
        assert!(known.discovery.is_some() && known.confirmed_at.is_some());
        let Some(DocumentError::Failed(error)) = known.error else { unreachable!() };
        assert!(error.starts_with("failing or missing response from https://127.0.0.1:"), "{error}");
        // Who does not even say what it serves is not asked for more.
        pages.asked();
        a_round(&pages).await;
        assert_eq!(pages.count("/openapi/v3"), 0);
    }
    pages.put("/apis", 200, AGGREGATED, "", &aggregated("echoes"));
    until(&mut documents, |known| known.error.is_none()).await;
}

#[tokio::test]
async fn openapi_is_read_once_for_each_hash_and_a_bad_one_never_replaces_a_good_one() {
    let pages = Pages::default();
    pages.put("/apis", 200, AGGREGATED, "\"1\"", &aggregated("echoes"));
    let (mut documents, _run) = pages.watch().await;
    until(&mut documents, |known| known.openapi == OpenApiState::Absent).await;
    let v3 = r#"{"openapi":"3.0.0","info":{"title":"echo","version":"v1"},"paths":{}}"#;
    pages.put("/openapi/v3", 200, JSON, "", &index("1"));
    pages.put(&format!("{V3}1"), 200, JSON, "", v3);
    let good = until(&mut documents, |known| known.openapi == OpenApiState::Current).await.v3.unwrap();
    pages.asked();
    a_round(&pages).await;
    assert_eq!(pages.count(&format!("{V3}1")), 0, "the address has the hash");
    // Another hash, another document.
    pages.put("/openapi/v3", 200, JSON, "", &index("2"));
    pages.put(&format!("{V3}2"), 200, JSON, "", "{");
    let quarantined = |known: &VersionDocuments| matches!(known.openapi, OpenApiState::Quarantined(_));
    let known = until(&mut documents, quarantined).await;
    assert!(Arc::ptr_eq(&good, &known.v3.unwrap()));
    pages.asked();
    a_round(&pages).await;
    assert_eq!(pages.count(&format!("{V3}2")), 0, "its faults are known");
    // No answer, and an index that leads elsewhere.
    let failed = |why: &'static str| move |known: &VersionDocuments| matches!(&known.openapi, OpenApiState::Failed(error) if error.contains(why));
    pages.put("/openapi/v3", 200, JSON, "", &index("3"));
    assert!(until(&mut documents, failed("404")).await.v3.is_some());
    for (url, why) in [("https://evil.example.com/", "outside"), ("/apis/secrets", "outside")] {
        let index = format!(r#"{{"paths":{{"apis/echo.example.com/v1":{{"serverRelativeURL":"{url}"}}}}}}"#);
        pages.put("/openapi/v3", 200, JSON, "", &index);
        assert!(until(&mut documents, failed(why)).await.v3.is_some());
        pages.asked();
        a_round(&pages).await;
        assert_eq!(pages.count(url), 0);
        pages.put("/openapi/v3", 500, JSON, "", "");
        assert!(until(&mut documents, failed("bad status 500")).await.v3.is_some());
    }
    pages.put("/openapi/v3", 200, JSON, "", "[]");
    assert!(until(&mut documents, failed("/openapi/v3")).await.v3.is_some());
    // To have none is a state and no fault.
    pages.remove("/openapi/v3");
    assert!(until(&mut documents, |known| known.openapi == OpenApiState::Absent).await.v3.is_none());
}
