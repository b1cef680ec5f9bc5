#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    model::NameSyntax,
    proto::{ObjectMeta, OwnerReference},
    status::ApiError,
};

fn meta() -> ObjectMeta {
    ObjectMeta { name: "lab".into(), namespace: "fx".into(), ..ObjectMeta::default() }
}

#[test]
fn names_and_keys() {
    type Check = fn(&str) -> Vec<String>;
    let long = "a".repeat(254);
    let rows: [(Check, &str, usize); 20] = [
        (dns1123_subdomain, "a.b-c.9", 0),
        (dns1123_subdomain, "", 1),
        (dns1123_subdomain, "A", 1),
        (dns1123_subdomain, "a..b", 1),
        (dns1123_subdomain, "-a", 1),
        (dns1123_subdomain, &long, 1),
        (dns1123_label, "a-b", 0),
        (dns1123_label, "a.b", 1),
        (dns1123_label, &long, 1),
        (label_key, "a_B.c", 0),
        (label_key, "example.com/Name", 0),
        (label_key, "/Name", 1),
        (label_key, "Example.com/Name", 1),
        (label_key, "a/b/c", 1),
        (label_key, "example.com/", 2),
        (label_key, &long, 1),
        (label_value, "", 0),
        (label_value, "x_Y.1", 0),
        (label_value, "x y", 1),
        (label_value, &long, 1),
    ];
    for (check, text, faults) in rows {
        assert_eq!(check(text).len(), faults, "{text:?}: {:?}", check(text));
    }
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
}

#[test]
fn as_kube_apiserver_says_it() {
    for (file, kind, group, meta) in [
        (
            "179-422-label",
            "Flunder",
            "wardle.example.com",
            ObjectMeta { labels: [("bad key!".to_owned(), "x y".to_owned())].into(), ..meta() },
        ),
        ("180-422-noname", "Flunder", "wardle.example.com", ObjectMeta { name: String::new(), ..meta() }),
        (
            "181-422-ownerref",
            "Flunder",
            "wardle.example.com",
            ObjectMeta {
                name: "own".into(),
                owner_references: vec![OwnerReference {
                    kind: "Flunder".into(),
                    ..OwnerReference::default()
                }],
                ..meta()
            },
        ),
        ("307-native-create-422", "ConfigMap", "", ObjectMeta { name: "Bad_Name!".into(), ..meta() }),
    ] {
        let error = ApiError::invalid(
            group,
            kind,
            &meta.name,
            validate_object_meta(&meta, true, NameSyntax::default()),
        );
        assert_eq!(*error.status, crate::status::golden(file), "{file}");
    }
}

#[test]
fn the_rest_of_object_meta() {
    let fields = |meta: &ObjectMeta, namespaced| {
        validate_object_meta(meta, namespaced, NameSyntax::default())
            .into_iter()
            .map(|c| c.field)
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&meta(), true), Vec::<String>::new());
    assert_eq!(fields(&meta(), false), ["metadata.namespace"]);
    assert_eq!(fields(&ObjectMeta { namespace: String::new(), ..meta() }, true), ["metadata.namespace"]);
    assert_eq!(fields(&ObjectMeta { namespace: "a.b".into(), ..meta() }, true), ["metadata.namespace"]);
    for (generate, faults) in [("gen-", 0), ("gen.", 1), ("-", 1), ("a-", 0), ("\u{e9}-", 0), ("Gen-", 1)] {
        let meta = ObjectMeta { generate_name: generate.into(), ..meta() };
        assert_eq!(fields(&meta, true).len(), faults, "{generate}");
    }
    assert_eq!(fields(&ObjectMeta { generation: -1, ..meta() }, true), ["metadata.generation"]);
    let annotations = |key: &str, size: usize| ObjectMeta {
        annotations: [(key.to_owned(), "x".repeat(size))].into(),
        ..meta()
    };
    assert!(fields(&annotations("Example.com/K", (256 << 10) - 13), true).is_empty());
    assert_eq!(fields(&annotations("Example.com/K", (256 << 10) - 12), true), ["metadata.annotations"]);
    assert_eq!(fields(&annotations("a b", 1), true), ["metadata.annotations"]);
    let finalizers =
        |names: &[&str]| ObjectMeta { finalizers: names.iter().map(|n| (*n).to_owned()).collect(), ..meta() };
    assert!(fields(&finalizers(&["orphan", "example.com/f"]), true).is_empty());
    assert_eq!(fields(&finalizers(&["", "a b"]), true).len(), 3);
    assert_eq!(fields(&finalizers(&["orphan", "foregroundDeletion"]), true), ["metadata.finalizers"]);
    let owner = OwnerReference {
        api_version: "apps/v1".into(),
        kind: "D".into(),
        name: "d".into(),
        uid: "1".into(),
        controller: Some(true),
        ..OwnerReference::default()
    };
    let owned = |owners| ObjectMeta { owner_references: owners, ..meta() };
    assert!(fields(&owned(vec![owner.clone()]), true).is_empty());
    assert_eq!(fields(&owned(vec![owner.clone(), owner.clone()]), true), ["metadata.ownerReferences"]);
    let bad = OwnerReference { api_version: "a/b/c".into(), ..owner };
    assert_eq!(fields(&owned(vec![bad]), true), ["metadata.ownerReferences.apiVersion"]);
}

#[test]
fn names_between_slashes() {
    assert!(path_segment("v1.").is_empty() && path_segment("A_b!").is_empty());
    assert_eq!(path_segment(".."), ["may not be '..'"]);
    assert_eq!(path_segment("a/b%c"), ["may not contain '/'", "may not contain '%'"]);
    let meta = ObjectMeta { name: "v1.".into(), ..ObjectMeta::default() };
    assert!(validate_object_meta(&meta, false, NameSyntax::PathSegment).is_empty());
    assert_eq!(validate_object_meta(&meta, false, NameSyntax::Subdomain).len(), 1);
}
