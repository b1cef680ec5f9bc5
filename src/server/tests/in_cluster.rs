//! In a cluster: certificates of two CAs, over real sockets, and an API server of a script.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair,
};
use tokio::sync::watch;

use super::*;
use crate::{
    authz::Settings,
    cluster::{
        AuthenticationConfig,
        authentication::{Authority, FrontProxy},
        review::scripted::{ApiServer, answered},
    },
};

struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, cn: &str, organizations: &[&str], last_year: i32) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn);
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        Identity { certificate, key: key.serialize_der().try_into().unwrap() }
    }
}

/// What the cluster says of these CAs.
fn config(clients: &[&Ca], front_proxies: &[&Ca]) -> Arc<AuthenticationConfig> {
    let authority = |cas: &[&Ca]| {
        let bundle: String = cas.iter().map(|ca| ca.0.pem()).collect();
        Authority::parse(&bundle).unwrap()
    };
    Arc::new(AuthenticationConfig {
        is_known: true,
        clients: Some(authority(clients)),
        front_proxy: Some(FrontProxy {
            authority: authority(front_proxies),
            allowed_names: vec!["front-proxy-client".into()],
            username_headers: vec!["x-remote-user".parse().unwrap(), "x-caller".parse().unwrap()],
            uid_headers: vec!["x-remote-uid".parse().unwrap()],
            group_headers: vec!["x-remote-group".parse().unwrap()],
            extra_prefixes: vec!["x-remote-extra-".into(), "x-more-".into()],
        }),
    })
}

struct Cluster {
    running: Running,
    api_server: ApiServer,
    config: watch::Sender<Arc<AuthenticationConfig>>,
    clients: Ca,
    front_proxies: Ca,
}

impl Cluster {
    /// Knows one token, and lets everybody but `mallory` and nobody do everything.
    async fn start() -> Self {
        let (clients, front_proxies) = (Ca::new(), Ca::new());
        let (sender, receiver) = watch::channel(config(&[&clients], &[&front_proxies]));
        let api_server = ApiServer::new(|review| {
            if review["kind"] == "TokenReview" {
                let is_good = review["spec"]["token"] == "robots";
                let user = json!({"username": "robot", "groups": ["robots"]});
                return answered(review, &json!({"authenticated": is_good, "user": user}));
            }
            let user = review["spec"]["user"].as_str().unwrap();
            let allowed = !matches!(user, "mallory" | "system:anonymous");
            answered(review, &json!({"allowed": allowed, "reason": if allowed { "" } else { "no rule" }}))
        });
        let parts = (
            Authenticator::in_cluster(api_server.client(), receiver),
            Authorizer::in_cluster(api_server.client(), Settings::default(), None),
        );
        let running = serve(parts, Duration::from_secs(60), Some(echo())).await;
        Self { running, api_server, config: sender, clients, front_proxies }
    }

    fn client(&self, http: Http, identity: Option<&Identity>) -> reqwest::Client {
        let identity =
            identity.map(|identity| (vec![identity.certificate.clone()], identity.key.clone_key()));
        self.running.client_of(http, identity)
    }

    fn front_proxy(&self) -> Identity {
        self.front_proxies.sign("front-proxy-client", &[], 2100)
    }

    fn get(&self, client: &reqwest::Client) -> reqwest::RequestBuilder {
        client.get(self.running.url(MACHINES))
    }

    /// Who it is to us.
    async fn whoami(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = Answer::of(request).await;
        answer.check(200);
        let mut told = answer.json();
        let told = told.as_object_mut().unwrap();
        json!({"user": told["user"], "groups": told["groups"]})
    }
}

fn as_alice(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request
        .header("X-Remote-User", "alice")
        .header("X-Remote-Group", "dev")
        .header("X-Remote-Group", "ops")
        .header("X-Remote-Extra-Example.com%2fScopes", "a")
}

#[tokio::test]
async fn a_front_proxy_speaks_for_others() {
    let cluster = Cluster::start().await;
    for http in [Http::One, Http::Two] {
        let proxy = cluster.client(http, Some(&cluster.front_proxy()));
        let request = as_alice(cluster.get(&proxy)).header("X-More-Of-It", "b").header("X-Caller", "c");
        let answer = Answer::of(request.header("X-Kept", "1").bearer_auth("robots")).await;
        answer.check(200);
        let told = answer.json();
        assert_eq!(told["user"], "alice");
        assert_eq!(told["groups"], json!(["dev", "ops", "system:authenticated"]));
        let mut extra: Vec<String> = serde_json::from_value(told["extra"].clone()).unwrap();
        extra.sort();
        assert_eq!(extra, ["example.com/scopes", "of-it"]);
        let headers: Vec<String> = serde_json::from_value(told["headers"].clone()).unwrap();
        assert!(headers.contains(&"x-kept".to_owned()));
        let said = ["x-remote-", "x-more-", "x-caller", "authorization"];
        assert!(!headers.iter().any(|name| said.iter().any(|said| name.starts_with(said))), "{headers:?}");
    }
}

