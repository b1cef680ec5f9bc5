//! A service that knows nothing of Kubernetes, served: every rule of docs/aip.md, without a network.
#![allow(clippy::unwrap_used)]
#![allow(unreachable_pub, reason = "the modules of a test")]

#[path = "support/compile.rs"]
mod compile;
#[path = "aip/descriptors.rs"]
mod descriptors;
#[path = "aip/fleet.rs"]
mod fleet;
#[path = "support/request.rs"]
mod request;
#[path = "aip/service.rs"]
mod service;
#[path = "mapping/support.rs"]
mod support;

#[path = "mapping/actions.rs"]
mod actions;
#[path = "mapping/catalogue.rs"]
mod catalogue;
#[path = "mapping/deletes.rs"]
mod deletes;
#[path = "mapping/files.rs"]
mod files;
#[path = "mapping/hostile.rs"]
mod hostile;
#[path = "mapping/lists.rs"]
mod lists;
#[path = "mapping/operations.rs"]
mod operations;
#[path = "mapping/reads.rs"]
mod reads;
#[path = "mapping/schema.rs"]
mod schema;
#[path = "mapping/writes.rs"]
mod writes;
