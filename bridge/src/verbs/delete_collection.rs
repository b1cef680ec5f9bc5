//! DELETE of a collection: List and Delete each; native only under `lifecycle: BACKEND`.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::StatusCode;

use super::{
    Reply,
    call::Values,
    delete,
    exchange::Exchange,
    filter::Filter,
    list,
    respond::{ListWriter, MAX_BUFFERED},
};
use crate::{
    caller::{Caller, Class},
    env::Env,
    model::{Method, Source},
    negotiate::Endpoint,
    object::{self, MetaView},
    options,
    proto::{DeleteOptions, ListOptions},
    status::{ApiError, CallVerb, Status},
};

/// How many objects are deleted at a time.
const AT_ONCE: usize = 8;

/// Deletes what is selected: 200 and the list of what was there.
pub(super) async fn delete_collection<C: Caller, E: Env>(
    exchange: Exchange<C, E>,
) -> Result<Reply, ApiError> {
    let list_options = options::ListOptions::parse(&exchange.request.query, false)?;
    let delete_options = exchange.delete_options()?;
    let filter =
        Filter::new(&exchange.resource, exchange.namespace(), list_options.labels, list_options.fields)?;
    let list_options = list_options.wire;
    let methods = &exchange.resource.methods;
    if let (false, Some(method)) = (exchange.managed(), methods.delete_collection.clone()) {
        return native(exchange, &method, &list_options, &delete_options).await;
    }
    let (Some(delete), Some(list)) = (methods.delete.clone(), methods.list.clone()) else {
        return Err(ApiError::method_not_allowed());
    };
    let media = exchange.negotiate(Endpoint::List)?;
    if exchange.managed() {
        delete::warn_of_propagation(&exchange, &delete_options);
    }
    let mut writer = ListWriter::new(&exchange.resource, &media, exchange.env.now());
    let items = collect(&exchange, &list, list_options, &filter, &mut writer).await?;
    let mut results = stream::iter(items.iter().cloned())
        .map(|item| one(&exchange, &delete, &delete_options, item))
        .buffer_unordered(AT_ONCE);
    let mut failed = None;
    while let Some(result) = results.next().await {
        if let Err(error) = result {
            failed.get_or_insert(error);
        }
    }
    drop(results);
    if let Some(error) = failed {
        return Err(error);
    }
    let fault = |e| super::exchange::wire_error(&exchange.resource, &e);
    let mut json = Vec::new();
    writer.begin(&mut json);
    for item in &items {
        let item = object::complete(&exchange.resource, item).map_err(fault)?;
        writer.item(&item, &mut json).map_err(fault)?;
    }
    writer.end(&mut json);
    exchange.json_reply(StatusCode::OK, &media, json)
}

async fn native<C: Caller, E: Env>(
    exchange: Exchange<C, E>,
    method: &Method,
    list: &ListOptions,
    options: &DeleteOptions,
) -> Result<Reply, ApiError> {
    let bound = [Source::DryRun, Source::DryRunFlag, Source::DeleteOptions].iter().any(|s| method.binds(s));
    if options.dry_run.is_empty() || bound {
        let values = Values {
            namespace: exchange.namespace(),
            list: Some(list),
            delete: Some(options),
            ..Values::default()
        };
        exchange
            .unary(method, &values, Class::Write)
            .await
            .map_err(|error| exchange.call_error(&error, CallVerb::DeleteCollection, "", method))?;
    }
    let media = exchange.negotiate(Endpoint::Object)?;
    let status = Status::deleted(&exchange.resource.group, &exchange.resource.plural, "", "");
    exchange.status_reply(&media, &status)
}

/// All that is selected. Before anything is deleted: either all of it can be answered, or nothing is done.
async fn collect<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    options: ListOptions,
    filter: &Filter,
    writer: &mut ListWriter,
) -> Result<Vec<Bytes>, ApiError> {
    let verb = list::verb(&options);
    let options = list::passed_on(method, options)?;
    let mut chunks = list::open(exchange, method, &options, verb).await?;
    let (mut items, mut size, mut first) = (Vec::new(), 0, true);
    while let Some(chunk) = list::next(exchange, method, &mut chunks, verb, first).await? {
        first = false;
        if let Some(metadata) = &chunk.metadata {
            let meta = list::list_meta(metadata, filter).map_err(|e| exchange.wire_error(&e))?;
            writer.metadata(meta).map_err(|why| ApiError::internal(why).with_schema_suspect())?;
        }
        for item in chunk.items {
            if !filter.matches(&item).map_err(|e| exchange.wire_error(&e))? {
                continue;
            }
            size += item.len();
            if size > MAX_BUFFERED {
                return Err(ApiError::too_large("the collection is too long to delete at once; use limit"));
            }
            items.push(item);
        }
    }
    Ok(items)
}

/// Deletes one of them. That somebody else came first is what was wanted.
async fn one<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    method: &Method,
    options: &DeleteOptions,
    item: Bytes,
) -> Result<(), ApiError> {
    let meta = MetaView::of(&item).map_err(|e| exchange.wire_error(&e))?;
    let mut single = exchange.about(meta.name, meta.namespace);
    let deleted = if exchange.managed() {
        delete::managed(&mut single, method, options, Some(item.clone())).await
    } else {
        delete::relay(&single, method, options).await
    };
    match deleted {
        Ok(_) => Ok(()),
        Err(error) if error.status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
