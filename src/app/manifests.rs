//! What `kubridge manifests` does: prints what a cluster needs to run Kubridge, and the APIServices of its backends.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    lint::LintReport,
    register::{Registration, claims, yaml},
};

/// The namespace that the manifests make, and the only one that they make.
pub const NAMESPACE: &str = "kubridge-system";
/// The Service that they make in it.
pub const SERVICE: &str = "kubridge";
/// The image that they name.
const IMAGE: &str = concat!("kubridge:", env!("CARGO_PKG_VERSION"));
const NAMESPACE_MANIFEST: &str = include_str!("../../deploy/manifests/namespace.yaml");
/// What `deploy/manifests` has beside the namespace.
const MANIFESTS: [&str; 6] = [
    include_str!("../../deploy/manifests/crd.yaml"),
    include_str!("../../deploy/manifests/rbac.yaml"),
    include_str!("../../deploy/manifests/service.yaml"),
    include_str!("../../deploy/manifests/deployment.yaml"),
    include_str!("../../deploy/manifests/pdb.yaml"),
    include_str!("../../deploy/manifests/networkpolicy.yaml"),
];

/// What is to be printed.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Where Kubridge runs. Any other than [`NAMESPACE`] is somebody else's, and there already.
    pub namespace: String,
    /// The image of the Deployment; `None`: the one that a build of this version makes.
    pub image: Option<String>,
    /// What is claimed for backends.
    pub backends: Vec<Registration>,
}

/// The manifests, as YAML for `kubectl apply -f -`. The outer error: a schema could not be read, or two backends have the
/// same group and version. The inner one: a schema has faults.
pub async fn manifests(installation: Installation) -> anyhow::Result<Result<String, LintReport>> {
    let mut services: Vec<Value> = Vec::new();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for registration in &installation.backends {
        let claimed = match claims(registration).await? {
            Ok(claimed) => claimed,
            Err(report) => return Ok(Err(report)),
        };
        for service in claimed {
            let name = service.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let url = registration.backend.to_string();
            if let Some(other) = owners.insert(name.to_owned(), url.clone()) {
                anyhow::bail!("{other} and {url} both have {name}: a group and version has one --backend");
            }
            services.push(service);
        }
    }
    let mut text = installed(&installation.namespace, installation.image.as_deref().unwrap_or(IMAGE));
    if !services.is_empty() {
        text.push_str("---\n");
        text.push_str(&yaml(&services)?);
    }
    Ok(Ok(text))
}

/// The manifests of Kubridge itself.
fn installed(namespace: &str, image: &str) -> String {
    // The labels of a namespace that others run in are not ours to set.
    let own = (namespace == NAMESPACE).then_some(NAMESPACE_MANIFEST);
    let manifests: Vec<&str> = own.into_iter().chain(MANIFESTS).collect();
    let image = format!("image: {image}");
    manifests.join("---\n").replace(NAMESPACE, namespace).replace(&format!("image: {IMAGE}"), &image)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn objects(namespace: &str, image: &str) -> Vec<Value> {
        serde_saphyr::from_multiple(&installed(namespace, image)).unwrap()
    }

    fn find<'a>(objects: &'a [Value], kind: &str) -> Option<&'a Value> {
        objects.iter().find(|object| object["kind"] == kind)
    }

    #[test]
    fn everything_is_where_it_was_asked_for() {
        let own = objects(NAMESPACE, IMAGE);
        assert_eq!(find(&own, "Namespace").unwrap()["metadata"]["name"], NAMESPACE);
        assert_eq!(find(&own, "Service").unwrap()["metadata"]["name"], SERVICE);

        let theirs = objects("platform", "registry.example.com:5000/kubridge@sha256:0a");
        assert_eq!(find(&theirs, "Namespace"), None, "it is there, and others run in it");
        let namespaces = |objects: &[Value]| {
            let mut found: Vec<&str> =
                objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str()).collect();
            found.sort_unstable();
            found.dedup();
            found.join(" ")
        };
        assert_eq!(namespaces(&theirs), "kube-system platform");
        let container = &find(&theirs, "Deployment").unwrap()["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "registry.example.com:5000/kubridge@sha256:0a");
        for object in &theirs {
            for subject in object["subjects"].as_array().into_iter().flatten() {
                assert_eq!(subject["namespace"], "platform");
            }
        }
    }

    #[test]
    fn the_image_is_the_one_of_this_version() {
        let container = &find(&objects(NAMESPACE, IMAGE), "Deployment").unwrap()["spec"]["template"]["spec"]
            ["containers"][0]
            .clone();
        assert_eq!(container["image"], json!(IMAGE));
    }
}
