//! What any cluster can be the core API of: the control plane of the tests, or the one that `$KUBECONFIG` names.

use crate::support::{Kubectl, core_api};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reaches_the_core_api() {
    let kubectl = Kubectl::direct(core_api().await);
    let namespaces = kubectl.run(&["get", "namespaces", "-o", "name"]).await.ok();
    assert!(namespaces.lines().any(|line| line == "namespace/kube-system"), "{namespaces}");
}
