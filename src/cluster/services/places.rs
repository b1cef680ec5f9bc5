//! From a Service and its EndpointSlices to addresses: values in, values out.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointSlice},
};

use super::Place;

/// Why a Service is nowhere, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// There is none of its name.
    #[error("there is no such Service")]
    NoService,
    /// An `ExternalName` without a name.
    #[error("it is of type ExternalName and names nothing: set spec.externalName")]
    NoExternalName,
    /// The port that is asked for, and those that there are.
    #[error("it has no port {0}: spec.ports has {1}")]
    NoPort(u16, String),
    /// None of its endpoints is ready, or it has none.
    #[error(
        "it has no endpoint that is ready: do its pods match spec.selector, and are they ready \
         (kubectl get endpointslices)"
    )]
    NotReady,
}

/// Where a Service's `port` is. Only endpoints that are ready count; where every one of those says for which zones it is
/// meant and some are meant for `zone`, only these do.
///
/// # Errors
/// See [`NoPlace`].
pub fn places<'a>(
    service: Option<&Service>,
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port: u16,
    zone: Option<&str>,
) -> Result<Place, NoPlace> {
    let spec = service.and_then(|service| service.spec.as_ref()).ok_or(NoPlace::NoService)?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let name = spec.external_name.as_deref().filter(|name| !name.is_empty());
        return name.map(|name| Place::External(name.to_owned(), port)).ok_or(NoPlace::NoExternalName);
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    let found = ports.iter().find(|candidate| candidate.port == i32::from(port));
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    if found.is_none() && !(is_headless && ports.is_empty()) {
        let ports: Vec<String> = ports.iter().map(|port| port.port.to_string()).collect();
        return Err(NoPlace::NoPort(
            port,
            if ports.is_empty() { "none".to_owned() } else { ports.join(", ") },
        ));
    }
    let name = found.map(|port| port.name.as_deref().unwrap_or_default());
    let mut ready = Vec::new();
    for slice in slices {
        // A slice's port has the name of the Service's. A headless Service may have no ports: its pods are asked at ours.
        let Some(port) = number(slice, name, port) else { continue };
        for endpoint in slice.endpoints.iter().filter(|endpoint| is_ready(endpoint)) {
            // All addresses of an endpoint are the same pod's.
            let address = endpoint.addresses.first().and_then(|address| address.parse::<IpAddr>().ok());
            ready.extend(address.map(|ip| (SocketAddr::new(ip, port), endpoint)));
        }
    }
    let near = zone.map(|zone| near(&ready, zone)).unwrap_or_default();
    let mut addresses = match near.is_empty() {
        true => ready.into_iter().map(|(address, _)| address).collect(),
        false => near,
    };
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err(NoPlace::NotReady) } else { Ok(Place::Endpoints(addresses)) }
}

/// Unknown is ready (discovery.k8s.io/v1, EndpointConditions).
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn number(slice: &EndpointSlice, name: Option<&str>, port: u16) -> Option<u16> {
    let Some(name) = name else { return Some(port) };
    let ports = slice.ports.as_deref().unwrap_or_default();
    let found = ports.iter().find(|candidate| candidate.name.as_deref().unwrap_or_default() == name)?;
    u16::try_from(found.port?).ok().filter(|port| *port != 0)
}