#[tokio::test]
async fn a_front_proxy_that_names_nobody_is_asked_for_something_else() {
    let cluster = Cluster::start().await;
    let proxy = cluster.client(Http::Two, Some(&cluster.front_proxy()));
    Answer::of(cluster.get(&proxy)).await.check(401);
    Answer::of(cluster.get(&proxy).header("X-Remote-Group", "system:masters")).await.check(401);
    let robot = cluster.whoami(cluster.get(&proxy).bearer_auth("robots")).await;
    assert_eq!(robot, json!({"user": "robot", "groups": ["robots", "system:authenticated"]}));
    // kube-apiserver forwards what nobody asks, too.
    let nobody = cluster
        .get(&proxy)
        .header("X-Remote-User", "system:anonymous")
        .header("X-Remote-Group", "system:unauthenticated");
    let answer = Answer::of(nobody).await;
    answer.check(403);
    assert!(answer.text.contains("in the namespace \\\"default\\\": no rule"), "{}", answer.text);
}

#[tokio::test]
async fn headers_are_believed_of_nobody_else() {
    let cluster = Cluster::start().await;
    let said = |client: &reqwest::Client| {
        as_alice(cluster.get(client)).header("X-Remote-Group", "system:masters").header("X-Caller", "root")
    };
    // No certificate: nobody, who has no rights.
    Answer::of(said(&cluster.client(Http::Two, None))).await.check(403);
    let robot = cluster.whoami(said(&cluster.client(Http::Two, None)).bearer_auth("robots")).await;
    assert_eq!(robot["user"], "robot");
    // A client of the cluster: itself, whatever its name.
    for name in ["bob", "front-proxy-client"] {
        let identity = cluster.clients.sign(name, &["dev"], 2100);
        let told = cluster.whoami(said(&cluster.client(Http::One, Some(&identity)))).await;
        assert_eq!(told, json!({"user": name, "groups": ["dev", "system:authenticated"]}));
    }
    let mallory = cluster.clients.sign("mallory", &[], 2100);
    Answer::of(said(&cluster.client(Http::One, Some(&mallory)))).await.check(403);
    // The wrong name, over, of nobody's CA: refused, with headers and without.
    for identity in [
        cluster.front_proxies.sign("somebody", &["system:masters"], 2100),
        cluster.front_proxies.sign("front-proxy-client", &["system:masters"], 2020),
        cluster.clients.sign("bob", &[], 2020),
        Ca::new().sign("front-proxy-client", &["system:masters"], 2100),
    ] {
        let client = cluster.client(Http::Two, Some(&identity));
        Answer::of(said(&client)).await.check(401);
        Answer::of(cluster.get(&client)).await.check(401);
        assert_eq!(cluster.whoami(said(&client).bearer_auth("robots")).await["user"], "robot");
    }
}

#[tokio::test]
async fn why_a_certificate_is_refused_is_known() {
    let cluster = Cluster::start().await;
    let config = cluster.config.borrow().clone();
    let (_, receiver) = watch::channel(config);
    let authenticator = Authenticator::in_cluster(cluster.api_server.client(), receiver);
    let why = async |identity: &Identity| {
        let certificate = authenticator.certificate(std::slice::from_ref(&identity.certificate));
        let refused = authenticator
            .authenticate(&http::HeaderMap::new(), certificate.as_ref(), SystemTime::now())
            .await;
        refused.unwrap_err().to_string()
    };
    let wrong_name = why(&cluster.front_proxies.sign("somebody", &[], 2100)).await;
    let says =
        "its common name \"somebody\" is none of --requestheader-allowed-names [\"front-proxy-client\"]";
    assert!(wrong_name.contains(says), "{wrong_name}");
    let over = why(&cluster.front_proxies.sign("front-proxy-client", &[], 2020)).await;
    assert!(over.contains("no front proxy's: invalid peer certificate: certificate expired"), "{over}");
    let silent = why(&cluster.front_proxy()).await;
    assert!(silent.contains("names no user in its headers"), "{silent}");
}

