//! Between the verbs and the backend: what is told is noted, and versions become tokens and back.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use kubridge_bridge::{
    caller::{BackendStatus, Call, CallError, Caller, Class, Code, Detail, FieldViolation, Ran},
    ledger::{self, Numbering, Place, Scope, Sight, Stamp},
    model::{MADE_WATCH, Method, Resource},
    object,
    proto::WatchRequest,
};
use prost::Message as _;

use super::{
    Polls, Shared,
    list::{Telling, Told},
    status, watch,
};

/// Calls for one request; see the module.
#[derive(Clone)]
pub struct Watched<C, P> {
    shared: Arc<Shared>,
    inner: C,
    polls: P,
}

/// What a method does, as far as versions are in it.
enum Role<'a> {
    /// Answers with the object.
    Get(&'a Method),
    List(&'a Method),
    /// Takes and answers with the object.
    Write(&'a Method),
    /// Takes the version of the object; answers with its last state, or nothing.
    Delete(&'a Method, bool),
    /// A subresource that answers with the object.
    Answer,
    Other,
}

impl<C: Caller, P: Polls> Watched<C, P> {
    pub(super) fn new(shared: Arc<Shared>, inner: C, polls: P) -> Self {
        Self { shared, inner, polls }
    }

    async fn read(&self, method: &Method, call: Call) -> Result<Bytes, CallError> {
        let (call, _) = lower_read(&self.shared, method, call)?;
        let since = self.shared.ledger().stamp();
        Ok(self.tell(since, self.inner.unary(call).await?))
    }

    /// A call that writes: what comes of it is polled for.
    async fn write(&self, call: Call) -> Result<Bytes, CallError> {
        let written = self.inner.unary(call).await;
        if !matches!(&written, Err(CallError::Transport(error)) if error.ran == Ran::No) {
            self.shared.changed();
        }
        written
    }

    /// An object as the client is told it. What cannot be read is passed on, for whoever says so.
    fn tell(&self, since: Stamp, answer: Bytes) -> Bytes {
        let Ok(sight) = Sight::of(&answer) else { return answer };
        if answer.is_empty() {
            return answer;
        }
        let told = self.shared.ledger().observe(since, &sight);
        self.shared.take_notes();
        with_version(answer, told)
    }

    /// A state that is not that of an object that is there: it is not noted.
    fn tell_unnoted(&self, answer: Bytes) -> Bytes {
        let version = {
            let ledger = self.shared.ledger();
            (ledger.numbering() != Numbering::Backend).then(|| ledger.stamp().version())
        };
        if answer.is_empty() { answer } else { with_version(answer, version) }
    }

    fn telling(&self, method: &Method, call: Call) -> Result<(Call, Telling), CallError> {
        let text = |places: Vec<Place>| ledger::first(&places, &call.message).unwrap_or_default();
        let scope = Scope::new(
            &text(Place::namespace(method)),
            &text(Place::labels(method)),
            &text(Place::fields(method)),
        );
        let (call, first) = lower_read(&self.shared, method, call)?;
        let listing = self.shared.ledger().list_begins(scope, first);
        Ok((call, Telling::new(Arc::clone(&self.shared), listing)))
    }
}

impl<C: Caller, P: Polls> Caller for Watched<C, P> {
    type Stream = BoxStream<'static, Result<Bytes, CallError>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        let resource = self.shared.resource.load_full();
        match role(&resource, &call.path) {
            Role::Get(method) => self.read(method, call).await,
            Role::List(method) => {
                let (call, telling) = self.telling(method, call)?;
                Ok(telling.whole(self.inner.unary(call).await?))
            }
            Role::Write(method) => {
                let call = lower_write(&self.shared, method, call)?;
                let dry_run = ledger::first(&Place::dry_run(method), &call.message)
                    .is_ok_and(|found| !found.is_empty());
                if dry_run {
                    return Ok(self.tell_unnoted(self.inner.unary(call).await?));
                }
                let since = self.shared.ledger().stamp();
                Ok(self.tell(since, self.write(call).await?))
            }
            Role::Delete(method, answers) => {
                let call = lower_write(&self.shared, method, call)?;
                let answer = self.write(call).await?;
                Ok(if answers { self.tell_unnoted(answer) } else { answer })
            }
            Role::Answer => {
                let since = self.shared.ledger().stamp();
                let answer = match call.class {
                    Class::Read => self.inner.unary(call).await?,
                    Class::Write => self.write(call).await?,
                };
                Ok(self.tell(since, answer))
            }
            Role::Other if call.class == Class::Write => self.write(call).await,
            Role::Other => self.inner.unary(call).await,
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        if *call.path == *MADE_WATCH {
            let request = WatchRequest::decode(call.message)
                .map_err(|error| status(Code::InvalidArgument, &error.to_string()))?;
            let source = Box::new(self.polls.clone());
            return watch::open(Arc::clone(&self.shared), &self.inner, source, request).await;
        }
        let resource = self.shared.resource.load_full();
        match role(&resource, &call.path) {
            Role::List(method) => {
                let (call, telling) = self.telling(method, call)?;
                Ok(Told::new(self.inner.stream(call).await?, telling).boxed())
            }
            Role::Answer => {
                let since = self.shared.ledger().stamp();
                let this = self.clone();
                let answers = self.inner.stream(call).await?;
                Ok(answers.map(move |answer| Ok(this.tell(since, answer?))).boxed())
            }
            Role::Get(_) | Role::Write(_) | Role::Delete(..) | Role::Other => {
                Ok(self.inner.stream(call).await?.boxed())
            }
        }
    }
}

impl<C, P> fmt::Debug for Watched<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

fn role<'a>(resource: &'a Resource, path: &str) -> Role<'a> {
    let methods = &resource.methods;
    let is = |method: &'a Option<Arc<Method>>| method.as_deref().filter(|method| *method.path == *path);
    let object = resource.message.full_name();
    if let Some(method) = is(&methods.get) {
        return Role::Get(method);
    }
    if let Some(method) = is(&methods.list) {
        return Role::List(method);
    }
    if let Some(method) = is(&methods.create).or(is(&methods.update)).or(is(&methods.update_status)) {
        return Role::Write(method);
    }
    if let Some(method) = is(&methods.delete) {
        return Role::Delete(method, method.output.full_name() == object);
    }
    let mut actions = resource.actions.iter().flat_map(|action| &action.methods).map(|(_, method)| method);
    match actions.find(|method| *method.path == *path) {
        Some(method) if method.output.full_name() == object => Role::Answer,
        _ => Role::Other,
    }
}

/// A get or list as the backend gets it: without versions that it does not know. With the version that a list continues.
///
/// # Errors
/// The version is of a foreign epoch, or asks for the past.
pub(super) fn lower_read(
    shared: &Shared,
    method: &Method,
    call: Call,
) -> Result<(Call, Option<u64>), CallError> {
    let (numbering, known) = {
        let ledger = shared.ledger();
        (ledger.numbering(), ledger.told())
    };
    if numbering == Numbering::Backend {
        return Ok((call, None));
    }
    let unreadable = |_| status(Code::InvalidArgument, "the request is not protobuf");
    let mut call = call;
    let mut first = None;
    let texts = |places: &[Place], call: &Call| ledger::first(places, &call.message).map_err(unreadable);
    let versions = Place::version(method);
    let version = texts(&versions, &call)?;
    let exact = texts(&Place::version_match(method), &call)? == "Exact";
    if !matches!(version.as_str(), "" | "0") {
        match version.parse::<u64>() {
            Ok(version) if version > *known.end() && !exact => {
                // Another process told it, or nobody: who reads the object alone begins anew with this.
                let code = if Place::r#continue(method).is_empty() {
                    Code::DeadlineExceeded
                } else {
                    Code::OutOfRange
                };
                return Err(status(code, "the resourceVersion is of another process"));
            }
            Ok(version) if known.contains(&version) && !exact => {}
            _ => return Err(watch::expired()),
        }
    }
    for place in versions.iter().chain(&Place::version_match(method)) {
        call.message = place.write(&call.message, "").map_err(unreadable)?;
    }
    for place in Place::r#continue(method) {
        let token = place.read(&call.message).map_err(unreadable)?;
        if token.is_empty() {
            continue;
        }
        let (version, inner) = ledger::inner_continue(&token).ok_or_else(watch::expired)?;
        if !known.contains(&version) {
            return Err(watch::expired());
        }
        first = Some(version);
        call.message = place.write(&call.message, inner).map_err(unreadable)?;
    }
    Ok((call, first))
}

