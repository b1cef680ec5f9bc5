//! A subresource of the backend's own: `.../PLURAL/NAME/SUBRESOURCE`.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::StatusCode;

use super::{
    Body, Reply,
    call::{Values, action_request},
    exchange::{Exchange, call_error, wire_error},
    input, namespace,
    respond::Media,
};
use crate::{
    caller::{Call, CallError, Caller, Class},
    env::Env,
    model::{Action, ActionVerb, Method, Resource, Source},
    negotiate::Endpoint,
    options::{FieldValidation, WriteKind, WriteOptions},
    status::{ApiError, CallVerb, Status},
    transcode::TypeMeta,
};

const EMPTY: &str = "google.protobuf.Empty";

/// Calls an action: the answer as one document, or, of a server stream, as lines of them.
pub(super) async fn action<C: Caller, E: Env>(
    mut exchange: Exchange<C, E>,
    action: usize,
) -> Result<Reply, ApiError> {
    let resource = Arc::clone(&exchange.resource);
    let Some(action) = resource.actions.get(action) else {
        return Err(ApiError::generic_not_found_path());
    };
    let (verb, class) = match exchange.request.info.verb.as_str() {
        "create" => (ActionVerb::Create, Class::Write),
        "get" => (ActionVerb::Get, Class::Read),
        "update" => (ActionVerb::Update, Class::Write),
        "delete" => (ActionVerb::Delete, Class::Write),
        _ => return Err(ApiError::method_not_allowed()),
    };
    let Some((_, method)) = action.methods.iter().find(|(bound, _)| *bound == verb) else {
        return Err(ApiError::method_not_allowed());
    };
    let options = WriteOptions::parse(WriteKind::Create, &exchange.request.query)?;
    if options.dry_run && !binds_dry_run(method) {
        return Err(ApiError::bad_request(format!(
            "dryRun is not supported by {}/{}",
            resource.plural, action.name
        )));
    }
    let media = exchange.negotiate(Endpoint::Object)?;
    let body = if class == Class::Read {
        Vec::new()
    } else {
        body(&mut exchange, action, method, options.field_validation)?
    };
    if verb == ActionVerb::Create {
        namespace::takes_new(&exchange, exchange.name()).await?;
    }
    let options = options.create();
    let values = Values {
        namespace: exchange.namespace(),
        name: exchange.name(),
        object: &body,
        create: Some(&options),
        ..Values::default()
    };
    let message = action_request(method, &values).map_err(|e| exchange.wire_error(&e))?;
    let call = Call { path: Arc::clone(&method.path), message, class };
    let status = if verb == ActionVerb::Create { StatusCode::CREATED } else { StatusCode::OK };
    let told = Told {
        resource: Arc::clone(&resource),
        method: Arc::clone(method),
        class,
        name: exchange.name().into(),
    };
    if method.streaming {
        lines(exchange, told, call, status).await
    } else {
        let answer = exchange.caller.unary(call).await.map_err(|e| told.error(&e))?;
        document(exchange, &told, &media, status, &answer)
    }
}

/// A field for dryRun, by itself or in options that the action's author put there.
fn binds_dry_run(method: &Method) -> bool {
    [Source::DryRun, Source::DryRunFlag, Source::CreateOptions].iter().any(|source| method.binds(source))
}

/// The body as the request message; none is an empty message.
fn body<C: Caller, E: Env>(
    exchange: &mut Exchange<C, E>,
    action: &Action,
    method: &Method,
    validation: FieldValidation,
) -> Result<Vec<u8>, ApiError> {
    let json = input::json(exchange)?;
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let api_version = exchange.resource.api_version();
    let parsed =
        method.input.from_json(&json).map_err(|e| input::bad_json(&api_version, &action.kind, &json, &e))?;
    input::check_kind(&api_version, &action.kind, parsed.api_version.as_deref(), parsed.kind.as_deref())?;
    input::report(exchange, &action.kind, &parsed, validation)?;
    Ok(parsed.wire)
}

/// What an error of the call is told with.
struct Told {
    resource: Arc<Resource>,
    method: Arc<Method>,
    class: Class,
    name: String,
}

impl Told {
    fn error(&self, error: &CallError) -> ApiError {
        call_error(&self.resource, error, CallVerb::Action(self.class), &self.name, Some(&self.method))
    }

    /// Appends an answer as JSON.
    fn write(&self, answer: &[u8], out: &mut Vec<u8>) -> Result<bool, ApiError> {
        let kind = self.method.output.full_name().rsplit('.').next().unwrap_or_default();
        let api_version = self.resource.api_version();
        let type_meta = TypeMeta { api_version: &api_version, kind };
        let noticed = self
            .method
            .output
            .to_json(answer, Some(type_meta), out)
            .map_err(|e| wire_error(&self.resource, &e))?;
        Ok(noticed.unknown_fields)
    }
}

fn document<C: Caller, E: Env>(
    mut exchange: Exchange<C, E>,
    told: &Told,
    media: &Media,
    status: StatusCode,
    answer: &Bytes,
) -> Result<Reply, ApiError> {
    let output = told.method.output.full_name();
    if output == exchange.resource.message.full_name() {
        return exchange.object_reply(status, media, answer);
    }
    if output == EMPTY {
        let resource = &exchange.resource;
        let success = Status::deleted(&resource.group, &resource.plural, exchange.name(), "");
        return exchange.status_reply(media, &success);
    }
    let mut json = Vec::with_capacity(answer.len() * 2);
    exchange.schema_suspect |= told.write(answer, &mut json)?;
    exchange.json_reply(status, media, json)
}

/// A server stream: one document a line, as they come. An error before the first is an answer, a later one breaks
/// the stream.
async fn lines<C: Caller, E: Env>(
    exchange: Exchange<C, E>,
    told: Told,
    call: Call,
    status: StatusCode,
) -> Result<Reply, ApiError> {
    let mut messages = exchange.caller.stream(call).await.map_err(|e| told.error(&e))?;
    let first = match messages.next().await {
        Some(Err(error)) => return Err(told.error(&error)),
        Some(Ok(message)) => Some(line(&told, &message)?),
        None => None,
    };
    let more = first.is_some();
    let start = stream::iter(first.map(Ok));
    let env = exchange.env.clone();
    let rest = stream::unfold(more.then_some((messages, told, env)), |state| async move {
        let (mut messages, told, env) = state?;
        let result = match messages.next().await? {
            Ok(message) => line(&told, &message),
            Err(error) => Err(told.error(&error)),
        };
        if let Err(error) = &result {
            env.report(error);
        }
        let next = result.is_ok().then_some((messages, told, env));
        Some((result, next))
    });
    Ok(Reply {
        status,
        content_type: "application/json".into(),
        warnings: exchange.warnings.take(),
        body: Body::Stream(start.chain(rest).boxed()),
        schema_suspect: exchange.schema_suspect,
    })
}

fn line(told: &Told, message: &[u8]) -> Result<Bytes, ApiError> {
    let mut json = Vec::with_capacity(message.len() * 2);
    told.write(message, &mut json)?;
    json.push(b'\n');
    Ok(json.into())
}