#[tokio::test]
async fn a_certificate_ends_while_its_connection_lives() {
    let cluster = Cluster::start().await;
    let (_, receiver) = watch::channel(cluster.config.borrow().clone());
    let authenticator = Authenticator::in_cluster(cluster.api_server.client(), receiver);
    let headers = [("x-remote-user".parse().unwrap(), "alice".parse().unwrap())].into_iter().collect();
    let year = |year: i32| SystemTime::from(rcgen::date_time_ymd(year, 1, 1));
    for (identity, user) in
        [(cluster.front_proxy(), "alice"), (cluster.clients.sign("bob", &[], 2100), "bob")]
    {
        let certificate = authenticator.certificate(&[identity.certificate]);
        let at = |now| authenticator.authenticate(&headers, certificate.as_ref(), now);
        assert_eq!(at(year(2090)).await.unwrap().username, user);
        let soon = year(2100) + Duration::from_secs(1);
        let over = at(soon).await.unwrap_err().to_string();
        assert!(over.contains("certificate expired"), "{over}");
        // A clock that was put right.
        assert_eq!(at(year(2090)).await.unwrap().username, user);
    }
}

#[tokio::test]
async fn until_the_cluster_has_spoken_a_certificate_waits() {
    let cluster = Cluster::start().await;
    let known = cluster.config.send_replace(Arc::default());
    let proxy = cluster.client(Http::Two, Some(&cluster.front_proxy()));
    let answer = Answer::of(as_alice(cluster.get(&proxy))).await;
    assert_eq!((answer.code, answer.headers["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(cluster.whoami(cluster.get(&proxy).bearer_auth("robots")).await["user"], "robot");
    cluster.config.send_replace(known);
    assert_eq!(cluster.whoami(as_alice(cluster.get(&proxy))).await["user"], "alice");
}

#[tokio::test]
async fn without_the_api_server_nobody_gets_in_and_all_are_told_to_come_again() {
    let cluster = Cluster::start().await;
    cluster.api_server.fail();
    let (plain, proxy) =
        (cluster.client(Http::Two, None), cluster.client(Http::Two, Some(&cluster.front_proxy())));
    for (request, says) in [
        (cluster.get(&plain).bearer_auth("robots"), "does not say whether your credentials are good"),
        (as_alice(cluster.get(&proxy)), "does not say whether you may"),
        (cluster.get(&plain), "does not say whether you may"),
    ] {
        let answer = Answer::of(request).await;
        assert_eq!(answer.code, 503);
        assert!(answer.text.contains(says), "{}", answer.text);
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.json()["reason"], "ServiceUnavailable");
    }
    let discovery = Answer::of(as_alice(proxy.get(cluster.running.url("/apis")))).await;
    discovery.check(503);
    Answer::of(plain.get(cluster.running.url("/livez"))).await.check(200);
    let master = as_alice(cluster.get(&proxy)).header("X-Remote-Group", "system:masters");
    Answer::of(master).await.check(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_cas_lose_no_request_and_old_ones_end_on_living_connections() {
    let cluster = Arc::new(Cluster::start().await);
    let new = Ca::new();
    let old_proxy = cluster.client(Http::Two, Some(&cluster.front_proxy()));
    let new_proxy = cluster.client(Http::Two, Some(&new.sign("front-proxy-client", &[], 2100)));
    // Connected before its CA is known, and good on the same connection as soon as it is.
    Answer::of(as_alice(cluster.get(&new_proxy))).await.check(401);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = |client: &reqwest::Client| {
        let (cluster, client) = (Arc::clone(&cluster), client.clone());
        let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                Answer::of(as_alice(cluster.get(&client))).await.check(200);
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let more = async || {
        let until = count.load(Ordering::Relaxed) + 50;
        while count.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
    };
    let old_load: Vec<_> = (0..4).map(|_| load(&old_proxy)).collect();
    more().await;
    let both = config(&[&cluster.clients], &[&cluster.front_proxies, &new]);
    cluster.config.send_replace(both);
    let new_load: Vec<_> = (0..4).map(|_| load(&new_proxy)).collect();
    more().await;
    stop.store(true, Ordering::Relaxed);
    for task in old_load.into_iter().chain(new_load) {
        task.await.unwrap();
    }
    stop.store(false, Ordering::Relaxed);
    let new_load: Vec<_> = (0..4).map(|_| load(&new_proxy)).collect();
    more().await;
    cluster.config.send_replace(config(&[&cluster.clients], &[&new]));
    more().await;
    Answer::of(as_alice(cluster.get(&old_proxy))).await.check(401);
    stop.store(true, Ordering::Relaxed);
    for task in new_load {
        task.await.unwrap();
    }
    // What is good for one CA is not for the other, also after they have changed places.
    cluster.config.send_replace(config(&[&new], &[&cluster.clients]));
    assert_eq!(cluster.whoami(as_alice(cluster.get(&new_proxy))).await["user"], "front-proxy-client");
}
