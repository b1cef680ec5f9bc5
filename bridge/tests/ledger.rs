//! The ledger against random histories: clients that list, watch, break off, resume, and list again on 410 know in the
//! end what the backend has, and no event comes twice or out of order.
#![allow(clippy::unwrap_used)]
#![allow(unreachable_pub, reason = "the modules of a test")]

#[path = "support/compile.rs"]
mod compile;
#[path = "ledger/informer.rs"]
mod informer;
#[path = "ledger/rules.rs"]
mod rules;
#[path = "ledger/world.rs"]
mod world;

use informer::{Informer, Selects};
use proptest::prelude::*;
use world::{Tokens, World};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// An object is made or changed: by a client of ours, or by somebody else.
    Write {
        name: u8,
        label: u8,
        ours: bool,
    },
    /// An object goes, by somebody else.
    Delete {
        name: u8,
    },
    /// The state of a moment, through us.
    Get {
        name: u8,
    },
    Poll,
    /// A client reads events.
    Read {
        client: u8,
        limit: u8,
    },
    /// A client's watch breaks off; it resumes.
    Break {
        client: u8,
    },
    /// A client's state is lost.
    Forget {
        client: u8,
    },
    /// Half of a list or a poll is read; the other half comes later.
    ListHalf {
        client: u8,
    },
    PollHalf,
}

fn step(interleaved: bool) -> impl Strategy<Value = Step> {
    let halves = if interleaved { 2 } else { 0 };
    prop_oneof![
        6 => (0..5_u8, 0..3_u8, any::<bool>()).prop_map(|(name, label, ours)| Step::Write { name, label, ours }),
        3 => (0..5_u8).prop_map(|name| Step::Delete { name }),
        2 => (0..5_u8).prop_map(|name| Step::Get { name }),
        4 => Just(Step::Poll),
        4 => (0..3_u8, 1..4_u8).prop_map(|(client, limit)| Step::Read { client, limit }),
        2 => (0..3_u8).prop_map(|client| Step::Break { client }),
        1 => (0..3_u8).prop_map(|client| Step::Forget { client }),
        halves => (0..3_u8).prop_map(|client| Step::ListHalf { client }),
        halves => Just(Step::PollHalf),
    ]
}

fn run(tokens: Tokens, small: bool, steps: &[Step], exact: bool) {
    let mut world = World::new(tokens, small);
    // One of everything, one of a namespace, one of a label.
    let mut clients = [
        Informer::new("", Selects::All, exact),
        Informer::new("n1", Selects::All, exact),
        Informer::new("", Selects::Label("1"), exact),
    ];
    for step in steps {
        match *step {
            Step::Write { name, label, ours } => world.write(name, label, ours),
            Step::Delete { name } => world.delete(name),
            Step::Get { name } => world.get(name),
            Step::Poll => world.poll(),
            Step::Read { client, limit } => {
                clients[usize::from(client)].read(&mut world, usize::from(limit));
            }
            Step::Break { client } => clients[usize::from(client)].break_off(),
            Step::Forget { client } => clients[usize::from(client)].forget(),
            Step::ListHalf { client } => clients[usize::from(client)].list_half(&mut world),
            Step::PollHalf => world.poll_half(),
        }
    }
    // It becomes quiet: a few polls confirm everything, and everybody reads to the end.
    for client in &mut clients {
        client.finish_list(&mut world);
    }
    for _ in 0..4 {
        world.poll();
        for client in &mut clients {
            client.read(&mut world, 100);
        }
    }
    for client in &mut clients {
        client.check(&world);
    }
}

fn tokens() -> impl Strategy<Value = Tokens> {
    prop_oneof![Just(Tokens::Numbers), Just(Tokens::Opaque), Just(Tokens::None), Just(Tokens::PerObject)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_event_once_and_in_order(
        tokens in tokens(),
        small in any::<bool>(),
        steps in prop::collection::vec(step(false), 0..60),
    ) {
        run(tokens, small, &steps, true);
    }

    #[test]
    fn whatever_runs_at_the_same_time_all_agree_in_the_end(
        tokens in tokens(),
        small in any::<bool>(),
        steps in prop::collection::vec(step(true), 0..60),
    ) {
        run(tokens, small, &steps, false);
    }
}
