//! CAs that follow each other while the kube-apiserver sends requests: a mounted one, and the one that replicas share.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::support::{
    Ca, Client,
    cluster::{API_SERVICE, Cluster, SERVER_NAME},
};

/// A Secret of the type kubernetes.io/tls as a kubelet mounts it: all of its files change in one moment.
struct Mount(PathBuf);

impl Mount {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir(&dir).unwrap();
        for file in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(Path::new("..data").join(file), dir.join(file)).unwrap();
        }
        Self(dir)
    }

    /// The Secret has a new certificate, of this CA.
    fn issue(&self, ca: &Ca, version: &str) {
        let dir = self.0.join(version);
        fs::create_dir(&dir).unwrap();
        let (certificate, key) = ca.server_pem(&[SERVER_NAME]);
        for (file, text) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", ca.pem())] {
            fs::write(dir.join(file), text).unwrap();
        }
        let new = self.0.join("..data_tmp");
        symlink(version, &new).unwrap();
        fs::rename(new, self.0.join("..data")).unwrap();
    }

    /// The arguments of `kubridge serve`.
    fn arguments(&self) -> [String; 3] {
        [("tls-cert-file", "tls.crt"), ("tls-private-key-file", "tls.key"), ("tls-ca-file", "ca.crt")]
            .map(|(flag, file)| format!("--{flag}={}", self.0.join(file).display()))
    }
}

/// Whether who trusts `bundle` takes the certificate that is shown to a new connection.
async fn takes(bundle: &[u8], address: SocketAddr) -> bool {
    let client = Client::by_name(SERVER_NAME, address, bundle, None);
    client.request(Method::GET, "/livez").send().await.is_ok()
}

/// Waits until a new connection is shown a certificate of this CA (PEM).
async fn shows(ca: &str, address: SocketAddr) {
    let begun = Instant::now();
    while !takes(ca.as_bytes(), address).await {
        assert!(begun.elapsed() < Duration::from_secs(60), "the new certificate is not shown");
        sleep(Duration::from_millis(50)).await;
    }
}

/// What the kube-apiserver trusts, PEM.
async fn ca_bundle(client: &Client) -> Vec<u8> {
    let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}");
    let service = client.get(&path).await.expect(200).json();
    BASE64_STANDARD.decode(service["spec"]["caBundle"].as_str().unwrap()).unwrap()
}

/// What ends within a year is followed by another: the Secret of the shared CA, about to do so.
async fn ageing(cluster: &Cluster) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = (SystemTime::now() - Duration::from_secs(3600)).into();
    params.not_after = (SystemTime::now() + Duration::from_secs(90 * 24 * 3600)).into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let data = json!({"ca.pem": certificate.clone() + &key.serialize_pem(), "ca.crt": certificate});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"namespace": "kubridge-system", "name": "kubridge-ca"}, "stringData": data,
    });
    cluster.apply(&secret).await;
    certificate
}

/// Waits until another signs; gives all that are to be trusted, PEM.
async fn followed(cluster: &Cluster, before: &str) -> String {
    let begun = Instant::now();
    loop {
        let get = ["get", "secret", "kubridge-ca", "-n", "kubridge-system", "-o", "json"];
        let secret: Value = serde_json::from_str(&cluster.kubectl.run(&get).await.ok()).unwrap();
        let data = |key: &str| {
            let value = BASE64_STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap();
            String::from_utf8(value).unwrap()
        };
        if secret["data"]["next.pem"].is_null() && !data("ca.pem").contains(before) {
            return data("ca.crt");
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the CA is not followed");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Clients of the kube-apiserver, and a kube-apiserver that dials each of these anew all the time.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

impl Load {
    fn start(client: Client, addresses: Vec<SocketAddr>) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&asked));
        let running = tokio::spawn(async move {
            while !until.load(Ordering::Relaxed) {
                let machines = "/apis/inventory.example.com/v1/machines";
                let answer = client.request(Method::GET, machines).send().await;
                assert_eq!(answer.unwrap().status(), 200);
                // A connection is kept as long as it goes. One that was opened now would be verified by this:
                let bundle = ca_bundle(&client).await;
                for address in &addresses {
                    assert!(
                        takes(&bundle, *address).await,
                        "{address}:\n{}",
                        String::from_utf8_lossy(&bundle)
                    );
                }
                count.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, asked, running }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.running.await.unwrap();
        assert!(self.asked.load(Ordering::Relaxed) > 10, "it was looked all the time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_certificate_follows_another_of_another_ca_and_no_request_is_lost() {
    let mut cluster = Cluster::without_kubridge().await;
    let shared = ageing(&cluster).await;
    let (first, second) = (Ca::new("first"), Ca::new("second"));
    // The first leads.
    let mut replicas = Vec::new();
    for name in ["one", "other"] {
        let mount = Mount::new(cluster.file(name, "").with_extension("mount"));
        mount.issue(&first, "..1");
        let arguments = mount.arguments();
        let address = cluster.start_kubridge(&arguments.each_ref().map(String::as_str)).await;
        replicas.push((mount, address));
    }
    let [(mount, address), (other_mount, other_address)] = replicas.try_into().ok().unwrap();
    cluster.point_at(address.port()).await;
    cluster.claim(address.port()).await;
    cluster.available().await;
    let client = cluster.plane.client();
    assert_eq!(ca_bundle(&client).await, first.pem().into_bytes());

    let load = Load::start(client.clone(), vec![address, other_address]);
    // The kubelet of the other node is early. That replica looks every five seconds, and is not trusted yet.
    other_mount.issue(&second, "..2");
    sleep(Duration::from_secs(6)).await;
    assert!(takes(first.pem().as_bytes(), other_address).await);
    mount.issue(&second, "..2");
    shows(&second.pem(), address).await;
    shows(&second.pem(), other_address).await;
    let both = String::from_utf8(ca_bundle(&client).await).unwrap();
    assert_eq!(both, second.pem() + &first.pem(), "somebody may still be late");
    load.end().await;
    // Backends verify by the shared CA, whatever is mounted.
    followed(&cluster, &shared).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_ca_follows_another_and_no_request_is_lost() {
    let mut cluster = Cluster::without_kubridge().await;
    let old = ageing(&cluster).await;
    // Nobody leads for a while, and what is trusted is what was.
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "kubridge-system", "name": "kubridge"},
        "spec": {"holderIdentity": "somebody else", "leaseDurationSeconds": 8},
    });
    cluster.apply(&lease).await;
    let address = cluster.start_kubridge(&[]).await;
    cluster.point_at(address.port()).await;
    cluster.claim(address.port()).await;
    let trusted = json!({"spec": {"caBundle": BASE64_STANDARD.encode(&old)}}).to_string();
    cluster.kubectl.run(&["patch", "apiservice", API_SERVICE, "--type=merge", "-p", &trusted]).await.ok();
    cluster.available().await;
    let load = Load::start(cluster.plane.client(), vec![address]);
    let both = followed(&cluster, &old).await;
    let new = both.replace(&old, "");
    shows(&new, address).await;
    load.end().await;
    cluster.end().await;
}
