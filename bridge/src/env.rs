//! What the bridge needs of the world and may not take itself: the time, timers, randomness.

use std::{
    future::{Future, ready},
    time::{Duration, SystemTime},
};

use crate::status::ApiError;

/// What is known of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceState {
    /// It is there.
    Active,
    /// It is being deleted: nothing new may be made in it.
    Terminating,
    /// There is none.
    Missing,
}

/// The world, as far as the bridge sees it. The aggregator passes the real one, tests a still one.
pub trait Env: Clone + Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> SystemTime;
    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;
    /// 128 random bits, for uids and generated names.
    fn random(&self) -> u128;
    /// What is known of a namespace. Without a cluster there is every one whose name is valid.
    ///
    /// # Errors
    /// It cannot be found out; what the client is told.
    fn namespace(&self, _name: &str) -> impl Future<Output = Result<NamespaceState, ApiError>> + Send {
        ready(Ok(NamespaceState::Active))
    }
    /// A stream that was already under way ended with `error`, which the client was told in the stream: for the log.
    fn report(&self, _error: &ApiError) {}
    /// A stream that was already under way carried fields that our schema does not know: it should be read again.
    /// Told once a stream.
    fn schema_suspect(&self) {}
}
