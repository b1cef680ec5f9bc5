//! A Service: where it leads.

use k8s_openapi::api::{core::v1::Service as Object, discovery::v1::EndpointSlice};
use kube::{Api, Client};

use super::{
    ask::{Asked, object, objects},
    verdict::Verdict,
};
use crate::cluster::{NoPlace, Place, Service, places};

/// What is known of a Service.
pub(super) struct Looked {
    pub(super) verdict: Verdict,
    /// Where it is, if it is somewhere.
    pub(super) place: Option<Place>,
    /// It has no address of its own: its pods are asked directly.
    pub(super) is_headless: bool,
}

/// Asks where a Service leads.
pub(super) async fn look(client: &Client, service: &Service) -> Looked {
    let found = object(&Api::<Object>::namespaced(client.clone(), &service.namespace), &service.name).await;
    let labels = format!("kubernetes.io/service-name={}", service.name);
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), &service.namespace);
    let slices = objects(&slices, &labels).await;
    let unknown = |what: &str, why: &str| Looked {
        verdict: Verdict::not_tried(format!("{what} of {} cannot be read: {why}", service.namespace)),
        place: None,
        is_headless: false,
    };
    let found = match found {
        Asked::Found(found) => Some(found),
        Asked::Missing => None,
        Asked::Refused(why) | Asked::Failed(why) => return unknown("Services", &why),
    };
    match slices {
        Asked::Found(slices) => judge(service, found.as_ref(), &slices),
        Asked::Missing => judge(service, found.as_ref(), &[]),
        Asked::Refused(why) | Asked::Failed(why) => unknown("EndpointSlices", &why),
    }
}

/// Where it leads, as its object and its slices say.
pub(super) fn judge(service: &Service, found: Option<&Object>, slices: &[EndpointSlice]) -> Looked {
    let Service { namespace, name, port } = service;
    let place = match places(found, slices.iter(), *port, None) {
        Ok(place) => place,
        Err(why) => {
            let mend = match &why {
                NoPlace::NoService => {
                    format!(
                        "create the Service {name} in the namespace {namespace}, or name the one that there is"
                    )
                }
                NoPlace::NoExternalName => format!("kubectl edit service {name} -n {namespace}"),
                NoPlace::NoPort(..) => {
                    "name a port that it has, or add this one to its spec.ports".to_owned()
                }
                NoPlace::NotReady => format!(
                    "kubectl get pods,endpointslices -n {namespace}: start what is selected by the Service, and see why it \
                     is not ready"
                ),
            };
            let verdict = Verdict::broken(format!("{service}: {why}"), mend);
            return Looked { verdict, place: None, is_headless: false };
        }
    };
    let is_headless = found
        .and_then(|found| found.spec.as_ref())
        .is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"));
    let verdict = match &place {
        Place::External(host, port) => Verdict::ok(format!("{service} leads to {host}:{port}")),
        Place::Endpoints(addresses) => {
            let shown: Vec<String> = addresses.iter().take(8).map(ToString::to_string).collect();
            let more = if addresses.len() > shown.len() { ", ..." } else { "" };
            Verdict::ok(format!("{service} has {} ready: {}{more}", addresses.len(), shown.join(", ")))
        }
    };
    Looked { verdict, place: Some(place), is_headless }
}

/// kube-apiserver's own rule for the Service that it forwards to.
pub(super) fn judge_forwarding(looked: Looked) -> Looked {
    if !looked.is_headless {
        return looked;
    }
    let headless = Verdict::warning(
        "kube-apiserver sends no request to a headless Service unless it runs with --enable-aggregator-routing",
        "give the Service a cluster IP (remove clusterIP: None)",
    );
    Looked { verdict: Verdict::worst_of([headless, looked.verdict]), ..looked }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::app::doctor::verdict::State;

    fn judged(spec: Option<Value>, addresses: &[&str]) -> Looked {
        let service = Service { namespace: "fleet".to_owned(), name: "kubridge".to_owned(), port: 443 };
        let found = spec.map(|spec| {
            serde_json::from_value(json!({"metadata": {"name": "kubridge"}, "spec": spec})).unwrap()
        });
        let endpoints: Vec<Value> = addresses.iter().map(|ip| json!({"addresses": [ip]})).collect();
        let slice = serde_json::from_value(json!({
            "metadata": {"name": "kubridge-1"}, "addressType": "IPv4", "ports": [{"port": 6443}], "endpoints": endpoints,
        }));
        judge_forwarding(judge(&service, found.as_ref(), &[slice.unwrap()]))
    }

    #[test]
    fn where_a_service_leads_or_why_nowhere() {
        let plain = || json!({"clusterIP": "10.96.0.1", "ports": [{"port": 443}]});
        let good = judged(Some(plain()), &["10.0.0.1", "10.0.0.2"]);
        assert_eq!(good.verdict.state, State::Ok);
        let says = "fleet/kubridge:443 has 2 ready: 10.0.0.1:6443, 10.0.0.2:6443";
        assert_eq!(good.verdict.summary, says);
        let external = judged(Some(json!({"type": "ExternalName", "externalName": "localhost"})), &[]);
        assert_eq!(external.place, Some(Place::External("localhost".to_owned(), 443)));
        let headless = judged(Some(json!({"clusterIP": "None", "ports": [{"port": 443}]})), &["10.0.0.1"]);
        assert_eq!(headless.verdict.state, State::Warning);
        assert!(headless.verdict.summary.contains("--enable-aggregator-routing") && headless.place.is_some());
        for (spec, says) in [
            (None, "create the Service kubridge in the namespace fleet"),
            (Some(plain()), "kubectl get pods,endpointslices -n fleet"),
            (Some(json!({"ports": [{"port": 80}]})), "name a port that it has"),
            (Some(json!({"type": "ExternalName"})), "kubectl edit service kubridge -n fleet"),
        ] {
            let Looked { verdict, place, .. } = judged(spec, &[]);
            assert_eq!((verdict.state, place), (State::Broken, None), "{}", verdict.summary);
            assert!(verdict.mend.as_deref().unwrap().contains(says), "{:?}", verdict.mend);
        }
    }
}
