//! Where the suite is played.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::MACHINES;
use crate::support::{Kubectl, Options, Stack, cluster::Cluster};

/// A place, and where it may differ from the other.
pub struct Place {
    /// The administrator's.
    pub kubectl: Kubectl,
    /// The administrator's name. Each control plane makes the certificate of its own.
    pub administrator: &'static str,
    /// Somebody who may discover, and nothing else. Alone, by the token file; in a cluster, a service account.
    pub plain: Plain,
    /// Part of what `kubectl version` says of the server: the aggregator's, or the kube-apiserver's.
    pub version: &'static str,
    /// How the SERVICE of the inventory's APIService begins. Our own store shows the backend; to a kube-apiserver all
    /// that is known is Kubridge's Service.
    pub served_by: &'static str,
    at: At,
}

/// See [`Place::plain`].
pub struct Plain {
    pub token: String,
    pub name: &'static str,
    /// As JSON.
    pub groups: &'static str,
}

enum At {
    Aggregator(Box<Stack>),
    KubeApiserver(Box<Cluster>),
}

impl Place {
    /// The aggregator alone. Each exchange of its kubectls is inspected.
    pub async fn standalone() -> Self {
        let plain =
            Plain { token: "s3cret".into(), name: "ann", groups: r#"["dev","ops","system:authenticated"]"# };
        let tokens = format!("{},{},1001,\"dev,ops\"\n", plain.token, plain.name);
        let stack = Stack::with(Options { tokens, ..Options::default() }).await;
        Self {
            kubectl: stack.kubectl().await,
            administrator: "kubridge-admin",
            plain,
            version: "+kubridge.",
            served_by: "grpc://",
            at: At::Aggregator(Box::new(stack)),
        }
    }

    /// kube-apiserver -> Kubridge -> inventory. Its kubectls are not inspected: kube-apiserver has each of its own headers
    /// twice when it forwards.
    pub async fn cluster() -> Self {
        let cluster = Cluster::start().await;
        let kubectl = Kubectl::direct(cluster.plane.is.kubeconfig.clone());
        // Alone, any namespace is there.
        kubectl.run_with(&["apply", "-f", "-"], LAB, &[]).await.ok();
        kubectl.run(&["create", "serviceaccount", "ann", "-n", "default"]).await.ok();
        let token = kubectl.run(&["create", "token", "ann", "-n", "default"]).await.ok();
        // kube-apiserver gets the documents of an aggregated API some time after it has called it Available.
        let begun = Instant::now();
        while kubectl.run(&["explain", "machines"]).await.code != 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not documented");
            sleep(Duration::from_millis(250)).await;
        }
        Self {
            kubectl,
            administrator: "admin",
            plain: Plain {
                token: token.trim().to_owned(),
                name: "system:serviceaccount:default:ann",
                groups: r#"["system:serviceaccounts","system:serviceaccounts:default","system:authenticated"]"#,
            },
            version: "Server Version: v1.",
            served_by: "kubridge-system/kubridge",
            at: At::KubeApiserver(Box::new(cluster)),
        }
    }

    /// The kubectl of somebody with a bearer token.
    pub async fn with_token(&self, token: &str) -> Kubectl {
        match &self.at {
            At::Aggregator(stack) => stack.kubectl_with_token(token).await,
            At::KubeApiserver(cluster) => Kubectl::direct(cluster.kubeconfig("plain", token)),
        }
    }

    /// Three machines in two namespaces, and a rack.
    pub async fn furnish(&self) {
        self.kubectl.run_with(&["create", "-f", "-"], MACHINES, &[]).await.ok();
    }

    /// Takes all of them away, and what was made since.
    pub async fn clear(&self) {
        self.kubectl.run(&["delete", "machines,racks", "--all", "-A"]).await.ok();
    }

    /// Ends a cluster in order.
    pub async fn end(self) {
        if let At::KubeApiserver(cluster) = self.at {
            self.kubectl.run(&["delete", "serviceaccount", "ann", "-n", "default"]).await.ok();
            cluster.end().await;
        }
    }
}

const LAB: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: lab}\n";
