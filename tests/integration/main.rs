//! The whole program and a real backend, over real sockets. One binary: it links once.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, unreachable_pub)]

mod backends;
mod controlplane;
mod faults;
mod https;
mod kubectl;
mod last_known_good;
mod made_watch;
mod process;
mod rest;
mod support;
mod telemetry;
mod tls;
