//! The real server over a socket, driven by the generated clients.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

#[path = "inventory/schema.rs"]
mod schema;
#[path = "inventory/stop.rs"]
mod stop;
#[path = "inventory/support.rs"]
mod support;
#[path = "inventory/verbs.rs"]
mod verbs;
#[path = "inventory/watch.rs"]
mod watch;
