//! DELETE of an object.

use bytes::Bytes;
use http::StatusCode;

use super::{Reply, call::Values, exchange::Exchange, prepare, update};
use crate::{
    caller::{CallError, Caller, Class},
    env::Env,
    model::{Method, Source},
    negotiate::Endpoint,
    object::{self, MetaView, Object},
    proto::{DeleteOptions, GetOptions, ObjectMeta, Preconditions, UpdateOptions},
    status::{ApiError, CallVerb, Status},
};

/// How often a write that somebody else came before is tried again.
pub(super) const RETRIES: usize = 5;

/// What became of an object.
#[derive(Debug)]
pub(super) enum Deleted {
    /// It is gone; its uid.
    Gone(String),
    /// It waits for its finalizers: the object, on the wire.
    Terminating(Vec<u8>),
}

/// Deletes an object: 200 with a Status, or with the object while it waits for its finalizers.
pub(super) async fn delete<C: Caller, E: Env>(mut exchange: Exchange<C, E>) -> Result<Reply, ApiError> {
    let Some(method) = exchange.resource.methods.delete.clone() else {
        return Err(ApiError::method_not_allowed());
    };
    let options = exchange.delete_options()?;
    let media = exchange.negotiate(Endpoint::Object)?;
    let deleted = if exchange.managed() {
        warn_of_propagation(&exchange, &options);
        managed(&mut exchange, &method, &options, None).await?
    } else {
        relay(&exchange, &method, &options).await?
    };
    match deleted {
        Deleted::Terminating(object) => exchange.object_reply(StatusCode::OK, &media, &object),
        Deleted::Gone(uid) => {
            let resource = &exchange.resource;
            let status = Status::deleted(&resource.group, &resource.plural, exchange.name(), &uid);
            exchange.status_reply(&media, &status)
        }
    }
}

/// There is no garbage collector here: dependents are nobody's business.
pub(super) fn warn_of_propagation<C, E>(exchange: &Exchange<C, E>, options: &DeleteOptions) {
    let orphan = options.orphan_dependents == Some(true);
    let policy = if orphan { "Orphan" } else { options.propagation_policy() };
    if matches!(policy, "Foreground" | "Orphan") {
        exchange.warnings.extend([format!(
            "propagationPolicy {policy} is treated as Background: there is no garbage collector for this resource"
        )]);
    }
}

/// An attempt failed. `again`: somebody else wrote meanwhile, it may be tried again.
struct Failed {
    error: ApiError,
    again: bool,
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self { error, again: false }
    }
}

impl Failed {
    fn write(error: ApiError) -> Self {
        Self { again: error.status.reason == "Conflict", error }
    }
}

/// Reads the object (`known`: it was just read) and deletes that version of it, or marks it as terminating.
/// Tried again when somebody else wrote meanwhile, unless the client named a version.
pub(super) async fn managed<C: Caller, E: Env>(
    exchange: &mut Exchange<C, E>,
    method: &Method,
    options: &DeleteOptions,
    known: Option<Bytes>,
) -> Result<Deleted, ApiError> {
    let named = options.preconditions.as_ref().is_some_and(|p| p.resource_version.is_some());
    let mut retries = if named { 0 } else { RETRIES };
    let mut known = known;
    loop {
        let current = match known.take() {
            Some(current) => current,
            None => exchange.fetch(&GetOptions::default()).await?,
        };
        match once(exchange, method, options, current).await {
            Err(failed) if failed.again && retries > 0 => retries -= 1,
            other => return other.map_err(|failed| failed.error),
        }
    }
}

