#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use prost::Message as _;

use super::*;
use crate::{
    proto::{Event, ObjectMeta, rpc},
    wire,
};

/// An object called `name` at `version`; it matches the selectors of these tests when labelled `in=yes`.
fn object(name: &str, version: u64, matches: bool) -> Bytes {
    let labels = if matches { [("in".to_owned(), "yes".to_owned())].into() } else { Default::default() };
    let meta = ObjectMeta {
        name: name.into(),
        namespace: "ns".into(),
        resource_version: version.to_string(),
        labels,
        ..ObjectMeta::default()
    };
    let mut out = Vec::new();
    wire::put_bytes(&mut out, 1, &meta.encode_to_vec());
    out.into()
}

fn event(kind: EventType, object: Bytes, previous: Option<Bytes>) -> Bytes {
    let event = Event {
        r#type: kind.into(),
        object: object.into(),
        previous: previous.unwrap_or_default().into(),
        ..Event::default()
    };
    event.encode_to_vec().into()
}

fn mark(kind: EventType, version: u64) -> Bytes {
    let event = Event { r#type: kind.into(), resource_version: version.to_string(), ..Event::default() };
    event.encode_to_vec().into()
}

type Matches = fn(&[u8]) -> Result<bool, WireError>;

fn machine(start: Start, selects: Selects) -> Machine<Matches> {
    let labelled: Matches = |object| Ok(MetaView::of(object)?.label("in") == Some("yes"));
    let all: Matches = |_| Ok(true);
    Machine::new(start, selects, true, if selects == Selects::State { labelled } else { all })
}

#[test]
fn an_object_comes_and_goes_as_its_labels_change() {
    let mut machine = machine(Start::After(1), Selects::State);
    let (out, inn) = (|v| object("a", v, false), |v| object("a", v, true));
    assert_eq!(machine.message(&event(EventType::Added, out(2), None)).unwrap(), None);
    let added = machine.message(&event(EventType::Modified, inn(3), Some(out(2)))).unwrap();
    assert_eq!(added, Some(ClientEvent::Added(inn(3))));
    let modified = machine.message(&event(EventType::Modified, inn(4), Some(inn(3)))).unwrap();
    assert_eq!(modified, Some(ClientEvent::Modified(inn(4))));
    let Some(ClientEvent::Deleted(gone)) =
        machine.message(&event(EventType::Modified, out(5), Some(inn(4)))).unwrap()
    else {
        panic!("not deleted");
    };
    let gone = MetaView::of(&gone).unwrap();
    assert_eq!((gone.resource_version, gone.label("in")), ("5", Some("yes")), "the last state that matched");
    assert_eq!(machine.message(&event(EventType::Deleted, out(6), Some(out(5)))).unwrap(), None);
    assert_eq!(machine.resume(), Resume::From(Start::After(6)));
}

#[test]
fn resuming_with_a_selector_needs_previous() {
    let mut after = machine(Start::After(1), Selects::State);
    let failure = after.message(&event(EventType::Modified, object("a", 2, true), None)).unwrap_err();
    assert!(matches!(failure, Failure::Expired(_)), "{failure:?}");

    let mut by_name = machine(Start::After(1), Selects::Identity);
    let modified = by_name.message(&event(EventType::Modified, object("a", 2, true), None)).unwrap();
    assert_eq!(modified, Some(ClientEvent::Modified(object("a", 2, true))));
}

#[test]
fn from_the_present_state_on_previous_is_not_needed() {
    let mut machine = machine(Start::Present, Selects::State);
    let (out, inn) = (|v| object("a", v, false), |v| object("a", v, true));
    machine.message(&event(EventType::Added, inn(9), None)).unwrap();
    machine.message(&event(EventType::Added, object("b", 3, false), None)).unwrap();
    machine.message(&mark(EventType::Synced, 9)).unwrap();
    let gone = machine.message(&event(EventType::Modified, out(10), None)).unwrap();
    assert!(matches!(gone, Some(ClientEvent::Deleted(_))), "{gone:?}");
    let back = machine.message(&event(EventType::Modified, inn(11), None)).unwrap();
    assert_eq!(back, Some(ClientEvent::Added(inn(11))));
}

#[test]
fn initial_events_come_in_any_order_and_end_once() {
    let mut machine = machine(Start::Present, Selects::Identity);
    for version in [7, 3, 5] {
        let name = format!("o{version}");
        let added = machine.message(&event(EventType::Added, object(&name, version, true), None)).unwrap();
        assert!(matches!(added, Some(ClientEvent::Added(_))));
        assert_eq!(machine.version(), None);
    }
    assert_eq!(machine.resume(), Resume::Impossible, "a part of the present state was sent");
    let end = machine.message(&mark(EventType::Synced, 8)).unwrap();
    assert_eq!(end, Some(ClientEvent::Bookmark { version: 8, initial_events_end: true }));
    assert_eq!(machine.resume(), Resume::From(Start::After(8)));
    let bookmark = machine.message(&mark(EventType::Bookmark, 9)).unwrap();
    assert_eq!(bookmark, Some(ClientEvent::Bookmark { version: 9, initial_events_end: false }));
}

#[test]
fn what_came_already_is_dropped() {
    let mut machine = machine(Start::After(5), Selects::Identity);
    for version in [4, 5] {
        assert_eq!(
            machine.message(&event(EventType::Added, object("a", version, true), None)).unwrap(),
            None
        );
    }
    assert!(machine.message(&event(EventType::Added, object("a", 6, true), None)).unwrap().is_some());
    assert!(machine.message(&event(EventType::Added, object("a", 6, true), None)).unwrap().is_none());
    assert_eq!(machine.message(&mark(EventType::Bookmark, 6)).unwrap(), None);
}

#[test]
fn before_the_first_event_a_watch_of_the_present_starts_again() {
    assert_eq!(machine(Start::Present, Selects::State).resume(), Resume::From(Start::Present));
    assert_eq!(machine(Start::After(3), Selects::State).resume(), Resume::From(Start::After(3)));
    assert_eq!(machine(Start::Now, Selects::State).resume(), Resume::Impossible);
}

#[test]
fn a_deletion_carries_its_own_version() {
    let mut machine = machine(Start::After(5), Selects::Identity);
    let message = Event {
        r#type: EventType::Deleted.into(),
        object: object("a", 4, true).into(),
        resource_version: "9".into(),
        ..Event::default()
    };
    let Some(ClientEvent::Deleted(gone)) = machine.message(&message.encode_to_vec().into()).unwrap() else {
        panic!("not deleted");
    };
    assert_eq!(MetaView::of(&gone).unwrap().resource_version, "9");
}

#[test]
fn too_old_is_expired_and_other_errors_are_the_backends() {
    let error = |code| {
        let message = Event {
            r#type: EventType::Error.into(),
            error: Some(rpc::Status { code, message: "why".into(), ..Default::default() }),
            ..Event::default()
        };
        machine(Start::After(5), Selects::Identity).message(&message.encode_to_vec().into()).unwrap_err()
    };
    assert!(matches!(error(11), Failure::Expired(text) if text == "too old resource version: 5"));
    assert!(matches!(error(13), Failure::Backend(_)));
}

#[test]
fn what_is_no_event_ends_the_watch() {
    let mut bad = vec![Bytes::from_static(b"\xff\xff"), mark(EventType::Unspecified, 9)];
    bad.push(event(EventType::Added, Bytes::new(), None));
    bad.push(mark(EventType::Added, 9));
    bad.push(event(EventType::Added, Bytes::from_static(&[0x0a, 0x05]), None));
    let mut unversioned = Event { object: object("a", 1, true).into(), ..Default::default() };
    unversioned.r#type = EventType::Modified.into();
    unversioned.resource_version = "abc".into();
    bad.push(unversioned.encode_to_vec().into());
    for message in bad {
        let failure = machine(Start::After(5), Selects::Identity).message(&message).unwrap_err();
        assert!(matches!(failure, Failure::Malformed(_)), "{failure:?}");
    }
}
