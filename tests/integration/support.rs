//! What the tests share.

mod certificates;
pub mod client;
pub mod cluster;
mod controlplane;
pub mod extension;
pub mod frames;
mod hostile;
pub mod https;
mod inspector;
mod kubectl;
mod library;
mod postgres;
mod program;
pub mod recorder;
mod relay;
pub mod replicas;
mod scripted;
mod stack;

pub use certificates::Ca;
pub use client::{Client, Exchange};
pub use controlplane::{ControlPlane, Server, core_api};
pub use frames::{Frames, Outcome, block};
pub use hostile::Hostile;
pub use inspector::{Inspector, NO_TOKEN};
pub use kubectl::Kubectl;
pub use library::Library;
pub use postgres::Postgres;
pub use program::{Program, apiservices, signal};
pub use recorder::Recorder;
pub use relay::Relay;
pub use scripted::{Scripted, ScriptedCall};
pub use stack::{Options, Stack, Watch, administrator, machine};