async fn once<C: Caller, E: Env>(
    exchange: &mut Exchange<C, E>,
    method: &Method,
    options: &DeleteOptions,
    current: Bytes,
) -> Result<Deleted, Failed> {
    let stored = exchange.complete(&current)?.into_owned();
    let mut object = Object::parse(&stored).map_err(|e| exchange.wire_error(&e))?;
    check(exchange, &object.meta, options.preconditions.as_ref())?;
    if object.meta.finalizers.is_empty() {
        if options.dry_run.is_empty() || binds_dry_run(method) {
            remove(exchange, method, &object.meta, options).await.map_err(Failed::write)?;
        }
        return Ok(Deleted::Gone(object.meta.uid));
    }
    if object.meta.deletion_timestamp.is_some() {
        return Ok(Deleted::Terminating(stored));
    }
    let unknown = update::unknown_fields(exchange, &current)?;
    prepare::terminate(exchange, &mut object);
    let in_metadata: Vec<_> =
        unknown.into_iter().filter(|u| u.path.first() == Some(&object::METADATA)).collect();
    let wire = object::carry_over(object.encode(), &in_metadata).map_err(|e| exchange.wire_error(&e))?;
    if !options.dry_run.is_empty() {
        return Ok(Deleted::Terminating(wire));
    }
    let Some(update) = exchange.resource.methods.update.clone() else {
        // Finalizers that nobody can ever remove: such an object cannot go.
        return Err(ApiError::method_not_allowed().into());
    };
    let written =
        update::write(exchange, &update, &wire, &UpdateOptions::default()).await.map_err(Failed::write)?;
    Ok(Deleted::Terminating(written.into()))
}

/// 409 in Kubernetes' words when the object is not the one that the client means.
fn check<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    meta: &ObjectMeta,
    preconditions: Option<&Preconditions>,
) -> Result<(), ApiError> {
    let Some(preconditions) = preconditions else { return Ok(()) };
    let resource = &exchange.resource;
    let conflict =
        |message: String| Err(ApiError::conflict(&resource.group, &resource.kind, &meta.name, &message));
    match preconditions.uid.as_deref() {
        Some(uid) if uid != meta.uid => {
            return conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                meta.uid
            ));
        }
        _ => {}
    }
    match preconditions.resource_version.as_deref() {
        Some(version) if version != meta.resource_version => conflict(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            meta.resource_version
        )),
        _ => Ok(()),
    }
}

/// One Delete, of exactly the version in `meta`.
pub(super) async fn remove<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    meta: &ObjectMeta,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let conditional = DeleteOptions {
        preconditions: Some(Preconditions {
            // The uid was compared; one that we made is unknown to the backend, and the version says the same.
            uid: None,
            resource_version: Some(meta.resource_version.clone()).filter(|version| !version.is_empty()),
        }),
        propagation_policy: options.propagation_policy.as_ref().map(|_| "Background".into()),
        orphan_dependents: None,
        ..options.clone()
    };
    call(exchange, method, &meta.name, &meta.namespace, &conditional)
        .await
        .map(drop)
        .map_err(|error| exchange.call_error(&error, CallVerb::Delete, &meta.name, method))
}

async fn call<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    name: &str,
    namespace: &str,
    options: &DeleteOptions,
) -> Result<Bytes, CallError> {
    let values = Values { namespace, name, delete: Some(options), ..Values::default() };
    exchange.unary(method, &values, Class::Write).await
}

/// A field of its own for dryRun. In the standard DeleteRequest it is one of many options: a backend that
/// overlooks it would delete, and everything that it could check was checked here.
fn binds_dry_run(method: &Method) -> bool {
    method.binds(&Source::DryRun) || method.binds(&Source::DryRunFlag)
}

/// `lifecycle: BACKEND`: as the client asked for it. The answer is the object while it goes on to exist.
pub(super) async fn relay<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    let fault = |e| exchange.wire_error(&e);
    let bound = binds_dry_run(method) || method.binds(&Source::DeleteOptions);
    if !options.dry_run.is_empty() && !bound {
        let current = exchange.fetch(&GetOptions::default()).await?;
        return Ok(Deleted::Gone(
            MetaView::of(&current).map_err(fault)?.uid(&exchange.resource).into_owned(),
        ));
    }
    let answer = call(exchange, method, exchange.name(), exchange.namespace(), options)
        .await
        .map_err(|error| exchange.call_error(&error, CallVerb::Delete, exchange.name(), method))?;
    if method.output.full_name() != exchange.resource.message.full_name() {
        return Ok(Deleted::Gone(String::new()));
    }
    let meta = MetaView::of(&answer).map_err(fault)?;
    Ok(if meta.deleted.is_some() && meta.has_finalizers {
        Deleted::Terminating(answer.into())
    } else {
        Deleted::Gone(meta.uid.into())
    })
}
