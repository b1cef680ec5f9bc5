//! The ledger's rules, one by one.

use bytes::Bytes;
use kubridge_bridge::{
    ledger::{Audience, Join, Ledger, Limits, Numbering, PollFault, Sight},
    object::MetaView,
    proto::{Event, EventType},
};
use prost::Message as _;

use crate::world::{START, Tokens, World, message};

const ALL: Audience<'static> = Audience { namespace: "", selects: false, lacks: None };

/// "ADDED o1 5", of what is later than a version.
fn told(world: &World, version: u64, audience: Audience<'_>) -> Result<Vec<String>, ()> {
    let Join::At(at) = world.ledger.join(version, ["", "", ""], true) else { return Err(()) };
    let changes = world.ledger.after(at, audience, 1000).map_err(|_| ())?;
    Ok(changes.events.iter().map(line).collect())
}

fn line(event: &Bytes) -> String {
    let event = Event::decode(event.clone()).unwrap();
    let kind = EventType::try_from(event.r#type).unwrap();
    let meta = MetaView::of(&event.object).unwrap();
    assert_eq!(meta.resource_version, event.resource_version, "the object says it too");
    format!("{} {} {}", kind.as_str_name(), meta.name, event.resource_version)
}

fn here(world: &World) -> u64 {
    world.ledger.here().unwrap().version()
}

#[test]
fn numbers_of_the_backend_stay_as_they_are() {
    let mut world = World::new(Tokens::Numbers, false);
    world.write(1, 0, false);
    world.write(2, 0, false);
    world.poll();
    assert_eq!(here(&world), 9);
    world.write(1, 1, false);
    world.delete(2);
    world.write(3, 0, true);
    assert_eq!(told(&world, 9, ALL).unwrap(), [""; 0], "nothing before a poll has confirmed it");
    world.poll();
    assert_eq!(told(&world, 9, ALL).unwrap(), ["MODIFIED o1 10", "DELETED o2 11", "ADDED o3 12"]);
    assert_eq!(told(&world, 10, ALL).unwrap(), ["DELETED o2 11", "ADDED o3 12"]);
    assert_eq!(told(&world, 12, ALL).unwrap(), [""; 0]);
    let all = ["ADDED o2 9", "MODIFIED o1 10", "DELETED o2 11", "ADDED o3 12"];
    assert_eq!(told(&world, 8, ALL).unwrap(), all);
    assert_eq!(told(&world, 7, ALL), Err(()), "what was there at 7 was never told");
    assert_eq!(told(&world, 13, ALL), Err(()));
}

#[test]
fn a_list_of_a_part_is_known_for_that_part() {
    let mut world = World::new(Tokens::Numbers, false);
    world.write(1, 0, false);
    world.write(2, 0, false);
    world.delete(2);
    let mut listing = world.begin_list("n1");
    let (items, version) = world.all("n1");
    assert_eq!(version, "10");
    world.tell(&mut listing, &items);
    assert_eq!(world.ledger.list_ends(listing, &version), None);
    world.delete(1);
    world.poll();
    assert_eq!(told(&world, 10, ALL), Err(()), "other namespaces are not known at 10");
    let Join::At(at) = world.ledger.join(10, ["n1", "", ""], true) else { panic!("expired") };
    let changes = world.ledger.after(at, Audience { namespace: "n1", ..ALL }, 10).unwrap();
    assert_eq!(changes.events.iter().map(line).collect::<Vec<_>>(), ["DELETED o1 11"]);
}

#[test]
fn a_state_that_is_told_to_anybody_has_one_version() {
    for tokens in [Tokens::Opaque, Tokens::None] {
        let mut world = World::new(tokens, false);
        world.write(1, 0, false);
        let tell = |world: &mut World| {
            let since = world.ledger.stamp();
            let object = world.wire(&World::key(1)).unwrap();
            world.ledger.observe(since, &Sight::of(&object).unwrap()).unwrap()
        };
        let first = tell(&mut world);
        assert!(first > START);
        assert_eq!(tell(&mut world), first);
        world.poll();
        assert_eq!(tell(&mut world), first);
        world.write(1, 1, false);
        assert_eq!(tell(&mut world), first + 1);
        let token = |version: u64| world.ledger.token("n1", "o1", &version.to_string());
        assert_eq!(token(first), None, "it is in another state");
        assert!(token(first + 1).is_some());
        assert_eq!(world.ledger.token("n1", "o2", "1"), None);
    }
}

#[test]
fn a_foreign_epoch_is_expired() {
    let mut world = World::new(Tokens::Opaque, false);
    world.write(1, 0, true);
    world.poll();
    for foreign in [1, START - 1, here(&world) + 1, u64::MAX] {
        assert_eq!(world.ledger.join(foreign, ["", "", ""], true), Join::Expired, "{foreign}");
    }
    assert!(matches!(world.ledger.join(START, ["", "", ""], true), Join::At(_)));
}

#[test]
fn what_others_notice_during_a_poll_waits_for_the_next_one() {
    let mut world = World::new(Tokens::Opaque, false);
    for name in 0..4 {
        world.write(name, 0, false);
    }
    world.poll();
    let before = here(&world);
    world.poll_half();
    // The poll has read o0 already, and it was told to a client in another state.
    world.write(0, 1, true);
    world.write(3, 1, true);
    world.poll();
    assert_eq!(told(&world, before, ALL).unwrap().len(), 2, "confirmed by the poll that began after it");
}

#[test]
fn a_sight_from_before_changes_nothing() {
    let mut world = World::new(Tokens::Opaque, false);
    world.write(1, 0, false);
    let old = world.wire(&World::key(1)).unwrap();
    let since = world.ledger.stamp();
    world.write(1, 1, false);
    world.poll();
    let before = here(&world);
    let version = world.ledger.observe(since, &Sight::of(&old).unwrap()).unwrap();
    assert!(version < before, "told as something of the past");
    world.poll();
    assert_eq!(here(&world), before, "and nothing has changed");
}

#[test]
fn what_the_contract_forbids_is_found_out() {
    // No version of a list; one version for two objects; versions that go back; versions that do not move.
    let objects = |versions: &[(&str, &str)]| -> Vec<Bytes> {
        let object = |(name, version): &(&str, &str)| {
            let meta = kubridge_bridge::proto::ObjectMeta {
                name: (*name).into(),
                resource_version: (*version).into(),
                ..Default::default()
            };
            let mut out = Vec::new();
            kubridge_bridge::wire::put_bytes(&mut out, 1, &meta.encode_to_vec());
            out.into()
        };
        versions.iter().map(object).collect()
    };
    type Lists<'a> = &'a [(&'a [(&'a str, &'a str)], &'a str)];
    let cases: [Lists<'_>; 6] = [
        &[(&[("a", "1")], "")],
        &[(&[("a", "")], "1")],
        &[(&[("a", "1"), ("b", "1")], "1")],
        &[(&[("a", "1")], "5"), (&[("a", "1")], "4")],
        &[(&[("a", "1"), ("b", "2")], "5"), (&[("a", "1")], "5")],
        &[(&[("a", "1")], "1"), (&[("a", "2")], "1"), (&[("a", "2")], "1")],
    ];
    for lists in cases {
        let mut ledger = Ledger::new(message(), Numbering::Backend, Limits::default(), START);
        let mut faults = Vec::new();
        for (items, version) in lists {
            let mut poll = ledger.poll_begins();
            let read = ledger.poll_reads(&mut poll, &objects(items));
            faults.push(read.and_then(|()| ledger.poll_ends(&poll, version).map(drop)));
        }
        assert_eq!(faults.pop().unwrap(), Err(PollFault::Again), "{lists:?}");
        assert!(faults.iter().all(Result::is_ok), "{lists:?}");
        assert_eq!(ledger.numbering(), Numbering::Ledger { opaque: false });
        assert!(ledger.take_note().is_some() && ledger.take_note().is_none());
        let mut poll = ledger.poll_begins();
        ledger.poll_reads(&mut poll, &objects(lists[0].0)).unwrap();
        ledger.poll_ends(&poll, "").unwrap();
        assert!(ledger.here().unwrap().version() >= START);
    }
}

#[test]
fn an_object_that_is_made_again_went_first() {
    for tokens in [Tokens::Numbers, Tokens::Opaque] {
        let mut world = World::new(tokens, false);
        world.write(1, 0, false);
        world.poll();
        let before = here(&world);
        world.delete(1);
        world.write(1, 0, false);
        world.poll();
        let told: Vec<_> = told(&world, before, ALL).unwrap();
        assert!(told[0].starts_with("DELETED o1") && told[1].starts_with("ADDED o1"), "{told:?}");
    }
}

#[test]
fn memory_is_bounded_and_what_is_forgotten_is_expired() {
    let limits = Limits { objects: 3, changes: 2, bytes: 200 };
    let mut world = World::new(Tokens::Opaque, false);
    world.ledger = Ledger::new(message(), Numbering::Ledger { opaque: true }, limits, START);
    for name in 0..3 {
        world.write(name, 0, false);
    }
    world.poll();
    let before = here(&world);
    assert!(world.ledger.size().1 <= 200);
    for name in 0..3 {
        world.delete(name);
        world.poll();
    }
    assert_eq!(told(&world, before, ALL), Err(()), "the first of three deletions is forgotten");
    assert_eq!(told(&world, before + 1, ALL).unwrap().len(), 2);
    // Without its last state nobody can say whether a selector chose it.
    let selects = Audience { selects: true, ..ALL };
    world.ledger.drop_states();
    assert_eq!(world.ledger.size().1, 0);
    assert_eq!(told(&world, before + 1, selects), Err(()));

    for name in 0..4 {
        world.write(name, 0, false);
    }
    let (items, _) = world.all("");
    let mut poll = world.ledger.poll_begins();
    assert_eq!(world.ledger.poll_reads(&mut poll, &items), Err(PollFault::TooMany(3)));
    assert_eq!(told(&world, before + 3, ALL), Err(()), "everything that was told is void");
    // What clients read goes on: only watches begin anew.
    for name in 0..4 {
        world.get(name);
    }
    assert!(world.ledger.size().0 <= 3);
}

#[test]
fn the_state_before_is_told_where_it_is_known() {
    let mut world = World::new(Tokens::Opaque, false);
    world.write(1, 0, false);
    world.poll();
    let first = here(&world);
    world.write(1, 1, false);
    world.poll();
    let second = here(&world);
    world.write(1, 2, false);
    world.poll();
    let previous = |version: u64| {
        let Join::At(at) = world.ledger.join(version, ["", "", ""], true) else { panic!("expired") };
        let event = world.ledger.after(at, ALL, 10).unwrap().events.remove(0);
        let event = Event::decode(event).unwrap();
        MetaView::of(&event.previous).unwrap().label("t").map(str::to_owned)
    };
    assert_eq!(previous(first).as_deref(), Some("0"));
    assert_eq!(previous(second).as_deref(), Some("1"));
}

#[test]
fn who_was_told_the_present_state_is_not_told_what_went_before() {
    // A poll may find it first, while the list is read.
    let cases =
        [(Tokens::Opaque, false), (Tokens::Opaque, true), (Tokens::None, false), (Tokens::None, true)];
    for (tokens, meanwhile) in cases {
        let mut world = World::new(tokens, false);
        for name in 0..3 {
            world.write(name, 0, false);
        }
        world.poll();
        let before = here(&world);
        world.delete(1);
        let mut listing = world.begin_list("").noting_names();
        let (items, version) = world.all("");
        if meanwhile {
            world.poll();
        }
        world.tell(&mut listing, &items);
        let lacking = world.ledger.list_lacks(&listing, "");
        let listed = world.ledger.list_ends(listing, &version).unwrap();
        world.delete(2);
        world.poll();
        let names = |world: &World, lacks, version| -> Vec<String> {
            let audience = Audience { lacks, ..ALL };
            let events = told(world, version, audience).unwrap();
            // One poll finds both: in which order they went nobody knows.
            let mut names: Vec<_> =
                events.iter().map(|event| event.rsplit_once(' ').unwrap().0.to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&world, None, before), ["DELETED o1", "DELETED o2"], "{tokens:?}: whoever knew it");
        assert_eq!(names(&world, Some(&lacking), listed), ["DELETED o2"], "{tokens:?}");

        // It comes back, and goes.
        world.write(1, 0, false);
        world.poll();
        assert_eq!(names(&world, Some(&lacking), listed), ["ADDED o1", "DELETED o2"], "{tokens:?}");
        world.delete(1);
        world.poll();
        let again = ["ADDED o1", "DELETED o1", "DELETED o2"];
        assert_eq!(names(&world, Some(&lacking), listed), again, "{tokens:?}");
    }
}