/// Those that are meant for the zone. Kubernetes' rule: hints count only when every endpoint has one.
fn near(ready: &[(SocketAddr, &Endpoint)], zone: &str) -> Vec<SocketAddr> {
    let mut near = Vec::new();
    for (address, endpoint) in ready {
        let zones = endpoint.hints.as_ref().and_then(|hints| hints.for_zones.as_deref()).unwrap_or_default();
        if zones.is_empty() {
            return Vec::new();
        }
        if zones.iter().any(|meant| meant.name == zone) {
            near.push(*address);
        }
    }
    near
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: &Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "fleet"}, "spec": spec})).unwrap()
    }

    fn slice(ports: &Value, endpoints: &Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "fleet-1"}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn found(
        service: &Service,
        slices: &[EndpointSlice],
        port: u16,
        zone: Option<&str>,
    ) -> Result<Place, NoPlace> {
        places(Some(service), slices.iter(), port, zone)
    }

    fn at(addresses: &[&str]) -> Result<Place, NoPlace> {
        Ok(Place::Endpoints(addresses.iter().map(|address| address.parse().unwrap()).collect()))
    }

    #[test]
    fn a_port_is_found_by_its_name_in_every_slice() {
        let service = service(&json!({"ports": [
            {"name": "grpc", "port": 443, "targetPort": "grpc"}, {"name": "metrics", "port": 9090}
        ]}));
        let slices = [
            slice(
                &json!([{"name": "grpc", "port": 50051}, {"name": "metrics", "port": 9100}]),
                &json!([{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.1"]}]),
            ),
            // Pods whose container port has another number.
            slice(&json!([{"name": "grpc", "port": 50052}]), &json!([{"addresses": ["10.0.0.3"]}])),
        ];
        assert_eq!(
            found(&service, &slices, 443, None),
            at(&["10.0.0.1:50051", "10.0.0.2:50051", "10.0.0.3:50052"])
        );
        assert_eq!(found(&service, &slices, 9090, None), at(&["10.0.0.1:9100", "10.0.0.2:9100"]));
        let why = found(&service, &slices, 80, None).unwrap_err();
        assert_eq!(why.to_string(), "it has no port 80: spec.ports has 443, 9090");
    }

    #[test]
    fn only_those_that_are_ready() {
        let service = service(&json!({"ports": [{"port": 1}]}));
        let endpoint =
            |address: &str, conditions: Value| json!({"addresses": [address], "conditions": conditions});
        let slices = [slice(
            &json!([{"port": 1}]),
            &json!([
                endpoint("10.0.0.1", json!({"ready": true})),
                endpoint("10.0.0.2", json!({"ready": false})),
                endpoint("10.0.0.3", json!({})),
                endpoint("10.0.0.4", json!({"ready": false, "serving": true, "terminating": true})),
            ]),
        )];
        assert_eq!(found(&service, &slices, 1, None), at(&["10.0.0.1:1", "10.0.0.3:1"]));
        assert_eq!(found(&service, &[], 1, None), Err(NoPlace::NotReady));
        assert_eq!(places(None, [].iter(), 1, None), Err(NoPlace::NoService));
    }

    #[test]
    fn headless_and_external_services() {
        let headless = service(&json!({"clusterIP": "None"}));
        let slices = [slice(&json!([]), &json!([{"addresses": ["10.0.0.1"]}, {"addresses": ["fd00::1"]}]))];
        assert_eq!(found(&headless, &slices, 50051, None), at(&["10.0.0.1:50051", "[fd00::1]:50051"]));
        let external = service(&json!({"type": "ExternalName", "externalName": "fleet.example.com"}));
        assert_eq!(found(&external, &[], 7, None), Ok(Place::External("fleet.example.com".to_owned(), 7)));
        let nowhere = service(&json!({"type": "ExternalName"}));
        assert_eq!(found(&nowhere, &[], 7, None), Err(NoPlace::NoExternalName));
    }

    #[test]
    fn nearby_where_every_endpoint_says_for_whom_it_is() {
        let service = service(&json!({"ports": [{"port": 1}]}));
        let hinted = |address: &str, zone: &str| json!({"addresses": [address], "hints": {"forZones": [{"name": zone}]}});
        let all = slice(&json!([{"port": 1}]), &json!([hinted("10.0.0.1", "a"), hinted("10.0.0.2", "b")]));
        let all = [all];
        assert_eq!(found(&service, &all, 1, Some("b")), at(&["10.0.0.2:1"]));
        assert_eq!(
            found(&service, &all, 1, Some("c")),
            at(&["10.0.0.1:1", "10.0.0.2:1"]),
            "nobody is meant for it"
        );
        assert_eq!(
            found(&service, &all, 1, None),
            at(&["10.0.0.1:1", "10.0.0.2:1"]),
            "nobody knows where we are"
        );
        let some =
            slice(&json!([{"port": 1}]), &json!([hinted("10.0.0.1", "a"), {"addresses": ["10.0.0.2"]}]));
        assert_eq!(
            found(&service, &[some], 1, Some("a")),
            at(&["10.0.0.1:1", "10.0.0.2:1"]),
            "one has no hint"
        );
    }
}
