//! What kube-apiserver's words mean when it does not reach an aggregated API, and what to do.

/// What somebody's words tell of, and the mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) what: &'static str,
    pub(super) mend: &'static str,
}

/// The first whose words are in the text is meant. In lower case.
const MEANINGS: [(&[&str], Meaning); 10] = [
    (
        &["signed by unknown authority"],
        Meaning {
            what: "kube-apiserver does not trust Kubridge's certificate",
            mend: "put the CA that signed it into spec.caBundle (Kubridge's leader does so by itself unless the APIService \
                   is annotated for cert-manager)",
        },
    ),
    (
        &["certificate is valid for", "not valid for any names", "certificate is not valid for", "ip sans"],
        Meaning {
            what: "Kubridge's certificate is for other names",
            mend: "have it issued for NAME.NAMESPACE.svc of the Service that the APIService names (serve --service, or \
                   --tls-cert-file with that name)",
        },
    ),
    (
        &["certificate has expired", "not yet valid"],
        Meaning {
            what: "Kubridge's certificate is not valid at this time",
            mend: "renew it, or mend the clock of the host that is wrong",
        },
    ),
    (
        &["connection refused", "connection reset"],
        Meaning {
            what: "nobody serves where the Service leads",
            mend: "see that Kubridge runs and listens at the Service's target port (kubectl get pods, kubectl logs)",
        },
    ),
    (
        &["no such host"],
        Meaning {
            what: "kube-apiserver does not find the host of the Service",
            mend: "correct spec.externalName, or the DNS of the hosts that kube-apiserver runs on",
        },
    ),
    (
        &["deadline exceeded", "timeout", "no route to host", "network is unreachable"],
        Meaning {
            what: "kube-apiserver gets no answer where the Service leads",
            mend: "let the control plane's hosts reach Kubridge's pods (NetworkPolicy, firewall, security group; \
                   --enable-aggregator-routing where kube-proxy does not run on them)",
        },
    ),
    (
        &["bad status from"],
        Meaning {
            what: "Kubridge answers kube-apiserver's probe with a refusal",
            mend: "see the hops front proxy and discovery, and the log of Kubridge",
        },
    ),
    (
        &["clusterip \"none\""],
        Meaning {
            what: "kube-apiserver does not send requests to headless Services",
            mend: "give the Service a cluster IP, or kube-apiserver --enable-aggregator-routing",
        },
    ),
    (
        &["no endpoints available", "missing endpoint", "has no addresses", "no service port"],
        Meaning { what: "the Service leads nowhere", mend: "see the hop Service" },
    ),
    (
        &["service unavailable"],
        Meaning {
            what: "kube-apiserver sends no requests, because it calls the APIService unavailable",
            mend: "see the hop Available",
        },
    ),
];

/// What kube-apiserver tells of, if it can be known.
pub(super) fn meaning(text: &str) -> Option<Meaning> {
    let text = text.to_ascii_lowercase();
    let known = MEANINGS.iter().find(|(words, _)| words.iter().any(|word| text.contains(word)));
    known.map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_kube_apiserver() {
        for (text, what) in [
            (
                "failing or missing response from https://10.0.0.1:443/apis/a/v1: Get \"...\": tls: failed to verify \
                 certificate: x509: certificate signed by unknown authority",
                "does not trust",
            ),
            ("x509: certificate is valid for localhost, not kubridge.kubridge-system.svc", "other names"),
            ("x509: certificate has expired or is not yet valid: current time ...", "not valid at this time"),
            (
                "error trying to reach service: dial tcp 127.0.0.1:1: connect: connection refused",
                "nobody serves",
            ),
            (
                "error trying to reach service: dial tcp: lookup nowhere: no such host",
                "does not find the host",
            ),
            ("Get \"...\": context deadline exceeded (Client.Timeout exceeded)", "gets no answer"),
            ("bad status from https://10.0.0.1:443/apis/a/v1: 503", "with a refusal"),
            ("cannot route to service with ClusterIP \"None\"", "headless"),
            ("no endpoints available for service \"kubridge\"", "leads nowhere"),
            ("service unavailable", "calls the APIService unavailable"),
        ] {
            let found = meaning(text).map(|meaning| meaning.what).unwrap_or_default();
            assert!(found.contains(what), "{text}: {found}");
        }
        assert_eq!(meaning("something else"), None);
    }
}
