//! The numbers of a backend's connections.

use std::time::Duration;

/// How connections to one backend behave. The defaults are meant for production.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long one address may take for TCP, TLS and the first HTTP/2 bytes together.
    pub connect_timeout: Duration,
    /// At most this many connections.
    pub max_connections: usize,
    /// Calls in flight on one connection before another is opened.
    pub streams_per_connection: usize,
    /// The largest message that is taken from the backend, in bytes.
    pub max_message: usize,
    /// How long calls may wait without a byte from the backend before its life is checked.
    pub silence: Duration,
    /// How long the check may stay without a byte.
    pub silence_grace: Duration,
    /// The pause after the first failure to connect; doubled with each further one.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// HTTP/2 pings, while calls are open. Common servers answer more than one in five minutes with GOAWAY `too_many_pings`.
    pub ping_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            max_connections: 4,
            streams_per_connection: 64,
            max_message: 64 << 20,
            silence: Duration::from_secs(2),
            silence_grace: Duration::from_secs(1),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            ping_interval: Duration::from_secs(310),
        }
    }
}
