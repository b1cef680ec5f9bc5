//! What the bridge needs of the world and may not take itself: the time, timers, randomness.

use std::{future::Future, time::Duration, time::SystemTime};

use crate::status::ApiError;

/// The world, as far as the bridge sees it. The aggregator passes the real one, tests a still one.
pub trait Env: Clone + Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> SystemTime;
    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;
    /// 128 random bits, for uids and generated names.
    fn random(&self) -> u128;
    /// A stream that was already under way ended with `error`, which the client was told in the stream: for the log.
    fn report(&self, _error: &ApiError) {}
    /// A stream that was already under way carried fields that our schema does not know: it should be read again.
    /// Told once a stream.
    fn schema_suspect(&self) {}
}
