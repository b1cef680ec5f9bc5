//! A backend: its connections, and calls on behalf of one request.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::HeaderMap;
use kubridge_bridge::caller::{Call, CallError, Caller, Ran};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    call::{self, Answer, Outgoing},
    connection::InFlight,
    endpoint::{Endpoint, EndpointError, Tls, TlsOptions},
    options::Options,
    pool::{ConnectionState, Pool},
    traffic::Traffic,
};

/// How often a call that provably did not run is tried again.
const RETRIES: usize = 2;

/// One backend. Clones share its connections; it connects with its first call or with [`Self::connect`].
#[derive(Clone)]
pub struct Backend {
    pool: Arc<Pool>,
    headers: Arc<HeaderMap>,
    traffic: Arc<Traffic>,
}

impl Backend {
    /// A backend at `endpoint`. Nothing is connected yet.
    pub fn new(endpoint: Endpoint, tls: &TlsOptions, options: Options) -> Result<Self, EndpointError> {
        let tls = Tls::new(&endpoint, tls)?;
        let headers = Arc::new(call::base_headers());
        Ok(Self { pool: Pool::new(endpoint, tls, options), headers, traffic: Arc::default() })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        self.pool.endpoint()
    }

    /// Connects now instead of with the first call. Once a backend was wanted, it stays connected.
    pub fn connect(&self) {
        self.pool.wake();
    }

    /// Whether it can be reached.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.pool.state()
    }

    /// Changes each time the backend can be reached again after it could not: its schema may be another.
    pub fn returns(&self) -> watch::Receiver<u64> {
        self.pool.returns()
    }

    /// Whether the two are clones of one another.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pool, &other.pool)
    }

    /// What requests tell about it.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// A caller for one request: its metadata, and the time by which its calls must be done.
    pub fn caller(&self, metadata: HeaderMap, deadline: Option<Instant>) -> BackendCaller {
        let headers = if metadata.is_empty() {
            Arc::clone(&self.headers)
        } else {
            // Ours last: metadata cannot change what makes the call gRPC.
            let mut headers = metadata;
            for (name, value) in self.headers.iter() {
                headers.insert(name, value.clone());
            }
            Arc::new(headers)
        };
        let traffic = Some(Arc::clone(&self.traffic));
        BackendCaller { pool: Arc::clone(&self.pool), headers, deadline, traffic }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// Calls to a backend on behalf of one request.
#[derive(Clone)]
pub struct BackendCaller {
    pool: Arc<Pool>,
    headers: Arc<HeaderMap>,
    deadline: Option<Instant>,
    traffic: Option<Arc<Traffic>>,
}

impl BackendCaller {
    /// The same with another deadline: a watch has none.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same for our own questions: who asks them draws the conclusions.
    pub(super) fn aside(mut self) -> Self {
        self.traffic = None;
        self
    }

    fn report<T>(&self, outcome: Result<T, CallError>) -> Result<T, CallError> {
        if let Some(traffic) = &self.traffic {
            traffic.report(&outcome);
        }
        outcome
    }

    async fn within_deadline<T>(
        &self,
        sent: &AtomicBool,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let Some(deadline) = self.deadline else { return work.await };
        match timeout_at(deadline, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let ran = if sent.load(Ordering::Relaxed) { Ran::Unknown } else { Ran::No };
                Err(call::deadline_passed(ran, &self.pool.endpoint().to_string()))
            }
        }
    }

    /// Up to the answer's headers. What provably did not run is tried again on another connection.
    async fn start(&self, call: &Call, sent: &AtomicBool) -> Result<Answer, CallError> {
        let outgoing = Outgoing {
            uri: call::uri(self.pool.endpoint(), &call.path)?,
            headers: &self.headers,
            message: &call.message,
            deadline: self.deadline,
            max_message: self.pool.options().max_message,
        };
        let mut refused = [u64::MAX; RETRIES];
        for tried in 0..RETRIES {
            let place = self.pool.place(&refused).await?;
            let id = place.connection().id;
            match Self::attempt(place, &outgoing, sent).await {
                Err(CallError::Transport(error)) if error.ran == Ran::No => {
                    tracing::debug!(path = %call.path, error = %error.message, "the call did not run: again");
                    refused[tried] = id;
                }
                outcome => return outcome,
            }
        }
        Self::attempt(self.pool.place(&refused).await?, &outgoing, sent).await
    }

    async fn attempt(
        place: InFlight,
        outgoing: &Outgoing<'_>,
        sent: &AtomicBool,
    ) -> Result<Answer, CallError> {
        sent.store(true, Ordering::Relaxed);
        let outcome = call::start(place, outgoing).await;
        if let Err(CallError::Transport(error)) = &outcome
            && error.ran == Ran::No
        {
            sent.store(false, Ordering::Relaxed);
        }
        outcome
    }
}

impl Caller for BackendCaller {
    type Stream = Answer;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        let sent = AtomicBool::new(false);
        let answer = async { self.start(&call, &sent).await?.single().await };
        self.report(self.within_deadline(&sent, answer).await)
    }

    async fn stream(&self, call: Call) -> Result<Answer, CallError> {
        let sent = AtomicBool::new(false);
        self.report(self.within_deadline(&sent, self.start(&call, &sent)).await)
    }
}

impl fmt::Debug for BackendCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendCaller")
            .field("backend", self.pool.endpoint())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
