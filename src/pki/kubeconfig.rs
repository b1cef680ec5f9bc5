//! `admin.kubeconfig`: everything that kubectl needs, in one file.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::issue::{Leaf, pem};

/// The document. `trust` is PEM.
pub(super) fn document(server_url: &str, trust: &str, admin: &Leaf) -> String {
    // A JSON string is a YAML string: whatever the URL holds, it stays one value.
    let server = serde_json::Value::from(server_url);
    let trust = STANDARD.encode(trust);
    let certificate = STANDARD.encode(pem("CERTIFICATE", &admin.certificate));
    let key = STANDARD.encode(&admin.key_pem);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: kubridge
  cluster:
    server: {server}
    certificate-authority-data: {trust}
users:
- name: kubridge-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: kubridge
  context:
    cluster: kubridge
    user: kubridge-admin
current-context: kubridge
"
    )
}
