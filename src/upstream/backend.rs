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
use kubridge_bridge::caller::{Call, CallError, Caller, Class, Ran};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    attempts::{Attempts, Failure, Shared},
    call::{self, Answer, Outgoing},
    endpoint::{Endpoint, EndpointError},
    limit::Kind,
    options::Options,
    pool::{ConnectionState, InFlight, Pool},
    stats::Stats,
    tls::{Tls, TlsOptions},
    traffic::Traffic,
    unimplemented::Unimplemented,
};

/// One backend. Clones share its connections; it connects with its first call or with [`Self::connect`].
#[derive(Clone)]
pub struct Backend {
    shared: Arc<Shared>,
    headers: Arc<HeaderMap>,
    traffic: Arc<Traffic>,
}

impl Backend {
    /// A backend at `endpoint`. Nothing is connected yet.
    pub fn new(endpoint: Endpoint, tls: &TlsOptions, options: Options) -> Result<Self, EndpointError> {
        let tls = Tls::new(&endpoint, tls)?;
        let stats = Arc::new(Stats::default());
        Ok(Self::over(Pool::new(endpoint, tls, options, Arc::clone(&stats)), stats))
    }

    pub(super) fn over(pool: Arc<Pool>, stats: Arc<Stats>) -> Self {
        let headers = Arc::new(call::base_headers());
        Self { shared: Arc::new(Shared::new(pool, stats)), headers, traffic: Arc::default() }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        self.shared.pool.endpoint()
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.shared.pool.tls()
    }

    pub(super) fn options(&self) -> &Options {
        self.shared.pool.options()
    }

    /// Connects now instead of with the first call. Once a backend was wanted, it stays connected.
    pub fn connect(&self) {
        self.shared.pool.wake();
    }

    /// Somebody who would have called it is answered without: it is looked whether it is back, as if it had been called.
    pub fn knock(&self) {
        self.shared.pool.knock();
    }

    /// Whether it can be reached.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.pool.state()
    }

    /// Changes each time the backend can be reached again after it could not: its schema may be another.
    pub fn returns(&self) -> watch::Receiver<u64> {
        self.shared.pool.returns()
    }

    /// Whether the two are clones of one another.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// What requests tell about it.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Which methods of its schema it does not have.
    pub fn unimplemented(&self) -> &Unimplemented {
        &self.shared.unimplemented
    }

    pub(super) fn traffic_ref(&self) -> &Traffic {
        &self.traffic
    }

    /// What its connections have done, and what is in flight.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// A caller for one request: its metadata, and the time by which its calls must be done. Without a deadline they are
    /// watches, for the limit on what is in flight.
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
        let most = self.options().request_timeout;
        let deadline = deadline.map(|at| most.map_or(at, |most| at.min(Instant::now() + most)));
        let traffic = Some(Arc::clone(&self.traffic));
        BackendCaller { shared: Arc::clone(&self.shared), headers, deadline, own: false, traffic }
    }

    /// Lets a request in, to be placed on connections.
    ///
    /// # Errors
    /// Too many are in flight.
    pub(super) fn attempts(
        &self,
        class: Class,
        kind: Kind,
        deadline: Option<Instant>,
    ) -> Result<Attempts, CallError> {
        Attempts::new(Arc::clone(&self.shared), class, kind, deadline)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("pool", &self.shared.pool).finish_non_exhaustive()
    }
}

/// Calls to a backend on behalf of one request.
#[derive(Clone)]
pub struct BackendCaller {
    shared: Arc<Shared>,
    headers: Arc<HeaderMap>,
    deadline: Option<Instant>,
    own: bool,
    traffic: Option<Arc<Traffic>>,
}

impl BackendCaller {
    /// The same with another deadline: a watch has none.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same for what the aggregator itself asks: it is never refused because requests are in flight.
    #[must_use]
    pub fn unlimited(mut self) -> Self {
        self.own = true;
        self
    }

    /// The same for questions after the backend's health: who asks them draws the conclusions.
    pub(super) fn aside(mut self) -> Self {
        self.own = true;
        self.traffic = None;
        self
    }

    fn report<T>(&self, path: &str, outcome: Result<T, CallError>) -> Result<T, CallError> {
        if let Some(traffic) = &self.traffic {
            traffic.report(&outcome);
            self.shared.unimplemented.ended(path, &outcome);
        }
        outcome
    }

    fn kind(&self) -> Kind {
        match (self.own, self.deadline) {
            (true, _) => Kind::Own,
            (false, Some(_)) => Kind::Request,
            (false, None) => Kind::Watch,
        }
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
                Err(call::deadline_passed(ran, &self.shared.pool.endpoint().to_string()))
            }
        }
    }

    /// Up to the answer's headers.
    async fn start(&self, call: &Call, sent: &AtomicBool) -> Result<Answer, CallError> {
        let outgoing = Outgoing {
            uri: call::uri(self.shared.pool.endpoint(), &call.path)?,
            headers: &self.headers,
            message: &call.message,
            deadline: self.deadline,
            max_message: self.shared.pool.options().max_message,
        };
        let mut attempts = Attempts::new(Arc::clone(&self.shared), call.class, self.kind(), self.deadline)?;
        let silence = self.shared.pool.options().silence;
        let mut place = attempts.first().await?;
        let mut earlier = None;
        loop {
            let (visited, connection) = (place.visited(), Arc::clone(place.connection()));
            let outcome = tokio::select! {
                biased;
                outcome = Self::attempt(place, &outgoing, sent) => Some(outcome),
                () = attempts.late() => None,
            };
            let error = match (outcome, earlier) {
                (Some(Ok(answer)), _) => return Ok(answer),
                (Some(Err(error)), _) => error,
                (None, Some(earlier)) => return Err(earlier),
                (None, None) => unreachable!("only a retry has to be quick"),
            };
            match attempts.next(visited, Failure::of(&error).on(&connection, silence)).await {
                None => return Err(error),
                Some(next) => {
                    tracing::debug!(path = %call.path, %error, "the call is tried again");
                    (place, earlier) = (next, Some(error));
                }
            }
        }
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
        let outcome = self.within_deadline(&sent, answer).await;
        self.report(&call.path, outcome)
    }

    async fn stream(&self, call: Call) -> Result<Answer, CallError> {
        let sent = AtomicBool::new(false);
        let outcome = self.within_deadline(&sent, self.start(&call, &sent)).await;
        let Some(traffic) = &self.traffic else { return outcome };
        match outcome {
            // Whether it is an answer, its end tells. A watch has none.
            Ok(answer) => {
                let answer = match self.deadline {
                    Some(_) => answer.reporting_to(Arc::clone(traffic)),
                    None => {
                        traffic.answered();
                        answer
                    }
                };
                Ok(answer.of_method(call.path, Arc::clone(&self.shared.unimplemented)))
            }
            failed => self.report(&call.path, failed),
        }
    }
}

impl fmt::Debug for BackendCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendCaller")
            .field("backend", self.shared.pool.endpoint())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
