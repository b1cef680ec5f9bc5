//! The verbs against a backend in memory: every rule of the API server's duties, without a network.
#![allow(clippy::unwrap_used)]
#![allow(unreachable_pub, reason = "the modules of a test")]

#[path = "verbs/actions.rs"]
mod actions;
#[path = "verbs/deletes.rs"]
mod deletes;
#[path = "verbs/dry_run.rs"]
mod dry_run;
#[path = "verbs/fake.rs"]
mod fake;
#[path = "verbs/lists.rs"]
mod lists;
#[path = "verbs/namespaces.rs"]
mod namespaces;
#[path = "verbs/patches.rs"]
mod patches;
#[path = "verbs/reads.rs"]
mod reads;
#[path = "support/request.rs"]
mod request;
#[path = "verbs/support.rs"]
mod support;
#[path = "verbs/watch_property.rs"]
mod watch_property;
#[path = "verbs/watches.rs"]
mod watches;
#[path = "verbs/writes.rs"]
mod writes;
