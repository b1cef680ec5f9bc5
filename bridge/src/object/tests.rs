#![allow(clippy::unwrap_used)]

use super::*;

fn object(meta: &ObjectMeta, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_bytes(&mut out, METADATA, &meta.encode_to_vec());
    out.extend_from_slice(rest);
    out
}

fn meta() -> ObjectMeta {
    ObjectMeta {
        name: "a".into(),
        namespace: "ns".into(),
        uid: "u".into(),
        resource_version: "7".into(),
        generation: 3,
        creation_timestamp: Some(Time { seconds: 100, nanos: 5 }),
        labels: [("x".to_owned(), "1".to_owned()), ("y".to_owned(), String::new())].into(),
        finalizers: vec!["f/x".into()],
        ..ObjectMeta::default()
    }
}

fn resource() -> Resource {
    let mut pool = prost_reflect::DescriptorPool::new();
    pool.decode_file_descriptor_set(crate::proto::DESCRIPTORS).unwrap();
    let tables = crate::transcode::Tables::compile(&pool);
    Resource {
        group: "fleet.example.com".into(),
        version: "v1".into(),
        kind: "Robot".into(),
        list_kind: "RobotList".into(),
        plural: "robots".into(),
        singular: "robot".into(),
        short_names: vec![],
        categories: vec![],
        namespaced: true,
        managed: true,
        versioned: true,
        keeps: crate::model::Keeps::default(),
        per_user: false,
        columns: vec![],
        selectable_fields: vec![],
        deprecation_warning: None,
        description: String::new(),
        message: tables.message("kubridge.v1.Condition").unwrap(),
        spec_field: Some(2),
        status_field: Some(3),
        methods: crate::model::Methods::default(),
        status_subresource: false,
        actions: vec![],
        wire_twin: false,
        names: crate::model::NameSyntax::default(),
        table: std::sync::OnceLock::new(),
    }
}

#[test]
fn the_view_reads_what_the_verbs_need() {
    let wire = object(&meta(), &[]);
    let view = MetaView::of(&wire).unwrap();
    assert_eq!((view.name, view.namespace, view.uid, view.version()), ("a", "ns", "u", Some(7)));
    assert_eq!((view.generation(), view.created, view.deleted), (3, Some(100), None));
    assert!(view.has_finalizers);
    assert_eq!((view.label("x"), view.label("y"), view.label("z")), (Some("1"), Some(""), None));
}

#[test]
fn split_metadata_reads_as_one() {
    let mut wire = object(&ObjectMeta { name: "a".into(), ..meta() }, &[]);
    wire.extend(object(&ObjectMeta { name: "b".into(), uid: "v".into(), ..ObjectMeta::default() }, &[]));
    let view = MetaView::of(&wire).unwrap();
    assert_eq!((view.name, view.uid, view.namespace), ("b", "v", "ns"), "protobuf merges: the last one wins");
}

#[test]
fn hostile_metadata_is_an_error() {
    let mut name = Vec::new();
    wire::put_bytes(&mut name, 1, b"\xff\xfe");
    let mut wire = Vec::new();
    wire::put_bytes(&mut wire, 1, &name);
    assert_eq!(MetaView::of(&wire), Err(WireError::Utf8 { path: "metadata.name".into() }));
    assert!(MetaView::of(&[0x0a, 0x7f]).is_err());
    assert!(Object::parse(&[0x0a, 0x01, 0xff]).is_err());
}

#[test]
fn born_elsewhere_gets_a_uid_that_never_changes() {
    let resource = resource();
    let born = ObjectMeta { uid: String::new(), generation: 0, ..meta() };
    let wire = object(&born, b"\x10\x01");
    let first = complete(&resource, &wire).unwrap().into_owned();
    let again = complete(&resource, &wire).unwrap();
    assert_eq!(first, *again);
    let view = MetaView::of(&first).unwrap();
    assert_eq!(uuid::Uuid::parse_str(view.uid).unwrap().get_version_num(), 5);
    assert_eq!(view.stored_generation, 1);
    assert!(first.ends_with(b"\x10\x01"));
    let other = object(&ObjectMeta { name: "b".into(), ..born }, &[]);
    assert_ne!(MetaView::of(&complete(&resource, &other).unwrap()).unwrap().uid, view.uid);
    let whole = object(&meta(), &[]);
    assert!(
        matches!(complete(&resource, &whole).unwrap(), Cow::Borrowed(_)),
        "no copy where nothing is missing"
    );
}

#[test]
fn unknown_fields_are_carried_over_where_their_message_still_is() {
    let unknown = |path: &[u32]| UnknownFields { path: path.to_vec(), raw: b"\xf8\x3f\x01".to_vec() };
    let old_spec = b"\x12\x02\x08\x01";
    let new = object(&meta(), old_spec);
    let carried =
        carry_over(new.clone(), &[unknown(&[]), unknown(&[2]), unknown(&[9]), unknown(&[2, 4])]).unwrap();
    assert_eq!(&*wire::message_field(&carried, 2).unwrap(), b"\x08\x01\xf8\x3f\x01");
    assert!(carried.ends_with(b"\xf8\x3f\x01"));
    assert!(!wire::has_field(&carried, 9).unwrap(), "the message was removed: so is what stood in it");
}

#[test]
fn taking_apart_and_putting_together_keeps_everything() {
    let wire = object(&meta(), b"\x12\x02\x08\x01\x1a\x02\x08\x02");
    let mut object = Object::parse(&wire).unwrap();
    assert_eq!(Object::parse(&object.encode()).unwrap(), object);
    let other = Object::parse(b"\x1a\x02\x08\x07").unwrap();
    object.take_field(3, &other).unwrap();
    assert_eq!(&*wire::message_field(&object.encode(), 3).unwrap(), b"\x08\x07");
    object.take_field(3, &Object::default()).unwrap();
    assert!(!wire::has_field(&object.encode(), 3).unwrap());
}
