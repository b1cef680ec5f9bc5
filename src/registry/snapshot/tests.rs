#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use kubridge_bridge::proto::ObjectMeta;

use super::*;
use crate::registry::proto::apiregistration::ApiServiceSpec;

fn object(group: &str, version: &str, group_priority: i32, version_priority: i32) -> Bytes {
    let service = ApiService {
        metadata: Some(ObjectMeta {
            name: format!("{version}.{group}"),
            resource_version: "7".into(),
            ..Default::default()
        }),
        spec: Some(ApiServiceSpec {
            group: group.into(),
            version: version.into(),
            group_priority_minimum: group_priority,
            version_priority,
            ..Default::default()
        }),
        status: None,
    };
    service.encode_to_vec().into()
}

fn names(objects: Vec<Bytes>) -> Vec<String> {
    let snapshot = Snapshot::from_listings(
        &Listing { version: 9, objects },
        &Listing { version: 9, objects: Vec::new() },
    );
    assert_eq!(snapshot.version, 9);
    snapshot.claims.iter().map(|claim| claim.name.clone()).collect()
}

#[test]
fn claims_are_in_the_order_of_kubernetes() {
    let objects = vec![
        object("b.example.com", "v1", 1000, 10),
        object("a.example.com", "v1", 1000, 10),
        object("low.example.com", "v1", 10, 10),
        object("apiregistration.k8s.io", "v1", 20_000, 15),
        // The highest of its versions ranks the group.
        object("low.example.com", "v1beta1", 2000, 10),
        object("a.example.com", "v2", 1000, 10),
        object("a.example.com", "v1alpha1", 1000, 20),
        object("top.example.com", "v1", 20_000, 15),
    ];
    let wanted = [
        "v1.apiregistration.k8s.io",
        "v1.top.example.com",
        "v1.low.example.com",
        "v1beta1.low.example.com",
        "v1alpha1.a.example.com",
        "v2.a.example.com",
        "v1.a.example.com",
        "v1.b.example.com",
    ];
    assert_eq!(names(objects.clone()), wanted);
    assert_eq!(names(objects.into_iter().rev().collect()), wanted);
}

#[test]
fn an_unreadable_object_claims_nothing_and_hides_nothing() {
    let objects = vec![Bytes::from_static(b"\xff"), object("a.example.com", "v1", 1, 1)];
    assert_eq!(names(objects), ["v1.a.example.com"]);
}
