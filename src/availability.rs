//! Whether a backend is available, and what the conditions of its APIServices say.
//!
//! | file | what it does |
//! |---|---|
//! | `tracker` | pure: what was seen of one backend, and when -> a [`Verdict`], and when the next look is due |
//! | `observation` | what is known of whatever serves one APIService, its documents included |
//! | `probe` | [`Availability`]: the thin loop around a tracker; `grpc` and `https` say what it listens to |
//! | `conditions` | pure: an [`Observation`] -> the conditions `Available`, `DiscoveryCurrent` and `MethodsUnimplemented` |
//! | `backend` | pure: what is known of a Backend object -> its conditions |
//! | `reason` | every [`Reason`] that they can have |
//!
//! Nothing here starts a task. For each backend the application makes an [`Availability`] ([`Availability::grpc`],
//! [`Availability::https`]), spawns the future that comes with it, and drops that when nobody names the backend any
//! more. It looks again at what it publishes whenever [`Availability::verdict`] changes. [`conditions`] says what to write, [`crate::registry::Registry::set_conditions`]
//! writes it.

mod backend;
mod conditions;
mod grpc;
mod https;
mod observation;
mod probe;
mod reason;
mod tracker;

pub use backend::{
    CLAIMS_ACCEPTED, CONNECTED, Examined, SCHEMA_ACCEPTED, backend_conditions, claims_accepted,
};
pub use conditions::{
    AVAILABLE, DISCOVERY_CURRENT, METHODS_UNIMPLEMENTED, conditions, methods_unimplemented,
};
pub use https::probe_path;
pub use observation::{Confirmation, Documents, Flaw, Observation, Remote};
pub use probe::Availability;
pub use reason::{BackendReason, Reason, ReasonEntry};
pub use tracker::{Cause, Event, Outcome, Settings, Tracker, Verdict};
