//! Watch: drives the state machine of [`crate::watch`] over as many backend streams as it takes.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{Either, select},
    stream,
};
use http::StatusCode;

use super::{
    Body, Reply,
    call::Values,
    exchange::{Exchange, call_error},
    filter::Filter,
    respond::EventWriter,
};
use crate::{
    caller::{CallError, Caller, Class, Code, TransportKind},
    env::Env,
    model::{Method, Source},
    negotiate::Endpoint,
    options,
    proto::ListOptions,
    selector::FieldSelector,
    status::{ApiError, CallVerb},
    transcode::WireError,
    watch::{Failure, Machine, Resume, Selects, Start},
};

/// How long to wait before each attempt to resume: about 10 seconds in all.
const BACKOFF: [u64; 8] = [0, 100, 200, 400, 800, 1600, 3200, 3200];
/// How long the first answer's headers are waited for, so that a refusal becomes the HTTP status. Then the client
/// gets its 200: grpc-go, grpc-java and grpcio send their headers with the first event, which may be hours away.
const HEADERS: Duration = Duration::from_millis(250);
/// A call without headers that lived so long was no failed attempt: connecting does not take that long.
const SILENT: Duration = Duration::from_secs(60);
/// A stream that lived so long was no failed attempt, though nothing came.
const LIVED: Duration = Duration::from_secs(10);
/// How often the client learns of the last version, in seconds.
const BOOKMARK_EVERY: u64 = 60;
/// A watch without timeoutSeconds ends after one to two times this, in seconds, as in Kubernetes.
const SHORTEST: u64 = 1800;
/// How much is sent at a time when events come faster than they are read.
const PIECE: usize = 32 * 1024;

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;
type Opening<S> = Pin<Box<dyn Future<Output = Result<S, CallError>> + Send>>;

struct Running<C: Caller, E, F> {
    exchange: Exchange<C, E>,
    method: Arc<Method>,
    options: ListOptions,
    machine: Machine<F>,
    writer: EventWriter,
    /// A call whose headers have not come.
    opening: Option<Opening<C::Stream>>,
    stream: Option<C::Stream>,
    /// When the stream came, or before it the call began.
    opened: SystemTime,
    /// Failed attempts since something last came.
    attempts: usize,
    error: Option<CallError>,
    deadline: Timer,
    bookmark: Option<Timer>,
    finished: bool,
}

enum Wake<S> {
    Deadline,
    Bookmark,
    Opened(Result<S, CallError>),
    Message(Option<Result<Bytes, CallError>>),
}

/// Watches: 200 and a stream of events, also where the version is too old.
pub(super) async fn watch<C: Caller, E: Env>(exchange: Exchange<C, E>) -> Result<Reply, ApiError> {
    let Some(method) = exchange.resource.watch_method() else {
        return Err(ApiError::method_not_allowed());
    };
    let mut options = options::ListOptions::parse(&exchange.request.query, true)?;
    if !exchange.name().is_empty() && options.fields.requires_exact_match("metadata.name").is_none() {
        // The old path: `/watch/.../NAME`.
        let comma = if options.fields.is_empty() { "" } else { "," };
        options.wire.field_selector.push_str(&format!("{comma}metadata.name={}", exchange.name()));
        options.fields = FieldSelector::parse(&options.wire.field_selector)?;
    }
    let media = exchange.negotiate(Endpoint::Watch)?;
    let writer = EventWriter::new(&exchange.resource, &media);
    let filter = Filter::new(&exchange.resource, exchange.namespace(), options.labels, options.fields)?;
    let (options, version) = (options.wire, options.version);
    let start = start(&method, &options, version)?;
    let selects = filter.selects();
    let timeout = options.timeout_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
    let timeout = timeout.unwrap_or_else(|| SHORTEST + random_below(&exchange.env, SHORTEST));
    let bookmarks = options.allow_watch_bookmarks;
    let matches = move |object: &[u8]| filter.matches(object);
    let mut running = Running {
        machine: Machine::new(start, selects, bookmarks, matches),
        deadline: Box::pin(exchange.env.sleep(Duration::from_secs(timeout))),
        bookmark: None,
        opened: exchange.env.now(),
        options: passed_on(options, selects, exchange.resource.makes_watch()),
        opening: None,
        stream: None,
        attempts: 0,
        error: None,
        finished: false,
        method,
        writer,
        exchange,
    };
    if bookmarks {
        running.bookmark = Some(running.timer());
    }
    let mut first = Vec::new();
    if matches!(start, Start::After(_)) && !binds(&running.method, Source::ResourceVersion) {
        running.fail(Failure::Expired("this resource cannot be watched from a version".into()), &mut first);
    } else {
        let opening: Opening<C::Stream> = Box::pin(running.open(start));
        let patience = Box::pin(running.exchange.env.sleep(HEADERS));
        match select(opening, patience).await {
            Either::Left((Ok(stream), _)) => running.stream = Some(stream),
            Either::Left((Err(error), _)) => match running.machine.failed(error) {
                // Kubernetes answers 200 with an ERROR event here, and clients expect it there.
                failure @ Failure::Expired(_) => running.fail(failure, &mut first),
                failure => return Err(running.told(failure)),
            },
            Either::Right((_, opening)) => running.opening = Some(opening),
        }
    }
    let warnings = running.exchange.warnings.take();
    let schema_suspect = running.exchange.schema_suspect;
    Ok(Reply {
        status: StatusCode::OK,
        content_type: media.content_type(),
        warnings,
        body: Body::Stream(running.into_stream(first)),
        schema_suspect,
    })
}

