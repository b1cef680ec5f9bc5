//! The bridge: Kubernetes' REST protocol on one side, protobuf services on the other.
//!
//! Values in, values out. There is no socket, clock, task, file or environment variable in
//! this crate: what is needed of them comes in through [`caller::Caller`] and [`env::Env`].
//!
//! # Modules, in the order a request meets them
//!
//! | module | what it does |
//! |---|---|
//! | [`proto`] | the contract's messages, as prost types, and its descriptors |
//! | [`transcode`] | protobuf wire <-> Kubernetes JSON, by a table compiled once per message |
//! | [`wire`] | protobuf wire fields, read and spliced |

pub mod proto;
pub mod transcode;
pub mod wire;
