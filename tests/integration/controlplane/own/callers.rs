//! Who calls and who may, as a real kube-apiserver says it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use kubridge::{
    authn::{Authenticator, ClientCertificate, Refused},
    authz::{Attributes, Authorizer, Settings, forbidden_message},
    cluster::authentication,
};
use kubridge_bridge::{proto::UserInfo, request_info::RequestInfo};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::support::ControlPlane;

const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/callers/machines";

/// What Kubridge has of a cluster that it is in.
struct Cluster {
    client: Client,
    authenticator: Authenticator,
    authorizer: Authorizer,
}

impl Cluster {
    async fn of(plane: &ControlPlane) -> Self {
        let kubeconfig = Kubeconfig::read_from(&plane.is.kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let (mut config, follow) = authentication::follow(client.clone());
        tokio::spawn(follow);
        config.wait_for(|config| config.is_known).await.unwrap();
        // Soon forgotten: a test changes who may.
        let moment = Duration::from_millis(1);
        let settings = Settings { allowed: moment, denied: moment, ..Settings::default() };
        Self {
            authenticator: Authenticator::in_cluster(client.clone(), config),
            authorizer: Authorizer::in_cluster(client.clone(), settings, None),
            client,
        }
    }

    fn certificate(&self, file: &Path) -> Option<ClientCertificate> {
        self.authenticator.certificate(&[CertificateDer::from_pem_file(file).unwrap()])
    }

    async fn who(
        &self,
        headers: &[(&'static str, &str)],
        certificate: Option<&ClientCertificate>,
    ) -> Result<Arc<UserInfo>, Refused> {
        let mut said = HeaderMap::new();
        for (name, value) in headers {
            said.append(*name, value.parse().unwrap());
        }
        self.authenticator.authenticate(&said, certificate, SystemTime::now()).await
    }

    /// Why not; empty: they may.
    async fn may_not(&self, user: &UserInfo, method: http::Method, path: &str) -> String {
        let info = RequestInfo::new(&method, path, "");
        let what = Attributes::from(&info);
        let decision = self.authorizer.authorize(user, &what).await.unwrap();
        if decision.allowed { String::new() } else { forbidden_message(user, &what, &decision.reason) }
    }

    async fn create<K>(&self, api: Api<K>, object: Value)
    where
        K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_publishes_tells_its_front_proxy_from_its_clients() {
    let plane = ControlPlane::shared().await;
    let cluster = Cluster::of(plane).await;
    let said = [("x-remote-user", "alice"), ("x-remote-group", "dev"), ("x-remote-uid", "u-1")];
    let proxy = cluster.certificate(&plane.is.front_proxy.cert_file);
    let alice = cluster.who(&said, proxy.as_ref()).await.unwrap();
    assert_eq!((alice.username.as_str(), alice.uid.as_str()), ("alice", "u-1"));
    assert_eq!(alice.groups, ["dev", "system:authenticated"]);
    cluster.who(&[], proxy.as_ref()).await.unwrap_err();

    let admin = cluster.certificate(&plane.is.admin.cert_file);
    let admin = cluster.who(&said, admin.as_ref()).await.unwrap();
    assert!(admin.groups.contains(&"system:masters".to_owned()), "{admin:?}");
    assert_ne!(admin.username, "alice");
    assert_eq!(cluster.who(&said, None).await.unwrap().username, "system:anonymous");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_is_known_by_its_token_and_may_what_it_is_bound_to() {
    let cluster = Cluster::of(ControlPlane::shared().await).await;
    let client = &cluster.client;
    cluster.create(Api::<Namespace>::all(client.clone()), json!({"metadata": {"name": "callers"}})).await;
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "callers");
    cluster.create(accounts.clone(), json!({"metadata": {"name": "robot"}})).await;
    let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let token = accounts.create_token_request("robot", &PostParams::default(), &request).await.unwrap();
    let token = format!("Bearer {}", token.status.unwrap().token);

    let robot = cluster.who(&[(AUTHORIZATION.as_str(), &token)], None).await.unwrap();
    assert_eq!(robot.username, "system:serviceaccount:callers:robot");
    assert!(robot.groups.contains(&"system:serviceaccounts:callers".to_owned()), "{robot:?}");
    assert!(!robot.uid.is_empty() && robot.extra.contains_key("authentication.kubernetes.io/credential-id"));
    let refused = cluster.who(&[("authorization", "Bearer wrong")], None).await.unwrap_err();
    assert!(matches!(refused, Refused::Rejected(_)), "{refused}");

    let no = cluster.may_not(&robot, http::Method::GET, MACHINES).await;
    assert_eq!(
        no,
        "User \"system:serviceaccount:callers:robot\" cannot list resource \"machines\" in API group \
         \"inventory.example.com\" in the namespace \"callers\""
    );
    let rules =
        json!([{"apiGroups": ["inventory.example.com"], "resources": ["machines"], "verbs": ["list"]}]);
    let roles = Api::<Role>::namespaced(client.clone(), "callers");
    cluster.create(roles, json!({"metadata": {"name": "reader"}, "rules": rules})).await;
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "callers", "name": "robot"}],
    });
    cluster.create(Api::<RoleBinding>::namespaced(client.clone(), "callers"), binding).await;
    let bound = async {
        // kube-apiserver's own RBAC watches them.
        while !cluster.may_not(&robot, http::Method::GET, MACHINES).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), bound).await.expect("the binding is never seen");
    for (method, path, says) in [
        (http::Method::DELETE, MACHINES, "cannot deletecollection resource \"machines\""),
        (http::Method::GET, "/apis/inventory.example.com/v1/machines", "at the cluster scope"),
        (http::Method::GET, "/metrics", "cannot get path \"/metrics\""),
        (http::Method::GET, "/apis", ""),
    ] {
        let no = cluster.may_not(&robot, method, path).await;
        assert!(no.contains(says) && no.is_empty() == says.is_empty(), "{path}: {no}");
    }
}
