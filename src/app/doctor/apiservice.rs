//! The APIService: what it claims and for whom, and what kube-apiserver says of it.

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::ResourceExt as _;

use super::{explain::meaning, verdict::Verdict};
use crate::{
    cluster::Service,
    config::ServiceName,
    registry::{AVAILABLE, BACKEND, from_cluster, validation::validate},
};

/// What kube-apiserver assumes where an APIService says nothing.
const DEFAULT_PORT: i32 = 443;

/// What it claims, for whom, and where it says that the backend is.
pub(super) fn judge(object: &APIService, expected: &ServiceName) -> Verdict {
    let name = object.name_any();
    let spec = object.spec.clone().unwrap_or_default();
    let Some(reference) = spec.service else {
        let mend = format!("set spec.service to namespace {}, name {}", expected.namespace, expected.name);
        return Verdict::broken("it names no Service: kube-apiserver serves the group itself", mend);
    };
    let (namespace, of_name) = (reference.namespace.unwrap_or_default(), reference.name.unwrap_or_default());
    if namespace != expected.namespace || of_name != expected.name {
        let mend = format!(
            "set spec.service to {expected}; or, where Kubridge is behind this one, give --service {namespace}/{of_name}"
        );
        return Verdict::broken(
            format!("it names the Service {namespace}/{of_name}, and Kubridge's is {expected}"),
            mend,
        );
    }
    let Some(backend) = object.annotations().get(BACKEND) else {
        let mend = format!("kubectl annotate apiservice {name} {BACKEND}=grpc://HOST:PORT");
        return Verdict::broken(format!("the annotation {BACKEND} is missing: nobody serves it"), mend);
    };
    let faults = validate(&from_cluster(object.clone()));
    if !faults.is_empty() {
        let verdict = Verdict::broken("it says what cannot be", format!("kubectl edit apiservice {name}"));
        return faults.iter().fold(verdict, |verdict, fault| verdict.detail(fault.to_string()));
    }
    let (group, version) = (spec.group.unwrap_or_default(), spec.version.unwrap_or_default());
    Verdict::ok(format!("{group}/{version} is sent to {expected}, which asks {backend}"))
}

/// The Service that it names, with its port.
pub(super) fn service(object: &APIService) -> Option<Service> {
    let reference = object.spec.as_ref()?.service.as_ref()?;
    Some(Service {
        namespace: reference.namespace.clone()?,
        name: reference.name.clone()?,
        port: u16::try_from(reference.port.unwrap_or(DEFAULT_PORT)).ok()?,
    })
}

/// What kube-apiserver says of it: its condition Available, explained.
pub(super) fn judge_available(object: &APIService) -> Verdict {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_deref());
    let Some(condition) =
        conditions.unwrap_or_default().iter().find(|condition| condition.type_ == AVAILABLE)
    else {
        return Verdict::broken(
            "kube-apiserver says nothing of it, and sends it no request until it does",
            "wait 30 seconds; a spec.caBundle that is no PEM keeps kube-apiserver silent, too",
        );
    };
    let (reason, message) =
        (condition.reason.as_deref().unwrap_or_default(), condition.message.as_deref().unwrap_or_default());
    if condition.status == "True" {
        return Verdict::ok(format!("kube-apiserver says: {message}"));
    }
    let what = format!("kube-apiserver sends it no request: {reason}");
    let verdict = match reason {
        "ServiceNotFound"
        | "ServicePortError"
        | "ServiceAccessError"
        | "EndpointsNotFound"
        | "EndpointsAccessError"
        | "MissingEndpoints" => {
            Verdict::broken(what, "see the hop Service; kube-apiserver looks again within 30 seconds")
        }
        _ => match meaning(message) {
            Some(known) => Verdict::broken(format!("{what}: {}", known.what), known.mend),
            None => Verdict::broken(what, "its message says why; see the hops above and the log of Kubridge"),
        },
    };
    verdict.detail(format!("kube-apiserver says: {message}"))
}

