//! The stack of `docker-compose.yaml`, as it is: real images, a real engine, the real kubectl.
//!
//! `tests/compose/run` makes what it needs (base images, free ports, a project of its own) and takes everything away
//! again; it is what `./test` calls. The load is a second way to run it: `tests/compose/run --load`.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

mod api;
mod engine;
mod kubectl;
mod load;
mod outage;
mod stack;
