//! The whole program and a real backend, over real sockets. One binary: it links once.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, unreachable_pub)]

mod aip;
mod backend_objects;
mod backends;
mod brown_out;
mod cli;
mod controlplane;
mod examples;
mod faults;
mod https;
mod idle_watch;
mod inflight;
mod kubectl;
mod last_known_good;
mod made_watch;
mod matrix;
mod process;
mod rest;
mod security;
mod support;
mod telemetry;
mod tls;
