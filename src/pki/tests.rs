#![allow(clippy::unwrap_used)]
use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::config::OwnCertificate;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Home {
    _temp: tempfile::TempDir,
    data: DataDir,
    now: SystemTime,
}

impl Home {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::open(&temp.path().join("data")).unwrap();
        Self { _temp: temp, data, now: SystemTime::now() }
    }

    fn open(&self) -> Result<Pki, PkiError> {
        self.open_as(&[], "https://127.0.0.1:6443")
    }

    fn open_as(&self, sans: &[&str], url: &str) -> Result<Pki, PkiError> {
        let sans = sans.iter().map(|s| s.parse().unwrap()).collect();
        Pki::open(&self.data, &Tls::default(), Names { sans, server_url: Some(url.into()) }, self.now)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.data.join(name)).unwrap()
    }
}

/// Certificates take effect at once.
fn nobody() -> Audience {
    Audience::default()
}

fn served(pki: &Pki) -> CertificateDer<'static> {
    pki.serving.0.load().cert[0].clone()
}

fn shown(pki: &Pki) -> CertificateDer<'static> {
    pki.client().resolve(&[], &[]).unwrap().cert[0].clone()
}

#[test]
fn first_start_makes_everything_private_and_a_restart_keeps_it() {
    let home = Home::new();
    let first = home.open().unwrap();
    for name in
        ["pki/ca.pem", "pki/serving.pem", "pki/admin.pem", "pki/backend-client.pem", "admin.kubeconfig"]
    {
        let mode = fs::metadata(home.data.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(home.data.join("pki")).unwrap().permissions().mode() & 0o777, 0o700);
    let files = [
        "pki/ca.pem",
        "pki/serving.pem",
        "pki/admin.pem",
        "admin.kubeconfig",
        "pki/backend-client.pem",
        "pki/ca.crt",
    ];
    let before = files.map(|name| home.text(name));
    let second = home.open().unwrap();
    assert_eq!(files.map(|name| home.text(name)), before);
    assert_eq!((served(&first), shown(&first)), (served(&second), shown(&second)));
    assert!(!before[5].contains("PRIVATE KEY"), "ca.crt is for others");
    assert!(before[3].contains("server: \"https://127.0.0.1:6443\""));
}

#[test]
fn leaves_are_renewed_30_days_before_they_end_while_running() {
    let home = Home::new();
    let pki = home.open().unwrap();
    let (ca, old, kubeconfig) = (home.text("pki/ca.pem"), served(&pki), home.text("admin.kubeconfig"));
    let old_client = shown(&pki);
    assert_eq!(
        pki.refresh(home.now + 334 * DAY, &nobody()).unwrap(),
        Refreshed::default(),
        "31 days are left"
    );
    assert_eq!((served(&pki), shown(&pki)), (old.clone(), old_client.clone()));
    let renewed = pki.refresh(home.now + 336 * DAY, &nobody()).unwrap();
    let all = Refreshed { serving: true, serving_waits: false, client: true, proxy_client: true };
    assert_eq!(renewed, all, "29 days are left");
    assert_ne!(served(&pki), old);
    assert_ne!(shown(&pki), old_client);
    assert_eq!(home.text("pki/ca.pem"), ca);
    assert_ne!(home.text("admin.kubeconfig"), kubeconfig, "the admin certificate is renewed too");
}

#[test]
fn changed_names_and_urls_are_written_again() {
    let home = Home::new();
    let (one, ca) = (served(&home.open().unwrap()), home.text("pki/ca.pem"));
    let admin = home.text("pki/admin.pem");
    let pki = home.open_as(&["api.example.com", "10.1.2.3"], "https://api.example.com").unwrap();
    assert_ne!(served(&pki), one);
    assert!(home.text("admin.kubeconfig").contains("server: \"https://api.example.com\""));
    assert_eq!(home.text("pki/ca.pem"), ca);
    assert_eq!(home.text("pki/admin.pem"), admin);
    let again =
        home.open_as(&["10.1.2.3", "api.example.com", "localhost"], "https://api.example.com").unwrap();
    assert_eq!(served(&again), served(&pki), "the same names in another order");
}

#[test]
fn corrupt_files_are_named_and_never_overwritten() {
    for (name, mend) in [
        ("pki/ca.pem", "restore it from a backup"),
        ("pki/serving.pem", "remove the file"),
        ("pki/admin.pem", "remove the file"),
        ("pki/backend-client.pem", "remove the file"),
    ] {
        let home = Home::new();
        home.open().unwrap();
        let whole = home.text(name);
        for broken in ["", "garbage", &whole[..whole.len() / 2], &whole[whole.len() / 2..]] {
            fs::write(home.data.join(name), broken).unwrap();
            let error = home.open().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(mend), "{error}");
            assert_eq!(home.text(name), broken);
        }
    }
}

#[test]
fn a_key_of_another_certificate_is_found_out() {
    let home = Home::new();
    home.open().unwrap();
    let (serving, admin) = (home.text("pki/serving.pem"), home.text("pki/admin.pem"));
    let key = admin.find("-----BEGIN PRIVATE").unwrap();
    let cert = serving.find("-----BEGIN PRIVATE").unwrap();
    fs::write(home.data.join("pki/serving.pem"), format!("{}{}", &serving[..cert], &admin[key..])).unwrap();
    let error = home.open().unwrap_err().to_string();
    assert!(error.contains("do not belong together"), "{error}");
}

#[test]
fn a_lost_authority_is_not_replaced_behind_everyones_back() {
    let home = Home::new();
    home.open().unwrap();
    fs::remove_file(home.data.join("pki/ca.pem")).unwrap();
    let error = home.open().unwrap_err().to_string();
    assert!(error.contains("ca.pem is missing"), "{error}");
    assert!(!home.data.join("pki/ca.pem").exists());
}

