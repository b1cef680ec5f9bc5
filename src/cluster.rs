//! The cluster that this process serves: what is watched and asked of its API server.

pub mod authentication;
pub mod review;

pub use authentication::AuthenticationConfig;
pub use review::Unanswered;