fn binds(method: &Method, source: Source) -> bool {
    method.binds(&Source::ListOptions) || method.binds(&source)
}

/// Where the client wants to start.
fn start(method: &Method, options: &ListOptions, version: u64) -> Result<Start, ApiError> {
    let initial = binds(method, Source::SendInitialEvents);
    if options.send_initial_events == Some(true) && !initial {
        return Err(options::ListOptions::initial_events_forbidden());
    }
    Ok(match (version, options.send_initial_events) {
        (_, Some(true)) | (0, None) => Start::Present,
        (0, Some(false)) => Start::Now,
        (version, None | Some(false)) => Start::After(version),
    })
}

/// What every stream of this watch is asked for. Selectors on what changes stay here: a backend that filters by
/// the new state alone would not tell that an object stopped matching. (Who makes the watch knows that.) The time is ours
/// as well.
fn passed_on(options: ListOptions, selects: Selects, made: bool) -> ListOptions {
    ListOptions {
        watch: true,
        label_selector: if made { options.label_selector } else { String::new() },
        field_selector: if made || selects == Selects::Identity {
            options.field_selector
        } else {
            String::new()
        },
        allow_watch_bookmarks: true,
        timeout_seconds: None,
        limit: 0,
        r#continue: String::new(),
        resource_version: options.resource_version,
        resource_version_match: options.resource_version_match,
        send_initial_events: options.send_initial_events,
    }
}

fn random_below(env: &impl Env, bound: u64) -> u64 {
    u64::try_from(env.random() % u128::from(bound)).unwrap_or_default()
}

