//! Whether a backend is available, and what the conditions of its APIServices say.
//!
//! | file | what it does |
//! |---|---|
//! | `tracker` | pure: what was seen of one backend, and when -> a [`Verdict`], and when the next look is due |
//! | `observation` | what is known of whatever serves one APIService, its documents included |
//! | `probe` | [`Availability`]: the thin loop around a tracker; `grpc` and `https` say what it listens to |
//! | `conditions` | pure: an [`Observation`] -> the conditions `Available` and `DiscoveryCurrent` |

mod conditions;
mod grpc;
mod observation;
mod probe;
mod tracker;

pub use conditions::{AVAILABLE, DISCOVERY_CURRENT, conditions};
pub use observation::{Confirmation, Documents, Flaw, Observation, Remote};
pub use probe::Availability;
pub use tracker::{Cause, Event, Outcome, Settings, Tracker, Verdict};
