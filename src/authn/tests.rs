#![allow(clippy::unwrap_used)]
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair};

use futures::FutureExt as _;

use super::*;

const FILE: &str = "# who may come in\n\
    s3cret,alice,42,\"dev,ops\"\n\
    \n\
    t0ken, bob ,43\n\
    \"quo\"\"ted\",carol,44,system:masters\n";

fn authenticator(text: &str) -> Authenticator {
    let temp = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(temp.path(), text).unwrap();
    Authenticator::new(Some(temp.path().into())).unwrap()
}

/// Standalone nobody is asked.
fn at_once(
    authenticator: &Authenticator,
    headers: &HeaderMap,
    certificate: Option<&ClientCertificate>,
    now: SystemTime,
) -> Result<Arc<UserInfo>, Refused> {
    authenticator.authenticate(headers, certificate, now).now_or_never().unwrap()
}

fn headers(value: &str) -> HeaderMap {
    [(AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
}

fn certificate(cn: &str, organizations: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !cn.is_empty() {
        params.distinguished_name.push(DnType::CommonName, cn);
    }
    for organization in organizations {
        params.distinguished_name.push(DnType::OrganizationName, *organization);
    }
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

#[test]
fn tokens_are_users() {
    let authenticator = authenticator(FILE);
    let user = |value: &str| at_once(&authenticator, &headers(value), None, SystemTime::now());
    let alice = user("Bearer s3cret").unwrap();
    assert_eq!((alice.username.as_str(), alice.uid.as_str()), ("alice", "42"));
    assert_eq!(alice.groups, ["dev", "ops", AUTHENTICATED]);
    assert_eq!(user("bearer  t0ken").unwrap().username, "bob");
    assert_eq!(user("Bearer quo\"ted").unwrap().groups, ["system:masters", AUTHENTICATED]);
    assert_eq!(user("Bearer wrong").unwrap_err(), Rejected::UnknownToken.into());
    assert_eq!(user("Bearer s3cre").unwrap_err(), Rejected::UnknownToken.into());
    for nothing in ["Basic Zm9vOmJhcg==", "Bearer", "Bearer ", "s3cret"] {
        assert_eq!(user(nothing).unwrap().username, ANONYMOUS, "{nothing}");
    }
}

#[test]
fn a_token_without_a_token_file_is_refused() {
    let authenticator = Authenticator::new(None).unwrap();
    let now = SystemTime::now();
    assert!(at_once(&authenticator, &headers("Bearer x"), None, now).is_err());
    let anonymous = at_once(&authenticator, &HeaderMap::new(), None, now).unwrap();
    assert_eq!(anonymous.groups, [UNAUTHENTICATED]);
}

#[test]
fn a_certificate_is_a_user_until_it_ends() {
    let authenticator = authenticator(FILE);
    let der = certificate("admin", &["system:masters"]);
    let user = authenticator.certificate(&[der]).unwrap();
    let now = SystemTime::now();
    let info = at_once(&authenticator, &headers("Bearer wrong"), Some(&user), now).unwrap();
    assert_eq!(info.username, "admin", "the certificate comes first");
    assert_eq!(info.groups, ["system:masters", AUTHENTICATED]);
    let credential = &info.extra["authentication.kubernetes.io/credential-id"].items[0];
    assert_eq!(credential.strip_prefix("X509SHA256=").map(str::len), Some(64));
    let later = user.user().unwrap().not_after + Duration::from_secs(1);
    assert_eq!(
        at_once(&authenticator, &HeaderMap::new(), Some(&user), later).unwrap_err(),
        Rejected::CertificateExpired.into()
    );
    let by_token = at_once(&authenticator, &headers("Bearer s3cret"), Some(&user), later);
    assert_eq!(by_token.unwrap().username, "alice");
}

#[test]
fn a_certificate_without_a_name_is_nobody() {
    assert!(CertificateUser::new(&certificate("", &["system:masters"])).is_none());
    assert!(CertificateUser::new(&CertificateDer::from(vec![0x30, 0x03, 1, 2])).is_none());
}

#[test]
fn faults_of_the_token_file_are_told_at_once_without_the_tokens() {
    let faults = TokenTable::parse(
        "s3cret,alice\n,bob,1\ns3cret,,2\ns3cret,carol,3,dev,ops\n\"open,x,y\ns\"x,a,b\n\"a\"b,c,d\n",
    )
    .unwrap_err();
    assert_eq!(
        faults,
        [
            "line 1: 2 columns where at least token, user and uid are needed",
            "line 2: the token is missing",
            "line 3: the user is missing",
            "line 4: 5 columns: groups are one column, in quotes",
            "line 4: the same token as in line 3",
            "line 5: a quote is not closed",
            "line 6: a quote in a column that does not begin with one",
            "line 7: text after a closing quote",
        ]
    );
    let missing = Authenticator::new(Some("/nonexistent/tokens".into())).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/tokens"), "{missing}");
}

#[test]
fn a_changed_file_is_read_again_and_a_bad_one_is_not_believed() {
    let temp = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(temp.path(), "a,alice,1\n").unwrap();
    let authenticator = Authenticator::new(Some(temp.path().into())).unwrap();
    let knows = |token: &str| {
        at_once(&authenticator, &headers(&format!("Bearer {token}")), None, SystemTime::now()).is_ok()
    };
    assert!(!authenticator.reload().unwrap());
    std::fs::write(temp.path(), "b,bob,1\n").unwrap();
    assert!(authenticator.reload().unwrap());
    assert!(knows("b") && !knows("a"));
    std::fs::write(temp.path(), "broken\n").unwrap();
    authenticator.reload().unwrap_err();
    assert!(knows("b"));
}
