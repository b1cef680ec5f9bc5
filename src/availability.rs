//! From what is known of a backend to the condition `Available` of its APIServices. Pure.

use kubridge_bridge::proto::Condition;

/// What is known of whatever serves an APIService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// The aggregator itself serves it.
    Local,
    /// It names a kind of backend that this version does not speak to.
    Unsupported,
    /// The APIService's address or CA cannot be used, so nothing was tried.
    Unusable {
        /// The backend's URL, as the APIService has it.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No schema since the aggregator started, because the backend's certificate or ours is not accepted.
    Untrusted {
        /// The backend's URL, as the APIService has it.
        url: String,
        /// By whom, and why.
        why: String,
    },
    /// A gRPC backend whose schema has not been read since the aggregator started.
    Unknown {
        /// The backend's URL, as the APIService has it.
        url: String,
        /// Why the last attempt failed; empty before the first one ended.
        last_error: String,
    },
    /// The backend's schema has faults, and there is no earlier one without.
    Rejected {
        /// The backend's URL.
        url: String,
        /// The first faults.
        faults: String,
    },
    /// The backend's schema does not declare what the APIService claims.
    NotDeclared {
        /// The backend's URL.
        url: String,
        /// "inventory.example.com/v1".
        group_version: String,
        /// What it declares.
        declared: Vec<String>,
    },
    /// The schema is known and the connection failed.
    Disconnected {
        /// The backend's URL.
        url: String,
        /// Why.
        last_error: String,
    },
    /// The schema is known, and nothing speaks against the connection.
    Serving {
        /// The backend offers a newer schema that has faults: the good one stays in use.
        newer_rejected: Option<String>,
    },
}

/// Where address and CA are written.
const WHERE: &str = "the address is in the annotation kubridge.io/backend, the CA in kubridge.io/backend-ca (PEM) or, \
                     without spec.service, in spec.caBundle; for a --backend, in --backend-ca-file";

/// The condition, without its time: `lastTransitionTime` is the writer's.
pub fn condition(observation: &Observation) -> Condition {
    let (status, reason, message) = match observation {
        Observation::Local => ("True", "Local", "Local APIServices are always available".to_owned()),
        Observation::Unsupported => (
            "False",
            "ProtocolNotSupported",
            "this version speaks to gRPC backends only; annotate the APIService with \
             kubridge.io/backend: grpc://HOST:PORT"
                .to_owned(),
        ),
        Observation::Unusable { url, why } => {
            ("False", "InvalidBackend", format!("no connection to {url}: {why}; {WHERE}"))
        }
        Observation::Untrusted { url, why } => {
            ("False", "FailedDiscoveryCheck", format!("no schema from {url}: {}; {WHERE}", without(url, why)))
        }
        Observation::Unknown { url, last_error } if last_error.is_empty() => {
            ("Unknown", "SchemaNotReadYet", format!("{url} is being asked for its schema"))
        }
        Observation::Unknown { url, last_error } => (
            "False",
            "FailedDiscoveryCheck",
            format!(
                "no schema from {url}: {}; start the backend, or correct the annotation kubridge.io/backend",
                without(url, last_error)
            ),
        ),
        Observation::Rejected { url, faults } => (
            "False",
            "SchemaRejected",
            format!("the schema of {url} has faults: {faults}; see: kubridge lint --backend {url}"),
        ),
        Observation::NotDeclared { url, group_version, declared } => (
            "False",
            "GroupVersionNotDeclared",
            format!(
                "{url} does not declare {group_version} (it declares {}); correct spec.group and spec.version, or \
                 the proto's option (kubridge.v1.api)",
                if declared.is_empty() { "nothing".to_owned() } else { declared.join(", ") }
            ),
        ),
        Observation::Disconnected { url, last_error } => (
            "False",
            "FailedDiscoveryCheck",
            format!(
                "{url} does not answer: {}; start it, or correct the annotation kubridge.io/backend; its last known \
                 schema stays in use",
                without(url, last_error)
            ),
        ),
        Observation::Serving { newer_rejected: None } => ("True", "Passed", "all checks passed".to_owned()),
        Observation::Serving { newer_rejected: Some(faults) } => (
            "True",
            "PassedWithOldSchema",
            format!("the backend's newer schema has faults, the last good one stays in use: {faults}"),
        ),
    };
    Condition {
        r#type: "Available".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        ..Condition::default()
    }
}

/// An error names the backend that it is from; the message around it has done so already.
fn without(url: &str, error: &str) -> String {
    error.replace(&format!("{url} ("), "(").replace(&format!("{url}: "), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_observation_names_a_reason_and_a_mend() {
        let url = "grpc://h:1".to_owned();
        let cases = [
            (Observation::Local, "True", "Local", "always available"),
            (Observation::Unsupported, "False", "ProtocolNotSupported", "kubridge.io/backend"),
            (
                Observation::Unknown { url: url.clone(), last_error: String::new() },
                "Unknown",
                "SchemaNotReadYet",
                "being asked",
            ),
            (
                Observation::Unknown { url: url.clone(), last_error: "refused".into() },
                "False",
                "FailedDiscoveryCheck",
                "refused; start the backend",
            ),
            (
                Observation::Unusable { url: url.clone(), why: "no certificate".into() },
                "False",
                "InvalidBackend",
                "no certificate; the address is in the annotation kubridge.io/backend",
            ),
            (
                Observation::Untrusted { url: url.clone(), why: "wrong CA".into() },
                "False",
                "FailedDiscoveryCheck",
                "wrong CA; the address is in the annotation kubridge.io/backend, the CA in kubridge.io/backend-ca",
            ),
            (
                Observation::Rejected { url: url.clone(), faults: "no List".into() },
                "False",
                "SchemaRejected",
                "kubridge lint --backend grpc://h:1",
            ),
            (
                Observation::NotDeclared {
                    url: url.clone(),
                    group_version: "a.b/v1".into(),
                    declared: vec!["a.b/v2".into()],
                },
                "False",
                "GroupVersionNotDeclared",
                "does not declare a.b/v1 (it declares a.b/v2)",
            ),
            (
                Observation::Disconnected { url, last_error: "grpc://h:1 (127.0.0.1:1): refused".into() },
                "False",
                "FailedDiscoveryCheck",
                "does not answer: (127.0.0.1:1): refused; start it",
            ),
            (Observation::Serving { newer_rejected: None }, "True", "Passed", "all checks passed"),
            (
                Observation::Serving { newer_rejected: Some("no List".into()) },
                "True",
                "PassedWithOldSchema",
                "no List",
            ),
        ];
        for (observation, status, reason, part) in cases {
            let condition = condition(&observation);
            assert_eq!(
                (condition.status.as_str(), condition.reason.as_str()),
                (status, reason),
                "{observation:?}"
            );
            assert!(condition.message.contains(part), "{}", condition.message);
        }
    }
}
