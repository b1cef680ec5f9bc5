//! GET of an object, and of its status.

use http::StatusCode;

use super::{Reply, exchange::Exchange};
use crate::{caller::Caller, env::Env, negotiate::Endpoint, options, status::ApiError};

/// Reads an object: 200.
pub(super) async fn get<C: Caller, E: Env>(exchange: Exchange<C, E>) -> Result<Reply, ApiError> {
    let options = options::get_options(&exchange.request.query)?;
    let media = exchange.negotiate(Endpoint::Object)?;
    let object = exchange.fetch(&options).await?;
    exchange.object_reply(StatusCode::OK, &media, &object)
}
