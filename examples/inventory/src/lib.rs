//! An inventory of machines and racks: a backend for Kubridge that is worth copying.
//!
//! It knows gRPC and SQLite; it knows nothing of Kubernetes but what `proto/kubridge/v1` says.

mod fault;
mod health;
mod host;
mod kind;
mod machines;
pub mod meta;
mod racks;
mod schema;
mod selector;
mod server;
mod store;
mod verbs;
mod watch;
mod who;

pub use health::check_health;
pub use server::{Options, Running, Server, StartError, Tls};

/// The contract: `kubridge.v1`.
#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all, reason = "generated")]
pub mod contract {
    include!(concat!(env!("OUT_DIR"), "/contract/kubridge.v1.rs"));
}

/// This API: `inventory.v1`.
#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all, reason = "generated")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/inventory.v1.rs"));
}

/// Everything that is served, as a `google.protobuf.FileDescriptorSet` with imports, comments and
/// custom options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
