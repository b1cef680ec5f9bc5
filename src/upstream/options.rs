//! The numbers of a backend's connections.

use std::time::Duration;

use crate::{cluster::Services, registry::backend::Origin};

/// How connections to one backend behave. The defaults are meant for production.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long one address may take for TCP, TLS and the first HTTP/2 bytes together; also how long a request waits for
    /// a connection, and a name may take to be looked up.
    pub connect_timeout: Duration,
    /// At most this many connections to one address. Over HTTP/1.1: that are kept while they are idle.
    pub max_connections: usize,
    /// At most this many requests in flight; watches and other streams without an end are counted apart.
    pub max_requests: usize,
    /// At most this many of those.
    pub max_watches: usize,
    /// Calls in flight on one connection before another is opened.
    pub streams_per_connection: usize,
    /// How long a request may take, however long its caller would wait. Watches may take longer.
    pub request_timeout: Option<Duration>,
    /// How the backend is asked for its schema.
    pub schema: Origin,
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
    /// The longest pause while no address can be connected to and somebody asks: how late a return may be noticed.
    pub backoff_asked: Duration,
    /// A request is refused without an attempt when the last one failed no longer ago than this.
    pub fresh: Duration,
    /// HTTP/2 pings, while calls are open. Common servers answer more than one in five minutes with GOAWAY `too_many_pings`.
    pub ping_interval: Duration,
    /// In a cluster: where the hosts that are names of Services are found.
    pub services: Option<Services>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // Shorter than 3 s, in which a request to a backend that is stopped has its answer; so is the silence.
            connect_timeout: Duration::from_millis(2500),
            max_connections: 4,
            max_requests: 1024,
            max_watches: 16 << 10,
            streams_per_connection: 64,
            request_timeout: None,
            schema: Origin::Any,
            max_message: 64 << 20,
            silence: Duration::from_secs(2),
            silence_grace: Duration::from_millis(700),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            backoff_asked: Duration::from_millis(800),
            fresh: Duration::from_millis(250),
            ping_interval: Duration::from_secs(310),
            services: None,
        }
    }
}