#[test]
fn a_start_that_was_cut_short_goes_on_and_a_new_authority_signs_anew() {
    let home = Home::new();
    home.open().unwrap();
    let ca = home.text("pki/ca.pem");
    for gone in ["pki/serving.pem", "pki/admin.pem", "pki/backend-client.pem", "admin.kubeconfig"] {
        fs::remove_file(home.data.join(gone)).unwrap();
    }
    let pki = home.open().unwrap();
    assert_eq!(home.text("pki/ca.pem"), ca);
    // Somebody puts another authority in place.
    let other = Home::new();
    other.open().unwrap();
    fs::copy(other.data.join("pki/ca.pem"), home.data.join("pki/ca.pem")).unwrap();
    let admin = home.text("pki/admin.pem");
    let again = home.open().unwrap();
    assert_ne!(served(&again), served(&pki));
    assert_ne!(shown(&again), shown(&pki));
    assert_ne!(home.text("pki/admin.pem"), admin);
}

#[test]
fn an_expired_authority_says_so() {
    let mut home = Home::new();
    home.open().unwrap();
    home.now += 3651 * DAY;
    let error = home.open().unwrap_err().to_string();
    assert!(error.contains("ca.pem has expired"), "{error}");
}

#[test]
fn own_certificates_are_served_and_reloaded() {
    let (home, other) = (Home::new(), Home::new());
    other.open().unwrap();
    let own = OwnCertificate {
        cert_file: other.data.join("pki/serving.pem"),
        key_file: other.data.join("pki/serving.pem"),
    };
    let tls = Tls { own: Some(own), ..Tls::default() };
    let names = Names { sans: Vec::new(), server_url: Some("https://x".into()) };
    let pki = Pki::open(&home.data, &tls, names.clone(), home.now).unwrap();
    assert!(!home.data.join("pki/serving.pem").exists());
    let old = served(&pki);
    fs::remove_file(other.data.join("pki/serving.pem")).unwrap();
    assert!(pki.refresh(home.now, &nobody()).is_err());
    assert_eq!(served(&pki), old, "on an error the present one stays");
    other.open().unwrap();
    assert!(pki.refresh(home.now, &nobody()).unwrap().serving);
    assert_ne!(served(&pki), old);
    let tls = Tls { client_ca_file: Some("/nonexistent/ca".into()), ..Tls::default() };
    let error = Pki::open(&home.data, &tls, names, home.now).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/ca does not exist"), "{error}");
}

#[test]
fn a_given_certificate_of_another_authority_waits_until_that_is_trusted() {
    let (home, first, second) = (Home::new(), Home::new(), Home::new());
    let file = home.data.join("tls.pem");
    let give = |other: &Home| fs::copy(other.data.join("pki/serving.pem"), &file).unwrap();
    for other in [&first, &second] {
        other.open().unwrap();
    }
    give(&first);
    let own = OwnCertificate { cert_file: file.clone(), key_file: file.clone() };
    let tls = Tls { own: Some(own), ..Tls::default() };
    let names = Names { sans: Vec::new(), server_url: None };
    let pki = Pki::open(&home.data, &tls, names, home.now).unwrap();
    let old = served(&pki);
    give(&second);
    let trusting = |cas: &[&Home]| Audience {
        name: "localhost".into(),
        bundles: [cas.iter().map(|ca| ca.text("pki/ca.crt")).collect::<String>().into_bytes()].into(),
    };
    let waits = Refreshed { serving_waits: true, ..Refreshed::default() };
    assert_eq!(pki.refresh(home.now, &trusting(&[&first])).unwrap(), waits);
    assert_eq!(served(&pki), old);
    let replaced = Refreshed { serving: true, ..Refreshed::default() };
    assert_eq!(pki.refresh(home.now, &trusting(&[&first, &second])).unwrap(), replaced);
    assert_ne!(served(&pki), old);
    assert_eq!(pki.refresh(home.now, &trusting(&[&second])).unwrap(), Refreshed::default());
}

#[test]
fn backends_are_shown_a_client_that_may_do_nothing_here() {
    let home = Home::new();
    let certificate = shown(&home.open().unwrap());
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    assert_eq!(parsed.subject().to_string(), "CN=kubridge");
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    let (_, ca) = x509_parser::pem::parse_x509_pem(home.text("pki/ca.crt").as_bytes()).unwrap();
    let ca = ca.parse_x509().unwrap();
    parsed.verify_signature(Some(ca.public_key())).unwrap();
}

#[test]
fn a_given_client_certificate_is_shown_and_its_loss_stops_no_renewal() {
    let (home, other) = (Home::new(), Home::new());
    let theirs = shown(&other.open().unwrap());
    let file = other.data.join("pki/backend-client.pem");
    let own = OwnCertificate { cert_file: file.clone(), key_file: file.clone() };
    let tls = Tls { backend_client: Some(own), ..Tls::default() };
    let names = Names { sans: Vec::new(), server_url: Some("https://x".into()) };
    let pki = Pki::open(&home.data, &tls, names, home.now).unwrap();
    assert_eq!(shown(&pki), theirs);
    assert!(!home.data.join("pki/backend-client.pem").exists());
    let old = served(&pki);
    fs::remove_file(&file).unwrap();
    let error = pki.refresh(home.now + 336 * DAY, &nobody()).unwrap_err().to_string();
    assert!(error.contains("backend-client.pem does not exist: give a PEM file"), "{error}");
    assert_eq!(shown(&pki), theirs, "on an error the present one stays");
    assert_ne!(served(&pki), old, "the others are renewed");
}
