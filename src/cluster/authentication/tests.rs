#![allow(clippy::unwrap_used)]

use futures::stream;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use super::*;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed_by(ca: &Ca, usage: ExtendedKeyUsagePurpose) -> Vec<CertificateDer<'static>> {
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![usage];
    vec![params.signed_by(&KeyPair::generate().unwrap(), ca).unwrap().der().clone()]
}

fn data(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What kube-apiserver writes.
fn usual(clients: &Ca, front_proxy: &Ca) -> BTreeMap<String, String> {
    data(&[
        (CLIENT_CA, &clients.pem()),
        (FRONT_PROXY_CA, &front_proxy.pem()),
        (ALLOWED_NAMES, r#"["front-proxy-client"]"#),
        (USERNAME_HEADERS, r#"["X-Remote-User"]"#),
        (UID_HEADERS, r#"["X-Remote-Uid"]"#),
        (GROUP_HEADERS, r#"["X-Remote-Group","X-Other-Group"]"#),
        (EXTRA_PREFIXES, r#"["X-Remote-Extra-"]"#),
    ])
}

#[test]
fn what_kube_apiserver_writes_is_read() {
    let (clients, front_proxy) = (ca("clients"), ca("front proxy"));
    let (config, faults) =
        AuthenticationConfig::parse(&usual(&clients, &front_proxy), &AuthenticationConfig::default());
    assert_eq!(faults, []);
    let now = SystemTime::now();
    let of_clients = signed_by(&clients, ExtendedKeyUsagePurpose::ClientAuth);
    let known = config.clients.unwrap();
    known.verify(&of_clients, now).unwrap();
    known.verify(&signed_by(&clients, ExtendedKeyUsagePurpose::ServerAuth), now).unwrap_err();
    known.verify(&[], now).unwrap_err();
    let proxy = config.front_proxy.unwrap();
    proxy.authority.verify(&of_clients, now).unwrap_err();
    proxy.authority.verify(&signed_by(&front_proxy, ExtendedKeyUsagePurpose::ClientAuth), now).unwrap();
    assert_eq!(proxy.allowed_names, ["front-proxy-client"]);
    assert_eq!(proxy.username_headers, ["x-remote-user"]);
    assert_eq!(proxy.uid_headers, ["x-remote-uid"]);
    assert_eq!(proxy.group_headers, ["x-remote-group", "x-other-group"]);
    assert_eq!(proxy.extra_prefixes, ["x-remote-extra-"]);
}

#[test]
fn what_is_not_there_vouches_for_nobody() {
    let (config, faults) = AuthenticationConfig::parse(&BTreeMap::new(), &AuthenticationConfig::default());
    assert_eq!(faults, []);
    assert!(config.is_known && config.clients.is_none() && config.front_proxy.is_none());
    let (config, _) = AuthenticationConfig::parse(
        &data(&[(FRONT_PROXY_CA, &ca("x").pem())]),
        &AuthenticationConfig::default(),
    );
    assert!(config.front_proxy.unwrap().username_headers.is_empty());
}

#[test]
fn a_bundle_has_several_cas() {
    let (old, new) = (ca("old"), ca("new"));
    let both = Authority::parse(&(old.pem() + &new.pem())).unwrap();
    for ca in [&old, &new] {
        both.verify(&signed_by(ca, ExtendedKeyUsagePurpose::ClientAuth), SystemTime::now()).unwrap();
    }
}

#[test]
fn a_bad_value_is_named_and_the_last_good_ones_stay() {
    let (clients, front_proxy) = (ca("clients"), ca("front proxy"));
    let good = usual(&clients, &front_proxy);
    let (last, _) = AuthenticationConfig::parse(&good, &AuthenticationConfig::default());
    let cut_off = clients.pem()[..200].to_owned();
    for (key, value, says) in [
        (CLIENT_CA, cut_off.as_str(), "not PEM, or cut off"),
        (CLIENT_CA, "", "no certificate of a CA"),
        (
            FRONT_PROXY_CA,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "no certificate of a CA",
        ),
        (ALLOWED_NAMES, "front-proxy-client", "no JSON array of strings"),
        (USERNAME_HEADERS, r#"["X Remote User"]"#, r#""X Remote User" is no name of an HTTP header"#),
        (GROUP_HEADERS, r#"{"X":"Y"}"#, "no JSON array of strings"),
        (EXTRA_PREFIXES, r#"["X-Remote-Extra-", ""]"#, r#""" is no name"#),
    ] {
        let mut bad = good.clone();
        bad.insert(key.to_owned(), value.to_owned());
        let (config, faults) = AuthenticationConfig::parse(&bad, &last);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].key, key);
        assert!(faults[0].problem.contains(says), "{key}: {}", faults[0].problem);
        let of_clients = signed_by(&clients, ExtendedKeyUsagePurpose::ClientAuth);
        config.clients.unwrap().verify(&of_clients, SystemTime::now()).unwrap();
        let proxy = config.front_proxy.unwrap();
        assert_eq!(proxy.allowed_names, ["front-proxy-client"]);
        assert_eq!(proxy.group_headers.len(), 2);

        let (config, _) = AuthenticationConfig::parse(&bad, &AuthenticationConfig::default());
        let is_about_clients = key == CLIENT_CA;
        assert_eq!(config.clients.is_none(), is_about_clients, "{key}");
        // Names that cannot be read are not "any name".
        assert_eq!(config.front_proxy.is_none(), !is_about_clients, "{key}");
    }
}

#[tokio::test]
async fn what_changes_is_published_and_what_goes_away_stays() {
    let (clients, front_proxy) = (ca("clients"), ca("front proxy"));
    let object = |data| Ok(Some(ConfigMap { data: Some(data), ..ConfigMap::default() }));
    let (first, second) = (usual(&clients, &front_proxy), data(&[(CLIENT_CA, &clients.pem())]));
    let seen = async |objects: Vec<watcher::Result<Option<ConfigMap>>>| {
        let (sender, receiver) = watch::channel(Arc::<AuthenticationConfig>::default());
        let mut publish = std::pin::pin!(publish(
            stream::iter(objects).then(async |o| {
                tokio::task::yield_now().await;
                o
            }),
            sender
        ));
        let mut seen = vec![receiver.borrow().clone()];
        while futures::poll!(publish.as_mut()).is_pending() {
            let now = receiver.borrow().clone();
            if !Arc::ptr_eq(&now, seen.last().unwrap()) {
                seen.push(now);
            }
        }
        let now = receiver.borrow().clone();
        if !Arc::ptr_eq(&now, seen.last().unwrap()) {
            seen.push(now);
        }
        seen
    };
    let nothing = seen(vec![Err(watcher::Error::NoResourceVersion)]).await;
    assert!(nothing.len() == 1 && !nothing[0].is_known);
    let missing = seen(vec![Ok(None), Ok(None)]).await;
    assert!(missing.len() == 2 && missing[1].is_known);
    let changes = seen(vec![
        object(first.clone()),
        object(first.clone()),
        Ok(None),
        Err(watcher::Error::NoResourceVersion),
        object(second),
    ])
    .await;
    let proxies: Vec<bool> = changes.iter().map(|config| config.front_proxy.is_some()).collect();
    assert_eq!(proxies, [false, true, false], "each content once, and no gap between");
}
