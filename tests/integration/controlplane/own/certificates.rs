//! A mounted certificate that is replaced, with its CA, while the kube-apiserver sends requests.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use tokio::time::{Instant, sleep};

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

/// Waits until a new connection is shown a certificate of this CA.
async fn shows(ca: &Ca, address: SocketAddr) {
    let begun = Instant::now();
    while !takes(ca.pem().as_bytes(), address).await {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_certificate_follows_another_of_another_ca_and_no_request_is_lost() {
    let mut cluster = Cluster::without_kubridge().await;
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

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (until, count) = (Arc::clone(&stop), Arc::clone(&asked));
    let load = tokio::spawn(async move {
        while !until.load(Ordering::Relaxed) {
            let answer = client.request(Method::GET, "/apis/inventory.example.com/v1/machines").send().await;
            assert_eq!(answer.unwrap().status(), 200);
            // A connection is kept as long as it goes. A kube-apiserver that opened one now would trust this:
            let bundle = ca_bundle(&client).await;
            for address in [address, other_address] {
                assert!(takes(&bundle, address).await, "{address}:\n{}", String::from_utf8_lossy(&bundle));
            }
            count.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(20)).await;
        }
    });
    // The kubelet of the other node is early. That replica looks every five seconds, and is not trusted yet.
    other_mount.issue(&second, "..2");
    sleep(Duration::from_secs(6)).await;
    assert!(takes(first.pem().as_bytes(), other_address).await);
    mount.issue(&second, "..2");
    shows(&second, address).await;
    shows(&second, other_address).await;
    let both = ca_bundle(&cluster.plane.client()).await;
    assert_eq!(String::from_utf8(both).unwrap(), second.pem() + &first.pem(), "somebody may still be late");
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert!(asked.load(Ordering::Relaxed) > 10, "it was looked all the time");
    cluster.end().await;
}
