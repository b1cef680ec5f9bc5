//! How Kubridge knows that it is kube-apiserver who forwards a request: what the cluster publishes for it.

use std::{collections::BTreeMap, time::SystemTime};

use super::{tls::Life, verdict::Verdict};
use crate::cluster::{
    AuthenticationConfig,
    authentication::{NAME, NAMESPACE},
};

/// What kube-apiserver always calls a user and its groups, whatever it is configured to believe itself.
const STANDARD: (&str, &str) = ("x-remote-user", "x-remote-group");

/// `data`: of the ConfigMap, if it is there.
pub(super) fn judge(data: Option<&BTreeMap<String, String>>, now: SystemTime) -> Verdict {
    let give = "give kube-apiserver --requestheader-client-ca-file (the CA of --proxy-client-cert-file)";
    let Some(data) = data else {
        return Verdict::broken(format!("there is no ConfigMap {NAMESPACE}/{NAME}"), give);
    };
    let (config, faults) = AuthenticationConfig::read(data);
    if !faults.is_empty() {
        let what = format!("the ConfigMap {NAMESPACE}/{NAME} has what cannot be used");
        let verdict = Verdict::broken(what, "correct the flag of kube-apiserver that it comes from");
        return faults.iter().fold(verdict, Verdict::detail);
    }
    let Some(proxy) = config.front_proxy else {
        let what = format!("the ConfigMap {NAMESPACE}/{NAME} has no requestheader-client-ca-file");
        return Verdict::broken(what, give);
    };
    let cas = proxy.authority.certificates();
    if cas.iter().filter_map(Life::of).all(|life| life.not_after <= now) {
        return Verdict::broken("the CA of the front proxy has expired", give);
    }
    let has = |names: &[http::HeaderName], name: &str| names.iter().any(|known| known == name);
    if !has(&proxy.username_headers, STANDARD.0) {
        return Verdict::broken(
            "requestheader-username-headers lacks X-Remote-User, which is what kube-apiserver writes",
            "give kube-apiserver --requestheader-username-headers=X-Remote-User",
        );
    }
    let names = match proxy.allowed_names.as_slice() {
        [] => "any name".to_owned(),
        names => names.join(" or "),
    };
    let count = cas.len();
    let believed = format!(
        "Kubridge believes who has a certificate of {count} CA{} and is called {names}",
        if count == 1 { "" } else { "s" }
    );
    let verdict = if has(&proxy.group_headers, STANDARD.1) {
        Verdict::ok(believed)
    } else {
        Verdict::warning(
            "requestheader-group-headers lacks X-Remote-Group: users arrive without their groups",
            "give kube-apiserver --requestheader-group-headers=X-Remote-Group",
        )
        .detail(believed)
    };
    let shown =
        |names: &[http::HeaderName]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    verdict.detail(format!(
        "user from {}; groups from {}; extra from {}*",
        shown(&proxy.username_headers),
        shown(&proxy.group_headers),
        proxy.extra_prefixes.join("*, ")
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;
    use crate::app::doctor::verdict::State;

    fn data() -> BTreeMap<String, String> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        [
            ("requestheader-client-ca-file", ca.pem()),
            ("requestheader-allowed-names", r#"["front-proxy"]"#.to_owned()),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#.to_owned()),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#.to_owned()),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    #[test]
    fn whom_the_cluster_lets_kubridge_believe() {
        let now = SystemTime::now();
        let good = judge(Some(&data()), now);
        assert_eq!(good.state, State::Ok);
        assert!(
            good.summary.ends_with("a certificate of 1 CA and is called front-proxy"),
            "{}",
            good.summary
        );
        assert!(good.details[0].contains("user from x-remote-user"), "{}", good.details[0]);
        assert_eq!(judge(None, now).state, State::Broken);
        for (key, value, state, says) in [
            ("requestheader-client-ca-file", None, State::Broken, "no requestheader-client-ca-file"),
            ("requestheader-client-ca-file", Some("garbage"), State::Broken, "cannot be used"),
            ("requestheader-username-headers", Some("[]"), State::Broken, "lacks X-Remote-User"),
            ("requestheader-username-headers", Some("X-Remote-User"), State::Broken, "no JSON array"),
            ("requestheader-group-headers", None, State::Warning, "lacks X-Remote-Group"),
        ] {
            let mut data = data();
            data.remove(key);
            data.extend(value.map(|value| (key.to_owned(), value.to_owned())));
            let verdict = judge(Some(&data), now);
            let text = format!("{} {}", verdict.summary, verdict.details.join(" "));
            assert_eq!(verdict.state, state, "{key}: {text}");
            assert!(text.contains(says) && verdict.mend.is_some(), "{key}: {text}");
        }
    }
}