impl<C: Caller, E: Env, F> Running<C, E, F>
where
    F: Fn(&[u8]) -> Result<bool, WireError> + Send + 'static,
{
    fn timer(&self) -> Timer {
        // Spread, so that watches which began together do not all wake together.
        let spread = random_below(&self.exchange.env, 5000);
        let after = Duration::from_millis(BOOKMARK_EVERY * 1000 - spread);
        Box::pin(self.exchange.env.sleep(after))
    }

    fn open(&self, start: Start) -> impl Future<Output = Result<C::Stream, CallError>> + Send + use<C, E, F> {
        let asked = &self.options;
        let options = match start {
            Start::Present => ListOptions {
                resource_version: Some(asked.resource_version.clone())
                    .filter(|v| v != "0")
                    .unwrap_or_default(),
                send_initial_events: Some(true),
                ..asked.clone()
            },
            Start::Now => ListOptions { resource_version: String::new(), ..asked.clone() },
            Start::After(version) => ListOptions {
                resource_version: version.to_string(),
                resource_version_match: String::new(),
                send_initial_events: None,
                ..asked.clone()
            },
        };
        let values =
            Values { namespace: self.exchange.namespace(), list: Some(&options), ..Values::default() };
        let call = self.exchange.call(&self.method, &values, Class::Read);
        let caller = self.exchange.caller.clone();
        async move { caller.stream(call).await }
    }

    fn into_stream(self, first: Vec<u8>) -> stream::BoxStream<'static, Result<Bytes, ApiError>> {
        let start = stream::iter((!first.is_empty()).then(|| Ok(Bytes::from(first))));
        let rest = stream::unfold(self, |mut running| async move {
            let piece = running.piece().await?;
            Some((Ok(piece), running))
        });
        start.chain(rest).boxed()
    }

    /// The next events for the client; `None`: the watch is over.
    async fn piece(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.is_empty() && !self.finished {
            if self.stream.is_none() && self.opening.is_none() {
                self.reopen(&mut out);
                continue;
            }
            match self.wait().await {
                Wake::Deadline => {
                    self.bookmark(&mut out);
                    self.finished = true;
                }
                Wake::Bookmark => {
                    self.bookmark(&mut out);
                    self.bookmark = Some(self.timer());
                }
                Wake::Opened(result) => self.opened(result, &mut out),
                Wake::Message(message) => {
                    self.take(message, &mut out);
                    self.drain(&mut out);
                }
            }
        }
        (!out.is_empty()).then(|| out.into())
    }

    async fn wait(&mut self) -> Wake<C::Stream> {
        std::future::poll_fn(|cx| {
            use std::task::Poll;
            if self.deadline.poll_unpin(cx).is_ready() {
                return Poll::Ready(Wake::Deadline);
            }
            if self.bookmark.as_mut().is_some_and(|timer| timer.poll_unpin(cx).is_ready()) {
                return Poll::Ready(Wake::Bookmark);
            }
            match (&mut self.stream, &mut self.opening) {
                (Some(stream), _) => stream.poll_next_unpin(cx).map(Wake::Message),
                (None, Some(opening)) => opening.poll_unpin(cx).map(Wake::Opened),
                (None, None) => Poll::Pending,
            }
        })
        .await
    }

    /// Takes what has come already.
    fn drain(&mut self, out: &mut Vec<u8>) {
        while out.len() < PIECE
            && !self.finished
            && let Some(stream) = &mut self.stream
            && let Some(message) = stream.next().now_or_never()
        {
            self.take(message, out);
        }
    }

    fn take(&mut self, message: Option<Result<Bytes, CallError>>, out: &mut Vec<u8>) {
        match message {
            Some(Ok(message)) => {
                let seen = self.machine.seen();
                let event = self.machine.message(&message);
                if self.machine.seen() != seen {
                    self.attempts = 0;
                    self.error = None;
                }
                match event {
                    Ok(None) => {}
                    Ok(Some(event)) => match self.writer.event(&event, self.exchange.env.now(), out) {
                        Ok(noticed) => self.suspect(noticed.unknown_fields),
                        Err(error) => self.fail(Failure::Malformed(error.to_string()), out),
                    },
                    Err(Failure::Backend(error)) => self.broken(Some(error), out),
                    Err(failure) => self.fail(failure, out),
                }
            }
            Some(Err(error)) => self.broken(Some(error), out),
            None => self.broken(None, out),
        }
    }

    /// The schema should be read again; said once.
    fn suspect(&mut self, unknown_fields: bool) {
        if unknown_fields && !std::mem::replace(&mut self.exchange.schema_suspect, true) {
            self.exchange.env.schema_suspect();
        }
    }

    /// The backend's stream is over: go on where it was, if nothing is lost by that.
    fn broken(&mut self, error: Option<CallError>, out: &mut Vec<u8>) {
        self.stream = None;
        if let Some(error) = error {
            if is_cancelled(&error) {
                self.finished = true;
                return;
            }
            if !is_passing(&error) {
                let failure = self.machine.failed(error);
                self.fail(failure, out);
                return;
            }
            self.error = Some(error);
        }
        if self.exchange.env.now().duration_since(self.opened).is_ok_and(|lived| lived >= LIVED) {
            self.attempts = 0;
        }
        if self.machine.resume() == Resume::Impossible {
            self.lost(out);
        }
    }

    /// Begins one attempt to open the next stream.
    fn reopen(&mut self, out: &mut Vec<u8>) {
        let (Some(wait), Resume::From(start)) = (BACKOFF.get(self.attempts), self.machine.resume()) else {
            self.lost(out);
            return;
        };
        self.attempts += 1;
        self.opened = self.exchange.env.now();
        let pause = (*wait > 0).then(|| self.exchange.env.sleep(Duration::from_millis(*wait)));
        let open = self.open(start);
        self.opening = Some(Box::pin(async move {
            if let Some(pause) = pause {
                pause.await;
            }
            open.await
        }));
    }

    fn opened(&mut self, result: Result<C::Stream, CallError>, out: &mut Vec<u8>) {
        self.opening = None;
        let now = self.exchange.env.now();
        match result {
            Ok(stream) => {
                self.stream = Some(stream);
                self.opened = now;
            }
            Err(error) => {
                if now.duration_since(self.opened).is_ok_and(|lived| lived < SILENT) {
                    self.opened = now;
                }
                self.broken(Some(error), out);
            }
        }
    }

    fn lost(&mut self, out: &mut Vec<u8>) {
        let failure = match self.error.take() {
            Some(error) => Failure::Backend(error),
            None => {
                Failure::Expired("the backend ended the watch and it cannot be resumed; list again".into())
            }
        };
        self.fail(failure, out);
    }

    fn bookmark(&mut self, out: &mut Vec<u8>) {
        if self.bookmark.is_some()
            && let Some(version) = self.machine.version()
            && let Err(error) = self.writer.bookmark(version, false, self.exchange.env.now(), out)
        {
            self.fail(Failure::Malformed(error.to_string()), out);
        }
    }

    /// Ends the watch with an ERROR event.
    fn fail(&mut self, failure: Failure, out: &mut Vec<u8>) {
        self.stream = None;
        self.finished = true;
        let error = self.told(failure);
        self.exchange.env.report(&error);
        self.writer.error(&error.status, out);
    }

    fn told(&self, failure: Failure) -> ApiError {
        let verb = CallVerb::Watch { from_version: true };
        match failure {
            Failure::Expired(message) => ApiError::expired(message),
            Failure::Malformed(log) => ApiError::internal(log).with_schema_suspect(),
            Failure::Backend(error) => {
                call_error(&self.exchange.resource, &error, verb, "", Some(&self.method))
            }
        }
    }
}

/// The client went away, or we are stopping.
fn is_cancelled(error: &CallError) -> bool {
    matches!(error, CallError::Transport(failure) if failure.kind == TransportKind::Cancelled)
}

/// Worth another stream: the backend, or the way to it, went away.
fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::Transport(failure) => failure.kind != TransportKind::Protocol,
        CallError::Status(status) => {
            matches!(status.code, Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded)
        }
    }
}
