//! POST of a collection.

use http::StatusCode;

use super::{Reply, call, call::Values, exchange::Exchange, input, namespace, prepare};
use crate::{
    caller::{CallError, Caller, Class, Code},
    env::Env,
    model::Method,
    negotiate::Endpoint,
    object::Object,
    options::{WriteKind, WriteOptions},
    proto::{CreateOptions, GetOptions},
    status::{ApiError, CallVerb},
};

/// How often a generated name is tried: of 14 million names one that is free is found at once, or something is odd.
const ATTEMPTS: usize = 8;

/// Makes an object: 201 and the object as stored.
pub(super) async fn create<C: Caller, E: Env>(mut exchange: Exchange<C, E>) -> Result<Reply, ApiError> {
    let Some(method) = exchange.resource.methods.create.clone() else {
        return Err(ApiError::method_not_allowed());
    };
    let options = WriteOptions::parse(WriteKind::Create, &exchange.request.query)?;
    let media = exchange.negotiate(Endpoint::Object)?;
    let wire = input::object(&mut exchange, options.field_validation)?;
    let mut object = Object::parse(&wire).map_err(|e| exchange.wire_error(&e))?;
    prepare::namespace(&exchange, &mut object)?;
    namespace::takes_new(&exchange, called(&object)).await?;
    let generated = exchange.managed() && prepare::create(&exchange, &mut object)?;
    // To answer a review is no write.
    let writes = !exchange.resource.create_only();
    let stored = if options.dry_run && writes && !call::binds_dry_run(&method) {
        unwritten(&mut exchange, &object).await?
    } else {
        write(&exchange, &method, &mut object, generated, &options.create()).await?
    };
    exchange.object_reply(StatusCode::CREATED, &media, &stored)
}

/// What an object is called before it has a name, as Kubernetes calls it.
fn called(object: &Object) -> &str {
    [&object.meta.name, &object.meta.generate_name]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or("Unknown", |name| name)
}

async fn write<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    object: &mut Object,
    generated: bool,
    options: &CreateOptions,
) -> Result<Vec<u8>, ApiError> {
    let mut attempt = 1;
    loop {
        let wire = object.encode();
        let values = Values {
            namespace: exchange.namespace(),
            name: &object.meta.name,
            object: &wire,
            create: Some(options),
            ..Values::default()
        };
        let error = match exchange.unary(method, &values, Class::Write).await {
            Ok(stored) => return Ok(stored.into()),
            Err(error) => error,
        };
        if !(generated && exists(&error)) {
            return Err(exchange.call_error(&error, CallVerb::Create, &object.meta.name, method));
        }
        if attempt == ATTEMPTS {
            let resource = &exchange.resource;
            return Err(ApiError::generate_name_conflict(
                &resource.group,
                &resource.plural,
                &object.meta.name,
            ));
        }
        attempt += 1;
        object.meta.name = prepare::generate_name(&object.meta.generate_name, exchange.env.random());
    }
}

fn exists(error: &CallError) -> bool {
    matches!(error, CallError::Status(status) if status.code == Code::AlreadyExists)
}

/// dryRun that the backend cannot do: everything except the write.
async fn unwritten<C: Caller, E: Env>(
    exchange: &mut Exchange<C, E>,
    object: &Object,
) -> Result<Vec<u8>, ApiError> {
    exchange.request.info.name.clone_from(&object.meta.name);
    match exchange.fetch(&GetOptions::default()).await {
        Ok(_) => {
            let resource = &exchange.resource;
            Err(ApiError::already_exists(&resource.group, &resource.plural, &object.meta.name))
        }
        Err(error) if error.status.code == 404 || error.status.code == 405 => Ok(object.encode()),
        Err(error) => Err(error),
    }
}