/// Since when kube-apiserver calls it available, in seconds at `now` (Unix); `None`: it does not.
pub(super) fn available_for(object: &APIService, now: i64) -> Option<i64> {
    let conditions = object.status.as_ref()?.conditions.as_deref()?;
    let condition = conditions.iter().find(|one| one.type_ == AVAILABLE && one.status == "True")?;
    Some(now - condition.last_transition_time.as_ref()?.0.as_second())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::app::doctor::verdict::State;

    fn object(change: impl FnOnce(&mut Value)) -> APIService {
        let mut value = json!({
            "metadata": {
                "name": "v1.inventory.example.com",
                "annotations": {"kubridge.io/backend": "grpc://inventory.default.svc:50051"},
            },
            "spec": {
                "group": "inventory.example.com", "version": "v1",
                "groupPriorityMinimum": 1000, "versionPriority": 15,
                "service": {"namespace": "kubridge-system", "name": "kubridge", "port": 443},
            },
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn judged(change: impl FnOnce(&mut Value)) -> (State, String) {
        let ours =
            ServiceName { namespace: "kubridge-system".to_owned(), name: "kubridge".to_owned(), port: 443 };
        let Verdict { state, summary, details, mend } = judge(&object(change), &ours);
        (state, format!("{summary} | {} | {}", details.join(" "), mend.unwrap_or_default()))
    }

    #[test]
    fn what_it_must_say() {
        let (state, text) = judged(|_| {});
        assert_eq!(state, State::Ok, "{text}");
        assert!(text.contains("which asks grpc://inventory.default.svc:50051"), "{text}");
        type Change = fn(&mut Value);
        let faults: [(Change, &str); 5] = [
            (|o| o["spec"]["service"] = Value::Null, "names no Service"),
            (
                |o| o["spec"]["service"]["name"] = json!("metrics-server"),
                "--service kubridge-system/metrics-server",
            ),
            (
                |o| o["metadata"]["annotations"] = json!({}),
                "kubectl annotate apiservice v1.inventory.example.com kubridge.io/backend=",
            ),
            (
                |o| o["metadata"]["annotations"]["kubridge.io/backend"] = json!("inventory:50051"),
                "must be grpc://HOST:PORT",
            ),
            (|o| o["spec"]["groupPriorityMinimum"] = json!(0), "spec.groupPriorityMinimum"),
        ];
        for (change, says) in faults {
            let (state, text) = judged(change);
            assert_eq!(state, State::Broken, "{text}");
            assert!(text.contains(says), "{text}");
        }
        let other = object(|o| o["spec"]["service"]["port"] = json!(8443));
        assert_eq!(service(&other).unwrap().to_string(), "kubridge-system/kubridge:8443");
    }

    #[test]
    fn what_kube_apiserver_says_is_explained() {
        let condition = |status: &str, reason: &str, message: &str| {
            let condition = json!([{
                "type": "Available", "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]);
            object(|o| o["status"] = json!({"conditions": condition}))
        };
        let silent = judge_available(&object(|_| {}));
        assert_eq!(silent.state, State::Broken);
        assert!(silent.mend.unwrap().contains("no PEM"));
        let good = condition("True", "Passed", "all checks passed");
        assert_eq!(judge_available(&good).state, State::Ok);
        assert_eq!(available_for(&good, 1_767_225_600 + 7), Some(7));
        let nowhere =
            condition("False", "MissingEndpoints", "endpoints for service/kubridge ... have no addresses");
        let verdict = judge_available(&nowhere);
        assert!(verdict.mend.unwrap().contains("see the hop Service"));
        assert_eq!(available_for(&nowhere, 0), None);
        let refused = condition(
            "False",
            "FailedDiscoveryCheck",
            "Get ...: dial tcp 10.0.0.1:443: connect: connection refused",
        );
        let verdict = judge_available(&refused);
        assert_eq!(verdict.state, State::Broken);
        assert!(verdict.summary.contains("nobody serves") && verdict.details[0].contains("10.0.0.1:443"));
    }
}
