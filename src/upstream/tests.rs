//! The client against real sockets: well-behaved servers, and peers that break the rules frame by frame.

#![allow(clippy::unwrap_used)]

mod attempts;
mod calls;
mod documents;
mod liveness;
mod pool;
mod ran;
mod raw;
mod schema;
mod several;
mod shared_schema;
mod support;
mod tls;