/// A write as the backend gets it: with tokens where the client has versions.
///
/// # Errors
/// ABORTED: the version is not that of the present state. INVALID_ARGUMENT: what the backend cannot check must not hang
/// on a version.
fn lower_write(shared: &Shared, method: &Method, call: Call) -> Result<Call, CallError> {
    let ledger = shared.ledger();
    let Numbering::Ledger { opaque } = ledger.numbering() else { return Ok(call) };
    if !opaque && let Some(finalizers) = Place::metadata(method, 14) {
        // The last finalizer is removed by whoever saw it last; nobody can say who that is.
        if finalizers.read(&call.message).is_ok_and(|found| !found.is_empty()) {
            return Err(no_finalizers());
        }
    }
    let stale = |_| status(Code::Aborted, "");
    Ok(Call { message: ledger.lower(method, &call.message).map_err(stale)?, ..call })
}

fn no_finalizers() -> CallError {
    let violation = FieldViolation {
        field: "metadata.finalizers".into(),
        description: "the backend gives no resourceVersions, so that finalizers cannot be removed safely"
            .into(),
        reason: String::new(),
    };
    CallError::Status(Box::new(BackendStatus {
        code: Code::InvalidArgument,
        message: violation.description.clone(),
        details: vec![Detail::FieldViolations(vec![violation])],
    }))
}

fn with_version(answer: Bytes, version: Option<u64>) -> Bytes {
    match version {
        None => answer,
        Some(version) => {
            object::with_version(&answer, &version.to_string()).map(Bytes::from).unwrap_or(answer)
        }
    }
}
